"""Sequence numbers, publishing and look-up: how tokens become findable (3.2, 3.3 step 2, 3.4 step 2).

A kept value is *held* once it is stored, *numbered* once its token has a sequence, *published* once a gateway has
acknowledged that sequence. A numbered batch that was not acknowledged is given out again, also after a crash.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, TypeAlias

from concordat.tokens import TOKEN_BYTES, column
from services.node.store import meta
from services.node.store.rows import Hit, PublishBatch

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Sequence
    from datetime import date

_LOOKUP_CHUNK: Final = 500
_STATEMENT_SIZES: Final = (1, 8, 64, _LOOKUP_CHUNK)
_FOUND: Final = "SELECT t.token, v.id, v.reference, t.secret, v.grade, v.namespace, v.kept, v.domain"
_HELD: Final = "t.epoch = ? AND t.sequence IS NOT NULL AND v.kept = 1"
CHANGED: Final = "(SELECT DISTINCT value_id FROM index_changed) c"
_Value: TypeAlias = tuple[int, bytes, bytes, int, str, int, str]


def take_unpublished(db: sqlite3.Connection, epoch: int, limit: int) -> PublishBatch | None:
    """Return the lowest batch that is not acknowledged, else number the next one."""
    through = meta.get_int(db, meta.PUBLISHED_THROUGH)
    lowest = db.execute("SELECT min(sequence) FROM token WHERE sequence > ?", (through,)).fetchone()[0]
    if lowest is not None:
        return PublishBatch(lowest, _tokens_of(db, lowest))
    ids = db.execute(
        "SELECT t.value_id FROM token t INDEXED BY token_unpublished JOIN value v ON v.id = t.value_id"
        " WHERE t.epoch = ? AND t.sequence IS NULL AND v.kept = 1 LIMIT ?",
        (epoch, limit),
    ).fetchall()
    if not ids:
        return None
    sequence = meta.get_int(db, meta.SEQUENCE) + 1
    meta.put(db, meta.SEQUENCE, sequence)
    db.execute("INSERT OR REPLACE INTO numbered VALUES (?, randomblob(8))", (sequence,))
    db.executemany(
        "UPDATE token SET sequence = ? WHERE epoch = ? AND value_id = ?",
        [(sequence, epoch, value_id) for (value_id,) in ids],
    )
    return PublishBatch(sequence, _tokens_of(db, sequence))


def _tokens_of(db: sqlite3.Connection, sequence: int) -> bytes:
    return b"".join([row[0] for row in db.execute("SELECT token FROM token WHERE sequence = ?", (sequence,))])


def snapshot(db: sqlite3.Connection, epochs: Sequence[int]) -> tuple[int, bytes]:
    """Return the sequence and all numbered tokens of the epochs; call it inside one read transaction."""
    return meta.get_int(db, meta.SEQUENCE), tokens_after(db, epochs, 0)


def tokens_after(db: sqlite3.Connection, epochs: Sequence[int], sequence: int) -> bytes:
    """Return, packed, all tokens of the epochs that were numbered above a sequence and are kept."""
    return _kept_tokens(db, "token t INDEXED BY token_by_sequence", f"t.sequence > {int(sequence)}", epochs)


def tokens_again(db: sqlite3.Connection, epochs: Sequence[int], sequence: int) -> bytes:
    """Return, packed, the kept tokens that were numbered up to a sequence of values that changed."""
    return _kept_tokens(
        db,
        f"{CHANGED} CROSS JOIN token t INDEXED BY token_by_value ON t.value_id = c.value_id",
        f"t.sequence <= {int(sequence)}",
        epochs,
    )


def _kept_tokens(db: sqlite3.Connection, source: str, which: str, epochs: Sequence[int]) -> bytes:
    marks = ",".join("?" * len(epochs))
    rows = db.execute(
        f"SELECT t.token FROM {source} CROSS JOIN value v ON v.id = t.value_id"  # noqa: S608 -- constants and marks
        f" WHERE {which} AND t.epoch IN ({marks}) AND v.kept = 1",
        tuple(epochs),
    )
    return b"".join([row[0] for row in rows])


def plane_is_stale(db: sqlite3.Connection) -> bool:
    """Tell whether values have left the index since the snapshot was taken that the hub holds."""
    return meta.get_int(db, meta.PLANE_STALE) > meta.get_int(db, meta.PLANE_BUILT)


def all_published(db: sqlite3.Connection, today: date) -> bool:
    """Tell whether every kept value of a case that has not ended has a published token of each epoch."""
    through = meta.get_int(db, meta.PUBLISHED_THROUGH)
    waiting = db.execute(
        "SELECT EXISTS (SELECT 1 FROM to_tokenise u JOIN value v ON v.id = u.value_id"
        " JOIN case_profile c ON c.id = u.case_id WHERE v.kept = 1 AND c.valid_until >= :today)"
        " OR EXISTS (SELECT 1 FROM token t JOIN value v ON v.id = t.value_id WHERE t.sequence IS NULL AND v.kept = 1)"
        " OR EXISTS (SELECT 1 FROM token WHERE sequence > :through)",
        {"through": through, "today": today.isoformat()},
    ).fetchone()[0]
    return not waiting


def lookup(db: sqlite3.Connection, tokens: bytes, epoch: int) -> list[Hit]:
    """Return the numbered, kept values that these packed tokens stand for, in the order of the tokens."""
    found: dict[bytes, _Value] = {}
    distinct = list(dict.fromkeys(column(tokens, TOKEN_BYTES)))
    for start in range(0, len(distinct), _LOOKUP_CHUNK):
        part = distinct[start : start + _LOOKUP_CHUNK]
        marks = ",".join("?" * len(part))
        # Left to itself SQLite takes the primary key, and reads every token of the epoch.
        rows = db.execute(
            f"{_FOUND} FROM token t INDEXED BY token_by_token JOIN value v ON v.id = t.value_id"
            f" WHERE t.token IN ({marks}) AND {_HELD}",
            (*part, epoch),
        )
        found.update({row[0]: row[1:] for row in rows})
    return _hits(tokens, found)


def hits_among(db: sqlite3.Connection, tokens: bytes, epoch: int, value_ids: Sequence[int]) -> list[Hit]:
    """Return what `lookup` returns, given all values that these tokens can stand for; others in the list do no harm."""
    found: dict[bytes, _Value] = {}
    for start in range(0, len(value_ids), _LOOKUP_CHUNK):
        part = value_ids[start : start + _LOOKUP_CHUNK]
        # Always one of few lengths, so that the statement is compiled once.
        size = next(size for size in _STATEMENT_SIZES if size >= len(part))
        marks = ",".join("?" * size)
        rows = db.execute(
            f"{_FOUND} FROM token t CROSS JOIN value v ON v.id = t.value_id WHERE t.value_id IN ({marks}) AND {_HELD}",
            (*part, *([part[0]] * (size - len(part))), epoch),
        )
        found.update({row[0]: row[1:] for row in rows})
    return _hits(tokens, found)


def _hits(tokens: bytes, found: dict[bytes, _Value]) -> list[Hit]:
    if not found:
        return []
    return [
        Hit(index, row[0], row[1], row[2], row[3], row[4], bool(row[5]), row[6])
        for index, token in enumerate(column(tokens, TOKEN_BYTES))
        if (row := found.get(token)) is not None
    ]


def secret_of(db: sqlite3.Connection, reference: bytes, epoch: int) -> bytes | None:
    """Return the match secret of an own reference in an epoch."""
    row = db.execute(
        "SELECT t.secret FROM value v JOIN token t ON t.value_id = v.id WHERE v.reference = ? AND t.epoch = ?",
        (reference, epoch),
    ).fetchone()
    return None if row is None else row[0]


def grade_of(db: sqlite3.Connection, reference: bytes) -> int | None:
    """Return the grade of an own reference (wire Grade)."""
    row = db.execute("SELECT grade FROM value WHERE reference = ?", (reference,)).fetchone()
    return None if row is None else row[0]


def domain_of(db: sqlite3.Connection, reference: bytes) -> str | None:
    """Return the exercise that an own reference is of; '' for a real one."""
    row = db.execute("SELECT domain FROM value WHERE reference = ?", (reference,)).fetchone()
    return None if row is None else row[0]


def namespace_of(db: sqlite3.Connection, reference: bytes) -> str | None:
    """Return the namespace of an own reference."""
    row = db.execute("SELECT namespace FROM value WHERE reference = ?", (reference,)).fetchone()
    return None if row is None else row[0]
