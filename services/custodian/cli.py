"""The command line `concordat custodian`."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import App, Parameter
from rich.console import Console
from rich.table import Table

from concordat import telemetry
from concordat.clock import SystemClock
from concordat.errors import ConfigError
from concordat.identity.home import load_home
from concordat.identity.names import Role
from concordat.rpc.server import serve
from services.custodian.config import load_settings
from services.custodian.sabotage import sabotaged
from services.custodian.service import open_custodian, server_of
from services.custodian.warming import warm_up

if TYPE_CHECKING:
    from collections.abc import Callable

    from concordat.identity.home import Home
    from concordat.rpc.server import ServerSettings
    from services.custodian.core import Custodian

app = App(name="custodian", help="Hold one share of each token key: evaluate blinded elements within quotas.")

AsJson = Annotated[bool, Parameter(name="--json", negative=())]


@app.command
def run(
    *,
    home: Path,
    config: Path | None = None,
    otlp: str | None = None,
    as_json: AsJson = False,
    sabotage: Annotated[str | None, Parameter(show=False)] = None,
) -> None:
    """Serve until SIGTERM or Ctrl-C.

    Example: concordat custodian run --home federation/custodian/c1

    Parameters
    ----------
    home
        The custodian's folder, as `concordat federation init` makes it.
    config
        Settings file; custodian.toml in the folder by default.
    otlp
        OpenTelemetry collector, http://HOST:PORT on this machine or https://HOST:PORT, instead of the settings'.
    as_json
        Print one JSON line on stdout when calls are accepted, and one when the engine for large batches is loaded.
    sabotage
        For tests: break the protocol in a way that must be found.
    """
    clock = SystemClock()
    loaded = load_home(home, clock=clock)
    if loaded.identity.role is not Role.CUSTODIAN:
        raise ConfigError(f"{home}: is the folder of {loaded.identity}, not of a custodian")
    chosen = load_settings(home, config)
    settings = chosen.server(loaded)

    def ready(port: int) -> None:
        if as_json:
            event = {"ready": True, "custodian": str(loaded.identity), "address": settings.address, "port": port}
            print(json.dumps(event), flush=True)
        else:
            Console(stderr=True).print(f"{loaded.identity} serves on port {port}; Ctrl-C stops it")
        if chosen.warm_up:
            warm_up(warm)

    def warm(engine: str) -> None:
        if as_json:
            print(json.dumps({"event": "engine", "engine": engine}), flush=True)
        else:
            Console(stderr=True).print(f"{loaded.identity}: large batches are evaluated by {engine}")

    service = f"custodian-{loaded.identity.name}"
    with telemetry.setup(service, settings=chosen, otlp=otlp, home=home), open_custodian(loaded, clock=clock) as honest:
        custodian = honest if sabotage is None else sabotaged(honest, sabotage)
        asyncio.run(_serve(custodian, loaded, settings, ready))


async def _serve(custodian: Custodian, home: Home, settings: ServerSettings, ready: Callable[[int], None]) -> None:
    # The server is made inside the loop that will run it.
    await serve(server_of(custodian, home, settings), settings, on_ready=ready)


@app.command
def quota(*, home: Path, spend_today: Annotated[bool, Parameter(negative=())] = False, as_json: AsJson = False) -> None:
    """Show what each authority was charged today; the custodian must not be running.

    Example: concordat custodian quota --home federation/custodian/c1

    Parameters
    ----------
    home
        The custodian's folder.
    spend_today
        Count this UTC day as spent for every authority: due after a volume or machine was put back from a snapshot.
    as_json
        Print one JSON object and nothing else.
    """
    clock = SystemClock()
    # Opened whole, as the log may show that the quotas were deleted, which looking must not hide.
    with open_custodian(load_home(home, clock=clock), clock=clock) as custodian:
        store = custodian.quotas
        if spend_today:
            store.spend(clock.now())
        rows, spent = store.all_used(now=clock.now()), store.spent(now=clock.now())
    if as_json:
        charged = [{"authority": authority, "class": budget, "used": used} for authority, budget, used in rows]
        print(json.dumps({"spent": spent, "charged": charged}))
        return
    table = Table("authority", "class", "charged today")
    for authority, budget, used in rows:
        table.add_row(authority, budget, f"{used:,}")
    console = Console()
    console.print(table)
    if spent:
        console.print("This UTC day counts as spent for every authority.")


@app.command
def check_config(*, home: Path, config: Path | None = None, as_json: AsJson = False) -> None:
    """Check folder, shares and settings without serving.

    Parameters
    ----------
    home
        The custodian's folder.
    config
        Settings file; custodian.toml in the folder by default.
    as_json
        Print one JSON object and nothing else.
    """
    clock = SystemClock()
    loaded = load_home(home, clock=clock)
    settings = load_settings(home, config).server(loaded)
    with open_custodian(loaded, clock=clock) as custodian:
        found = {"custodian": str(loaded.identity), "address": settings.address, "epochs": custodian.epochs}
    if as_json:
        print(json.dumps(found))
    else:
        Console().print(f"{found['custodian']}: keys, shares and settings are in order; epochs {found['epochs']}")
