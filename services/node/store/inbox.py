"""Notices as they came, and what they told (3.4 steps 3 and 4)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from concordat.errors import ProtocolError
from services.node.store import meta
from services.node.store.rows import MatchRow, ToldRow

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterable

_TOLD_COLUMNS: Final = (
    "edge_id, own_reference, other, other_reference, handle, grade, told_at_ms, asked, check_id, sweep_id,"
    " look_once, state"
)
_STATES: Final = frozenset({"shown", "refused", "voided", "withdrawn"})

# One row per told edge and own record; a value that is linked to several cases shows with each of them.
_MATCH_COLUMNS: Final = (
    "o.handle, o.other, o.grade, o.told_at_ms, o.asked, o.look_once, v.namespace, r.typed, r.kind, f.name, r.line,"
    " c.reference, f.operation, o.edge_id, o.own_reference, f.id, v.domain"
)
_MATCH_ORDER: Final = "ORDER BY o.told_at_ms, o.edge_id, r.id"
_MATCHES: Final = f"""
    SELECT {_MATCH_COLUMNS}
    FROM told o JOIN value v ON v.reference = o.own_reference
    JOIN record_value rv ON rv.value_id = v.id JOIN record r ON r.id = rv.record_id
    JOIN file f ON f.id = r.file_id JOIN case_profile c ON c.id = f.case_id
    WHERE o.state = 'shown' {_MATCH_ORDER}
"""  # noqa: S608 -- constants
# In this order, which CROSS JOIN says to SQLite: the work is that of the file, however much the store was told of.
_MATCHES_OF_FILE: Final = f"""
    SELECT {_MATCH_COLUMNS}
    FROM file f CROSS JOIN record r ON r.file_id = f.id
    CROSS JOIN record_value rv ON rv.record_id = r.id CROSS JOIN value v ON v.id = rv.value_id
    CROSS JOIN told o ON o.own_reference = v.reference AND o.state = 'shown'
    CROSS JOIN case_profile c ON c.id = f.case_id
    WHERE f.id = ? {_MATCH_ORDER}
"""  # noqa: S608 -- constants


def receive_notice(
    db: sqlite3.Connection, cursor: int, content: bytes, *, told: ToldRow | None, voided: bytes | None, at: float
) -> bool:
    """Write a notice, its meaning and the cursor; return False where it was here before.

    Raises:
        ProtocolError: A notice before it is missing.
    """
    seen = meta.get_int(db, meta.NOTICE_CURSOR)
    if cursor <= seen:
        return False
    if cursor != seen + 1:
        raise ProtocolError("the gateway left out a notice")
    db.execute("INSERT INTO notice VALUES (?, ?, ?)", (cursor, content, at))
    if told is not None:
        _put_told(db, told)
    if voided is not None:
        set_told_state(db, voided, "voided")
    meta.put(db, meta.NOTICE_CURSOR, cursor)
    return True


def _put_told(db: sqlite3.Connection, told: ToldRow) -> None:
    if told.state not in _STATES:
        raise ValueError("a told edge is shown, refused or voided")
    values = (
        *(told.edge_id, told.own_reference, told.other, told.other_reference, told.handle, told.grade),
        *(told.told_at_ms, told.asked, told.check_id, told.sweep_id, told.look_once, told.state),
    )
    if told.state == "shown":
        # Told is keyed by own reference and other party: a ledger that began anew gives the same match another edge id.
        db.execute(
            "DELETE FROM told WHERE own_reference = ? AND other = ? AND state = 'shown'",
            (told.own_reference, told.other),
        )
    marks = ",".join("?" * len(values))
    db.execute(f"INSERT OR REPLACE INTO told ({_TOLD_COLUMNS}) VALUES ({marks})", values)  # noqa: S608 -- constants


def told(db: sqlite3.Connection, edge_id: bytes) -> list[ToldRow]:
    """Return what this node was told of an edge: one row for each own reference."""
    rows = db.execute(f"SELECT {_TOLD_COLUMNS} FROM told WHERE edge_id = ?", (edge_id,))  # noqa: S608 -- as above
    return [_told(row) for row in rows]


def is_shown(db: sqlite3.Connection, own_reference: bytes, other: str) -> bool:
    """Tell whether a match of an own reference with another party shows."""
    query = "SELECT 1 FROM told WHERE own_reference = ? AND other = ? AND state = 'shown'"
    return db.execute(query, (own_reference, other)).fetchone() is not None


def all_told(db: sqlite3.Connection) -> list[ToldRow]:
    """Return every edge that this node was told of, whatever its state."""
    return [_told(row) for row in db.execute(f"SELECT {_TOLD_COLUMNS} FROM told ORDER BY told_at_ms, edge_id")]  # noqa: S608 -- as above


def _told(row: tuple[bytes, bytes, str, bytes, str, int, int, int, bytes | None, bytes | None, int, str]) -> ToldRow:
    return ToldRow(
        edge_id=row[0],
        own_reference=row[1],
        other=row[2],
        other_reference=row[3],
        handle=row[4],
        grade=row[5],
        told_at_ms=row[6],
        asked=bool(row[7]),
        check_id=row[8],
        sweep_id=row[9],
        look_once=bool(row[10]),
        state=row[11],
    )


def set_told_state(db: sqlite3.Connection, edge_id: bytes, state: str) -> None:
    """Show, refuse or void a told edge."""
    if state not in _STATES:
        raise ValueError("a told edge is shown, refused or voided")
    db.execute("UPDATE told SET state = ? WHERE edge_id = ?", (state, edge_id))


def matches(db: sqlite3.Connection) -> list[MatchRow]:
    """Return the edges that are shown, each beside the node's own records."""
    return _matches(db.execute(_MATCHES))


def file_matches(db: sqlite3.Connection, file_id: int) -> list[MatchRow]:
    """Return the shown edges of one file's records, each beside its record; looks at nothing but the file."""
    return _matches(db.execute(_MATCHES_OF_FILE, (file_id,)))


def _matches(rows: Iterable[tuple[Any, ...]]) -> list[MatchRow]:
    return [
        MatchRow(
            handle=row[0],
            other=row[1],
            grade=row[2],
            told_at_ms=row[3],
            asked=bool(row[4]),
            look_once=bool(row[5]),
            namespace=row[6],
            typed=row[7],
            kind=row[8],
            file_name=row[9],
            line=row[10],
            case_reference=row[11],
            operation=row[12],
            edge_id=row[13],
            own_reference=row[14],
            file_id=row[15],
            exercise=bool(row[16]),
        )
        for row in rows
    ]


def follow_ledger(db: sqlite3.Connection, incarnation: bytes) -> bool:
    """Keep the ledger's incarnation; return True where it has changed, so that notices are numbered anew (C10)."""
    seen = meta.get_bytes(db, meta.LEDGER_INCARNATION)
    if seen == incarnation:
        return False
    meta.put(db, meta.LEDGER_INCARNATION, incarnation)
    if not seen:
        return False
    # It may have lost tombstones, receipts and feedback too: all is said again.
    db.execute("UPDATE withdrawal SET buried = 0")
    db.execute("UPDATE receipt SET sent = 0 WHERE own = 1")
    db.execute("UPDATE feedback SET sent = 0 WHERE own = 1")
    db.execute("DELETE FROM notice")
    meta.put(db, meta.NOTICE_CURSOR, 0)
    return True
