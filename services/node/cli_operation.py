"""The command line `concordat node operation`."""

from __future__ import annotations

import asyncio
import json
import secrets
import sys
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

from cyclopts import App, Parameter
from rich.console import Console
from rich.prompt import Confirm
from rich.table import Table
from rich.text import Text

from concordat.canon import Namespace
from concordat.clock import SystemClock
from concordat.errors import ConfigError, InputError
from concordat.identity.home import Home, load_home
from concordat.justification import Step, justification_salt
from concordat.report_view import render_report
from concordat.rpc.client import channel
from concordat.wire.v1 import operations_pb2 as wire
from services.node.case import load_case
from services.node.charter_view import render_charter
from services.node.exercise_view import show_banner
from services.node.held import exercise_of
from services.node.operations import (
    OperationPlan,
    Proposal,
    fetch_operation,
    fetch_report,
    list_operations,
    open_operation,
    sign_operation,
    start_sweep,
)
from services.node.store.store import FILE_NAME, Store

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    import grpc.aio

_CLOCK: Final = SystemClock()
_DAY_S: Final = 86_400
_STATE: Final = "OPERATION_STATE_"
_REAL: Final = (
    "Submitted for it before, when it was not known to be an exercise: {} files. Their records are real, are compared"
    " with others, and stay when it is over: withdraw them if they are not, and submit them again after signing."
)

app = App(name="operation", help="Take part in operations and their sweeps.")

AsJson = Annotated[bool, Parameter(name="--json", negative=(), help="Print one JSON object and nothing else.")]
HomeFolder = Annotated[Path, Parameter(help="The node's folder.")]


@app.command(name="open")
def open_(
    operation: str,
    /,
    *,
    title: str,
    participants: str,
    case: Path,
    home: HomeFolder,
    namespaces: str = ",".join(Namespace),
    readers: Annotated[str, Parameter(name="--reader")] = "",
    days: int = 5,
    exercise: Annotated[bool, Parameter(negative=())] = False,
    second_officer: str = "",
    as_json: AsJson = False,
) -> None:
    """Propose an operation: sign its charter and seal a fresh key to each participant.

    Example: concordat node operation open op-2026-1 --title "Action day" --participants NL,DE --case case.toml
    --home federation/node/NL

    Parameters
    ----------
    operation
        Its id: letters, digits, dots, hyphens, underscores.
    title
        For people.
    participants
        Comma-separated names, such as NL,DE.
    case
        Case profile that holds the justification.
    namespaces
        Comma-separated; what the sweep compares.
    readers
        Comma-separated partners that may read the report through the API, such as IJM; none by default.
    days
        How long it runs, from now.
    exercise
        Mark it as an exercise: its values are never compared with real ones, and are wiped at its end.
    second_officer
        Pseudonym of another officer who agrees to it; needed where the charter is nearly that of an earlier operation.
    """
    profile = load_case(case, today=datetime.fromtimestamp(_CLOCK.now(), UTC).date())
    now = int(_CLOCK.now())

    async def do() -> bytes:
        async with _gateway(home) as (loaded, link):
            salt = justification_salt(loaded.signing_key, Step.CHARTER, operation.encode())
            plan = OperationPlan(
                operation=operation,
                title=title,
                participants=_split(participants),
                purpose=profile.purpose.value,
                namespaces=_split(namespaces),
                starts_at=now,
                ends_at=now + days * _DAY_S,
                justification_hash=profile.justification_hash(salt),
                exercise=exercise,
                readers=_split(readers),
                officer=profile.officer,
                second_officer=second_officer.strip(),
            )
            return await open_operation(loaded, link, plan, random_bytes=secrets.token_bytes)

    digest = asyncio.run(do())
    if as_json:
        _print_json({"operation": operation, "charter": digest.hex()})
    else:
        show_banner(exercise=exercise)
        Console().print(Text(f"{operation} is proposed; its charter has SHA-256 {digest.hex()}"))


