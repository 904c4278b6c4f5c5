"""What a gateway's Envoys show: certificates that Envoy would refuse never reach it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from cryptography.hazmat.primitives.asymmetric import ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from pointsman.lab.pki import Authority
from pointsman.plan.types import CertificateName, FrontPlan, GatewayPlan, ListenerPlan
from pointsman.xds.compile import Compiler
from pointsman.xds.front import BadCertificateError, Front, Pair, pair
from pointsman.xds.secrets import allowing
from pointsman.xds.translate import Options, translate
from pointsman.xds.types import LISTENER, ROUTE, SECRET

if TYPE_CHECKING:
    from pathlib import Path

A, B = CertificateName("system", "a"), CertificateName("system", "b")


@pytest.fixture
def data(tmp_path: Path) -> dict[str, bytes]:
    """Return a good Secret's data."""
    files = Authority(tmp_path).leaf("a", "a", hosts=["a.example.com"])
    return {"tls.crt": files.cert.read_bytes(), "tls.key": files.key.read_bytes()}


def _pem(key: rsa.RSAPrivateKey | ed25519.Ed25519PrivateKey) -> bytes:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


WEAK = rsa.generate_private_key(65537, 1024)  # noqa: S505 - it is to be refused
BROKEN = {
    "no key": ({"tls.key": b""}, "has no tls.key"),
    "no certificate": ({"tls.crt": b""}, "has no tls.crt"),
    "garbled certificate": ({"tls.crt": b"x"}, "tls.crt is no certificate in PEM"),
    "garbled key": ({"tls.key": b"x"}, "tls.key is no private key in PEM"),
    "weak key": ({"tls.key": _pem(WEAK)}, "RSA of 2048 bits or more"),
    "unknown key": ({"tls.key": _pem(ed25519.Ed25519PrivateKey.generate())}, "RSA of 2048 bits or more"),
    "another key": ({"tls.key": _pem(rsa.generate_private_key(65537, 2048))}, "is not the key of tls.crt"),
}


@pytest.mark.parametrize("what", BROKEN)
def test_a_secret_that_envoy_would_refuse_is_said_so(data: dict[str, bytes], what: str) -> None:
    """The words say what is wrong and show nothing of what is in it."""
    change, words = BROKEN[what]
    with pytest.raises(BadCertificateError, match=words) as raised:
        pair(data | change)
    assert "BEGIN" not in str(raised.value)


def test_a_good_secret_is_taken_and_never_printed(data: dict[str, bytes]) -> None:
    """Certificate and key as they stand; a repr has neither."""
    found = pair(data)
    assert (found.chain, found.key) == (data["tls.crt"], data["tls.key"])
    assert "BEGIN" not in repr(Front(FrontPlan((), 1), {A: found}))


def test_a_listener_without_any_certificate_left_is_left_out() -> None:
    """One of two is enough; plain ones need none."""
    plan = FrontPlan(
        (ListenerPlan("both", 1, (A, B)), ListenerPlan("only-b", 2, (B,)), ListenerPlan("plain", 3)), 1
    )
    kept = Front(plan, {A: Pair(b"", b"")}).usable().listeners
    assert kept == (ListenerPlan("both", 1, (A,)), ListenerPlan("plain", 3))


def test_a_snapshot_has_listeners_by_their_ports_and_their_certificates() -> None:
    """A gateway without listeners has no routes for clients either: Envoy would never ask for them."""
    plan = FrontPlan((ListenerPlan("https", 10001, (A,)), ListenerPlan("http", 10000)), 1)
    shown = {"default": Front(plan, {A: Pair(b"chain", b"key")})}
    made = Compiler("default", Options(), lambda _: b"", shown.get)({})
    assert set(made.of(LISTENER)) == {"entry-10000", "entry-10001"}
    assert set(made.of(SECRET)) == {"certificate:system/a"}
    assert set(made.of(ROUTE)) == {"entry", "shadow"}
    shown["default"] = Front(FrontPlan((), 1), {})
    empty = Compiler("default", Options(), lambda _: b"", shown.get)({})
    assert (set(empty.of(LISTENER)), set(empty.of(ROUTE))) == (set(), {"shadow"})


def test_every_listener_counts_as_the_entry() -> None:
    """The evaluator's ledger is `http.entry.*`: requests of all listeners, whatever they are named."""
    plan = FrontPlan((ListenerPlan("a", 10000), ListenerPlan("b", 10001)), 1)
    made = translate(GatewayPlan("default", (), plan), Options())
    for listener in made[LISTENER].values():
        config = listener.filter_chains[0].filters[0].typed_config
        assert b"\x12\x05entry" in config.value


def test_the_commands_name_one_secret_each() -> None:
    """As kubectl takes them: a Role with the Secret's name alone, bound to the xds servers' account."""
    assert allowing("chat", ["keys"], "pointsman-system") == (
        "kubectl -n chat create role pointsman-xds-keys --verb=get,list,watch --resource=secrets "
        "--resource-name=keys && "
        "kubectl -n chat create rolebinding pointsman-xds-keys --role=pointsman-xds-keys "
        "--serviceaccount=pointsman-system:pointsman-xds"
    )
