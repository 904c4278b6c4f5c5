"""What lies in the Secrets: names of their keys, and whether what lies there is what it should be. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from pointsman import install
from pointsman.certificates.x509s import Certificate, Pair, UnreadableError, read_certificates, read_pair

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime

Data = dict[str, bytes]

CERTIFICATE: Final = "tls.crt"
KEY: Final = "tls.key"
AUTHORITIES: Final = "ca.crt"
"""Whom the holder of the Secret trusts: one authority, two or more while they change."""
PREVIOUS_CERTIFICATE: Final = "previous.crt"
PREVIOUS_KEY: Final = "previous.key"
"""In the authority's own Secret: the one before, which signs until the new one is trusted by all."""


@dataclass(frozen=True, slots=True)
class Part:
    """A part that has a certificate: its Secret, and the DNS names that it is known by."""

    secret: str
    names: tuple[str, ...]

    @classmethod
    def of(cls, secret: str, service: str, namespace: str) -> Part:
        """Return the part behind a Service."""
        host = install.service_host(service, namespace)
        return cls(secret, (host, service, f"{host}.cluster.local"))


@dataclass(frozen=True, slots=True)
class Held:
    """A Secret as it is. `since`: when its data was written; None: nobody knows."""

    data: Mapping[str, bytes] = field(repr=False)
    since: datetime | None


@dataclass(frozen=True, slots=True)
class Leaf:
    """A part's certificate, and whom that part trusts."""

    pair: Pair
    trusted: tuple[Certificate, ...]


def parts(namespace: str, gateways: Sequence[str], pools: Sequence[str]) -> tuple[Part, ...]:
    """Return all parts of an installation, by the names of its RoutingGateways and TritonPools."""
    services = [
        *((name, name) for name in (install.OPERATOR, install.XDS, install.EVALUATOR)),
        *((install.gateway_name(name), install.gateway_internal(name)) for name in sorted(gateways)),
        *((install.pool_name(name), install.pool_name(name)) for name in sorted(pools)),
    ]
    return tuple(Part.of(install.certificate_secret(part), service, namespace) for part, service in services)


def read_leaf(data: Mapping[str, bytes], part: Part) -> Leaf:
    """Return the certificate that a Secret holds for a part; `UnreadableError` says why there is none."""
    trusted = _authorities(data)
    pair = read_pair(_value(data, CERTIFICATE), _value(data, KEY))
    missing = [name for name in part.names[:1] if name not in pair.certificate.names]
    if missing:
        raise UnreadableError(f"holds a certificate that is not for {missing[0]}")
    return Leaf(pair, trusted)


def check_served(data: Mapping[str, bytes], now: datetime) -> None:
    """Check the Secret of a listener; `UnreadableError` says what is wrong."""
    found = read_pair(_value(data, CERTIFICATE), _value(data, KEY)).certificate
    if not found.valid(now):
        raise UnreadableError(f"holds a certificate that is not valid now: it ends {found.ends:%Y-%m-%d}")


def bundle(certificates: Sequence[Certificate]) -> bytes:
    """Return certificates as one PEM file."""
    return b"".join(certificate.pem for certificate in certificates)


def _authorities(data: Mapping[str, bytes]) -> tuple[Certificate, ...]:
    try:
        return read_certificates(_value(data, AUTHORITIES))
    except UnreadableError as error:
        raise UnreadableError(f"{AUTHORITIES} {error}") from error


def _value(data: Mapping[str, bytes], key: str) -> bytes:
    if not data.get(key):
        raise UnreadableError(f"has no {key}")
    return data[key]
