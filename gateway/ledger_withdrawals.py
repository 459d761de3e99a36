"""Withdrawals, receipts and feedback in a transaction of `gateway.ledger` (3.8).

A withdrawal reaches whoever was told of an edge with the reference, and the withdrawing party itself, whose own list
so tells a restored store what it had withdrawn. Whoever was not told hears nothing of it, nor of feedback; and a party
that was never told of an edge gets no receipt from the other side, whose silent holding it would show (I11).
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sqlalchemy import Connection, and_, insert, or_, select, update

from concordat.wire.v1 import check_pb2 as wire
from gateway import ledger_schema as schema
from gateway.ledger_rows import has_list, in_chunks

if TYPE_CHECKING:
    from collections.abc import Iterable

    from gateway.ledger_drafts import Draft
    from gateway.ledger_writes import FeedbackGiven, ReceiptTaken, Tombstone

Reference = tuple[str, bytes]
"""A party and its reference."""
Telling = tuple[str, bytes, bytes]
"""A recipient, its reference, and the edge of which it was told, which may have been merged since."""


@dataclass(frozen=True, slots=True)
class _Closing:
    """A live edge that a withdrawal makes void."""

    by: Reference
    visible: bool
    exercise: str


def withdraw(
    connection: Connection, writes: Iterable[Tombstone], draft: Draft, now_ms: int, *, close: bool = True
) -> None:
    """Bury references, make their edges void, free what was told of them and tell whoever knew; once for each.

    Args:
        connection: Inside the transaction.
        writes: Whose references.
        draft: Takes the notices, and every reference that is dead now.
        now_ms: Unix milliseconds.
        close: False leaves edges and keys as they are, for tests that show the match that is lost so.
    """
    asked = list(dict.fromkeys((write.party, write.reference) for write in writes))
    if not asked:
        return
    # Also those that were buried before: what of them is on its way is as dead.
    draft.dead |= frozenset(asked)
    fresh = _bury(connection, asked)
    edges = _close(connection, _live_with(connection, fresh), draft) if close else {}
    owed: dict[tuple[bytes, str], dict[str, Any]] = {}
    for party, reference in fresh:
        for tellings, exercise in edges.get((party, reference), ()):
            # Who was never told of the other side must not learn of it by the other side's receipt.
            knows = any(recipient == party for recipient, _, _ in tellings)
            for recipient, own_reference, edge_id in tellings:
                if recipient == party or not has_list(recipient):
                    continue
                notice = wire.Withdrawn(
                    party=party,
                    reference=reference,
                    edge_id=edge_id,
                    own_reference=own_reference,
                    withdrawn_at_ms=now_ms,
                )
                draft.tell(recipient, wire.Notice(withdrawn=notice), exercise)
                row = {"edge_id": edge_id, "signer": recipient, "withdrawer": party, "reference": reference}
                owed[edge_id, recipient] = row | {"owed_since_ms": now_ms, "forward": knows, "message": None}
        own = wire.Withdrawn(party=party, reference=reference, withdrawn_at_ms=now_ms)
        draft.tell(party, wire.Notice(withdrawn=own))
    if owed:
        connection.execute(insert(schema.receipt), list(owed.values()))


def _bury(connection: Connection, asked: list[Reference]) -> list[Reference]:
    """Store tombstones; return those that were not there."""
    grave = schema.tombstone
    known: set[Reference] = set()
    for some in in_chunks(sorted({reference for _, reference in asked})):
        rows = connection.execute(select(grave.c.party, grave.c.reference).where(grave.c.reference.in_(some)))
        known.update((party, reference) for party, reference in rows)
    fresh = [one for one in asked if one not in known]
    if fresh:
        connection.execute(insert(grave), [{"party": party, "reference": ref} for party, ref in fresh])
    return fresh


def _live_with(connection: Connection, fresh: list[Reference]) -> dict[bytes, _Closing]:
    """Return the live edges in which one of the references stands, each with the one that closes it and its marks."""
    edge, order = schema.edge.c, {one: at for at, one in enumerate(fresh)}
    found: dict[bytes, _Closing] = {}
    for party, column in ((edge.party_a, edge.reference_a), (edge.party_b, edge.reference_b)):
        for some in in_chunks(sorted({reference for _, reference in fresh})):
            marks = (edge.visible, edge.exercise)
            query = select(edge.edge_id, party, column, *marks).where(column.in_(some), schema.LIVE)
            for edge_id, name, reference, visible, exercise in connection.execute(query):
                mine = (name, reference)
                # Where both sides withdraw at once, the first one closes the edge.
                if mine in order and (edge_id not in found or order[mine] < order[found[edge_id].by]):
                    found[edge_id] = _Closing(mine, visible, exercise)
    return found


def _close(
    connection: Connection, edges: dict[bytes, _Closing], draft: Draft
) -> dict[Reference, list[tuple[list[Telling], str]]]:
    """Make edges void with all that were merged with them; return who had been told of them, by withdrawn reference."""
    edge, told = schema.edge, schema.told.c
    root_of = {edge_id: edge_id for edge_id in edges}
    for some in in_chunks(sorted(edges)):
        merged = select(edge.c.edge_id, edge.c.merged_into).where(edge.c.merged_into.in_(some))
        root_of.update((edge_id, root) for edge_id, root in connection.execute(merged))
    tellings: dict[bytes, list[Telling]] = {edge_id: [] for edge_id in edges}
    for some in in_chunks(sorted(root_of)):
        known = select(told.recipient, told.reference, told.edge_id).where(told.edge_id.in_(some))
        for recipient, reference, edge_id in connection.execute(known):
            tellings[root_of[edge_id]].append((recipient, reference, edge_id))
        connection.execute(update(edge).where(edge.c.edge_id.in_(some)).values(state="void"))
        # The keys are free: a value that is submitted again has another reference, and may be told of again.
        connection.execute(schema.told.delete().where(told.edge_id.in_(some)))
    draft.visible = draft.visible or any(closing.visible for closing in edges.values())
    by_reference: dict[Reference, list[tuple[list[Telling], str]]] = defaultdict(list)
    for edge_id in sorted(edges):
        closing = edges[edge_id]
        by_reference[closing.by].append((sorted(tellings[edge_id]), closing.exercise))
    return by_reference


def take_receipts(connection: Connection, writes: Iterable[ReceiptTaken], draft: Draft) -> None:
    """Keep receipts that are owed; hand each to who withdrew, where that knew of the edge. Anything else is none."""
    table = schema.receipt
    for write in writes:
        owed = and_(
            table.c.edge_id == write.edge_id,
            table.c.signer == write.signer,
            table.c.withdrawer == write.withdrawer,
            table.c.reference == write.reference,
            table.c.message.is_(None),
        )
        edge = schema.edge.c
        marks = select(table.c.forward, edge.exercise).join(schema.edge, edge.edge_id == table.c.edge_id).where(owed)
        found = connection.execute(marks).first()
        if found is None:
            continue
        forward, exercise = found
        connection.execute(update(table).where(owed).values(message=write.message))
        if forward:
            content = wire.ReceiptFor(receipt=wire.Receipt.FromString(write.message))
            draft.tell(write.withdrawer, wire.Notice(receipt=content), exercise)


def take_feedback(connection: Connection, writes: Iterable[FeedbackGiven], draft: Draft) -> None:
    """Hand feedback to the other side of an edge, once, and only where both were told of it (I11)."""
    edge, told, table = schema.edge, schema.told, schema.feedback
    for write in writes:
        row = connection.execute(
            select(edge.c.edge_id, edge.c.merged_into, edge.c.exercise).where(
                edge.c.edge_id == write.edge_id, edge.c.state != "void"
            )
        ).first()
        if row is None:
            continue
        root = row.merged_into or row.edge_id
        family = select(edge.c.edge_id).where(or_(edge.c.edge_id == root, edge.c.merged_into == root))
        known = connection.execute(
            select(told.c.recipient, told.c.other, told.c.reference).where(told.c.edge_id.in_(family))
        ).all()
        theirs = [one.reference for one in known if (one.recipient, one.other) == (write.other, write.signer)]
        mine = any((one.recipient, one.other) == (write.signer, write.other) for one in known)
        same = and_(table.c.edge_id == root, table.c.signer == write.signer)
        if not mine or not theirs or connection.execute(select(table.c.signer).where(same)).first() is not None:
            continue
        connection.execute(insert(table).values(edge_id=root, signer=write.signer, message=write.message))
        feedback = wire.Feedback.FromString(write.message)
        for reference in sorted(theirs):
            content = wire.FeedbackFor(feedback=feedback, own_reference=reference)
            draft.tell(write.other, wire.Notice(feedback=content), row.exercise)
