"""What has to hold in every order of events, by number; `Watch` looks while things happen, `at_rest` when they have.

While things happen:

- I3a: no answer tells a party that was not entitled at some moment since the question was signed: a narrowing that was
  acknowledged before counts.
- I3b: no edge is live whose reference is buried (3.8).
- I6: where a certificate says 'covered', whoever held, visible to the asker, a value of the check, published before it
  arrived and unchanged since, is told of to the asker, durably.

When all faults have ended, everybody is attached and nothing is to be done:

- I3c: for every strong value that two nodes keep, each that the other's policy entitles shows the other exactly once,
  and its people were told so once by event; nobody shows whoever it was never entitled to.
- I3d: nobody shows a value that its holder has withdrawn; whoever was told of it has given a receipt.
- I9: each store holds exactly the records and policies that were acknowledged, and nothing waits for ever.
- I2: the hub holds no token.
- Nobody is blamed: no edge is refused, no party is named, where nothing was restored.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from sqlalchemy import and_, func, or_, select

from concordat.protocol.check import parse_header
from concordat.protocol.macs import ASKER_TOLD, HOLDER_TOLD
from concordat.tokens import column
from concordat.wire.v1 import check_pb2
from gateway import ledger_schema as schema
from gateway.answers import partner_reference
from services.node.events import EdgeVoided, EdgeWithdrawn, PartyRefused, Told
from services.node.store.values import STRONG
from tests.simulation.truth import NEVER, NODE_CLASS, PARTNER_CLASS, Wish
from tests.unit.exchange import parties

if TYPE_CHECKING:
    from concordat.wire.v1 import session_pb2
    from gateway.ledger import Committed
    from tests.simulation.world import SimActor as Actor
    from tests.simulation.world import World

EPOCHS = (1, 2, 3)


class Asked(NamedTuple):
    """A check that was signed: by whom, when, and the value of each position."""

    name: str
    at: int
    values: tuple[str, ...]


class Wanted(NamedTuple):
    """An edge that a certificate has to rest on."""

    asker: str
    reference: bytes
    holder: str
    holder_reference: bytes
    value: str
    since: int
    arrived: int


@dataclass
class Watch:
    """Holds what happens against the truth."""

    world: World
    values: tuple[str, ...]
    broken: list[str] = field(default_factory=list)
    asked: dict[bytes, Asked] = field(default_factory=dict)
    wanted: dict[bytes, list[Wanted]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        # A weak token is another one: alone it tells nobody.
        grades = ("strong", "weak")
        names = {(one, value): f"{one}{value}" for one in grades for value in self.values}
        self._values = {
            parties.token(name, epoch): value if grade == "strong" else ""
            for (grade, value), name in names.items()
            for epoch in EPOCHS
        }
        self.ids = {actor.party.id: name for name, actor in self.world.actors.items()}
        self._buried = False

    def fail(self, text: str) -> None:
        """Note that an invariant is broken."""
        line = f"{text} (event {self.world.truth.now})"
        self.world.trace(f"!! {line}")
        self.broken.append(line)

    # -- while things happen

    def said(self, actor: Actor, frames: list[session_pb2.NodeFrame]) -> None:
        """Look at what leaves a node."""
        for frame in frames:
            if frame.HasField("check"):
                self.signed(actor.party.name, frame.check)
            if frame.HasField("answer") and frame.answer.positions:
                self._answered(actor.party.name, frame.answer)

    def signed(self, name: str, check: check_pb2.Check) -> None:
        """Note a check of a node's or a partner's."""
        header = parse_header(check.header, check.signature).fields
        values = tuple(self._values[one] for one in column(check.items.tokens, 16))
        self.asked[header.check_id] = Asked(name, self.world.truth.now, values)

    def _answered(self, holder: str, answer: check_pb2.Answer) -> None:
        asked, truth = self.asked[answer.check_id], self.world.truth
        if asked.name not in truth.names:
            return
        for position, decision in zip(np.frombuffer(answer.positions, "<u4").tolist(), answer.decisions, strict=True):
            value = asked.values[position]
            if decision & ASKER_TOLD and truth.last_entitled(asked.name, holder, value) < asked.at:
                self.fail(f"I3a: {holder} tells {asked.name} of {value}, which it may not")
            if decision & HOLDER_TOLD and truth.last_entitled(holder, asked.name, value) < asked.at:
                self.fail(f"I3a: {holder} is told of {asked.name}'s {value}, which it may not")

    def written(self, committed: Committed) -> None:
        """Look at the ledger after a group of writes."""
        for one in committed.refused:
            for party in (one.refuser, one.other):
                if party in self.ids:
                    self.world.truth.disturb(self.ids[party])
        self._buried = self._buried or bool(committed.dead)
        if self._buried and self.dead_edges():
            self.fail("I3b: an edge is live with a reference that is buried")

    def dead_edges(self) -> int:
        """Return how many live edges have a buried side."""
        edge, grave = schema.edge.c, schema.tombstone.c
        one = and_(grave.party == edge.party_a, grave.reference == edge.reference_a)
        two = and_(grave.party == edge.party_b, grave.reference == edge.reference_b)
        query = select(func.count()).select_from(schema.edge.join(schema.tombstone, or_(one, two)))
        with self.world.ledger._reader.begin() as connection:
            return int(connection.scalar(query.where(edge.state == "live")) or 0)

    def arrived(self, check: check_pb2.Check) -> None:
        """Note what a check that arrives now has to find."""
        header, truth = parse_header(check.header, check.signature).fields, self.world.truth
        asked = self.asked[header.check_id]
        partner = asked.name not in truth.names
        wish = Wish(asked.name, PARTNER_CLASS if partner else NODE_CLASS, header.purpose, header.operation)
        found = self.wanted[header.check_id] = []
        items = zip(column(check.items.tokens, 16), column(check.items.references, 16), asked.values, strict=True)
        held = {name: self._held(actor) for name, actor in self.world.actors.items() if name != asked.name}
        for token, reference, value in items:
            if not value:
                continue
            for holder, references in held.items():
                own = references.get(token)
                if own is not None and truth.lets(holder, value, wish):
                    ours = (
                        partner_reference(header.asker, self.world.federation.id(holder), own) if partner else reference
                    )
                    found.append(Wanted(asked.name, ours, holder, own, value, asked.at, truth.now))

    @staticmethod
    def _held(actor: Actor) -> dict[bytes, bytes]:
        held = actor.held(through=actor.party.published_through())
        return {bytes.fromhex(token): reference for token, reference in held.items()}

    def certified(self, certificate: check_pb2.Certificate) -> None:
        """Hold a certificate against what is durable (I6)."""
        body = check_pb2.CertificateBody.FromString(certificate.body)
        covered = {self.ids.get(one.holder) for one in body.holders if one.state == check_pb2.HOLDER_STATE_COVERED}
        for one in self.wanted.pop(body.check_id, ()):
            truth, partner = self.world.truth, one.asker not in self.world.truth.names
            same = truth.unchanged(one.holder, one.value, one.arrived) and (
                partner or truth.unchanged(one.asker, one.value, one.since)
            )
            if one.holder in covered and same and not self._is_told(one):
                self.fail(f"I6: {one.holder} is covered, and {one.asker} is not told of its {one.value}")

    def _is_told(self, one: Wanted) -> bool:
        told, ids = schema.told.c, self.world.federation
        query = select(told.edge_id).where(
            told.recipient == ids.id(one.asker), told.reference == one.reference, told.other == ids.id(one.holder)
        )
        with self.world.ledger._reader.begin() as connection:
            return connection.execute(query).first() is not None

    # -- when all is quiet

    def at_rest(self, *, took_s: float, limit_s: float) -> None:
        """Look at everything once nothing is to be done."""
        if took_s >= limit_s:
            self.fail(f"I3c: somebody is pending, or something waits, for ever: {self._waiting()}")
        if self.world.hub.exchange.in_flight:
            self.fail("I2: the hub holds tokens")
        for name, actor in self.world.actors.items():
            self._records(name, actor)
            self._told(name, actor)
            self._events(name, actor)
        if not self.world.ledger_restored and self._receipts_owed():
            self.fail("I3d: somebody who was told of what was withdrawn gave no receipt")
        if self.dead_edges():
            self.fail("I3b: an edge is live with a reference that is buried")

    def _waiting(self) -> str:
        world = self.world
        present = {actor.party.id for actor in world.actors.values()}
        busy = [name for name, actor in world.actors.items() if not world.is_done(actor, present)]
        away = [name for name, actor in world.actors.items() if actor.party.id not in world.hub.exchange.attached()]
        return f"busy {busy}, away {away}, checks {world.hub.exchange.in_flight}"

    def _records(self, name: str, actor: Actor) -> None:
        if not actor.party.store.all_published():
            self.fail(f"I9: {name} never says that all it holds is published")
        if actor.party.accepted() != self.world.truth.policies(name):
            self.fail(f"I9: the store of {name} does not hold what was acknowledged")

    def _told(self, name: str, actor: Actor) -> None:
        truth = self.world.truth
        values = actor.party.values()
        rows = [row for row in actor.party.store.all_told() if row.state == "shown"]
        shown: Counter[tuple[str, str]] = Counter()
        for row in rows:
            value, grade = values.get(row.own_reference, ("", STRONG))
            if grade != STRONG:
                self.fail(f"I3c: {name} shows a lone weak coincidence")
            elif value:
                shown[self.ids.get(row.other, row.other), value] += 1
        for other in truth.names:
            for value in self.values if other != name else ():
                count = shown[other, value]
                must = truth.entitled(name, other, value, truth.tables[-1], kept=True)
                may = truth.last_entitled(name, other, value) != NEVER
                if (must and count != 1) or count > int(may):
                    self.fail(f"I3c: {name} shows {other}'s {value} {count} times, entitled: now {must}, ever {may}")
                gone = not any(one.value == value for one in truth.records[other].values())
                if count and gone and (other, value) not in truth.ghosts:
                    self.fail(f"I3d: {name} shows {other}'s {value}, which is withdrawn")

    def _events(self, name: str, actor: Actor) -> None:
        events = actor.party.events
        told = Counter((one.handle, one.other) for one in events if isinstance(one, Told))
        ended = Counter(one.other for one in events if isinstance(one, EdgeVoided | EdgeWithdrawn))
        for (_, other), times in told.items():
            if times > 1 + ended[other]:
                self.fail(f"I3c: the people of {name} were told {times} times of one match with {other}")
        if self.world.restored or self.world.ledger_restored:
            return
        named = [one for one in events if isinstance(one, PartyRefused)]
        if named or actor.party.store.incidents():
            self.fail(f"{name} blames an honest party")

    def _receipts_owed(self) -> int:
        table = schema.receipt
        with self.world.ledger._reader.begin() as connection:
            query = select(func.count()).select_from(table).where(table.c.message.is_(None))
            return int(connection.scalar(query) or 0)
