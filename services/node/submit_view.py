"""What `submit` and `check` say: what was stored, how it was read, what matches, and who is covered."""

from __future__ import annotations

import shlex
import time
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, Final, Self

from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn
from rich.text import Text

from services.node import matches as match_views
from services.node.coverage import no_match, not_covered
from services.node.importers import delimiter_name

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from rich.console import Console

    from services.node.store.overview import FileProgress, PendingHolder
    from services.node.store.records import RecordView
    from services.node.store.rows import MatchRow
    from services.node.submit import SubmitProgress, SubmitReport

TYPED: Final = "typed"
READINGS_SHOWN: Final = 20
_REFUSED_SHOWN: Final = 50


class SubmitBar:
    """Shows how far a file is stored, at a terminal; says when it is stopped, or fails, what is stored already."""

    def __init__(self, console: Console, *, quiet: bool) -> None:
        self._console = console
        self._done: SubmitProgress | None = None
        self._begun = time.monotonic()
        columns = (
            TextColumn("stored {task.fields[rows]:,} rows"),
            BarColumn(),
            TaskProgressColumn(),
            TextColumn("{task.fields[rate]:,.0f} rows/s, time left"),
            TimeRemainingColumn(),
        )
        disable = quiet or not console.is_terminal
        self._bar = Progress(*columns, console=console, transient=True, disable=disable)
        self._task = self._bar.add_task("stored", total=None, rows=0, rate=0.0)
        self._first = 0

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self._bar.stop()
        said = ["Stopped."] if kind is KeyboardInterrupt else []
        if kind is not None and self._done is not None:
            said.append(f"{self._done.rows:,} rows are stored; the same command again goes on behind them.")
        elif said:
            said.append("What was stored before is stored; run the command again.")
        if said:
            _say(self._console, " ".join(said))

    def update(self, done: SubmitProgress) -> None:
        """Show what is on disk now."""
        if self._done is None:
            # What was stored before this command is no part of its pace.
            self._first, self._begun = done.rows, time.monotonic()
        self._done = done
        took_s = time.monotonic() - self._begun
        # A document is read as a whole, and rows that are there are passed over: nothing is known of how much is done.
        total = done.size_bytes if done.read_bytes else None
        rate = (done.rows - self._first) / took_s if took_s else 0.0
        self._bar.update(self._task, completed=done.read_bytes, total=total, rows=done.rows, rate=rate)


def show_report(console: Console, report: SubmitReport, readings: Sequence[RecordView] = ()) -> None:
    """Say how a file was understood and what became of its rows."""
    facts, counts = report.facts, report.counts
    if facts.format != TYPED:
        delimiter = "" if facts.delimiter is None else f", delimiter {delimiter_name(facts.delimiter)}"
        _say(console, f"{facts.name}: {facts.format}, {facts.encoding}{delimiter}")
    again = "; all of it was submitted before, and nothing changed" if report.again else ""
    known = f"known before: {counts.already_known:,}"
    _say(console, f"accepted {counts.accepted:,} ({known}), refused {counts.refused:,}{again}")
    for one in readings[:READINGS_SHOWN]:
        _say(console, f"  {one.typed} is read as {one.read_as}{_region(one)}")
    if counts.region_assumed:
        numbers = "1 number was" if counts.region_assumed == 1 else f"{counts.region_assumed:,} numbers were"
        _say(console, f"{numbers} read in a region that was assumed, see `records`; --region names another")
    if facts.unknown_columns:
        _say(console, f"columns that mean nothing here: {', '.join(facts.unknown_columns)}")
    for line in report.refused[:_REFUSED_SHOWN]:
        _say(console, f"  line {line.line}: {line.reason} [{line.code}]")
    if counts.refused > _REFUSED_SHOWN:
        rest = f"  and {counts.refused - _REFUSED_SHOWN:,} more"
        _say(console, f"{rest}; see: concordat node records --refused --file {shlex.quote(facts.name)}")


def show_matches(
    console: Console,
    out: Console,
    *,
    found: Sequence[MatchRow],
    pending: Sequence[PendingHolder],
    progress: FileProgress,
    holders: Iterable[str],
) -> None:
    """Show what matches and who is covered; of a value that was not asked about nothing is claimed (I6).

    Args:
        console: For what people read beside the result.
        out: For the result.
        found: The matches of the file's records.
        pending: Who has not covered some of its values.
        progress: How far these have come.
        holders: All who could hold them.
    """
    if found:
        out.print(match_views.as_table(found))
    if missing := not_covered(pending):
        _say(console, missing)
    if not progress.values:
        _say(console, "Nothing in it could be asked about, so nothing is known of matches.")
    elif progress.done:
        waiting, matching = {one.holder for one in pending}, {one.other for one in found}
        if said := no_match(set(holders) - waiting - matching, matched=bool(found)):
            _say(console, said)


def report_dict(report: SubmitReport) -> dict[str, Any]:
    """Return what was stored as JSON has it."""
    return {
        "file": asdict(report.facts),
        "again": report.again,
        **report.counts._asdict(),
        "refused_lines": [one._asdict() for one in report.refused],
    }


def _region(record: RecordView) -> str:
    if record.region is None:
        return ""
    return f" ({record.region}{', assumed' if record.region_assumed else ''})"


def _say(console: Console, text: str) -> None:
    # Never folded: a terminal does that, and a log or pipe keeps the line whole.
    console.print(Text(text), soft_wrap=True)
