"""A gateway and nodes in one process, over real mTLS; tokens are made by hand, so that no custodian is needed."""

from __future__ import annotations

import asyncio
import secrets
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from concordat.clock import SystemClock
from concordat.identity.home import load_home
from gateway.config import GatewaySettings
from gateway.service import open_foundation, open_gateway
from services.node.case import parse_case, template
from services.node.daemon import run_node
from services.node.store.store import FILE_NAME, Store
from services.node.store.values import STRONG, Asking, CanonicalValue
from services.node.submit import wake
from tests.unit.exchange.parties import put_values

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

    from services.node.events import Event

WAIT_S = 20.0


@asynccontextmanager
async def gateway(folder: Path, settings: GatewaySettings | None = None) -> AsyncIterator[None]:
    """Serve the gateway of a federation's folder."""
    home = load_home(next((folder / "gateway").iterdir()), clock=SystemClock())
    settings = settings or GatewaySettings()
    with open_foundation(home, settings, clock=SystemClock()) as foundation:
        async with open_gateway(foundation, settings.server(home)) as running:
            await running.server.start()
            try:
                yield
            finally:
                await running.server.stop(0)


async def until(happened: Callable[[], bool]) -> None:
    """Wait for something to be true."""
    async with asyncio.timeout(WAIT_S):
        while True:
            if happened():
                return
            await asyncio.sleep(0.02)


@dataclass
class Running:
    """A node process in a task, and what it said."""

    folder: Path
    events: list[Event] = field(default_factory=list)
    stop: asyncio.Event = field(default_factory=asyncio.Event)
    task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Start the node."""
        self.stop.clear()
        self.task = asyncio.create_task(run_node(self.folder, stop=self.stop, events=self.events.append))

    async def until(self, happened: Callable[[], bool]) -> None:
        """Wait for something, or for the node's end."""

        def happened_or_ended() -> bool:
            assert self.task is not None
            if self.task.done():
                self.task.result()
                raise AssertionError("the node has ended")
            return happened()

        await until(happened_or_ended)

    async def until_event(self, kind: type, number: int = 1) -> None:
        """Wait until there were so many events of a kind."""
        await self.until(lambda: sum(isinstance(event, kind) for event in self.events) >= number)

    async def end(self) -> None:
        """Stop the node and wait for its end."""
        self.stop.set()
        if self.task is not None:
            async with asyncio.timeout(WAIT_S):
                await self.task


def hold(folder: Path, *values: str, look_once: bool = False) -> None:
    """Put values with tokens into the store of a node's folder, as another process would, and wake the node."""
    manifest = load_home(folder, clock=SystemClock()).manifest
    today = datetime.now(UTC).date()
    case = parse_case(template(today + timedelta(days=30)), today=today)
    rows = [CanonicalValue("e164", 1, value, STRONG) for value in values]
    asking = Asking(0, "investigation", "", look_once=look_once, epochs=manifest.live_epochs)
    with Store.open(folder / FILE_NAME) as store:
        put_values(store, rows, asking, case=case, at=SystemClock().now(), random_bytes=secrets.token_bytes)
    wake(folder)


def told(folder: Path) -> int:
    """Return how many edges a node shows."""
    with Store.open(folder / FILE_NAME) as store:
        return sum(row.state == "shown" for row in store.all_told())
