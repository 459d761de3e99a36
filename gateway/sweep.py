"""A sweep at the hub: frames and time in, frames, edges and counts out (docs/protocol.md 3.6 (3) to (6)).

    hub = SweepHub(sweep_id, operation, participants, attached=..., namespaces=..., settings=..., now=...)
    for effect in hub.receive(party, frame, now): ...

Effects are what the service has to do, in order: `Send` a frame, `LookUp` live edges and answer with `live_known`,
`Conclude`: open edges, freeze the report and answer with `frozen`, or note that the sweep is `Abandoned`. Whoever
breaks order, range, count or time is dropped by name and the sweep goes on with the others; it ends without a report
only where fewer than two are left. Nothing accumulates beyond the windows in credit and the rows of confirmed values.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import TYPE_CHECKING, Final, TypeAlias

from concordat.errors import ConcordatError, ProtocolError
from concordat.wire.v1 import sweep_pb2 as wire
from gateway.sweep_groups import Candidates, ClassLedger, GroupTable, distinct_counts
from gateway.sweep_pairs import PairBoard
from gateway.sweep_windows import Declaration, Plan, WindowReader, merge

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from gateway.sweep_pairs import Pair, ProvenPair
    from gateway.sweep_windows import Columns, Shared

FEWEST: Final = 2

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class SweepSettings:
    """Limits of a sweep.

    Attributes:
        join_s: How long the hub waits for attached participants to join.
        inactivity_s: How long a participant may owe a frame.
        total_s: How long the whole sweep may take before all that still owe are dropped.
        window_tokens: Tokens a participant and window to aim at.
        credits: Windows that a participant may be ahead of the hub.
        max_size: Largest set.
    """

    join_s: float = 10.0
    inactivity_s: float = 10.0
    total_s: float = 600.0
    window_tokens: int = 1 << 16
    credits: int = 2
    max_size: int = 1 << 28


@dataclass(frozen=True, slots=True)
class Participation:
    """How one participant of the charter took part.

    The state is `included`, `absent` or `dropped:CODE`; size and commitment (hexadecimal) are there only where it is
    included.
    """

    party: str
    state: str
    size: int | None = None
    commitment: str | None = None


@dataclass(frozen=True, slots=True)
class SweepResult:
    """What the report is made of: distinct values a class byte, values that several hold, and the coverage."""

    counts: Mapping[int, int]
    shared_values: int
    participations: tuple[Participation, ...]


@dataclass(frozen=True, slots=True)
class Send:
    """Send a frame to a participant; `last` closes its stream."""

    party: str
    frame: wire.SweepDown = field(repr=False)
    last: bool = False


@dataclass(frozen=True, slots=True)
class LookUp:
    """Find out which of these pairs have a live edge; answer with `live_known`."""

    pairs: Sequence[Pair]


@dataclass(frozen=True, slots=True)
class Conclude:
    """Open the edges durably, then freeze the report; answer with `frozen`."""

    edges: Sequence[ProvenPair]
    result: SweepResult


@dataclass(frozen=True, slots=True)
class Abandoned:
    """Fewer than two participants are left; there is no report and the sweep may be started again."""

    participations: tuple[Participation, ...]


Effect: TypeAlias = Send | LookUp | Conclude | Abandoned


class Phase(Enum):
    """Where a sweep stands."""

    JOINING = auto()
    STREAMING = auto()
    LOOKING_UP = auto()
    PAIRING = auto()
    CONCLUDING = auto()
    OVER = auto()


@dataclass(slots=True)
class _Member:
    """A participant that has joined."""

    index: int
    declaration: Declaration
    ledger: ClassLedger
    reader: WindowReader | None = None
    owes_since: float | None = None


@dataclass(slots=True)
class _OpenWindow:
    """A merged window whose candidate rows are on their way."""

    shared: Shared
    awaited: set[str]
    answers: dict[int, Candidates] = field(default_factory=dict)


class SweepHub:
    """State of one sweep."""

    def __init__(
        self,
        sweep_id: bytes,
        operation: str,
        participants: Sequence[str],
        *,
        attached: Collection[str],
        namespaces: Collection[str],
        settings: SweepSettings,
        now: float,
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
        self._dropped: dict[str, str] = {}
        self._plan = Plan(0)
        self._next_merge = 0
        self._below = 0
        self._held: dict[int, dict[int, Columns]] = {}
        self._open: dict[int, _OpenWindow] = {}
        self._groups = GroupTable()
        self._board: PairBoard | None = None

    # Inputs. Each returns what the service has to do, in order.

    def receive(self, party: str, frame: wire.SweepUp, now: float) -> list[Effect]:
        """Take a frame; one that breaks the protocol drops its sender by name, and nothing else."""
        if party in self._dropped or (party not in self._members and self.phase is not Phase.JOINING):
            return self._turn_away(party, frame)
        if self.phase in (Phase.CONCLUDING, Phase.OVER):
            return []
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
        """Note that a participant's stream has ended; before the plan it may come back."""
        if self.phase is Phase.JOINING:
            self._members.pop(party, None)
            return []
        if party not in self._members or self.phase in (Phase.CONCLUDING, Phase.OVER):
            return []
        return self._drop(party, "unavailable", "its stream ended") + self._advance(now)

    def tick(self, now: float) -> list[Effect]:
        """Let time pass: end the wait for joins, drop whoever owes a frame for too long."""
        effects: list[Effect] = []
        late_for_all = now - self._started >= self._settings.total_s
        if self.phase in (Phase.STREAMING, Phase.PAIRING):
            for party, member in list(self._members.items()):
                owes = member.owes_since is not None
                if owes and (late_for_all or now - (member.owes_since or 0.0) >= self._settings.inactivity_s):
                    effects += self._drop(party, "deadline", "it owed a frame for too long")
        return effects + self._advance(now)

    def live_known(self, live: Sequence[bool], now: float) -> list[Effect]:
        """Take the answer to `LookUp`: for each pair whether it has a live edge already."""
        if self.phase is not Phase.LOOKING_UP:
            return []
        assert self._board is not None
        self._board.leave_out(live)
        self.phase = Phase.PAIRING
        effects: list[Effect] = [
            Send(self._participants[own], wire.SweepDown(pairs=frame))
            for own, frame in self._board.lists()
            if self._participants[own] in self._members
        ]
        return effects + self._advance(now)

    def frozen(self, version: int) -> list[Effect]:
        """Take the news that the report is durable: everybody may go home."""
        self.phase = Phase.OVER
        done = wire.SweepDown(done=wire.SweepDone(report_version=version))
        return [Send(party, done, last=True) for party in self._members]

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
            self._join(party, frame.join)
            return
        member = self._members.get(party)
        if member is None:
            raise ProtocolError("the first frame is no join")
        if kind == "window" and self.phase is Phase.STREAMING:
            self._window(member, frame.window)
        elif kind == "candidates" and self.phase is Phase.STREAMING:
            self._candidates(party, member, frame.candidates)
        elif kind == "pair_proofs" and self.phase is Phase.PAIRING:
            effects += self._proofs(member, frame.pair_proofs)
        elif kind == "pair_verdicts" and self.phase is Phase.PAIRING:
            self._verdicts(party, member, frame.pair_verdicts)
        else:
            raise ProtocolError("a frame that has no place in this phase of the sweep")

    def _join(self, party: str, join: wire.SweepJoin) -> None:
        if self.phase is not Phase.JOINING or party in self._members or party not in self._participants:
            raise ProtocolError("a join twice, too late or by a stranger")
        if join.operation != self._operation or join.sweep_id != self._sweep_id:
            raise ProtocolError("join: another sweep")
        declaration = Declaration.read(join, namespaces=self._namespaces, max_size=self._settings.max_size)
        self._members[party] = _Member(self._participants.index(party), declaration, ClassLedger(declaration))

    def _window(self, member: _Member, frame: wire.SweepWindow) -> None:
        assert member.reader is not None
        columns = member.reader.take(frame, self._below)
        self._held.setdefault(frame.window, {})[member.index] = columns

    def _candidates(self, party: str, member: _Member, frame: wire.SweepCandidates) -> None:
        wanted = min((number for number, one in self._open.items() if party in one.awaited), default=None)
        if wanted is None or frame.window != wanted:
            raise ProtocolError("candidates of a window that was not asked")
        window = self._open[wanted]
        answer = Candidates.read(frame, len(window.shared.positions(member.index)))
        member.ledger.charge(answer.classes)
        window.awaited.discard(party)
        window.answers[member.index] = answer

    def _proofs(self, member: _Member, frame: wire.PairProofs) -> list[Effect]:
        assert self._board is not None
        relayed = self._board.take_proofs(member.index, frame)
        if relayed is None:
            return []
        addressee, content = relayed
        return [Send(self._participants[addressee], wire.SweepDown(pair_proofs=content))]

    def _verdicts(self, party: str, member: _Member, frame: wire.PairVerdicts) -> None:
        assert self._board is not None
        bad = self._board.take_verdicts(member.index, frame)
        if bad:
            _log.warning("%s says that %d pair proofs of %s do not fit", party, bad, frame.peer)

    # Progress.

    def _drop(self, party: str, code: str, reason: str) -> list[Effect]:
        """Leave a participant out from here on, whatever it sent."""
        _log.warning("%s is dropped from sweep %s: %s", party, self._sweep_id.hex(), reason)
        self._dropped[party] = code
        member = self._members.pop(party, None)
        if member is not None:
            for held in self._held.values():
                held.pop(member.index, None)
            for window in self._open.values():
                window.awaited.discard(party)
            if self._board is not None:
                self._board.cancel(member.index)
        return [Send(party, wire.SweepDown(done=wire.SweepDone(dropped=code)), last=True)]

    def _advance(self, now: float) -> list[Effect]:
        effects: list[Effect] = []
        if self.phase is Phase.JOINING:
            effects += self._plan_when_ready(now)
        elif self.phase is not Phase.OVER and self.phase is not Phase.CONCLUDING and len(self._members) < FEWEST:
            effects += self._abandon()
        if self.phase is Phase.STREAMING:
            effects += self._merge_and_resolve()
        if self.phase is Phase.PAIRING:
            effects += self._conclude_when_settled()
        self._note_debts(now)
        return effects

    def _plan_when_ready(self, now: float) -> list[Effect]:
        all_here = self._expected <= self._members.keys() | self._dropped.keys() and len(self._members) >= FEWEST
        if not all_here and now - self._started < self._settings.join_s:
            return []
        if len(self._members) < FEWEST:
            return self._abandon()
        sizes = [member.declaration.size for member in self._members.values()]
        self._plan = Plan.for_sizes(sizes, self._settings.window_tokens)
        self._below = self._settings.credits
        self.phase = Phase.STREAMING
        for member in self._members.values():
            member.reader = WindowReader(member.declaration, self._plan)
        plan = wire.SweepPlan(window_bits=self._plan.window_bits, credits=self._settings.credits)
        return [Send(party, wire.SweepDown(plan=plan)) for party in self._members]

    def _merge_and_resolve(self) -> list[Effect]:
        effects: list[Effect] = []
        here = {member.index for member in self._members.values()}
        while self._next_merge < self._plan.windows and here <= self._held.get(self._next_merge, {}).keys():
            effects += self._merge(self._next_merge)
            self._next_merge += 1
        for number in [number for number, window in self._open.items() if not window.awaited]:
            window = self._open.pop(number)
            self._groups.add(window.shared, window.answers)
        below = min(self._open, default=self._next_merge) + self._settings.credits
        if below > self._below:
            # (4): credit follows what is resolved, so that no more than `credits` windows are ever held.
            self._below = below
            if self._next_merge < self._plan.windows:
                credit = wire.SweepDown(credit=wire.SweepCredit(below=below))
                effects += [Send(party, credit) for party in self._members]
        if self._next_merge == self._plan.windows and not self._open:
            effects += self._look_up()
        return effects

    def _merge(self, number: int) -> list[Effect]:
        shared = merge(self._held.pop(number))
        window = _OpenWindow(shared, set())
        effects: list[Effect] = []
        for party, member in self._members.items():
            positions = shared.positions(member.index)
            if len(positions):
                want = wire.SweepWant(window=number, positions=positions.astype("<u4").tobytes())
                effects.append(Send(party, wire.SweepDown(want=want)))
                window.awaited.add(party)
        self._open[number] = window
        return effects

    def _look_up(self) -> list[Effect]:
        rows = self._groups.of(self._indices())
        effects: list[Effect] = []
        for party, member in list(self._members.items()):
            # One reference for two values would let the ledger take one edge for the other.
            if rows.repeats_reference(member.index):
                effects += self._drop(party, "protocol_violation", "one reference stands for two values")
        if len(self._members) < FEWEST:
            return effects + self._abandon()
        self._board = PairBoard(self._participants, self._groups.of(self._indices()))
        self.phase = Phase.LOOKING_UP
        return [*effects, LookUp(self._board.pairs())]

    def _conclude_when_settled(self) -> list[Effect]:
        assert self._board is not None
        if any(self._board.owes(index) for index in self._indices()):
            return []
        self.phase = Phase.CONCLUDING
        rows = self._groups.of(self._indices())
        counts = distinct_counts([member.declaration.counts for member in self._members.values()], rows)
        result = SweepResult(counts, len(rows.starts), self._participations())
        return [Conclude(self._board.proven(), result)]

    def _abandon(self) -> list[Effect]:
        self.phase = Phase.OVER
        done = wire.SweepDown(done=wire.SweepDone(dropped="unavailable"))
        return [Abandoned(self._participations()), *(Send(party, done, last=True) for party in self._members)]

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
        for party, member in self._members.items():
            if not self._owes(party, member):
                member.owes_since = None
            elif member.owes_since is None:
                member.owes_since = now

    def _owes(self, party: str, member: _Member) -> bool:
        if self.phase is Phase.PAIRING:
            return self._board is not None and self._board.owes(member.index)
        if self.phase is not Phase.STREAMING or member.reader is None:
            return False
        may_send = member.reader.next < min(self._below, self._plan.windows)
        return may_send or any(party in window.awaited for window in self._open.values())
