"""Files and their records: what an officer typed, kept also where it cannot be read (3.3)."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, NamedTuple

from services.node.policy import DEFAULT, Policy
from services.node.store.values import STRONG, Asking, CanonicalValue, add_value

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Callable

    from services.node.record import FileFacts

FOR_EVER: Final = "9999-12-31"
DEFAULT_POLICY: Final = DEFAULT.content()


class FileRow(NamedTuple):
    """A file in the store; `items` of its rows are there."""

    id: int
    complete: bool
    items: int


@dataclass(frozen=True, slots=True, kw_only=True)
class NewRecord:
    """One row of a file, read: accepted with its values (the strong one first), or refused with code and reason."""

    item: int
    line: int
    typed: str | None = field(repr=False)
    code: str | None = None
    reason: str | None = None
    kind: str | None = None
    region: str | None = None
    region_assumed: bool = False
    notes: str = ""
    trafficking: int = 0
    abuse: int = 0
    row: str = field(default="{}", repr=False)
    policy: str = DEFAULT_POLICY
    """Content of its policy (`services.node.policy`)."""
    proposed: str | None = None
    """Content of the policy that it is to have once a second person has approved it."""
    role: str = "unknown"
    keep_until: str = FOR_EVER
    """Last day, ISO 8601."""
    values: tuple[CanonicalValue, ...] = field(default=(), repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordView:
    """A record as its own node shows it."""

    file_name: str
    line: int
    typed: str | None = field(repr=False)
    status: str
    code: str | None
    reason: str | None
    kind: str | None
    region: str | None
    region_assumed: bool
    known: bool
    look_once: bool
    case_reference: str
    operation: str
    read_as: str | None = field(default=None, repr=False)
    """The strong canonical value, which decides what matches."""


class FileCounts(NamedTuple):
    """What became of a file's rows."""

    accepted: int
    already_known: int
    refused: int
    region_assumed: int


class RefusedLine(NamedTuple):
    """Where and why a row was refused; never the value."""

    line: int
    code: str
    reason: str


def begin_file(
    db: sqlite3.Connection,
    facts: FileFacts,
    *,
    case_id: int,
    operation: str,
    at: float,
    reading: str = "",
    domain: str = "",
) -> FileRow:
    """Return the file's row, adding it where this file is new to the case and operation, or is read in another way.

    Args:
        db: The store.
        facts: The file.
        case_id: Its case.
        operation: The operation that its records are marked for, or empty.
        at: Now, in Unix seconds.
        reading: What was said of how to read it, such as kind and region. A file that was read wrongly can so be
            submitted again, and what had been refused is not lost.
        domain: Of the exercise that it belongs to; '' is real.
    """
    key = (bytes.fromhex(facts.sha256), case_id, operation, reading, domain)
    db.execute(
        "INSERT OR IGNORE INTO file"
        " (name, format, encoding, delimiter, size_bytes, added_at, sha256, case_id, operation, reading, domain)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (facts.name, facts.format, facts.encoding, facts.delimiter, facts.size_bytes, at, *key),
    )
    row = db.execute(
        "SELECT id, complete, (SELECT coalesce(max(item), 0) FROM record WHERE file_id = file.id) FROM file"
        " WHERE sha256 = ? AND case_id = ? AND operation = ? AND reading = ? AND domain = ?",
        key,
    ).fetchone()
    return FileRow(row[0], bool(row[1]), row[2])


def complete_file(db: sqlite3.Connection, file_id: int) -> None:
    """Note that every row of a file is stored."""
    db.execute("UPDATE file SET complete = 1 WHERE id = ?", (file_id,))


