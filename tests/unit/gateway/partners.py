"""A partner in the small world: it has no session, and asks through `Exchange.query`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from concordat.protocol.macs import answer_mac
from concordat.wire.v1 import check_pb2
from tests.unit.gateway.world import Node

if TYPE_CHECKING:
    from gateway.query import QueryOutcome
    from tests.unit.gateway.world import Hub, World

E164, EMAIL, ACCOUNT = 1, 2, 3
LIFE_MS = 600_000


@dataclass
class Partner(Node):
    """A partner that keeps to the protocol unless a test makes it do otherwise; its references are stable."""

    def message(self, *values: str, **fields: object) -> check_pb2.Check:
        """Make a signed query."""
        self.keep(*values)
        expires_at_ms = int(self.clock.now() * 1000) + LIFE_MS
        usual: dict[str, Any] = {"look_once": True, "purpose": "investigation", "expires_at_ms": expires_at_ms}
        return self.check_message(*values, **(usual | fields))

    def ask(
        self, hub: Hub, message: check_pb2.Check, *, muted: frozenset[int] = frozenset(), namespaces: bytes = b""
    ) -> int:
        """Hand a query to the hub; return its number."""
        every = bytes([E164]) * len(message.items.grades)
        return hub.exchange.query(self.id, message, namespaces=namespaces or every, muted=muted)

    def query(self, world: World, *values: str, **fields: object) -> QueryOutcome:
        """Ask and let the window pass; return what came of it."""
        hub = world.hubs[-1]
        number = self.ask(hub, self.message(*values, **fields))
        world.settle()
        assert number not in hub.outcomes, "nothing leaves before the window's end"
        world.window()
        return hub.outcomes.pop(number)

    def verified(self, outcome: QueryOutcome) -> list[tuple[str, str]]:
        """Return value and holder of every hit, each with its answer MAC checked."""
        body = check_pb2.CertificateBody.FromString(outcome.certificate.body)
        sent = self.sent[body.check_id]
        found = []
        for hit in outcome.hits:
            value = sent.values[hit.position]
            references = (self.values[value], hit.reference)
            assert hit.own_reference == self.values[value]
            expected = answer_mac(self.secret_of(value), sent.header.hash, hit.party, references, hit.decision)
            assert hit.answer_mac == expected
            found.append((value, hit.party.rpartition("/")[2]))
        return found


def partner(world: World, name: str = "IJM") -> Partner:
    """Make a partner of the world."""
    return Partner(name, world.federation, world.clock)


def coverage(outcome: QueryOutcome) -> dict[str, str]:
    """Return what an outcome says of each holder, by short name."""
    return {
        one.party.rpartition("/")[2]: check_pb2.HolderState.Name(one.state).removeprefix("HOLDER_STATE_").lower()
        for one in outcome.coverage
    }
