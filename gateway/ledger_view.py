"""What of the ledger the hub operator may see: live edges that both sides were told of, counted, never listed (I11).

An edge of which one side only was told is a silent holding of the other, and moves nothing here: no number, and no hint
that a number may have changed. Neither does an edge of an exercise. Edges that were merged count once, by whoever was
told of any of them. What both know stays visible until the edge is void, so that a policy that is narrowed later takes
back no number.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from sqlalchemy import BindParameter, ColumnElement, Connection, bindparam, distinct, func, or_, select, update

from gateway import ledger_schema as schema
from gateway.ledger_rows import in_chunks

if TYPE_CHECKING:
    from gateway.edges import EdgeBook

_edge: Final = schema.edge.c
_told: Final = schema.told.c

VisibleEdges = dict[tuple[str, str, int], int]
"""(Party a, party b, namespace number) -> live edges of which both were told; party a is the lower name."""


def visible_edges(connection: Connection) -> VisibleEdges:
    """Count the edges that both sides were told of."""
    sides = (_edge.party_a, _edge.party_b, _edge.namespace)
    rows = connection.execute(select(*sides, func.count()).where(schema.VISIBLE).group_by(*sides))
    return {(party_a, party_b, namespace): number for party_a, party_b, namespace, number in rows}


def is_visible(connection: Connection, edge_id: bytes) -> bool:
    """Tell whether both sides were told of a live edge."""
    found = connection.execute(select(_edge.edge_id).where(_edge.edge_id == edge_id, schema.VISIBLE))
    return found.first() is not None


def show_edges(connection: Connection, book: EdgeBook) -> bool:
    """Note which edges both sides know now; return whether there are more or fewer of them than before.

    Those that were opened and told now, and merged with no other, are stored as they are to be.
    """
    roots = {book.merged.get(telling.edge_id, telling.edge_id) for telling in book.tellings}
    roots.update(book.merged.values())
    roots -= book.alone()
    shown = sum(connection.execute(_SHOW, {"some": some}).rowcount for some in in_chunks(sorted(roots)))
    if shown or book.visible():
        return True
    merged = sorted(book.merged)
    return bool(merged) and connection.execute(_COUNTED, {"some": merged}).first() is not None


def _both_told() -> ColumnElement[bool]:
    family = schema.edge.alias("family")
    of_edge = or_(family.c.edge_id == _edge.edge_id, family.c.merged_into == _edge.edge_id)
    recipients = (
        select(func.count(distinct(_told.recipient)))
        .select_from(family.join(schema.told, _told.edge_id == family.c.edge_id))
        .where(of_edge)
        .correlate(schema.edge)
    )
    return recipients.scalar_subquery() == 2


# Made once: to build these costs ten times what it costs to run them, and every group of answers runs them.
_SOME: Final[BindParameter[bytes]] = bindparam("some", expanding=True)
_SHOW: Final = (
    update(schema.edge)
    .where(_edge.edge_id.in_(_SOME), _edge.state == "live", _edge.exercise == "", ~_edge.visible, _both_told())
    .values(visible=True)
)
_COUNTED: Final = select(_edge.edge_id).where(_edge.edge_id.in_(_SOME), _edge.visible)
