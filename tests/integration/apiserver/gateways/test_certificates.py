"""Certificates on a real API server: they appear, rotate, heal, and survive a death at each write."""

from __future__ import annotations

import base64
from datetime import timedelta

import pytest

from infrastructure_kit import CA, Running, System, owners
from pointsman import install
from pointsman.certificates.rotation import Terms
from pointsman.certificates.secrets import parts, read_leaf
from pointsman.certificates.x509s import Certificate, UnreadableError, read_certificates
from pointsman.kube.client import secret_data
from pointsman.kube.resources import SECRETS
from wait import until

pytestmark = pytest.mark.apiserver

XDS = install.certificate_secret(install.XDS)
GATEWAY = install.certificate_secret(install.gateway_name("default"))
TERMS = Terms()


async def leaf(system: System, secret: str = XDS) -> Certificate | None:
    """Return the certificate that a part's Secret holds, None if there is none."""
    found = await system.secret(secret)
    gateways = ["default"] if secret == GATEWAY else []
    part = next(p for p in parts(system.namespace, gateways, []) if p.secret == secret)
    try:
        return read_leaf(secret_data(found), part).pair.certificate if found else None
    except UnreadableError:
        return None


async def trusted(system: System, secret: str = XDS) -> int:
    """Return how many authorities a part trusts."""
    found = await system.secret(secret)
    assert found is not None
    return len(read_certificates(secret_data(found)["ca.crt"]))


async def at_rest(system: System, running: Running) -> None:
    """Wait until nothing is written any more."""
    running.look()
    before = -1

    async def calm() -> bool:
        nonlocal before
        same = before == len(running.client.written) and not running.infrastructure.queue.busy
        before = len(running.client.written)
        return same

    await until(calm, 20, 0.7, "no more writes")


async def test_every_part_gets_a_certificate_of_one_authority(system: System) -> None:
    """Operator, xds, evaluator, and each gateway that comes; the gateway's goes with it."""
    async with system.operator() as running:
        await until(lambda: leaf(system), 20, what="xds has a certificate")
        await system.gateway()
        found = await until(lambda: leaf(system, GATEWAY), 20, what="the gateway has a certificate")
        assert found is not None
        await at_rest(system, running)
        authority = await system.secret(CA)
        assert authority is not None
        (signer,) = read_certificates(secret_data(authority)["tls.crt"])
        assert found.signed_by(signer)
        secret = await system.secret(GATEWAY)
        assert secret is not None
        assert secret["type"] == "kubernetes.io/tls"
        assert owners(secret) == ["RoutingGateway/default"]
        ends = running.metric("pointsman_certificate_expiry_timestamp_seconds", secret=GATEWAY)
        assert ends == found.ends.timestamp()


async def test_deleted_garbled_and_mistyped_secrets_are_healed(system: System) -> None:
    """Whatever somebody does to one of our Secrets, soon it holds a certificate again."""
    async with system.operator():
        first = await until(lambda: leaf(system), 20, what="xds has a certificate")
        await system.admin.delete(SECRETS, XDS, system.namespace)
        second = await until(lambda: leaf(system), 20, what="deleted: it is back")
        assert first != second
        garbled = {"data": {"tls.key": base64.b64encode(b"nothing").decode()}}
        await system.admin.patch(SECRETS, XDS, system.namespace, garbled)
        third = await until(lambda: leaf(system), 20, what="garbled: it is back")
        assert third != second
        await system.admin.patch(SECRETS, XDS, system.namespace, garbled | {"immutable": True})
        await until(lambda: leaf(system), 20, what="immutable: another one is in its place")


async def test_what_has_the_name_of_our_secret_and_another_type_makes_room(system: System) -> None:
    """Its type can never be changed."""
    await system.admin.create(SECRETS, {"metadata": {"name": XDS}, "type": "Opaque"}, system.namespace)
    async with system.operator():
        await until(lambda: leaf(system), 20, what="xds has a certificate")


async def test_the_authority_is_followed_by_another_without_a_gap(system: System) -> None:
    """As the clock goes: announced to all, then signing, then alone."""
    async with system.operator() as running:
        await until(lambda: leaf(system), 20, what="xds has a certificate")
        await at_rest(system, running)
        first = await leaf(system)
        system.time.ahead = timedelta(days=20)
        await at_rest(system, running)
        renewed = await leaf(system)
        assert first != renewed
        assert await trusted(system) == 1
        # from here on leaves are fresh: the authority grows old in one step
        system.time.ahead = timedelta(days=244)
        await at_rest(system, running)
        assert await trusted(system) == 2
        announced = await leaf(system)
        system.time.ahead += TERMS.settle
        await at_rest(system, running)
        assert await trusted(system) == 2
        signed = await leaf(system)
        assert signed != announced
        system.time.ahead += TERMS.settle
        await at_rest(system, running)
        assert await trusted(system) == 1
        assert await leaf(system) == signed


@pytest.mark.parametrize("rotating", [False, True], ids=["first", "rotation"])
async def test_a_death_after_any_write_leaves_nothing_that_the_next_one_cannot_finish(
    system: System,
    rotating: bool,  # noqa: FBT001 - a parameter of the test
) -> None:
    """Each of four processes writes once and dies: the next process ends where one would have ended alone."""
    if rotating:
        async with system.operator() as running:
            await until(lambda: leaf(system), 20, what="xds has a certificate")
            await at_rest(system, running)
        system.time.ahead = timedelta(days=244)
    for _ in range(4):
        await system.death()
        if rotating:
            system.time.ahead += TERMS.settle
    async with system.operator() as running:
        for _ in range(3):
            await at_rest(system, running)
            system.time.ahead += TERMS.settle
        authority = await system.secret(CA)
        assert authority is not None
        (signer,) = read_certificates(secret_data(authority)["ca.crt"])
        for part in parts(system.namespace, [], []):
            found = await leaf(system, part.secret)
            assert found is not None
            assert found.signed_by(signer)
        written = len(running.client.written)
        await at_rest(system, running)
        assert len(running.client.written) == written


async def test_certificates_of_others_are_only_looked_at(system: System) -> None:
    """With `external` nothing is written; what is missing is told, what is there is shown."""
    async with system.operator() as running:
        await until(lambda: leaf(system), 20, what="xds has a certificate")
        await at_rest(system, running)
    async with system.operator(certificates="external") as running:
        await system.gateway()
        told = await system.condition("Certified", "CertificateMissing")
        assert GATEWAY in told["message"]
        assert running.metric("pointsman_certificate_expiry_timestamp_seconds", secret=XDS)
        assert not [write for write in running.client.written if "secrets" in write]
