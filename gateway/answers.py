"""A holder's answer as candidates for edges (3.4 (2)): what it may say, and what of it anybody is told."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Final

import numpy as np

from concordat.errors import ProtocolError
from concordat.protocol.macs import ASKER_TOLD, HOLDER_TOLD, MAC_BYTES
from concordat.tokens import NAMESPACES_BY_NUMBER, REFERENCE_BYTES, column, length_prefixed
from gateway.edges import EdgeCandidate
from gateway.effects import Note

if TYPE_CHECKING:
    from collections.abc import Iterator

    from concordat.wire.v1 import check_pb2 as wire
    from gateway.effects import Outbox
    from gateway.tick import LiveCheck

_DECISIONS: Final = ASKER_TOLD | HOLDER_TOLD


def candidates(
    check: LiveCheck, answer: wire.Answer, *, holder: str, bit: tuple[int, np.uint64], out: Outbox
) -> Iterator[tuple[int, EdgeCandidate]]:
    """Yield position and candidate of every hit of which somebody is told, and note which items are answered.

    Args:
        check: That was answered.
        answer: As received.
        holder: The party that answered.
        bit: Its word and bit in the routing table's masks.
        out: Takes notes.

    Raises:
        ProtocolError: Columns that do not fit, or an answer to what was not asked.
    """
    word, mask = bit
    for position, reference, decision, mac, namespace in _rows(answer):
        # Only what this party was asked, and each item once. Whether a weak coincidence is confirmed is for the holder
        # to judge: the hub cannot read group tags.
        if position >= check.count or not check.sent[position, word] & mask:
            raise ProtocolError("an answer to an item that was not asked")
        if check.answered[position, word] & mask:
            continue
        if decision & HOLDER_TOLD and not check.audience_has(position, holder):
            raise ProtocolError("a holder decides to be told of a record whose audience leaves it out")
        check.answered[position, word] |= mask
        if not decision:
            # Nobody is told, and nothing is written: a silent holder leaves no trace here (I11).
            continue
        if check.query is not None and check.query.namespaces[position] != namespace:
            # 3.9 (3): the partner's right is to what it declared. A silent holder is in no note either (I11).
            if decision & ASKER_TOLD:
                out.put(Note("a value has another namespace than its query declared", check.asker))
            continue
        asked_as = check.reference(position)
        yield (
            position,
            EdgeCandidate(
                party_a=check.asker,
                reference_a=asked_as if check.query is None else partner_reference(check.asker, holder, reference),
                party_b=holder,
                reference_b=reference,
                namespace=namespace,
                grade=check.grade(position),
                told_a=bool(decision & ASKER_TOLD),
                told_b=bool(decision & HOLDER_TOLD),
                check_id=check.check_id,
                decision=decision,
                answer_mac=mac,
                look_once=check.header.fields.look_once,
                asked_as=asked_as,
                exercise=check.header.fields.operation if check.header.fields.exercise else "",
            ),
        )


def partner_reference(partner: str, holder: str, reference: bytes) -> bytes:
    """Return what the ledger calls a partner's side of an edge: its own name, which follows the holder's.

    A partner keeps no list that its references would be keys of, and may choose new ones, or one for all, each time:
    edges would be merged and rows written without end, while everybody's tick waits to be durable.
    """
    packed = length_prefixed(b"partner-side", partner.encode(), holder.encode(), reference)
    return hashlib.sha256(packed).digest()[:REFERENCE_BYTES]


def _rows(answer: wire.Answer) -> Iterator[tuple[int, bytes, int, bytes, int]]:
    """Return position, reference, decision, MAC and namespace of every hit.

    Raises:
        ProtocolError: Columns that differ in length, or a value that does not exist.
    """
    if len(answer.positions) % 4:
        raise ProtocolError("an answer's positions are no whole numbers")
    positions = np.frombuffer(answer.positions, dtype="<u4").tolist()
    references, macs = column(answer.references, REFERENCE_BYTES), column(answer.answer_macs, MAC_BYTES)
    lengths = {len(positions), len(references), len(macs), len(answer.decisions), len(answer.namespaces)}
    if len(lengths) != 1:
        raise ProtocolError("the columns of an answer differ in length")
    if any(decision & ~_DECISIONS for decision in answer.decisions):
        raise ProtocolError("an answer has an unknown decision")
    if any(number not in NAMESPACES_BY_NUMBER for number in answer.namespaces):
        raise ProtocolError("an answer has an unknown namespace")
    return zip(positions, references, answer.decisions, macs, answer.namespaces, strict=True)
