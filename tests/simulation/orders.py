"""A federation in which every event waits for a die: real node cores and stores, the real hub core and ledger.

Frames travel in order on each session and never at once; the ledger writes and reads behind a queue; processes die
between any two events, also between what they have written and what they were about to say. Only the wire, the clock,
the tokens and the waiting for the disk are stand-ins.
"""

from __future__ import annotations

import itertools
import sqlite3
from collections import Counter, deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from concordat.errors import ConcordatError, UnavailableError
from concordat.protocol.check import parse_header
from concordat.tokens import column
from concordat.wire.v1 import check_pb2, session_pb2
from gateway.answers import partner_reference
from gateway.effects import Answered, Close, Effect, Forget, Note, ReadNotices, ReadSequences, Send, Write
from gateway.exchange import Exchange, Signer
from services.node.events import Told
from services.node.store import cases
from services.node.store.database import Database
from services.node.store.store import Store
from services.node.store.values import STRONG, WEAK, Asking, CanonicalValue
from tests.unit.exchange import parties

if TYPE_CHECKING:
    import random
    from collections.abc import Callable, Iterator

    from concordat.clock import ManualClock
    from gateway.ledger import Committed, Ledger
    from gateway.rules import Rules

TICK_S: Final = 0.25
END: Final = None
"""In place of a frame: the stream ends here."""
Answer = tuple[str, bytes, str, bytes]
"""An asker, its reference, a holder and the reference of the same value there."""


class DisklessParty(parties.Party):
    """A party that loses its process, never its machine, so that nothing has to wait for a disk."""

    copy: bytes | None = None

    def back_up(self) -> None:
        """Keep a copy of the store."""
        with self.store.read() as db:
            self.copy = db.serialize()

    def restore(self) -> None:
        """Go back to the copy, as if the disk had been lost."""
        if self.copy is None:
            return
        self.store.close()
        for ending in ("", "-wal", "-shm"):
            self.path.with_name(self.path.name + ending).unlink(missing_ok=True)
        self.path.write_bytes(self.copy)
        self.path.chmod(0o600)
        self.store = self._open()
        # Whoever restores a store says so: in the copy's own incarnation it could be one that was replaced (I9).
        self.store.renew_incarnation(self.rng.randbytes)
        self.core = self._core()

    def _open(self) -> Store:
        super()._open().close()
        connection = sqlite3.connect(self.path, isolation_level=None, check_same_thread=False)
        connection.execute("PRAGMA synchronous = OFF")
        return Store(Database(connection), self.clock)


@dataclass
class Stream:
    """One session: what is under way in each direction."""

    number: int
    hub: HubProcess
    up: deque[session_pb2.NodeFrame | None] = field(default_factory=deque)
    down: deque[tuple[int, session_pb2.HubFrame] | None] = field(default_factory=deque)
    notices: deque[session_pb2.HubFrame] = field(default_factory=deque)
    """Arrived at the node and not taken yet: they wait apart, as in `services.node.exchange.session`."""
    held_by_node: bool = True
    held_by_hub: bool = True


