"""Batches of questions, who is pending for them, and what was sent (3.3 step 3, 3.4, 3.5)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from services.node.store import cases, meta
from services.node.store.rows import Batch, CoincidenceRow, PendingRow, SentCheck

if TYPE_CHECKING:
    import random
    import sqlite3
    from collections.abc import Collection, Iterable
    from datetime import date

    from services.node.store.rows import PairRow, WitnessRow

_FORM_AT_ONCE: Final = 100_000
# An asker that calls its values ever anew must not make each question dearer than the last.
_MAX_OF_LINE: Final = 1000
_STATES: Final = frozenset({"new", "offline", "timed_out", "outside"})

# A value may be asked about once its token is there and, where others shall find it, published: else two parties that
# submit at the same time would miss each other (I3). CROSS JOIN keeps SQLite from beginning with every token there is.
# A weak value waits for all values of its line: one holder has to see two of them to confirm them, so the later of two
# parties has to find both.
_READY: Final = """
    SELECT c.value_id, c.purpose, c.case_id, c.operation, c.look_once, v.domain
    FROM to_check c CROSS JOIN value v ON v.id = c.value_id
        CROSS JOIN token t ON t.value_id = c.value_id AND t.epoch = :epoch
        JOIN case_profile p ON p.id = c.case_id
    WHERE (v.kept = 0 OR (t.sequence IS NOT NULL AND t.sequence <= :through)) AND p.valid_until >= :today
        AND (v.grade = 1 OR NOT EXISTS (
            SELECT 1 FROM record_value rv JOIN record r ON r.id = rv.record_id
                JOIN record s ON s.file_id = r.file_id AND s.line = r.line
                JOIN record_value sv ON sv.record_id = s.id JOIN value w ON w.id = sv.value_id
                LEFT JOIN token u ON u.value_id = w.id AND u.epoch = :epoch
            WHERE rv.value_id = v.id AND r.status = 'accepted' AND s.status = 'accepted' AND w.kept = 1
                AND (u.sequence IS NULL OR u.sequence > :through)))
    ORDER BY c.case_id, c.value_id LIMIT :limit
