"""Who gets through: the certificate, the manifest and the table must each say yes."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import grpc
import grpc.aio
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from concordat.errors import IdentityError, RefusedError, UnavailableError
from concordat.identity.certificates import TlsPair
from concordat.identity.names import Role, SpiffeId
from concordat.rpc.auth import HEALTH_METHODS, AuthorisationTable
from concordat.rpc.client import translate
from tests.unit.identity import small_federation
from tests.unit.identity.small_federation import FEDERATION, under
from tests.unit.rpc.echo import BOTH, DOWN, KINDS, NO_ROW, NODES, SERVICE, UNARY, UP, Calls, Echo, dialled, serving

if TYPE_CHECKING:
    from concordat.identity.home import Home
    from tests.unit.rpc.conftest import Parties

NL = SpiffeId(FEDERATION, Role.NODE, "NL")
DE = SpiffeId(FEDERATION, Role.NODE, "DE")


def issued_by(issuer: TlsPair, spiffe: SpiffeId) -> TlsPair:
    """Return a certificate for a name that another party's leaf has signed, with that leaf behind it."""
    parent = x509.load_pem_x509_certificate(issuer.certificate_pem)
    signer = serialization.load_pem_private_key(issuer.key_pem, None)
    assert isinstance(signer, ec.EllipticCurvePrivateKey)
    key = ec.generate_private_key(ec.SECP256R1())
    names = [x509.UniformResourceIdentifier(str(spiffe)), x509.DNSName(spiffe.dns_name)]
    certificate = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, spiffe.name)]))
        .issuer_name(parent.subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(parent.not_valid_before_utc)
        .not_valid_after(parent.not_valid_after_utc)
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .sign(signer, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    private = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    return TlsPair(private, certificate.public_bytes(pem) + issuer.certificate_pem)


def _trusting(home: Home, parties: Parties, roots: bytes | None = None) -> Home:
    return replace(home, tls_roots_pem=parties.authority.root_pem if roots is None else roots)


def _code(error: grpc.aio.AioRpcError) -> object:
    return dict(error.trailing_metadata() or ()).get("concordat-error")


@pytest.mark.parametrize("method", KINDS)
async def test_a_handler_of_any_kind_knows_who_called(parties: Parties, echo: Echo, method: str) -> None:
    async with (
        serving(parties.custodian, echo) as server,
        dialled(server, home=parties.node, to=parties.custodian.identity) as calls,
    ):
        replies = await calls.replies(method, b"0:peer")
    assert replies == [b"spiffe://test.example/node/NL"]


@pytest.mark.parametrize("method", KINDS)
async def test_a_role_that_the_row_does_not_name_is_refused_before_the_handler(
    parties: Parties, echo: Echo, method: str
) -> None:
    async with (
        serving(parties.custodian, echo) as server,
        dialled(server, home=parties.gateway, to=parties.custodian.identity) as calls,
    ):
        error = await calls.failure(method, b"0:ok")
    assert (error.code(), _code(error)) == (grpc.StatusCode.PERMISSION_DENIED, "refused")
    assert echo.calls == 0


async def test_a_method_without_a_row_and_one_that_does_not_exist_are_refused_alike(
    parties: Parties, echo: Echo
) -> None:
    table = AuthorisationTable.of({**dict.fromkeys(KINDS, NODES), f"/{SERVICE}/Later": NODES})
    async with (
        serving(parties.custodian, echo, table=table) as server,
        dialled(server, home=parties.node, to=parties.custodian.identity) as calls,
    ):
        no_row = await calls.failure(NO_ROW, b"0:ok")
        no_method = await calls.failure(f"/{SERVICE}/Nowhere", b"0:ok")
        no_handler = await calls.failure(f"/{SERVICE}/Later", b"0:ok")
    shown = [(one.code(), one.details(), _code(one)) for one in (no_row, no_method, no_handler)]
    assert shown == [(grpc.StatusCode.PERMISSION_DENIED, "Not permitted.", "refused")] * 3
    assert echo.calls == 0


@pytest.mark.parametrize("method", KINDS)
async def test_a_valid_certificate_of_a_party_outside_the_manifest_is_refused(
    parties: Parties, echo: Echo, method: str
) -> None:
    stranger = under(parties.node, parties.authority, spiffe=SpiffeId(FEDERATION, Role.NODE, "XX"))
    async with (
        serving(parties.custodian, echo) as server,
        dialled(server, home=stranger, to=parties.custodian.identity) as calls,
    ):
        error = await calls.failure(method, b"0:ok")
    assert (error.code(), _code(error)) == (grpc.StatusCode.UNAUTHENTICATED, "bad_identity")
    assert isinstance(translate(error, "custodian 1"), IdentityError)
    assert echo.calls == 0


async def test_a_row_can_name_single_parties(parties: Parties, echo: Echo) -> None:
    table = AuthorisationTable.of(dict.fromkeys(KINDS, NODES), {UNARY: {"DE"}})
    async with (
        serving(parties.custodian, echo, table=table) as server,
        dialled(server, home=parties.node, to=parties.custodian.identity) as calls,
    ):
        error = await calls.failure(UNARY, b"0:ok")
        assert await calls.replies(DOWN, b"0:ok") == [b"ok"]
    assert _code(error) == "refused"


@pytest.mark.parametrize("method", [UNARY, BOTH])
async def test_a_caller_of_a_foreign_authority_gets_no_connection(parties: Parties, echo: Echo, method: str) -> None:
    foreign = under(parties.node, small_federation.authority())
    # It trusts our server, so that only the server can object.
    foreign_caller = _trusting(foreign, parties)
    async with (
        serving(parties.custodian, echo) as server,
        dialled(server, home=foreign_caller, to=parties.custodian.identity) as calls,
    ):
        error = await calls.failure(method, b"0:ok")
    assert isinstance(translate(error, "custodian 1"), UnavailableError)
    assert echo.calls == 0


async def test_a_caller_with_an_expired_certificate_gets_no_connection(parties: Parties, echo: Echo) -> None:
    expired = under(parties.node, parties.authority, days=-1)
    async with (
        serving(parties.custodian, echo) as server,
        dialled(server, home=expired, to=parties.custodian.identity) as calls,
    ):
        error = await calls.failure(UNARY, b"0:ok")
    assert isinstance(translate(error, "custodian 1"), UnavailableError)
    assert echo.calls == 0


@pytest.mark.parametrize("fault", ["foreign", "expired", "other name"])
async def test_a_server_that_is_not_the_one_expected_is_an_identity_error(
    parties: Parties, echo: Echo, fault: str
) -> None:
    server_home, expected = parties.custodian, parties.custodian.identity
    caller = parties.node
    if fault == "foreign":
        caller = _trusting(caller, parties, small_federation.authority().root_pem)
    elif fault == "expired":
        server_home = under(server_home, parties.authority, days=-1)
    else:
        expected = SpiffeId(FEDERATION, Role.CUSTODIAN, "c2")
    async with serving(server_home, echo) as server, dialled(server, home=caller, to=expected) as calls:
        error = await calls.failure(UNARY, b"0:ok")
    translated = translate(error, "custodian 1")
    assert isinstance(translated, IdentityError), error.details()
    assert translated.message.startswith("custodian 1")
    assert echo.calls == 0


@pytest.mark.parametrize("victim", ["node/NL", "gateway/g1"])
async def test_a_partys_own_certificate_issues_no_other(parties: Parties, echo: Echo, victim: str) -> None:
    """A node that signs a certificate for another name with its own TLS key is no authority."""
    role, name = victim.split("/")
    forged = issued_by(parties.authority.issue(DE), SpiffeId(FEDERATION, Role(role), name))
    forger = _trusting(replace(parties.node, tls=forged), parties)
    async with (
        serving(parties.custodian, echo) as server,
        dialled(server, home=forger, to=parties.custodian.identity) as calls,
    ):
        error = await calls.failure(UNARY, b"0:ok")
    assert isinstance(translate(error, "custodian 1"), UnavailableError)
    async with (
        serving(replace(parties.custodian, tls=forged), echo) as server,
        dialled(server, home=parties.node, to=SpiffeId(FEDERATION, Role(role), name)) as calls,
    ):
        error = await calls.failure(UNARY, b"0:ok")
    assert isinstance(translate(error, victim), IdentityError)
    assert echo.calls == 0


async def test_a_nodes_certificate_does_not_serve_as_the_gateways(parties: Parties, echo: Echo) -> None:
    """It may serve by its key usage, so the name alone must stop it, whatever host was dialled."""
    async with (
        serving(parties.node, echo) as server,
        dialled(server, home=parties.node, to=parties.gateway.identity) as calls,
    ):
        error = await calls.failure(UNARY, b"0:ok")
    assert isinstance(translate(error, "gateway"), IdentityError)
    assert echo.calls == 0


async def test_a_caller_without_tls_gets_no_connection(parties: Parties, echo: Echo) -> None:
    async with (
        serving(parties.custodian, echo) as server,
        grpc.aio.insecure_channel(f"127.0.0.1:{server.port}") as plain,
    ):
        error = await Calls(plain).failure(UNARY, b"0:ok")
    assert error.code() is grpc.StatusCode.UNAVAILABLE
    assert echo.calls == 0


async def test_a_caller_without_a_certificate_gets_no_connection(parties: Parties, echo: Echo) -> None:
    credentials = grpc.ssl_channel_credentials(root_certificates=parties.authority.root_pem)
    options = [("grpc.ssl_target_name_override", parties.custodian.identity.dns_name)]
    async with (
        serving(parties.custodian, echo) as server,
        grpc.aio.secure_channel(f"127.0.0.1:{server.port}", credentials, options=options) as bare,
    ):
        error = await Calls(bare).failure(UNARY, b"0:ok")
    assert error.code() is grpc.StatusCode.UNAVAILABLE
    assert echo.calls == 0


async def test_a_party_suspended_while_connected_is_refused_at_its_next_call(parties: Parties, echo: Echo) -> None:
    suspended: set[SpiffeId] = set()
    async with (
        serving(parties.custodian, echo, known=lambda one: one not in suspended) as server,
        dialled(server, home=parties.node, to=parties.custodian.identity) as calls,
    ):
        assert await calls.replies(UP, b"0:ok") == [b"ok"]
        suspended.add(NL)
        error = await calls.failure(UP, b"0:ok")
    assert _code(error) == "bad_identity"


def test_the_table_refuses_what_it_does_not_name() -> None:
    table = AuthorisationTable.of({UNARY: {Role.NODE}}, {UNARY: {"NL"}})
    table.check(UNARY, NL, lambda _: True)
    with pytest.raises(RefusedError):
        table.check(UNARY, DE, lambda _: True)
    with pytest.raises(RefusedError):
        table.check(DOWN, NL, lambda _: True)
    with pytest.raises(RefusedError):
        table.check(HEALTH_METHODS[0], NL, lambda _: True)
    with pytest.raises(IdentityError):
        table.check(UNARY, NL, lambda _: False)


def test_a_table_whose_rows_cannot_match_is_a_mistake_seen_at_once() -> None:
    with pytest.raises(ValueError, match="names a method"):
        AuthorisationTable.of({"Evaluate": {Role.NODE}})
    with pytest.raises(ValueError, match="row of roles"):
        AuthorisationTable.of({}, {UNARY: {"NL"}})