@dataclass
class Actor:
    """A node and its process."""

    party: DisklessParty
    rng: random.Random
    stream: Stream | None = None
    on_said: Callable[[Actor, list[session_pb2.NodeFrame]], None] = lambda *_: None
    """Told of what leaves the node."""

    def dial(self, hub: HubProcess) -> None:
        """Open a session where there is none."""
        if self.stream is not None:
            return
        try:
            number = hub.exchange.open(self.party.id)
        except UnavailableError:
            return
        self.stream = hub.streams[number] = Stream(number, hub)
        self.stream.up.append(self.party.core.hello())

    def take(self, *, dies: bool = False) -> bool:
        """Take some frames that have arrived and look for work; return whether any had arrived."""
        stream = self.stream
        if stream is None:
            return False
        frames: list[session_pb2.HubFrame] = []
        ended = False
        for _ in range(min(len(stream.down), self.rng.randint(1, 8))):
            arrived = stream.down.popleft()
            if arrived is END:
                ended = True
                break
            (stream.notices if arrived[1].HasField("notice") else frames).append(arrived[1])
        frames += [stream.notices.popleft() for _ in range(self.rng.randint(0, len(stream.notices)))]
        if ended:
            # What the reader had not handed on when the stream ended is lost.
            self.hang_up(stream)
            return True
        try:
            answers = self.party.core.step(frames, work=self.party.core.has_more or self.rng.random() < 0.5)
        except ConcordatError:
            self.hang_up(stream)
            return True
        if dies:
            self.die(noticed=self.rng.random() < 0.5)
        else:
            self.on_said(self, answers)
            stream.up.extend(answers)
        return bool(frames)

    def hang_up(self, stream: Stream) -> None:
        """End the session on this side."""
        self.party.core.detach()
        self.stream, stream.held_by_node = None, False
        stream.up.append(END)

    def die(self, *, noticed: bool, restored: bool = False) -> None:
        """End the process as kill -9 does and start it again, on an older store or its own; the hub may not notice."""
        if self.stream is not None:
            self.stream.held_by_node = False
            if noticed:
                self.stream.up.append(END)
            self.stream = None
        if restored:
            self.party.restore()
        else:
            self.party.restart()

    def submit(self, value: str, *, grade: int, look_once: bool, purpose: str, operation: str) -> None:
        """Store a value and what is to be done for it; it has no token yet."""
        epochs = self.party.federation.manifest.live_epochs
        with self.party.store.write() as db:
            case_id = cases.put_case(db, parties.TEMPLATE_CASE, self.party.clock.now())
            asking = Asking(case_id, purpose, operation, look_once, epochs)
            parties.put_record(
                db, [CanonicalValue("e164", 1, value, grade)], asking, random_bytes=self.party.rng.randbytes
            )

    def tokenise(self) -> None:
        """Give one batch of values its tokens."""
        epochs = self.party.federation.manifest.live_epochs
        for epoch, key_class in itertools.product(epochs, ("strong", "weak")):
            batch = self.party.store.untokenised(epoch, key_class, 100)
            if batch is not None:
                names = [(row.value_id, f"{key_class}{row.canonical}") for row in batch.rows]
                rows = [
                    (one, b"l" * 16, parties.secret(name, epoch), parties.token(name, epoch)) for one, name in names
                ]
                self.party.store.store_tokens(batch, rows)

    def is_done(self, present: set[str]) -> bool:
        """Tell whether nothing is to be done with those who are there."""
        with self.party.store.read() as db:
            waiting = db.execute(
                "SELECT EXISTS (SELECT 1 FROM to_check) OR EXISTS (SELECT 1 FROM to_tokenise)"
            ).fetchone()
        return not waiting[0] and not any(row.holder in present for row in self.party.store.pending_batches())

    def held(self, *, through: int | None = None) -> dict[str, bytes]:
        """Return token and reference of every kept strong value; with `through`, of those published up to it."""
        with self.party.store.read() as db:
            rows = db.execute(
                "SELECT t.token, v.reference FROM value v JOIN token t ON t.value_id = v.id"
                " WHERE v.kept = 1 AND v.grade = 1 AND (? IS NULL OR t.sequence <= ?)",
                (through, through),
            ).fetchall()
        return {token.hex(): reference for token, reference in rows}


