"""Canonical values, and which of them still need a token (3.3 step 1)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from concordat.tokens import REFERENCE_BYTES
from services.node.store import cases
from services.node.store.rows import Untokenised, UntokenisedRow

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Callable, Iterable
    from datetime import date

STRONG: Final = 1
WEAK: Final = 2


class CanonicalValue(NamedTuple):
    """A value as the canonical form gives it; `grade` is the wire's number."""

    namespace: str
    rules_version: int
    canonical: str
    grade: int

    def __repr__(self) -> str:
        return f"CanonicalValue(namespace={self.namespace}, grade={self.grade})"


class Asking(NamedTuple):
    """Why and how a value is submitted: the case, and what follows from it."""

    case_id: int
    purpose: str
    operation: str
    look_once: bool
    epochs: tuple[int, ...]
    domain: str = ""
    """Of the exercise whose values they are; '' is real."""
    officer: str = ""
    """Pseudonym of who submits."""
    at_ms: int = 0
    """Unix milliseconds."""
    compared: bool = True
    """False for a record that is local only: its values are neither tokenised, published nor asked about."""


def class_of(grade: int) -> str:
    """Return the key class of a grade."""
    return "strong" if grade == STRONG else "weak"


def add_value(
    db: sqlite3.Connection, value: CanonicalValue, asking: Asking, random_bytes: Callable[[int], bytes]
) -> int:
    """Return the id of a value, adding it with all that is to be done for it where that is not done.

    The reference of a value that is there stays (3.3). A value that was only looked at becomes kept when it is
    submitted to be kept, and is then asked about again: a party that submitted it in between could not find it.
    """
    row = db.execute(
        "SELECT id, kept FROM value WHERE namespace = ? AND rules_version = ? AND canonical = ? AND grade = ?"
        " AND domain = ?",
        (*value, asking.domain),
    ).fetchone()
    keep = asking.compared and not asking.look_once
    if row is None:
        cursor = db.execute(
            "INSERT INTO value (namespace, rules_version, canonical, grade, reference, kept, domain)"
            " VALUES (?, ?, ?, ?, ?, ?, ?)",
            (*value, random_bytes(REFERENCE_BYTES), keep, asking.domain),
        )
        assert cursor.lastrowid is not None
        value_id = cursor.lastrowid
    else:
        value_id = row[0]
        if keep and not row[1]:
            db.execute("UPDATE value SET kept = 1 WHERE id = ?", (value_id,))
            _ask_kept(db, value_id)
        if asking.compared:
            # A record that is local only asks nothing, and so prolongs no question.
            _prolong(db, value_id, asking)
    if asking.compared:
        _tokenise(db, value_id, value.grade, asking)
        _ask_about(db, value_id, asking)
    return value_id


def _ask_kept(db: sqlite3.Connection, value_id: int) -> None:
    """Have a value that is kept from now on asked about anew, for all that it was asked about before."""
    db.execute(
        "INSERT OR IGNORE INTO to_check SELECT i.value_id, b.purpose, b.case_id, b.operation, b.look_once"
        " FROM batch_item i JOIN batch b ON b.id = i.batch_id WHERE i.value_id = ? ORDER BY b.id DESC",
        (value_id,),
    )
    forget_batches(db, value_id)


def _tokenise(db: sqlite3.Connection, value_id: int, grade: int, asking: Asking) -> None:
    """Have tokens made that neither are there nor wait to be made."""
    key_class = class_of(grade)
    db.executemany(
        "INSERT INTO to_tokenise SELECT :epoch, :class, :value, :case WHERE NOT EXISTS (SELECT 1 FROM token t"
        " WHERE t.epoch = :epoch AND t.value_id = :value) AND NOT EXISTS (SELECT 1 FROM to_tokenise u"
        " WHERE u.value_id = :value AND u.epoch = :epoch)",
        [{"epoch": epoch, "class": key_class, "value": value_id, "case": asking.case_id} for epoch in asking.epochs],
    )


