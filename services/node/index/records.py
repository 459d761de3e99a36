"""Rows of the live run in one piece: all that a hit is made of, so that one read gives it.

A record holds reference and match secret of a value as the store had them; beside the run nothing says whether they are
still true (services.node.index.live). A value that is not simply real and kept has a record without them: `kind` is 0
then, and whoever finds it asks the store.

Each record carries a check of its own, as a start reads none of them. It finds what a disk or a copy did and no
attacker. Every change of a single bit, and of nearly all others, shows; so do rows of zeros.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np
import numpy.typing as npt

from concordat.errors import ConfigError
from concordat.tokens import NAMESPACE_NUMBERS, NAMESPACES_BY_NUMBER, REFERENCE_BYTES, SECRET_BYTES
from services.node.index.rows import EPOCH_SHIFT, MAX_EPOCH, VALUE_MASK, Flags, Words, order_of, words_of
from services.node.store.rows import Hit

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterable, Iterator

Records = npt.NDArray[Any]
"""One dimension, of `RECORD`."""
RECORD: Final = np.dtype(
    [
        ("high", "<u8"),
        ("low", "<u8"),
        ("entry", "<u8"),
        ("reference", "|u1", (REFERENCE_BYTES,)),
        ("secret", "|u1", (SECRET_BYTES,)),
        ("kind", "<u8"),
    ]
)
WORDS: Final = RECORD.itemsize // 8
"""`kind` is the last word: namespace number << 8 | grade in its low 16 bits, and the check in the others."""
_KIND_MASK: Final = np.uint64(0xFFFF)
_GRADE_BITS: Final = 8
_GRADE_MASK: Final = (1 << _GRADE_BITS) - 1
_MULTIPLIER: Final = 0x9E3779B97F4A7C15
# Odd, so that no change of one word leaves the sum as it was.
_FACTORS: Final = np.array([pow(_MULTIPLIER, at + 1, 1 << 64) for at in range(WORDS)], np.uint64)
_OFFSET: Final = np.uint64(0xD1B54A32D192ED03)
_REFERENCE_AT: Final = 24
_SECRET_AT: Final = _REFERENCE_AT + REFERENCE_BYTES
_END: Final = _SECRET_AT + SECRET_BYTES
_NO_REFERENCE: Final = bytes(REFERENCE_BYTES)
_NO_SECRET: Final = bytes(SECRET_BYTES)
_FETCH: Final = 20_000

_NUMBERS: Final = " ".join(f"WHEN '{name}' THEN {number << _GRADE_BITS}" for name, number in NAMESPACE_NUMBERS.items())
# Null where the namespace is another version's.
_KIND: Final = (
    f"iif(v.kept = 1 AND v.domain = '' AND v.grade BETWEEN 1 AND {_GRADE_MASK}"
    f" AND length(v.reference) = {REFERENCE_BYTES} AND length(t.secret) = {SECRET_BYTES},"
    f" coalesce(CASE v.namespace {_NUMBERS} END + v.grade, 0), 0)"
)
COLUMNS: Final = f"t.epoch, t.value_id, t.token, {_KIND}, v.reference, t.secret"
"""Of `token t` and `value v`, for `records_of`."""

# A kind of 0 is of a record that is not plain; a namespace that is not known here is of a later program.
_KINDS: Final = np.arange(int(_KIND_MASK) + 1)
_PLAIN: Final = np.isin(_KINDS >> _GRADE_BITS, list(NAMESPACES_BY_NUMBER)) & (_KINDS > 0)


def records_of(found: Iterable[tuple[int, int, bytes, int, bytes, bytes]]) -> Records:
    """Return records of rows of `COLUMNS`, in their order.

    Raises:
        ConfigError: An epoch or value id that the index has no room for.
    """
    listed = list(found)
    records = np.zeros(len(listed), RECORD)
    if not listed:
        return records
    epochs, values, tokens, kinds, references, secrets = zip(*listed, strict=True)
    if max(values) > int(VALUE_MASK) or max(epochs) >= MAX_EPOCH or min(values) < 0 or min(epochs) < 0:
        raise ConfigError("the store has more values or epochs than the index has room for")
    records["high"], records["low"] = words_of(b"".join(tokens))
    records["entry"] = np.array(epochs, np.uint64) << EPOCH_SHIFT | np.array(values, np.uint64)
    records["kind"] = kinds
    hidden = _NO_REFERENCE, _NO_SECRET
    for name, column, nothing in zip(("reference", "secret"), (references, secrets), hidden, strict=True):
        packed = b"".join([one if kind else nothing for one, kind in zip(column, kinds, strict=True)])
        records[name] = np.frombuffer(packed, np.uint8).reshape(len(listed), -1)
    records["kind"] |= _checks(records)
    return records


def read_records(db: sqlite3.Connection, query: str, *names: int) -> Records:
    """Return what a query for `COLUMNS` finds, a block at a time, in no order."""
    cursor = db.execute(query, names)
    parts = [np.zeros(0, RECORD)]
    while found := cursor.fetchmany(_FETCH):
        parts.append(records_of(found))
    return np.concatenate(parts)


def as_words(records: Records) -> Words:
    """Return records as a run keeps them; shape (rows, `WORDS`)."""
    words: Words = np.ascontiguousarray(records).view("<u8").reshape(-1, WORDS)
    return words


def from_words(words: npt.NDArray[Any]) -> Records:
    """Return records of what a run keeps."""
    return np.ascontiguousarray(words).reshape(-1).view(RECORD)


def _checks(records: Records) -> Words:
    words = as_words(records)
    mixed = (words[:, :-1] * _FACTORS[:-1]).sum(axis=1, dtype=np.uint64)
    mixed += (words[:, -1] & _KIND_MASK) * _FACTORS[-1] + _OFFSET
    checks: Words = mixed & ~_KIND_MASK
    return checks


def are_whole(records: Records) -> bool:
    """Tell whether all records are as they were written."""
    return bool(np.array_equal(_checks(records), records["kind"] & ~_KIND_MASK))


def ordered(records: Records) -> Records:
    """Return records ascending by token."""
    return records[order_of(records["high"], records["low"])]


def values_of(records: Records) -> Words:
    """Return the value ids."""
    values: Words = records["entry"] & VALUE_MASK
    return values


def are_plain(records: Records) -> Flags:
    """Tell of each record whether it holds what a hit is made of, and this program knows what its namespace is."""
    plain: Flags = _PLAIN[records["kind"] & _KIND_MASK]
    return plain


def as_hits(records: Records, places: npt.NDArray[np.intp]) -> Iterator[Hit]:
    """Give plain records as hits of the tokens at these places of a question."""
    packed, width = records.tobytes(), RECORD.itemsize
    values, kinds = values_of(records).tolist(), (records["kind"] & _KIND_MASK).tolist()
    for at, (index, value_id, kind) in enumerate(zip(places.tolist(), values, kinds, strict=True)):
        start = at * width
        reference = packed[start + _REFERENCE_AT : start + _SECRET_AT]
        secret = packed[start + _SECRET_AT : start + _END]
        namespace = NAMESPACES_BY_NUMBER[kind >> _GRADE_BITS]
        yield Hit(index, value_id, reference, secret, kind & _GRADE_MASK, namespace, kept=True)
