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
    line: tuple[int, int, int]
    """Case, file and line."""
    uid: bytes


def asked_values(db: sqlite3.Connection, batch: Batch, today: date) -> dict[int, AskedValue]:
    """Return what the live records of a batch's values say, by the value's id; a value without any is not there.

    Args:
        db: A connection inside a transaction.
        batch: About to be asked.
        today: The day.
    """
    # Every item of every check passes here: one look-up an item and no grouping, files and policies once each.
    rows = db.execute(
        "SELECT i.value_id, coalesce(r.policy_id, 0), r.file_id, r.line, r.id, r.uid"
        " FROM batch_item i JOIN record_value rv ON rv.value_id = i.value_id JOIN record r ON r.id = rv.record_id"
        " WHERE i.batch_id = ? AND r.status = 'accepted' AND r.keep_until >= ? AND r.look_once <= ?",
        (batch.id, today.isoformat(), int(batch.look_once)),
    ).fetchall()
    cases = _live_cases(db, {row[2] for row in rows}, today)
    first: dict[int, tuple[bool, int, tuple[int, int, int], bytes]] = {}
    policies: dict[int, frozenset[int]] = {}
    alone = {one: frozenset((one,)) for one in {row[1] for row in rows}}
    for value_id, policy_id, file_id, line, record_id, uid in rows:
        case_id = cases.get(file_id)
        if case_id is None:
            continue
        # The first live record, of the batch's case where it has one.
        place = (case_id != batch.case_id, record_id, (case_id, file_id, line), uid)
        known = first.get(value_id)
        if known is None:
            first[value_id], policies[value_id] = place, alone[policy_id]
        else:
            first[value_id] = min(known, place)
            policies[value_id] |= alone[policy_id]
    contents = _contents(db, alone)
    named = {ids: frozenset(contents[one] for one in ids) for ids in set(policies.values())}
    return {one: AskedValue(named[policies[one]], place[2], place[3]) for one, place in first.items()}


def _live_cases(db: sqlite3.Connection, file_ids: Iterable[int], today: date) -> dict[int, int]:
    """Return the case of each file whose case has not ended."""
    query = "SELECT f.case_id FROM file f JOIN case_profile c ON c.id = f.case_id WHERE f.id = ? AND c.valid_until >= ?"
    found = ((one, db.execute(query, (one, today.isoformat())).fetchone()) for one in file_ids)
    return {one: row[0] for one, row in found if row is not None}


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
