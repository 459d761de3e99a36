"""Which store of a party may attach, and which ledger this is, in a transaction of `gateway.ledger` (3.2; I9, C10).

A store that was restored draws a new incarnation, and the one before it may attach no more: an old process beside a new
one would answer from an older index. A ledger that was put back from a copy, or whose standby had not caught up, shows
by what nodes know of it: it gets a new incarnation, and every node asks again what it may have lost.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import Connection, Select, and_, func, insert, select, update

from gateway import ledger_schema as schema
from gateway.ledger_rows import last_cursor, raise_sequences, read_marks
from gateway.ledger_writes import PublishedSequence

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from gateway.ledger_drafts import Draft
    from gateway.ledger_writes import Incarnated

INCARNATION_BYTES: Final = 16
HOUR_MS: Final = 3_600_000
MAX_KEPT: Final = 4096
"""Incarnations of one party that are remembered; each takes a restore."""
INCARNATION: Final = "incarnation"
_RENEWED: Final = "renewed_at_ms"


@dataclass(frozen=True, slots=True)
class Renewal:
    """What a ledger needs to become another one."""

    draw: Callable[[int], bytes]
    now_ms: int
    allowed: bool = True
    """False leaves a restored ledger as it is, for tests that show what is lost so (C10)."""
    fence: bool = True
    """False lets every incarnation attach, for tests."""


def incarnate(connection: Connection, writes: Iterable[Incarnated], draft: Draft, renewal: Renewal) -> None:
    """Note the incarnations in which stores attach; find those that were replaced, and a ledger that was restored."""
    for write in writes:
        if renewal.fence and not _is_current(connection, write):
            draft.superseded |= {(write.party, write.incarnation)}
        elif write.ledger_incarnation == read_marks(connection)[1]:
            if renewal.allowed and _knows_more(connection, write):
                _restored(connection, write, draft, renewal)
        elif write.ledger_incarnation:
            # The node does not know this ledger yet. Raised before it does, as it will not say twice that it knew more.
            raise_sequences(connection, [PublishedSequence(write.party, write.published_sequence)])


def _is_current(connection: Connection, write: Incarnated) -> bool:
    table = schema.incarnation
    latest = connection.execute(select(func.max(table.c.number)).where(table.c.party == write.party)).scalar() or 0
    same = and_(table.c.party == write.party, table.c.incarnation == write.incarnation)
    number: int | None = connection.execute(select(table.c.number).where(same)).scalar()
    if number is not None:
        return number == latest
    row = {"party": write.party, "incarnation": write.incarnation, "number": latest + 1}
    connection.execute(insert(table).values(**row))
    connection.execute(table.delete().where(table.c.party == write.party, table.c.number <= latest + 1 - MAX_KEPT))
    return True


def _knows_more(connection: Connection, write: Incarnated) -> bool:
    sequence = schema.party_sequence.c
    held = connection.execute(select(sequence.sequence).where(sequence.party == write.party)).scalar() or 0
    if write.published_sequence > held:
        return True
    return write.notice_cursor > (last_cursor(connection, write.party) if write.notice_cursor else 0)


def _restored(connection: Connection, write: Incarnated, draft: Draft, renewal: Renewal) -> None:
    renewed_at = connection.execute(select(schema.meta.c.value).where(schema.meta.c.key == _RENEWED)).scalar()
    if renewed_at is not None and 0 <= renewal.now_ms - int(renewed_at) < HOUR_MS:
        draft.doubted |= {(write.party, write.incarnation)}
        return
    renew(connection, renewal)
    draft.renewed_by = write.party
    raise_sequences(connection, [PublishedSequence(write.party, write.published_sequence)])


def renew(connection: Connection, renewal: Renewal) -> bytes:
    """Draw a new incarnation of the ledger and return it; lists, edges and sequences stay."""
    drawn = renewal.draw(INCARNATION_BYTES)
    meta = schema.meta
    connection.execute(update(meta).where(meta.c.key == INCARNATION).values(value=drawn))
    at = str(renewal.now_ms).encode()
    if not connection.execute(update(meta).where(meta.c.key == _RENEWED).values(value=at)).rowcount:
        connection.execute(insert(meta).values(key=_RENEWED, value=at))
    return drawn


def current_incarnations(connection: Connection) -> dict[str, bytes]:
    """Return the incarnation of each party that may attach."""
    return {row.party: bytes(row.incarnation) for row in connection.execute(_CURRENT)}


def _current() -> Select[Any]:
    table = schema.incarnation.c
    latest = select(table.party, func.max(table.number).label("number")).group_by(table.party).subquery()
    both = and_(table.party == latest.c.party, table.number == latest.c.number)
    return select(table.party, table.incarnation).join(latest, both)


_CURRENT: Final = _current()
