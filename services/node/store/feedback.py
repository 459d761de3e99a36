"""What this node and the other side say of a told edge: that it is a false hit, and why, in a closed word."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterable


class FeedbackRow(NamedTuple):
    """Feedback on one edge; `officer` is of this node's own only."""

    edge_id: bytes
    own_reference: bytes
    own: bool
    reason: str
    officer: str
    at_ms: int
    message: bytes


def put_feedback(db: sqlite3.Connection, row: FeedbackRow) -> bool:
    """Keep feedback; return False where this side has said something of this edge before, which stays."""
    cursor = db.execute(
        "INSERT OR IGNORE INTO feedback (edge_id, own_reference, own, reason, officer, at_ms, message)"
        " VALUES (?, ?, ?, ?, ?, ?, ?)",
        row,
    )
    return cursor.rowcount == 1


def unsent_feedback(db: sqlite3.Connection) -> list[bytes]:
    """Return own feedback of which it is not certain that the hub has it."""
    return [one for (one,) in db.execute("SELECT message FROM feedback WHERE own = 1 AND sent = 0 ORDER BY at_ms")]


def feedback_arrived(db: sqlite3.Connection, messages: Iterable[bytes]) -> None:
    """Note that own feedback has reached the hub."""
    db.executemany("UPDATE feedback SET sent = 1 WHERE own = 1 AND message = ?", [(one,) for one in messages])


def all_feedback(db: sqlite3.Connection) -> list[FeedbackRow]:
    """Return all feedback, oldest first."""
    rows = db.execute(
        "SELECT edge_id, own_reference, own, reason, officer, at_ms, message FROM feedback ORDER BY at_ms, edge_id"
    )
    return [FeedbackRow(*row) for row in rows]
