"""A partner among random orders: it asks through the hub's process, and holds every outcome against the truth."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from concordat.protocol.check import EVERYONE, SignedHeader, audience_hash, sign_header
from concordat.protocol.macs import answer_mac, ask_macs
from concordat.tokens import NAMESPACE_NUMBERS
from concordat.wire.v1 import check_pb2
from gateway.answers import partner_reference
from tests.unit.exchange import parties

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gateway.effects import Answered
    from tests.simulation.orders import HubProcess, Orders

LIFE_MS = 600_000
Hits = dict[str, set[str]]
"""Value -> short names of the holders that answered."""


@dataclass(frozen=True)
class Sent:
    """A query under way: what was asked, and which holders had published what before it arrived."""

    header: SignedHeader
    values: tuple[str, ...]
    published: frozenset[tuple[str, str]]


@dataclass
class AskingPartner:
    """A partner whose references are stable, as the SDK's are."""

    name: str
    orders: Orders
    references: dict[str, bytes] = field(default_factory=dict)
    hub: HubProcess | None = None
    """The process that was asked last."""
    waiting: dict[int, Sent] = field(default_factory=dict)
    outcomes: list[Hits] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)
    """What an outcome said that is not so."""

    @property
    def id(self) -> str:
        """Return its SPIFFE id."""
        return self.orders.federation.id(self.name)

    def ask(self, values: Sequence[str]) -> None:
        """Send a query to the hub that runs now; who waited at an earlier one waits no more."""
        hub, orders = self.orders.hub, self.orders
        if hub is not self.hub:
            self.hub, hub.on_answer = hub, self._take
            self.waiting.clear()
        message = self._message(values)
        orders.remember(message)
        namespaces = bytes([NAMESPACE_NUMBERS["e164"]]) * len(values)
        number = hub.exchange.query(self.id, message, namespaces=namespaces, muted=frozenset())
        header = SignedHeader(message.header, message.signature, check_pb2.CheckHeader.FromString(message.header))
        self.waiting[number] = Sent(header, tuple(values), frozenset(self._published(values)))
        hub.carry_out()

    def _published(self, values: Sequence[str]) -> list[tuple[str, str]]:
        found = []
        for name, actor in self.orders.actors.items():
            held = actor.held(through=actor.party.published_through())
            found += [(value, name) for value in values if _token(value).hex() in held]
        return found

    def _message(self, values: Sequence[str]) -> check_pb2.Check:
        orders, manifest = self.orders, self.orders.federation.manifest
        for value in values:
            self.references.setdefault(value, orders.rng.randbytes(16))
        now_ms = int(orders.clock.now() * 1000)
        fields = check_pb2.CheckHeader(
            federation=manifest.federation,
            manifest_hash=manifest.hash,
            asker=self.id,
            check_id=orders.rng.randbytes(16),
            purpose="investigation",
            justification_hash=b"j" * 32,
            count=len(values),
            issued_at_ms=now_ms,
            expires_at_ms=now_ms + LIFE_MS,
            epoch=manifest.epochs.current,
            audience_hash=audience_hash(parties.SALT, EVERYONE),
            look_once=True,
        )
        header = sign_header(fields, orders.federation.keys[self.name])
        tokens = b"".join(_token(value) for value in values)
        references = b"".join(self.references[value] for value in values)
        secrets = b"".join(_secret(value) for value in values)
        return check_pb2.Check(
            header=header.raw,
            signature=header.signature,
            items=check_pb2.CheckItems(
                tokens=tokens,
                references=references,
                ask_macs=ask_macs(secrets, header.hash, tokens, references),
                grades=bytes([check_pb2.GRADE_STRONG]) * len(values),
            ),
            audience_salt=parties.SALT,
            audience_sets=EVERYONE,
        )

    def _take(self, answered: Answered) -> None:
        sent = self.waiting.pop(answered.query)
        hits: Hits = {value: set() for value in sent.values}
        for hit in answered.outcome.hits:
            value = sent.values[hit.position]
            expected = answer_mac(
                _secret(value),
                sent.header.hash,
                hit.party,
                (self.references[value], hit.reference),
                hit.decision,
            )
            if hit.answer_mac != expected or hit.own_reference != self.references[value]:
                self.wrong.append("a hit is not proven")
            ends = ((self.id, partner_reference(self.id, hit.party, hit.reference)), (hit.party, hit.reference))
            if self.orders.ledger.live_edges([ends]) == [None]:
                self.wrong.append("a hit is not durable")
            hits[value].add(hit.party.rpartition("/")[2])
        covered = {
            one.party.rpartition("/")[2]
            for one in answered.outcome.coverage
            if one.state == check_pb2.HOLDER_STATE_COVERED
        }
        # I6: whoever is covered and had published a value has answered it.
        self.wrong += [
            f"{name} is covered and did not answer"
            for value, name in sent.published
            if name in covered and name not in hits[value]
        ]
        if "RO" in covered or any("RO" in names for names in hits.values()):
            self.wrong.append("who did not opt in was asked")
        self.outcomes.append(hits)

    def shown(self, value: str) -> dict[str, int]:
        """Return how often each holder shows that this partner looked for a value, by short name."""
        found = {}
        for name, actor in self.orders.actors.items():
            reference = actor.held().get(_token(value).hex())
            if reference is not None:
                rows = [row for row in actor.party.store.all_told() if row.state == "shown"]
                found[name] = sum((row.own_reference, row.other) == (reference, self.id) for row in rows)
        return found


def _token(value: str) -> bytes:
    return parties.token(f"strong{value}")


def _secret(value: str) -> bytes:
    return parties.secret(f"strong{value}")
