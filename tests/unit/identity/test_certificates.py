from __future__ import annotations

import ipaddress
from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from concordat.clock import ManualClock
from concordat.errors import IdentityError
from concordat.identity.certificates import LocalAuthority, der_of, expiry_of, peer_of
from concordat.identity.names import Role, SpiffeId

CLOCK = ManualClock(1_800_000_000)
NL = SpiffeId("eu.example", Role.NODE, "NL")


def _certificate(*names: x509.GeneralName) -> bytes:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "x")])
    now = datetime(2026, 1, 1, tzinfo=UTC)
    builder = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now)
        .not_valid_after(now + timedelta(days=1))
    )
    if names:
        builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
    return builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)


def test_a_leaf_names_its_party_once_and_carries_what_callers_check() -> None:
    pair = LocalAuthority.create("eu.example", clock=CLOCK).issue(NL, hosts=("localhost", "127.0.0.1"))
    certificate = x509.load_pem_x509_certificate(pair.certificate_pem)
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.UniformResourceIdentifier) == ["spiffe://eu.example/node/NL"]
    assert names.get_values_for_type(x509.DNSName) == ["nl.node.eu.example", "localhost"]
    assert names.get_values_for_type(x509.IPAddress) == [ipaddress.ip_address("127.0.0.1")]
    usage = certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    assert {one.dotted_string for one in usage} == {"1.3.6.1.5.5.7.3.1", "1.3.6.1.5.5.7.3.2"}
    assert peer_of(pair.certificate_pem) == NL
    assert expiry_of(pair.certificate_pem) == CLOCK.now() + 397 * 86_400
    assert "PRIVATE" not in repr(pair)


@pytest.mark.parametrize("host", ["g1.gateway.eu.example", "G1.Gateway.eu.example", "de.node.eu.example"])
def test_a_host_name_that_is_another_partys_tls_name_is_refused(host: str) -> None:
    """Callers check the TLS name only, so with it in its certificate a node would pass for the gateway."""
    with pytest.raises(IdentityError):
        LocalAuthority.create("eu.example", clock=CLOCK).issue(NL, hosts=("localhost", host))
    LocalAuthority.create("eu.example", clock=CLOCK).issue(NL, hosts=("nl.eu.example", "nl.node.eu.example"))


def test_an_authority_issues_for_its_own_federation_only() -> None:
    with pytest.raises(IdentityError):
        LocalAuthority.create("other.example", clock=CLOCK).issue(NL)


@pytest.mark.parametrize(
    "names",
    [
        (),
        (x509.DNSName("nl.node.eu.example"),),
        (x509.UniformResourceIdentifier(str(NL)), x509.UniformResourceIdentifier("spiffe://eu.example/node/DE")),
        (x509.UniformResourceIdentifier(str(NL)), x509.UniformResourceIdentifier(str(NL))),
        (x509.UniformResourceIdentifier("https://eu.example/node/NL"),),
    ],
)
def test_a_certificate_without_exactly_one_party_is_refused(names: tuple[x509.GeneralName, ...]) -> None:
    with pytest.raises(IdentityError):
        peer_of(_certificate(*names))


@pytest.mark.parametrize("pem", [b"", b"x", b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"])
def test_what_is_no_certificate_is_refused(pem: bytes) -> None:
    for read in (peer_of, expiry_of, der_of):
        with pytest.raises(IdentityError):
            read(pem)
