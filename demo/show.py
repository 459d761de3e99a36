"""What the demo shows to people: steps with progress, matches as they come, the report, the comparison."""

from __future__ import annotations

import shlex
import sys
import threading
import time
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    SpinnerColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.table import Table

from concordat.client.view import show_outcome
from concordat.identity.names import Role
from concordat.identity.plan import CONSOLE_NAME
from concordat.report_view import render_report
from services.node.follow import SPEED_OVER_S

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from rich.console import Console

    from demo.partner import PartnerCheck
    from demo.processes import Event
    from demo.score import Score
    from demo.stores import Left

SHOWN_MATCHES: Final = 12
LISTED: Final = 10


class Screen:
    """The demo's output; safe to call from the threads that listen to processes."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self._turn = threading.Lock()
        self._told = 0

    @contextmanager
    def step(self, text: str, total: int | None = None) -> Iterator[Callable[[int], None]]:
        """Show a step while it runs, and how long it took; the yielded function advances it."""
        # A bar of unknown length says nothing that the spinner and the time do not say.
        bar = () if total is None else (BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        columns = (SpinnerColumn(), TextColumn("{task.description}"), *bar, TimeElapsedColumn())
        begun = time.monotonic()
        # In a file or pipe a bar that comes and goes leaves nothing but empty lines.
        hidden = not self.console.is_terminal
        with Progress(*columns, console=self.console, transient=True, disable=hidden) as progress:
            task = progress.add_task(text, total=total)
            yield lambda number: progress.advance(task, number)
        self.console.print(f"[green]✓[/] {text} [dim]{time.monotonic() - begun:.1f} s[/]", highlight=False)

    @contextmanager
    def work(self, text: str) -> Iterator[Callable[[Left], None]]:
        """Show how far tokens and checks of all nodes are, with the time left; the yielded function takes the news."""
        begun = time.monotonic()
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        # The stores are read less often the more is in them.
        period_s, hidden = SPEED_OVER_S, not self.console.is_terminal
        with Progress(
            *columns, console=self.console, transient=True, disable=hidden, speed_estimate_period=period_s
        ) as progress:
            bars = {
                "tokens": progress.add_task("tokens made      ", total=None),
                "checks": progress.add_task("values asked     ", total=None),
                "pending": progress.add_task("answers to checks", total=None),
            }
            most = dict.fromkeys(bars, 0)

            def tell(left: Left) -> None:
                for name, bar in bars.items():
                    now = getattr(left, name)
                    # What is to be done may grow, as questions come up with the tokens.
                    most[name] = max(most[name], now)
                    progress.update(bar, total=most[name], completed=most[name] - now)

            yield tell
        self.console.print(f"[green]✓[/] {text} [dim]{time.monotonic() - begun:.1f} s[/]", highlight=False)

    def on_event(self, _process: str, event: Event) -> None:
        """Print the first matches as they come, and whatever somebody should know."""
        kind = event.get("event")
        if kind == "told":
            with self._turn:
                self._told += 1
                if self._told <= SHOWN_MATCHES:
                    self._show_match(event)
                elif self._told == SHOWN_MATCHES + 1:
                    self.console.print("  ... and so on", highlight=False)
        elif kind in ("party_refused", "check_failed"):
            self.console.print(f"  [yellow]{event}[/]", highlight=False)

    def _show_match(self, event: Event) -> None:
        other = str(event.get("other", "")).rpartition("/")[2]
        self.console.print(
            f"  [bold]{event.get('node')}[/] is told: match {event.get('handle')} with [bold]{other}[/],"
            f" {event.get('namespace')}, {event.get('grade')}",
            highlight=False,
        )

    def linger(self, home: Path) -> None:
        """Say how to look at what still runs, and wait for Enter or the end of the input."""
        concordat = Path(sys.argv[0]).absolute().parent / "concordat"
        self.console.print("The federation still runs. In another terminal, for example:", highlight=False)
        for command in ("matches", "status", "records"):
            text = f"  {shlex.join([str(concordat), 'node', command, '--home', str(home)])}"
            self.console.print(text, highlight=False, markup=False, soft_wrap=True)
        page = home.parents[1] / Role.CONSOLE / CONSOLE_NAME
        self.console.print("Another link to the hub operator's page:", highlight=False)
        text = f"  {shlex.join([str(concordat), 'console', 'link', '--home', str(page)])}"
        self.console.print(text, highlight=False, markup=False, soft_wrap=True)
        with suppress(EOFError):
            self.console.input("Press Enter to stop it. ")

    @property
    def told(self) -> int:
        """Return how many notices were told so far."""
        return self._told

    def report(self, report: Mapping[str, Any] | None) -> None:
        """Print the after-action report."""
        if report is not None:
            self.console.print(render_report(report))

    def console_link(self, link: str | None) -> None:
        """Print the link by which the hub operator's page opens, once."""
        if link is not None:
            self.console.print("  The hub operator's page, for a browser on this machine (the link opens it once):")
            self.console.print(f"  [bold]{link}[/]", highlight=False, soft_wrap=True)

    def partner_checks(self, checks: Iterable[PartnerCheck], wrong: Sequence[str]) -> None:
        """Print what partners were told, as their own program shows it, and what is wrong with it."""
        for check in checks:
            self.console.print(f"\n{check.partner} asked, and was told", highlight=False)
            show_outcome(self.console, check.listed, check.outcome)
        for entry in wrong[:LISTED]:
            self.console.print(f"  [red]wrong answer[/] {entry}", highlight=False)

    def verdict(self, *, right: bool, seconds: float) -> None:
        """Print whether all is as the scenario says."""
        said = "[bold green]right[/]" if right else "[bold red]not right[/]"
        self.console.print(f"\nThe federation's result is {said}, after {seconds:.1f} s.", highlight=False)

    def comparison(self, score: Score) -> None:
        """Print what was found beside what is true."""
        table = Table(title="Compared with the truth", title_justify="left")
        table.add_column("matches")
        table.add_column("number", justify="right")
        table.add_row("expected", str(score.expected))
        table.add_row("found, both sides told", str(score.found))
        table.add_row("missing", str(len(score.missing)))
        table.add_row("told more than once", str(len(score.doubled)))
        table.add_row("that should not be", str(len(score.unexpected)))
        self.console.print(table)
        for title, entries in (
            ("missing", score.missing),
            ("doubled", score.doubled),
            ("unexpected", score.unexpected),
            ("wrong total", score.wrong_totals),
        ):
            for entry in entries[:LISTED]:
                self.console.print(f"  [red]{title}[/] {entry}", highlight=False)
            if len(entries) > LISTED:
                self.console.print(f"  ... and {len(entries) - LISTED} more {title}", highlight=False)
