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
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import TYPE_CHECKING, Final

from concordat.errors import ConcordatError, ConfigError, ProtocolError
from concordat.protocol.sweep_frames import ANSWER, WORD_BYTES, Cut
from concordat.wire.v1 import sweep_pb2 as wire
from gateway.sweep.checkpoint import SweepState
from gateway.sweep.declaration import Declaration, Progress
from gateway.sweep.effects import (
    Abandoned,
    Conclude,
    HandOver,
    LookUp,
    OpenEdges,
    Participation,
    Run,
    Send,
    SweepResult,
    SweepSettings,
)
from gateway.sweep.groups import Counts, Wanted, repeats_reference
from gateway.sweep.jobs import CountJob, Merge, MergeJob, Paired, PairJob, Resolved, ResolveJob, SaveJob, Workbench
from gateway.sweep.journal import Journal

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from gateway.sweep.checkpoint import SweepFolder
    from gateway.sweep.effects import Effect, Part
    from gateway.sweep.jobs import Result
    from gateway.sweep.pairs import PairBoard

FEWEST: Final = 2
# A hub that waited so long for frames could have had more of them on their way.
IDLE_S: Final = 0.02
# Whoever comes again more often has no line that a sweep could wait for.
MOST_JOINS: Final = 64

_log = logging.getLogger(__name__)


class Phase(Enum):
    """Where a sweep stands."""

    JOINING = auto()
    STREAMING = auto()
    PAIRING = auto()
    COUNTING = auto()
    CONCLUDING = auto()
    OVER = auto()


@dataclass(slots=True)
class _Member:
    """A participant that has joined."""

    index: int
    declaration: Declaration
    progress: Progress
    here: bool = True
    owes_since: float | None = None
    joins: int = 1


@dataclass(slots=True)
class _Window:
    """A merged window: what was wanted of it, by member, and the answers."""

    wanted: dict[int, Wanted]
    awaited: set[int]
    answers: dict[int, wire.SweepCandidates] = field(default_factory=dict)
    resolving: bool = False