@app.command
def sign(
    operation: str,
    /,
    *,
    home: HomeFolder,
    yes: Annotated[bool, Parameter(negative=())] = False,
    as_json: AsJson = False,
) -> None:
    """Read a charter, check its signatures and its key, and countersign it.

    Parameters
    ----------
    operation
        Its id.
    yes
        Sign without asking.
    """

    async def read() -> tuple[Home, Proposal]:
        async with _gateway(home) as (loaded, link):
            return loaded, await fetch_operation(loaded, link, operation)

    async def do(proposal: Proposal) -> int:
        async with _gateway(home) as (loaded, link):
            return await sign_operation(loaded, link, proposal)

    _, proposal = asyncio.run(read())
    if not as_json:
        Console().print(render_charter(proposal))
        if number := real_files(home, proposal.held.charter):
            Console().print(Text(_REAL.format(number), style="yellow"), soft_wrap=True)
    if not yes and (as_json or not _confirmed()):
        raise InputError("the charter was not signed; --yes signs without asking")
    state = _state(asyncio.run(do(proposal)))
    if as_json:
        _print_json({"operation": operation, "charter": proposal.held.hash.hex(), "state": state})
    else:
        show_banner(exercise=proposal.held.charter.exercise)
        Console().print(Text(f"{operation} is signed and {state}"))


def real_files(home: Path, charter: wire.Charter) -> int:
    """Return how many files were submitted for an exercise before its charter was signed here, and are real."""
    if not charter.exercise or not (home / FILE_NAME).exists():
        return 0
    with Store.open(home / FILE_NAME, clock=_CLOCK) as store, store.read() as db:
        query = "SELECT count(*) FROM file WHERE operation = ? AND domain = ''"
        number: int = db.execute(query, (charter.operation,)).fetchone()[0]
        return number


def _confirmed() -> bool:
    try:
        return Confirm.ask("Sign this charter?")
    except EOFError:
        # Nobody is there to answer.
        return False


@app.command(name="start-sweep")
def start_sweep_(operation: str, /, *, home: HomeFolder, as_json: AsJson = False) -> None:
    """Start the sweep of an operation that this node opened; the running nodes take part by themselves.

    Parameters
    ----------
    operation
        Its id.
    """

    async def do() -> bytes:
        async with _gateway(home) as (_, link):
            return await start_sweep(link, operation)

    sweep_id = asyncio.run(do())
    if as_json:
        _print_json({"operation": operation, "sweep": sweep_id.hex()})
    else:
        show_banner(exercise=bool(exercise_of(home, operation)))
        Console().print(Text(f"the sweep of {operation} has started; see: concordat node operation report {operation}"))


@app.command
def report(operation: str, /, *, home: HomeFolder, version: int = 0, as_json: AsJson = False) -> None:
    """Show the frozen report of an operation, after checking its signature.

    Parameters
    ----------
    operation
        Its id.
    version
        Version of the report, from 1; the newest by default.
    """

    async def do() -> dict[str, Any]:
        async with _gateway(home) as (loaded, link):
            return await fetch_report(loaded, link, operation, version=version)

    found = asyncio.run(do())
    if as_json:
        _print_json(found)
    else:
        show_banner(exercise=found.get("exercise") is True)
        Console().print(render_report(found))


@app.command(name="list")
def list_(*, home: HomeFolder, as_json: AsJson = False) -> None:
    """Show the operations in which this node takes part."""

    async def do() -> list[wire.OperationSummary]:
        async with _gateway(home) as (_, link):
            return await list_operations(link)

    found = asyncio.run(do())
    if as_json:
        listed = [{"operation": one.operation, "state": _state(one.state), "exercise": one.exercise} for one in found]
        _print_json({"operations": listed})
        return
    show_banner(exercise=any(one.exercise for one in found))
    table = Table("operation", "title", "state")
    for one in found:
        name = f"{one.operation} (EXERCISE)" if one.exercise else one.operation
        table.add_row(Text(name), Text(one.title), _state(one.state))
    Console().print(table)


@asynccontextmanager
async def _gateway(home: Path) -> AsyncIterator[tuple[Home, grpc.aio.Channel]]:
    loaded = load_home(home, clock=_CLOCK)
    if not loaded.manifest.gateways:
        raise ConfigError("the manifest names no gateway")
    gateway = loaded.manifest.gateways[0]
    async with channel(gateway.address, home=loaded, server=gateway.spiffe) as link:
        yield loaded, link


def _split(text: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in text.split(",") if part.strip())


def _state(number: int) -> str:
    return wire.OperationState.Name(wire.OperationState.ValueType(number)).removeprefix(_STATE).lower()


def _print_json(value: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(value, ensure_ascii=False) + "\n")
