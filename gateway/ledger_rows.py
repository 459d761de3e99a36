"""Reading and writing the ledger's rows inside a transaction of `gateway.ledger`."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import BindParameter, ColumnElement, Connection, bindparam, func, insert, select, union_all, update

from concordat.errors import IdentityError
from concordat.identity.names import Role, SpiffeId
from gateway import ledger_schema as schema
from gateway.edges import Edge, EdgeBook, EdgeCandidate
from gateway.ledger_writes import LedgerNotice, LoggedCheck, PublishedSequence

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from concordat.wire.v1 import check_pb2 as wire

_CHUNK: Final = 400
# Made once: to build a statement costs more than to run it.
_SOME: Final[BindParameter[bytes]] = bindparam("some", expanding=True)
_MARKS: Final = select(schema.meta.c.key, schema.meta.c.value).where(schema.meta.c.key.in_(["position", "incarnation"]))
_SET_POSITION: Final = update(schema.meta).where(schema.meta.c.key == "position").values(value=bindparam("at"))
_SEQUENCES: Final = select(schema.party_sequence.c.party, schema.party_sequence.c.sequence)
_SEQUENCE: Final = select(schema.party_sequence.c.sequence).where(schema.party_sequence.c.party == bindparam("of"))
_RAISE: Final = (
    update(schema.party_sequence)
    .where(schema.party_sequence.c.party == bindparam("of"), schema.party_sequence.c.sequence < bindparam("to"))
    .values(sequence=bindparam("to"))
)
_ADD_SEQUENCE: Final = insert(schema.party_sequence)
# No OR: SQLite would look through all edges.
_LIVE_EDGES: Final = union_all(
    *(
        select(schema.edge).where(column.in_(_SOME), schema.LIVE)
        for column in (schema.edge.c.reference_a, schema.edge.c.reference_b)
    )
)
_TOLD: Final = select(schema.told.c.recipient, schema.told.c.reference, schema.told.c.other).where(
    schema.told.c.reference.in_(_SOME)
)
_DEAD: Final = select(schema.tombstone.c.party, schema.tombstone.c.reference).where(
    schema.tombstone.c.reference.in_(_SOME)
)
_LAST_CURSOR: Final = select(func.max(schema.notice.c.cursor)).where(schema.notice.c.recipient == bindparam("of"))
_LOGGED: Final = select(schema.check_log.c.check_id).where(
    schema.check_log.c.asker == bindparam("of"), schema.check_log.c.check_id.in_(_SOME)
)
_ADD_CHECKS: Final = insert(schema.check_log)
_ADD_EDGES: Final = insert(schema.edge)
_ADD_TOLD: Final = insert(schema.told)
_ADD_NOTICES: Final = insert(schema.notice)


def read_marks(connection: Connection) -> tuple[int, bytes]:
    """Return the ledger's position and its incarnation."""
    found = {key: value for key, value in connection.execute(_MARKS)}  # noqa: C416 -- dict() of rows has no type
    return int(found["position"]), bytes(found["incarnation"])


def set_position(connection: Connection, position: int) -> None:
    """Move the ledger's position."""
    connection.execute(_SET_POSITION, {"at": str(position).encode()})


def read_sequences(connection: Connection) -> dict[str, int]:
    """Return every party's published sequence."""
    return {party: sequence for party, sequence in connection.execute(_SEQUENCES)}  # noqa: C416 -- as above


def in_chunks(references: Sequence[bytes]) -> Iterator[Sequence[bytes]]:
    """Cut references into parts that fit one query."""
    for start in range(0, len(references), _CHUNK):
        yield references[start : start + _CHUNK]


def live_edges(connection: Connection, references: Sequence[bytes]) -> Iterable[Edge]:
    """Return the live edges in which one of the references stands."""
    found: dict[bytes, Edge] = {}
    for some in in_chunks(references):
        for row in connection.execute(_LIVE_EDGES, {"some": some}):
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


def know_told(connection: Connection, book: EdgeBook, references: Sequence[bytes], *, dead: bool) -> None:
    """Read who was told by one of the references, and which of them are withdrawn."""
    for some in in_chunks(references):
        told = connection.execute(_TOLD, {"some": some})
        book.told.update((recipient, reference, other) for recipient, reference, other in told)
        if dead:
            graves = connection.execute(_DEAD, {"some": some})
            book.dead.update((party, reference) for party, reference in graves)