def _prolong(db: sqlite3.Connection, value_id: int, asking: Asking) -> None:
    """Let work that waits for a value go on under the case that lasts longer; it stops with the end of its case."""
    ends_before = "(SELECT valid_until FROM case_profile c WHERE c.id = case_id) < :until"
    until = db.execute("SELECT valid_until FROM case_profile WHERE id = ?", (asking.case_id,)).fetchone()[0]
    names = {"value": value_id, "case": asking.case_id, "until": until, "purpose": asking.purpose}
    names["operation"] = asking.operation
    db.execute(f"UPDATE to_tokenise SET case_id = :case WHERE value_id = :value AND {ends_before}", names)  # noqa: S608 -- a constant
    db.execute(
        f"UPDATE to_check SET case_id = :case WHERE value_id = :value AND purpose = :purpose"  # noqa: S608 -- a constant
        f" AND operation = :operation AND {ends_before}",
        names,
    )
    waits = db.execute(
        "SELECT 1 FROM batch_item i JOIN batch b ON b.id = i.batch_id JOIN case_profile c ON c.id = b.case_id"
        " WHERE i.value_id = :value AND i.purpose = :purpose AND i.operation = :operation AND c.valid_until < :until"
        " AND EXISTS (SELECT 1 FROM pending p WHERE p.batch_id = b.id) LIMIT 1",
        names,
    ).fetchone()
    if waits is not None:
        forget_batches(db, value_id, about=(asking.purpose, asking.operation))


def forget_batches(db: sqlite3.Connection, value_id: int, *, about: tuple[str, str] | None = None) -> None:
    """Take a value out of its batches, or of those of a purpose and operation, so that it is asked about anew."""
    which = "value_id = :value AND (:purpose IS NULL OR (purpose = :purpose AND operation = :operation))"
    purpose, operation = about or (None, None)
    names = {"value": value_id, "purpose": purpose, "operation": operation}
    batches = db.execute(f"SELECT DISTINCT batch_id FROM batch_item WHERE {which}", names).fetchall()  # noqa: S608 -- a constant
    db.execute(f"DELETE FROM batch_item WHERE {which}", names)  # noqa: S608 -- a constant
    empty = "batch_id = ? AND NOT EXISTS (SELECT 1 FROM batch_item i WHERE i.batch_id = pending.batch_id)"
    db.executemany(f"DELETE FROM pending WHERE {empty}", batches)  # noqa: S608 -- a constant


def _ask_about(db: sqlite3.Connection, value_id: int, asking: Asking) -> None:
    asked = db.execute(
        "SELECT 1 FROM batch_item WHERE value_id = ? AND purpose = ? AND operation = ? AND epoch = ?",
        (value_id, asking.purpose, asking.operation, asking.epochs[0]),
    ).fetchone()
    if asked is None:
        # A wish to keep outweighs an earlier one to look once that has not gone out yet.
        db.execute(
            "INSERT INTO to_check VALUES (?, ?, ?, ?, ?) ON CONFLICT (value_id, purpose, operation)"
            " DO UPDATE SET look_once = min(look_once, excluded.look_once)",
            (value_id, asking.purpose, asking.case_id, asking.operation, asking.look_once),
        )


