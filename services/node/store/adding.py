"""Write the records of a submit (3.3): a chunk of new ones in a few statements, any other one by one.

Most rows of a long file name values that the store has never seen. Of these nothing is to be looked up: no token, no
question, no other record. A record with a value that is there already, or that stands further up in the same chunk,
goes the long way, so that its reference, its questions and its case are what they are for a single record.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from concordat.tokens import REFERENCE_BYTES
from services.node.policy import Policy
from services.node.store.policies import add_proposal, ask_again, put_policy
from services.node.store.values import add_value, class_of

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Callable, Iterable, Sequence

    from services.node.store.records import NewRecord
    from services.node.store.values import Asking, CanonicalValue

UID_BYTES: Final = 16
# Five parameters a value, far below SQLite's limit.
_LOOKED_UP_AT_ONCE: Final = 500
_COLUMNS: Final = (
    "id, uid, file_id, item, line, typed, status, code, reason, kind, region, region_assumed, notes, trafficking,"
    " abuse, row, look_once, policy_id, role, keep_until, known"
)
_INSERT: Final = f"INSERT INTO record ({_COLUMNS}) VALUES ({','.join('?' * 21)})"  # noqa: S608 -- constants


class _Policies(NamedTuple):
    """The policies of a chunk, each looked up once."""

    ids: dict[str, int]
    compared: dict[str, bool]

    def of(self, db: sqlite3.Connection, content: str) -> tuple[int, bool]:
        if content not in self.ids:
            self.ids[content] = put_policy(db, content)
            self.compared[content] = Policy.of(content).compared
        return self.ids[content], self.compared[content]


def add_records(
    db: sqlite3.Connection,
    file_id: int,
    records: Iterable[NewRecord],
    *,
    asking: Asking,
    random_bytes: Callable[[int], bytes],
) -> bool:
    """Write records with their values and all that is to be done for these.

    Returns:
        Whether all of this begins with tokens: no value was there before, nothing waits for a second person.
    """
    chunk = list(records)
    first_id: int = db.execute("SELECT coalesce(max(id), 0) + 1 FROM record").fetchone()[0]
    policies, known = _Policies({}, {}), _known(db, chunk, asking.domain)
    fresh: list[tuple[int, NewRecord]] = []
    rest: list[tuple[int, NewRecord]] = []
    for row_id, record in enumerate(chunk, first_id):
        new = known.isdisjoint(record.values) and len(set(record.values)) == len(record.values)
        (fresh if new else rest).append((row_id, record))
        known.update(record.values)
    # No value of a fresh record stands in one before it, so that it may be written before them.
    _add_fresh(db, file_id, fresh, asking=asking, random_bytes=random_bytes, policies=policies)
    for row_id, record in rest:
        _add_one(db, file_id, row_id, record, asking=asking, random_bytes=random_bytes, policies=policies)
    return not rest and all(record.proposed is None for _, record in fresh)


def _known(db: sqlite3.Connection, chunk: Sequence[NewRecord], domain: str) -> set[CanonicalValue]:
    """Return the values of a chunk that the store has."""
    values = list({value for record in chunk for value in record.values})
    found: set[CanonicalValue] = set()
    for start in range(0, len(values), _LOOKED_UP_AT_ONCE):
        part = values[start : start + _LOOKED_UP_AT_ONCE]
        marks = ",".join(["(?, ?, ?, ?, ?)"] * len(part))
        rows = db.execute(
            # A list of rows after IN would make SQLite read all values there are.
            f"WITH wanted (position, namespace, rules, canonical, grade) AS (VALUES {marks})"  # noqa: S608 -- marks only
            " SELECT w.position FROM wanted w CROSS JOIN value v ON v.namespace = w.namespace"
            " AND v.rules_version = w.rules AND v.canonical = w.canonical AND v.grade = w.grade AND v.domain = ?",
            [*(field for at, value in enumerate(part) for field in (at, *value)), domain],
        )
        found.update(part[position] for (position,) in rows)
    return found


def _add_fresh(
    db: sqlite3.Connection,
    file_id: int,
    records: Sequence[tuple[int, NewRecord]],
    *,
    asking: Asking,
    random_bytes: Callable[[int], bytes],
    policies: _Policies,
) -> None:
    value_id: int = db.execute("SELECT coalesce(max(id), 0) + 1 FROM value").fetchone()[0]
    rows, values, links, tokens, checks = [], [], [], [], []
    proposed: list[tuple[bytes, str]] = []
    for row_id, record in records:
        policy_id, compared = policies.of(db, record.policy)
        compared = compared and asking.compared
        uid = random_bytes(UID_BYTES)
        rows.append(_row(row_id, uid, file_id, record, policy_id, look_once=asking.look_once, known=False))
        for value in record.values:
            keep = compared and not asking.look_once
            values.append((value_id, *value, random_bytes(REFERENCE_BYTES), keep, asking.domain))
            links.append((row_id, value_id))
            if compared:
                key_class = class_of(value.grade)
                tokens += [(epoch, key_class, value_id, asking.case_id) for epoch in asking.epochs]
                checks.append((value_id, asking.purpose, asking.case_id, asking.operation, asking.look_once))
            value_id += 1
        if record.proposed is not None:
            proposed.append((uid, record.proposed))
    db.executemany(_INSERT, rows)
    db.executemany(
        "INSERT INTO value (id, namespace, rules_version, canonical, grade, reference, kept, domain)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
        values,
    )
    db.executemany("INSERT INTO record_value VALUES (?, ?)", links)
    # In the order of the keys, else each row touches another page.
    db.executemany("INSERT INTO to_tokenise VALUES (?, ?, ?, ?)", sorted(tokens))
    db.executemany("INSERT INTO to_check VALUES (?, ?, ?, ?, ?)", checks)
    for uid, content in proposed:
        add_proposal(db, uid, content, officer=asking.officer, at_ms=asking.at_ms)


def _add_one(
    db: sqlite3.Connection,
    file_id: int,
    row_id: int,
    record: NewRecord,
    *,
    asking: Asking,
    random_bytes: Callable[[int], bytes],
    policies: _Policies,
) -> None:
    policy_id, compared = policies.of(db, record.policy)
    placed = asking if compared else asking._replace(compared=False)
    value_ids = [add_value(db, value, placed, random_bytes) for value in record.values]
    known = bool(value_ids) and _held_elsewhere(db, value_ids[0], file_id)
    uid = random_bytes(UID_BYTES)
    db.execute(_INSERT, _row(row_id, uid, file_id, record, policy_id, look_once=asking.look_once, known=known))
    db.executemany("INSERT OR IGNORE INTO record_value VALUES (?, ?)", [(row_id, one) for one in value_ids])
    if placed.compared and not asking.look_once:
        ask_again(db, [one for one in value_ids if _tells_others(db, one, row_id)])
    if record.proposed is not None:
        add_proposal(db, uid, record.proposed, officer=asking.officer, at_ms=asking.at_ms)


def _row(
    row_id: int, uid: bytes, file_id: int, record: NewRecord, policy_id: int, *, look_once: bool, known: bool
) -> tuple[object, ...]:
    return (
        *(row_id, uid, file_id, record.item, record.line, record.typed, "refused" if record.code else "accepted"),
        *(record.code, record.reason, record.kind, record.region, record.region_assumed, record.notes),
        *(record.trafficking, record.abuse, record.row, look_once, policy_id, record.role, record.keep_until, known),
    )


def _tells_others(db: sqlite3.Connection, value_id: int, record_id: int) -> bool:
    """Tell whether a value that was asked about has in this record the first of its policy (C6).

    What was asked before named those who might be told then; others must hear of it now.
    """
    query = (
        "SELECT EXISTS (SELECT 1 FROM batch_item WHERE value_id = :value) AND NOT EXISTS (SELECT 1 FROM record_value rv"
        " JOIN record o ON o.id = rv.record_id WHERE rv.value_id = :value AND o.id <> :record AND o.look_once = 0"
        " AND o.status = 'accepted' AND o.policy_id = (SELECT policy_id FROM record WHERE id = :record))"
    )
    return bool(db.execute(query, {"value": value_id, "record": record_id}).fetchone()[0])


def _held_elsewhere(db: sqlite3.Connection, value_id: int, file_id: int) -> bool:
    query = (
        "SELECT 1 FROM record_value rv JOIN record r ON r.id = rv.record_id WHERE rv.value_id = ? AND r.file_id <> ?"
        " LIMIT 1"
    )
    return db.execute(query, (value_id, file_id)).fetchone() is not None
