"""Groups of a sweep: rows with equal token and equal confirm are one value, and are counted once (3.6 (4), (6)).

Of each confirmed row its participant, class byte, reference and row number are kept, in the sweep's journal; the token
is gone with the window (I2). Counts are made at the end, from those participants only that kept to the protocol all the
way; so one that is dropped late takes nothing with it but its own.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, Self, TypeAlias

import numpy as np
import numpy.typing as npt

from concordat.errors import ProtocolError
from concordat.protocol.sweep_frames import ANSWER, PIECE
from concordat.tokens import REFERENCE_BYTES
from gateway.sweep.declaration import CLASSES, Bytes, Numbers

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping

    from concordat.protocol.sweep_frames import Answers, Cut
    from concordat.wire.v1 import sweep_pb2 as wire

NAMESPACE_BITS: Final = 0x0F
# One confirmed row; `start` is 1 at the first of a group, whose rows follow each other by participant.
ROW: Final = np.dtype(
    [("start", "u1"), ("party", "u1"), ("class", "u1"), ("reference", "u1", (REFERENCE_BYTES,)), ("row", "<u8")]
)
Rows: TypeAlias = npt.NDArray[np.void]


@dataclass(frozen=True, slots=True)
class Wanted:
    """Rows of a window that one participant was asked for.

    Attributes:
        positions: In the window, ascending.
        prefixes: Less the window's base: what was streamed for them.
        first_row: Number of the window's first row in the participant's set.
    """

    positions: Numbers
    prefixes: Numbers = field(repr=False)
    first_row: int


@dataclass(frozen=True, slots=True)
class Candidates:
    """One participant's answer to a want."""

    high: npt.NDArray[np.uint64] = field(repr=False)
    low: npt.NDArray[np.uint64] = field(repr=False)
    answer: Answers = field(repr=False)
    rows: Numbers = field(repr=False)

    def __len__(self) -> int:
        return len(self.high)

    @classmethod
    def read(cls, frame: wire.SweepCandidates, wanted: Wanted, cut: Cut) -> Self:
        """Read the answer to a want, and hold it to what was streamed.

        Raises:
            ProtocolError: Too many or too few entries, tokens of other rows, or one token twice.
        """
        if len(frame.rows) != len(wanted.positions) * ANSWER.itemsize:
            raise ProtocolError("candidates: other rows than were wanted")
        answer = np.frombuffer(frame.rows, ANSWER)
        high, low = answer["high"].astype(np.uint64), answer["low"].astype(np.uint64)
        streamed = wanted.prefixes.astype(np.uint64) + np.uint64(cut.base(frame.window))
        if not np.array_equal(high >> np.uint64(cut.shift), streamed):
            raise ProtocolError("candidates: tokens of other rows than were streamed")
        if not ((high[1:] > high[:-1]) | ((high[1:] == high[:-1]) & (low[1:] > low[:-1]))).all():
            raise ProtocolError("candidates: a token twice, or out of order")
        return cls(high, low, answer, wanted.positions + wanted.first_row)

    @property
    def classes(self) -> Bytes:
        """Return the class bytes."""
        return np.ascontiguousarray(self.answer["class"])


def confirmed(answers: Mapping[int, Candidates]) -> Rows:
    """Return the rows of one window whose value two or more participants hold, grouped.

    Rows of one value carry one namespace. Holders that name different ones contradict each other, and the hub cannot
    tell who is right: they are not grouped.

    Args:
        answers: By number of the participant; each one's tokens are strictly ascending.
    """
    parties = sorted(party for party, answer in answers.items() if len(answer))
    if not parties:
        return np.empty(0, ROW)
    high = np.concatenate([answers[party].high for party in parties])
    low = np.concatenate([answers[party].low for party in parties])
    # A stable sort is fast on the sorted runs that these are. First words are equal by chance once in 2^64.
    order = np.argsort(high, kind="stable")
    high, low = high[order], low[order]
    same_word = high[1:] == high[:-1]
    if (same_word & (low[1:] != low[:-1])).any():
        again = np.lexsort((low, high))
        order, high, low = order[again], high[again], low[again]
    same = (high[1:] == high[:-1]) & (low[1:] == low[:-1])
    company = np.append(same, False) | np.concatenate(([False], same))
    order = order[company]
    token = np.cumsum(~np.concatenate(([False], same)))[company]
    # As pieces without fields, which numpy copies at once.
    pieces = np.concatenate([answers[party].answer.view(PIECE) for party in parties])[order]
    answer = pieces.view(ANSWER)
    # Sorted already where all holders of a token answer alike; else equal values must become neighbours.
    values = _Values.of(token, answer)
    alike = values.same()
    regrouped = not (alike | (token[1:] != token[:-1])).all()
    if regrouped:
        again = values.order()
        order, answer = order[again], pieces[again].view(ANSWER)
        alike = _Values.of(token[again], answer).same()
    rows = np.empty(len(order), ROW)
    rows["start"] = ~np.concatenate(([False], alike))[: len(order)]
    rows["party"] = np.repeat(np.array(parties, np.uint8), [len(answers[party]) for party in parties])[order]
    rows["class"] = answer["class"]
    rows["reference"] = answer["reference"]
    rows["row"] = np.concatenate([answers[party].rows for party in parties])[order]
    return of_two_or_more(rows) if regrouped else rows


