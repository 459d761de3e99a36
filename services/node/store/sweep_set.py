"""The set of a sweep: what this node puts in for one operation (3.6 (2)).

It holds each strong value once that has a *visible* record in a file of the operation and whose namespace the charter
names: accepted, kept, not past its last day nor that of its case, and with a policy that lets every other participant
be told of it. Other records neither stream nor weigh: silent ones and those that are told to some only are not in the
class of a value either, as the report goes to all (I11). The provider's restriction holds in a sweep as in a check, and
may come later than the record (Europol Reg. 19(2); LB-24).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, TypeAlias

from concordat.errors import UnavailableError
from concordat.protocol.report import class_byte
from services.node.policy import DEFAULT, Policy
from services.node.store.values import STRONG

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Callable, Collection, Iterator, Mapping
    from datetime import date

_RECORDS: Final = """
FROM file f
JOIN case_profile c ON c.id = f.case_id
JOIN record r ON r.file_id = f.id
JOIN record_value rv ON rv.record_id = r.id
JOIN value v ON v.id = rv.value_id
LEFT JOIN policy p ON p.id = r.policy_id
"""
_LIVE: Final = """
WHERE f.operation = :operation AND f.domain = :domain AND v.domain = :domain AND v.grade = :strong
AND r.status = 'accepted' AND r.look_once = 0 AND r.keep_until >= :today AND c.valid_until >= :today
"""
_POLICIES: Final = f"SELECT DISTINCT r.policy_id, p.content {_RECORDS} {_LIVE}"
_ROWS: Final = f"""
{_RECORDS}
JOIN visible_policy s ON s.policy_id = coalesce(r.policy_id, 0)
LEFT JOIN token t ON t.value_id = v.id AND t.epoch = :epoch
{_LIVE}"""
# From what waits to the records, which CROSS JOIN says to SQLite: mostly nothing waits, however large the set is.
_WAITING: Final = f"""
SELECT v.namespace, v.rules_version
FROM to_tokenise w
CROSS JOIN value v ON v.id = w.value_id
CROSS JOIN record_value rv ON rv.value_id = v.id
CROSS JOIN record r ON r.id = rv.record_id
CROSS JOIN file f ON f.id = r.file_id
CROSS JOIN case_profile c ON c.id = f.case_id
CROSS JOIN visible_policy s ON s.policy_id = coalesce(r.policy_id, 0)
{_LIVE} AND w.epoch = :epoch
"""  # noqa: S608 -- constants
_COLUMNS: Final = "v.namespace, v.rules_version, v.reference, t.label, t.secret"
_VALUES: Final = f"SELECT {_COLUMNS}, max(r.trafficking), max(r.abuse) {_ROWS}"
_EACH: Final = f"SELECT {_COLUMNS}, r.trafficking, r.abuse {_ROWS}"
_CHUNK: Final = 500
_STREAMED: Final = 20_000
_Row: TypeAlias = "tuple[str, int, bytes, bytes, bytes, int, int]"


@dataclass(frozen=True, slots=True)
class SweepSet:
    """Packed columns in one order: labels of 16 bytes, match secrets of 32, references of 16, class bytes."""

    labels: bytes = field(repr=False)
    secrets: bytes = field(repr=False)
    references: bytes = field(repr=False)
    classes: bytes = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class SetQuery:
    """Which records make the set.

    Attributes:
        operation: Operation id.
        tells_all: Whether a policy lets every other participant be told.
        today: Records whose last day is before it are out.
        domain: '' for real records, the operation id in an exercise.
        epoch: The charter's epoch, whose labels are used.
        rules_versions: Version in force of each namespace that the charter names; in an overlap a value is held under
            two, and must count once.
    """

    operation: str
    tells_all: Callable[[Policy], bool]
    today: date
    epoch: int
    rules_versions: Mapping[str, int]
    domain: str = ""


def read_sweep_set(db: sqlite3.Connection, query: SetQuery) -> SweepSet:
    """Return the set of an operation.

    Args:
        db: A connection inside a transaction.
        query: Which records make it.

    Raises:
        UnavailableError: Values of the set have no token of the epoch yet; a set without them would be counted wrong.
    """
    return _packed(_visible_rows(db, query))


def require_tokens(db: sqlite3.Connection, query: SetQuery) -> None:
    """Find out, before a large set is read, that it cannot be made yet.

    Args:
        db: A connection inside a transaction.
        query: Which records make it.

    Raises:
        UnavailableError: A value of the set waits for its token of the epoch.
    """
    waiting = db.execute(f"{_known(visible_policies(db, query))}{_WAITING}", _names(query))
    if any(query.rules_versions.get(namespace) == version for namespace, version in waiting):
        raise UnavailableError("values of the operation wait for their tokens")


def visible_policies(db: sqlite3.Connection, query: SetQuery) -> list[int]:
    """Return the ids, ascending, of all policies of this store that let a record into the set; 0 is that of none."""
    rows = [(0, None), *db.execute("SELECT id, content FROM policy")]
    return sorted(number for number, content in rows if query.tells_all(_policy(content)))


def stream_sweep_set(db: sqlite3.Connection, query: SetQuery) -> Iterator[SweepSet]:
    """Give the set of an operation in blocks, in no order; a value that is in several records comes with each.

    Args:
        db: A connection inside a transaction, which stays open until the last block was taken.
        query: Which records make it.

    Raises:
        UnavailableError: Values of the set have no token of the epoch yet.
    """
    cursor = db.execute(f"{_known(visible_policies(db, query))}{_EACH}", _names(query))
    versions = query.rules_versions
    while rows := cursor.fetchmany(_STREAMED):
        found = [row for row in rows if versions.get(row[0]) == row[1]]
        yield _packed(found)


def _packed(found: list[_Row]) -> SweepSet:
    missing = sum(row[3] is None for row in found)
    if missing:
        raise UnavailableError(f"{missing} values of the operation wait for their tokens")
    return SweepSet(
        labels=b"".join([row[3] for row in found]),
        secrets=b"".join([row[4] for row in found]),
        references=b"".join([row[2] for row in found]),
        classes=bytes([class_byte(row[0], row[5], row[6]) for row in found]),
    )


def _known(policies: list[int]) -> str:
    marks = ",".join(f"({int(one)})" for one in policies or [-1])
    return f"WITH visible_policy (policy_id) AS (VALUES {marks}) "


def still_in_set(db: sqlite3.Connection, query: SetQuery, references: Collection[bytes]) -> bool:
    """Tell whether values of a set, by their references, would be in it now: no policy was narrowed meanwhile."""
    asked, found = sorted(set(references)), 0
    for start in range(0, len(asked), _CHUNK):
        part = {f"r{at}": one for at, one in enumerate(asked[start : start + _CHUNK])}
        found += len(_visible_rows(db, query, f" AND v.reference IN ({','.join(f':{name}' for name in part)})", part))
    return found == len(asked)


def _visible_rows(
    db: sqlite3.Connection, query: SetQuery, which: str = "", more: Mapping[str, bytes] | None = None
) -> list[_Row]:
    names = {**_names(query), **(more or {})}
    policies = db.execute(_POLICIES + which, names).fetchall()
    # Few policies, however many records: the test is made once for each, and SQLite joins.
    known = _known([number or 0 for number, content in policies if query.tells_all(_policy(content))])
    rows = db.execute(f"{known}{_VALUES}{which} GROUP BY v.id", names)
    return [row for row in rows if query.rules_versions.get(row[0]) == row[1]]


def _names(query: SetQuery) -> dict[str, str | int | bytes]:
    return {
        "operation": query.operation,
        "domain": query.domain,
        "strong": STRONG,
        "today": query.today.isoformat(),
        "epoch": query.epoch,
    }


def _policy(content: str | None) -> Policy:
    return DEFAULT if content is None else Policy.of(content)
