"""How far the node's work has come, for `status` and for `submit` while it waits; numbers and party names only."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, NamedTuple

from services.node.store import meta
from services.node.store.values import STRONG

if TYPE_CHECKING:
    import sqlite3


class FileProgress(NamedTuple):
    """How far the distinct strong values of a file have come; what is local only is compared with nobody, and no part.

    `settled` counts those of whose holders each has answered or is known to be absent; it is no claim of coverage.
    """

    values: int
    tokenised: int
    published: int
    asked: int
    settled: int

    @property
    def done(self) -> bool:
        """Tell whether nothing is left to do but to wait for holders that are absent."""
        return self.settled == self.values


class PendingHolder(NamedTuple):
    """A holder that has not covered some batches, and why."""

    holder: str
    state: str
    batches: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Overview:
    """What a store holds and what is still to be done."""

    accepted: int
    refused: int
    values: int
    tokens: int
    """Tokens made, of every epoch."""
    without_token: int
    unpublished: int
    to_check: int
    shown: int
    withdrawn: int
    """Records that were withdrawn."""
    to_bury: int
    """Withdrawn values of which the gateway has not said yet that they are buried."""
    receipts: int
    """Receipts of parties that were told of a value that was withdrawn (LB-22)."""
    proposals: int
    """Changes of policy that wait for a second person."""
    sequence: int
    pending: tuple[PendingHolder, ...]


_PROGRESS: Final = """
    WITH mine AS (
        SELECT DISTINCT v.id, v.kept FROM record r JOIN record_value rv ON rv.record_id = r.id
        JOIN value v ON v.id = rv.value_id LEFT JOIN policy p ON p.id = r.policy_id
        WHERE r.file_id = :file AND v.grade = :strong
            AND coalesce(json_extract(p.content, '$.visibility'), '') <> 'local_only'
    ), asked AS (
        SELECT m.id,
            min(NOT EXISTS (SELECT 1 FROM pending p WHERE p.batch_id = i.batch_id AND p.state = 'new')) AS settled
        FROM mine m JOIN batch_item i ON i.value_id = m.id AND i.epoch = :epoch GROUP BY m.id
    )
    SELECT count(*),
        sum(t.value_id IS NOT NULL),
        sum(t.value_id IS NOT NULL AND (m.kept = 0 OR coalesce(t.sequence <= :through, 0))),
        sum(a.id IS NOT NULL AND NOT waits),
        sum(coalesce(a.settled, 0) AND NOT waits)
    FROM (SELECT *, EXISTS (SELECT 1 FROM to_check c WHERE c.value_id = mine.id) AS waits FROM mine) m
    LEFT JOIN token t ON t.value_id = m.id AND t.epoch = :epoch LEFT JOIN asked a ON a.id = m.id
"""

# Each by an index that has few rows, however many tokens were published.
_KEPT_TOKENS: Final = "SELECT count(*) FROM token t"
_OF_VALUE: Final = "CROSS JOIN value v ON v.id = t.value_id WHERE v.kept = 1"


def file_progress(db: sqlite3.Connection, file_id: int, *, epoch: int) -> FileProgress:
    """Count how far a file's strong values have come."""
    through = meta.get_int(db, meta.PUBLISHED_THROUGH)
    names = {"file": file_id, "strong": STRONG, "epoch": epoch, "through": through}
    return FileProgress(*(count or 0 for count in db.execute(_PROGRESS, names).fetchone()))


def file_pending(db: sqlite3.Connection, file_id: int) -> list[PendingHolder]:
    """Return who has not covered which number of the batches that a file's strong values are in.

    A weak value is answered by nobody, so that nothing is claimed of it.
    """
    rows = db.execute(
        "SELECT p.holder, p.state, count(*) FROM pending p WHERE p.batch_id IN ("
        " SELECT i.batch_id FROM record r JOIN record_value rv ON rv.record_id = r.id"
        " JOIN value v ON v.id = rv.value_id AND v.grade = ?"
        " JOIN batch_item i ON i.value_id = rv.value_id WHERE r.file_id = ?"
        ") GROUP BY p.holder, p.state ORDER BY p.holder",
        (STRONG, file_id),
    )
    return [PendingHolder(*row) for row in rows]


def all_pending(db: sqlite3.Connection) -> list[PendingHolder]:
    """Return who has not covered how many batches in which state."""
    rows = db.execute("SELECT holder, state, count(*) FROM pending GROUP BY holder, state ORDER BY holder, state")
    return [PendingHolder(*row) for row in rows]


def overview(db: sqlite3.Connection) -> Overview:
    """Count what the store holds and what is to be done."""

    def count(query: str, *values: int) -> int:
        number: int = db.execute(query, values).fetchone()[0]
        return number

    through = meta.get_int(db, meta.PUBLISHED_THROUGH)
    return Overview(
        accepted=count("SELECT count(*) FROM record WHERE status = 'accepted'"),
        refused=count("SELECT count(*) FROM record WHERE status = 'refused'"),
        values=count("SELECT count(*) FROM value WHERE grade = ?", STRONG),
        tokens=count("SELECT count(*) FROM token"),
        without_token=count("SELECT count(*) FROM to_tokenise"),
        unpublished=count(f"{_KEPT_TOKENS} INDEXED BY token_unpublished {_OF_VALUE} AND t.sequence IS NULL")
        + count(f"{_KEPT_TOKENS} INDEXED BY token_by_sequence {_OF_VALUE} AND t.sequence > ?", through),
        to_check=count("SELECT count(*) FROM to_check"),
        shown=count("SELECT count(*) FROM told WHERE state = 'shown'"),
        withdrawn=count("SELECT count(*) FROM record WHERE status = 'withdrawn'"),
        to_bury=count("SELECT count(*) FROM withdrawal WHERE buried = 0"),
        receipts=count("SELECT count(*) FROM receipt WHERE own = 0"),
        proposals=count("SELECT count(*) FROM policy_proposal"),
        sequence=meta.get_int(db, meta.SEQUENCE),
        pending=tuple(all_pending(db)),
    )