class SweepHub:
    """State of one sweep."""

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
        self._sweep_id = sweep_id
        self._operation = operation
        self._participants = tuple(participants)
        self._expected = set(attached) & set(participants)
        self._namespaces = frozenset(namespaces)
        self._settings = settings
        self._started = now
        self._members: dict[str, _Member] = {}
        self._preparing: dict[str, float] = {}
        self._dropped: dict[str, str] = {}
        self._cut = Cut.for_sizes(())
        self._credits = settings.credits
        self._below = 0
        self._bench = Workbench()
        self.journal = Journal() if journal is None else journal
        self._frames: dict[int, dict[int, bytes]] = {}
        self._merging: int | None = None
        self._next_merge = 0
        self._idle_since: float | None = None
        self._open: dict[int, _Window] = {}
        self._folder = folder
        self._part = part
        self._saved_at = now
        self._journal_rows = 0
        self._block = 0
        self._next_block_at = 0
        self._pairs_made = 0
        self._board: PairBoard | None = None
        self._live_asked = False

    def take_up(self, state: SweepState) -> list[Effect]:
        """Go on where a gateway stopped, before any input; its participants are away and may join again.

        Raises:
            ConfigError: The state is of another sweep, or contradicts itself or the journal.
        """
        if (state.sweep_id, state.operation) != (self._sweep_id, self._operation):
            raise ConfigError("the state is of another sweep")
        cut = Cut(state.prefix_bits, state.window_bits)
        members: dict[str, _Member] = {}
        for one in state.members:
            declaration, progress = Progress.restored(one, cut, state.window)
            members[one.party] = _Member(self._participants.index(one.party), declaration, progress, here=False)
        self.journal.cut(state.journal_rows)
        self._cut, self._members, self._dropped = cut, members, dict(state.dropped)
        self._journal_rows, self._pairs_made = state.journal_rows, state.pairs
        self._next_merge, self._credits = state.window, state.credits
        self._below = state.window + state.credits
        self.phase = Phase.STREAMING
        if state.block is None:
            return []
        self.phase, self._next_block_at = Phase.PAIRING, state.block
        return self._next_block() if self._settings.pairs else self._count()

    # Inputs. Each returns what the service has to do, in order.

    def receive(self, party: str, frame: wire.SweepUp, now: float) -> list[Effect]:
        """Take a frame; one that breaks the protocol drops its sender by name, and nothing else."""
        if party in self._dropped or (party not in self._members and self.phase is not Phase.JOINING):
            return self._turn_away(party, frame)
        late = self.phase in (Phase.COUNTING, Phase.CONCLUDING) and not frame.HasField("join")
        if late or self.phase is Phase.OVER:
            return []
        if frame.HasField("preparing") and self._is_preparing(party, now):
            return self._advance(now)
        effects: list[Effect] = []
        try:
            self._take(party, frame, effects)
        except ConcordatError as error:
            effects += self._drop(party, error.code, error.message)
        else:
            if party in self._members:
                self._members[party].owes_since = None
        return effects + self._advance(now)

    def gone(self, party: str, now: float) -> list[Effect]:
        """Note that a participant's stream has ended; it may come back in time."""
        member = self._members.get(party)
        if self.phase is Phase.JOINING:
            self._members.pop(party, None)
            self._preparing.pop(party, None)
            return []
        if member is None or self.phase is Phase.OVER:
            return []
        member.here, member.owes_since = False, None
        return self._advance(now)

    def tick(self, now: float) -> list[Effect]:
        """Let time pass: end the wait for joins, drop whoever owes a frame for too long."""
        effects: list[Effect] = []
        late_for_all = now - self._started >= self._limit_s()
        if self.phase in (Phase.STREAMING, Phase.PAIRING):
            for party, member in list(self._members.items()):
                if member.owes_since is None:
                    continue
                patience_s = self._settings.inactivity_s if member.here else self._settings.away_s
                if late_for_all or now - member.owes_since >= patience_s:
                    code = "deadline" if member.here else "unavailable"
                    effects += self._drop(party, code, "it owed a frame for too long")
        return effects + self._advance(now)

    def ran(self, result: Result, now: float) -> list[Effect]:
        """Take the result of a job."""
        effects: list[Effect] = []
        if isinstance(result, Merge):
            effects += self._merged(result, now)
        elif isinstance(result, Resolved):
            effects += self._resolved(result, now)
        elif isinstance(result, Paired):
            effects += self._paired(result)
        elif isinstance(result, Counts) and self.phase is Phase.COUNTING:
            effects += self._counted(result)
        return effects + self._advance(now)

    def live_known(self, live: Sequence[bool], now: float) -> list[Effect]:
        """Take the answer to `LookUp`: for each pair whether it has a live edge already."""
        if self.phase is not Phase.PAIRING or self._board is None or not self._live_asked:
            return []
        self._live_asked = False
        self._board.leave_out(live)
        effects = self._listed(self._board.lists())
        return effects + self._advance(now)

    def edges_open(self, now: float) -> list[Effect]:
        """Take the news that the edges of a block are durable."""
        self._next_block_at = self._block
        return [*self._save(now), *self._next_block(), *self._advance(now)]

    def frozen(self, version: int) -> list[Effect]:
        """Take the news that the report is durable: everybody may go home."""
        self._end()
        done = wire.SweepDown(done=wire.SweepDone(report_version=version))
        return [Send(party, done, last=True) for party in self._members]

    def fail(self) -> None:
        """End without a result."""
        self._end()

    @property
    def windows(self) -> tuple[int, int]:
        """Return how many windows are done, and how many there are."""
        return min([self._next_merge, *self._open]), self._cut.windows

    # Frames.

    def _turn_away(self, party: str, frame: wire.SweepUp) -> list[Effect]:
        """Answer who joins too late, or again after being dropped; what else was under way counts for nothing."""
        if frame.WhichOneof("frame") != "join":
            return []
        done = wire.SweepDone(dropped=self._dropped.get(party, "deadline"))
        return [Send(party, wire.SweepDown(done=done), last=True)]

    def _take(self, party: str, frame: wire.SweepUp, effects: list[Effect]) -> None:
        kind = frame.WhichOneof("frame")
        if kind == "join":
            effects += self._join(party, frame.join)
            return
        member = self._members.get(party)
        if member is None:
            raise ProtocolError("the first frame is no join")
        if kind == "window" and self.phase is Phase.STREAMING:
            if frame.window.HasField("candidates"):
                self._candidates(member, frame.window.candidates)
            member.progress.receive(frame.window, min(self._below, self._end_window))
            self._frames.setdefault(frame.window.window, {})[member.index] = frame.window.deltas
        elif kind == "candidates" and self.phase is Phase.STREAMING:
            self._candidates(member, frame.candidates)
        elif kind == "pair_proofs" and self.phase is Phase.PAIRING:
            effects += self._proofs(member, frame.pair_proofs)
        elif kind == "leaving":
            effects += self._drop(party, "unavailable", "it left")
        elif kind == "pair_verdicts" and self.phase is Phase.PAIRING:
            self._verdicts(party, member, frame.pair_verdicts)
        else:
            raise ProtocolError("a frame that has no place in this phase of the sweep")

    def _join(self, party: str, join: wire.SweepJoin) -> list[Effect]:
        if party not in self._participants or (join.operation, join.sweep_id) != (self._operation, self._sweep_id):
            raise ProtocolError("join: another sweep, or a stranger to it")
        declaration = Declaration.read(join, namespaces=self._namespaces, max_size=self._settings.max_size)
        member = self._members.get(party)
        if member is not None:
            return self._rejoin(party, member, declaration)
        self._members[party] = _Member(self._participants.index(party), declaration, Progress(declaration, self._cut))
        return []

    def _rejoin(self, party: str, member: _Member, declaration: Declaration) -> list[Effect]:
        """Let a participant go on where its stream broke: from the next window, with the wants it has not answered."""
        if member.here:
            raise ProtocolError("a join twice")
        if not declaration.same(member.declaration):
            raise ProtocolError("join: another set than before")
        member.joins += 1
        if member.joins > MOST_JOINS:
            raise ProtocolError("join: too often", code="unavailable")
        member.here = True
        if self.phase is not Phase.STREAMING:
            return [self._plan_for(party, member), *self._relist(member)]
        asked = [number for number in sorted(self._open) if member.index in self._open[number].awaited]
        wants = [self._want(party, number, self._open[number].wanted[member.index]) for number in asked]
        return [self._plan_for(party, member), *wants]

    def _relist(self, member: _Member) -> list[Effect]:
        """(5): what is under way between a participant that comes again and the others begins anew."""
        if self._board is None or self._live_asked:
            return []
        before = len(self._board)
        frames = self._board.relist(member.index)
        self._pairs_made += len(self._board) - before
        return self._listed(frames)

    def _listed(self, frames: Sequence[tuple[int, wire.PairList]]) -> list[Effect]:
        """Tell those that are here of their pairs; who comes again is told then."""
        here = {member.index for member in self._members.values() if member.here}
        return [Send(self._participants[own], wire.SweepDown(pairs=frame)) for own, frame in frames if own in here]

    def _is_preparing(self, party: str, now: float) -> bool:
        """Note that a participant makes its set, for the first time or once more."""
        member = self._members.get(party)
        if self.phase is Phase.JOINING:
            self._preparing[party] = now
        elif member is not None and not member.here:
            member.owes_since = None
        else:
            return False
        return True

    def _candidates(self, member: _Member, frame: wire.SweepCandidates) -> None:
        wanted = min((number for number, one in self._open.items() if member.index in one.awaited), default=None)
        if wanted is None or frame.window != wanted:
            raise ProtocolError("candidates of a window that was not asked")
        window = self._open[wanted]
        # Before it is kept: what a participant may send is what it was asked for.
        if len(frame.rows) != len(window.wanted[member.index].positions) * ANSWER.itemsize:
            raise ProtocolError("candidates: other rows than were wanted")
        window.awaited.discard(member.index)
        window.answers[member.index] = frame

    def _proofs(self, member: _Member, frame: wire.PairProofs) -> list[Effect]:
        if self._board is None:
            self._require_left(frame.peer)
            return []
        relayed = self._board.take_proofs(member.index, frame)
        if relayed is None:
            return []
        addressee, content = relayed
        if not self._members[self._participants[addressee]].here:
            # It is asked anew when it comes again, and so is this one.
            return []
        return [Send(self._participants[addressee], wire.SweepDown(pair_proofs=content))]

    def _verdicts(self, party: str, member: _Member, frame: wire.PairVerdicts) -> None:
        if self._board is None:
            self._require_left(frame.peer)
            return
        bad = self._board.take_verdicts(member.index, frame)
        if bad:
            _log.warning("%s says that %d pair proofs of %s do not fit", party, bad, frame.peer)

    def _require_left(self, peer: str) -> None:
        """Between blocks only what was on its way to a participant that was dropped may still come."""
        if peer not in self._dropped:
            raise ProtocolError("a pair frame where no pairs were listed")

    # Progress.

    def _drop(self, party: str, code: str, reason: str) -> list[Effect]:
        """Leave a participant out from here on, whatever it sent."""
        _log.warning("%s is dropped from sweep %s: %s", party, self._sweep_id.hex(), reason)
        self._dropped[party] = code
        member = self._members.pop(party, None)
        if member is not None:
            for held in self._frames.values():
                held.pop(member.index, None)
            for window in self._open.values():
                window.awaited.discard(member.index)
                window.answers.pop(member.index, None)
            if self._board is not None:
                self._board.cancel(member.index)
        return [Send(party, wire.SweepDown(done=wire.SweepDone(dropped=code)), last=True)]

    def _drop_indices(self, refused: Mapping[int, ProtocolError]) -> list[Effect]:
        effects: list[Effect] = []
        for index, error in sorted(refused.items()):
            if self._participants[index] in self._members:
                effects += self._drop(self._participants[index], error.code, error.message)
        return effects

    def _advance(self, now: float) -> list[Effect]:
        effects: list[Effect] = []
        if self.phase is Phase.JOINING:
            effects += self._plan_when_ready(now)
        elif self.phase in (Phase.STREAMING, Phase.PAIRING) and len(self._members) < FEWEST:
            effects += self._abandon()
        if self.phase is Phase.STREAMING:
            effects += self._merge_and_resolve(now)
        if self.phase is Phase.PAIRING:
            effects += self._open_when_settled()
        self._note_debts(now)
        return effects

    def _plan_when_ready(self, now: float) -> list[Effect]:
        all_here = self._expected <= self._members.keys() | self._dropped.keys() and len(self._members) >= FEWEST
        if not all_here and (now - self._started < self._settings.join_s or self._waits_for_sets(now)):
            return []
        self._preparing.clear()
        if len(self._members) < FEWEST:
            return self._abandon()
        sizes = [member.declaration.size for member in self._members.values()]
        self._cut = Cut.for_sizes(sizes, self._settings.window_tokens) if self._part is None else self._part.cut
        self._next_merge = self._first_window
        self._below = self._first_window + self._credits
        # What follows has a time of its own.
        self.phase, self._started = Phase.STREAMING, now
        for member in self._members.values():
            member.progress = Progress(member.declaration, self._cut)
            member.progress.next = self._first_window
        return [*self._save(now), *self._plans()]

    def _plans(self) -> list[Effect]:
        return [self._plan_for(party, member) for party, member in self._members.items()]

    def _waits_for_sets(self, now: float) -> bool:
        """Tell whether somebody prepares its set, has said so a moment ago, and may still take time over it."""
        fresh = [said for party, said in self._preparing.items() if party not in self._members]
        recent = any(now - said < self._settings.join_s for said in fresh)
        return recent and now - self._started < self._settings.prepare_s

    def _limit_s(self) -> float:
        largest = max((member.declaration.size for member in self._members.values()), default=0)
        return self._settings.total_s + largest / self._settings.rows_a_s

    @property
    def _first_window(self) -> int:
        return 0 if self._part is None else self._part.first

    @property
    def _end_window(self) -> int:
        return self._cut.windows if self._part is None else self._part.end

    def _plan_for(self, party: str, member: _Member) -> Send:
        cut = self._cut
        below = min(self._below, self._end_window)
        plan = wire.SweepPlan(
            window_bits=cut.window_bits, prefix_bits=cut.prefix_bits, below=below, first=member.progress.next
        )
        return Send(party, wire.SweepDown(plan=plan))

    def _merge_and_resolve(self, now: float) -> list[Effect]:
        effects: list[Effect] = []
        here = {member.index for member in self._members.values()}
        more = self._merging is None and self._next_merge < self._end_window and self._may_open()
        if more and here <= self._frames.get(self._next_merge, {}).keys():
            self._grow_credit(now)
            self._merging = self._next_merge
            frames = self._frames.pop(self._next_merge)
            effects.append(Run(MergeJob(self._next_merge, self._cut, frames, self._bench)))
        elif more and self._idle_since is None:
            self._idle_since = now
        for number, window in sorted(self._open.items()):
            if not window.awaited and not window.resolving:
                window.resolving = True
                # A copy: who is dropped while the job runs leaves the window's own.
                answers = dict(window.answers)
                effects.append(Run(ResolveJob(number, self._cut, window.wanted, answers, self.journal)))
        if self._next_merge == self._end_window and not self._open and self._merging is None:
            effects += self._begin_pairs(now) if self._part is None else self._hand_over()
        return effects

    def _may_open(self) -> bool:
        """Tell whether the oldest answers are near enough: behind one held back those of others must not pile up."""
        return self._next_merge < min(self._open, default=self._next_merge) + 2 * self._credits

    def _grow_credit(self, now: float) -> None:
        """(4): where the hub waits for frames the lines are long, and more windows may be on their way at once."""
        waited_s = 0.0 if self._idle_since is None else now - self._idle_since
        self._idle_since = None
        came = sum(len(frame) for frame in self._frames[self._next_merge].values())
        declared = sum(member.declaration.size for member in self._members.values()) * WORD_BYTES
        # By what was declared too: who sends little at first may send all of it later.
        size = max(came, declared >> self._cut.window_bits)
        room = size * (self._credits + 1) <= self._settings.ahead_bytes and self._credits < self._cut.windows
        if waited_s >= IDLE_S and self._next_merge > self._first_window and room:
            self._credits += 1

    def _merged(self, result: Merge, now: float) -> list[Effect]:
        self._merging, self._next_merge = None, result.window + 1
        if self.phase is not Phase.STREAMING:
            return []
        effects = self._drop_indices(result.refused)
        window = _Window({}, set())
        self._below = max(self._below, self._next_merge + self._credits)
        for party, member in list(self._members.items()):
            merged = result.merged.get(member.index)
            if merged is None:
                continue
            first_row = member.progress.rows
            try:
                member.progress.merged(merged.rows, merged.root)
            except ProtocolError as error:
                effects += self._drop(party, error.code, error.message)
                continue
            window.wanted[member.index] = Wanted(merged.positions, merged.prefixes, first_row)
            window.awaited.add(member.index)
        self._open[result.window] = window
        for party, member in self._members.items():
            if member.index in window.awaited and member.here:
                effects.append(self._want(party, result.window, window.wanted[member.index]))
        self._idle_since = now if self._idle_since is None else self._idle_since
        return effects

    def _want(self, party: str, number: int, wanted: Wanted) -> Send:
        positions = wanted.positions.astype("<u4").tobytes()
        below = min(self._below, self._end_window)
        return Send(party, wire.SweepDown(want=wire.SweepWant(window=number, positions=positions, below=below)))

    def _resolved(self, result: Resolved, now: float) -> list[Effect]:
        self._open.pop(result.window, None)
        self._journal_rows = result.journal_rows
        refused = dict(result.refused)
        for member in self._members.values():
            if member.index in result.classes:
                try:
                    member.progress.charge(result.classes[member.index])
                except ProtocolError as error:
                    refused[member.index] = error
        effects = self._drop_indices(refused)
        # Whoever is dropped must not come back as if nothing had been.
        return [*effects, *self._save(now, soon=bool(effects))]

    def _save(self, now: float, *, soon: bool = True) -> list[Effect]:
        if self._folder is None or not (soon or now - self._saved_at >= self._settings.save_s):
            return []
        self._saved_at = now
        return [Run(SaveJob(self._folder, self.journal, self._state()))]

    def _state(self) -> SweepState:
        window = self.windows[0]
        return SweepState(
            sweep_id=b64encode(self._sweep_id),
            operation=self._operation,
            prefix_bits=self._cut.prefix_bits,
            window_bits=self._cut.window_bits,
            credits=self._credits,
            first=self._first_window,
            window=window,
            journal_rows=self._journal_rows,
            block=None if self.phase is Phase.STREAMING else self._next_block_at,
            pairs=self._pairs_made,
            members=tuple(member.progress.state(party, window) for party, member in self._members.items()),
            dropped=self._dropped,
        )

    def _hand_over(self) -> list[Effect]:
        state = self._state()
        self._end()
        done = wire.SweepDown(done=wire.SweepDone())
        return [HandOver(state), *(Send(party, done, last=True) for party in self._members)]

    def _begin_pairs(self, now: float) -> list[Effect]:
        self.phase = Phase.PAIRING
        # Its buffers hold the prefixes of the last window (I2).
        self._bench = Workbench()
        if not self._settings.pairs:
            return self._count()
        return [*self._save(now), *self._next_block()]

    def _count(self) -> list[Effect]:
        self.phase = Phase.COUNTING
        declared = {member.index: member.declaration.counts for member in self._members.values()}
        return [Run(CountJob(declared, self.journal))]

    def _next_block(self) -> list[Effect]:
        self._board = None
        job = PairJob(
            self.journal,
            self._next_block_at,
            self._settings.pair_rows,
            self._participants,
            frozenset(self._indices()),
            self._pairs_made,
        )
        return [Run(job)]

    def _paired(self, result: Paired) -> list[Effect]:
        if self.phase is not Phase.PAIRING:
            return []
        self._block = result.next_at
        if result.board is None or result.rows is None:
            return self._count()
        effects: list[Effect] = []
        for party, member in list(self._members.items()):
            # One reference for two values would let the ledger take one edge for the other.
            if repeats_reference(result.rows, member.index):
                effects += self._drop(party, "protocol_violation", "one reference stands for two values")
        if len(self._members) < FEWEST:
            return effects
        self._board = result.board
        for index in set(range(len(self._participants))) - set(self._indices()):
            self._board.cancel(index)
        self._pairs_made += len(result.board)
        self._live_asked = True
        return [*effects, LookUp(result.board.pairs())]

    def _open_when_settled(self) -> list[Effect]:
        if self._board is None or self._live_asked or any(self._board.owes(index) for index in self._indices()):
            return []
        proven, self._board = self._board.proven(), None
        return [OpenEdges(proven)]

    def _counted(self, counts: Counts) -> list[Effect]:
        self.phase = Phase.CONCLUDING
        return [Conclude(SweepResult(counts.distinct, counts.shared, self._participations()))]

    def _abandon(self) -> list[Effect]:
        self._end()
        done = wire.SweepDown(done=wire.SweepDone(dropped="unavailable"))
        return [Abandoned(self._participations()), *(Send(party, done, last=True) for party in self._members)]

    def _end(self) -> None:
        """Let go of all but who is told of the end (I2)."""
        self.phase = Phase.OVER
        self._frames.clear()
        self._open.clear()
        self._board, self._bench = None, Workbench()

    def _participations(self) -> tuple[Participation, ...]:
        return tuple(self._participation(party) for party in self._participants)

    def _participation(self, party: str) -> Participation:
        member = self._members.get(party)
        if member is not None:
            declared = member.declaration
            return Participation(party, "included", declared.size, declared.commitment.hex())
        if party in self._dropped:
            return Participation(party, f"dropped:{self._dropped[party]}")
        return Participation(party, "absent")

    def _indices(self) -> list[int]:
        return [member.index for member in self._members.values()]

    def _note_debts(self, now: float) -> None:
        for member in self._members.values():
            if not self._owes(member):
                member.owes_since = None
            elif member.owes_since is None:
                member.owes_since = now

    def _owes(self, member: _Member) -> bool:
        if self.phase is Phase.PAIRING:
            return self._board is not None and not self._live_asked and self._board.owes(member.index)
        if self.phase is not Phase.STREAMING:
            return False
        may_send = member.progress.next < min(self._below, self._end_window)
        return may_send or any(member.index in window.awaited for window in self._open.values())