def add_epoch(db: sqlite3.Connection, epoch: int) -> None:
    """Mark every value that is compared and has no token of an epoch as to be tokenised.

    It goes under the case that lasts longest: what waits under one that has ended is never tokenised.
    """
    db.execute(
        "INSERT OR IGNORE INTO to_tokenise SELECT :epoch, CASE v.grade WHEN 1 THEN 'strong' ELSE 'weak' END, v.id,"
        " (SELECT f.case_id FROM record_value rv JOIN record r ON r.id = rv.record_id JOIN file f ON f.id = r.file_id"
        "  JOIN case_profile c ON c.id = f.case_id WHERE rv.value_id = v.id AND r.status = 'accepted'"
        "  AND coalesce(r.policy_id, 0) NOT IN"
        "   (SELECT id FROM policy WHERE json_extract(content, '$.visibility') = 'local_only')"
        "  ORDER BY c.valid_until DESC, f.id LIMIT 1) AS case_id"
        " FROM value v WHERE case_id IS NOT NULL"
        " AND NOT EXISTS (SELECT 1 FROM token t WHERE t.epoch = :epoch AND t.value_id = v.id)"
        " AND NOT EXISTS (SELECT 1 FROM to_tokenise u WHERE u.epoch = :epoch AND u.value_id = v.id)",
        {"epoch": epoch},
    )


# Exercises are few: beginning with them keeps SQLite from reading all that waits to find none.
_REAL: Final = "to_tokenise u CROSS JOIN value v ON v.id = u.value_id AND v.domain = ''"
_EXERCISE: Final = (
    "value v INDEXED BY value_of_exercise CROSS JOIN to_tokenise u ON u.value_id = v.id AND v.domain <> ''"
)


def untokenised(
    db: sqlite3.Connection, epoch: int, key_class: str, limit: int, *, today: date, exercise: bool = False
) -> Untokenised | None:
    """Return up to `limit` values of an epoch, a class, one case that has not ended and one domain; or None.

    Args:
        db: A connection.
        epoch: Of the key.
        key_class: `strong` or `weak`.
        limit: How many.
        today: The day.
        exercise: Whether values of an exercise, else real ones; they are charged to budgets of their own.
    """
    which = _EXERCISE if exercise else _REAL
    names = {"epoch": epoch, "class": key_class, "today": today.isoformat()}
    head = db.execute(
        f"SELECT u.case_id, c.profile, v.domain FROM {which} JOIN case_profile c ON c.id = u.case_id"  # noqa: S608 -- constants
        " WHERE u.epoch = :epoch AND u.key_class = :class AND c.valid_until >= :today LIMIT 1",
        names,
    ).fetchone()
    if head is None:
        return None
    case_id, profile, domain = head
    rows = db.execute(
        f"SELECT v.id, v.namespace, v.rules_version, v.canonical FROM {which}"  # noqa: S608 -- as above
        " WHERE u.epoch = :epoch AND u.key_class = :class AND u.case_id = :case AND v.domain = :domain LIMIT :limit",
        {**names, "case": case_id, "domain": domain, "limit": limit},
    )
    found = tuple(UntokenisedRow(*row) for row in rows)
    return Untokenised(epoch, key_class, case_id, cases.from_json(profile), found, domain)


def any_untokenised(db: sqlite3.Connection, epoch: int) -> bool:
    """Tell whether anything waits for a token of an epoch; mostly nothing does."""
    return db.execute("SELECT 1 FROM to_tokenise WHERE epoch = ? LIMIT 1", (epoch,)).fetchone() is not None


def untokenised_count(db: sqlite3.Connection) -> int:
    """Return how many tokens are still to be made."""
    count: int = db.execute("SELECT count(*) FROM to_tokenise").fetchone()[0]
    return count


def store_tokens(
    db: sqlite3.Connection, batch: Untokenised, entries: Iterable[tuple[int, bytes, bytes, bytes]]
) -> None:
    """Write (value id, label, match secret, token) of a batch, and strike it off what is to be done."""
    held = list(entries)
    db.executemany(
        "INSERT OR IGNORE INTO token (epoch, value_id, label, secret, token) VALUES (?, ?, ?, ?, ?)",
        [(batch.epoch, *entry) for entry in held],
    )
    db.executemany(
        "DELETE FROM to_tokenise WHERE epoch = ? AND key_class = ? AND case_id = ? AND value_id = ?",
        [(batch.epoch, batch.key_class, batch.case_id, entry[0]) for entry in held],
    )
