"""The set of a sweep: what this node puts in for one operation (3.6 (2)).

It holds each strong value once that has an accepted, kept record in a file of the operation and whose namespace the
charter names. Its class is the gravest of this node's own records of it in this operation.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from concordat.errors import UnavailableError
from concordat.protocol.report import class_byte
from services.node.store.values import STRONG

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Mapping

_QUERY: Final = """
SELECT v.namespace, v.rules_version, v.reference, t.label, t.secret, max(r.trafficking), max(r.abuse)
FROM file f
JOIN record r ON r.file_id = f.id
JOIN record_value rv ON rv.record_id = r.id
JOIN value v ON v.id = rv.value_id
LEFT JOIN token t ON t.value_id = v.id AND t.epoch = ?
WHERE f.operation = ? AND r.status = 'accepted' AND r.look_once = 0 AND v.grade = ?
GROUP BY v.id
"""


@dataclass(frozen=True, slots=True)
class SweepSet:
    """Packed columns in one order: labels of 16 bytes, match secrets of 32, references of 16, class bytes."""

    labels: bytes = field(repr=False)
    secrets: bytes = field(repr=False)
    references: bytes = field(repr=False)
    classes: bytes = field(repr=False)


def read_sweep_set(
    db: sqlite3.Connection, operation: str, *, epoch: int, rules_versions: Mapping[str, int]
) -> SweepSet:
    """Return the set of an operation.

    Args:
        db: A connection inside a transaction.
        operation: Operation id.
        epoch: The charter's epoch, whose labels are used.
        rules_versions: Version in force of each namespace that the charter names; in an overlap a value is held under
            two, and must count once.

    Raises:
        UnavailableError: Values of the set have no token of the epoch yet; a set without them would be counted wrong.
    """
    rows = [row for row in db.execute(_QUERY, (epoch, operation, STRONG)) if rules_versions.get(row[0]) == row[1]]
    missing = sum(row[3] is None for row in rows)
    if missing:
        raise UnavailableError(f"{missing} values of the operation wait for their tokens")
    return SweepSet(
        labels=b"".join([row[3] for row in rows]),
        secrets=b"".join([row[4] for row in rows]),
        references=b"".join([row[2] for row in rows]),
        classes=bytes([class_byte(row[0], row[5], row[6]) for row in rows]),
    )
