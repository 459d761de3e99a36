"""What matches, one entry a thing: how many parties, since when, and what became of it.

Everything is a function of the edges that this node has been told (I11): a third party that joins without telling this
node changes no handle, size, label, time or state. A reveal has the reveal's time, as its notice has no other.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, NamedTuple

from concordat.canon.common_values import common_reason
from concordat.identity.names import short
from concordat.wire.v1 import check_pb2 as wire
from services.node.store import feedback, inbox

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterator

    from services.node.store.rows import ToldRow

MANY_AT_LEAST: Final = 3
HELD_BY_MANY: Final = "held by many parties"
CORRECT_WITHIN_H: Final = 48
"""Hours within which what was disclosed of a withdrawn value is corrected or deleted (Pruem II 64(1)(m); LB-22)."""


_ENDS: Final = {"withdrawn": "withdrawn", "own_withdrawn": "withdrawn", "void": "void"}
"""What ends an edge, and the state of a match without any other."""


class Turn(NamedTuple):
    """One thing that happened to a match."""

    at_ms: int
    what: str
    """told, void, withdrawn and false_hit (by the other side), own_withdrawn and own_false_hit (here)."""
    other: str
    """Short name of the other party."""
    reason: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """A match as this party sees it."""

    handle: str
    namespace: str
    label: str
    """The own record's words."""
    size: int
    """Other parties of which this node was told and whose edge stands."""
    grade: str
    timeline: tuple[Turn, ...]
    common: str | None
    """Why it is counted and not shouted; None where it is no common value."""
    exercise: bool

    @property
    def updated_at_ms(self) -> int:
        """Return when something happened last that this node was told of."""
        return self.timeline[-1].at_ms

    @property
    def state(self) -> str:
        """Return shown, withdrawn or void: whether any edge stands, else how the last one ended."""
        if self.size:
            return "shown"
        ended = [_ENDS[turn.what] for turn in self.timeline if turn.what in _ENDS]
        return ended[-1] if ended else "void"


def match_groups(db: sqlite3.Connection, nodes: int) -> list[Group]:
    """Return all matches, the one with the latest news first; call it inside one read transaction.

    Args:
        db: The store.
        nodes: Number of nodes of the federation, by which 'many' is measured.
    """
    ends = _Ends(db)
    said: dict[tuple[bytes, bytes], list[feedback.FeedbackRow]] = {}
    for row in feedback.all_feedback(db):
        said.setdefault((row.edge_id, row.own_reference), []).append(row)
    values = {row[0]: row[1:] for row in db.execute(_VALUES)}
    by_handle: dict[str, list[ToldRow]] = {}
    for told in inbox.all_told(db):
        if told.state != "refused":
            by_handle.setdefault(told.handle, []).append(told)
    groups = [
        _group(handle, rows, values.get(rows[0].own_reference), ends, said, nodes) for handle, rows in by_handle.items()
    ]
    return sorted(groups, key=lambda one: (-one.updated_at_ms, one.handle))


_VALUES: Final = """
    SELECT v.reference, v.namespace, v.canonical, v.domain, min(r.typed) FROM value v
    JOIN record_value rv ON rv.value_id = v.id JOIN record r ON r.id = rv.record_id GROUP BY v.id
"""


def is_held_by_many(parties: int, nodes: int) -> bool:
    """Tell whether so many parties hold a value that it tells little of any."""
    return parties > max(MANY_AT_LEAST, nodes // 5)


def _group(
    handle: str,
    rows: list[ToldRow],
    value: tuple[str, str, str, str] | None,
    ends: _Ends,
    said: dict[tuple[bytes, bytes], list[feedback.FeedbackRow]],
    nodes: int,
) -> Group:
    namespace, canonical, domain, typed = value or ("", "", "", "")
    standing = {row.other for row in rows if row.state == "shown" and value is not None}
    turns = sorted(turn for row in rows for turn in _turns(row, ends, said.get((row.edge_id, row.own_reference), [])))
    common = common_reason(namespace, canonical)
    if common is None and is_held_by_many(len(standing), nodes):
        common = HELD_BY_MANY
    strong = any(row.grade == wire.GRADE_STRONG for row in rows)
    return Group(
        handle=handle,
        namespace=namespace,
        label=typed,
        size=len(standing),
        grade="strong" if strong else "weak",
        timeline=tuple(turns),
        common=common,
        exercise=bool(domain),
    )


def _turns(row: ToldRow, ends: _Ends, said: list[feedback.FeedbackRow]) -> Iterator[Turn]:
    other = short(row.other)
    yield Turn(row.told_at_ms, "told", other)
    if row.state in ("voided", "withdrawn"):
        yield ends.of(row)
    for one in said:
        yield Turn(one.at_ms, "own_false_hit" if one.own else "false_hit", other, one.reason)


class _Ends:
    """How and when edges ended."""

    def __init__(self, db: sqlite3.Connection) -> None:
        self._heard = dict(_heard(db))
        self._own: dict[bytes, int] = dict(db.execute("SELECT reference, at_ms FROM withdrawal"))
        # They outlive the notices, which a ledger with another incarnation begins anew.
        receipts = db.execute("SELECT reference, peer, at_ms FROM receipt WHERE own = 1")
        self._receipts: dict[tuple[bytes, str], int] = {(reference, peer): at for reference, peer, at in receipts}

    def of(self, row: ToldRow) -> Turn:
        heard = self._heard.get(row.edge_id, self._receipts.get((row.other_reference, row.other)))
        if row.state == "voided":
            return Turn(row.told_at_ms if heard is None else heard, "void", short(row.other))
        own = self._own.get(row.own_reference)
        if heard is None and own is not None:
            return Turn(own, "own_withdrawn", short(row.other))
        return Turn(row.told_at_ms if heard is None else heard, "withdrawn", short(row.other))


def _heard(db: sqlite3.Connection) -> Iterator[tuple[bytes, int]]:
    for (content,) in db.execute("SELECT content FROM notice ORDER BY cursor"):
        notice = wire.Notice.FromString(content)
        if notice.HasField("withdrawn"):
            yield notice.withdrawn.edge_id, notice.withdrawn.withdrawn_at_ms
        elif notice.HasField("voided"):
            yield notice.voided.edge_id, notice.voided.voided_at_ms
