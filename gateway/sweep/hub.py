"""A sweep at the hub: frames and time in, effects out (docs/protocol.md 3.6 (3) to (6)).

    hub = SweepHub(sweep_id, operation, participants, attached=..., namespaces=..., settings=..., now=...)
    for effect in hub.receive(party, frame, now): ...

The effects (gateway.sweep.effects) are what the service has to do, in order. Whoever breaks order, range, count or time
is dropped by name and the sweep goes on with the others; it ends without a report only where fewer than two are left.
Nothing accumulates beyond the windows in credit; what is known of confirmed values is in the journal.
"""

from __future__ import annotations

import logging
from base64 import b64encode
from enum import Enum, auto
from typing import TYPE_CHECKING, Final

from concordat.errors import ConcordatError, ConfigError, ProtocolError
from concordat.protocol.sweep_frames import Cut
from concordat.wire.v1 import sweep_pb2 as wire
from gateway.sweep.checkpoint import SweepState
from gateway.sweep.declaration import Declaration, Progress
from gateway.sweep.effects import Abandoned, Conclude, HandOver, Run, Send, SweepResult, SweepSettings
from gateway.sweep.groups import Counts
from gateway.sweep.jobs import CountJob, Joined, Merge, Paired, Resolved, SaveJob
from gateway.sweep.joining import FEWEST, Joining
from gateway.sweep.journal import Journal
from gateway.sweep.members import Member, Members
from gateway.sweep.pairing import Pairing
from gateway.sweep.sharing import Sharing, shares_of
from gateway.sweep.windows import Windows

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from gateway.sweep.checkpoint import SweepFolder
    from gateway.sweep.effects import Effect, Part
    from gateway.sweep.jobs import Result

# Whoever comes again more often has no line that a sweep could wait for.
MOST_JOINS: Final = 64

_log = logging.getLogger(__name__)


class Phase(Enum):
    """Where a sweep stands."""

    JOINING = auto()
    STREAMING = auto()
    SHARED = auto()
    PAIRING = auto()
    COUNTING = auto()
    CONCLUDING = auto()
    OVER = auto()