"""


def form_batches(
    db: sqlite3.Connection, epoch: int, max_items: int, *, holders: Collection[str], rng: random.Random, today: date
) -> list[int]:
    """Put values that are ready into batches, each with its pending rows; return the ids of the batches."""
    through = meta.get_int(db, meta.PUBLISHED_THROUGH)
    rows = db.execute(
        _READY, {"epoch": epoch, "through": through, "limit": _FORM_AT_ONCE, "today": today.isoformat()}
    ).fetchall()
    # Values of an exercise never share a header with real ones of the same operation.
    groups: dict[tuple[str, int, str, int, str], list[int]] = {}
    for value_id, *key in rows:
        groups.setdefault((key[0], key[1], key[2], key[3], key[4]), []).append(value_id)
    db.executemany(
        "DELETE FROM to_check WHERE value_id = ? AND purpose = ? AND operation = ?",
        [(row[0], row[1], row[3]) for row in rows],
    )
    ids: list[int] = []
    for (purpose, case_id, operation, look_once, _), value_ids in groups.items():
        fresh = _not_asked(db, value_ids, (epoch, purpose, operation))
        # Strong and weak shuffled together, so that order and size tell the hub nothing of the file.
        rng.shuffle(fresh)
        for start in range(0, len(fresh), max_items):
            batch = (epoch, purpose, case_id, operation, look_once)
            ids.append(_add_batch(db, batch, fresh[start : start + max_items], holders))
    return ids


def _not_asked(db: sqlite3.Connection, value_ids: list[int], about: tuple[int, str, str]) -> list[int]:
    query = "SELECT 1 FROM batch_item WHERE value_id = ? AND epoch = ? AND purpose = ? AND operation = ?"
    return [one for one in value_ids if db.execute(query, (one, *about)).fetchone() is None]


def _add_batch(
    db: sqlite3.Connection, batch: tuple[int, str, int, str, int], value_ids: list[int], holders: Collection[str]
) -> int:
    cursor = db.execute(
        "INSERT INTO batch (epoch, purpose, case_id, operation, look_once) VALUES (?, ?, ?, ?, ?)", batch
    )
    batch_id = cursor.lastrowid
    assert batch_id is not None
    epoch, purpose, _, operation, _ = batch
    db.executemany(
        "INSERT INTO batch_item VALUES (?, ?, ?, ?, ?, ?)",
        [(batch_id, position, value_id, epoch, purpose, operation) for position, value_id in enumerate(value_ids)],
    )
    db.executemany("INSERT INTO pending VALUES (?, ?, 'new', 0)", [(batch_id, holder) for holder in holders])
    return batch_id


def pending_batches(db: sqlite3.Connection, holder: str | None, today: date) -> list[PendingRow]:
    """Return who is pending for which batch, oldest batch first, of cases that have not ended."""
    rows = db.execute(
        "SELECT p.batch_id, p.holder, p.state, p.attempts FROM pending p JOIN batch b ON b.id = p.batch_id"
        " JOIN case_profile c ON c.id = b.case_id"
        " WHERE (:holder IS NULL OR p.holder = :holder) AND c.valid_until >= :today ORDER BY p.batch_id, p.holder",
        {"holder": holder, "today": today.isoformat()},
    )
    return [PendingRow(*row) for row in rows]


def load_batch(db: sqlite3.Connection, batch_id: int) -> Batch:
    """Return a batch with its columns.

    Raises:
        LookupError: There is none, or all its values have gone into another one since (`values.add_value`).
    """
    head = db.execute(
        "SELECT b.id, b.epoch, b.purpose, b.operation, c.id, c.profile, b.look_once"
        " FROM batch b JOIN case_profile c ON c.id = b.case_id WHERE b.id = ?",
        (batch_id,),
    ).fetchone()
    items = db.execute(
        "SELECT t.token, v.reference, t.secret, v.grade, v.domain, v.id"
        " FROM batch_item i JOIN value v ON v.id = i.value_id"
        " JOIN token t ON t.value_id = i.value_id AND t.epoch = i.epoch WHERE i.batch_id = ? ORDER BY i.position",
        (batch_id,),
    ).fetchall()
    if head is None or not items:
        raise LookupError("the batch is not there any more")
    tokens, references, secrets, grades, domains, value_ids = zip(*items, strict=True)
    row_id, epoch, purpose, operation, case_id, profile, look_once = head
    return Batch(
        id=row_id,
        epoch=epoch,
        purpose=purpose,
        operation=operation,
        case_id=case_id,
        case=cases.from_json(profile),
        look_once=bool(look_once),
        tokens=b"".join(tokens),
        references=b"".join(references),
        secrets=b"".join(secrets),
        grades=bytes(grades),
        exercise=bool(domains[0]),
        value_ids=value_ids,
    )


def split_batch(db: sqlite3.Connection, batch_id: int, references: Iterable[bytes]) -> int:
    """Move values of a batch into a new one that waits for the same holders; return its id."""
    head = "epoch, purpose, case_id, operation, look_once"
    new_id = db.execute(f"INSERT INTO batch ({head}) SELECT {head} FROM batch WHERE id = ?", (batch_id,)).lastrowid  # noqa: S608 -- constants
    assert new_id is not None
    db.executemany(
        "UPDATE batch_item SET batch_id = ? WHERE batch_id = ?"
        " AND value_id = (SELECT id FROM value WHERE reference = ?)",
        [(new_id, batch_id, one) for one in references],
    )
    db.execute(
        "INSERT INTO pending SELECT ?, holder, state, attempts FROM pending WHERE batch_id = ?", (new_id, batch_id)
    )
    return new_id


def record_sent(
    db: sqlite3.Connection, check_id: bytes, batch_id: int, *, header: bytes, header_hash: bytes, at: float
) -> None:
    """Write what is about to leave, so that its answers can be verified after a crash."""
    db.execute(
        "INSERT INTO sent_check (check_id, batch_id, header, header_hash, sent_at) VALUES (?, ?, ?, ?, ?)",
        (check_id, batch_id, header, header_hash, at),
    )


def sent_check(db: sqlite3.Connection, check_id: bytes) -> SentCheck | None:
    """Return what was sent under a check id."""
    row = db.execute(
        "SELECT check_id, batch_id, header, header_hash, sent_at, certificate FROM sent_check WHERE check_id = ?",
        (check_id,),
    ).fetchone()
    return None if row is None else SentCheck(*row)


def store_certificate(db: sqlite3.Connection, check_id: bytes, certificate: bytes) -> None:
    """Keep the signed coverage of a check."""
    db.execute("UPDATE sent_check SET certificate = ? WHERE check_id = ?", (certificate, check_id))


def cover(db: sqlite3.Connection, batch_id: int, holders: Iterable[str]) -> None:
    """Delete the pending rows of holders that covered a batch."""
    db.executemany("DELETE FROM pending WHERE batch_id = ? AND holder = ?", [(batch_id, one) for one in holders])


def set_pending_state(db: sqlite3.Connection, batch_id: int, holder: str, *, state: str, attempts: int | None) -> None:
    """Say why a holder is still pending; one that covered the batch meanwhile stays covered."""
    if state not in _STATES:
        raise ValueError("a pending row is new, offline, timed_out or outside")
    db.execute(
        "UPDATE pending SET state = ?, attempts = coalesce(?, attempts + 1) WHERE batch_id = ? AND holder = ?",
        (state, attempts, batch_id, holder),
    )


def move_to_epoch(db: sqlite3.Connection, epoch: int, live: Collection[int], today: date) -> None:
    """Have asked again under an epoch what was asked under others only; end the pending rows of epochs that are over.

    Each epoch has its own pending set (3.5, C11): a party may have been covered under the old epoch before it held the
    value, and hold no old token now. Whoever looked once and got an answer from all asks no more.
    """
    marks = ",".join("?" * len(live))
    # No custodian makes these tokens any more, and while they wait the node never says that all it holds is published.
    db.execute(f"DELETE FROM to_tokenise WHERE epoch NOT IN ({marks})", tuple(live))  # noqa: S608 -- only question marks enter
    db.execute(
        f"DELETE FROM token WHERE epoch NOT IN ({marks}) AND sequence IS NULL"  # noqa: S608 -- only question marks enter
        " AND (SELECT kept FROM value v WHERE v.id = value_id) = 1",
        tuple(live),
    )
    if db.execute("SELECT 1 FROM batch WHERE epoch <> ? LIMIT 1", (epoch,)).fetchone() is None:
        return
    db.execute(
        "INSERT OR IGNORE INTO to_check SELECT i.value_id, i.purpose, b.case_id, b.operation, b.look_once"
        " FROM batch b JOIN batch_item i ON i.batch_id = b.id JOIN case_profile c ON c.id = b.case_id"
        " WHERE b.epoch <> :epoch AND c.valid_until >= :today AND NOT EXISTS (SELECT 1 FROM batch_item j"
        "  WHERE j.value_id = i.value_id AND j.purpose = i.purpose AND j.operation = i.operation AND j.epoch = :epoch)"
        " AND (b.look_once = 0 OR EXISTS (SELECT 1 FROM pending p WHERE p.batch_id = b.id))"
        " ORDER BY b.id DESC",
        {"epoch": epoch, "today": today.isoformat()},
    )
    db.execute(
        f"DELETE FROM pending WHERE batch_id IN (SELECT id FROM batch WHERE epoch NOT IN ({marks}))",  # noqa: S608 -- only question marks enter
        tuple(live),
    )


def batch_of(db: sqlite3.Connection, reference: bytes) -> int | None:
    """Return the batch of the newest epoch in which an own reference's value is asked; None where it waits for one."""
    # Not simply the newest batch: one of an old epoch may have been cut since, and its rows end with the epoch.
    row = db.execute(
        "SELECT i.batch_id FROM batch_item i JOIN value v ON v.id = i.value_id WHERE v.reference = ?"
        " ORDER BY i.epoch DESC, i.batch_id DESC LIMIT 1",
        (reference,),
    ).fetchone()
    return None if row is None else row[0]


