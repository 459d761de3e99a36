"""Groups of a sweep: rows with equal token and equal confirm are one value, and are counted once (3.6 (4), (6)).

What is kept until the end is small: of each confirmed row its group, participant, class byte and reference. Counts are
made at the end, from those participants only that kept to the protocol all the way; so one that is dropped late takes
nothing with it but its own.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, TypeAlias

import numpy as np
import numpy.typing as npt

from concordat.errors import ProtocolError
from concordat.protocol.macs import MAC_BYTES
from concordat.tokens import REFERENCE_BYTES
from gateway.sweep_windows import CLASSES, Numbers

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from concordat.wire.v1 import sweep_pb2 as wire
    from gateway.sweep_windows import Declaration, Shared

Bytes: TypeAlias = npt.NDArray[np.uint8]

NAMESPACE_BITS: Final = 0x0F
_CONFIRM_WORDS: Final = MAC_BYTES // 8


@dataclass(frozen=True, slots=True)
class Candidates:
    """One participant's answer to a want: confirm MACs as rows of four words, class bytes, references of 16 bytes."""

    confirms: npt.NDArray[np.uint64] = field(repr=False)
    classes: Bytes = field(repr=False)
    references: Bytes = field(repr=False)

    @classmethod
    def read(cls, frame: wire.SweepCandidates, rows: int) -> Candidates:
        """Read the answer to a want of `rows` rows.

        Raises:
            ProtocolError: Too many or too few entries.
        """
        sizes = (len(frame.confirms), len(frame.classes), len(frame.references))
        if sizes != (rows * MAC_BYTES, rows, rows * REFERENCE_BYTES):
            raise ProtocolError("candidates: other rows than were wanted")
        return cls(
            np.frombuffer(frame.confirms, np.uint64).reshape(-1, _CONFIRM_WORDS),
            np.frombuffer(frame.classes, np.uint8),
            np.frombuffer(frame.references, np.uint8).reshape(-1, REFERENCE_BYTES),
        )


class ClassLedger:
    """Holds one participant's candidate rows against the counts that it declared."""

    def __init__(self, declaration: Declaration) -> None:
        self._left = declaration.counts.copy()

    def charge(self, classes: Bytes) -> None:
        """Count candidate rows.

        Raises:
            ProtocolError: More rows of a class than were declared, or a class byte that was not declared.
        """
        self._left -= np.bincount(classes, minlength=CLASSES)
        if (self._left < 0).any():
            raise ProtocolError("candidates: more rows of a class than were declared")


@dataclass(frozen=True, slots=True)
class Rows:
    """Rows of confirmed values, sorted by group and then participant."""

    group: Numbers
    party: Numbers
    classes: Bytes
    references: Bytes

    @property
    def starts(self) -> Numbers:
        """Return where each group begins."""
        return np.flatnonzero(np.diff(self.group, prepend=-1))

    def repeats_reference(self, party: int) -> bool:
        """Tell whether one of a participant's references stands for more than one value."""
        words = np.ascontiguousarray(self.references[self.party == party]).view(np.uint64)
        return len(np.unique(words, axis=0)) < len(words)

    def taken(self, which: npt.NDArray[np.bool_] | Numbers) -> Rows:
        """Return some of the rows."""
        return Rows(self.group[which], self.party[which], self.classes[which], self.references[which])


class GroupTable:
    """All confirmed values of a sweep."""

    def __init__(self) -> None:
        self._parts: list[Rows] = []
        self._groups = 0

    def add(self, shared: Shared, answers: Mapping[int, Candidates]) -> None:
        """Group the rows of one window whose candidates have come; rows of participants without an answer fall out.

        Rows of one value carry one namespace. Holders that name different ones contradict each other, and the hub
        cannot tell who is right: they are not grouped.
        """
        parties = [party for party in sorted(answers) if len(answers[party].classes)]
        if not parties:
            return
        token = np.concatenate([shared.tokens(party) for party in parties])
        party = np.concatenate([np.full(len(answers[one].classes), one, np.int64) for one in parties])
        confirms = np.concatenate([answers[one].confirms for one in parties])
        classes = np.concatenate([answers[one].classes for one in parties])
        references = np.concatenate([answers[one].references for one in parties])
        namespace = (classes & NAMESPACE_BITS).astype(np.uint64)
        key = np.column_stack((token.astype(np.uint64), namespace, confirms))
        order = np.lexsort((party, *key.T[::-1]))
        key = key[order]
        group = np.cumsum(np.concatenate(([True], (key[1:] != key[:-1]).any(axis=1)))) + self._groups
        rows = Rows(group, party[order], classes[order], references[order])
        self._parts.append(_of_two_or_more(rows))
        self._groups = int(group[-1])

    def of(self, parties: Collection[int]) -> Rows:
        """Return the rows of values that two or more of these participants hold."""
        parts = self._parts
        whole = Rows(
            np.concatenate([part.group for part in parts] or [np.empty(0, np.int64)]),
            np.concatenate([part.party for part in parts] or [np.empty(0, np.int64)]),
            np.concatenate([part.classes for part in parts] or [np.empty(0, np.uint8)]),
            np.concatenate([part.references for part in parts] or [np.empty((0, REFERENCE_BYTES), np.uint8)]),
        )
        return _of_two_or_more(whole.taken(np.isin(whole.party, list(parties))))


def distinct_counts(declared: Collection[Numbers], rows: Rows) -> dict[int, int]:
    """Return the number of distinct values a class byte.

    The sum of what the holders declared, less each holder's entry for a value that several hold, plus one entry under
    the gravest class.

    Args:
        declared: Counts a class byte of each participant that counts.
        rows: Rows of values that two or more of them hold.
    """
    total = np.zeros(CLASSES, np.int64)
    for counts in declared:
        total += counts
    total -= np.bincount(rows.classes, minlength=CLASSES)
    starts = rows.starts
    if len(starts):
        trafficking = np.maximum.reduceat(rows.classes & 0x30, starts)
        abuse = np.maximum.reduceat(rows.classes & 0xC0, starts)
        gravest = rows.classes[starts] & NAMESPACE_BITS | trafficking | abuse
        total += np.bincount(gravest, minlength=CLASSES)
    return {int(byte): int(total[byte]) for byte in np.flatnonzero(total)}


def _of_two_or_more(rows: Rows) -> Rows:
    starts = rows.starts
    sizes = np.diff(np.append(starts, len(rows.group)))
    return rows.taken(np.repeat(sizes > 1, sizes))
