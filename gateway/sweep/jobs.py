"""What a sweep has computed beside the event loop: pure work on what is handed over, results back to the hub.

A job touches nothing that changes while it runs. The service runs the jobs of a sweep one after the other, in a thread
of its own; a test runs them on the spot.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

from concordat.errors import ProtocolError
from concordat.protocol.set_root import window_root
from concordat.protocol.sweep_frames import WORD_BYTES, decode, unpacked
from gateway.sweep.finder import Finder
from gateway.sweep.groups import Candidates, Counts, Wanted, confirmed, distinct_counts, of_two_or_more
from gateway.sweep.pairs import PairBoard
from gateway.sweep.parts import join_parts

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from concordat.protocol.sweep_frames import Cut, Offsets
    from concordat.wire.v1 import sweep_pb2 as wire
    from gateway.sweep.checkpoint import SweepFolder, SweepState
    from gateway.sweep.declaration import Numbers
    from gateway.sweep.groups import Rows
    from gateway.sweep.journal import Journal


class Workbench:
    """Buffers that the jobs of a sweep use in turn."""

    def __init__(self) -> None:
        self.finder = Finder()
        self._offsets: Offsets = np.empty(0, np.int64)

    def room(self, words: int, kind: type[np.int32 | np.int64]) -> Offsets:
        """Return room for so many words."""
        if len(self._offsets) < words or self._offsets.dtype != kind:
            count = words + (words >> 3)
            self._offsets = np.empty(count, np.int32) if kind is np.int32 else np.empty(count, np.int64)
        return self._offsets


@dataclass(frozen=True, slots=True)
class Merged:
    """One participant's part of a merged window; of the positions wanted, `first_row` is still to be set."""

    rows: int
    root: bytes
    positions: Numbers = field(repr=False)
    prefixes: Numbers = field(repr=False)


@dataclass(frozen=True, slots=True)
class MergeJob:
    """Read the frames of one window, and find the candidates among them."""

    window: int
    cut: Cut
    frames: Mapping[int, bytes] = field(repr=False)
    bench: Workbench = field(repr=False)

    def run(self) -> Merge:
        """Return what was found, and who broke the protocol."""
        words = sum(len(frame) for frame in self.frames.values()) // WORD_BYTES
        room = self.bench.room(words, self.cut.offset_type)
        used = 0
        read: dict[int, Offsets] = {}
        refused: dict[int, ProtocolError] = {}
        for party in sorted(self.frames):
            try:
                read[party] = decode(unpacked(self.frames[party]), self.cut.span, room[used:])
            except ProtocolError as error:
                refused[party] = error
            else:
                used += len(read[party])
        parties = sorted(read)
        lengths = [len(read[party]) for party in parties]
        found = self.bench.finder.find(room[:used], lengths, self.cut.span_bits)
        refused |= {parties[number]: error for number, error in found.refused.items()}
        merged = {
            party: Merged(len(read[party]), self._root(read[party]), positions, read[party][positions].astype(np.int64))
            for party, positions in zip(parties, found.positions, strict=True)
            if party not in refused
        }
        return Merge(self.window, merged, refused)

    def _root(self, offsets: Offsets) -> bytes:
        return window_root(
            offsets, prefix_bits=self.cut.prefix_bits, window=self.window, window_bits=self.cut.window_bits
        )


@dataclass(frozen=True, slots=True)
class Merge:
    """Result of a `MergeJob`."""

    window: int
    merged: Mapping[int, Merged]
    refused: Mapping[int, ProtocolError]


@dataclass(frozen=True, slots=True)
class ResolveJob:
    """Hold the answers of one window to what was wanted, group them, and put the groups into the journal."""

    window: int
    cut: Cut
    wanted: Mapping[int, Wanted] = field(repr=False)
    answers: Mapping[int, wire.SweepCandidates] = field(repr=False)
    journal: Journal = field(repr=False)

    def run(self) -> Resolved:
        """Return each participant's class bytes, and who broke the protocol."""
        read: dict[int, Candidates] = {}
        refused: dict[int, ProtocolError] = {}
        for party, frame in self.answers.items():
            try:
                read[party] = Candidates.read(frame, self.wanted[party], self.cut)
            except ProtocolError as error:
                refused[party] = error
        self.journal.append(confirmed(read))
        classes = {party: one.classes for party, one in read.items()}
        return Resolved(self.window, classes, refused, self.journal.rows)


@dataclass(frozen=True, slots=True)
class Resolved:
    """Result of a `ResolveJob`."""

    window: int
    classes: Mapping[int, np.ndarray[tuple[int], np.dtype[np.uint8]]] = field(repr=False)
    refused: Mapping[int, ProtocolError]
    journal_rows: int


@dataclass(frozen=True, slots=True)
class PairJob:
    """Make the pairs of the next block of values that two or more of these participants hold."""

    journal: Journal = field(repr=False)
    at: int
    block_rows: int
    participants: Sequence[str]
    parties: frozenset[int]
    first: int

    def run(self) -> Paired:
        """Return the board of the next block, None at the end."""
        at = self.at
        while at < self.journal.rows:
            block, at = self.journal.block(at, self.block_rows)
            rows = of_two_or_more(block, self.parties)
            if len(rows):
                return Paired(PairBoard(self.participants, rows, self.first), rows, at)
        return Paired(None, None, at)


@dataclass(frozen=True, slots=True)
class Paired:
    """Result of a `PairJob`."""

    board: PairBoard | None
    rows: Rows | None = field(repr=False)
    next_at: int


@dataclass(frozen=True, slots=True)
class CountJob:
    """Count the distinct values of those participants that kept to the protocol."""

    declared: Mapping[int, Numbers] = field(repr=False)
    journal: Journal = field(repr=False)

    def run(self) -> Counts:
        """Return the counts."""
        return distinct_counts(
            list(self.declared.values()),
            (of_two_or_more(block, self.declared.keys()) for block in self.journal.blocks()),
        )


@dataclass(frozen=True, slots=True)
class SaveJob:
    """Make the journal and the state of the sweep durable."""

    folder: SweepFolder
    journal: Journal = field(repr=False)
    state: SweepState = field(repr=False)

    def run(self) -> Saved:
        """Return when it is on disk."""
        self.journal.sync()
        self.folder.save(self.state)
        return Saved()


@dataclass(frozen=True, slots=True)
class Saved:
    """Result of a `SaveJob`."""


@dataclass(frozen=True, slots=True)
class JoinJob:
    """Join the parts of a sweep that shards have handed over."""

    states: Sequence[SweepState] = field(repr=False)
    journals: Sequence[Journal] = field(repr=False)
    participants: Sequence[str]
    journal: Journal = field(repr=False)

    def run(self) -> Joined:
        """Return the sweep as one hub would have it; all rows are in the journal.

        Raises:
            ConfigError: The parts do not make up one sweep.
        """
        # Once more: a job before it may have been stopped on the way.
        self.journal.cut(0)
        state = join_parts(self.states, self.journals, self.participants, into=self.journal)
        for one in self.journals:
            one.close()
        return Joined(state)


@dataclass(frozen=True, slots=True)
class Joined:
    """Result of a `JoinJob`."""

    state: SweepState = field(repr=False)


Job: TypeAlias = MergeJob | ResolveJob | PairJob | CountJob | SaveJob | JoinJob
Result: TypeAlias = Merge | Resolved | Paired | Counts | Saved | Joined
