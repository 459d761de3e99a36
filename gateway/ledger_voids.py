"""An edge that one of its recipients refuses becomes void, in a transaction of `gateway.ledger` (3.4 step 4)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import Connection, or_, select, update

from concordat.wire.v1 import check_pb2 as wire
from gateway import ledger_schema as schema
from gateway.ledger_view import is_visible

if TYPE_CHECKING:
    from gateway.ledger_drafts import Draft
    from gateway.ledger_writes import VoidEdge


def void(connection: Connection, write: VoidEdge, draft: Draft, now_ms: int) -> None:
    """Make an edge void, with all that were merged with it, free its keys and tell the other told recipients."""
    edge, told = schema.edge, schema.told
    row = connection.execute(
        select(
            *(edge.c.edge_id, edge.c.merged_into, edge.c.state, edge.c.party_a, edge.c.party_b, edge.c.exercise)
        ).where(edge.c.edge_id == write.edge_id)
    ).first()
    if row is None or row.state == "void" or {row.party_a, row.party_b} != {write.refuser, write.other}:
        return
    root = row.merged_into or row.edge_id
    family = or_(edge.c.edge_id == root, edge.c.merged_into == root)
    edge_ids = list(connection.execute(select(edge.c.edge_id).where(family)).scalars())
    rows = connection.execute(select(told.c.recipient, told.c.edge_id).where(told.c.edge_id.in_(edge_ids))).all()
    if not any(recipient == write.refuser for recipient, _ in rows):
        return
    draft.visible = draft.visible or is_visible(connection, root)
    connection.execute(update(edge).where(family).values(state="void"))
    connection.execute(told.delete().where(told.c.edge_id.in_(edge_ids)))
    draft.refused.append(write)
    for recipient, edge_id in sorted({(r, e) for r, e in rows if r != write.refuser}):
        voided = wire.Voided(edge_id=edge_id, voided_at_ms=now_ms)
        draft.tell(recipient, wire.Notice(voided=voided), row.exercise)
