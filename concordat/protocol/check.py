"""The header that an asker signs once a batch, and the rules by which a hub and a holder accept it (3.4)."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from google.protobuf.message import DecodeError

from concordat.clock import MS
from concordat.errors import IdentityError, ProtocolError, RefusedError
from concordat.protocol.macs import MAC_BYTES, TAG_BYTES
from concordat.tokens import REFERENCE_BYTES, TOKEN_BYTES, length_prefixed
from concordat.wire.v1 import check_pb2 as wire

if TYPE_CHECKING:
    from collections.abc import Iterable

    from concordat.identity.keys import SigningKey, VerifyKey
    from concordat.identity.manifest import Manifest

DOMAIN: Final = "check"
CHECK_ID_BYTES: Final = 16
MAX_ITEMS: Final = 4096
MAX_AUDIENCE_SETS: Final = 255
MAX_CLAUSES: Final = 1024
# What a check costs beside its items, counted as items, so that many small checks are bounded too.
CHECK_COST: Final = 16
EVERYONE: Final = (wire.AudienceSet(everyone=True),)
"""The audience sets of a check that any holder may answer."""


@dataclass(frozen=True, slots=True)
class SignedHeader:
    """A header as it was signed, with the fields that were read from it."""

    raw: bytes
    signature: bytes
    fields: wire.CheckHeader

    @property
    def hash(self) -> bytes:
        """Return the SHA-256 that the MACs of the batch are bound to."""
        return hashlib.sha256(self.raw).digest()


def sign_header(fields: wire.CheckHeader, key: SigningKey) -> SignedHeader:
    """Serialise and sign a header."""
    raw = fields.SerializeToString(deterministic=True)
    return SignedHeader(raw, key.sign(DOMAIN, raw), fields)


def parse_header(raw: bytes, signature: bytes) -> SignedHeader:
    """Read a header without judging it.

    Raises:
        ProtocolError: The bytes are no header.
    """
    try:
        fields = wire.CheckHeader.FromString(raw)
    except DecodeError as error:
        raise ProtocolError("the check header cannot be read") from error
    if len(fields.check_id) != CHECK_ID_BYTES:
        raise ProtocolError("the check id has not 16 bytes")
    return SignedHeader(raw, signature, fields)


def accept_header(header: SignedHeader, *, manifest: Manifest, asker: str, now: float) -> None:
    """Check a header against the manifest, the session's asker and the clock.

    Args:
        header: As received.
        manifest: The manifest in force at the one who checks.
        asker: SPIFFE id of the party on whose session, or in whose name, the header came.
        now: Unix seconds.

    Raises:
        IdentityError: Another asker, an unknown party, or a wrong signature.
        RefusedError: Another federation or manifest, expired, from the future, or without justification.
    """
    fields = header.fields
    # (1) The header speaks for the party that presents it, and for nobody else.
    if fields.asker != asker:
        raise IdentityError("the header names another asker than the one that presents it")
    key: VerifyKey = manifest.party_by_id(asker).verify_key
    key.verify(DOMAIN, header.signature, header.raw)
    # (2) It belongs to this federation and to the manifest in force.
    if fields.federation != manifest.federation:
        raise RefusedError("the header names another federation")
    accept_manifest(fields.manifest_hash, manifest=manifest, now=now)
    if fields.epoch not in manifest.live_epochs:
        raise RefusedError("the header names an epoch that is not in force", code="stale_epoch")
    # (3) It is neither expired nor from the future, and lives no longer than the federation allows.
    accept_times(fields.issued_at_ms, fields.expires_at_ms, manifest=manifest, now=now)
    # (4) No check without justification (I5).
    if len(fields.justification_hash) != hashlib.sha256().digest_size or not fields.purpose:
        raise RefusedError("the header has no justification or purpose", code="justification_missing")
    if not 1 <= fields.count <= MAX_ITEMS:
        raise ProtocolError(f"a check has 1 to {MAX_ITEMS} items, not {fields.count}")


def accept_manifest(manifest_hash: bytes, *, manifest: Manifest, now: float) -> None:
    """Refuse what was signed under another manifest, and all of it once the manifest in force has expired.

    Folders are checked when a process starts; one that is never restarted must not go on under an old manifest.

    Raises:
        RefusedError: code `stale_manifest`.
    """
    if manifest_hash != manifest.hash:
        raise RefusedError("the request names another manifest", code="stale_manifest")
    if now >= manifest.expires:
        raise RefusedError("the manifest in force has expired", code="stale_manifest")


def accept_times(issued_at_ms: int, expires_at_ms: int, *, manifest: Manifest, now: float) -> None:
    """Refuse what is expired, from the future, or meant to live too long.

    Raises:
        RefusedError: code `expired`.
    """
    now_ms = int(now * MS)
    skew_ms = manifest.max_skew_s * MS
    if issued_at_ms > now_ms + skew_ms:
        raise RefusedError("the request is from the future", code="expired")
    if expires_at_ms <= now_ms or expires_at_ms - issued_at_ms > manifest.max_header_age_s * MS:
        raise RefusedError("the request has expired or lives too long", code="expired")


def accept_margin(fields: wire.CheckHeader, *, manifest: Manifest, now: float) -> None:
    """Refuse at the hub what a holder may refuse by its own clock, which differs from the hub's by half the skew.

    A holder that refuses a question is timed out for everybody in that tick, and only who may hold a value is asked: so
    no asker may be able to bring that about (I11).

    Raises:
        RefusedError: code `expired`.
    """
    now_ms, margin_ms = int(now * MS), manifest.max_skew_s * MS // 2
    if fields.issued_at_ms > now_ms + margin_ms or fields.expires_at_ms < now_ms + margin_ms:
        raise RefusedError("the check is from the future or expires before holders can have it", code="expired")


def accept_items(items: wire.CheckItems, *, count: int, exact: bool) -> None:
    """Check that the columns fit each other and the header's count.

    Args:
        items: Columns.
        count: The header's count.
        exact: True at the hub, which gets all items; False at a holder, which gets some.

    Raises:
        ProtocolError: Columns that differ, or more items than the header allows.
    """
    number = len(items.tokens) // TOKEN_BYTES
    sizes = (
        (len(items.tokens), TOKEN_BYTES),
        (len(items.references), REFERENCE_BYTES),
        (len(items.ask_macs), MAC_BYTES),
        (len(items.grades), 1),
    )
    if any(size != number * width for size, width in sizes) or len(items.audiences) not in (0, number):
        raise ProtocolError("the columns of a check differ in length")
    if len(items.group_tags) not in (0, number * TAG_BYTES):
        raise ProtocolError("the columns of a check differ in length")
    if number > count or (exact and number != count) or number == 0:
        raise ProtocolError("the check has another number of items than its header says")
    if set(items.grades) - {wire.GRADE_STRONG, wire.GRADE_WEAK}:
        raise ProtocolError("a grade is neither strong nor weak")


def audience_hash(salt: bytes, sets: Iterable[wire.AudienceSet]) -> bytes:
    """Return the salted hash of the audience sets that a header carries."""
    encoded = [audience.SerializeToString(deterministic=True) for audience in sets]
    return hashlib.sha256(length_prefixed(b"audience", salt, *encoded)).digest()


def may_have(audience: wire.AudienceSet, party: str) -> bool:
    """Tell whether an audience set names a party, with or without conditions, which only the party can test."""
    return audience.everyone or party in audience.parties or any(party in clause.parties for clause in audience.clauses)


def accept_audience(header: SignedHeader, salt: bytes, sets: list[wire.AudienceSet], indexes: bytes) -> None:
    """Check the audience sets against the header, and that every item names one of them.

    Raises:
        ProtocolError: A set missing, too many or too large, or another hash than the header's.
    """
    if not 1 <= len(sets) <= MAX_AUDIENCE_SETS or max(indexes, default=0) >= len(sets):
        raise ProtocolError("an item names an audience set that is not there")
    if any(len(one.clauses) > MAX_CLAUSES for one in sets):
        raise ProtocolError("an audience set has more clauses than policies can make")
    if audience_hash(salt, sets) != header.fields.audience_hash:
        raise ProtocolError("the audience sets are not the ones that the header names")
