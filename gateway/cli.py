"""The command line `concordat gateway`."""

from __future__ import annotations

import json
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import App, Parameter
from rich.console import Console
from rich.table import Table
from rich.text import Text

from concordat import telemetry
from concordat.clock import SystemClock
from concordat.errors import ConfigError
from concordat.identity.home import load_home
from concordat.identity.names import Role
from concordat.rpc.server import serve
from gateway.cli_sweeps import running_sweeps, sweep_as_dict, sweep_as_lines
from gateway.config import load_settings
from gateway.database import open_engine
from gateway.memory import share_heaps
from gateway.metrics_server import metrics_at
from gateway.postgres import Postgres
from gateway.service import migrate_ledger, open_foundation, open_gateway
from gateway.sweep.shard_server import open_shard

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterator

    from concordat.rpc.server import ServerSettings
    from concordat.telemetry import Telemetry
    from gateway.api.server import ApiSettings
    from gateway.service import Foundation

app = App(name="gateway", help="Run the hub: sessions, live checks, operations, sweeps, the ledger.")

AsJson = Annotated[bool, Parameter(name="--json", negative=())]


@app.command
def run(
    *,
    home: Path,
    config: Path | None = None,
    ledger: Path | None = None,
    otlp: str | None = None,
    as_json: AsJson = False,
    sabotage: Annotated[str | None, Parameter(show=False)] = None,
) -> None:
    """Serve until SIGTERM or Ctrl-C.

    Example: concordat gateway run --home federation/gateway/hub

    Parameters
    ----------
    home
        The gateway's folder, as `concordat federation init` makes it.
    config
        Settings file; gateway.toml in the folder by default.
    ledger
        SQLite file of the ledger; ledger.db in the folder by default.
    otlp
        OpenTelemetry collector, http://HOST:PORT on this machine or https://HOST:PORT, instead of the settings'.
    as_json
        Print one JSON line on stdout when calls are accepted.
    sabotage
        For the demo: lose matches in a way that must be found.
    """
    clock = SystemClock()
    loaded = load_home(home, clock=clock)
    if loaded.identity.role is not Role.GATEWAY:
        raise ConfigError(f"{home}: is the folder of {loaded.identity}, not of a gateway")
    chosen = load_settings(home, config)
    if ledger is not None:
        chosen = chosen.model_copy(update={"ledger": str(ledger.resolve())})
    service, watched = f"gateway-{loaded.identity.name}", chosen.metrics is not None
    settings, api = chosen.server(loaded), chosen.api_server(loaded)

    def ready(port: int, api_port: int | None, metrics_port: int | None) -> None:
        found = {"address": _address(settings.address, port)}
        if api is not None and api_port is not None:
            found["api"] = _address(api.address, api_port)
        if chosen.metrics is not None and metrics_port is not None:
            found["metrics"] = _address(chosen.metrics, metrics_port)
        if as_json:
            print(json.dumps({"ready": True, "gateway": str(loaded.identity), **found, "port": port}), flush=True)
        else:
            partners = f", partners on {found['api']}" if "api" in found else ""
            Console(stderr=True).print(f"{loaded.identity} serves on port {port}{partners}; Ctrl-C stops it")

    with (
        telemetry.setup(service, settings=chosen, otlp=otlp, home=home, prometheus=watched) as exported,
        open_foundation(loaded, chosen, clock=clock, broken=sabotage) as foundation,
    ):
        _run(_serve(foundation, settings, api, exported, ready))


async def _serve(
    foundation: Foundation,
    settings: ServerSettings,
    api: ApiSettings | None,
    exported: Telemetry,
    ready: Callable[[int, int | None, int | None], None],
) -> None:
    # The servers are made inside the loop that will run them.
    async with (
        open_gateway(foundation, settings, api=api) as gateway,
        metrics_at(foundation.settings.metrics, exported.prometheus) as metrics_port,
    ):
        api_port = gateway.api.port if gateway.api is not None else None
        await serve(
            gateway.server,
            settings,
            on_ready=lambda port: ready(port, api_port, metrics_port),
            on_stop=gateway.stop,
        )


def _address(configured: str, port: int) -> str:
    return f"{configured.rpartition(':')[0]}:{port}"


def _run(work: Coroutine[None, None, None]) -> None:
    share_heaps()
    if sys.platform == "win32":
        import asyncio  # noqa: PLC0415 -- only where there is no uvloop

        asyncio.run(work)
    else:
        import uvloop  # noqa: PLC0415 -- not made for every platform

        uvloop.run(work)


@app.command
def sweep_shard(
    *,
    home: Path,
    index: Annotated[int, Parameter(env_var="JOB_COMPLETION_INDEX")],
    listen: str | None = None,
    config: Path | None = None,
    once: bool = False,
    as_json: AsJson = False,
) -> None:
    """Take a part of the windows of this gateway's sweeps, until SIGTERM or Ctrl-C.

    The settings are the gateway's: they name all shards. The folder may be the gateway's own or one with its identity.

    Example: concordat gateway sweep-shard --home federation/gateway/hub --index 0

    Parameters
    ----------
    home
        The gateway's folder.
    index
        Which of the shards of the settings this is, from 0; a Kubernetes Indexed Job says it by itself.
    listen
        HOST:PORT to listen on; by default as the settings say that nodes reach it.
    once
        End by itself when the gateway has what it wants of a sweep, as a Kubernetes Job does.
    config
        Settings file; gateway.toml in the folder by default.
    as_json
        Print one JSON line on stdout when calls are accepted.
    """
    clock = SystemClock()
    loaded, chosen = load_home(home, clock=clock), load_settings(home, config)
    settings, folder = chosen.shard_server(loaded, index, listen), chosen.shard_folder(home, index)

    def ready(port: int) -> None:
        address = _address(settings.address, port)
        if as_json:
            print(json.dumps({"ready": True, "shard": index, "address": address, "port": port}), flush=True)
        else:
            Console(stderr=True).print(f"shard {index} of {loaded.identity} serves on {address}; Ctrl-C stops it")

    async def work() -> None:
        async with open_shard(loaded, folder, settings, chosen.sweep, clock=clock) as (server, over):
            await serve(server, settings, on_ready=ready, stop=over if once else None)

    with telemetry.setup(f"gateway-{loaded.identity.name}-shard-{index}", settings=chosen, home=home):
        _run(work())


