"""The command line `concordat node case`."""

from __future__ import annotations

import json
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated, Any, Final

from cyclopts import App, Parameter
from rich.console import Console
from rich.table import Table
from rich.text import Text

from concordat.clock import SystemClock
from concordat.justification import write_template
from services.node.case import template
from services.node.opened import opened_node
from services.node.store import cases

_CLOCK: Final = SystemClock()
_CASE_DAYS: Final = 90

app = App(name="case", help="Make and show case profiles: why a search may be made.")

AsJson = Annotated[bool, Parameter(name="--json", negative=(), help="Print one JSON object and nothing else.")]
HomeFolder = Annotated[Path, Parameter(help="The node's folder.")]


@app.command
def new(file: Path, /, *, days: int = _CASE_DAYS, as_json: AsJson = False) -> None:
    """Write a new case profile that explains itself; replace every value by that of your case.

    Example: concordat node case new case.toml

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
    text = f"{file}: fill in the fields, then: concordat node submit FILE --case {file} --home FOLDER"
    Console().print(Text(text), soft_wrap=True)


@app.command
def show(*, home: HomeFolder, as_json: AsJson = False) -> None:
    """Show the cases under which something was submitted."""
    with opened_node(home, _CLOCK) as (_, store), store.read() as db:
        found = cases.all_cases(db)
    if as_json:
        _print_json({"cases": [one.model_dump(mode="json") for one in found]})
        return
    table = Table()
    for title in ("reference", "authority", "officer", "purpose", "offence", "valid until"):
        table.add_column(title, overflow="fold")
    for one in found:
        offence = one.offence.value if one.offence else ""
        cells = (one.reference, one.authority, one.officer, one.purpose.value, offence, one.valid_until.isoformat())
        table.add_row(*(Text(text) for text in cells))
    Console().print(table)


def _print_json(value: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(value, ensure_ascii=False) + "\n")
