"""What of the ledger the hub operator may see: live edges that both sides were told of, counted, never listed (I11).

An edge of which one side only was told is a silent holding of the other, and moves nothing here: no number, and no hint
that a number may have changed. Edges that were merged count once, by whoever was told of any of them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import Connection, Select, distinct, func, or_, select

from gateway import ledger_schema as schema

if TYPE_CHECKING:
    from collections.abc import Collection

    from gateway.edges import EdgeBook

_family, _root, _told = schema.edge.alias("family"), schema.edge.alias("root"), schema.told
_SIDES: Final = (_root.c.party_a, _root.c.party_b, _root.c.namespace)

VisibleEdges = dict[tuple[str, str, int], int]
"""(Party a, party b, namespace number) -> live edges of which both were told; party a is the lower name."""


def visible_edges(connection: Connection) -> VisibleEdges:
    """Count the edges that both sides were told of."""
    found = _both_told().subquery()
    columns = (found.c.party_a, found.c.party_b, found.c.namespace)
    rows = connection.execute(select(*columns, func.count()).group_by(*columns))
    return {(party_a, party_b, namespace): number for party_a, party_b, namespace, number in rows}


def became_visible(connection: Connection, book: EdgeBook) -> bool:
    """Tell whether an edge that a group of writes has changed is one that both sides were told of."""
    roots = {book.merged.get(telling.edge_id, telling.edge_id) for telling in book.tellings}
    roots.update(book.merged.values())
    return bool(roots) and any_visible(connection, roots)


def any_visible(connection: Connection, roots: Collection[bytes]) -> bool:
    """Tell whether both sides were told of one of these live edges."""
    wanted = sorted(roots)
    family = or_(_family.c.edge_id.in_(wanted), _family.c.merged_into.in_(wanted))
    return connection.execute(_both_told().where(family).limit(1)).first() is not None


def _both_told() -> Select[Any]:
    return (
        select(_root.c.edge_id, *_SIDES)
        .select_from(
            _told.join(_family, _told.c.edge_id == _family.c.edge_id).join(
                _root, _root.c.edge_id == func.coalesce(_family.c.merged_into, _family.c.edge_id)
            )
        )
        .where(_root.c.state == "live")
        .group_by(_root.c.edge_id, *_SIDES)
        .having(func.count(distinct(_told.c.recipient)) == 2)
    )
