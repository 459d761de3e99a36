"""What the policies of this node's live records say of its values, for a question that leaves or that has come (3.4).

A record is live while it is accepted, neither withdrawn nor at its end, of a case that has not ended, and kept. Who may
be told is decided on all live records of a value together: one that lets somebody be told is enough.
"""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING, Final, NamedTuple

from services.node.store import meta

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Callable, Collection, Iterable
    from datetime import date

    from services.node.store.rows import Batch

TAG_KEY_BYTES: Final = 32
_CHUNK: Final = 500
# A record of a look-once check speaks for that check only.
_LIVE: Final = (
    "JOIN record r ON r.id = rv.record_id JOIN file f ON f.id = r.file_id JOIN case_profile c ON c.id = f.case_id"
)
_IS_LIVE: Final = (
    "r.status = 'accepted' AND r.keep_until >= :today AND c.valid_until >= :today AND r.look_once <= :look_once"
)


class Holding(NamedTuple):
    """What some records of a value share: the content of their policy ('' for the default), and what they are about."""

    policy: str
    purpose: str
    operation: str


class Place(NamedTuple):
    """Where a record of a value stands."""

    case_id: int
    file_id: int
    line: int
    record_id: int


class AskedValue(NamedTuple):
    """What an asker says of one value: the policies of its live records, and the place of the first of its case."""

    policies: frozenset[str]
    place: Place
    uid: bytes


def asked_values(db: sqlite3.Connection, batch: Batch, today: date) -> dict[bytes, AskedValue]:
    """Return what the live records of a batch's values say, by reference; a value without any is not there.

    Args:
        db: A connection inside a transaction.
        batch: About to be asked.
        today: The day.
    """
    rows = db.execute(
        # With one min() the bare columns are those of its row: the first live record, of the batch's case where it has
        # one.
        "SELECT v.reference, group_concat(DISTINCT coalesce(r.policy_id, 0)),"  # noqa: S608 -- constants
        " min((f.case_id <> :case) * 4611686018427387904 + r.id), f.case_id, r.file_id, r.line, r.id, r.uid"
        f" FROM batch_item i JOIN value v ON v.id = i.value_id JOIN record_value rv ON rv.value_id = v.id {_LIVE}"
        f" WHERE i.batch_id = :batch AND {_IS_LIVE} GROUP BY i.value_id",
        {"case": batch.case_id, "batch": batch.id, "today": today.isoformat(), "look_once": int(batch.look_once)},
    ).fetchall()
    sets = {row[1]: frozenset(int(one) for one in row[1].split(",")) for row in rows}
    contents = _contents(db, {one for ids in sets.values() for one in ids})
    policies = {key: frozenset(contents[one] for one in ids) for key, ids in sets.items()}
    return {row[0]: AskedValue(policies[row[1]], Place(*row[3:7]), row[7]) for row in rows}


def _contents(db: sqlite3.Connection, ids: Iterable[int]) -> dict[int, str]:
    contents = {0: ""}
    for one in ids:
        if one:
            contents[one] = db.execute("SELECT content FROM policy WHERE id = ?", (one,)).fetchone()[0]
    return contents


def holdings(db: sqlite3.Connection, value_ids: Collection[int], today: date) -> dict[int, list[Holding]]:
    """Return what the live records of kept values say, once for each difference; a value without any is not there."""
    found: dict[int, list[Holding]] = {}
    for marks, part in _parts(value_ids):
        rows = db.execute(
            "SELECT DISTINCT rv.value_id, coalesce(p.content, ''), c.purpose, f.operation"  # noqa: S608 -- marks enter
            f" FROM record_value rv {_LIVE} LEFT JOIN policy p ON p.id = r.policy_id"
            f" WHERE rv.value_id IN ({marks}) AND {_IS_LIVE}",
            part | {"today": today.isoformat(), "look_once": 0},
        )
        for value_id, *rest in rows:
            found.setdefault(value_id, []).append(Holding(*rest))
    return found


def places(db: sqlite3.Connection, references: Collection[bytes], today: date) -> dict[bytes, list[Place]]:
    """Return where the live records of own references stand."""
    found: dict[bytes, list[Place]] = {}
    for marks, part in _parts(references):
        rows = db.execute(
            "SELECT v.reference, f.case_id, r.file_id, r.line, r.id"  # noqa: S608 -- marks enter
            f" FROM value v JOIN record_value rv ON rv.value_id = v.id {_LIVE}"
            f" WHERE v.reference IN ({marks}) AND {_IS_LIVE}",
            part | {"today": today.isoformat(), "look_once": 0},
        )
        for reference, *rest in rows:
            found.setdefault(reference, []).append(Place(*rest))
    return found


def _parts(
    values: Collection[int | bytes],
) -> Iterable[tuple[str, dict[str, int | bytes | str]]]:
    ordered = list(values)
    for start in range(0, len(ordered), _CHUNK):
        part: dict[str, int | bytes | str] = {f"v{at}": one for at, one in enumerate(ordered[start : start + _CHUNK])}
        yield ",".join(f":{name}" for name in part), part


def tag_key(db: sqlite3.Connection, random_bytes: Callable[[int], bytes] = secrets.token_bytes) -> bytes:
    """Return the key of the group tags, drawing it at first use; it never leaves the store's file."""
    if not meta.get_bytes(db, meta.TAG_KEY):
        meta.put(db, meta.TAG_KEY, random_bytes(TAG_KEY_BYTES))
    return meta.get_bytes(db, meta.TAG_KEY)
