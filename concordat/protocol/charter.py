"""Charters: signed by the opener, countersigned by all participants, the operation key sealed to each (3.6)."""

from __future__ import annotations

import hashlib
import re
import unicodedata
from typing import TYPE_CHECKING, Final

from google.protobuf.message import DecodeError

from concordat.errors import IdentityError, ProtocolError, RefusedError
from concordat.identity.names import Role
from concordat.tokens import MaskKey, length_prefixed
from concordat.wire.v1 import operations_pb2 as wire

if TYPE_CHECKING:
    from concordat.identity.keys import SealingKey, SigningKey
    from concordat.identity.manifest import Manifest

CHARTER_DOMAIN: Final = "charter"
KEY_DOMAIN: Final = "operation-key"
OPERATION_ID: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
MAX_TITLE: Final = 200
MAX_READERS: Final = 64
MAX_OFFICER: Final = 200


def charter_hash(raw: bytes) -> bytes:
    """Return the SHA-256 by which a charter is named."""
    return hashlib.sha256(raw).digest()


def parse_charter(raw: bytes) -> wire.Charter:
    """Read a charter and check its form.

    Raises:
        ProtocolError: Unreadable, or a field out of its limits; names the field.
    """
    try:
        charter = wire.Charter.FromString(raw)
    except DecodeError as error:
        raise ProtocolError("the charter cannot be read") from error
    if not OPERATION_ID.fullmatch(charter.operation):
        raise ProtocolError("charter: field operation is not an operation id")
    if len(charter.title) > MAX_TITLE:
        raise ProtocolError(f"charter: field title is over {MAX_TITLE} characters")
    participants = list(charter.participants)
    if len(participants) < 2 or participants != sorted(set(participants)) or charter.opener not in participants:
        raise ProtocolError("charter: field participants must be two or more, ascending, the opener among them")
    readers = list(charter.readers)
    if len(readers) > MAX_READERS or readers != sorted(set(readers)):
        raise ProtocolError(f"charter: field readers must be ascending and at most {MAX_READERS}")
    if not charter.namespaces or list(charter.namespaces) != sorted(set(charter.namespaces)):
        raise ProtocolError("charter: field namespaces must be ascending and not empty")
    if charter.ends_at <= charter.starts_at:
        raise ProtocolError("charter: field ends_at is not after starts_at")
    if len(charter.operation_key_hash) != hashlib.sha256().digest_size:
        raise ProtocolError("charter: field operation_key_hash is no SHA-256")
    if len(charter.justification_hash) != hashlib.sha256().digest_size or not charter.purpose:
        raise RefusedError("charter: field justification_hash or purpose is missing", code="justification_missing")
    _check_officers(charter)
    return charter


def _check_officers(charter: wire.Charter) -> None:
    for officer in (charter.officer, charter.second_officer):
        if len(officer) > MAX_OFFICER or officer != officer.strip() or not officer.isprintable():
            raise ProtocolError(f"charter: an officer's pseudonym is over {MAX_OFFICER} characters, or not printable")
    if charter.second_officer and same_officer(charter.officer, charter.second_officer):
        raise ProtocolError("charter: field second_officer must be another than officer, who must be named")


def same_officer(first: str, second: str) -> bool:
    """Tell whether two pseudonyms are of one person as far as one can see; nobody is a second one beside no one."""
    one, other = folded_officer(first), folded_officer(second)
    return not one or not other or one == other


def folded_officer(officer: str) -> str:
    """Return a pseudonym without what two ways of writing it differ in; empty where it names nobody."""
    return re.sub(r"[\W_]+", "-", unicodedata.normalize("NFKC", officer).casefold()).strip("-")


def accept_charter(raw: bytes, signature: bytes, *, manifest: Manifest) -> wire.Charter:
    """Read a charter and check that its opener, a party of this federation, signed it.

    Raises:
        ProtocolError: Unreadable or out of limits.
        IdentityError: Unknown party or wrong signature.
        RefusedError: Another federation, an epoch that is not in force, a participant that is no node, or a reader that
            is no partner.
    """
    charter = parse_charter(raw)
    if charter.federation != manifest.federation:
        raise RefusedError("the charter names another federation")
    if charter.epoch not in manifest.live_epochs:
        raise RefusedError("the charter names an epoch that is not in force", code="stale_epoch")
    for participant in charter.participants:
        # Each gets the operation key; with it the hub's own console could tell labels from sweep tokens.
        if manifest.party_by_id(participant).spiffe.role is not Role.NODE:
            raise RefusedError("the charter names a participant that is no node")
    for reader in charter.readers:
        # A participant reads the report anyway; whoever else gets it has its own door, and this one is the partners'.
        if manifest.party_by_id(reader).spiffe.role is not Role.PARTNER:
            raise RefusedError("the charter names a reader that is no partner")
    accept_signature(raw, charter.opener, signature, manifest=manifest)
    return charter


def accept_signature(raw: bytes, party: str, signature: bytes, *, manifest: Manifest) -> None:
    """Check one party's signature over a charter.

    Raises:
        IdentityError: Unknown party or wrong signature.
    """
    manifest.party_by_id(party).verify_key.verify(CHARTER_DOMAIN, signature, raw)


def seal_key(
    key: bytes, raw_charter: bytes, recipient: str, *, manifest: Manifest, opener: SigningKey
) -> wire.SealedKey:
    """Seal an operation key to one participant and sign the ciphertext."""
    digest = charter_hash(raw_charter)
    info = length_prefixed(KEY_DOMAIN.encode(), digest, recipient.encode())
    ciphertext = manifest.party_by_id(recipient).seal_to.seal(info, key)
    signature = opener.sign(KEY_DOMAIN, info + ciphertext)
    return wire.SealedKey(recipient=recipient, ciphertext=ciphertext, signature=signature)


def accept_sealed_key(sealed: wire.SealedKey, raw_charter: bytes, *, manifest: Manifest) -> bytes:
    """Check that a charter's opener signed a sealed key; return the info that it was sealed with.

    Raises:
        IdentityError: Not signed by the opener for this recipient and charter.
    """
    charter = parse_charter(raw_charter)
    info = length_prefixed(KEY_DOMAIN.encode(), charter_hash(raw_charter), sealed.recipient.encode())
    manifest.party_by_id(charter.opener).verify_key.verify(KEY_DOMAIN, sealed.signature, info + sealed.ciphertext)
    return info


def open_key(sealed: wire.SealedKey, raw_charter: bytes, *, manifest: Manifest, own: str, key: SealingKey) -> MaskKey:
    """Open the operation key, refusing any other than the one that the charter names.

    Raises:
        IdentityError: Not sealed to this party, not signed by the opener, or another key than the charter's.
    """
    if sealed.recipient != own:
        raise IdentityError("the operation key is sealed to another party")
    info = accept_sealed_key(sealed, raw_charter, manifest=manifest)
    opened = MaskKey(key.open(info, sealed.ciphertext))
    if opened.hash != parse_charter(raw_charter).operation_key_hash:
        raise IdentityError("the operation key is not the one that the charter names")
    return opened
