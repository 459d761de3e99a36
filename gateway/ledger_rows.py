"""Reading and writing the ledger's rows inside a transaction of `gateway.ledger`."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import ColumnElement, Connection, func, insert, select, update

from concordat.errors import IdentityError
from concordat.identity.names import Role, SpiffeId
from gateway import ledger_schema as schema
from gateway.edges import Edge, EdgeBook, EdgeCandidate
from gateway.ledger_writes import LedgerNotice, PublishedSequence

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from concordat.wire.v1 import check_pb2 as wire

_CHUNK: Final = 400


def read_number(connection: Connection, key: str) -> int:
    """Return a number of the `meta` table."""
    value = connection.execute(select(schema.meta.c.value).where(schema.meta.c.key == key)).scalar_one()
    return int(value)


def in_chunks(references: Sequence[bytes]) -> Iterator[Sequence[bytes]]:
    """Cut references into parts that fit one query."""
    for start in range(0, len(references), _CHUNK):
        yield references[start : start + _CHUNK]


def live_edges(connection: Connection, references: Sequence[bytes]) -> Iterable[Edge]:
    """Return the live edges in which one of the references stands."""
    edge = schema.edge.c
    found: dict[bytes, Edge] = {}
    for some in in_chunks(references):
        for column in (edge.reference_a, edge.reference_b):
            for row in connection.execute(select(schema.edge).where(column.in_(some), schema.LIVE)):
                references_of = {row.party_a: row.reference_a, row.party_b: row.reference_b}
                found[row.edge_id] = Edge(row.edge_id, references_of, _origin(row))
    return found.values()


def _origin(row: Any) -> EdgeCandidate:
    return EdgeCandidate(
        party_a=row.party_a,
        reference_a=row.reference_a,
        party_b=row.party_b,
        reference_b=row.reference_b,
        namespace=row.namespace,
        told_a=True,
        told_b=True,
        grade=row.grade,
        check_id=row.check_id,
        sweep_id=row.sweep_id,
        exercise=row.exercise,
    )


def store_edges(connection: Connection, book: EdgeBook, now_ms: int) -> None:
    """Write what a group of candidates changes."""
    edge, told = schema.edge, schema.told
    # Keys move between rows, so all rows that give one up do so before any row takes one.
    for edge_id, root in book.merged.items():
        connection.execute(update(edge).where(_is(edge_id)).values(state="merged", merged_into=root))
        connection.execute(update(edge).where(edge.c.merged_into == edge_id).values(merged_into=root))
    for edge_id in book.changed:
        connection.execute(update(edge).where(_is(edge_id)).values(state="merged"))
    for changed in book.changed.values():
        connection.execute(update(edge).where(_is(changed.edge_id)).values(state="live", **_sides(changed)))
    rows = [_row(opened, book.merged.get(opened.edge_id), now_ms) for opened in book.opened.values()]
    if rows:
        connection.execute(insert(edge), rows)
    tellings = [
        {
            "recipient": telling.recipient,
            "reference": telling.reference,
            "other": telling.other,
            "edge_id": telling.edge_id,
        }
        for telling in book.tellings
    ]
    if tellings:
        connection.execute(insert(told), tellings)


def _is(edge_id: bytes) -> ColumnElement[bool]:
    return schema.edge.c.edge_id == edge_id


def _sides(edge: Edge) -> dict[str, Any]:
    (party_a, reference_a, party_b), (_, reference_b, _) = edge.sides()
    return {"party_a": party_a, "reference_a": reference_a, "party_b": party_b, "reference_b": reference_b}


def _row(edge: Edge, merged_into: bytes | None, now_ms: int) -> dict[str, Any]:
    origin = edge.origin
    return {
        "edge_id": edge.edge_id,
        **_sides(edge),
        "namespace": origin.namespace,
        "grade": origin.grade,
        "check_id": origin.check_id,
        "sweep_id": origin.sweep_id,
        "state": "live" if merged_into is None else "merged",
        "merged_into": merged_into,
        "opened_at_ms": now_ms,
        "exercise": origin.exercise,
        "visible": False,
    }


def raise_sequences(connection: Connection, writes: list[PublishedSequence]) -> None:
    """Raise parties' sequences; none ever falls."""
    table = schema.party_sequence
    highest: dict[str, int] = {}
    for write in writes:
        highest[write.party] = max(highest.get(write.party, 0), write.sequence)
    for party, sequence in highest.items():
        held = connection.execute(select(table.c.sequence).where(table.c.party == party)).scalar_one_or_none()
        if held is None:
            connection.execute(insert(table).values(party=party, sequence=sequence))
        elif sequence > held:
            connection.execute(update(table).where(table.c.party == party).values(sequence=sequence))


@lru_cache(maxsize=4096)
def has_list(party: str) -> bool:
    """Tell whether a party takes notices.

    A partner has no session that could: its query's answer tells it (3.9), and a list would grow unread for ever.
    """
    try:
        return SpiffeId.parse(party).role is not Role.PARTNER
    except IdentityError:
        return True


def append_notices(connection: Connection, drafts: list[tuple[str, wire.Notice, str]]) -> tuple[LedgerNotice, ...]:
    """Append to recipients' lists, each without gaps; who has no list is told in another way."""
    table = schema.notice
    last: dict[str, int] = {}
    notices: list[LedgerNotice] = []
    rows: list[dict[str, Any]] = []
    for recipient, notice, exercise in drafts:
        if not has_list(recipient):
            continue
        if recipient not in last:
            query = select(func.max(table.c.cursor)).where(table.c.recipient == recipient)
            last[recipient] = connection.execute(query).scalar() or 0
        last[recipient] += 1
        notice.cursor = last[recipient]
        content = notice.SerializeToString(deterministic=True)
        notices.append(LedgerNotice(recipient, notice.cursor, content))
        rows.append({"recipient": recipient, "cursor": notice.cursor, "content": content, "exercise": exercise})
    if rows:
        connection.execute(insert(table), rows)
    return tuple(notices)
