"""Coverage certificates and refusals: what a gateway, and what a recipient, signs at the end of a check (3.4)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from google.protobuf.message import DecodeError

from concordat.errors import IdentityError, ProtocolError
from concordat.wire.v1 import check_pb2 as wire

if TYPE_CHECKING:
    from concordat.identity.keys import SigningKey
    from concordat.identity.manifest import Manifest
    from concordat.protocol.check import SignedHeader

CERTIFICATE_DOMAIN: Final = "certificate"
REFUSAL_DOMAIN: Final = "refusal"
WRONG_ANSWER_MAC: Final = "wrong_answer_mac"
NEVER_ASKED: Final = "never_asked"


def sign_certificate(body: wire.CertificateBody, key: SigningKey) -> wire.Certificate:
    """Serialise and sign a certificate."""
    raw = body.SerializeToString(deterministic=True)
    return wire.Certificate(body=raw, signature=key.sign(CERTIFICATE_DOMAIN, raw))


def accept_certificate(
    certificate: wire.Certificate, *, header: SignedHeader, manifest: Manifest
) -> wire.CertificateBody:
    """Read a certificate and check that a gateway of the manifest signed it for this header.

    Raises:
        ProtocolError: Unreadable, or about another check.
        IdentityError: Signed by nobody who may.
    """
    try:
        body = wire.CertificateBody.FromString(certificate.body)
    except DecodeError as error:
        raise ProtocolError("the certificate cannot be read") from error
    gateway = next((g for g in manifest.gateways if g.id == body.gateway), None)
    if gateway is None:
        raise IdentityError("the certificate names a gateway that is not in the manifest")
    gateway.verify_key.verify(CERTIFICATE_DOMAIN, certificate.signature, certificate.body)
    if body.check_id != header.fields.check_id or body.header_hash != header.hash or body.epoch != header.fields.epoch:
        raise ProtocolError("the certificate is about another check")
    if body.federation != manifest.federation:
        raise ProtocolError("the certificate is of another federation")
    return body


def sign_refusal(body: wire.RefusalBody, key: SigningKey) -> wire.Refusal:
    """Serialise and sign the refusal of an edge."""
    raw = body.SerializeToString(deterministic=True)
    return wire.Refusal(body=raw, signature=key.sign(REFUSAL_DOMAIN, raw))


def accept_refusal(refusal: wire.Refusal, *, signer: str, manifest: Manifest) -> wire.RefusalBody:
    """Read a refusal and check that the session's party signed it.

    Raises:
        ProtocolError: Unreadable.
        IdentityError: Signed by another than the session's party.
    """
    try:
        body = wire.RefusalBody.FromString(refusal.body)
    except DecodeError as error:
        raise ProtocolError("the refusal cannot be read") from error
    if body.signer != signer:
        raise IdentityError("the refusal names another signer than the one that presents it")
    manifest.party_by_id(signer).verify_key.verify(REFUSAL_DOMAIN, refusal.signature, refusal.body)
    return body
