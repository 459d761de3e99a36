"""The command line `concordat node`."""

from __future__ import annotations

import json
import sys
from contextlib import contextmanager
from dataclasses import asdict, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

from cyclopts import App, Group, Parameter
from rich.console import Console
from rich.table import Table
from rich.text import Text

from concordat import telemetry
from concordat.canon import Kind
from concordat.clock import SystemClock
from concordat.errors import ConcordatError, InputError
from concordat.identity.home import load_home
from concordat.vocabulary import parse_region
from services.node import matches as match_views
from services.node import submit_view as view
from services.node.case import CaseProfile, load_case
from services.node.config import load_settings
from services.node.coverage import not_covered, with_unasked
from services.node.exercise_view import show_banner
from services.node.follow import follow, is_running, progress_of
from services.node.match_groups import match_groups
from services.node.opened import opened_node
from services.node.store import overview, records
from services.node.submit import SubmitReport, Submitter

if TYPE_CHECKING:
    from collections.abc import Iterator

    from services.node.record import RowDefaults
    from services.node.store.store import Store

_CLOCK: Final = SystemClock()
RECORDS_SHOWN: Final = 1000

app = App(name="node", help="Run a node; submit files, check single values, see what matches.")
app.command("services.node.cli_operation:app", name="operation", help="Take part in operations and their sweeps.")
app.command("services.node.cli_audit:audit", name="audit", help="Show what was asked, why, and who was covered.")
app.command(
    "services.node.cli_audit:story", name="story", help="Print what this node can show of its checks, for an audit."
)
app.command(
    "services.node.cli_audit:justification", name="justification", help="Open a justification hash of another's log."
)
app.command("services.node.cli_handling:app", name="handling", help="Show and change who may be told of records.")
app.command(
    "services.node.cli_handling:withdraw", name="withdraw", help="Withdraw records; whoever was told hears of it."
)
app.command("services.node.cli_handling:feedback", name="feedback", help="Say that a match is a false hit.")
app.command(
    "services.node.cli_handling:restored", name="restored", help="Say that the store was put back from a backup."
)
app.command(
    "services.node.cli_handling:officer_app", name="officer", help="Keep whom the officers' pseudonyms stand for."
)
app.command("services.node.cli_case:app", name="case", help="Make and show case profiles: why a search may be made.")

_WHY: Final = Group("Why and how", sort_key=1)
AsJson = Annotated[bool, Parameter(name="--json", negative=(), help="Print one JSON object and nothing else.")]
HomeFolder = Annotated[Path, Parameter(help="The node's folder, as `concordat federation init` makes it.")]
CaseFile = Annotated[Path, Parameter(group=_WHY, help="Case profile (TOML); make one with `concordat node case new`.")]
Operation = Annotated[
    str, Parameter(group=_WHY, help="Operation that the records are marked for; standing work without.")
]
LookOnce = Annotated[bool, Parameter(negative=(), group=_WHY, help="Ask only; keep no record that others can find.")]
NoWait = Annotated[bool, Parameter(negative=(), help="Return when everything is stored, without following the node.")]


@app.command
def submit(
    file: Path,
    /,
    *,
    case: CaseFile,
    home: HomeFolder,
    operation: Operation = "",
    region: str | None = None,
    kind: str | None = None,
    encoding: str | None = None,
    look_once: LookOnce = False,
    no_wait: NoWait = False,
    as_json: AsJson = False,
) -> int:
    """Store a file's identifiers as records of a case, and have them checked.

    CSV (encoding and delimiter are found out), JSON lines, MISP event JSON and STIX 2.1 bundles are read. What cannot
    be read is kept, and shown with line and reason. Stopping this command at any point loses nothing: run it again.

    Example: concordat node submit list.csv --case case.toml --home federation/node/NL

    Parameters
    ----------
    file
        The file.
    region
        Country of national phone numbers where the file does not say it, such as NL.
    kind
        Kind of all identifiers where the file does not say it, such as phone.
    encoding
        Encoding of the file, where the one that is found is wrong; such as cp1251.
    """
    with _desk(home, case, operation, look_once=look_once) as submitter:
        defaults = _defaults(submitter.case, region, kind)
        console = Console(stderr=True)
        with view.SubmitBar(console, quiet=as_json) as bar:
            report = submitter.submit(file, defaults=defaults, encoding=encoding, progress=bar.update)
        return _finish(submitter, report, no_wait=no_wait, as_json=as_json)


