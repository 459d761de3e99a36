"""The route's own function over the small world: from a partner's body to the bytes of its response."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from concordat.api.model import QueryItem, QueryRequest, QueryResponse, Result
from concordat.tokens import column
from gateway.api.access import Caller
from gateway.api.queries import answer_query

if TYPE_CHECKING:
    from collections.abc import Sequence

    from concordat.wire.v1 import check_pb2
    from gateway.query import QueryOutcome
    from tests.unit.gateway.partners import Partner
    from tests.unit.gateway.world import Node, World


@dataclass
class WorldHub:
    """A hub whose window passes while the caller waits."""

    world: World
    asked: int = 0

    async def query(
        self, asker: str, message: check_pb2.Check, *, namespaces: bytes, muted: frozenset[int]
    ) -> QueryOutcome:
        """Ask the nodes of the world, and return with the certificate."""
        self.asked += 1
        hub = self.world.hubs[-1]
        number = hub.exchange.query(asker, message, namespaces=namespaces, muted=muted)
        self.world.window()
        outcome = hub.outcomes.pop(number)
        hits = [replace(hit, handle=self.world.ledger.handle(asker, hit.own_reference)) for hit in outcome.hits]
        return replace(outcome, hits=tuple(hits))


def body(message: check_pb2.Check, namespaces: Sequence[str]) -> QueryRequest:
    """Return a query as a partner's client would send it."""
    items = message.items
    columns = zip(column(items.tokens, 16), column(items.references, 16), column(items.ask_macs, 32), strict=True)
    return QueryRequest(
        header=message.header,
        signature=message.signature,
        audience_salt=message.audience_salt,
        items=tuple(
            QueryItem(token=token, reference=reference, ask_mac=mac, namespace=namespace)
            for (token, reference, mac), namespace in zip(columns, namespaces, strict=True)
        ),
    )


def post(
    world: World,
    asker: Partner,
    message: check_pb2.Check,
    *,
    namespaces: Sequence[str] = (),
    hub: WorldHub | None = None,
    caller: Node | None = None,
) -> QueryResponse:
    """Send a query through the route's function; return what the partner gets."""
    manifest = world.federation.manifest
    count = len(message.items.grades)
    who = Caller(manifest.party((caller or asker).name))
    answer = answer_query(
        body(message, namespaces or ["e164"] * count),
        who,
        hub=hub or WorldHub(world),
        manifest=manifest,
        now=world.clock.now(),
    )
    return asyncio.run(answer)


def results(response: QueryResponse) -> list[Result]:
    """Return the result of each item."""
    return [one.result for one in response.results]