@dataclass
class HubProcess:
    """An exchange whose writes and reads wait, as they do behind the threads of `gateway.hub`."""

    exchange: Exchange
    ledger: Ledger
    rng: random.Random
    streams: dict[int, Stream] = field(default_factory=dict)
    writes: deque[Write] = field(default_factory=deque)
    reads: deque[ReadSequences | ReadNotices] = field(default_factory=deque)
    results: deque[Callable[[], None]] = field(default_factory=deque)
    notes: list[Note] = field(default_factory=list)
    on_certificate: Callable[[check_pb2.Certificate], None] = lambda _: None
    on_written: Callable[[Committed], None] = lambda _: None
    on_answer: Callable[[Answered], None] = lambda _: None
    """Told of what partners' queries brought."""

    def carry_out(self) -> None:
        """Put what the exchange wants into its queues."""
        while effects := self.exchange.effects():
            for effect in effects:
                self._place(effect)

    def _place(self, effect: Effect) -> None:
        if isinstance(effect, Send):
            if effect.frame.HasField("certificate"):
                self.on_certificate(effect.frame.certificate)
            stream = self.streams[effect.session]
            if stream.held_by_hub:
                stream.down.append((effect.tick, effect.frame))
        elif isinstance(effect, Write):
            self.writes.append(effect)
        elif isinstance(effect, ReadSequences | ReadNotices):
            self.reads.append(effect)
        elif isinstance(effect, Close):
            self.close(self.streams[effect.session])
        elif isinstance(effect, Forget):
            for stream in self.streams.values():
                # Only what has not left yet can be dropped.
                gone = self.rng.randint(0, len(stream.down))
                kept = [one for at, one in enumerate(stream.down) if at < gone or one is END or not _of(one, effect)]
                stream.down = deque(kept)
        elif isinstance(effect, Answered):
            self.on_certificate(effect.outcome.certificate)
            self.on_answer(effect)
        else:
            self.notes.append(effect)

    def close(self, stream: Stream) -> None:
        """End a stream on this side; some of what was to be sent has left already."""
        if stream.held_by_hub:
            stream.held_by_hub = False
            stream.down = deque(list(stream.down)[: self.rng.randint(0, len(stream.down))])
            stream.down.append(END)

    def hear(self, stream: Stream, frame: session_pb2.NodeFrame | None) -> None:
        """Take what arrived from a node."""
        if not stream.held_by_hub:
            return
        if frame is END:
            self.close(stream)
            self.exchange.detach(stream.number)
        else:
            self.exchange.frame(stream.number, frame)
        self.carry_out()

    def write(self, *, fails: bool = False, silent: bool = False) -> None:
        """Let the ledger take a group of what waits; `silent`: the process dies before it hears of it."""
        group = [self.writes.popleft() for _ in range(min(len(self.writes), self.rng.randint(1, 6)))]
        numbers = [one.number for one in group]
        if not group:
            return
        if fails:
            self.exchange.failed(numbers)
        else:
            committed = self.ledger.write([write for one in group for write in one.writes])
            self.on_written(committed)
            if not silent:
                self.exchange.committed(numbers, committed)
        self.carry_out()

    def read(self) -> None:
        """Let the ledger answer one question; the answer has still to come back."""
        if self.reads:
            self.results.append(self._result(self.reads.popleft()))

    def _result(self, effect: ReadSequences | ReadNotices) -> Callable[[], None]:
        exchange, ledger = self.exchange, self.ledger
        if isinstance(effect, ReadSequences):
            tick, state = effect.tick, ledger.tick_state()
            return lambda: exchange.sequences_read(tick, state.sequences, state=state)
        session, sequence = effect.session, ledger.sequence_of(effect.party)
        notices = ledger.notices_above(effect.party, effect.above, limit=effect.limit)
        highest = ledger.last_cursor(effect.party)
        return lambda: exchange.notices_read(session, sequence=sequence, notices=notices, highest=highest)

    def hand_back(self) -> None:
        """Bring one answer of the ledger back."""
        if self.results:
            self.results.popleft()()
            self.carry_out()

    def tick(self, now: float) -> None:
        """Do what is due."""
        if self.exchange.next_deadline() <= now:
            self.exchange.timer()
            self.carry_out()


def _of(entry: tuple[int, session_pb2.HubFrame], effect: Forget) -> bool:
    return 0 < entry[0] <= effect.tick


