"""The live exchange without any I/O: frames, time and the ledger's results in; effects out (docs/protocol.md 3.2, 3.4).

    exchange = Exchange(manifest, signer=Signer(identity, key), ledger_incarnation=..., clock=...)
    session = exchange.open("spiffe://example/node/NL")
    exchange.frame(session, node_frame)
    for effect in exchange.effects(): ...        # send, close, write, read, forget, note
    exchange.committed([write.number], committed)
    exchange.timer()                             # at exchange.next_deadline()

One thread calls it. It holds the planes and, until their certificates leave, the tokens of the open ticks.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from concordat.clock import MS
from concordat.errors import ConcordatError, ProtocolError
from gateway.checks import Checks
from gateway.effects import Close, Note, Outbox
from gateway.plane_intake import PlaneIntake
from gateway.planes import MEMORY_BYTES, RoutingTable
from gateway.roster import Roster, Shared
from gateway.rules import Limits, Rules
from gateway.tick import Tick
from gateway.withdrawals import Withdrawals

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from concordat.clock import Clock
    from concordat.identity.keys import SigningKey
    from concordat.identity.manifest import Manifest
    from concordat.wire.v1 import check_pb2 as check_wire
    from concordat.wire.v1 import session_pb2 as wire
    from gateway.effects import Effect
    from gateway.ledger import Committed, LedgerNotice, TickState
    from gateway.roster import Session


@dataclass(frozen=True, slots=True)
class Signer:
    """The gateway that signs certificates."""

    identity: str
    key: SigningKey


class Exchange:
    """The hub's part of every live check."""

    def __init__(
        self,
        manifest: Manifest,
        *,
        signer: Signer,
        ledger_incarnation: bytes,
        clock: Clock,
        rules: Rules | None = None,
        limits: Limits | None = None,
        table: RoutingTable | None = None,
    ) -> None:
        """Begin the first tick.

        Args:
            manifest: In force.
            signer: This gateway.
            ledger_incarnation: Which ledger it is, 16 bytes.
            clock: Of this process.
            rules: All on, but in tests.
            limits: What one party may ask.
            table: A routing table other than the usual one, for a demonstration of faults.
        """
        self._clock = clock
        self._out = Outbox()
        table = table or make_table(manifest)
        self._shared = Shared(
            manifest, table, self._out, rules or Rules(), limits or Limits(), signer.identity, ledger_incarnation
        )
        self._tick_s, self._window_s = manifest.tick_ms / MS, manifest.window_ms / MS
        self._roster = Roster(self._shared)
        self._planes = PlaneIntake(self._shared, self._roster)
        # Numbers go on after a restart, so that no node takes a new tick for one it has answered.
        number = int(clock.now() / self._tick_s)
        running = Tick(number, clock.monotonic() + self._tick_s, self._window_s)
        self._checks = Checks(self._shared, self._roster, signer.key, running)
        self._roster.tick = number
        self._withdrawals = Withdrawals(self._shared, self._give_up)
        self._in_doubt = False
        self._handlers = self._made_handlers()

    def __repr__(self) -> str:
        return f"Exchange({self._checks!r})"

    @property
    def check_s(self) -> float:
        """Return how long a check takes at most: what is left of its tick, and the window."""
        return self._tick_s + self._window_s

    @property
    def progress(self) -> tuple[int, int]:
        """Return the number of the running tick, and of the certificates so far."""
        return self._checks.running.number, self._checks.certified

    @property
    def planes(self) -> tuple[int, int]:
        """Return the bytes of the routing filter, and the power of two of its slots."""
        return self._shared.table.nbytes, self._shared.table.log2_slots

    @property
    def busy(self) -> bool:
        """Tell whether `work` is to be called again, between other things."""
        return self._shared.table.busy

    def work(self) -> None:
        """Go on with what takes long, for a few milliseconds: planes that grow or are swapped in."""
        self._shared.table.work()

    @property
    def in_flight(self) -> int:
        """Return the number of checks whose tokens are still held (I2)."""
        return self._checks.in_flight

    @property
    def turns(self) -> int:
        """Return how often a party was attached or ceased to be."""
        return self._roster.turns

    def effects(self) -> list[Effect]:
        """Return what is to be done since the last call, in order."""
        return self._out.drain()

    def attached(self) -> list[str]:
        """Return the parties that are attached, SPIFFE ids ascending."""
        return self._roster.attached_parties()

    def open(self, party: str) -> int:
        """Take a stream of an authenticated party; return the session's number.

        Raises:
            IdentityError: The manifest names no such node.
            UnavailableError: The party has too many streams already.
        """
        return self._roster.open(party, self._clock.monotonic()).number

    def detach(self, session: int) -> None:
        """Note that a stream has ended."""
        found = self._roster.get(session)
        if found is not None:
            self._end(found)

    def send_event(self, party: str, **event: Any) -> bool:
        """Send one frame, given as a field of `HubFrame`, to a party; return False where it has no session."""
        session = self._roster.current(party)
        if session is None or not session.welcomed:
            return False
        self._out.send(session.number, **event)
        return True

    def know_exercises(self, running: Mapping[str, frozenset[str]]) -> None:
        """Take checks of these exercises, by their participants only; until it is told, of none."""
        self._shared.exercises = dict(running)

    def frame(self, session: int, frame: wire.NodeFrame) -> None:
        """Take a frame. Whatever is wrong with it ends the session, or refuses the check; nothing is raised."""
        found = self._roster.get(session)
        if found is None:
            return
        found.frames += 1
        try:
            if found.frames > self._shared.limits.frames_per_tick:
                raise ProtocolError("more frames in a tick than the hub takes", code="busy")
            self._dispatch(found, frame)
        except ConcordatError as error:
            self._out.put(Note(f"a session is closed: {error.message} [{error.code}]", found.party))
            self._out.put(Close(found.number, error.code))
            self._end(found)

    def _dispatch(self, session: Session, frame: wire.NodeFrame) -> None:
        kind = frame.WhichOneof("frame")
        if kind == "hello":
            self._roster.greet(session, frame.hello, self._checks.session_ended)
            return
        if kind == "bye":
            self._out.put(Close(session.number, ""))
            self._end(session)
            return
        handle = self._handlers.get(kind or "")
        if handle is None or not session.welcomed:
            raise ProtocolError("a frame that is unknown, or came before the welcome")
        handle(session, frame)

    def _made_handlers(self) -> dict[str, Callable[[Session, wire.NodeFrame], None]]:
        roster, planes, checks, clock = self._roster, self._planes, self._checks, self._clock
        withdrawals = self._withdrawals
        return {
            "snapshot_begin": lambda session, frame: planes.begin_snapshot(session, frame.snapshot_begin),
            "snapshot_chunk": lambda session, frame: planes.take_chunk(session, frame.snapshot_chunk),
            "snapshot_end": lambda session, frame: planes.end_snapshot(session, frame.snapshot_end),
            "publish": lambda session, frame: planes.publish(session, frame.publish),
            "check": lambda session, frame: checks.take(session, frame.check, now=clock.now()),
            "answer": lambda session, frame: checks.answer(session, frame.answer),
            "barrier_reply": lambda session, frame: checks.barrier_reply(
                session, frame.barrier_reply, now=clock.monotonic(), minute=int(clock.now() // 60)
            ),
            "notice_ack": lambda session, frame: roster.acknowledge(session, frame.notice_ack.cursor),
            "refusal": lambda session, frame: checks.refuse_edge(session, frame.refusal),
            "withdraw": lambda session, frame: withdrawals.withdraw(session, frame.withdraw),
            "receipt": lambda session, frame: withdrawals.receipt(session, frame.receipt),
            "feedback": lambda session, frame: withdrawals.feedback(session, frame.feedback),
        }

    def query(self, asker: str, message: check_wire.Check, *, namespaces: bytes, muted: frozenset[int]) -> int:
        """Take a partner's query (3.9); its outcome comes as the effect `Answered` with the number that this returns.

        Args:
            asker: SPIFFE id of the partner that was authenticated.
            message: As signed by it.
            namespaces: Numbers that the partner declared, one byte an item.
            muted: Positions of items that are sent to nobody.

        Raises:
            ConcordatError: What is wrong with it; nothing of it was taken.
        """
        try:
            return self._checks.query(asker, message, namespaces=namespaces, muted=muted, now=self._clock.now())
        except ConcordatError as error:
            self._out.put(Note(f"a query was refused: {error.message} [{error.code}]", asker))
            raise

    def committed(self, numbers: Iterable[int], committed: Committed) -> None:
        """Take what the ledger has made durable: settle the writes, send the notices."""
        if committed.dead:
            self._checks.drop_dead(committed.dead)
        self._fence(committed)
        for number in numbers:
            self._out.settle(number, durable=True)
        self.deliver(committed)
        if self._in_doubt:
            # What failed may have been durable all the same; repeated, it brings no notices.
            self._in_doubt = False
            self._roster.read_again()

    def _fence(self, committed: Committed) -> None:
        """End the sessions of stores that were replaced, and all where the ledger is another one now."""
        if committed.renewed_by:
            self._out.put(
                Note("the ledger holds less than this party knows of it: it was restored", committed.renewed_by)
            )
        self._follow(committed.ledger_incarnation)
        for code, refused in (("superseded", committed.superseded), ("unavailable", committed.doubted)):
            for party, incarnation in sorted(refused):
                for session in self._roster.of_incarnation(party, incarnation):
                    self._close(session, code)
        for party, _ in committed.doubted:
            self._out.put(
                Note("the ledger holds less than this party knows of it, and became another one this hour", party)
            )

    def _follow(self, ledger: bytes) -> None:
        if not ledger or ledger == self._shared.ledger_incarnation:
            return
        # C10: whoever attaches again asks everything that the ledger may have lost.
        self._checks.fail()
        for session in self._roster.follow_ledger(ledger):
            self._close(session, "ledger_restored")

    def _close(self, session: Session, code: str) -> None:
        self._out.put(Note(f"a session is closed [{code}]", session.party))
        self._out.put(Close(session.number, code))
        self._end(session)

    def _give_up(self, session: Session) -> None:
        if self._roster.get(session.number) is session:
            self._close(session, "unavailable")

    def deliver(self, committed: Committed) -> None:
        """Send the notices of a transaction that was not this exchange's own, such as a sweep's."""
        self._roster.deliver(committed.notices)
        for void in committed.refused:
            self._checks.disown(void.refuser, void.other)
            # 3.4 (4): the refused party is named.
            self._out.put(Note(f"an edge with this party was refused by {void.refuser} [{void.reason!r}]", void.other))

    def failed(self, numbers: Iterable[int]) -> None:
        """Note that writes are not known to be durable: nobody is covered in their ticks.

        Without numbers: a group is in doubt and is about to be repeated.
        """
        self._in_doubt = True
        for number in numbers:
            self._out.settle(number, durable=False)

    def sequences_read(self, tick: int, sequences: Mapping[str, int], *, state: TickState | None = None) -> None:
        """Take the ledger's sequences for the barriers of a tick; without them nobody is covered.

        Args:
            tick: Its number.
            sequences: Of every party that has published.
            state: All of what the ledger said: another gateway may have let a newer store of a party attach, or found
                that the ledger was restored.
        """
        if state is not None:
            self._follow(state.ledger_incarnation)
            for session in self._roster.outdated(state.incarnations):
                self._close(session, "superseded")
        self._checks.sequences_read(tick, sequences)

    def notices_read(self, session: int, *, sequence: int, notices: list[LedgerNotice], highest: int = 0) -> None:
        """Take a party's sequence, its next notices, and the highest of its list."""
        found = self._roster.get(session)
        if found is not None:
            self._roster.read(
                found, sequence=sequence, notices=notices, highest=highest, now_ms=int(self._clock.now() * MS)
            )

    def notices_unread(self, session: int) -> None:
        """Note that the ledger could not be read for a session: it ends, and the node comes again."""
        found = self._roster.get(session)
        if found is not None:
            self._out.put(Close(session, "unavailable"))
            self._end(found)

    def next_deadline(self) -> float:
        """Return the reading of the monotonic clock at which `timer` is due."""
        return min([self._checks.running.ends_at, *(tick.window_ends_at for tick in self._checks.closed.values())])

    def timer(self) -> None:
        """Do what is due: end the tick, send certificates, end the sessions of absent parties."""
        now = self._clock.monotonic()
        if now >= self._checks.running.ends_at:
            self._next_tick(now)
        for tick in [tick for tick in self._checks.closed.values() if now >= tick.window_ends_at]:
            self._checks.certify(tick, now=self._clock.now())
        for session in self._roster.absent(now):
            self._out.put(Close(session.number, "deadline"))
            self._end(session)

    def _next_tick(self, now: float) -> None:
        running = self._checks.running
        # A process that was held up does not make up for the ticks it missed.
        ends_at = max(running.ends_at, now - self._tick_s) + self._tick_s
        following = Tick(running.number + 1, ends_at, self._window_s)
        self._checks.close_tick(following)
        self._roster.tick = following.number
        for session in self._roster.sessions():
            session.frames = 0

    def _end(self, session: Session) -> None:
        if self._roster.end(session):
            self._checks.session_ended(session)


def make_table(manifest: Manifest, memory_bytes: int = MEMORY_BYTES) -> RoutingTable:
    """Return empty planes for the nodes of a manifest, which may grow to `memory_bytes`."""
    parties = tuple(party.id for party in manifest.nodes)
    return RoutingTable(
        parties, log2_slots=manifest.plane_log2_slots, hashes=manifest.plane_hashes, memory_bytes=memory_bytes
    )
