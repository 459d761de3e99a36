"""Withdrawals, receipts, feedback and incarnations in a transaction of `gateway.ledger` (3.8, 3.2).

A withdrawal reaches whoever was told of an edge with the reference, and the withdrawing party itself, whose own list
so tells a restored store what it had withdrawn. Whoever was not told hears nothing of it, nor of feedback (I11).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import Connection, and_, func, insert, or_, select, update

from concordat.wire.v1 import check_pb2 as wire
from gateway import ledger_schema as schema
from gateway.ledger_view import is_visible

if TYPE_CHECKING:
    from collections.abc import Iterable

    from gateway.ledger_drafts import Draft
    from gateway.ledger_writes import FeedbackGiven, Incarnated, ReceiptTaken, Tombstone


def withdraw(connection: Connection, writes: Iterable[Tombstone], draft: Draft, now_ms: int) -> None:
    """Bury references, make their edges void, free what was told of them and tell whoever knew; once for each."""
    grave = schema.tombstone
    for write in dict.fromkeys(writes):
        same = and_(grave.c.party == write.party, grave.c.reference == write.reference)
        if connection.execute(select(grave.c.party).where(same)).first() is not None:
            continue
        connection.execute(insert(grave).values(party=write.party, reference=write.reference))
        for edge_id in _live_with(connection, write):
            _close(connection, edge_id, write, draft, now_ms)
        own = wire.Withdrawn(party=write.party, reference=write.reference, withdrawn_at_ms=now_ms)
        draft.notices.append((write.party, wire.Notice(withdrawn=own)))


def _live_with(connection: Connection, write: Tombstone) -> list[bytes]:
    edge = schema.edge.c
    found: list[bytes] = []
    for party, reference in ((edge.party_a, edge.reference_a), (edge.party_b, edge.reference_b)):
        # The index begins with the reference.
        mine = and_(reference == write.reference, party == write.party, schema.LIVE)
        found += connection.execute(select(edge.edge_id).where(mine)).scalars()
    return sorted(found)


def _close(connection: Connection, root: bytes, write: Tombstone, draft: Draft, now_ms: int) -> None:
    edge, told = schema.edge, schema.told
    family = or_(edge.c.edge_id == root, edge.c.merged_into == root)
    edge_ids = list(connection.execute(select(edge.c.edge_id).where(family)).scalars())
    rows = connection.execute(
        select(told.c.recipient, told.c.reference, told.c.edge_id).where(told.c.edge_id.in_(edge_ids))
    ).all()
    draft.visible = draft.visible or is_visible(connection, root)
    connection.execute(update(edge).where(family).values(state="void"))
    # The keys are free: a value that is submitted again has another reference, and may be told of again.
    connection.execute(told.delete().where(told.c.edge_id.in_(edge_ids)))
    for recipient, reference, edge_id in sorted({(r, ref, e) for r, ref, e in rows if r != write.party}):
        notice = wire.Withdrawn(
            party=write.party,
            reference=write.reference,
            edge_id=edge_id,
            own_reference=reference,
            withdrawn_at_ms=now_ms,
        )
        draft.notices.append((recipient, wire.Notice(withdrawn=notice)))
        _owe(connection, edge_id, recipient, write, now_ms)


def _owe(connection: Connection, edge_id: bytes, signer: str, write: Tombstone, now_ms: int) -> None:
    table = schema.receipt
    same = and_(table.c.edge_id == edge_id, table.c.signer == signer)
    if connection.execute(select(table.c.signer).where(same)).first() is None:
        row = {"edge_id": edge_id, "signer": signer, "withdrawer": write.party, "reference": write.reference}
        connection.execute(insert(table).values(**row, owed_since_ms=now_ms, message=None))


def take_receipts(connection: Connection, writes: Iterable[ReceiptTaken], draft: Draft) -> None:
    """Keep receipts that are owed, and hand each to who withdrew; anything else is no receipt."""
    table = schema.receipt
    for write in writes:
        owed = and_(
            table.c.edge_id == write.edge_id,
            table.c.signer == write.signer,
            table.c.withdrawer == write.withdrawer,
            table.c.reference == write.reference,
            table.c.message.is_(None),
        )
        if connection.execute(update(table).where(owed).values(message=write.message)).rowcount:
            content = wire.ReceiptFor(receipt=wire.Receipt.FromString(write.message))
            draft.notices.append((write.withdrawer, wire.Notice(receipt=content)))


def take_feedback(connection: Connection, writes: Iterable[FeedbackGiven], draft: Draft) -> None:
    """Hand feedback to the other side of an edge, once, and only where both were told of it (I11)."""
    edge, told, table = schema.edge, schema.told, schema.feedback
    for write in writes:
        row = connection.execute(
            select(edge.c.edge_id, edge.c.merged_into).where(edge.c.edge_id == write.edge_id, edge.c.state != "void")
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
            draft.notices.append((write.other, wire.Notice(feedback=content)))


def incarnate(connection: Connection, writes: Iterable[Incarnated]) -> frozenset[tuple[str, bytes]]:
    """Note the incarnations in which stores attach; return those that a newer one had replaced before."""
    table = schema.incarnation
    old: set[tuple[str, bytes]] = set()
    for write in writes:
        latest = connection.execute(select(func.max(table.c.number)).where(table.c.party == write.party)).scalar() or 0
        same = and_(table.c.party == write.party, table.c.incarnation == write.incarnation)
        number = connection.execute(select(table.c.number).where(same)).scalar()
        if number is None:
            row = {"party": write.party, "incarnation": write.incarnation, "number": latest + 1}
            connection.execute(insert(table).values(**row))
        elif number < latest:
            old.add((write.party, write.incarnation))
    return frozenset(old)