def keep_file(db: sqlite3.Connection, file_id: int, asking: Asking, random_bytes: Callable[[int], bytes]) -> bool:
    """Keep the values of a file that was only looked at so far; return whether there were any."""
    rows = db.execute(
        "SELECT DISTINCT coalesce(p.content, '{}'), v.namespace, v.rules_version, v.canonical, v.grade FROM record r"
        " JOIN record_value rv ON rv.record_id = r.id JOIN value v ON v.id = rv.value_id"
        " LEFT JOIN policy p ON p.id = r.policy_id"
        " WHERE r.file_id = ? AND r.look_once = 1",
        (file_id,),
    ).fetchall()
    for policy, *row in rows:
        add_value(db, CanonicalValue(*row), asking._replace(compared=Policy.of(policy).compared), random_bytes)
    db.execute("UPDATE record SET look_once = 0 WHERE file_id = ?", (file_id,))
    return bool(rows)


def file_counts(db: sqlite3.Connection, file_id: int) -> FileCounts:
    """Count what became of a file's rows."""
    row = db.execute(
        "SELECT coalesce(sum(status = 'accepted'), 0), coalesce(sum(known), 0), coalesce(sum(status = 'refused'), 0),"
        " coalesce(sum(region_assumed), 0) FROM record WHERE file_id = ?",
        (file_id,),
    ).fetchone()
    return FileCounts(*row)


def refused_lines(db: sqlite3.Connection, file_id: int, *, limit: int = -1) -> list[RefusedLine]:
    """Return the refused rows of a file in their order, the first `limit` of them."""
    rows = db.execute(
        "SELECT line, code, reason FROM record WHERE file_id = ? AND status = 'refused' ORDER BY item LIMIT ?",
        (file_id, limit),
    )
    return [RefusedLine(*row) for row in rows]


def has_file(db: sqlite3.Connection, name: str) -> bool:
    """Tell whether a file of this name was submitted."""
    return db.execute("SELECT 1 FROM file WHERE name = ? LIMIT 1", (name,)).fetchone() is not None


def record_count(db: sqlite3.Connection, *, refused_only: bool = False, file_name: str | None = None) -> int:
    """Count the node's own records, or those of all files of one name."""
    query = (
        "SELECT count(*) FROM record r WHERE (:refused = 0 OR r.status = 'refused')"
        " AND (:name IS NULL OR r.file_id IN (SELECT id FROM file WHERE name = :name))"
    )
    count: int = db.execute(query, {"refused": refused_only, "name": file_name}).fetchone()[0]
    return count


def record_views(
    db: sqlite3.Connection,
    *,
    refused_only: bool = False,
    file_id: int | None = None,
    file_name: str | None = None,
    behind: int = 0,
    limit: int = -1,
) -> list[RecordView]:
    """Return the node's own records, or those of one file, newest file last; `limit` of them behind the first ones."""
    where = "WHERE (:file IS NULL OR r.file_id = :file) AND (:name IS NULL OR f.name = :name)"
    where += " AND r.status = 'refused'" if refused_only else ""
    rows = db.execute(
        "SELECT f.name, r.line, r.typed, r.status, r.code, r.reason, r.kind, r.region, r.region_assumed, r.known,"  # noqa: S608 -- a constant
        " r.look_once, c.reference, f.operation,"
        " (SELECT v.canonical FROM record_value rv JOIN value v ON v.id = rv.value_id"
        "  WHERE rv.record_id = r.id AND v.grade = :strong)"
        " FROM record r JOIN file f ON f.id = r.file_id"
        f" JOIN case_profile c ON c.id = f.case_id {where} ORDER BY r.file_id, r.item"
        " LIMIT :limit OFFSET :behind",
        {"file": file_id, "name": file_name, "strong": STRONG, "limit": limit, "behind": behind},
    )
    return [
        RecordView(
            file_name=row[0],
            line=row[1],
            typed=row[2],
            status=row[3],
            code=row[4],
            reason=row[5],
            kind=row[6],
            region=row[7],
            region_assumed=bool(row[8]),
            known=bool(row[9]),
            look_once=bool(row[10]),
            case_reference=row[11],
            operation=row[12],
            read_as=row[13],
        )
        for row in rows
    ]