class SweepHub:
    """State of one sweep: who is in it, and where it stands."""

    def __init__(  # noqa: PLR0913 -- what a sweep is of, and what it is given
        self,
        sweep_id: bytes,
        operation: str,
        participants: Sequence[str],
        *,
        attached: Collection[str],
        namespaces: Collection[str],
        settings: SweepSettings,
        now: float,
        journal: Journal | None = None,
        folder: SweepFolder | None = None,
        part: Part | None = None,
    ) -> None:
        self.phase = Phase.JOINING
        self.journal = Journal() if journal is None else journal
        self.members = Members(tuple(participants))
        self.joining = Joining(self.members, settings, attached, now)
        self.streaming = Windows(self.members, settings, self.journal, part)
        self.pairing = Pairing(self.members, settings, self.journal)
        self.sharing = Sharing(self.members, namespaces)
        self._sweep_id = sweep_id
        self._operation = operation
        self._namespaces = frozenset(namespaces)
        self._settings = settings
        self._folder = folder
        self._part = part
        self._saved_at = self._started_at = now
        self._journal_rows = 0
        # In a part: nobody has dialled yet.
        self._undialled = part is not None

    def take_up(self, state: SweepState) -> list[Effect]:
        """Go on where a gateway stopped, before any input; its participants are away and may join again.

        Raises:
            ConfigError: The state is of another sweep, or contradicts itself or the journal.
        """
        if (state.sweep_id, state.operation) != (self._sweep_id, self._operation):
            raise ConfigError("the state is of another sweep")
        cut, members = Cut(state.prefix_bits, state.window_bits), self.members
        for one in state.members:
            index = members.participants.index(one.party)
            declaration, progress = Progress.restored(one, cut, state.first, state.window)
            members.present[one.party] = Member(one.party, index, declaration, progress, here=False)
        members.dropped.update(state.dropped)
        self.journal.cut(state.journal_rows)
        self._journal_rows, self.pairing.made = state.journal_rows, state.pairs
        self.streaming.take_up(cut, state.window, state.credits)
        self.phase = Phase.STREAMING
        if state.shards:
            self.phase, self.sharing.shares = Phase.SHARED, shares_of(state.shards, cut)
            return [self.sharing.give(state)]
        if state.block is None:
            return []
        self.phase, self.pairing.begins_at = Phase.PAIRING, state.block
        return [self.pairing.next_block() if self._settings.pairs else self._count()]

    # Inputs. Each returns what the service has to do, in order.

    def receive(self, party: str, frame: wire.SweepUp, now: float) -> list[Effect]:
        """Take a frame; one that breaks the protocol drops its sender by name, and nothing else."""
        members = self.members
        if party in members.dropped or (party not in members.present and self.phase is not Phase.JOINING):
            return self._turn_away(party, frame)
        late = self.phase in (Phase.COUNTING, Phase.CONCLUDING) and not frame.HasField("join")
        if late or self.phase is Phase.OVER:
            return []
        if frame.HasField("preparing") and self._is_preparing(party, frame.preparing, now):
            return self._advance(now)
        effects: list[Effect] = []
        try:
            effects += self._take(party, frame)
        except ConcordatError as error:
            effects += self._drop(party, error.code, error.message)
        else:
            if party in members.present:
                members.present[party].settle(now)
        return effects + self._advance(now)

    def gone(self, party: str, now: float) -> list[Effect]:
        """Note that a participant's stream has ended; it may come back in time."""
        member = self.members.present.get(party)
        if self.phase is Phase.JOINING:
            self.joining.forget(party)
            return []
        if member is None or self.phase is Phase.OVER:
            return []
        member.here = False
        member.settle(now)
        return self._advance(now)

    def tick(self, now: float) -> list[Effect]:
        """Let time pass: end the wait for joins, drop whoever owes a frame for too long."""
        effects: list[Effect] = []
        if self.phase in (Phase.STREAMING, Phase.PAIRING):
            for member in self.members.all():
                if member.owes_since is None:
                    continue
                patience_s = self._settings.inactivity_s if member.here else self._settings.away_s
                owed_s = now - member.owes_since
                if owed_s >= patience_s or member.owed_s + owed_s >= self._limit_s(member):
                    code = "deadline" if member.here else "unavailable"
                    effects += self._drop(member.party, code, "it owed a frame for too long")
        return effects + self._advance(now)

    def ran(self, result: Result, now: float) -> list[Effect]:
        """Take the result of a job."""
        effects: list[Effect] = []
        if isinstance(result, Merge) and self.phase is Phase.STREAMING:
            effects += self._drop_all(self.streaming.merged(result, now))
            effects += self.streaming.wants(result.window)
        elif isinstance(result, Resolved) and self.phase is Phase.STREAMING:
            self._journal_rows = result.journal_rows
            effects += self._drop_all(self.streaming.took(result))
            # Whoever is dropped must not come back as if nothing had been.
            effects += self._save(now, soon=bool(effects))
        elif isinstance(result, Joined) and self.phase is Phase.SHARED:
            effects += self._joined(result, now)
        elif isinstance(result, Paired) and self.phase is Phase.PAIRING:
            effects += self._paired(result)
        elif isinstance(result, Counts) and self.phase is Phase.COUNTING:
            self.phase = Phase.CONCLUDING
            found = SweepResult(result.distinct, result.shared, self.members.participations())
            effects.append(Conclude(found))
        return effects + self._advance(now)

    def live_known(self, live: Sequence[bool], now: float) -> list[Effect]:
        """Take the answer to `LookUp`: for each pair whether it has a live edge already."""
        if self.phase is not Phase.PAIRING:
            return []
        return [*self.pairing.live_known(live), *self._advance(now)]

    def parts_begun(self, now: float) -> list[Effect]:
        """Take the news that all shards have their parts: their participants may dial them."""
        if self.phase is not Phase.SHARED or self.sharing.begun:
            return []
        self.sharing.begun = True
        return [*self.sharing.plans(self.streaming.cut), *self._advance(now)]

    def edges_open(self, now: float) -> list[Effect]:
        """Take the news that the edges of a block are durable."""
        self.pairing.opened()
        return [*self._save(now), self.pairing.next_block(), *self._advance(now)]

    def frozen(self, version: int) -> list[Effect]:
        """Take the news that the report is durable: everybody may go home."""
        self.fail()
        return self._farewell(wire.SweepDone(report_version=version))

    def fail(self) -> None:
        """End, and let go of all but who is told of the end (I2)."""
        self.phase = Phase.OVER
        self.streaming.close()
        self.pairing.close()

    @property
    def windows(self) -> tuple[int, int]:
        """Return how many windows are done, and how many there are."""
        done = self.sharing.done if self.phase is Phase.SHARED else self.streaming.resolved
        return done, self.streaming.cut.windows

    @property
    def progress(self) -> str:
        """Say for the log how far it has come, and on whom it waits."""
        done, windows = self.windows
        come = {
            Phase.JOINING: f"{len(self.members)} of {len(self.joining.expected)} that are attached have joined",
            Phase.STREAMING: f"{done} of {windows} windows",
            Phase.SHARED: f"{done} of {windows} windows at {len(self.sharing.shares)} shards",
            # In hundredths: the log says no figure of the report.
            Phase.PAIRING: f"{100 * self.pairing.begins_at // max(self.journal.rows, 1)} % of the pairs",
        }.get(self.phase, self.phase.name.lower())
        waits = ", ".join(self._awaited())
        return f"{come}; waits for {waits or 'nobody'}"

    def _awaited(self) -> list[str]:
        if self.phase is not Phase.JOINING:
            return [member.party for member in self.members.all() if self.owes(member)]
        return self.joining.absent()

    def owes(self, member: Member) -> bool:
        """Tell whether something is expected of a participant."""
        if self.phase is Phase.SHARED:
            return member.party in self.sharing.owing
        owes = {Phase.STREAMING: self.streaming.owes, Phase.PAIRING: self.pairing.owes}.get(self.phase)
        return owes is not None and owes(member)

    # Frames.

    def _turn_away(self, party: str, frame: wire.SweepUp) -> list[Effect]:
        """Answer who joins too late, or again after being dropped; what else was under way counts for nothing."""
        if frame.WhichOneof("frame") != "join":
            return []
        done = wire.SweepDone(dropped=self.members.dropped.get(party, "deadline"))
        return [Send(party, wire.SweepDown(done=done), last=True)]

    def _take(self, party: str, frame: wire.SweepUp) -> list[Effect]:
        kind, member = frame.WhichOneof("frame"), self.members.present.get(party)
        if kind == "join":
            return self._join(party, member, frame.join)
        if member is None:
            raise ProtocolError("the first frame is no join")
        if kind == "leaving":
            return self._drop(party, "unavailable", "it left")
        match self.phase, kind:
            case Phase.STREAMING, "window":
                self.streaming.window(member, frame.window)
            case Phase.STREAMING, "candidates":
                self.streaming.candidates(member, frame.candidates)
            case Phase.PAIRING, "pair_proofs":
                return self.pairing.proofs(member, frame.pair_proofs)
            case Phase.PAIRING, "pair_verdicts":
                self.pairing.verdicts(member, frame.pair_verdicts)
            case _:
                raise ProtocolError("a frame that has no place in this phase of the sweep")
        return []

    def _join(self, party: str, member: Member | None, join: wire.SweepJoin) -> list[Effect]:
        participants = self.members.participants
        if party not in participants or (join.operation, join.sweep_id) != (self._operation, self._sweep_id):
            raise ProtocolError("join: another sweep, or a stranger to it")
        declaration = Declaration.read(join, namespaces=self._namespaces, max_size=self._settings.max_size)
        if member is not None:
            return self._rejoin(member, declaration)
        progress = Progress(declaration, self.streaming.cut)
        self.members.present[party] = Member(party, participants.index(party), declaration, progress)
        return []

    def _rejoin(self, member: Member, declaration: Declaration) -> list[Effect]:
        """Let a participant go on where its stream broke: from the next window, with the wants it has not answered."""
        if member.here:
            raise ProtocolError("a join twice")
        if not declaration.same(member.declaration):
            raise ProtocolError("join: another set than before")
        member.joins += 1
        if member.joins > MOST_JOINS:
            raise ProtocolError("join: too often", code="unavailable")
        member.here, self._undialled = True, False
        if self.phase is Phase.SHARED:
            return [self.sharing.plan_for(member, self.streaming.cut)] if self.sharing.begun else []
        begun = self.streaming.wants_of if self.phase is Phase.STREAMING else self.pairing.relisted
        return [self.streaming.plan_for(member), *begun(member)]

    def _is_preparing(self, party: str, said: wire.SweepPreparing, now: float) -> bool:
        """Note that a participant makes its set, for the first time or once more."""
        member = self.members.present.get(party)
        if self.phase is Phase.JOINING:
            self.joining.note(party, said, now)
        elif member is not None and not member.here:
            member.settle(now)
        else:
            return False
        return True

    # Progress.

    def _drop(self, party: str, code: str, reason: str) -> list[Effect]:
        """Leave a participant out from here on, whatever it sent."""
        _log.warning("%s is dropped from sweep %s: %s", party, self._sweep_id.hex(), reason)
        self.members.dropped[party] = code
        member = self.members.present.pop(party, None)
        if member is not None:
            self.streaming.forget(member.index)
            self.pairing.forget(member.index)
        return [Send(party, wire.SweepDown(done=wire.SweepDone(dropped=code)), last=True)]

    def _drop_all(self, refused: Mapping[int, ProtocolError]) -> list[Effect]:
        effects: list[Effect] = []
        for index, error in sorted(refused.items()):
            member = self.members.at(index)
            if member is not None:
                effects += self._drop(member.party, error.code, error.message)
        return effects

    def _advance(self, now: float) -> list[Effect]:
        effects: list[Effect] = []
        if self.phase is Phase.JOINING:
            effects += self._plan_when_ready(now)
        elif self.phase in (Phase.STREAMING, Phase.SHARED, Phase.PAIRING) and len(self.members) < FEWEST:
            effects += self._abandon()
        if self.phase is Phase.STREAMING:
            effects += self.streaming.advance(now)
            if self.streaming.complete:
                effects += self._begin_pairs(now) if self._part is None else self._hand_over()
        if self.phase is Phase.PAIRING:
            effects += self.pairing.settled()
        self._note_debts(now)
        return effects

    def _plan_when_ready(self, now: float) -> list[Effect]:
        if not self.joining.over(now):
            return []
        self.joining.preparing.clear()
        if len(self.members) < FEWEST:
            return self._abandon()
        plans = self.streaming.plan()
        self.sharing.shares = shares_of(self._settings.shards, self.streaming.cut)
        self.phase = Phase.SHARED if self.sharing.shares else Phase.STREAMING
        saved = self._save(now)
        return [*saved, self.sharing.give(self._state())] if self.sharing.shares else [*saved, *plans]

    def _limit_s(self, member: Member) -> float:
        """Return how long a participant may owe frames in all: by what was done, not by what was declared."""
        windows = member.progress.next - self.streaming.first
        blocks = self.pairing.begins_at // self._settings.pair_rows
        return self._settings.total_s + self._settings.step_s * (windows + blocks)

    def _save(self, now: float, *, soon: bool = True) -> list[Effect]:
        if self._folder is None or not (soon or now - self._saved_at >= self._settings.save_s):
            return []
        self._saved_at = now
        return [Run(SaveJob(self._folder, self.journal, self._state()))]

    def _state(self) -> SweepState:
        streaming, window, part = self.streaming, self.streaming.resolved, self._part
        return SweepState(
            sweep_id=b64encode(self._sweep_id),
            operation=self._operation,
            prefix_bits=streaming.cut.prefix_bits,
            window_bits=streaming.cut.window_bits,
            credits=streaming.credits,
            first=streaming.first,
            end=None if part is None else part.end,
            window=window,
            journal_rows=self._journal_rows,
            block=None if self.phase in (Phase.STREAMING, Phase.SHARED) else self.pairing.begins_at,
            pairs=self.pairing.made,
            members=tuple(member.progress.state(member.party, window) for member in self.members.all()),
            dropped=self.members.dropped,
            participants=() if part is None else self.members.participants,
            namespaces=() if part is None else tuple(sorted(self._namespaces)),
            shards=self.sharing.addresses if self.phase is Phase.SHARED else (),
        )

    def _hand_over(self) -> list[Effect]:
        state = self._state()
        self.fail()
        return [HandOver(state), *self._farewell(wire.SweepDone())]

    def _joined(self, result: Joined, now: float) -> list[Effect]:
        """Go on with what the shards have streamed; whoever was dropped from a part is dropped from all."""
        effects: list[Effect] = []
        cut = self.streaming.cut
        for party, code in self.sharing.take(result.state, cut).items():
            effects += self._drop(party, code, "it was dropped from a part, or its parts are not the set it declared")
        self.streaming.take_up(cut, cut.windows, self.streaming.credits)
        self._journal_rows = result.state.journal_rows
        return effects if len(self.members) < FEWEST else [*effects, *self._begin_pairs(now)]

    def _begin_pairs(self, now: float) -> list[Effect]:
        self.phase = Phase.PAIRING
        # Its buffers hold the prefixes of the last window (I2).
        self.streaming.close()
        if not self._settings.pairs:
            return [self._count()]
        return [*self._save(now), self.pairing.next_block()]

    def _paired(self, result: Paired) -> list[Effect]:
        effects: list[Effect] = []
        for member in self.pairing.repeating(result):
            effects += self._drop(member.party, "protocol_violation", "one reference stands for two values")
        if result.board is None:
            return [*effects, self._count()]
        return effects if len(self.members) < FEWEST else [*effects, *self.pairing.paired(result)]

    def _count(self) -> Run:
        self.phase = Phase.COUNTING
        declared = {member.index: member.declaration.counts for member in self.members.all()}
        return Run(CountJob(declared, self.journal))

    def _abandon(self) -> list[Effect]:
        self.fail()
        return [Abandoned(self.members.participations()), *self._farewell(wire.SweepDone(dropped="unavailable"))]

    def _farewell(self, done: wire.SweepDone) -> list[Effect]:
        return [Send(party, wire.SweepDown(done=done), last=True) for party in self.members.present]

    def _note_debts(self, now: float) -> None:
        # Participants hear where to dial when the last shard has begun (3.7 (2)), or never where that stays away.
        unplanned = self._undialled and now - self._started_at < self._settings.shard_s
        for member in self.members.all():
            # What is owed to a shard, the shard counts.
            if self.phase is Phase.SHARED or unplanned or not self.owes(member):
                member.settle(now)
            elif member.owes_since is None:
                member.owes_since = now