def reopen_pending(db: sqlite3.Connection, batch_id: int, holder: str) -> None:
    """Make a holder pending again whose answer was refused (3.4 step 4); it counts as one more attempt."""
    db.execute(
        "INSERT INTO pending VALUES (?, ?, 'timed_out', 1)"
        " ON CONFLICT (batch_id, holder) DO UPDATE SET state = 'timed_out', attempts = attempts + 1",
        (batch_id, holder),
    )


def reopen_all(db: sqlite3.Connection, holders: Iterable[str], today: date) -> None:
    """Make holders pending for every batch whose case has not ended, for a ledger may have lost what came of them."""
    db.executemany(
        "INSERT OR IGNORE INTO pending SELECT b.id, ?, 'new', 0 FROM batch b JOIN case_profile c ON c.id = b.case_id"
        " WHERE c.valid_until >= ? AND EXISTS (SELECT 1 FROM batch_item i WHERE i.batch_id = b.id)",
        [(holder, today.isoformat()) for holder in holders],
    )


def add_witnesses(db: sqlite3.Connection, rows: Iterable[WitnessRow]) -> None:
    """Keep asks that were verified; the first check id of an ask stays."""
    db.executemany("INSERT OR IGNORE INTO witness VALUES (?, ?, ?, ?)", rows)


