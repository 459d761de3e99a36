"""Weak coincidences: a lone one tells nobody, a second one between the same two lines confirms it (docs/protocol.md 2).

An asker marks each item with two keyed hashes, of the line in which the record stands and of the record; only who has
the value's match secret can read them, and they say no more than which of the values that the reader holds as well
stand together. The holder judges: two coincidences confirm each other where the asker's records differ and stand in
one line, and its own do too. So the nested parts of one URL never confirm each other.
"""

from __future__ import annotations

import hashlib
import struct
from collections import deque
from typing import TYPE_CHECKING, Final, NamedTuple

from concordat.wire.v1 import check_pb2 as wire

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from services.node.store.handling import Place
    from services.node.store.rows import CoincidenceRow

LINE_TAG_BYTES: Final = 8
RECORD_TAG_BYTES: Final = 8
MAX_DISCREET: Final = 20_000
_LINE: Final = struct.Struct("<QQQ")


class GroupTags:
    """Makes group tags under the secret of a store."""

    def __init__(self, key: bytes) -> None:
        self._line = hashlib.blake2b(digest_size=LINE_TAG_BYTES, key=key, person=b"line")
        self._record = hashlib.blake2b(digest_size=RECORD_TAG_BYTES, key=key, person=b"record")

    def of(self, line: tuple[int, int, int], uid: bytes) -> bytes:
        """Return line tag and record tag of a value, from case, file and line of its record and the record's uid."""
        line_hash, record_hash = self._line.copy(), self._record.copy()
        line_hash.update(_LINE.pack(*line))
        record_hash.update(uid)
        return line_hash.digest() + record_hash.digest()


def confirmed(
    asked: Iterable[CoincidenceRow], known: Iterable[CoincidenceRow], places: Mapping[bytes, Sequence[Place]]
) -> set[tuple[bytes, bytes]]:
    """Return (own reference, asker's reference) of the weak coincidences that another one confirms.

    Args:
        asked: Of this question, weak and strong.
        known: Of the same asker, from before.
        places: Of the own records of all these values.
    """
    asked = list(asked)
    # A line of this node's own -> its records that coincide -> the asker's records that they coincide with.
    seen: dict[tuple[bytes, int, int, int], dict[int, set[bytes]]] = {}
    for row in (*asked, *known):
        for place in places.get(row.own_reference, ()):
            records = seen.setdefault((row.line_tag, *place[:3]), {})
            records.setdefault(place.record_id, set()).add(row.record_tag)

    def is_confirmed(row: CoincidenceRow) -> bool:
        return any(
            record_id != place.record_id and bool(tags - {row.record_tag} if len(tags) < 2 else tags)
            for place in places.get(row.own_reference, ())
            for record_id, tags in seen[row.line_tag, *place[:3]].items()
        )

    return {
        (row.own_reference, row.asker_reference) for row in asked if row.grade == wire.GRADE_WEAK and is_confirmed(row)
    }


class _Kept(NamedTuple):
    until: float
    row: CoincidenceRow


class Discreet:
    """Coincidences of questions that this node may keep no trace of: in memory, for as long as their checks live."""

    def __init__(self) -> None:
        self._rows: deque[_Kept] = deque(maxlen=MAX_DISCREET)

    def add(self, rows: Iterable[CoincidenceRow], *, until: float) -> None:
        """Remember rows until a time, in Unix seconds; over the limit the oldest are forgotten."""
        self._rows.extend(_Kept(until, row) for row in rows)

    def of(self, asker: str, *, now: float) -> list[CoincidenceRow]:
        """Return what is remembered of an asker."""
        while self._rows and self._rows[0].until <= now:
            self._rows.popleft()
        return [one.row for one in self._rows if one.row.asker == asker and one.until > now]
