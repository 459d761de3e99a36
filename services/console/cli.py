"""The command line `concordat console`."""

from __future__ import annotations

import asyncio
import json
import secrets
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import App, Parameter
from rich.console import Console

from concordat import telemetry
from concordat.clock import SystemClock
from concordat.errors import ConfigError
from concordat.identity.home import load_home
from concordat.identity.names import Role
from services.console.config import load_settings
from services.console.links import LoginLinks
from services.console.service import link_of, run_console

if TYPE_CHECKING:
    from concordat.clock import Clock
    from concordat.identity.home import Home
    from services.console.config import ConsoleSettings

app = App(name="console", help="Run the hub operator's page: nodes, custodians, operations, matches, live.")

AsJson = Annotated[bool, Parameter(name="--json", negative=())]


@app.command
def run(*, home: Path, config: Path | None = None, otlp: str | None = None, as_json: AsJson = False) -> None:
    """Serve until SIGTERM or Ctrl-C; print a one-time login link.

    Example: concordat console run --home federation/console/console

    Parameters
    ----------
    home
        The console's folder, as `concordat federation init` makes it.
    config
        Settings file; console.toml in the folder by default.
    otlp
        OpenTelemetry collector, http://HOST:PORT on this machine or https://HOST:PORT, instead of the settings'.
    as_json
        Print one JSON line on stdout when pages are served.
    """
    clock = SystemClock()
    loaded, chosen = _load(home, config, clock)

    def ready(origin: str, link: str | None) -> None:
        if as_json:
            print(
                json.dumps({"ready": True, "console": str(loaded.identity), "origin": origin, "link": link}), flush=True
            )
            return
        Console(stderr=True).print(f"{loaded.identity} serves {origin}; Ctrl-C stops it")
        if link is not None:
            print(f"Log in once, within {chosen.link_minutes} minutes: {link}", flush=True)

    with telemetry.setup(f"console-{loaded.identity.name}", settings=chosen, otlp=otlp, home=home):
        asyncio.run(run_console(loaded, chosen, clock=clock, on_ready=ready))


@app.command
def link(*, home: Path, config: Path | None = None, as_json: AsJson = False) -> None:
    """Make a one-time login link for a console that runs.

    Example: concordat console link --home federation/console/console

    Parameters
    ----------
    home
        The console's folder.
    config
        Settings file; console.toml in the folder by default.
    as_json
        Print one JSON object and nothing else.
    """
    loaded, chosen = _load(home, config, SystemClock())
    port = int(chosen.address.rpartition(":")[2])
    if not port and chosen.origin is None:
        raise ConfigError("the console takes a free port; set its port or its origin, so that a link can name it")
    links = LoginLinks(loaded.path, clock=SystemClock(), random_bytes=secrets.token_bytes, minutes=chosen.link_minutes)
    found = link_of(chosen.origin_at(port), links.make())
    print(json.dumps({"link": found, "minutes": chosen.link_minutes}) if as_json else found)


@app.command
def check_config(*, home: Path, config: Path | None = None, as_json: AsJson = False) -> None:
    """Read folder and settings, say whether a console could run with them, and start nothing.

    Example: concordat console check-config --home federation/console/console

    Parameters
    ----------
    home
        The console's folder.
    config
        Settings file; console.toml in the folder by default.
    as_json
        Print one JSON object and nothing else.
    """
    loaded, chosen = _load(home, config, SystemClock())
    found = {"console": str(loaded.identity), "address": chosen.address, "settings": chosen.model_dump(mode="json")}
    if as_json:
        print(json.dumps(found))
    else:
        Console().print(f"{loaded.identity} can serve on {chosen.address}")


def _load(home: Path, config: Path | None, clock: Clock) -> tuple[Home, ConsoleSettings]:
    loaded = load_home(home, clock=clock)
    if loaded.identity.role is not Role.CONSOLE:
        raise ConfigError(f"{home}: is the folder of {loaded.identity}, not of a console")
    return loaded, load_settings(home, config)
