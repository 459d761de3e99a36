"""Writing policies: at submit, and whenever they change (3.5). Reading them for a check is in `store.handling`.

A value is found by others exactly while a live, kept record of it is compared with others at all. `settle` makes that
true again after records, policies or withdrawals have changed; it is called in the transaction that changed them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from services.node.policy import Policy
from services.node.store import meta
from services.node.store.values import STRONG, forget_batches

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterable

_LIVE: Final = "r.status = 'accepted'"
_COMPARED: Final = "coalesce(json_extract(p.content, '$.visibility'), '') <> 'local_only'"


class RecordRow(NamedTuple):
    """A record as a change of policy sees it."""

    id: int
    uid: bytes
    policy: str
    """Content of its policy."""
    role: str
    file_name: str
    line: int
    case_reference: str
    typed: str

    def __repr__(self) -> str:
        return f"RecordRow(id={self.id})"


def put_policy(db: sqlite3.Connection, content: str) -> int:
    """Return the id of a policy, adding it where it is new."""
    found = db.execute("SELECT id FROM policy WHERE content = ?", (content,)).fetchone()
    if found is None:
        found = (db.execute("INSERT INTO policy (content) VALUES (?)", (content,)).lastrowid,)
    row_id: int = found[0]
    return row_id


def set_policy(db: sqlite3.Connection, uid: bytes, content: str, *, epochs: Iterable[int], ask: bool) -> bool:
    """Give a record another policy and settle its values; return False where there is no such live record.

    Args:
        db: A connection inside a writing transaction.
        uid: Of the record.
        content: Of the policy.
        epochs: In force; values that become found get tokens of them.
        ask: Whether its values are asked about anew: whoever may be told now must hear of what was found before (C6).
    """
    row = db.execute(f"SELECT r.id FROM record r WHERE r.uid = ? AND {_LIVE}", (uid,)).fetchone()  # noqa: S608 -- a constant
    if row is None:
        return False
    db.execute("UPDATE record SET policy_id = ? WHERE id = ?", (put_policy(db, content), row[0]))
    value_ids = [one for (one,) in db.execute("SELECT value_id FROM record_value WHERE record_id = ?", row)]
    settle(db, value_ids, epochs=epochs)
    if ask:
        ask_again(db, value_ids)
    return True


def settle(db: sqlite3.Connection, value_ids: Iterable[int], *, epochs: Iterable[int]) -> None:
    """Make values found, or found no more, by what their live records say."""
    epochs = tuple(epochs)
    for value_id in value_ids:
        kept = db.execute("SELECT kept FROM value WHERE id = ?", (value_id,)).fetchone()
        if kept is None:
            continue
        compared = {look_once for look_once, policy in _live_records(db, value_id) if Policy.of(policy).compared}
        if compared:
            # Whoever looks once asks, too, and a record that was local only has no token yet.
            _tokenise(db, value_id, epochs)
        if 0 in compared:
            if not kept[0]:
                db.execute("UPDATE value SET kept = 1 WHERE id = ?", (value_id,))
                ask_again(db, [value_id])
        elif kept[0]:
            db.execute("UPDATE value SET kept = 0 WHERE id = ?", (value_id,))
            # Out of the index with this transaction; the bits in the hub's plane go with the next snapshot.
            meta.bump(db, meta.PLANE_STALE)
            if compared:
                # A look had left its question to that of the record that was kept.
                ask_again(db, [value_id])
        if not compared:
            stop_asking(db, value_id)
        else:
            _end_other_questions(db, value_id)


def _end_other_questions(db: sqlite3.Connection, value_id: int) -> None:
    """End questions about purposes and operations that only records had which are withdrawn or local only now."""
    spoken = db.execute(
        "SELECT purpose, operation FROM batch_item WHERE value_id = :value"  # noqa: S608 -- constants
        " UNION SELECT purpose, operation FROM to_check WHERE value_id = :value"
        " EXCEPT SELECT c.purpose, f.operation FROM record_value rv JOIN record r ON r.id = rv.record_id"
        " JOIN file f ON f.id = r.file_id JOIN case_profile c ON c.id = f.case_id"
        " LEFT JOIN policy p ON p.id = r.policy_id"
        f" WHERE rv.value_id = :value AND {_LIVE} AND {_COMPARED}",
        {"value": value_id},
    ).fetchall()
    for purpose, operation in spoken:
        about = (value_id, purpose, operation)
        db.execute("DELETE FROM to_check WHERE value_id = ? AND purpose = ? AND operation = ?", about)
        forget_batches(db, value_id, about=(purpose, operation))


def _live_records(db: sqlite3.Connection, value_id: int) -> list[tuple[int, str]]:
    rows = db.execute(
        "SELECT DISTINCT r.look_once, coalesce(p.content, '{}') FROM record_value rv"  # noqa: S608 -- a constant
        f" JOIN record r ON r.id = rv.record_id LEFT JOIN policy p ON p.id = r.policy_id"
        f" WHERE rv.value_id = ? AND {_LIVE}",
        (value_id,),
    )
    return list(rows)


def _tokenise(db: sqlite3.Connection, value_id: int, epochs: tuple[int, ...]) -> None:
    db.executemany(
        "INSERT OR IGNORE INTO to_tokenise"
        " SELECT :epoch, CASE v.grade WHEN :strong THEN 'strong' ELSE 'weak' END, v.id,"
        " (SELECT f.case_id FROM record_value rv"
        "  JOIN record r ON r.id = rv.record_id JOIN file f ON f.id = r.file_id"
        "  JOIN case_profile c ON c.id = f.case_id WHERE rv.value_id = v.id AND r.status = 'accepted'"
        "  ORDER BY c.valid_until DESC, f.id LIMIT 1)"
        " FROM value v WHERE v.id = :value AND NOT EXISTS (SELECT 1 FROM token t WHERE t.epoch = :epoch"
        "  AND t.value_id = v.id) AND NOT EXISTS (SELECT 1 FROM to_tokenise u WHERE u.epoch = :epoch"
        "  AND u.value_id = v.id)",
        [{"epoch": epoch, "strong": STRONG, "value": value_id} for epoch in epochs],
    )


def stop_asking(db: sqlite3.Connection, value_id: int) -> None:
    """End all that waits for a value: it is compared with nobody."""
    db.execute("DELETE FROM to_tokenise WHERE value_id = ?", (value_id,))
    db.execute("DELETE FROM to_check WHERE value_id = ?", (value_id,))
    forget_batches(db, value_id)


def ask_again(db: sqlite3.Connection, value_ids: Iterable[int]) -> None:
    """Have values asked about anew, of all holders, for each purpose and operation of their live records.

    A record that is local only has no part in it: its purpose and operation would leave in a header.
    """
    for value_id in value_ids:
        forget_batches(db, value_id)
        db.execute(
            # With one max() the bare columns are those of its row: the case that lasts longest answers for it.
            "INSERT OR REPLACE INTO to_check (value_id, purpose, case_id, operation, look_once)"  # noqa: S608 -- constants
            " SELECT value_id, purpose, case_id, operation, min_look FROM (SELECT rv.value_id AS value_id, c.purpose AS"
            " purpose, f.case_id AS case_id, f.operation AS operation, r.look_once AS min_look,"
            " max(c.valid_until || CASE r.look_once WHEN 0 THEN '1' ELSE '0' END) FROM record_value rv"
            " JOIN record r ON r.id = rv.record_id JOIN file f ON f.id = r.file_id"
            " JOIN case_profile c ON c.id = f.case_id LEFT JOIN policy p ON p.id = r.policy_id"
            f" WHERE rv.value_id = ? AND {_LIVE} AND {_COMPARED}"
            " GROUP BY c.purpose, f.operation)",
            (value_id,),
        )


def find_records(
    db: sqlite3.Connection,
    *,
    file_name: str | None = None,
    case_reference: str | None = None,
    line: int | None = None,
    canonical: Iterable[tuple[str, str]] = (),
) -> list[RecordRow]:
    """Return live records by where they stand or by what they are; without any condition, all.

    Args:
        db: A connection.
        file_name: Name of their file.
        case_reference: Of their case.
        line: Line in their file.
        canonical: Pairs of namespace and canonical value, of which they have one as their strong value.
    """
    pairs = list(canonical)
    conditions, names = [_LIVE], {"file": file_name, "case": case_reference, "line": line, "strong": STRONG}
    conditions += [text for text, name in _CONDITIONS if names[name] is not None]
    rows = db.execute(
        "SELECT r.id, r.uid, coalesce(p.content, '{}'), r.role, f.name, r.line, c.reference, r.typed,"  # noqa: S608 -- constants
        " v.namespace, v.canonical FROM record r JOIN file f ON f.id = r.file_id"
        " JOIN case_profile c ON c.id = f.case_id LEFT JOIN policy p ON p.id = r.policy_id"
        " LEFT JOIN record_value rv ON rv.record_id = r.id"
        " LEFT JOIN value v ON v.id = rv.value_id AND v.grade = :strong"
        f" WHERE {' AND '.join(conditions)} AND (v.id IS NOT NULL OR rv.value_id IS NULL) ORDER BY r.id",
        names,
    )
    return [RecordRow(*row[:8]) for row in rows if not pairs or (row[8], row[9]) in pairs]


_CONDITIONS: Final = (("f.name = :file", "file"), ("c.reference = :case", "case"), ("r.line = :line", "line"))


def add_proposal(db: sqlite3.Connection, uid: bytes, content: str, *, officer: str, at_ms: int) -> int:
    """Keep a change of policy that waits for a second person; return its number."""
    row = db.execute(
        "INSERT INTO policy_proposal (uid, policy, officer, at_ms) VALUES (?, ?, ?, ?)", (uid, content, officer, at_ms)
    )
    assert row.lastrowid is not None
    return row.lastrowid


class Proposal(NamedTuple):
    """A change of policy that waits for a second person."""

    id: int
    uid: bytes
    policy: str
    officer: str
    at_ms: int


def proposals(db: sqlite3.Connection) -> list[Proposal]:
    """Return the changes that wait, oldest first."""
    return [
        Proposal(*row) for row in db.execute("SELECT id, uid, policy, officer, at_ms FROM policy_proposal ORDER BY id")
    ]


def drop_proposals_of(db: sqlite3.Connection, uid: bytes) -> None:
    """Forget what waits for a record: something else was decided of it."""
    db.execute("DELETE FROM policy_proposal WHERE uid = ?", (uid,))
