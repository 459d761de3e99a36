"""From a folder to a running gateway: ledger, exchange, operations and sweeps behind one server."""

from __future__ import annotations

import asyncio
import secrets
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from concordat.clock import MS
from concordat.custodians import Direct
from concordat.errors import ConfigError
from concordat.identity.names import Role
from concordat.rpc.client import channel
from concordat.rpc.methods import grpc_table
from concordat.rpc.server import BoundServer, ServerSettings, build_server
from concordat.wire.v1.operations_pb2_grpc import add_OperationServiceServicer_to_server
from concordat.wire.v1.registry_pb2_grpc import add_RegistryServiceServicer_to_server
from concordat.wire.v1.session_pb2_grpc import add_SessionServiceServicer_to_server
from concordat.wire.v1.sweep_pb2_grpc import add_SweepServiceServicer_to_server
from gateway import sabotage
from gateway.api.app import build_app
from gateway.api.context import ApiContext
from gateway.api.server import ApiServer
from gateway.database import READ_ONLY, open_engine
from gateway.exchange import Exchange, Signer, make_table
from gateway.exercises import Exercises
from gateway.hub import Hub
from gateway.ledger import Ledger
from gateway.operations import OperationServicer
from gateway.operations_store import OperationStore
from gateway.operations_view import operation_states
from gateway.postgres import Postgres
from gateway.probes import CustodianProbes
from gateway.registry import RegistryServicer
from gateway.schema_versions import MIGRATION_S, migrate
from gateway.session import SessionServicer
from gateway.sweep.context import SweepContext
from gateway.sweep.service import SweepRunner
from gateway.sweep.streams import SweepServicer
from gateway.sweep.watch import SweepWatch
from gateway.view import OperatorView, Stored

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    import grpc.aio
    from sqlalchemy import Engine

    from concordat.clock import Clock
    from concordat.identity.home import Home
    from gateway.api.server import ApiSettings
    from gateway.config import GatewaySettings


@dataclass(frozen=True, slots=True)
class Foundation:
    """What a gateway stands on before it serves."""

    home: Home
    settings: GatewaySettings
    clock: Clock
    engine: Engine
    ledger: Ledger
    broken: str | None = None
    """A sabotage, only for the demo."""


@dataclass(frozen=True, slots=True)
class Gateway:
    """A gateway whose hub and API run, and whose gRPC server has its port and is not yet started."""

    server: BoundServer
    hub: Hub
    api: ApiServer | None
    view: OperatorView

    async def stop(self) -> None:
        """End the API while the hub still answers its requests, then all sessions; a second time does nothing."""
        # Its streams would go on for as long as the API lets running requests take.
        await self.view.stop()
        if self.api is not None:
            await self.api.stop()
        await self.hub.stop()


@contextmanager
def open_foundation(
    home: Home, settings: GatewaySettings, *, clock: Clock, broken: str | None = None
) -> Iterator[Foundation]:
    """Open a gateway's ledger.

    Raises:
        ConfigError: The folder is not a gateway's, or its ledger cannot be opened.
        UnavailableError: The database cannot be reached.
    """
    if home.identity.role is not Role.GATEWAY:
        raise ConfigError(f"{home.path}: is the folder of {home.identity}, not of a gateway")
    if broken is not None:
        sabotage.require_kind(broken)
    engine = open_engine(settings.database(home.path))
    try:
        if settings.migrate_at_start:
            migrate_ledger(home, settings)
        kind = sabotage.SilentLedger if broken == sabotage.NOTIFY else Ledger
        ledger = kind(engine, now_ms=lambda: int(clock.now() * MS), random_bytes=secrets.token_bytes)
        if isinstance(ledger, sabotage.SilentLedger):
            ledger.victim = home.manifest.nodes[0].id
        yield Foundation(home, settings, clock, engine, ledger, broken)
    finally:
        engine.dispose()


def migrate_ledger(home: Home, settings: GatewaySettings) -> tuple[str | None, str]:
    """Bring the ledger's tables to this program's version; return the version before and after.

    Raises:
        ConfigError: The folder is not a gateway's, or its ledger is newer or cannot be opened.
        UnavailableError: The database cannot be reached.
    """
    if home.identity.role is not Role.GATEWAY:
        raise ConfigError(f"{home.path}: is the folder of {home.identity}, not of a gateway")
    where = settings.database(home.path)
    if isinstance(where, Postgres):
        # A step over a large ledger takes its time.
        where = replace(where, timeout_s=MIGRATION_S)
    engine = open_engine(where)
    try:
        return migrate(engine)
    finally:
        engine.dispose()


