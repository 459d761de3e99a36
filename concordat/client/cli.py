"""The command line `concordat partner`."""

from __future__ import annotations

import asyncio
import json
import sys
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

from cyclopts import App, Group, Parameter
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn
from rich.text import Text

from concordat import telemetry
from concordat.canon import Kind
from concordat.client import view
from concordat.client.client import Client
from concordat.client.files import MAX_BYTES, Listed, read_list
from concordat.client.justifying import left_from_template, template
from concordat.client.results import Verdict
from concordat.clock import SystemClock
from concordat.errors import ConcordatError, ConfigError, InputError, ProtocolError
from concordat.identity.home import load_home
from concordat.justification import (
    Justification,
    load_justification,
    opening_salts,
    read_digest,
    read_name,
    write_template,
)
from concordat.report_view import render_report
from concordat.vocabulary import parse_region

if TYPE_CHECKING:
    from concordat.client.results import Outcome

_CLOCK: Final = SystemClock()
_CASE_DAYS: Final = 90
_FOLDERS: Final = Path("federation/partner")

app = App(
    name="partner",
    help="Ask who holds what your organisation knows, without showing it.\n\n"
    "First: concordat partner justification why.toml, and fill it in.\n\n"
    "Then: concordat partner check list.csv --home federation/partner/IJM --justification why.toml",
)

_WHY: Final = Group("Why and how", sort_key=1)
AsJson = Annotated[bool, Parameter(name="--json", negative=(), help="Print one JSON object and nothing else.")]
HomeFolder = Annotated[
    Path | None, Parameter(help="The partner's folder; the only one below federation/partner by default.")
]
Why = Annotated[Path | None, Parameter(group=_WHY, help="Why you ask (TOML); justification.toml in --home by default.")]


@app.command
def check(
    file: Annotated[str, Parameter(allow_leading_hyphen=True)],
    /,
    *more: Annotated[str, Parameter(show=False)],
    home: HomeFolder = None,
    justification: Why = None,
    region: Annotated[str | None, Parameter(group=_WHY)] = None,
    kind: Annotated[str | None, Parameter(group=_WHY)] = None,
    otlp: str | None = None,
    as_json: AsJson = False,
) -> int:
    """Check a list of identifiers: who holds them, and of whom that can be said.

    The list has one identifier a line, or is CSV (UTF-8) with a header and the columns identifier, kind, region,
    client_ref; only the first is needed. Kinds that are clear are found out: +40 721 123 456, t.me/example,
    someone@mail.example, https://ads.example/1. Identifiers are never given as arguments, which other users of the
    machine could see.

    Identifiers and your references stay here: blinded values and tokens go out. Nothing is written to disk.

    Example: concordat partner check list.csv --home federation/partner/IJM --justification why.toml

    Example: my-export | concordat partner check - --region RO --json

    Parameters
    ----------
    file
        The list, or - to read it from standard input.
    region
        Country of national phone numbers where the list does not say it, such as RO.
    kind
        Kind of all identifiers where the list does not say it, such as phone.
    otlp
        Send spans to this OpenTelemetry collector, http://HOST:PORT on this machine or https://HOST:PORT.
    """
    if more:
        # Not the parser's message, which would repeat what may be identifiers.
        raise InputError("give one list; identifiers stand in it and never among the arguments")
    folder = _home(home)
    why = load_justification(
        justification or folder / "justification.toml",
        Justification,
        today=datetime.fromtimestamp(_CLOCK.now(), UTC).date(),
    )
    listed = _with_kind(read_list(_read(file)), kind)
    if region is not None and parse_region(region) is None:
        raise InputError("--region is a two-letter country code such as RO")
    notes = Console(stderr=True)
    if not as_json and (left := left_from_template(why)):
        _say(notes, f"The justification still has the template's {', '.join(left)}: write your own.", "yellow")
    with telemetry.exporting("partner", otlp):
        outcome = asyncio.run(_check(folder, listed, why, region=region, notes=notes, quiet=as_json))
    if as_json:
        _print_json(view.outcome_dict(listed, outcome))
    else:
        view.show_outcome(_out(), listed, outcome)
    return _exit_code(outcome)


@app.command
def justification(file: Path, /, *, days: int = _CASE_DAYS, as_json: AsJson = False) -> None:
    """Write a new justification that explains itself; replace every value by that of your case.

    Example: concordat partner justification why.toml

    Parameters
    ----------
    file
        Where it goes; a file that is there is not overwritten.
    days
        How long the case runs, from today.
    """
    text = template((datetime.fromtimestamp(_CLOCK.now(), UTC) + timedelta(days=days)).date())
    write_template(file, text)
    if as_json:
        _print_json({"file": str(file)})
        return
    _say(Console(), f"{file}: fill in the fields, then: concordat partner check FILE --justification {file}")


