"""Rows of the live index: a token as two words, and one word that says which value it is of in which epoch.

Values of the words are big-endian, so that rows in the order of the words are in the order of the tokens.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple, Self, TypeAlias

import numpy as np
import numpy.typing as npt

from concordat.errors import ConfigError
from concordat.tokens import TOKEN_BYTES

if TYPE_CHECKING:
    from collections.abc import Iterable

    from services.node.index.run import Run

Words: TypeAlias = npt.NDArray[np.uint64]
Flags: TypeAlias = npt.NDArray[np.bool_]
Places: TypeAlias = npt.NDArray[np.intp]

EPOCH_SHIFT: Final = np.uint64(40)
VALUE_MASK: Final = np.uint64((1 << 40) - 1)
MAX_EPOCH: Final = 1 << 24


class Rows(NamedTuple):
    """Three columns of one length: the words of the tokens, and epoch << 40 | value id."""

    high: Words
    low: Words
    entry: Words

    def __len__(self) -> int:
        return len(self.high)

    @classmethod
    def empty(cls) -> Self:
        """Return no rows."""
        return cls(*(np.empty(0, np.uint64) for _ in range(3)))

    @classmethod
    def of(cls, found: Iterable[tuple[int, int, bytes]]) -> Self:
        """Return rows of (epoch, value id, token), in their order.

        Raises:
            ConfigError: An epoch or value id that the index has no room for.
        """
        listed = list(found)
        epochs = np.fromiter((row[0] for row in listed), np.uint64, len(listed))
        values = np.fromiter((row[1] for row in listed), np.uint64, len(listed))
        if listed and (values.max() > VALUE_MASK or epochs.max() >= MAX_EPOCH):
            raise ConfigError("the store has more values or epochs than the index has room for")
        high, low = words_of(b"".join([row[2] for row in listed]))
        return cls(high, low, epochs << EPOCH_SHIFT | values)

    @classmethod
    def of_run(cls, run: Run, start: int = 0, end: int | None = None) -> Self:
        """Return rows of a run, as views of its mapping."""
        high, low, entry = (run.column(name)[start:end] for name in ("high", "low", "entry"))
        return cls(high, low, entry)

    def taken(self, which: Flags | Places | slice) -> Rows:
        """Return some of the rows."""
        return Rows(self.high[which], self.low[which], self.entry[which])

    def joined(self, other: Rows) -> Rows:
        """Return these rows and then others."""
        columns = (np.concatenate(pair) for pair in zip(self, other, strict=True))
        return Rows(*columns)

    def ordered(self) -> Rows:
        """Return the rows ascending by token."""
        return self.taken(order_of(self.high, self.low))

    def tokens(self) -> bytes:
        """Return the packed tokens, 16 bytes each."""
        return np.column_stack((self.high, self.low)).astype(">u8").tobytes()


def words_of(tokens: bytes) -> tuple[Words, Words]:
    """Return the words of packed tokens."""
    words = np.frombuffer(tokens, ">u8").reshape(-1, TOKEN_BYTES // 8).astype(np.uint64)
    return np.ascontiguousarray(words[:, 0]), np.ascontiguousarray(words[:, 1])


def order_of(high: Words, low: Words) -> Places:
    """Return the order in which rows ascend by token; equal first words are rare, and cost a second sort."""
    order: Places = np.argsort(high, kind="stable")
    ascending = high[order]
    if np.any(ascending[1:] == ascending[:-1]):
        return np.lexsort((low, high))
    return order


def entries_of(rows: Rows, high: Words, low: Words) -> Words:
    """Return the entries of all rows that have one of these tokens.

    Args:
        rows: Ascending by token.
        high: First words of the tokens.
        low: Second words.
    """
    if not len(rows):
        return np.empty(0, np.uint64)
    at = np.searchsorted(rows.high, high)
    found = []
    while len(at):
        inside = at < len(rows)
        at, high, low = at[inside], high[inside], low[inside]
        same = rows.high[at] == high
        at, high, low = at[same], high[same], low[same]
        found.append(rows.entry[at[rows.low[at] == low]])
        at = at + 1
    return np.concatenate(found) if found else np.empty(0, np.uint64)


def among(values: Words, ascending: Words) -> Flags:
    """Tell of each value whether it is in an ascending column."""
    if not len(ascending):
        return np.zeros(len(values), np.bool_)
    at = np.searchsorted(ascending, values)
    found: Flags = ascending[np.minimum(at, len(ascending) - 1)] == values
    return found