@app.command
def check(
    *values: Annotated[str, Parameter(allow_leading_hyphen=True)],
    kind: str,
    case: CaseFile,
    home: HomeFolder,
    operation: Operation = "",
    region: str | None = None,
    look_once: LookOnce = False,
    no_wait: NoWait = False,
    as_json: AsJson = False,
) -> int:
    """Check single identifiers and keep them as records of the case; with --look-once only ask.

    Example: concordat node check "+44 7700 900123" --kind phone --case case.toml --home federation/node/NL

    Parameters
    ----------
    values
        Identifiers as typed; a single - reads them from standard input, one a line.
    kind
        What they are, such as phone, email, facebook; a kind that is not known gets the list.
    region
        Country of national phone numbers, such as NL.
    """
    typed = [line.rstrip("\r\n") for line in sys.stdin] if values == ("-",) else list(values)
    if not typed:
        raise InputError("give at least one identifier")
    # To take the hyphen all that begins with one is taken; a mistyped option must not be kept as an identifier.
    if values != ("-",) and any(one.startswith("-") for one in values):
        raise InputError("one of the options is unknown; identifiers that begin with a hyphen are read with a single -")
    with _desk(home, case, operation, look_once=look_once) as submitter:
        defaults = _defaults(submitter.case, region, None)
        report = submitter.submit_values(typed, _kind(kind), defaults=defaults)
        return _finish(submitter, report, no_wait=no_wait, as_json=as_json)


