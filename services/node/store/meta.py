"""Single facts of the store: who it is, and how far it has come."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    import sqlite3

SCHEMA_VERSION: Final = "schema_version"
INCARNATION: Final = "incarnation"
SEQUENCE: Final = "sequence"
PUBLISHED_THROUGH: Final = "published_through"
NOTICE_CURSOR: Final = "notice_cursor"
LEDGER_INCARNATION: Final = "ledger_incarnation"
JOURNAL_POSITION: Final = "journal_position"
"""Lines of the policy journal that this store has applied."""
JOURNAL_BEHIND: Final = "journal_behind"
"""Lines that a decision found missing in this store and applied, until the node starts again."""
PLANE_STALE: Final = "plane_stale"
"""Counts each time that values left the index: the hub's plane still has their bits."""
PLANE_BUILT: Final = "plane_built"
"""What the count was when the snapshot was taken that the hub holds."""
TAG_KEY: Final = "tag_key"
"""Of the group tags, 32 random bytes."""


def get(db: sqlite3.Connection, key: str) -> bytes | int | None:
    """Return a fact as it was put, or None."""
    row = db.execute("SELECT value FROM meta WHERE key = ?", (key,)).fetchone()
    return None if row is None else row[0]


def get_int(db: sqlite3.Connection, key: str) -> int:
    """Return a number; 0 where it was never put."""
    value = get(db, key)
    return value if isinstance(value, int) else 0


def get_bytes(db: sqlite3.Connection, key: str) -> bytes:
    """Return bytes; empty where they were never put."""
    value = get(db, key)
    return value if isinstance(value, bytes) else b""


def put(db: sqlite3.Connection, key: str, value: bytes | int) -> None:
    """Write a fact."""
    db.execute("INSERT INTO meta VALUES (?, ?) ON CONFLICT (key) DO UPDATE SET value = excluded.value", (key, value))


def bump(db: sqlite3.Connection, key: str) -> None:
    """Add one to a number."""
    put(db, key, get_int(db, key) + 1)


def put_at_least(db: sqlite3.Connection, key: str, value: int) -> None:
    """Raise a number; one that is higher already stays."""
    if value > get_int(db, key):
        put(db, key, value)
