"""The compact frames of a sweep: prefixes of sorted sweep tokens as differences (docs/protocol.md 3.6 (4)).

A `Cut` says how the space of tokens is cut into windows and how many top bits of a token travel, its *prefix*. A frame
holds one window of one participant: for each token the difference of its prefix to the one before it, the first to the
window's base, as uint16 little-endian. The word 65 535 is an escape: it advances by 65 535 and stands for no token. So
order is in the structure (no frame can be out of order), and an empty window costs next to nothing.

    cut = Cut.for_sizes([10_000_000, 300])
    words = Encoder(cut).encode(high, window)       # high: first words of the window's tokens, uint64, ascending
    offsets = decode(words, cut.span)               # int64, prefixes less the window's base
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, TypeAlias

import numpy as np
import numpy.typing as npt

from concordat.errors import ProtocolError
from concordat.protocol.macs import CONFIRM_BYTES
from concordat.tokens import REFERENCE_BYTES

if TYPE_CHECKING:
    from collections.abc import Collection

TOKEN_HIGH_BITS: Final = 64
# A set's root is over 32 bits of each token, so that no cut may have fewer (concordat.protocol.set_root).
MIN_PREFIX_BITS: Final = 32
# Beyond what tells the tokens of the largest set apart: a token meets another's by chance in one of 2^12 a party.
SPARE_BITS: Final = 12
MAX_WINDOW_BITS: Final = 12
# Processes of one gateway that share the windows of a sweep, each with a stream of each participant.
MAX_SHARDS: Final = 64
# So that a window has at most 2^36 / 65 535 escapes, two megabytes, whatever a gateway plans. Where a window has
# `WINDOW_TOKENS`, 32 are enough.
MAX_SPAN_BITS: Final = 36
# The best of 32 to 256 windows at 26 sets of ten million tokens.
WINDOW_TOKENS: Final = 160_000
ESCAPE: Final = 0xFFFF
WORD_BYTES: Final = 2
# What a participant answers for one wanted row, as it travels; and the same as one piece without fields, in which form
# numpy copies it many times faster.
ANSWER: Final = np.dtype(
    [
        ("high", ">u8"),
        ("low", ">u8"),
        ("confirm", "u1", (CONFIRM_BYTES,)),
        ("reference", "u1", (REFERENCE_BYTES,)),
        ("class", "u1"),
    ]
)
PIECE: Final = np.dtype(f"V{ANSWER.itemsize}")
# Up to so many escapes it is cheaper to move what lies between them than to copy all.
_FEW: Final = 64

Prefixes: TypeAlias = npt.NDArray[np.uint64]
Offsets: TypeAlias = npt.NDArray[np.int32] | npt.NDArray[np.int64]
Words: TypeAlias = npt.NDArray[np.uint16]
Answers: TypeAlias = npt.NDArray[np.void]


@dataclass(frozen=True, slots=True)
class Cut:
    """How the space of sweep tokens is cut.

    Attributes:
        prefix_bits: Top bits of a token that travel in a frame.
        window_bits: Top bits that number a window.
    """

    prefix_bits: int
    window_bits: int

    def __post_init__(self) -> None:
        fits = self.prefix_bits >= MIN_PREFIX_BITS and 0 <= self.window_bits <= MAX_WINDOW_BITS
        if not fits or self.span_bits > MAX_SPAN_BITS:
            raise ProtocolError(f"no cut has {self.prefix_bits} prefix bits and {self.window_bits} window bits")

    @classmethod
    def for_sizes(cls, sizes: Collection[int], window_tokens: int = WINDOW_TOKENS) -> Cut:
        """Return the fewest windows that leave the largest set at most `window_tokens` a window on average."""
        largest = max(sizes, default=0)
        windows = -(-largest // window_tokens)
        return cls(
            max(MIN_PREFIX_BITS, max(largest - 1, 0).bit_length() + SPARE_BITS),
            min(max(windows - 1, 0).bit_length(), MAX_WINDOW_BITS),
        )

    @property
    def windows(self) -> int:
        """Return the number of windows."""
        return 1 << self.window_bits

    @property
    def span_bits(self) -> int:
        """Return how many bits tell the prefixes of a window apart."""
        return self.prefix_bits - self.window_bits

    @property
    def span(self) -> int:
        """Return the number of prefixes of a window."""
        return 1 << self.span_bits

    @property
    def shift(self) -> int:
        """Return how far the first word of a token is shifted to give its prefix."""
        return TOKEN_HIGH_BITS - self.prefix_bits

    @property
    def offset_type(self) -> type[np.int32 | np.int64]:
        """Return the smallest type that holds a prefix less its window's base."""
        return np.int32 if self.span <= 1 << 31 else np.int64

    def base(self, window: int) -> int:
        """Return the lowest prefix of a window."""
        return window * self.span

    def borders(self, high: Prefixes) -> npt.NDArray[np.int64]:
        """Return where each window begins among ascending first words, and the end: windows + 1 row numbers."""
        firsts = np.arange(1, self.windows, dtype=np.uint64) << np.uint64(TOKEN_HIGH_BITS - self.window_bits)
        inner = np.searchsorted(high, firsts, side="left") if self.windows > 1 else np.empty(0, np.int64)
        return np.concatenate(([0], inner, [len(high)])).astype(np.int64)

    def most_words(self, tokens: int) -> int:
        """Return the most words that a window of so many tokens can have."""
        return tokens + self.span // ESCAPE + 1


class Encoder:
    """Turns windows of one set into words; keeps its buffers, as fresh pages cost more than the arithmetic."""

    def __init__(self, cut: Cut) -> None:
        self._cut = cut
        self._prefixes = np.empty(1, np.uint64)
        self._gaps = np.empty(0, np.uint64)

    def encode(self, high: Prefixes, window: int) -> Words:
        """Return the words of one window.

        Args:
            high: First words of the window's tokens, ascending; equal ones may follow each other.
            window: Its number.
        """
        count = len(high)
        if len(self._gaps) < count:
            room = count + (count >> 3)
            self._prefixes, self._gaps = np.empty(room + 1, np.uint64), np.empty(room, np.uint64)
        prefixes, gaps = self._prefixes[: count + 1], self._gaps[:count]
        prefixes[0] = self._cut.base(window)
        np.right_shift(high, np.uint64(self._cut.shift), out=prefixes[1:])
        np.subtract(prefixes[1:], prefixes[:-1], out=gaps)
        words = gaps.astype(np.uint16)
        # Escapes are rare in sets of like size: what they cost must not fall on every token.
        wide = np.flatnonzero(gaps >= ESCAPE)
        if not len(wide):
            return words
        words[wide] = (gaps[wide] % ESCAPE).astype(np.uint16)
        return np.insert(words, np.repeat(wide, (gaps[wide] // ESCAPE).astype(np.int64)), np.uint16(ESCAPE))


def decode(words: Words, span: int, out: Offsets | None = None) -> Offsets:
    """Return the prefixes of a window less its base, ascending.

    Args:
        words: As they came; not empty windows end with the word of a token.
        span: Number of prefixes of a window.
        out: Where to put them, at least as long as `words`, of a type that holds `span`; the result is its beginning.

    Raises:
        ProtocolError: A token lies outside the window, or an escape stands behind the last token.
    """
    sums = np.empty(len(words), np.int64) if out is None else out[: len(words)]
    if not len(words):
        return sums
    if words[-1] == ESCAPE:
        raise ProtocolError("a window ends with an escape that leads to no token")
    # The sum first: in the smaller type the prefixes of a frame that lies could wrap around.
    if int(np.add.reduce(words, dtype=np.int64)) >= span:
        raise ProtocolError("a token lies outside its window")
    np.cumsum(words, dtype=sums.dtype, out=sums)
    escapes = np.flatnonzero(words == ESCAPE)
    if not len(escapes):
        return sums
    if len(escapes) > _FEW:
        tokens = np.delete(sums, escapes)
        sums[: len(tokens)] = tokens
        return sums[: len(tokens)]
    # What lies between two escapes moves down by as many places as there were escapes before it.
    ends = [*escapes[1:].tolist(), len(words)]
    for gone, (escape, end) in enumerate(zip(escapes.tolist(), ends, strict=True)):
        sums[escape - gone : end - gone - 1] = sums[escape + 1 : end]
    return sums[: len(words) - len(escapes)]


def packed(words: Words) -> bytes:
    """Return words as they travel."""
    return words.astype("<u2", copy=False).tobytes()


def unpacked(column: bytes) -> Words:
    """Read words as they travel.

    Raises:
        ProtocolError: A word is cut short.
    """
    if len(column) % WORD_BYTES:
        raise ProtocolError("a window holds no whole words")
    return np.frombuffer(column, "<u2").astype(np.uint16, copy=False)
