"""The hub operator and a partner: the real view, API and console, read whenever the real hub would have them read."""

from __future__ import annotations

import asyncio
import secrets
import threading
from contextlib import aclosing
from dataclasses import dataclass, field
from datetime import UTC
from typing import TYPE_CHECKING, Any, Final, cast

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from concordat.api.model import QueryItem, QueryRequest
from concordat.api.operator import STATE_EVENT
from concordat.client.sse import EventReader
from concordat.protocol.check import EVERYONE, audience_hash
from concordat.protocol.macs import ask_macs
from concordat.tokens import column
from gateway.api.app import build_app
from gateway.api.context import ApiContext
from gateway.api.operator import event_lines
from gateway.operations_view import operation_states
from gateway.view import OperatorView, Stored
from services.console.app import HERE, Pages
from services.console.feed import Feed
from services.console.page import REPORT_ROWS, TILES, Clockwork, cell
from tests.unit.api.api_world import ApiClient, RelayByHand, http_of
from tests.unit.exchange import parties
from tests.unit.gateway.query_world import WorldHub

if TYPE_CHECKING:
    from collections.abc import Coroutine

    from gateway.operations_store import OperationStore
    from services.console.login import Door
    from tests.twoworlds.twin import Twin

# Random by design, and about the connection: nothing that anybody holds is in them.
NOT_COMPARED: Final = frozenset({"dpop-nonce", "date"})
LIFE_MS: Final = 600_000


class Loop:
    """An event loop in a thread, so that a world that is moved by hand may wait for it from anywhere."""

    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self.loop.run_forever, daemon=True)
        self._thread.start()

    def run(self, work: Coroutine[Any, Any, Any]) -> Any:
        """Run a coroutine to its end."""
        return asyncio.run_coroutine_threadsafe(work, self.loop).result(60)

    def close(self) -> None:
        """End it."""
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join(10)
        self.loop.close()


@dataclass
class Readers:
    """The operator's console and the partner IJM of one world."""

    twin: Twin
    store: OperationStore
    homes: Any
    loop: Loop = field(default_factory=Loop)
    counts_all_edges: bool = False
    """A planted leak: the page counts edges of which one side only was told."""
    shown: tuple[int, int] = (0, 0)

    def __post_init__(self) -> None:
        twin, manifest = self.twin, self.twin.federation.manifest
        self.view = OperatorView(
            manifest,
            gateway=manifest.gateways[0].spiffe,
            attached=self._attached,
            read=self._read,
            clock=twin.clock,
        )
        self.feed = Feed(cast("Any", None), clock=twin.clock, most=4)
        templates = Environment(
            loader=FileSystemLoader(HERE / "templates"), autoescape=True, undefined=StrictUndefined, trim_blocks=True
        )
        self.pages = Pages(self.feed, cast("Door", None), Clockwork(UTC), templates)
        context = ApiContext(
            home=self.homes("gateway/g1"),
            clock=twin.clock,
            hub=cast("Any", WorldHub(twin.world)),
            operations=self.store,
            view=self.view,
            relay=RelayByHand(),
            random_bytes=secrets.token_bytes,
        )
        self.app = build_app(context)

    def _attached(self) -> list[str]:
        return self.twin.hub.exchange.attached()

    def _read(self) -> Stored:
        edges = self.twin.world.ledger.visible_edges()
        if self.counts_all_edges:
            with self.twin.world.ledger._engine.connect() as db:
                query = "SELECT party_a, party_b, namespace, count(*) FROM edge GROUP BY 1, 2, 3"
                edges = {(a, b, n): count for a, b, n, count in db.exec_driver_sql(query)}
        return Stored(edges, operation_states(self.twin.world.ledger._engine))

    def refresh(self) -> None:
        """Read the view again where the hub's process would, and note what the operator gets from it."""
        now = (sum(hub.shown for hub in self.twin.world.hubs), self.twin.hub.exchange.turns)
        self.twin.surfaces.put("readings of the operator's view", repr(now).encode())
        if now != self.shown:
            self.shown = now
            self.loop.run(self._refresh())

    async def _refresh(self) -> None:
        put = self.twin.surfaces.put
        await self.view.refresh()
        put("the operator's state", (await self.view.state()).model_dump_json().encode())
        until = self.twin.clock.now() + 300
        async with aclosing(event_lines(self.view, "console", clock=self.twin.clock, until=until)) as lines:
            line = await anext(lines)
        put("the operator's stream", line)
        (event,) = EventReader().feed(line)
        assert event.event == STATE_EVENT
        self.feed._take(event)
        put("the console's event", self.pages.event())
        page = self.pages.page()
        html = self.pages.html(
            "page.html", page=page, frame=self.pages.frame, cell=cell, tiles=TILES, rows=REPORT_ROWS, zone="UTC"
        )
        put("the console's page", bytes(html.body))

    def ask(self, *values: str) -> None:
        """Let the partner query values through the API, and note the whole response."""
        self._request("partner/IJM", "POST", "/v1/queries", self._query(values))

    def read_report(self, operation: str) -> None:
        """Let the partner read a report through the API, and note the whole response."""
        self._request("partner/IJM", "GET", f"/v1/operations/{operation}/report", None)

    def read_state(self) -> None:
        """Let the console read the state through the API, and note the whole response."""
        self._request("console/console", "GET", "/v1/operator/state", None)

    def _request(self, who: str, method: str, path: str, body: Any) -> None:
        async def go() -> None:
            async with http_of(self.app) as http:
                client = ApiClient(self.homes(who), http, self.twin.clock, str(self.homes("gateway/g1").identity))
                await client.log_in()
                answer = await client.send(method, path, **({} if body is None else {"json": body}))
                headers = sorted((name, value) for name, value in answer.headers.items() if name not in NOT_COMPARED)
                self.twin.surfaces.put(
                    f"the API to {who}", repr((answer.status_code, headers)).encode() + answer.content
                )

        # In a loop of its own: the request moves the world, and the world waits for the view's loop.
        asyncio.run(go())

    def _query(self, values: tuple[str, ...]) -> Any:
        twin, clock = self.twin, self.twin.clock
        asker = parties.AskerByHand("IJM", twin.federation, clock)
        header = asker.header(
            len(values),
            check_id=twin.random.randbytes(16),
            look_once=True,
            audience_hash=audience_hash(parties.SALT, EVERYONE),
            expires_at_ms=int(clock.now() * 1000) + LIFE_MS,
        )
        tokens = b"".join(parties.token(value) for value in values)
        references = b"".join(parties.token(f"reference of IJM's {value}") for value in values)
        macs = ask_macs(b"".join(parties.secret(value) for value in values), header.hash, tokens, references)
        columns = zip(column(tokens, 16), column(references, 16), column(macs, 32), strict=True)
        request = QueryRequest(
            header=header.raw,
            signature=header.signature,
            audience_salt=parties.SALT,
            items=tuple(QueryItem(token=t, reference=r, ask_mac=m, namespace="e164") for t, r, m in columns),
        )
        return request.model_dump(mode="json")
