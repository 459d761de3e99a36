"""The world of the simulation: the federation of `orders`, with policies, withdrawals, backups and new manifests.

Each node decides through the real policy journal and store; the ledger is a file that can be put back from a copy. What
the world does to itself it tells the `Truth`, by which the `Watch` judges it.
"""

from __future__ import annotations

import sqlite3
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import event

from concordat.clock import MS
from concordat.vocabulary import Purpose, WithdrawReason
from gateway.database import open_engine
from services.node.exchange.publisher import Publisher
from services.node.journal import Entry, Journal
from services.node.policy import DEFAULT, Policy
from services.node.store import cases, policies, withdrawals
from services.node.store.database import Database
from services.node.store.store import Store
from services.node.store.values import STRONG, Asking, CanonicalValue
from tests.simulation.orders import Actor, DisklessParty, HubProcess, Orders
from tests.simulation.truth import Record, Table, Truth
from tests.unit.exchange import parties

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from sqlalchemy import Engine

    from concordat.identity.manifest import Manifest
    from concordat.wire.v1 import check_pb2, session_pb2
    from gateway.ledger import Committed, Ledger

CHUNK: Final = 64
LOST: Final = 0.2


class SlowPublisher(Publisher):
    """Sends a snapshot in many small chunks, so that much can happen beside it."""

    chunk_bytes = CHUNK


class SimParty(DisklessParty):
    """A party whose decisions go through its journal, and whose parts may be other ones than usual."""

    store_class: type[Store] = Store
    parts: dict[str, type[Any]] = {}  # noqa: RUF012 -- replaced whole, per world
    """Part of the core -> its class in place of the usual one."""
    events_kept = 0
    held_then: frozenset[bytes] = frozenset()
    """Records in the backup."""

    @property
    def journal(self) -> Journal:
        """Return the journal, which no backup reaches."""
        return Journal(self.folder / f"{self.name}-journal.jsonl")

    def _open(self) -> Store:
        plain = super()._open()
        if self.store_class is Store:
            return plain
        plain.close()
        connection = sqlite3.connect(self.path, isolation_level=None, check_same_thread=False)
        connection.execute("PRAGMA synchronous = OFF")
        return self.store_class(Database(connection), self.clock)

    def _core(self) -> Any:
        core = super()._core()
        for name, part in ({"publisher": SlowPublisher} | self.parts).items():
            getattr(core, f"_{name}").__class__ = part
        return core

    def restart(self) -> None:
        """Start the process again, as `services.node.daemon` does."""
        super().restart()
        self._catch_up()

    def back_up(self) -> None:
        """Keep a copy of the store, and of what people had seen by then."""
        super().back_up()
        self.events_kept = len(self.events)

    def restore(self) -> None:
        """Go back to the copy; the journal stays."""
        if self.copy is not None:
            super().restore()
            del self.events[self.events_kept :]
            self._catch_up()

    def _catch_up(self) -> None:
        for epoch in self.federation.manifest.live_epochs:
            # As the tokeniser does at its start.
            self.store.add_epoch(epoch)
        if self.journal.replay(self.store):
            self.store.renew_incarnation(self.rng.randbytes)

    def put(self, record: Record, grade: int = STRONG) -> Record:
        """Store one record; return it with its uid."""
        epochs = self.federation.manifest.live_epochs
        case = parties.TEMPLATE_CASE.model_copy(
            update={"purpose": Purpose(record.purpose), "reference": f"case of {record.purpose}"}
        )
        with self.store.write() as db:
            case_id = cases.put_case(db, case, self.clock.now())
            asking = Asking(
                case_id, record.purpose, record.operation, record.look_once, epochs, compared=record.compared
            )
            value = CanonicalValue("e164", 1, record.value, grade)
            parties.put_record(db, [value], asking, random_bytes=self.rng.randbytes, policy=record.policy)
            record.uid = db.execute("SELECT uid FROM record ORDER BY id DESC LIMIT 1").fetchone()[0]
        return record

    def decide(self, uid: bytes, policy: Policy, *, ask: bool) -> None:
        """Give a record another policy, as `services.node.decisions` does."""
        with self.journal.changing(self.store) as change:
            change.add([self._entry(uid, policy=policy)])
            epochs = self.federation.manifest.live_epochs
            policies.set_policy(change.db, uid, policy.content(), epochs=epochs, ask=ask)

    def withdraw(self, uid: bytes) -> None:
        """Withdraw a record, as `services.node.decisions` does."""
        with self.journal.changing(self.store) as change:
            change.add([self._entry(uid, reason=WithdrawReason.WITHDRAWN)])
            ids = [one for (one,) in change.db.execute("SELECT id FROM record WHERE uid = ?", (uid,))]
            withdrawals.withdraw_records(
                change.db,
                ids,
                reason=WithdrawReason.WITHDRAWN,
                at_ms=int(self.clock.now() * MS),
                epochs=self.federation.manifest.live_epochs,
            )

    def _entry(self, uid: bytes, *, policy: Policy | None = None, reason: WithdrawReason | None = None) -> Entry:
        return Entry(
            what="policy" if reason is None else "withdraw",
            uid=uid.hex(),
            at_ms=int(self.clock.now() * MS),
            policy=policy,
            reason=reason,
        )

    def accepted(self) -> dict[bytes, str]:
        """Return what the store says of its live records."""
        with self.store.read() as db:
            rows = db.execute(
                "SELECT r.uid, p.content FROM record r LEFT JOIN policy p ON p.id = r.policy_id"
                " WHERE r.status = 'accepted'"
            ).fetchall()
        return {bytes(uid): content if content is not None else DEFAULT.content() for uid, content in rows}

    def values(self) -> dict[bytes, tuple[str, int]]:
        """Return (canonical, grade) of each reference."""
        with self.store.read() as db:
            rows = db.execute("SELECT reference, canonical, grade FROM value").fetchall()
        return {bytes(reference): (canonical, grade) for reference, canonical, grade in rows}


