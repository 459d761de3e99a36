"""Finds the rows of a window whose prefix two or more participants may hold: candidates, never too few (3.6 (4)).

Rows are counted in a table of slots by prefix, eight slots a row; who is alone in its slot has no equal. What is left
is counted twice more by other bits. Each pass is a few array operations over a table that stays in the processor's
cache, which is why a window is worked on in parts. Which candidates are equal is decided exactly, by whole tokens,
afterwards (gateway.sweep.groups): a table only ever leaves too many.

Counters cannot wrap around: a row that was lost would be a match that is not found. A participant with many rows in one
slot has no pseudorandom tokens and is refused by name.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import pairwise
from typing import TYPE_CHECKING, Final

import numpy as np

from concordat.errors import ProtocolError

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt

    from concordat.protocol.sweep_frames import Offsets

    Positions = npt.NDArray[np.int64]

# A table of this many slots stays in a core's second-level cache.
TABLE_BITS: Final = 20
FEWEST_BITS: Final = 10
SLOTS_A_ROW_BITS: Final = 3
# A table counts in bytes where no participant has more rows in a slot than its share of 255, at most the first number;
# where that share is below the second, chance alone would break it. Beyond the third, nobody's tokens are pseudorandom.
NARROW_ROWS: Final = 8
FEWEST_NARROW_ROWS: Final = 4
MOST_ROWS: Final = 64
_MIX: Final = 0x9E3779B1
_MIX_SHIFT: Final = 13


@dataclass(frozen=True, slots=True)
class Found:
    """Candidate positions of each participant, ascending; and who was refused, by its place in the argument."""

    positions: list[Positions] = field(repr=False)
    refused: dict[int, ProtocolError]


class Finder:
    """Finds candidates; keeps its tables from window to window. For one thread."""

    def __init__(self) -> None:
        self._narrow = np.zeros(1 << TABLE_BITS, np.uint8)
        self._wide: npt.NDArray[np.uint32] | None = None
        self._second = np.zeros(1 << (TABLE_BITS - SLOTS_A_ROW_BITS), np.uint32)
        self._slots = np.empty(0, np.int64)
        self._counts = np.empty(0, np.uint8)

    def find(self, offsets: Offsets, lengths: Sequence[int], span_bits: int) -> Found:
        """Return all rows whose prefix occurs more than once, and few others.

        Args:
            offsets: Prefixes of the window, less its base: those of each participant ascending, one after the other.
            lengths: How many each participant has.
            span_bits: A window has 2 to this power prefixes.
        """
        total = len(offsets)
        # Parts of at most 2^17 rows on average, which fill a table.
        part_bits = min(max(0, (total - 1).bit_length() - TABLE_BITS + SLOTS_A_ROW_BITS), span_bits)
        inner = (np.arange(1, 1 << part_bits, dtype=np.int64) << (span_bits - part_bits)).astype(offsets.dtype)
        firsts = np.concatenate(([0], np.cumsum(lengths, dtype=np.int64)))
        # Where each part of each participant begins, and ends.
        borders = np.empty((len(lengths), (1 << part_bits) + 1), np.int64)
        borders[:, 0], borders[:, -1] = firsts[:-1], firsts[1:]
        for row, (first, end) in zip(borders, pairwise(firsts.tolist()), strict=True):
            row[1:-1] = np.searchsorted(offsets[first:end], inner)
            row[1:-1] += first
        refused: dict[int, ProtocolError] = {}
        parts = [
            self._part(offsets, borders[:, part], borders[:, part + 1], span_bits - part_bits, refused)
            for part in range(1 << part_bits)
        ]
        found = np.sort(np.concatenate(parts), kind="stable")
        cuts = np.searchsorted(found, firsts)
        return Found(
            [found[start:end] - first for first, (start, end) in zip(firsts, pairwise(cuts), strict=False)], refused
        )

    def _part(
        self,
        offsets: Offsets,
        starts: Positions,
        ends: Positions,
        span_bits: int,
        refused: dict[int, ProtocolError],
    ) -> Positions:
        """Return the candidates among some rows of each participant."""
        lengths = ends - starts
        count = int(lengths.sum())
        if count < 2:
            return np.empty(0, np.int64)
        bits = min(span_bits, TABLE_BITS, max(FEWEST_BITS, (count - 1).bit_length() + SLOTS_A_ROW_BITS))
        firsts = np.concatenate(([0], np.cumsum(lengths)))
        slots = self._room(count)
        shift, places = span_bits - bits, zip(starts.tolist(), ends.tolist(), firsts.tolist(), strict=False)
        for start, end, first in places:
            np.right_shift(offsets[start:end], shift, out=slots[first : first + end - start])
        slots &= (1 << bits) - 1
        # Looked at in any case: it names who is skewed.
        most = min(NARROW_ROWS, 255 // len(lengths))
        skewed = self._is_skewed(slots, firsts, refused, most)
        wide = skewed or most < FEWEST_NARROW_ROWS
        rows = np.flatnonzero(self._company(slots, bits, wide=wide))
        rows += np.repeat(starts - firsts[:-1], np.diff(np.searchsorted(rows, firsts)))
        return self._kept(offsets, rows, bits)

    def _company(self, slots: Positions, bits: int, *, wide: bool) -> npt.NDArray[np.bool_]:
        """Return which rows share their slot with another."""
        if wide:
            if self._wide is None:
                self._wide = np.zeros(1 << TABLE_BITS, np.uint32)
            return _shared(self._wide[: 1 << bits], slots)
        table = self._narrow[: 1 << bits]
        table[:] = 0
        np.add.at(table, slots, np.uint8(1))
        counts = np.take(table, slots, out=self._counts[: len(slots)], mode="clip")
        result: npt.NDArray[np.bool_] = counts > 1
        return result

    def _kept(self, offsets: Offsets, rows: Positions, bits: int) -> Positions:
        """Return which survivors of the first table also meet by their low bits, and by a mix of all."""
        table = self._second[: 1 << max(bits - SLOTS_A_ROW_BITS, 1)]
        mask = len(table) - 1
        prefixes = offsets[rows].astype(np.int64)
        kept = _shared(table, prefixes & mask)
        rows, prefixes = rows[kept], prefixes[kept]
        return rows[_shared(table, ((prefixes * _MIX) >> _MIX_SHIFT) & mask)]

    def _is_skewed(self, slots: Positions, firsts: Positions, refused: dict[int, ProtocolError], most: int) -> bool:
        """Tell whether one has more than `most` rows in a slot; note participants whose tokens are not pseudorandom."""
        most = max(most, 1)
        if not (slots[most:] == slots[:-most]).any():
            return False
        skewed = False
        for number, (first, end) in enumerate(pairwise(firsts.tolist())):
            own = slots[first:end]
            skewed |= bool((own[most:] == own[:-most]).any())
            if (own[MOST_ROWS:] == own[:-MOST_ROWS]).any():
                refused[number] = ProtocolError("the tokens of a window are not spread as pseudorandom ones are")
        return skewed

    def _room(self, count: int) -> Positions:
        if len(self._slots) < count:
            self._slots, self._counts = (
                np.empty(count + (count >> 3), np.int64),
                np.empty(count + (count >> 3), np.uint8),
            )
        return self._slots[:count]


def _shared(table: npt.NDArray[np.uint32], slots: Positions) -> npt.NDArray[np.bool_]:
    """Return which rows share their slot with another; any number of rows may."""
    table[:] = 0
    np.add.at(table, slots, np.uint32(1))
    result: npt.NDArray[np.bool_] = table[slots] > 1
    return result
