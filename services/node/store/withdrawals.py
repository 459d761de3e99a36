"""Withdrawals (3.8): records leave the index at once, their references are buried in the ledger, receipts come back.

A record that is withdrawn keeps its place in its file and loses what was typed. A value whose last record goes is
removed with its tokens; its reference stays until the party's own list of notices says that it is buried. The same
value submitted again has another reference.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from concordat.vocabulary import WithdrawReason
from services.node.policy import LOCAL_ONLY
from services.node.store import meta
from services.node.store.policies import ask_again, drop_proposals_of, set_policy, settle, stop_asking

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Callable, Iterable


class ReceiptRow(NamedTuple):
    """A signed receipt: `peer` is who withdrew where `own`, else who was told."""

    reference: bytes
    peer: str
    own: bool
    message: bytes
    at_ms: int


def withdraw_records(
    db: sqlite3.Connection, record_ids: Iterable[int], *, reason: WithdrawReason, at_ms: int, epochs: Iterable[int]
) -> int:
    """Withdraw records; return how many values went with them.

    Args:
        db: A connection inside a writing transaction.
        record_ids: Rows; those that are withdrawn already stay so.
        reason: Kept with the record, and told to nobody.
        at_ms: Unix milliseconds.
        epochs: In force.
    """
    epochs = tuple(epochs)
    gone, files = 0, set[int]()
    for record_id in record_ids:
        query = "SELECT uid, file_id FROM record WHERE id = ? AND status = 'accepted'"
        found = db.execute(query, (record_id,)).fetchone()
        if found is None:
            continue
        uid, file_id = found
        files.add(file_id)
        linked = db.execute("SELECT value_id FROM record_value WHERE record_id = ?", (record_id,)).fetchall()
        db.execute(
            "UPDATE record SET status = 'withdrawn', code = ?, reason = 'withdrawn', typed = NULL, row = '{}',"
            " notes = '' WHERE id = ?",
            (reason.value, record_id),
        )
        db.execute("DELETE FROM record_value WHERE record_id = ?", (record_id,))
        drop_proposals_of(db, uid)
        for (value_id,) in linked:
            if db.execute("SELECT 1 FROM record_value WHERE value_id = ? LIMIT 1", (value_id,)).fetchone() is None:
                _remove(db, value_id, reason, at_ms)
                gone += 1
            else:
                settle(db, [value_id], epochs=epochs)
    if reason is not WithdrawReason.EXPIRED:
        for file_id in sorted(files):
            _release_file(db, file_id)
    return gone


def _release_file(db: sqlite3.Connection, file_id: int) -> None:
    """Let a file of which nothing is left be submitted again; else it would be taken for one that is here.

    Of one that is still held in part, the same again revives nothing: it is a repetition more often than a wish.
    """
    db.execute(
        "UPDATE file SET reading = 'withdrawn ' || id WHERE id = :file AND complete = 1"
        " AND NOT EXISTS (SELECT 1 FROM record r WHERE r.file_id = :file AND r.status = 'accepted')",
        {"file": file_id},
    )


def _remove(db: sqlite3.Connection, value_id: int, reason: WithdrawReason, at_ms: int) -> None:
    reference, namespace = db.execute("SELECT reference, namespace FROM value WHERE id = ?", (value_id,)).fetchone()
    if db.execute("SELECT 1 FROM token WHERE value_id = ? LIMIT 1", (value_id,)).fetchone() is not None:
        # Without a token nobody can have heard of the reference, and the hub's plane has no bit of it.
        row = (reference, namespace, reason.value, at_ms)
        db.execute("INSERT OR IGNORE INTO withdrawal (reference, namespace, reason, at_ms) VALUES (?, ?, ?, ?)", row)
        meta.bump(db, meta.PLANE_STALE)
    stop_asking(db, value_id)
    db.execute("DELETE FROM token WHERE value_id = ?", (value_id,))
    db.execute("DELETE FROM weak_coincidence WHERE own_reference = ?", (reference,))
    db.execute("DELETE FROM witness WHERE own_reference = ?", (reference,))
    db.execute("DELETE FROM verified_pair WHERE own_reference = ?", (reference,))
    db.execute("UPDATE told SET state = 'withdrawn' WHERE own_reference = ? AND state = 'shown'", (reference,))
    db.execute("DELETE FROM value WHERE id = ?", (value_id,))


def records_ended(db: sqlite3.Connection, today: str, limit: int) -> list[tuple[int, bytes]]:
    """Return row and uid of live records whose last day, or that of their case, is past."""
    return list(
        db.execute(
            "SELECT r.id, r.uid FROM record r JOIN file f ON f.id = r.file_id JOIN case_profile c ON c.id = f.case_id"
            " WHERE r.status = 'accepted' AND (r.keep_until < :today OR c.valid_until < :today) LIMIT :limit",
            {"today": today, "limit": limit},
        )
    )


def anything_to_say(db: sqlite3.Connection) -> bool:
    """Tell whether a withdrawal, a receipt or feedback is not certain to have reached the hub."""
    query = (
        "SELECT EXISTS (SELECT 1 FROM withdrawal WHERE buried = 0)"
        " OR EXISTS (SELECT 1 FROM receipt WHERE own = 1 AND sent = 0)"
        " OR EXISTS (SELECT 1 FROM feedback WHERE own = 1 AND sent = 0)"
    )
    return bool(db.execute(query).fetchone()[0])


def unburied(db: sqlite3.Connection, limit: int) -> list[bytes]:
    """Return references of which the ledger has not said yet that they are buried, oldest first."""
    rows = db.execute("SELECT reference FROM withdrawal WHERE buried = 0 ORDER BY at_ms, reference LIMIT ?", (limit,))
    return [reference for (reference,) in rows]


def bury(
    db: sqlite3.Connection,
    reference: bytes,
    *,
    at_ms: int,
    reason: WithdrawReason,
    epochs: Iterable[int],
    random_bytes: Callable[[int], bytes],
) -> bool:
    """Note that a reference of this node is buried; return True where this store knows of no such withdrawal.

    A store whose policy journal was lost learns so what it had withdrawn (I9). But the hub alone says so:
    the records are compared with nobody from now on, and what was typed stays for their officers to decide.

    Args:
        db: A connection inside a writing transaction.
        reference: Own one.
        at_ms: Unix milliseconds of the withdrawal, by the ledger.
        reason: Of the withdrawal, where this store knows of none.
        epochs: In force.
        random_bytes: Source of the reference of records that came after the withdrawal.
    """
    db.execute("UPDATE withdrawal SET buried = 1 WHERE reference = ?", (reference,))
    row = db.execute("SELECT id FROM value WHERE reference = ?", (reference,)).fetchone()
    if row is None:
        return False
    older = db.execute(
        "SELECT r.uid FROM record_value rv JOIN record r ON r.id = rv.record_id JOIN file f ON f.id = r.file_id"
        " WHERE rv.value_id = ? AND f.added_at * 1000 <= ?",
        (row[0], at_ms),
    ).fetchall()
    for (uid,) in older:
        set_policy(db, uid, LOCAL_ONLY.content(), epochs=epochs, ask=False)
    # The dead reference must not stand for what was submitted since, or is shown again.
    db.execute("UPDATE told SET state = 'withdrawn' WHERE own_reference = ? AND state = 'shown'", (reference,))
    db.execute("UPDATE value SET reference = ? WHERE id = ?", (random_bytes(len(reference)), row[0]))
    ask_again(db, [row[0]])
    db.execute(
        "INSERT INTO withdrawal (reference, namespace, reason, at_ms, buried) VALUES (?, '', ?, ?, 1)"
        " ON CONFLICT (reference) DO UPDATE SET buried = 1",
        (reference, reason.value, at_ms),
    )
    return True


def put_receipt(db: sqlite3.Connection, row: ReceiptRow) -> None:
    """Keep a receipt: an own one until it has certainly reached the hub, another's for the auditor (LB-22)."""
    db.execute(
        "INSERT OR IGNORE INTO receipt (reference, peer, own, message, at_ms) VALUES (?, ?, ?, ?, ?)",
        (row.reference, row.peer, row.own, row.message, row.at_ms),
    )


def unsent_receipts(db: sqlite3.Connection) -> list[bytes]:
    """Return own receipts of which it is not certain that the hub has them."""
    return [one for (one,) in db.execute("SELECT message FROM receipt WHERE own = 1 AND sent = 0 ORDER BY at_ms")]


def receipts_arrived(db: sqlite3.Connection, messages: Iterable[bytes]) -> None:
    """Note that own receipts have reached the hub."""
    db.executemany("UPDATE receipt SET sent = 1 WHERE own = 1 AND message = ?", [(one,) for one in messages])
