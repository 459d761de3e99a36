"""MACs under match secrets: the proof that a party knows a value and has not only seen its token (3.4, 3.6).

All columns are packed; results are packed in the same order. Every message starts with its own length-prefixed tag, and
all that follows has a fixed size or a length prefix, so that no MAC of one step can serve in another.
"""

from __future__ import annotations

import hashlib
import hmac
from typing import Final

from concordat.errors import ProtocolError
from concordat.tokens import REFERENCE_BYTES, SECRET_BYTES, TOKEN_BYTES, column, length_prefixed

MAC_BYTES: Final = 32
CONFIRM_BYTES: Final = 16
TAG_BYTES: Final = 16
"""Of a pair of group tags: line tag and record tag, 8 bytes each."""
_WHOLE_BYTES: Final = 64
_PAD_END: Final = MAC_BYTES + TAG_BYTES
# Bits of a holder's decision in an answer.
ASKER_TOLD: Final = 1
HOLDER_TOLD: Final = 2
# Bits of a holder's decision in a pair proof of a sweep.
ADDRESSEE_MAY_BE_TOLD: Final = 1
SENDER_IS_TOLD: Final = 2


def _columns(*packed: tuple[bytes, int]) -> list[list[bytes]]:
    columns = [column(entries, width) for entries, width in packed]
    if len({len(entries) for entries in columns}) != 1:
        raise ProtocolError("the columns of a batch differ in length")
    return columns


def ask_proofs(
    secrets: bytes, header_hash: bytes, tokens: bytes, references: bytes, audiences: bytes = b""
) -> tuple[bytes, bytes]:
    """Return the ask MACs, 32 bytes an entry, and the pads of the group tags, 16 bytes an entry.

    Both are parts of one MAC(match secret, "ask" | header hash | token | the asker's reference | audience index) of 64
    bytes: the first 32 prove the ask; the next 16 hide the group tags from whoever has no match secret. It is keyed
    BLAKE2b (RFC 7693): a third of HMAC's time for each item of each check, at the asker and for each hit at the holder.

    Args:
        secrets: Match secrets, 32 bytes each.
        header_hash: SHA-256 of the asker's header.
        tokens: 16 bytes each.
        references: The asker's, 16 bytes each.
        audiences: Indexes of the audience sets, one byte each; empty where the check has no such column, and the MAC
            then has no such field. So the hub cannot put an item under another set than its asker did.

    Raises:
        ProtocolError: The columns differ in length.
    """
    prefix = length_prefixed(b"ask", header_hash)
    columns = _columns((secrets, SECRET_BYTES), (tokens, TOKEN_BYTES), (references, REFERENCE_BYTES))
    number = len(columns[0])
    if len(audiences) not in (0, number):
        raise ProtocolError("the columns of a batch differ in length")
    indexes = [audiences[at : at + 1] for at in range(number)] if audiences else [b""] * number
    mac = hashlib.blake2b
    whole = [
        mac(prefix + token + reference + index, key=secret, digest_size=_WHOLE_BYTES).digest()
        for secret, token, reference, index in zip(*columns, indexes, strict=True)
    ]
    return b"".join([one[:MAC_BYTES] for one in whole]), b"".join([one[MAC_BYTES:_PAD_END] for one in whole])


def ask_macs(secrets: bytes, header_hash: bytes, tokens: bytes, references: bytes) -> bytes:
    """Return the ask MACs alone, where neither group tags nor a column of audience indexes go with them."""
    return ask_proofs(secrets, header_hash, tokens, references)[0]


def masked_tags(tags: bytes, pads: bytes) -> bytes:
    """Hide a column of group tags under its pads, or read one that is hidden.

    Raises:
        ProtocolError: The columns differ in length.
    """
    if len(tags) != len(pads):
        raise ProtocolError("the columns of a batch differ in length")
    return (int.from_bytes(tags, "big") ^ int.from_bytes(pads, "big")).to_bytes(len(tags), "big")


def answer_mac(secret: bytes, header_hash: bytes, holder: str, references: tuple[bytes, bytes], decision: int) -> bytes:
    """Return MAC(match secret, "answer" | header hash | holder | both references | decision).

    Args:
        secret: Match secret, 32 bytes.
        header_hash: SHA-256 of the asker's header.
        holder: SPIFFE id of the party that answers.
        references: The asker's and the holder's reference, in this order.
        decision: `ASKER_TOLD` and `HOLDER_TOLD` as bits.

    Raises:
        ProtocolError: A reference that has not 16 bytes, or a decision that is no byte.
    """
    message = length_prefixed(b"answer", header_hash, holder.encode()) + _fixed(references, decision)
    return hmac.digest(secret, message, "sha256")


def confirm_macs(secrets: bytes, sweep_id: bytes) -> bytes:
    """Return the first 16 bytes of MAC(match secret, "sweep" | sweep id) an entry.

    They are equal for equal values, for the hub's counts. It is keyed BLAKE2b (RFC 7693), made once for each row of a
    sweep set: 16 bytes are enough where nobody can try but by taking part.
    """
    message, mac = length_prefixed(b"sweep", sweep_id), hashlib.blake2b
    return b"".join(
        [mac(message, key=secret, digest_size=CONFIRM_BYTES).digest() for secret in column(secrets, SECRET_BYTES)]
    )


def pair_mac(
    secret: bytes, sweep_id: bytes, parties: tuple[str, str], references: tuple[bytes, bytes], decision: int
) -> bytes:
    """Return MAC(match secret, "pair" | sweep id | sender | addressee | both references | decision).

    Args:
        secret: Match secret, 32 bytes.
        sweep_id: The sweep, 16 bytes.
        parties: SPIFFE ids of sender and addressee.
        references: The sender's and the addressee's reference.
        decision: `ADDRESSEE_MAY_BE_TOLD` and `SENDER_IS_TOLD` as bits.

    Raises:
        ProtocolError: A reference that has not 16 bytes, or a decision that is no byte.
    """
    sender, addressee = parties
    message = length_prefixed(b"pair", sweep_id, sender.encode(), addressee.encode()) + _fixed(references, decision)
    return hmac.digest(secret, message, "sha256")


def _fixed(references: tuple[bytes, bytes], decision: int) -> bytes:
    """Join what stands without a length prefix, so must have one size only; some of it comes from a peer."""
    if any(len(reference) != REFERENCE_BYTES for reference in references) or not 0 <= decision <= 255:
        raise ProtocolError("a MAC is over two references of 16 bytes and a decision of one byte")
    return references[0] + references[1] + bytes([decision])


def equal(left: bytes, right: bytes) -> bool:
    """Compare two MACs in a time that does not depend on where they differ."""
    return hmac.compare_digest(left, right)
