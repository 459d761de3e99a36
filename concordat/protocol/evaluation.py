"""The signed request for an evaluation, as client and custodian understand it (docs/protocol.md 2, I5, I7)."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from google.protobuf.message import DecodeError

from concordat.clock import MS
from concordat.errors import IdentityError, ProtocolError, RefusedError
from concordat.identity.manifest import KeyClass
from concordat.identity.names import Role
from concordat.protocol.charter import OPERATION_ID
from concordat.protocol.check import accept_manifest
from concordat.wire.v1 import custodian_pb2 as wire

if TYPE_CHECKING:
    from concordat.identity.keys import SigningKey
    from concordat.identity.manifest import Manifest

DOMAIN: Final = "evaluate"
REQUEST_ID_BYTES: Final = 16
ELEMENT_BYTES: Final = 32
MAX_ELEMENTS: Final = 4096


@dataclass(frozen=True, slots=True)
class SignedEvaluation:
    """A request as it was signed, with the fields that were read from it."""

    raw: bytes
    signature: bytes
    fields: wire.EvaluateBody

    @property
    def hash(self) -> bytes:
        """Return the SHA-256 by which a repeat is told from another request under the same id."""
        return hashlib.sha256(self.raw).digest()


def sign_evaluation(fields: wire.EvaluateBody, key: SigningKey) -> SignedEvaluation:
    """Serialise and sign a request."""
    raw = fields.SerializeToString(deterministic=True)
    return SignedEvaluation(raw, key.sign(DOMAIN, raw), fields)


def accept_evaluation(
    request: wire.EvaluateRequest, *, manifest: Manifest, custodian: str, now: float
) -> SignedEvaluation:
    """Read a request and check all that does not need the custodian's store.

    Args:
        request: As received.
        manifest: The manifest that the custodian holds.
        custodian: SPIFFE id of the custodian that checks.
        now: Unix seconds.

    Raises:
        ProtocolError: Unreadable, or elements that are not the ones signed.
        IdentityError: Unknown requester or wrong signature.
        RefusedError: Another federation, manifest, custodian or epoch; expired; without justification.
    """
    try:
        fields = wire.EvaluateBody.FromString(request.body)
    except DecodeError as error:
        raise ProtocolError("the evaluation request cannot be read") from error
    signed = SignedEvaluation(request.body, request.signature, fields)
    # (1) Who asks is who signed, whoever carried the request.
    manifest.party_by_id(fields.requester).verify_key.verify(DOMAIN, request.signature, request.body)
    # (2) It is meant for this custodian, this federation and this manifest.
    if fields.federation != manifest.federation or fields.custodian != custodian:
        raise IdentityError("the request is meant for another federation or custodian")
    accept_manifest(fields.manifest_hash, manifest=manifest, now=now)
    if fields.key_class not in set(KeyClass) or fields.epoch not in manifest.live_epochs:
        raise RefusedError("the request names a key that is not in force", code="stale_epoch")
    # (3) It has not expired, and lives no longer than the federation allows.
    now_ms = int(now * MS)
    longest_ms = (manifest.max_header_age_s + manifest.max_skew_s) * MS
    if not now_ms < fields.expires_at_ms <= now_ms + longest_ms:
        raise RefusedError("the request has expired or lives too long", code="expired")
    # (4) It is justified (I5), and the elements are the ones that were signed.
    if len(fields.justification_hash) != hashlib.sha256().digest_size:
        raise RefusedError("the request has no justification", code="justification_missing")
    if len(fields.request_id) != REQUEST_ID_BYTES:
        raise ProtocolError("the request id has not 16 bytes")
    if not 1 <= fields.count <= MAX_ELEMENTS or len(request.elements) != fields.count * ELEMENT_BYTES:
        raise ProtocolError(f"a request has 1 to {MAX_ELEMENTS} elements, as many as its count says")
    if hashlib.sha256(request.elements).digest() != fields.elements_hash:
        raise ProtocolError("the elements are not the ones that were signed")
    if fields.exercise:
        _accept_exercise(fields, manifest)
    return signed


def _accept_exercise(fields: wire.EvaluateBody, manifest: Manifest) -> None:
    """(5) An exercise is an operation, and only nodes take part in those."""
    if not OPERATION_ID.fullmatch(fields.exercise):
        raise ProtocolError("the request names an exercise by what is no operation's id")
    if manifest.party_by_id(fields.requester).spiffe.role is not Role.NODE:
        raise RefusedError("only nodes take part in exercises")
