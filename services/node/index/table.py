"""What a look-up needs of a run in memory: where tokens lie, in a tenth of the run's size.

    table = RunTable.of(run)
    table.candidates(high)   # all rows that may have one of these first words, and which of them

Rows ascend by token and tokens are pseudorandom, so their first bits say where they lie: a bucket holds some sixteen.
Beside the buckets' beginnings the next 16 bits of each row are kept, so that only one row in some thousands is read
from the file in vain, and a run is never mapped page by page by those who look things up. Rows that differ in later
bits come too: whoever asks compares whole tokens.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, Self

import numpy as np

if TYPE_CHECKING:
    import numpy.typing as npt

    from services.node.index.rows import Places, Words
    from services.node.index.run import Run

_BUCKET_ROWS_BITS: Final = 4
_MAX_BUCKET_BITS: Final = 32
_TAG_BITS: Final = 16
_WORD_BITS: Final = 64
_BLOCK: Final = 1 << 17


@dataclass(frozen=True, slots=True)
class RunTable:
    """Beginnings of the buckets (one more than there are), and the next 16 bits of each row."""

    run: Run
    bits: int
    starts: npt.NDArray[np.int64] = field(repr=False)
    tags: npt.NDArray[np.uint16] = field(repr=False)

    @classmethod
    def of(cls, run: Run) -> Self:
        """Read a run's first column once, through a buffer and not through the mapping."""
        bits = min(max(1, run.rows.bit_length() - _BUCKET_ROWS_BITS), _MAX_BUCKET_BITS)
        counts = np.zeros((1 << bits) + 1, np.int64)
        tags = np.empty(run.rows, np.uint16)
        for start in range(0, run.rows, _BLOCK):
            high = run.read("high", start, min(run.rows, start + _BLOCK))
            buckets, first = _buckets(high, bits), int(_buckets(high[:1], bits)[0])
            found = np.bincount(buckets - first)
            counts[first + 1 : first + 1 + len(found)] += found
            tags[start : start + len(high)] = _tags(high, bits)
        return cls(run, bits, np.cumsum(counts), tags)

    def candidates(self, high: Words) -> tuple[Places, Places]:
        """Return rows that may begin as one of these tokens does, and the place of that token; few of them do not."""
        buckets = _buckets(high, self.bits)
        starts, lengths = self.starts[buckets], self.starts[buckets + 1] - self.starts[buckets]
        before = np.cumsum(lengths) - lengths
        rows = np.arange(int(lengths.sum())) + np.repeat(starts - before, lengths)
        like = self.tags[rows] == np.repeat(_tags(high, self.bits), lengths)
        return rows[like], np.repeat(np.arange(len(high)), lengths)[like]


def _buckets(high: Words, bits: int) -> npt.NDArray[np.int64]:
    return (high >> np.uint64(_WORD_BITS - bits)).astype(np.int64)


def _tags(high: Words, bits: int) -> npt.NDArray[np.uint16]:
    return (high >> np.uint64(_WORD_BITS - bits - _TAG_BITS)).astype(np.uint16)
