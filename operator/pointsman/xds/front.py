"""What a gateway's Envoys show to clients: its listeners, and the certificates that can be shown. Pure."""

from __future__ import annotations

import binascii
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Final

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_private_key

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pointsman.plan.types import CertificateName, FrontPlan

_CHAIN, _KEY = "tls.crt", "tls.key"
_CURVES: Final = (ec.SECP256R1, ec.SECP384R1, ec.SECP521R1)
_RSA_BITS: Final = 2048


class BadCertificateError(ValueError):
    """A Secret that no listener can show; the text says what is wrong, and nothing of what is in it."""


@dataclass(frozen=True, slots=True)
class Pair:
    """A certificate with its chain, and its key; PEM."""

    chain: bytes = field(repr=False)
    key: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class Front:
    """A gateway's listeners and those certificates of theirs that are there."""

    plan: FrontPlan
    pairs: Mapping[CertificateName, Pair] = field(repr=False)

    def usable(self) -> FrontPlan:
        """Return the listeners with the certificates that are there; one that has none left is left out."""
        kept = []
        for listener in self.plan.listeners:
            there = tuple(name for name in listener.certificates if name in self.pairs)
            if there or not listener.certificates:
                kept.append(replace(listener, certificates=there))
        return replace(self.plan, listeners=tuple(kept))


def pair(data: Mapping[str, bytes]) -> Pair:
    """Return the certificate of a Secret's data; `BadCertificateError` for one that Envoy would refuse."""
    for name in (_CHAIN, _KEY):
        if not data.get(name):
            raise BadCertificateError(f"has no {name}; it must be of type kubernetes.io/tls")
    try:
        leaf = x509.load_pem_x509_certificates(data[_CHAIN])[0]
    except (ValueError, binascii.Error, UnsupportedAlgorithm):
        raise BadCertificateError(f"{_CHAIN} is no certificate in PEM") from None
    try:
        key = load_pem_private_key(data[_KEY], password=None)
    except (ValueError, TypeError, binascii.Error, UnsupportedAlgorithm):
        raise BadCertificateError(f"{_KEY} is no private key in PEM without password") from None
    strong = isinstance(key, rsa.RSAPrivateKey) and key.key_size >= _RSA_BITS
    if not strong and not (isinstance(key, ec.EllipticCurvePrivateKey) and isinstance(key.curve, _CURVES)):
        raise BadCertificateError(
            f"{_KEY} is neither RSA of {_RSA_BITS} bits or more nor on P-256, P-384 or P-521"
        )
    public = Encoding.DER, PublicFormat.SubjectPublicKeyInfo
    if leaf.public_key().public_bytes(*public) != key.public_key().public_bytes(*public):
        raise BadCertificateError(f"{_KEY} is not the key of {_CHAIN}")
    return Pair(data[_CHAIN], data[_KEY])