@app.command
def check_config(*, home: Path, config: Path | None = None, as_json: AsJson = False) -> None:
    """Read folder and settings, say whether a gateway could run with them, and start nothing.

    Example: concordat gateway check-config --home federation/gateway/hub

    Parameters
    ----------
    home
        The gateway's folder.
    config
        Settings file; gateway.toml in the folder by default.
    as_json
        Print one JSON object and nothing else.
    """
    loaded = load_home(home, clock=SystemClock())
    settings = load_settings(home, config)
    server, api = settings.server(loaded), settings.api_server(loaded)
    where = settings.database(loaded.path)
    if isinstance(where, Postgres):
        # Reads password and certificates, and connects to nothing.
        open_engine(where).dispose()
    found = {
        "gateway": str(loaded.identity),
        "address": server.address,
        "api": api.address if api is not None else None,
        "nodes": len(loaded.manifest.nodes),
        "settings": settings.model_dump(mode="json"),
    }
    if as_json:
        print(json.dumps(found))
    else:
        Console().print(f"{loaded.identity} can serve {len(loaded.manifest.nodes)} nodes on {server.address}")


@app.command
def migrate(*, home: Path, config: Path | None = None, as_json: AsJson = False) -> None:
    """Bring the ledger's tables to this program's version, in one transaction; a second time changes nothing.

    Stop the gateways first: one of an older program must not write into newer tables.

    Example: concordat gateway migrate --home federation/gateway/hub

    Parameters
    ----------
    home
        The gateway's folder.
    config
        Settings file; gateway.toml in the folder by default.
    as_json
        Print one JSON object and nothing else.
    """
    loaded = load_home(home, clock=SystemClock())
    before, after = migrate_ledger(loaded, load_settings(home, config))
    if as_json:
        print(json.dumps({"before": before, "after": after}))
    else:
        Console().print(f"the ledger's tables are of version {after}" + ("" if before == after else f", were {before}"))


@contextmanager
def _foundation(home: Path, config: Path | None, ledger: Path | None) -> Iterator[Foundation]:
    """Open a gateway's ledger for one command."""
    clock = SystemClock()
    loaded = load_home(home, clock=clock)
    chosen = load_settings(home, config)
    if ledger is not None:
        chosen = chosen.model_copy(update={"ledger": str(ledger.resolve())})
    with open_foundation(loaded, chosen, clock=clock) as foundation:
        yield foundation


@app.command
def renew_ledger(
    *, home: Path, config: Path | None = None, ledger: Path | None = None, as_json: AsJson = False
) -> None:
    """Say that the ledger was put back from a copy: all sessions end, and every node asks everything again.

    Nothing is deleted. Say it before the gateways start on the copy; those that run notice within a tick.

    Example: concordat gateway renew-ledger --home federation/gateway/hub

    Parameters
    ----------
    home
        The gateway's folder.
    config
        Settings file; gateway.toml in the folder by default.
    ledger
        SQLite file of the ledger; ledger.db in the folder by default.
    as_json
        Print one JSON object and nothing else.
    """
    with _foundation(home, config, ledger) as foundation:
        before = foundation.ledger.incarnation
        after = foundation.ledger.renew()
    if as_json:
        print(json.dumps({"before": before.hex(), "after": after.hex()}))
    else:
        Console().print(
            f"the ledger is another one now ({after.hex()[:8]}, was {before.hex()[:8]}): all nodes ask again"
        )


@app.command
def status(*, home: Path, config: Path | None = None, ledger: Path | None = None, as_json: AsJson = False) -> None:
    """Show what the ledger holds, and how far the running sweeps are, whether or not the gateway runs.

    Numbers only, and of a sweep who has joined, who is waited for, and who was dropped with what code.

    Example: concordat gateway status --home federation/gateway/hub

    Parameters
    ----------
    home
        The gateway's folder.
    config
        Settings file; gateway.toml in the folder by default.
    ledger
        SQLite file of the ledger; ledger.db in the folder by default.
    as_json
        Print one JSON object and nothing else.
    """
    with _foundation(home, config, ledger) as foundation:
        found, sweeps = foundation.ledger.figures(), running_sweeps(foundation)
    if as_json:
        print(json.dumps({**found, "sweeps": [sweep_as_dict(*one) for one in sweeps]}))
        return
    table = Table("what", "number", box=None)
    for name, value in found.items():
        table.add_row(name.replace("_", " "), f"{value:,}")
    console = Console()
    console.print(table)
    for operation, standing in sweeps:
        for line in sweep_as_lines(operation, standing):
            console.print(Text(line), soft_wrap=True)
