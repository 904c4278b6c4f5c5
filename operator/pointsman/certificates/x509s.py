"""Certificates and keys as values: made, signed, read. Elliptic curve P-256; PEM outside."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Final, cast

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from cryptography.hazmat.primitives.asymmetric.types import (
        CertificateIssuerPrivateKeyTypes,
        CertificatePublicKeyTypes,
        PublicKeyTypes,
    )

    Keys = Callable[[], ec.EllipticCurvePrivateKey]
    """Makes a key: `new_key`, but for tests."""

SKEW: Final = timedelta(hours=1)
"""Certificates are valid from a little before they are made, for machines whose clocks are behind."""


class UnreadableError(ValueError):
    """It is no certificate with its key; the message says what is wrong, and holds nothing secret."""


@dataclass(frozen=True, slots=True)
class Certificate:
    """A certificate without its key."""

    x509: x509.Certificate

    @property
    def pem(self) -> bytes:
        """The certificate as PEM."""
        return self.x509.public_bytes(Encoding.PEM)

    @property
    def made(self) -> datetime:
        """When it was made."""
        return self.x509.not_valid_before_utc + SKEW

    @property
    def ends(self) -> datetime:
        """When it ends to be valid."""
        return self.x509.not_valid_after_utc

    @property
    def names(self) -> frozenset[str]:
        """DNS names that it is for."""
        try:
            found = self.x509.extensions.get_extension_for_class(x509.SubjectAlternativeName)
        except x509.ExtensionNotFound:
            return frozenset()
        return frozenset(found.value.get_values_for_type(x509.DNSName))

    @property
    def is_authority(self) -> bool:
        """Tell whether it may sign others."""
        try:
            return self.x509.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
        except x509.ExtensionNotFound:
            return False

    def valid(self, now: datetime) -> bool:
        """Tell whether it is valid at a time."""
        return self.x509.not_valid_before_utc <= now < self.ends

    def signed_by(self, authority: Certificate) -> bool:
        """Tell whether an authority signed it."""
        try:
            self.x509.verify_directly_issued_by(authority.x509)
        except (ValueError, TypeError, InvalidSignature):
            return False
        return True


@dataclass(frozen=True, slots=True)
class Pair:
    """A certificate and its key."""

    certificate: Certificate
    key: CertificateIssuerPrivateKeyTypes = field(repr=False)

    @property
    def key_pem(self) -> bytes:
        """The key as PEM (PKCS 8)."""
        return self.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def new_key() -> ec.EllipticCurvePrivateKey:
    """Return a new key."""
    return ec.generate_private_key(ec.SECP256R1())


def read_certificates(pem: bytes) -> tuple[Certificate, ...]:
    """Return all certificates of a PEM file; `UnreadableError`."""
    try:
        return tuple(Certificate(found) for found in x509.load_pem_x509_certificates(pem))
    except ValueError as error:
        raise UnreadableError("holds no certificate in PEM") from error


def read_pair(certificate_pem: bytes, key_pem: bytes) -> Pair:
    """Return a certificate (the first of its file) with its elliptic key; `UnreadableError`."""
    certificate = read_certificates(certificate_pem)[0]
    try:
        key = load_pem_private_key(key_pem, password=None)
    except (ValueError, TypeError) as error:
        raise UnreadableError("holds no private key in PEM that can be read") from error
    if _public(key.public_key()) != _public(certificate.x509.public_key()):
        raise UnreadableError("holds a key that is not its certificate's")
    return Pair(certificate, cast("CertificateIssuerPrivateKeyTypes", key))


def _public(key: PublicKeyTypes) -> bytes:
    """Return a public key of any kind as bytes, to compare two."""
    return key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def new_authority(now: datetime, lifetime: timedelta, keys: Keys) -> Pair:
    """Return an authority. Its name is its own: whoever knows two must not mistake one for the other."""
    key = keys()
    digest = x509.SubjectKeyIdentifier.from_public_key(key.public_key()).digest.hex()
    name = _name(f"pointsman authority {digest[:12]}")
    builder = (
        _builder(key.public_key(), now, now + lifetime, authority=True)
        .subject_name(name)
        .issuer_name(name)
        .add_extension(_issuer(key.public_key()), critical=False)
    )
    return Pair(Certificate(builder.sign(key, hashes.SHA256())), key)


def new_leaf(authority: Pair, names: Sequence[str], now: datetime, lifetime: timedelta, keys: Keys) -> Pair:
    """Return a certificate for servers and clients with these DNS names; it ends not after its authority."""
    key, issuer = keys(), authority.certificate
    usage = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH])
    builder = (
        _builder(key.public_key(), now, min(now + lifetime, issuer.ends), authority=False)
        .subject_name(_name(names[0][:64]))
        .issuer_name(issuer.x509.subject)
        .add_extension(_issuer(issuer.x509.public_key()), critical=False)
        .add_extension(usage, critical=False)
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name) for name in names]), critical=False)
    )
    return Pair(Certificate(builder.sign(authority.key, hashes.SHA256())), key)


def _builder(
    key: ec.EllipticCurvePublicKey, now: datetime, ends: datetime, *, authority: bool
) -> x509.CertificateBuilder:
    """Return what authorities and leaves share."""
    constraints = x509.BasicConstraints(ca=authority, path_length=0 if authority else None)
    return (
        x509.CertificateBuilder()
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - SKEW)
        .not_valid_after(ends)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
        .add_extension(constraints, critical=True)
        .add_extension(_usage(authority=authority), critical=True)
    )


def _issuer(key: CertificatePublicKeyTypes) -> x509.AuthorityKeyIdentifier:
    return x509.AuthorityKeyIdentifier.from_issuer_public_key(cast("ec.EllipticCurvePublicKey", key))


def _name(common_name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])


def _usage(*, authority: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=True,
        key_cert_sign=authority,
        crl_sign=authority,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )
