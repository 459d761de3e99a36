"""Windows of a sweep at the hub: what a participant may send, and which rows two or more of them hold (3.6 (4)).

Tokens are packed columns of 16 bytes, big-endian, strictly ascending; a window holds those whose top bits are its
number. A column is looked at as two words, so that order, range and equality are a few array operations whatever its
length. After `merge` the tokens are gone: equal ones share a number, and only that number goes on.
"""

from __future__ import annotations

import hmac
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, TypeAlias

import numpy as np
import numpy.typing as npt

from concordat.errors import ProtocolError
from concordat.protocol.report import split_class
from concordat.protocol.set_root import ROOT_BYTES, SALT_BYTES, SetRoot, commitment
from concordat.tokens import TOKEN_BYTES

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from concordat.wire.v1 import sweep_pb2 as wire

CLASSES: Final = 256
WORD_BITS: Final = 64
# Sweep tokens are pseudorandom: a window as full as this does not happen to an honest participant.
MAX_FILL: Final = 2
FILL_MARGIN: Final = 1024

Words: TypeAlias = npt.NDArray[np.uint64]
Numbers: TypeAlias = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Plan:
    """How the space of tokens is cut."""

    window_bits: int

    @classmethod
    def for_sizes(cls, sizes: list[int], window_tokens: int) -> Plan:
        """Return the fewest windows that leave the largest set at most `window_tokens` a window on average."""
        windows = -(-max(sizes, default=0) // window_tokens)
        return cls(max(windows - 1, 0).bit_length())

    @property
    def windows(self) -> int:
        """Return the number of windows."""
        return 1 << self.window_bits

    def holds(self, window: int, word: int) -> bool:
        """Tell whether a token that starts with this word belongs to a window."""
        return word >> (WORD_BITS - self.window_bits) == window


@dataclass(frozen=True, slots=True)
class Columns:
    """One participant's tokens of one window, as first and second word."""

    high: Words = field(repr=False)
    low: Words = field(repr=False)

    @classmethod
    def of(cls, packed: bytes) -> Columns:
        """Read a packed column.

        Raises:
            ProtocolError: The length is no multiple of 16.
        """
        if len(packed) % TOKEN_BYTES:
            raise ProtocolError("a window holds no whole tokens")
        words = np.frombuffer(packed, dtype=">u8").reshape(-1, 2)
        return cls(words[:, 0].astype(np.uint64), words[:, 1].astype(np.uint64))

    def ascend(self) -> bool:
        """Tell whether the tokens are strictly ascending."""
        high, low = self.high, self.low
        rises = (high[1:] > high[:-1]) | ((high[1:] == high[:-1]) & (low[1:] > low[:-1]))
        return bool(rises.all())


@dataclass(frozen=True, slots=True)
class Declaration:
    """What a participant commits to before any window: size, counts a class byte, root of the set and its salt."""

    size: int
    counts: Numbers
    set_root: bytes
    salt: bytes = field(repr=False)

    @property
    def commitment(self) -> bytes:
        """Return what the report says of the set."""
        return commitment(self.salt, self.set_root, self.size)

    @classmethod
    def read(cls, join: wire.SweepJoin, *, namespaces: Collection[str], max_size: int) -> Declaration:
        """Check the form of a join.

        Raises:
            ProtocolError: A field is out of its limits; names the field. Code `too_large` where the set is.
        """
        if join.size > max_size:
            raise ProtocolError("join: field size is over the limit", code="too_large")
        if len(join.set_root) != ROOT_BYTES or len(join.salt) != SALT_BYTES:
            raise ProtocolError("join: field set_root or salt has not 32 bytes")
        classes = list(join.classes)
        if classes != sorted(set(classes)) or len(join.counts) != 8 * len(classes):
            raise ProtocolError("join: fields classes and counts do not fit")
        numbers = [int.from_bytes(join.counts[at : at + 8], "little") for at in range(0, len(join.counts), 8)]
        # Python's integers: a sum that wraps around would let counts lie.
        if sum(numbers) != join.size or 0 in numbers:
            raise ProtocolError("join: field counts does not add up to size")
        if any(split_class(byte)[0] not in namespaces for byte in classes):
            raise ProtocolError("join: field classes names a namespace that the charter does not")
        counts = np.zeros(CLASSES, np.int64)
        counts[classes] = numbers
        return cls(join.size, counts, join.set_root, join.salt)


class WindowReader:
    """Takes one participant's windows in order and holds it to its declaration."""

    def __init__(self, declaration: Declaration, plan: Plan) -> None:
        self.next = 0
        self._declaration = declaration
        self._plan = plan
        self._limit = MAX_FILL * (declaration.size >> plan.window_bits) + FILL_MARGIN
        self._seen = 0
        self._root = SetRoot()

    @property
    def complete(self) -> bool:
        """Tell whether all windows have come."""
        return self.next == self._plan.windows

    def take(self, frame: wire.SweepWindow, below: int) -> Columns:
        """Check the next window and return its tokens.

        Args:
            frame: The window.
            below: The credit: only windows below this number may come.

        Raises:
            ProtocolError: Wrong number, beyond the credit, too many, out of order or range, or a set that is not the
                one that was declared.
        """
        if self.complete or frame.window != self.next or frame.window >= below:
            raise ProtocolError("a window came out of order or beyond the credit")
        count = len(frame.tokens) // TOKEN_BYTES
        if count > self._limit or self._seen + count > self._declaration.size:
            raise ProtocolError("a window holds more tokens than was declared", code="too_large")
        columns = Columns.of(frame.tokens)
        if not columns.ascend():
            raise ProtocolError("the tokens of a window are not strictly ascending")
        if count and not all(self._plan.holds(self.next, int(columns.high[at])) for at in (0, -1)):
            raise ProtocolError("a token lies outside its window")
        self._root.update(frame.tokens)
        self._seen += count
        self.next += 1
        if self.complete:
            self._check_whole()
        return columns

    def _check_whole(self) -> None:
        if self._seen != self._declaration.size:
            raise ProtocolError("the set has another size than was declared")
        root, self._root = self._root.digest(), SetRoot()
        if not hmac.compare_digest(root, self._declaration.set_root):
            raise ProtocolError("the set is not the one that was declared")


@dataclass(frozen=True, slots=True)
class Shared:
    """Rows of one window whose token two or more participants sent, by participant and position, both ascending.

    Equal tokens have equal numbers in `token`; the tokens themselves are no longer there.
    """

    party: Numbers
    position: Numbers
    token: Numbers

    def positions(self, party: int) -> npt.NDArray[np.uint32]:
        """Return the positions of one participant's rows, ascending."""
        found: npt.NDArray[np.uint32] = self.position[self.party == party].astype(np.uint32)
        return found

    def tokens(self, party: int) -> Numbers:
        """Return the numbers of one participant's rows, in the order of their positions."""
        found: Numbers = self.token[self.party == party]
        return found


def merge(window: Mapping[int, Columns]) -> Shared:
    """Return the rows of a window that two or more participants hold, exactly.

    Args:
        window: Each participant's tokens; strictly ascending, so that equal tokens are of different participants.
    """
    parties = sorted(window)
    lengths = [len(window[party].high) for party in parties]
    high = np.concatenate([window[party].high for party in parties] or [np.empty(0, np.uint64)])
    low = np.concatenate([window[party].low for party in parties] or [np.empty(0, np.uint64)])
    # First by one word, which leaves few rows; then exactly. A stable sort is fast on the sorted runs that these are.
    rows = np.argsort(high, kind="stable")
    rows = rows[_in_company(high[rows])]
    rows = rows[np.lexsort((low[rows], high[rows]))]
    # A row starts a new number where it differs from the one before it.
    starts = _differs(high[rows]) | _differs(low[rows])
    numbers = np.cumsum(starts)
    company = ~starts | ~np.append(starts[1:], True)
    rows, numbers = rows[company], numbers[company]
    order = np.argsort(rows, kind="stable")
    rows, numbers = rows[order], numbers[order]
    ends = np.cumsum(lengths, dtype=np.int64)
    index = np.searchsorted(ends, rows, side="right")
    firsts = np.concatenate((np.zeros(1, np.int64), ends))[index]
    return Shared(np.array(parties, np.int64)[index], (rows - firsts).astype(np.int64), numbers.astype(np.int64))


def _differs(column: Words) -> npt.NDArray[np.bool_]:
    """Return which entries differ from the one before; the first does."""
    result = np.ones(len(column), np.bool_)
    result[1:] = column[1:] != column[:-1]
    return result


def _in_company(column: Words) -> npt.NDArray[np.bool_]:
    """Return which entries of a sorted column equal a neighbour."""
    starts = _differs(column)
    result: npt.NDArray[np.bool_] = ~starts | ~np.append(starts[1:], True)
    return result