@app.command
def matches(
    *,
    home: HomeFolder,
    everything: Annotated[
        bool, Parameter(name="--all", negative=(), help="List matches of common values too, which are counted else.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Show what matches: your own records, the other party, and the handle under which to speak about it.

    Matches of values that many share, such as a mail provider's host or a hotline, are counted below. Then follow
    matches that the other side has withdrawn, or that somebody says are false.

    Example: concordat node matches --home federation/node/NL
    """
    with opened_node(home, _CLOCK) as (loaded, store):
        found = store.matches()
        with store.read() as db:
            pending = overview.all_pending(db)
            groups = match_groups(db, len(loaded.manifest.nodes))
    if as_json:
        waiting = [one._asdict() for one in pending]
        grouped = [match_views.group_as_dict(one) for one in groups]
        _print_json(
            {"matches": [match_views.as_dict(one) for one in found], "by_handle": grouped, "not_covered": waiting}
        )
        return
    console = Console()
    show_banner(exercise=any(one.exercise for one in found), console=console)
    common = {one.handle for one in groups if one.common is not None}
    listed = [one for one in found if everything or one.handle not in common]
    if listed:
        console.print(match_views.as_table(listed))
    elif not found:
        console.print("No match is known so far; see `status` for who was covered.")
    if not everything and (table := match_views.common_table(groups)) is not None:
        console.print(table)
    for line in match_views.news_lines(groups):
        console.print(Text(line), soft_wrap=True)
    if missing := not_covered(pending):
        console.print(Text(f"For some of the values {missing}"), soft_wrap=True)


@app.command(name="records")
def show_records(
    *,
    home: HomeFolder,
    refused: Annotated[bool, Parameter(negative=())] = False,
    file: str | None = None,
    behind: int = 0,
    limit: int = RECORDS_SHOWN,
    as_json: AsJson = False,
) -> None:
    """Show the node's own records as they were typed, a page at a time.

    Parameters
    ----------
    refused
        Only those that could not be read, with line and reason.
    file
        Only those of files of this name, such as list.csv.
    behind
        Leave out so many at the beginning.
    limit
        Show so many at most.
    """
    if behind < 0 or limit < 1:
        raise InputError("--behind is 0 or more, --limit 1 or more")
    with opened_node(home, _CLOCK) as (_, store), store.read() as db:
        if file is not None and not records.has_file(db, file):
            raise InputError("--file: no file of this name was submitted here")
        found = records.record_views(db, refused_only=refused, file_name=file, behind=behind, limit=limit)
        total = records.record_count(db, refused_only=refused, file_name=file)
    if as_json:
        _print_json({"records": [asdict(one) for one in found], "total": total})
        return
    table = Table()
    for title in ("where", "typed", "read as", "kind", "region", "case", "state"):
        table.add_column(title, overflow="fold")
    for one in found:
        state = f"refused: {one.reason} [{one.code}]" if one.code else "known before" if one.known else "accepted"
        state += ", looked at once" if one.look_once else ""
        region = f"{one.region or ''}{' (assumed)' if one.region_assumed else ''}"
        where, case = f"{one.file_name}:{one.line}", one.case_reference
        table.add_row(
            *(Text(text) for text in (where, one.typed or "", one.read_as or "", one.kind or "", region, case, state))
        )
    Console().print(table)
    if (shown := behind + len(found)) < total:
        Console(stderr=True).print(f"{total - shown:,} more; --behind {shown} shows the next ones", highlight=False)


@app.command
def status(*, home: HomeFolder, as_json: AsJson = False) -> None:
    """Show what is done, what is still to be done, who is not covered, and why something waits."""
    with opened_node(home, _CLOCK) as (loaded, store):
        with store.read() as db:
            found = overview.overview(db)
        conditions, incidents = store.conditions(), store.incidents()
    running = is_running(home)
    if as_json:
        pending = [one._asdict() for one in found.pending]
        waits = [one._asdict() for one in conditions]
        named = [one._asdict() for one in incidents]
        counts = {**asdict(found), "pending": pending}
        node = {"node": str(loaded.identity), "running": running}
        _print_json({**node, **counts, "conditions": waits, "incidents": named})
        return
    console = Console()
    state = "running" if running else f"not running; start it with: {_start(home)}"
    console.print(Text(f"{loaded.identity} is {state}"), soft_wrap=True)
    table = Table("what", "number", box=None)
    rows = (
        ("records accepted", found.accepted),
        ("records refused", found.refused),
        ("different identifiers in them", found.values),
        ("tokens made", found.tokens),
        ("tokens still to be made", found.without_token),
        ("tokens still to be published", found.unpublished),
        ("values still to be asked about", found.to_check),
        ("matches shown, one a party", found.shown),
        ("records withdrawn", found.withdrawn),
        ("withdrawals that the gateway has not taken yet", found.to_bury),
        ("receipts of parties that were told of what was withdrawn", found.receipts),
        ("changes of handling that wait for a second person", found.proposals),
    )
    for label, number in rows:
        table.add_row(label, f"{number:,}")
    console.print(table)
    if missing := not_covered(found.pending):
        console.print(Text(f"For some of the values {missing}"), soft_wrap=True)
    if conditions and not running:
        console.print("What it said when it last ran:")
    for condition in conditions:
        console.print(Text(f"{condition.name}: {condition.text}", style="yellow"), soft_wrap=True)
    for incident in incidents:
        when = datetime.fromtimestamp(incident.at, UTC).strftime("%Y-%m-%d %H:%M UTC")
        console.print(Text(f"BROKE THE PROTOCOL: {incident.party}: {incident.what} ({when})", style="red"))


@app.command
def run(
    *,
    home: Annotated[tuple[Path, ...], Parameter(negative=())],
    config: Path | None = None,
    otlp: str | None = None,
    as_json: Annotated[bool, Parameter(name="--json", negative=())] = False,
) -> None:
    """Run the node until SIGTERM or Ctrl-C; several --home run several nodes in this process.

    Example: concordat node run --home federation/node/NL

    Parameters
    ----------
    home
        Folder of a node; may be given several times.
    config
        Settings file; node.toml in the first folder by default.
    otlp
        OpenTelemetry collector, http://HOST:PORT on this machine or https://HOST:PORT, instead of the settings'.
    as_json
        Print one JSON object a line for each event, the first one when all nodes run.
    """
    from services.node import daemon  # noqa: PLC0415 -- what the other commands do not need

    names = [load_home(one, clock=_CLOCK).identity.name for one in home]
    service, settings = f"node-{'+'.join(names[:3])}", load_settings(home[0], config)
    with telemetry.setup(service, settings=settings, otlp=otlp, home=home[0]):
        daemon.run(home, json_output=as_json)


@contextmanager
def _desk(home: Path, case: Path, operation: str, *, look_once: bool) -> Iterator[Submitter]:
    profile = load_case(case, today=datetime.fromtimestamp(_CLOCK.now(), UTC).date())
    with opened_node(home, _CLOCK) as (loaded, store):
        yield Submitter(loaded, store, _CLOCK, profile, operation, look_once)


def _defaults(case: CaseProfile, region: str | None, kind: str | None) -> RowDefaults:
    defaults = case.row_defaults()
    if region is not None:
        known = parse_region(region)
        if known is None:
            raise InputError("--region is a two-letter country code such as NL")
        defaults = replace(defaults, region=known)
    return defaults if kind is None else replace(defaults, kind=_kind(kind))


def _kind(text: str) -> Kind:
    try:
        return Kind.parse(text)
    except InputError as error:
        raise InputError(f"--kind: no such kind; the kinds are {', '.join(Kind)}", code=error.code) from error


def _finish(submitter: Submitter, report: SubmitReport, *, no_wait: bool, as_json: bool) -> int:
    """Say what was stored, follow the running node where there is one, show what matches; return the exit code."""
    store, home = submitter.store, submitter.home
    epoch, console = home.manifest.epochs.current, Console(stderr=True)
    if not as_json:
        _warn_of_template(console, submitter.case)
        _warn_of_operation(console, submitter)
        view.show_report(console, report, _readings(store, report))
    running = is_running(home.path)
    followed = running and not no_wait and report.counts.accepted > 0
    if followed:
        progress = follow(store, report.file_id, epoch=epoch, console=console, quiet=as_json)
    else:
        progress = progress_of(store, report.file_id, epoch)
    holders = {party.id for party in home.manifest.nodes} - {str(home.identity)}
    with store.read() as db:
        pending = with_unasked(overview.file_pending(db, report.file_id), progress, holders)
    found = store.file_matches(report.file_id)
    # As the manual says: 2 is wrong input, and a file of which nothing could be read is that.
    code = 0 if report.counts.accepted or not report.counts.refused else 2
    if as_json:
        _print_json(
            {
                **view.report_dict(report),
                "running": running,
                "progress": progress._asdict(),
                "not_covered": [one._asdict() for one in pending],
                "matches": [match_views.as_dict(one) for one in found],
            }
        )
        return code
    if not running:
        console.print(
            Text(f"Everything is stored. The node is not running; start it with: {_start(home.path)}"), soft_wrap=True
        )
    elif not progress.done:
        console.print("The node goes on by itself; see: concordat node status, concordat node matches", soft_wrap=True)
    # Whoever followed has read what the node waits for.
    for condition in () if followed else store.conditions():
        console.print(Text(f"{condition.name}: {condition.text}", style="yellow"), soft_wrap=True)
    view.show_matches(console, Console(), found=found, pending=pending, progress=progress, holders=holders)
    return code


def _warn_of_template(console: Console, case: CaseProfile) -> None:
    if left := case.left_from_template():
        text = f"The case profile still has the template's {', '.join(left)}: write your own, a search is answered for."
        console.print(Text(text, style="yellow"), soft_wrap=True)


def _warn_of_operation(console: Console, submitter: Submitter) -> None:
    """Say that an operation has no charter here: records that are marked for a mistyped one would be in no sweep."""
    if not submitter.operation:
        return
    from services.node.held import exercise_of, load_operation  # noqa: PLC0415 -- seldom needed here

    show_banner(exercise=bool(exercise_of(submitter.home.path, submitter.operation)), console=console)
    try:
        load_operation(submitter.home.path, submitter.operation)
    except ConcordatError:
        text = f"This node has signed no charter of {submitter.operation}; its records are in no sweep before it has."
        console.print(Text(text, style="yellow"), soft_wrap=True)


def _readings(store: Store, report: SubmitReport) -> list[records.RecordView]:
    """Return how single values that were typed are read; a file has too many, `records` shows them."""
    if report.facts.format != view.TYPED:
        return []
    with store.read() as db:
        return [one for one in records.record_views(db, file_id=report.file_id) if one.read_as is not None]


def _start(home: Path) -> str:
    return f"concordat node run --home {home}"


def _print_json(value: dict[str, Any]) -> None:
    print(json.dumps(value, ensure_ascii=False, default=str))