def has_witness(db: sqlite3.Connection, own_reference: bytes, asker: str, asker_reference: bytes) -> bool:
    """Tell whether such an ask was verified."""
    query = "SELECT 1 FROM witness WHERE own_reference = ? AND asker = ? AND asker_reference = ?"
    return db.execute(query, (own_reference, asker, asker_reference)).fetchone() is not None


def add_coincidences(db: sqlite3.Connection, rows: Iterable[CoincidenceRow]) -> None:
    """Keep coincidences of both grades, each with the newest group tags; a lone weak one tells nobody."""
    db.executemany(
        "INSERT INTO weak_coincidence (own_reference, asker, asker_reference, check_id, grade, line_tag, record_tag)"
        " VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT (own_reference, asker, asker_reference)"
        " DO UPDATE SET line_tag = excluded.line_tag, record_tag = excluded.record_tag",
        rows,
    )


def coincidences(db: sqlite3.Connection, asker: str, line_tags: Collection[bytes]) -> list[CoincidenceRow]:
    """Return the coincidences with lines of an asker's that were kept."""
    found: list[CoincidenceRow] = []
    for tag in line_tags:
        rows = db.execute(
            "SELECT own_reference, asker, asker_reference, check_id, grade, line_tag, record_tag"
            " FROM weak_coincidence WHERE asker = ? AND line_tag = ? LIMIT ?",
            (asker, tag, _MAX_OF_LINE),
        )
        found += [CoincidenceRow(*row) for row in rows]
    return found


def add_verified_pairs(db: sqlite3.Connection, rows: Iterable[PairRow]) -> None:
    """Keep pairs that were verified in a sweep."""
    db.executemany("INSERT OR IGNORE INTO verified_pair VALUES (?, ?, ?, ?)", rows)


def has_verified_pair(db: sqlite3.Connection, row: PairRow) -> bool:
    """Tell whether this pair was verified in this sweep."""
    query = "SELECT 1 FROM verified_pair WHERE own_reference = ? AND peer = ? AND peer_reference = ? AND sweep_id = ?"
    return db.execute(query, row).fetchone() is not None