@dataclass
class SimActor(Actor):
    """A node of this world."""

    party: SimParty


@dataclass
class World(Orders):
    """The federation, the dice, and the truth."""

    folder: Path = field(kw_only=True)
    new_engine: Callable[[Path], Engine] = field(kw_only=True)
    open_ledger: Callable[[Engine], Ledger] = field(kw_only=True)
    trace: Callable[[str], None] = field(default=lambda _: None, kw_only=True)
    unacknowledged: bool = field(default=False, kw_only=True)
    """Nodes acknowledge before they commit: what a crash takes back has left."""
    watch: Any = field(default=None, kw_only=True)
    actors: dict[str, SimActor]  # type: ignore[assignment]  # these are all of the narrower kind
    families: set[str] = field(default_factory=set, kw_only=True)

    def __post_init__(self) -> None:
        self.copies = 0
        self.ledger_copy: tuple[bytes, int] | None = None
        self.ledger_restored = self.restored = False
        self.manifest: Manifest = self.federation.manifest
        super().__post_init__()
        self.truth = Truth(tuple(self.actors), [table_of(self.manifest)])
        self.checked = 0
        for actor in self.actors.values():
            actor.on_said = self._said
        self._listen()

    # -- what is heard of it

    def _said(self, actor: Actor, frames: list[session_pb2.NodeFrame]) -> None:
        if frames:
            kinds = ", ".join(str(frame.WhichOneof("frame")) for frame in frames)
            self.trace(f"  {actor.party.name} says {kinds}")
            self.watch.said(self.actors[actor.party.name], frames)

    def _listen(self) -> None:
        self.hub.on_written = self._written

    def _written(self, committed: Committed) -> None:
        if committed.notices:
            told = ", ".join(one.recipient.rpartition("/")[2] for one in committed.notices)
            self.trace(f"  the ledger keeps notices for {told}")
        self.watch.written(committed)

    def remember(self, check: check_pb2.Check) -> None:
        """Note what a check that arrives now has to find."""
        self.watch.arrived(check)

    def judge(self, certificate: check_pb2.Certificate) -> None:
        """Hold a certificate against the truth."""
        self.watch.certified(certificate)

    # -- what happens to it

    def restart_hub(self) -> None:
        """Kill the hub and start it again."""
        super().restart_hub()
        self._listen()

    def _start(self) -> HubProcess:
        kept, self.federation = self.federation, parties.Federation(self.manifest, self.federation.keys)
        try:
            return super()._start()
        finally:
            self.federation = kept

    def back_up_ledger(self) -> None:
        """Copy the ledger's file."""
        path = self.folder / f"ledger-{self.copies}.db"
        connection = sqlite3.connect(path)
        self.ledger_copy = (connection.serialize(), self.truth.now)
        connection.close()

    def restore_ledger(self) -> None:
        """Put the copy back; its operator says so, as docs/ledger.md asks."""
        assert self.ledger_copy is not None
        while self.hub.writes and self.rng.random() < 0.5:
            self.hub.write(silent=True)
        self.hub.writes.clear()
        self.copies += 1
        path = self.folder / f"ledger-{self.copies}.db"
        path.write_bytes(self.ledger_copy[0])
        path.chmod(0o600)
        self.ledger = self.open_ledger(self.new_engine(path))
        self.ledger.renew()
        self.ledger_restored = True
        self.restart_hub()

    def new_manifest(self, **changes: object) -> None:
        """Let the hub hold a new manifest; nodes learn of it when they are refused, or by themselves."""
        self.manifest = type(self.manifest).model_validate(self.manifest.model_dump() | changes)
        self.truth.tables.append(table_of(self.manifest))
        for name in self.actors:
            self.truth.disturb(name)
        self.restart_hub()

    def learn(self, actor: Actor) -> None:
        """Let a node that has no session take the newest manifest."""
        party = actor.party
        if actor.stream is not None or party.federation.manifest is self.manifest:
            return
        party.federation = parties.Federation(self.manifest, self.federation.keys)
        for epoch in self.manifest.live_epochs:
            party.store.add_epoch(epoch)
        party.core.use_identity(party.federation.identity(party.name))

    def calm(self, *, limit_s: float) -> float:
        """End all faults: everybody reads the newest manifest, attaches, and time passes."""
        for actor in self.actors.values():
            if actor.party.federation.manifest is not self.manifest and actor.stream is not None:
                actor.hang_up(actor.stream)
            self.learn(actor)
        return super().calm(limit_s=limit_s)

    def is_done(self, actor: Actor, present: set[str]) -> bool:
        """Tell whether a node has nothing to do with those that its agreement names, and says nothing more."""
        party = actor.party
        own, manifest = self.manifest.party(party.name), self.manifest
        reachable = {one for one in present if one != own.id and manifest.agreed(own, manifest.party_by_id(one))}
        with party.store.read() as db:
            owed = withdrawals.unburied(db, 1)
        taken = party.store.notice_cursor() == self.ledger.last_cursor(party.id)
        return actor.is_done(reachable) and not owed and taken and not party.store.plane_is_stale()

    def take(self, actor: SimActor, *, dies: bool = False) -> None:
        """Let a node take frames; where it dies, after it has written and before it speaks."""
        stream = actor.stream
        if not (dies and self.unacknowledged) or stream is None:
            actor.take(dies=dies)
            return
        # The mutant: its answers leave, and what they speak of is lost.
        kept: tuple[bytes | None, int] = actor.party.copy, actor.party.events_kept
        actor.party.back_up()
        actor.take()
        if actor.stream is not None:
            actor.die(noticed=False)
        self._lose_commit(actor.party)
        actor.party.copy, actor.party.events_kept = kept

    @contextmanager
    def uncommitted(self, actor: SimActor) -> Iterator[None]:
        """Let a node die right after it has acknowledged a submit; the mutant had not committed it by then."""
        dies = self.unacknowledged and "deaths" in self.families and self.rng.random() < LOST
        party = actor.party
        kept = party.copy, party.events_kept
        if dies:
            party.back_up()
        yield
        if dies:
            actor.die(noticed=False)
            self._lose_commit(party)
            party.copy, party.events_kept = kept

    @staticmethod
    def _lose_commit(party: Any) -> None:
        party.store.close()
        for ending in ("-wal", "-shm"):
            party.path.with_name(party.path.name + ending).unlink(missing_ok=True)
        party.path.write_bytes(party.copy)
        del party.events[party.events_kept :]
        party.store = party._open()
        party.core = party._core()


def table_of(manifest: Manifest) -> Table:
    """Return the agreement of a manifest in plain words."""
    return {name: frozenset(one.value for one in classes) for name, classes in manifest.opt_in.items()}


def quick_engine(path: Path) -> Engine:
    """Open a ledger's file without waiting for the disk."""
    engine = open_engine(path)
    event.listen(engine, "connect", lambda one, _: one.execute("PRAGMA synchronous = OFF"))
    return engine