@app.command
def audit(
    request: str, digest: str, /, *, home: HomeFolder = None, justification: Why = None, as_json: AsJson = False
) -> None:
    """Open a justification hash that stands in the log of a custodian or the hub.

    Only you can: the salt follows from your key. The file must be as it was when you asked; it may be over by now.

    Example: concordat partner audit 941eba53...28c 863061aa...db1 --justification why.toml

    Parameters
    ----------
    request
        Id of the request there, hexadecimal.
    digest
        The justification hash there, hexadecimal.
    """
    folder = _home(home)
    why = load_justification(justification or folder / "justification.toml", Justification, today=date.min)
    key, wanted = load_home(folder, clock=_CLOCK).signing_key, read_digest(digest)
    salts = (salt for salt in opening_salts(key, read_name(request)) if why.justification_hash(salt) == wanted)
    salt = next(salts, None)
    if salt is None:
        raise InputError("this justification, as it is now, is not behind that hash", code="justification_missing")
    said = why.justification_bytes().decode()
    if as_json:
        _print_json({"justification": json.loads(said), "salt": salt.hex()})
        return
    _say(Console(), f"justification: {said}")
    _say(Console(), f"salt: {salt.hex()}")


@app.command
def status(*, home: HomeFolder = None, as_json: AsJson = False) -> int:
    """Show what the agreement lets you ask, and whether the gateway lets you in.

    Example: concordat partner status --home federation/partner/IJM
    """
    agreement, scopes, trouble = asyncio.run(_status(_home(home)))
    if as_json:
        _print_json({**agreement, "scopes": scopes, "trouble": trouble})
        return 0 if trouble is None else 1
    out = Console()
    view.show_agreement(out, agreement)
    if trouble is None:
        _say(out, f"The gateway at {agreement['gateway']} lets you: {', '.join(scopes)}")
        return 0
    _say(out, trouble, "yellow")
    return 1


@app.command
def report(operation: str, /, *, home: HomeFolder = None, as_json: AsJson = False) -> None:
    """Show the report of an operation whose charter names you as a reader; its signature is checked.

    Example: concordat partner report OPERATION --home federation/partner/IJM

    Parameters
    ----------
    operation
        Id of the operation.
    """
    raw = asyncio.run(_report(_home(home), operation))
    if as_json:
        print(raw.decode("utf-8"))
        return
    try:
        shown = render_report(json.loads(raw))
    except (ValueError, KeyError, TypeError) as error:
        raise ProtocolError("the report has not the form of docs/report.md") from error
    Console().print(shown)


async def _check(
    folder: Path, listed: list[Listed], why: Justification, *, region: str | None, notes: Console, quiet: bool
) -> Outcome:
    columns = (TextColumn("asked about {task.completed} of {task.total}"), BarColumn())
    bar = Progress(*columns, console=notes, transient=True, disable=quiet or not notes.is_terminal)
    async with Client.open(folder) as client:
        with bar:
            task = bar.add_task("asked", total=len(listed))
            return await client.check(
                [one.item for one in listed],
                why,
                region=region,
                progress=lambda step: bar.update(task, completed=step.done, total=step.total),
            )


async def _status(folder: Path) -> tuple[dict[str, Any], list[str], str | None]:
    async with Client.open(folder) as client:
        agreement = view.agreement_dict(client.home)
        try:
            return agreement, list(await client.scopes()), None
        except ConcordatError as error:
            return agreement, [], f"{error.message} [{error.code}]"


async def _report(folder: Path, operation: str) -> bytes:
    async with Client.open(folder) as client:
        return await client.report(operation)


def _home(given: Path | None) -> Path:
    if given is not None:
        return given
    found = sorted(path for path in _FOLDERS.glob("*") if path.is_dir())
    if len(found) != 1:
        raise ConfigError("give the partner's folder with --home")
    return found[0]


def _read(file: str) -> bytes:
    # One byte more than is taken, so that the reader sees that it is too much.
    if file.startswith("-") and file != "-":
        raise InputError("one of the options is unknown; see concordat partner check --help")
    if file == "-":
        return sys.stdin.buffer.read(MAX_BYTES + 1)
    try:
        with Path(file).open("rb") as handle:
            return handle.read(MAX_BYTES + 1)
    except OSError as error:
        # The name is not repeated: somebody may have given an identifier in its place.
        raise InputError(f"the list cannot be read ({error.strerror}); give a file, or - for standard input") from error


def _with_kind(listed: list[Listed], kind: str | None) -> list[Listed]:
    if kind is None:
        return listed
    try:
        known = Kind.parse(kind)
    except InputError as error:
        raise InputError(f"--kind: no such kind; the kinds are {', '.join(Kind)}", code=error.code) from error
    return [one if one.item.kind else replace(one, item=replace(one.item, kind=known)) for one in listed]


def _exit_code(outcome: Outcome) -> int:
    """Return 2 where nothing could be read, 1 where some was not asked or nothing is known of it, else 0."""
    if all(one.result is Verdict.UNREADABLE for one in outcome):
        return 2
    return 1 if outcome.trouble is not None else 0


def _out() -> Console:
    console = Console()
    # What is piped into a file has no edge at which lines would have to be cut.
    return console if console.is_terminal else Console(width=160)


def _say(console: Console, text: str, style: str = "") -> None:
    # Never folded: a terminal does that, and a log or pipe keeps the line whole.
    console.print(Text(text, style=style), soft_wrap=True)


def _print_json(value: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(value, ensure_ascii=False) + "\n")