def store_edges(connection: Connection, book: EdgeBook, now_ms: int) -> None:
    """Write what a group of candidates changes."""
    visible = book.visible()
    edge = schema.edge
    # Keys move between rows, so all rows that give one up do so before any row takes one.
    for edge_id, root in book.merged.items():
        connection.execute(update(edge).where(_is(edge_id)).values(state="merged", merged_into=root))
        connection.execute(update(edge).where(edge.c.merged_into == edge_id).values(merged_into=root))
    for edge_id in book.changed:
        connection.execute(update(edge).where(_is(edge_id)).values(state="merged"))
    for changed in book.changed.values():
        connection.execute(update(edge).where(_is(changed.edge_id)).values(state="live", **_sides(changed)))
    rows = [
        _row(opened, book.merged.get(opened.edge_id), now_ms, visible=opened.edge_id in visible)
        for opened in book.opened.values()
    ]
    if rows:
        connection.execute(_ADD_EDGES, rows)
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
        connection.execute(_ADD_TOLD, tellings)


def _is(edge_id: bytes) -> ColumnElement[bool]:
    return schema.edge.c.edge_id == edge_id


def _sides(edge: Edge) -> dict[str, Any]:
    (party_a, reference_a, party_b), (_, reference_b, _) = edge.sides()
    return {"party_a": party_a, "reference_a": reference_a, "party_b": party_b, "reference_b": reference_b}


def _row(edge: Edge, merged_into: bytes | None, now_ms: int, *, visible: bool) -> dict[str, Any]:
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
        "visible": visible,
    }


def raise_sequences(connection: Connection, writes: Iterable[PublishedSequence]) -> None:
    """Raise parties' sequences; none ever falls."""
    highest: dict[str, int] = {}
    for write in writes:
        highest[write.party] = max(highest.get(write.party, 0), write.sequence)
    for party, sequence in highest.items():
        # Nearly always there, and lower.
        if connection.execute(_RAISE, {"of": party, "to": sequence}).rowcount:
            continue
        if connection.execute(_SEQUENCE, {"of": party}).first() is None:
            connection.execute(_ADD_SEQUENCE, {"party": party, "sequence": sequence})


@lru_cache(maxsize=4096)
def has_list(party: str) -> bool:
    """Tell whether a party takes notices.

    A partner has no session that could: its query's answer tells it (3.9), and a list would grow unread for ever.
    """
    try:
        return SpiffeId.parse(party).role is not Role.PARTNER
    except IdentityError:
        return True


def append_notices(
    connection: Connection, drafts: list[tuple[str, wire.Notice, str]], last: dict[str, int]
) -> tuple[LedgerNotice, ...]:
    """Append to recipients' lists, each without gaps; who has no list is told in another way.

    Args:
        connection: Of the transaction.
        drafts: Recipient, content, and the operation of an exercise or nothing.
        last: The highest notices of lists, as far as they are known; what is appended is added.
    """
    notices: list[LedgerNotice] = []
    rows: list[dict[str, Any]] = []
    for recipient, notice, exercise in drafts:
        if not has_list(recipient):
            continue
        if recipient not in last:
            last[recipient] = last_cursor(connection, recipient)
        last[recipient] += 1
        notice.cursor = last[recipient]
        content = notice.SerializeToString(deterministic=True)
        notices.append(LedgerNotice(recipient, notice.cursor, content))
        rows.append({"recipient": recipient, "cursor": notice.cursor, "content": content, "exercise": exercise})
    if rows:
        connection.execute(_ADD_NOTICES, rows)
    return tuple(notices)


def last_cursor(connection: Connection, recipient: str) -> int:
    """Return the highest notice of a recipient's list; 0 where it is empty."""
    return connection.execute(_LAST_CURSOR, {"of": recipient}).scalar() or 0


def log_checks(connection: Connection, checks: Iterable[LoggedCheck], now_ms: int) -> None:
    """Log who asked for what; a check that is there stays as it is (I5)."""
    of_asker: dict[str, dict[bytes, LoggedCheck]] = {}
    for check in checks:
        of_asker.setdefault(check.asker, {})[check.check_id] = check
    for asker, fresh in of_asker.items():
        for some in in_chunks(sorted(fresh)):
            for (check_id,) in connection.execute(_LOGGED, {"of": asker, "some": some}).all():
                del fresh[check_id]
    rows = [_logged(check, now_ms) for fresh in of_asker.values() for check in fresh.values()]
    if rows:
        connection.execute(_ADD_CHECKS, rows)


def _logged(check: LoggedCheck, now_ms: int) -> dict[str, Any]:
    return {
        "asker": check.asker,
        "check_id": check.check_id,
        "purpose": check.purpose,
        "operation": check.operation,
        "justification_hash": check.justification_hash,
        "count": check.count,
        "received_at_ms": now_ms,
    }
