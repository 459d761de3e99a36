"""`concordat demo`: run a whole federation on this machine, and hold its report against the truth."""

from __future__ import annotations

import json
import signal
import sys
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, NoReturn

from cyclopts import App, Parameter
from rich.console import Console

from concordat.errors import InputError
from concordat.telemetry import TelemetrySettings
from demo.generate import MAX_RECORDS, MIN_RECORDS, generate
from demo.run import Outcome, run_demo
from demo.scenario import load_scenario
from demo.show import Screen

if TYPE_CHECKING:
    from collections.abc import Iterator

app = App(name="demo", help="Run a whole federation on this machine and check its report.")


@app.default
def demo(
    *,
    seed: int = 1,
    standing: int = 2000,
    scale: int | None = None,
    scenario: Path | None = None,
    once: Annotated[bool, Parameter(negative="")] = False,
    json_path: Annotated[Path | None, Parameter(name="--json")] = None,
    break_: Annotated[Literal["canonical", "route", "notify"] | None, Parameter(name="--break")] = None,
    keep: Path | None = None,
    hosts: int = 2,
    otlp: str | None = None,
) -> int:
    """Let 26 countries and Europol cross-check an action day, and print the report.

    Everything is real: three custodians, the gateway and the nodes are processes of their own that talk mTLS on
    loopback. Raw files are made for each party, submitted at once, and what every party was told is compared with the
    truth. A link to the hub operator's page is printed; at the end a partner checks 20 identifiers. Exit code 0 when
    every match was found, once, and no other, and the totals and the partner's answers are right; else 1.

    Examples:
        concordat demo
        concordat demo --seed 7 --once --json result.json
        concordat demo --scenario mine.json
        concordat demo --scale 100000         # records in all
        concordat demo --break route          # shows that a lost match is noticed

    Args:
        seed: Changes who holds what, how it is written and in which order; never the totals.
        standing: Records of Europol's standing index in the default scenario.
        scale: Records of all parties together, 2 000 to 1 000 000, instead of the hackathon day's; a fifth of them is
            Europol's index. 100 000 take some minutes, 1 000 000 hours (README).
        scenario: Run the lines of this file instead (docs/scenario.md).
        once: Stop everything at the end without asking, also at a terminal.
        json_path: Write the outcome as JSON to this file; `-` is stdout.
        break_: Break one part on purpose, to see that the comparison finds it.
        keep: Keep folders, stores and logs in this new folder instead of a temporary one.
        hosts: Processes among which the nodes are spread.
        otlp: Send every process's spans and metrics to this OpenTelemetry collector, such as http://localhost:4317.
    """
    if seed < 0 or standing < 0 or not 1 <= hosts <= 64:
        raise InputError("--seed and --standing are 0 or more, --hosts is 1 to 64")
    if scale is not None and (scenario is not None or not MIN_RECORDS <= scale <= MAX_RECORDS):
        raise InputError(f"--scale is {MIN_RECORDS} to {MAX_RECORDS} records, and goes without --scenario")
    _check_places(json_path, keep)
    TelemetrySettings().sending_to(otlp)
    chosen = load_scenario(scenario) if scenario is not None else generate(seed, standing=standing, records=scale)
    console = Console(stderr=json_path is not None and str(json_path) == "-")
    screen = Screen(console)
    with _ended_by_signals(), tempfile.TemporaryDirectory(prefix="concordat-demo-") as temporary:
        folder = keep or Path(temporary)
        _make(folder)
        outcome = run_demo(
            chosen, folder, screen=screen, hosts=hosts, fault=break_, otlp=otlp, linger=_linger(once=once)
        )
    if json_path is not None:
        _write(outcome, json_path)
    return 0 if outcome.right else 1


def _check_places(json_path: Path | None, keep: Path | None) -> None:
    """Refuse before the work what could not be written after it."""
    if keep is not None and keep.exists() and not (keep.is_dir() and not any(keep.iterdir())):
        raise InputError(f"--keep {keep}: is there already and not an empty folder; name a new one")
    if json_path is None or str(json_path) == "-":
        return
    if json_path.is_dir() or not json_path.absolute().parent.is_dir():
        raise InputError(f"--json {json_path}: name a file in a folder that exists")


def _make(folder: Path) -> None:
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"{folder}: cannot be made ({error.strerror})") from error


@contextmanager
def _ended_by_signals() -> Iterator[None]:
    """Turn the first SIGTERM or Ctrl-C into an ordinary end, so that everything that was started is stopped.

    Further ones are ignored: they would cut that short. Python's own answer to SIGTERM would leave all processes there.
    """
    numbers = (signal.SIGTERM, signal.SIGINT)

    def end(number: int, _frame: object) -> NoReturn:
        for one in numbers:
            signal.signal(one, signal.SIG_IGN)
        sys.exit(128 + number)

    before = {one: signal.signal(one, end) for one in numbers}
    try:
        yield
    finally:
        for one, handler in before.items():
            signal.signal(one, handler)


def _linger(*, once: bool) -> bool:
    """Keep the federation running at the end only for a person who can look at it and stop it."""
    return not once and sys.stdin.isatty() and sys.stdout.isatty()


def _write(outcome: Outcome, path: Path) -> None:
    text = json.dumps(outcome.to_json(), indent=2, ensure_ascii=False) + "\n"
    if str(path) == "-":
        print(text, end="")
        return
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise InputError(f"--json {path}: cannot be written ({error.strerror})") from error
