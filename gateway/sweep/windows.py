"""The windows of a sweep at the hub, from the plan to the journal (docs/protocol.md 3.6 (4)).

A window is *merged* when all have sent it: candidates are found and wanted. It is *resolved* when all have answered:
equal rows are in the journal, and the window is forgotten. What is heavy are jobs (gateway.sweep.jobs); the hub hands
their results back. Nothing accumulates but the windows in credit.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, TypeAlias

from concordat.errors import ProtocolError
from concordat.protocol.sweep_frames import ANSWER, WORD_BYTES, Cut
from concordat.wire.v1 import sweep_pb2 as wire
from gateway.sweep.declaration import Progress
from gateway.sweep.effects import Run, Send
from gateway.sweep.groups import Wanted
from gateway.sweep.jobs import MergeJob, ResolveJob, Workbench

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gateway.sweep.effects import Effect, Part, SweepSettings
    from gateway.sweep.jobs import Merge, Resolved
    from gateway.sweep.journal import Journal
    from gateway.sweep.members import Member, Members

    Refused: TypeAlias = Mapping[int, ProtocolError]

# A hub that waited so long for frames could have had more of them on their way.
IDLE_S: Final = 0.02


@dataclass(slots=True)
class _Window:
    """A merged window: what was wanted of it, by member, and the answers."""

    wanted: dict[int, Wanted]
    awaited: set[int]
    answers: dict[int, wire.SweepCandidates] = field(default_factory=dict)
    resolving: bool = False


class Windows:
    """State of the streaming part of a sweep."""

    def __init__(self, members: Members, settings: SweepSettings, journal: Journal, part: Part | None) -> None:
        self.cut = Cut.for_sizes(())
        self.credits = settings.credits
        self.next_merge = 0
        self._members = members
        self._settings = settings
        self._journal = journal
        self._part = part
        self._below = 0
        self._bench = Workbench()
        self._frames: dict[int, dict[int, bytes]] = {}
        self._merging: int | None = None
        self._idle_since: float | None = None
        self._open: dict[int, _Window] = {}

    @property
    def first(self) -> int:
        """Return the first window that this hub takes."""
        return 0 if self._part is None else self._part.first

    @property
    def end(self) -> int:
        """Return the window behind the last that this hub takes."""
        return self.cut.windows if self._part is None else self._part.end

    @property
    def resolved(self) -> int:
        """Return the window behind the last whose rows are all in the journal."""
        return min([self.next_merge, *self._open])

    @property
    def complete(self) -> bool:
        """Tell whether all windows are in the journal."""
        return self.next_merge == self.end and not self._open and self._merging is None

    # From the plan on.

    def plan(self) -> list[Effect]:
        """Cut the space of tokens for the sets of those that are here, and tell them."""
        self.cut = Cut.for_sizes(self._members.sizes(), self._settings.window_tokens)
        self._below = self.credits
        for member in self._members.all():
            member.progress = Progress(member.declaration, self.cut)
        return [self.plan_for(member) for member in self._members.all()]

    def take_up(self, cut: Cut, window: int, credits_: int) -> None:
        """Go on at a window, after a restart."""
        self.cut, self.next_merge, self.credits = cut, window, credits_
        self._below = window + credits_

    def plan_for(self, member: Member) -> Send:
        """Return the plan, with the window at which a participant goes on."""
        plan = wire.SweepPlan(
            window_bits=self.cut.window_bits,
            prefix_bits=self.cut.prefix_bits,
            below=min(self._below, self.end),
            first=member.progress.next,
        )
        return Send(member.party, wire.SweepDown(plan=plan))

    def wants_of(self, member: Member) -> list[Effect]:
        """Return the wants that a participant has not answered, for its new stream."""
        asked = [number for number in sorted(self._open) if member.index in self._open[number].awaited]
        return [self._want(member, number) for number in asked]

    # Frames of participants.

    def window(self, member: Member, frame: wire.SweepWindow) -> None:
        """Keep a window until all have sent it.

        Raises:
            ProtocolError: Out of order or credit, too large, or with answers that were not wanted.
        """
        if frame.HasField("candidates"):
            self.candidates(member, frame.candidates)
        member.progress.receive(frame, min(self._below, self.end))
        self._frames.setdefault(frame.window, {})[member.index] = frame.deltas

    def candidates(self, member: Member, frame: wire.SweepCandidates) -> None:
        """Keep the answer to a want until all have answered.

        Raises:
            ProtocolError: Of another window, or of other rows than were wanted.
        """
        wanted = min((number for number, one in self._open.items() if member.index in one.awaited), default=None)
        if wanted is None or frame.window != wanted:
            raise ProtocolError("candidates of a window that was not asked")
        window = self._open[wanted]
        # Before it is kept: what a participant may send is what it was asked for.
        if len(frame.rows) != len(window.wanted[member.index].positions) * ANSWER.itemsize:
            raise ProtocolError("candidates: other rows than were wanted")
        window.awaited.discard(member.index)
        window.answers[member.index] = frame

    def owes(self, member: Member) -> bool:
        """Tell whether something is expected of a participant."""
        may_send = member.progress.next < min(self._below, self.end)
        return may_send or any(member.index in window.awaited for window in self._open.values())

    def forget(self, index: int) -> None:
        """Leave out what a dropped participant sent."""
        for held in self._frames.values():
            held.pop(index, None)
        for window in self._open.values():
            window.awaited.discard(index)
            window.answers.pop(index, None)

    # Progress.

    def advance(self, now: float) -> list[Effect]:
        """Merge the next window if all have sent it; resolve those that all have answered."""
        effects: list[Effect] = []
        more = self._merging is None and self.next_merge < self.end and self._may_open()
        if more and self._members.indices() <= self._frames.get(self.next_merge, {}).keys():
            self._grow_credit(now)
            self._merging = self.next_merge
            frames = self._frames.pop(self.next_merge)
            effects.append(Run(MergeJob(self.next_merge, self.cut, frames, self._bench)))
        elif more and self._idle_since is None:
            self._idle_since = now
        for number, window in sorted(self._open.items()):
            if not window.awaited and not window.resolving:
                window.resolving = True
                # A copy: who is dropped while the job runs leaves the window's own.
                answers = dict(window.answers)
                effects.append(Run(ResolveJob(number, self.cut, window.wanted, answers, self._journal)))
        return effects

    def merged(self, result: Merge, now: float) -> Refused:
        """Take the result of a merge; return who broke the protocol. `wants` are to follow, when they are dropped."""
        self._merging, self.next_merge = None, result.window + 1
        self._below = max(self._below, self.next_merge + self.credits)
        self._idle_since = now if self._idle_since is None else self._idle_since
        refused, wanted = dict(result.refused), dict[int, Wanted]()
        for index, merged in result.merged.items():
            member = self._members.at(index)
            if member is None:
                continue
            first_row = member.progress.rows
            try:
                member.progress.merged(merged.rows, merged.root)
            except ProtocolError as error:
                refused[index] = error
            else:
                wanted[index] = Wanted(merged.positions, merged.prefixes, first_row)
        self._open[result.window] = _Window(wanted, set(wanted))
        return refused

    def wants(self, number: int) -> list[Effect]:
        """Return what is wanted of a merged window, of those that are here."""
        window = self._open[number]
        return [
            self._want(member, number)
            for member in self._members.all()
            if member.index in window.awaited and member.here
        ]

    def took(self, result: Resolved) -> Refused:
        """Forget a window that is resolved; return who broke the protocol."""
        self._open.pop(result.window, None)
        refused = dict(result.refused)
        for index, classes in result.classes.items():
            member = self._members.at(index)
            if member is not None:
                try:
                    member.progress.charge(classes)
                except ProtocolError as error:
                    refused[index] = error
        return refused

    def close(self) -> None:
        """Let go of all frames and buffers (I2)."""
        self._frames.clear()
        self._open.clear()
        self._bench = Workbench()

    def _may_open(self) -> bool:
        """Tell whether the oldest answers are near enough: behind one held back those of others must not pile up."""
        return self.next_merge < min(self._open, default=self.next_merge) + 2 * self.credits

    def _grow_credit(self, now: float) -> None:
        """Where the hub waits for frames the lines are long, and more windows may be on their way at once."""
        waited_s = 0.0 if self._idle_since is None else now - self._idle_since
        self._idle_since = None
        came = sum(len(frame) for frame in self._frames[self.next_merge].values())
        # By what was declared too: who sends little at first may send all of it later.
        size = max(came, sum(self._members.sizes()) * WORD_BYTES >> self.cut.window_bits)
        room = size * (self.credits + 1) <= self._settings.ahead_bytes and self.credits < self.cut.windows
        if waited_s >= IDLE_S and self.next_merge > self.first and room:
            self.credits += 1

    def _want(self, member: Member, number: int) -> Send:
        positions = self._open[number].wanted[member.index].positions.astype("<u4").tobytes()
        below = min(self._below, self.end)
        want = wire.SweepWant(window=number, positions=positions, below=below)
        return Send(member.party, wire.SweepDown(want=want))
