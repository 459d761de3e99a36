"""The end of an exercise at the node: everything of its domain goes, and leaves no reference behind (3.6 (8)).

Nothing is withdrawn: the ledger forgets the exercise by itself, and whoever took part wipes its own. What notices said
of it is replaced as the ledger replaces it, so that the list keeps its places (C8).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from concordat.wire.v1 import check_pb2 as wire
from services.node.store import meta

if TYPE_CHECKING:
    import sqlite3

_VALUES: Final = "(SELECT id FROM value WHERE domain = :domain)"
_REFERENCES: Final = "(SELECT reference FROM value WHERE domain = :domain)"
_FILES: Final = "(SELECT id FROM file WHERE domain = :domain)"
_RECORDS: Final = "(SELECT r.id FROM record r JOIN file f ON f.id = r.file_id WHERE f.domain = :domain)"
_UIDS: Final = "(SELECT r.uid FROM record r JOIN file f ON f.id = r.file_id WHERE f.domain = :domain)"
_MINE: Final = "own_reference IN (SELECT reference FROM value WHERE domain = :domain)"
# Table, column and which of its rows go; those that name others before these.
_STEPS: Final = (
    ("receipt", "reference", f"(SELECT other_reference FROM told WHERE {_MINE})"),  # noqa: S608 -- a constant
    ("receipt", "reference", _REFERENCES),
    ("withdrawal", "reference", _REFERENCES),
    *((table, "own_reference", _REFERENCES) for table in ("feedback", "told", "witness", "verified_pair")),
    ("weak_coincidence", "own_reference", _REFERENCES),
    *((table, "value_id", _VALUES) for table in ("to_check", "to_tokenise", "token", "batch_item")),
    ("policy_proposal", "uid", _UIDS),
    ("record_value", "record_id", _RECORDS),
    ("record", "file_id", _FILES),
    ("value", "domain", "(:domain)"),
    ("file", "domain", "(:domain)"),
    # Last: the deletions themselves draw it anew.
    ("set_stamp", "operation", "(:domain)"),
)
_BATCHES: Final = (
    "SELECT DISTINCT i.batch_id FROM batch_item i JOIN value v ON v.id = i.value_id WHERE v.domain = :domain"
)
# Its values may all have gone into another one.
_EMPTY: Final = (
    "SELECT b.id FROM batch b WHERE b.operation = :domain"
    " AND NOT EXISTS (SELECT 1 FROM batch_item i WHERE i.batch_id = b.id)"
)


def wipe_exercise(db: sqlite3.Connection, domain: str) -> int:
    """Delete files, records, values, tokens, questions and matches of an exercise; return how many values there were.

    Args:
        db: A connection inside a writing transaction.
        domain: The operation; '' is real, and never deleted.
    """
    if not domain:
        return 0
    names = {"domain": domain}
    number: int = db.execute("SELECT count(*) FROM value WHERE domain = :domain", names).fetchone()[0]
    # Freed pages are overwritten: what is wiped is not to be read from the file either.
    db.execute("PRAGMA secure_delete = ON")
    _wipe_notices(db, names)
    batches = db.execute(_BATCHES, names).fetchall()
    for table, column, which in _STEPS:
        db.execute(f"DELETE FROM {table} WHERE {column} IN {which}", names)  # noqa: S608 -- constants
    batches += db.execute(_EMPTY, names).fetchall()
    for table, key in (("pending", "batch_id"), ("sent_check", "batch_id"), ("batch", "id")):
        db.executemany(f"DELETE FROM {table} WHERE {key} = ?", batches)  # noqa: S608 -- constants
    if number:
        # Their bits in the hub's plane go with the next snapshot.
        meta.bump(db, meta.PLANE_STALE)
    return number


def _wipe_notices(db: sqlite3.Connection, names: dict[str, str]) -> None:
    references = {row[0] for row in db.execute(_REFERENCES[1:-1], names)}
    edges = {row[0] for row in db.execute(f"SELECT edge_id FROM told WHERE {_MINE}", names)}  # noqa: S608 -- a constant
    if not references:
        return
    for cursor, content in db.execute("SELECT cursor, content FROM notice ORDER BY cursor").fetchall():
        if _concerns(wire.Notice.FromString(content), references, edges):
            empty = wire.Notice(cursor=cursor, wiped=wire.Wiped()).SerializeToString(deterministic=True)
            db.execute("UPDATE notice SET content = ? WHERE cursor = ?", (empty, cursor))


def _concerns(notice: wire.Notice, references: set[bytes], edges: set[bytes]) -> bool:
    kind = notice.WhichOneof("content")
    if kind is None:
        return False
    said = getattr(notice, kind)
    named = {getattr(said, name, b"") for name in ("own_reference", "reference")}
    return bool(named & references) or getattr(said, "edge_id", b"") in edges