@dataclass(frozen=True, slots=True)
class _Values:
    """What makes rows one value: equal token, equal confirm, equal namespace."""

    token: Numbers
    first: npt.NDArray[np.uint64]
    second: npt.NDArray[np.uint64]
    namespace: Bytes

    @classmethod
    def of(cls, token: Numbers, answer: Answers) -> Self:
        confirm = np.ascontiguousarray(answer["confirm"]).view(np.uint64)
        return cls(token, confirm[:, 0], confirm[:, 1], answer["class"] & np.uint8(NAMESPACE_BITS))

    def same(self) -> npt.NDArray[np.bool_]:
        """Return which rows are of the value of the row before, from the second row on."""
        result: npt.NDArray[np.bool_] = self.token[1:] == self.token[:-1]
        for column in (self.first, self.second, self.namespace):
            result &= column[1:] == column[:-1]
        return result

    def order(self) -> Numbers:
        """Return an order in which rows of one value are neighbours, by participant as before."""
        return np.lexsort((self.second, self.first, self.namespace, self.token))


def of_two_or_more(rows: Rows, parties: Collection[int] | None = None) -> Rows:
    """Return the rows of values that two or more hold, of these participants where they are given."""
    if not len(rows):
        return rows
    chosen = None if parties is None else _of(rows["party"], parties)
    if chosen is not None and chosen.all():
        # Nobody is left out, which is the rule: they are of two or more as they came.
        return rows
    group = np.cumsum(rows["start"])
    if chosen is not None:
        rows, group = rows[chosen], group[chosen]
    first = np.diff(group, prepend=-1) != 0
    starts = np.flatnonzero(first)
    sizes = np.diff(np.append(starts, len(rows)))
    kept = np.repeat(sizes > 1, sizes)
    result = rows[kept]
    result["start"] = first[kept]
    return result


def _of(column: Bytes, parties: Collection[int]) -> npt.NDArray[np.bool_]:
    table = np.zeros(256, np.bool_)
    table[list(parties)] = True
    return table[column]


def repeats_reference(rows: Rows, party: int) -> bool:
    """Tell whether one of a participant's references stands for more than one of these values."""
    references = np.ascontiguousarray(rows["reference"][rows["party"] == party]).view(np.uint64)
    return len(np.unique(references, axis=0)) < len(references)


@dataclass(frozen=True, slots=True)
class Counts:
    """Distinct values a class byte, and how many of all are held by two or more."""

    distinct: dict[int, int]
    shared: int


def distinct_counts(declared: Collection[Numbers], blocks: Iterable[Rows]) -> Counts:
    """Count the distinct values of a sweep, exactly.

    The sum of what the holders declared, less each holder's entry for a value that several hold, plus one entry under
    the gravest class.

    Args:
        declared: Counts a class byte of each participant that counts.
        blocks: Rows of values that two or more of them hold, whole groups a block.
    """
    total = np.zeros(CLASSES, np.int64)
    for counts in declared:
        total += counts
    shared = 0
    for rows in blocks:
        classes, starts = rows["class"], np.flatnonzero(rows["start"])
        total -= np.bincount(classes, minlength=CLASSES)
        shared += len(starts)
        if len(starts):
            trafficking = np.maximum.reduceat(classes & 0x30, starts)
            abuse = np.maximum.reduceat(classes & 0xC0, starts)
            total += np.bincount(classes[starts] & NAMESPACE_BITS | trafficking | abuse, minlength=CLASSES)
    return Counts({int(byte): int(total[byte]) for byte in np.flatnonzero(total)}, shared)
