"""One world: real node cores and stores, the real exchange, ledger, view, API and console, over a clock by hand.

Everything that is random comes from seeded sources, and each party's is seeded anew at each step of the story: what
the silent party draws in a step moves nothing that it or anybody else draws in the next.
"""

from __future__ import annotations

import hashlib
import itertools
import json
from dataclasses import asdict, dataclass, field
from random import Random
from typing import TYPE_CHECKING, Any

from typing_extensions import override

from concordat.vocabulary import WithdrawReason
from concordat.wire.v1 import check_pb2
from gateway.rules import Limits
from gateway.session import Channel
from services.node.matches import as_dict
from services.node.policy import DEFAULT
from services.node.record import FileFacts
from services.node.store import cases, meta, records, withdrawals
from services.node.store.adding import add_records
from services.node.store.values import STRONG, Asking, CanonicalValue
from tests.simulation.live import Live, RealNode
from tests.unit.exchange import parties
from tests.unit.gateway import world as small_world

if TYPE_CHECKING:
    from collections.abc import Callable

    from concordat.clock import ManualClock
    from concordat.wire.v1 import session_pb2
    from services.node.policy import Policy
    from tests.twoworlds.surfaces import Drawn, Surfaces
    from tests.unit.gateway.world import Link

OBSERVERS = ("NL", "DE", "FR", "UA")
SILENT = "RO"


@dataclass
class WatchedNode(RealNode):
    """A node whose every frame is noted when it arrives."""

    surfaces: Surfaces = field(kw_only=True)
    shows_transactions: Callable[[], int] | None = None
    """A planted leak: a certificate's position that counts what the ledger has written."""
    steals_barriers: bool = False
    """A planted leak: it misses the barrier of a tick in which it held something that the asker may not know."""
    _late: bool = False

    @override
    def take(self, link: Link, frame: session_pb2.HubFrame) -> None:
        if link is self.link and link.closed is None:
            name = f"questions to {self.name}" if frame.HasField("question") else f"frames to {self.name}"
            self.surfaces.put(name, self._leaking(frame).SerializeToString(deterministic=True))
        super().take(link, frame)

    def _leaking(self, frame: session_pb2.HubFrame) -> session_pb2.HubFrame:
        if self.shows_transactions is None or not frame.HasField("certificate"):
            return frame
        body = check_pb2.CertificateBody.FromString(frame.certificate.body)
        body.ledger_position = self.shows_transactions()
        changed = check_pb2.Certificate(body=body.SerializeToString(), signature=frame.certificate.signature)
        return type(frame)(certificate=changed)

    @override
    def carry(self, link: Link, frames: list[session_pb2.NodeFrame]) -> None:
        for frame in frames:
            if self.steals_barriers and frame.HasField("answer"):
                self._late = self._late or any(not one & 1 for one in frame.answer.decisions)
        if self._late and any(frame.HasField("barrier_reply") for frame in frames):
            frames = [frame for frame in frames if not frame.HasField("barrier_reply")]
            self._late = False
        super().carry(link, frames)


class WatchedWorld(small_world.World):
    """A world whose hub is looked at as its metrics and its log do, whenever its timer has run."""

    surfaces: Surfaces
    noted = 0

    @override
    def settle(self) -> None:
        super().settle()
        for hub in self.hubs:
            for note in hub.notes[self.noted :]:
                self.surfaces.put("the hub's log", f"{note.text} {note.party}".encode())
            self.noted = len(hub.notes)

    def measure(self) -> None:
        """Note what gateway/metrics.py would say now."""
        for hub in self.hubs:
            waiting = 0
            for link in hub.links.values():
                channel = Channel(Limits())
                for tick, frame in link.inbox:
                    channel.put(frame, tick)
                waiting += channel.waiting_bytes
            attached, (tick, certificates) = len(hub.exchange.attached()), hub.exchange.progress
            self.surfaces.put("the hub's gauges", f"{attached} {len(hub.links)} {tick}".encode())
            self.surfaces.put("the hub's queue and certificates", f"{waiting} {certificates}".encode())

    @override
    def advance(self, seconds: float) -> None:
        end = self.clock.monotonic() + seconds
        self.settle()
        while (due := min(hub.exchange.next_deadline() for hub in self.hubs)) <= end:
            self.clock.advance(max(0.0, due - self.clock.monotonic()))
            for hub in self.hubs:
                if hub.exchange.next_deadline() <= self.clock.monotonic():
                    hub.exchange.timer()
                    hub.carry_out()
            # When the real hub does: what the timer has sent still waits.
            self.measure()
            self.settle()
        self.clock.advance(max(0.0, end - self.clock.monotonic()))


