"""The command `concordat health`."""

import asyncio
import json
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from concordat.clock import SystemClock
from concordat.identity.home import load_home
from concordat.rpc.health import ask


def health(
    *, home: Path, address: str | None = None, as_json: Annotated[bool, Parameter(name="--json", negative=())] = False
) -> None:
    """Ask the service of a folder whether it serves; exit 0 if it does, else 1.

    Example: concordat health --home federation/custodian/c1

    Parameters
    ----------
    home
        The party's folder; the service must run on this machine, or share the folder.
    address
        HOST:PORT to ask; by default the loopback and the port that the manifest names. A console has no port there.
    as_json
        Print one JSON object and nothing else.
    """
    loaded = load_home(home, clock=SystemClock())
    asyncio.run(ask(loaded, address))
    print(json.dumps({"party": str(loaded.identity), "serving": True}) if as_json else f"{loaded.identity} serves")