@asynccontextmanager
async def open_gateway(
    foundation: Foundation, settings: ServerSettings, *, api: ApiSettings | None = None
) -> AsyncIterator[Gateway]:
    """Start the hub and, where `api` says so, its HTTPS API; give them with the gRPC server.

    Raises:
        ConfigError: An address cannot be bound, or the manifest names more nodes than the filter has bits.
    """
    home, clock = foundation.home, foundation.clock
    hub = _hub(foundation)
    store = OperationStore(foundation.engine, manifest=lambda: home.manifest, clock=clock)
    context = SweepContext(
        store=store,
        ledger=hub,
        attached=hub.attached,
        send_event=hub.send_event,
        identity=str(home.identity),
        key=home.signing_key,
        clock=clock,
        settings=foundation.settings.sweep,
        folder=foundation.settings.sweeps_folder(home.path),
        # Nobody but this gateway itself is taken for one of its shards.
        dial=lambda address: channel(address, home=home, server=home.identity),
    )
    runner = SweepRunner(context)
    operations = OperationServicer(store, sweeps=runner, send_event=hub.send_event, random_bytes=secrets.token_bytes)
    exercises = Exercises(store, hub, sweeping=runner.running)
    hub.greet_with(operations.events_for)

    def add(server: grpc.aio.Server) -> None:
        add_SessionServiceServicer_to_server(SessionServicer(hub), server)
        add_RegistryServiceServicer_to_server(RegistryServicer.of_home(home), server)
        add_OperationServiceServicer_to_server(operations, server)
        add_SweepServiceServicer_to_server(SweepServicer(runner, foundation.settings.sweep), server)

    server = build_server(settings, home=home, table=grpc_table(Role.GATEWAY), known=home.manifest.knows, add=add)
    view = _view(foundation, hub, store, runner)
    watch = SweepWatch(runner.standings, context.folder, clock=clock, changed=view.redraw)
    probes = CustodianProbes(home, tell=lambda index, serving: view.custodian(index, serving=serving))
    relay = Direct(home)
    served = _api(foundation, hub, store, view, relay, api) if api is not None else None
    gateway = Gateway(server, hub, served, view)
    hub.start()
    view.start()
    probes.start()
    exercises.start()
    # Before the server: whoever joins again must find its sweep.
    runner.take_up(await asyncio.to_thread(store.sweeping))
    watch.start()
    try:
        if gateway.api is not None:
            await gateway.api.start()
        yield gateway
    finally:
        await probes.stop()
        await exercises.stop()
        await watch.stop()
        await runner.stop()
        await gateway.stop()
        await relay.close()


def _view(foundation: Foundation, hub: Hub, store: OperationStore, runner: SweepRunner) -> OperatorView:
    home, reader = foundation.home, foundation.engine.execution_options(**READ_ONLY)

    def read() -> Stored:
        return Stored(foundation.ledger.visible_edges(), operation_states(reader))

    view = OperatorView(
        home.manifest,
        gateway=home.identity,
        attached=hub.attached,
        read=read,
        sweeps=lambda: dict(runner.standings().values()),
        clock=foundation.clock,
    )
    hub.watch(view.changed)
    store.watch(view.changed)
    return view


def _api(
    foundation: Foundation, hub: Hub, store: OperationStore, view: OperatorView, relay: Direct, settings: ApiSettings
) -> ApiServer:
    context = ApiContext(
        home=foundation.home,
        clock=foundation.clock,
        hub=hub,
        operations=store,
        view=view,
        relay=relay,
        random_bytes=secrets.token_bytes,
    )
    return ApiServer(build_app(context), settings, home=foundation.home)


def _hub(foundation: Foundation) -> Hub:
    home, ledger = foundation.home, foundation.ledger
    table = make_table(home.manifest, foundation.settings.planes_memory_bytes)
    if foundation.broken == sabotage.ROUTE:
        table = sabotage.LossyTable(table.parties, log2_slots=table.log2_slots, hashes=table.hashes)
    exchange = Exchange(
        home.manifest,
        signer=Signer(str(home.identity), home.signing_key),
        ledger_incarnation=ledger.incarnation,
        clock=foundation.clock,
        limits=foundation.settings.limits,
        table=table,
    )
    return Hub(exchange, ledger, clock=foundation.clock, limits=foundation.settings.limits)