@dataclass
class Orders:
    """The federation, and the dice."""

    federation: parties.Federation
    new_ledger: Callable[[], Ledger]
    clock: ManualClock
    rng: random.Random
    actors: dict[str, Actor]
    checks: dict[bytes, set[Answer]] = field(default_factory=dict)
    """What a check has to find at holders that had published before it arrived."""
    unfounded: list[str] = field(default_factory=list)
    """Holders that a certificate called covered although an edge with them was not durable (I6)."""
    notes: list[Note] = field(default_factory=list)
    rules: Rules | None = None

    def __post_init__(self) -> None:
        self.ledger = self.new_ledger()
        self.hub = self._start()

    def lose_ledger(self) -> None:
        """Kill the hub and start it on an empty ledger, which has another incarnation (C10)."""
        self.ledger = self.new_ledger()
        self.restart_hub()

    def _start(self) -> HubProcess:
        gateway = self.federation.manifest.gateways[0]
        exchange = Exchange(
            self.federation.manifest,
            signer=Signer(gateway.id, self.federation.keys["gateway"]),
            ledger_incarnation=self.ledger.incarnation,
            clock=self.clock,
            rules=self.rules,
        )
        return HubProcess(exchange, self.ledger, self.rng, notes=self.notes, on_certificate=self.judge)

    def restart_hub(self) -> None:
        """Kill the hub and start it on the same ledger; some of what it was writing is durable."""
        while self.hub.writes and self.hub.ledger is self.ledger and self.rng.random() < 0.5:
            self.hub.write(silent=True)
        for stream in self.hub.streams.values():
            self.hub.close(stream)
        self.hub = self._start()

    def cut(self, actor: Actor) -> None:
        """Let a connection break; each side may or may not hear of it now."""
        stream = actor.stream
        if stream is None:
            return
        actor.hang_up(stream)
        stream.up = deque(list(stream.up)[: self.rng.randint(0, len(stream.up))])
        if self.rng.random() < 0.7:
            stream.up.append(END)

    def move_up(self) -> bool:
        """Let some frames of one node arrive at the hub."""
        busy = [one for one in self.hub.streams.values() if one.up]
        if not busy:
            return False
        stream = self.rng.choice(busy)
        for _ in range(min(len(stream.up), self.rng.randint(1, 8))):
            frame = stream.up.popleft()
            if frame is not END and frame.HasField("check"):
                self.remember(frame.check)
            self.hub.hear(stream, frame)
        return True

    def remember(self, check: check_pb2.Check) -> None:
        """Note what a check that arrives now has to find."""
        header = parse_header(check.header, check.signature).fields
        wanted = self.checks.setdefault(header.check_id, set())
        asked = dict(zip(column(check.items.tokens, 16), column(check.items.references, 16), strict=True))
        for actor in self.actors.values():
            if actor.party.id != header.asker:
                held = actor.held(through=actor.party.published_through())
                for token, reference in asked.items():
                    if token.hex() in held:
                        wanted.add((header.asker, reference, actor.party.id, held[token.hex()]))

    def judge(self, certificate: check_pb2.Certificate) -> None:
        body = check_pb2.CertificateBody.FromString(certificate.body)
        covered = {one.holder for one in body.holders if one.state == check_pb2.HOLDER_STATE_COVERED}
        for asker, reference, holder, own in self.checks.pop(body.check_id, set()):
            # The hub has a name of its own for a partner's side.
            ours = partner_reference(asker, holder, own) if "/partner/" in asker else reference
            if holder in covered and self.ledger.live_edges([((asker, ours), (holder, own))]) == [None]:
                self.unfounded.append(holder)

    def pass_time(self, seconds: float) -> None:
        """Move the clock and do what is due."""
        self.clock.advance(seconds)
        self.hub.tick(self.clock.monotonic())

    def calm(self, *, limit_s: float) -> float:
        """End all faults and let time pass until nothing is to be done; return how long that took, in seconds."""
        started = self.clock.monotonic()
        present = {actor.party.id for actor in self.actors.values()}
        quiet = 0
        while quiet < 8 and self.clock.monotonic() - started < limit_s:
            for actor in self.actors.values():
                actor.tokenise()
                actor.dial(self.hub)
            self._settle()
            done = not self.hub.exchange.in_flight and all(self.is_done(one, present) for one in self.actors.values())
            attached = set(self.hub.exchange.attached()) == present
            quiet = quiet + 1 if done and attached else 0
            self.pass_time(TICK_S)
        self._settle()
        return self.clock.monotonic() - started

    def is_done(self, actor: Actor, present: set[str]) -> bool:
        """Tell whether a node has nothing more to do with those who are there."""
        return actor.is_done(present)

    def _settle(self) -> None:
        hub = self.hub
        for actor in self.actors.values():
            actor.take()
        while True:
            moved = any([actor.take() for actor in self.actors.values() if actor.stream and _waits(actor.stream)])  # noqa: C419 -- each of them
            moved = self.move_up() or moved
            if not (moved or hub.writes or hub.reads or hub.results):
                return
            hub.write()
            hub.read()
            hub.hand_back()

    def told_by_the_hub(self) -> Counter[tuple[str, bytes, str]]:
        """Return how often the ledger tells a recipient, for one of its references, of another party."""
        lists = {
            actor.party.id: self.ledger.notices_above(actor.party.id, 0, limit=10_000) for actor in self.actors.values()
        }
        told = [
            (party, check_pb2.Notice.FromString(one.content).told) for party, list_ in lists.items() for one in list_
        ]
        return Counter((party, one.own_reference, one.other) for party, one in told)

    def told(self) -> Iterator[tuple[str, str, str, int]]:
        """Return for each pair of holders of a kept strong value how often the second shows at the first."""
        for name, actor in self.actors.items():
            shown = [(row.own_reference, row.other) for row in actor.party.store.all_told() if row.state == "shown"]
            for other_name, other in self.actors.items():
                for token, reference in actor.held().items():
                    if name != other_name and token in other.held():
                        yield name, other_name, token, shown.count((reference, other.party.id))

    def unlike_events(self) -> list[str]:
        """Return the nodes that said another number of matches than they show."""
        return [
            name
            for name, actor in self.actors.items()
            if sum(isinstance(one, Told) for one in actor.party.events)
            != sum(row.state == "shown" for row in actor.party.store.all_told())
        ]


def _waits(stream: Stream) -> bool:
    return bool(stream.down or stream.notices)


GRADES: Final = (STRONG, STRONG, STRONG, WEAK)