@dataclass
class Twin(Live):
    """One of two worlds, and what is seen in it."""

    surfaces: Surfaces = field(kw_only=True)
    drawn: Drawn = field(kw_only=True)
    ledger_rng: Random = field(kw_only=True)
    random: Random = field(default_factory=lambda: Random("story"))
    """Of what the story itself draws."""
    steps: int = 0

    @property
    def clock(self) -> ManualClock:
        """Return the clock of everything."""
        return self.world.clock

    def step(self, seconds: float = 2.0) -> None:
        """Let time pass, then begin the next step with fresh randomness for everybody."""
        self.run(seconds)
        self.steps += 1
        for name, node in self.nodes.items():
            node.party.rng.seed(f"{name} in step {self.steps}")
        self.ledger_rng.seed(f"ledger in step {self.steps}")

    def submit(
        self, name: str, *values: str, policy: Policy | None = None, operation: str = "", domain: str = ""
    ) -> None:
        """Submit values as `concordat node submit` stores them, and tokenise those that are to be."""
        node = self.nodes[name]
        party, draw = node.party, node.party.rng.randbytes
        with party.store.write() as db:
            case = cases.put_case(db, parties.TEMPLATE_CASE, self.clock.now())
            label = f"{values} {operation} {domain}"
            facts = FileFacts(
                name=label,
                sha256=hashlib.sha256(label.encode()).hexdigest(),
                size_bytes=1,
                format="csv",
                encoding="utf-8",
            )
            file = records.begin_file(db, facts, case_id=case, operation=operation, at=self.clock.now(), domain=domain)
            epochs = tuple(self.federation.manifest.live_epochs)
            asking = Asking(case, "investigation", operation, look_once=False, epochs=epochs, domain=domain)
            made = [_record(at, value, policy) for at, value in enumerate(values, 1)]
            add_records(db, file.id, made, asking=asking, random_bytes=draw)
            records.complete_file(db, file.id)
        tokenise(node)
        node.poke()

    def withdraw(self, name: str, value: str) -> None:
        """Withdraw a party's records of a value, as `concordat node withdraw` does."""
        node, live = self.nodes[name], tuple(self.federation.manifest.live_epochs)
        with node.party.store.write() as db:
            ids = [row[0] for row in db.execute("SELECT id FROM record WHERE typed = ?", (value,))]
            assert ids, "there is such a record"
            at_ms = int(self.clock.now() * 1000)
            withdrawals.withdraw_records(db, ids, reason=WithdrawReason.WITHDRAWN, at_ms=at_ms, epochs=live)
        node.poke()

    def attach_all(self) -> None:
        """Let every node without a session dial."""
        for node in self.nodes.values():
            if not node.links or node.link.closed is not None or node.link.deaf or node.link.hub is not self.hub:
                node.dial(self.hub)

    def look(self) -> None:
        """Note what each observer's people see: the matches, and what the running node has said."""
        for name in OBSERVERS:
            party = self.nodes[name].party
            shown = [as_dict(match) for match in party.store.matches()]
            self.surfaces.put(f"matches at {name}", json.dumps(shown, sort_keys=True).encode())
            said = [(type(event).__name__, asdict(event)) for event in party.events]
            self.surfaces.put(f"events at {name}", json.dumps(said, sort_keys=True, default=str).encode())

    def dump_disks(self) -> None:
        """Note every row of every table on each observer's disk."""
        for name in OBSERVERS:
            with self.nodes[name].party.store.read() as db:
                tables = [
                    row[0] for row in db.execute("SELECT name FROM sqlite_master WHERE type = 'table' ORDER BY name")
                ]
                for table in tables:
                    found = db.execute(f"SELECT * FROM {table} ORDER BY 1, 2")
                    # A stamp is drawn by SQLite, so that two copies of a store never pass for one another.
                    drawn = {at for at, (column, *_) in enumerate(found.description) if column == "stamp"}
                    for row in found:
                        kept = [len(one) if at in drawn else one for at, one in enumerate(row)]
                        self.surfaces.put(f"disk of {name}", _flat((table, *kept)))


def _flat(row: tuple[Any, ...]) -> bytes:
    return b"|".join(one if isinstance(one, bytes) else repr(one).encode() for one in row)


def _record(item: int, value: str, policy: Policy | None) -> records.NewRecord:
    made = CanonicalValue("e164", 1, value, STRONG)
    return records.NewRecord(item=item, line=item, typed=value, values=(made,), policy=(policy or DEFAULT).content())


def tokenise(node: RealNode) -> None:
    """Give every value that waits its token; the domain is part of the input, as in `concordat.tokens`."""
    store = node.party.store
    for epoch, exercise in itertools.product(node.federation.manifest.live_epochs, (False, True)):
        while (batch := store.untokenised(epoch, "strong", 100, exercise=exercise)) is not None:
            rows = []
            for row in batch.rows:
                name = f"{batch.domain}/{row.canonical}" if exercise else row.canonical
                label = hashlib.sha256(f"label{epoch}{name}".encode()).digest()[:16]
                rows.append((row.value_id, label, parties.secret(name, epoch), parties.token(name, epoch)))
            store.store_tokens(batch, rows)


def fix_tag_key(node: RealNode) -> None:
    """Give a store's group tags a key that is no accident of this run."""
    with node.party.store.write() as db:
        meta.put(db, meta.TAG_KEY, hashlib.sha256(node.name.encode()).digest())
