"""The planes of all parties side by side: one bit a party in every slot, so that one look-up asks them all (3.2).

Up to 64 parties share a table of the narrowest word that has a bit for each; further parties have tables of their own.
Slots are the low bits of a token's words. So a table that repeats a smaller one says the same of every token, and slots
of any shape can be set in a table of any other: a larger table repeats them, a smaller one folds them. Both may add
false positives, and neither loses a match (C4).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

PARTIES_OF_TABLE: Final = 64
_WORDS: Final = (np.uint8, np.uint16, np.uint32, np.uint64)


def bytes_of_slot(parties: int) -> int:
    """Return what one slot of that many parties takes."""
    return sum(word.itemsize for word in _word_types(parties))


def _word_types(parties: int) -> list[np.dtype[Any]]:
    groups = [min(PARTIES_OF_TABLE, parties - start) for start in range(0, max(parties, 1), PARTIES_OF_TABLE)]
    return [next(np.dtype(one) for one in _WORDS if np.dtype(one).itemsize * 8 >= size) for size in groups]


class PlaneColumns:
    """Tables of 2^log2_slots words; a party is a number from 0."""

    def __init__(self, parties: int, log2_slots: int) -> None:
        """Make empty planes; memory is taken as slots are written.

        Raises:
            MemoryError: There is not so much.
        """
        self.log2_slots = log2_slots
        self._tables: list[NDArray[Any]] = [np.zeros(1 << log2_slots, word) for word in _word_types(parties)]

    @property
    def size(self) -> int:
        """Return the number of slots."""
        return 1 << self.log2_slots

    @property
    def nbytes(self) -> int:
        """Return the bytes of all tables."""
        return sum(table.nbytes for table in self._tables)

    def route(self, slots: NDArray[np.uint32]) -> NDArray[np.uint64]:
        """Return the parties that have all slots of each token, shape (tokens, words).

        Args:
            slots: Shape (tokens, hashes), of this size.
        """
        masks = np.empty((len(slots), len(self._tables)), dtype=np.uint64)
        # An index of the platform's own width spares a conversion at each look-up.
        columns = np.ascontiguousarray(slots.T, dtype=np.intp)
        for word, table in enumerate(self._tables):
            found = table[columns[0]]
            for column in columns[1:]:
                found &= table[column]
            masks[:, word] = found
        return masks

    def add(self, number: int, slots: NDArray[np.uint32], log2_slots: int, *, below: int | None = None) -> float:
        """Set slots of a plane of any size for a party; return which part of the plane was not set before.

        Args:
            number: Of the party.
            slots: Of whatever shape.
            log2_slots: Of the plane that they are of.
            below: Only those of the table that are below this one.
        """
        table, bit = self._bit(number)
        below = self.size if below is None else below
        if log2_slots > self.log2_slots:
            slots = slots & np.uint32(self.size - 1)
        repeats = table.reshape(-1, min(1 << log2_slots, self.size))
        at = slots.reshape(-1).astype(np.intp)
        fresh = 0
        for start, part in zip(range(0, below, repeats.shape[1]), repeats, strict=False):
            here = at if start + part.size <= below else at[at < below - start]
            found = part[here]
            fresh += here.size - int(np.count_nonzero(found & bit))
            # Repeated slots are safe: every repetition writes the same value.
            part[here] = found | bit
        return fresh / self.size

    def replace(self, number: int, bits: NDArray[np.uint8], start: int, count: int) -> None:
        """Let some slots of a party be those of a bitmap, of at least as many slots, or repeated.

        Args:
            number: Of the party.
            bits: Least significant bit first.
            start: First slot, a multiple of 8 and of `count`.
            count: How many, a power of two and at least 8.
        """
        table, bit = self._bit(number)
        block = table[start : start + count]
        at = (start >> 3) % bits.size
        fresh = np.unpackbits(bits[at : at + (count >> 3)], bitorder="little").astype(table.dtype)
        fresh <<= table.dtype.type(number % PARTIES_OF_TABLE)
        block &= ~bit
        block |= fresh

    def copy(self, other: PlaneColumns, start: int, count: int) -> None:
        """Take some slots of all parties from smaller tables, which repeat in these.

        Args:
            other: Of the same parties.
            start: First slot, a multiple of `count`.
            count: How many, a power of two and no more than `other` has.
        """
        at = start % other.size
        for table, smaller in zip(self._tables, other._tables, strict=True):
            table[start : start + count] = smaller[at : at + count]

    def _bit(self, number: int) -> tuple[NDArray[Any], Any]:
        table = self._tables[number // PARTIES_OF_TABLE]
        return table, table.dtype.type(1 << number % PARTIES_OF_TABLE)
