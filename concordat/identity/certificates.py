"""TLS certificates whose subject is a SPIFFE ID, and a small authority that issues them.

A leaf has exactly one URI name, the party's SPIFFE ID, and its DNS form, which is what a caller checks. The authority
here serves a local federation; a real one puts its own authorities into the manifest's TLS roots.
"""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import TYPE_CHECKING, Final

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from concordat.errors import IdentityError
from concordat.identity.names import Role, SpiffeId

if TYPE_CHECKING:
    from collections.abc import Sequence

    from concordat.clock import Clock

_LEEWAY: Final = timedelta(hours=1)


@dataclass(frozen=True, slots=True)
class TlsPair:
    """A private key and its certificate, both PEM."""

    key_pem: bytes = field(repr=False)
    certificate_pem: bytes


class LocalAuthority:
    """A certificate authority (EC P-256) for one federation; its key lives as long as this object."""

    def __init__(self, federation: str, *, clock: Clock, days: int = 825) -> None:
        self._federation = federation
        self._clock = clock
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._certificate = self._self_signed(days)

    @classmethod
    def create(cls, federation: str, *, clock: Clock) -> LocalAuthority:
        """Make a new authority with a fresh key."""
        return cls(federation, clock=clock)

    @property
    def root_pem(self) -> bytes:
        """Return the authority's own certificate, PEM."""
        return self._certificate.public_bytes(serialization.Encoding.PEM)

    def issue(
        self, spiffe: SpiffeId, *, hosts: Sequence[str] = ("localhost", "127.0.0.1"), days: float = 397
    ) -> TlsPair:
        """Make a key and a certificate for one party.

        Args:
            spiffe: The party; of this authority's federation.
            hosts: DNS names and IP addresses under which it may be dialled as well.
            days: From now; negative for a certificate that has expired already.

        Raises:
            IdentityError: If the party is of another federation, or a host is the TLS name of another party.
        """
        if spiffe.federation != self._federation:
            raise IdentityError("the party is of another federation than this authority")
        if any(_is_tls_name(host, self._federation) for host in hosts if host.lower() != spiffe.dns_name):
            # Callers check the TLS name and nothing else.
            raise IdentityError("a host name in a certificate is the TLS name of another party")
        key = ec.generate_private_key(ec.SECP256R1())
        names = [x509.UniformResourceIdentifier(str(spiffe)), x509.DNSName(spiffe.dns_name), *map(_host, hosts)]
        usage = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH, ExtendedKeyUsageOID.SERVER_AUTH])
        builder = (
            self._builder(spiffe.name, days)
            .public_key(key.public_key())
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_key_usage(authority=False), critical=True)
            .add_extension(usage, critical=False)
            .add_extension(x509.SubjectAlternativeName(names), critical=False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key()), critical=False)
        )
        certificate = builder.sign(self._key, hashes.SHA256())
        return TlsPair(_key_pem(key), certificate.public_bytes(serialization.Encoding.PEM))

    def _self_signed(self, days: int) -> x509.Certificate:
        builder = (
            self._builder(None, days)
            .public_key(self._key.public_key())
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(_key_usage(authority=True), critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(self._key.public_key()), critical=False)
        )
        return builder.sign(self._key, hashes.SHA256())

    def _builder(self, name: str | None, days: float) -> x509.CertificateBuilder:
        now = datetime.fromtimestamp(self._clock.now(), UTC)
        issuer = x509.Name([x509.NameAttribute(NameOID.ORGANIZATION_NAME, self._federation[:64])])
        subject = issuer if name is None else x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        end = now + timedelta(days=days)
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(issuer)
            .serial_number(x509.random_serial_number())
            .not_valid_before(min(now, end) - _LEEWAY)
            .not_valid_after(end)
        )


@lru_cache(maxsize=4096)
def peer_of(certificate_pem: bytes) -> SpiffeId:
    """Return the party that a certificate names.

    The TLS layer has verified the certificate against the roots; this only reads it. Cached, since a session's
    certificate is read at each of its calls.

    Raises:
        IdentityError: If it is no certificate, or has not exactly one URI name that is a SPIFFE ID of a party.
    """
    uris = _alternative_names(certificate_pem).get_values_for_type(x509.UniformResourceIdentifier)
    if len(uris) != 1:
        raise IdentityError("a party's certificate has exactly one URI name")
    return SpiffeId.parse(uris[0])


def expiry_of(certificate_pem: bytes) -> float:
    """Return the unix time at which a certificate ends.

    Raises:
        IdentityError: If it is no certificate.
    """
    return _certificate(certificate_pem).not_valid_after_utc.timestamp()


def is_issued_under(certificate_pem: bytes, roots_pem: bytes) -> bool:
    """Tell whether a certificate, with the intermediate ones that follow it in its file, leads to one of the roots.

    Raises:
        IdentityError: If either file holds no certificate or a damaged one.
    """
    issuers = _certificates(roots_pem)
    for certificate in reversed(_certificates(certificate_pem)):
        if not any(_signed(certificate, issuer) for issuer in issuers):
            return False
        issuers = [certificate]
    return True


def _signed(certificate: x509.Certificate, issuer: x509.Certificate) -> bool:
    try:
        certificate.verify_directly_issued_by(issuer)
    except (ValueError, TypeError, InvalidSignature):
        return False
    return True


def der_of(certificates_pem: bytes) -> frozenset[bytes]:
    """Return the DER form of each certificate in a PEM file, to compare sets of roots.

    Raises:
        IdentityError: If the file holds no certificate or a damaged one.
    """
    return frozenset(one.public_bytes(serialization.Encoding.DER) for one in _certificates(certificates_pem))


def _certificates(certificates_pem: bytes) -> list[x509.Certificate]:
    try:
        return x509.load_pem_x509_certificates(certificates_pem)
    except ValueError as error:
        raise IdentityError("the TLS roots are no PEM certificates") from error


def _certificate(pem: bytes) -> x509.Certificate:
    try:
        return x509.load_pem_x509_certificate(pem)
    except ValueError as error:
        raise IdentityError("this is no certificate") from error


def _alternative_names(pem: bytes) -> x509.SubjectAlternativeName:
    try:
        return _certificate(pem).extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except (x509.ExtensionNotFound, x509.DuplicateExtension, ValueError) as error:
        raise IdentityError("a party's certificate has exactly one URI name") from error


def _is_tls_name(host: str, federation: str) -> bool:
    return any(host.lower().endswith(f".{role}.{federation}") for role in Role)


def _host(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        return x509.DNSName(host)


def _key_usage(*, authority: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not authority,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=authority,
        crl_sign=authority,
        encipher_only=False,
        decipher_only=False,
    )


def _key_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
