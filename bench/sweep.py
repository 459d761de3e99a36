"""Sweeps of 26 sources: 1 M tokens each beside peers on a central table, 10 M each, and how memory and time grow.

    python -m bench.sweep [--sources 26] [--size 100000]

Ours is measured in `bench.sweep_run`, from the plan to the exact counts; the best of a few runs counts, as for the
peers. Every answer is held against `bench.oracle`, a program of its own.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from bench import central, data, sweep_run
from bench.machine import GIB, Needs
from bench.rows import Row, table
from concordat.errors import UnavailableError
from gateway.sweep.effects import SweepSettings

if TYPE_CHECKING:
    from bench.central import Answer
    from bench.rows import Context
    from bench.sweep_run import Outcome

SOURCES: Final = 26
SIZE: Final = 1_000_000
LARGE: Final = 10_000_000
# An eighth, a half of the largest have windows of the same size as it has, 156 250 tokens; a million has 125 000.
GROWTH: Final = (1_000_000, 1_250_000, 5_000_000)
RUNS: Final = 3
# Edges are the ledger's work, not the sweep's. All are waited for, however busy the machine is that starts them.
SETTINGS: Final = SweepSettings(pairs=False, join_s=120.0)


def needs(context: Context) -> Needs:
    """Return the room for the sets, which the page cache is to hold too, and for the peers."""
    if context.large:
        return Needs(disk=sum(data.Shape(SOURCES, size).bytes for size in (LARGE, *GROWTH)), memory=_memory(LARGE))
    rows = SOURCES * SIZE
    return Needs(
        disk=data.Shape(SOURCES, SIZE).bytes + rows * central.ROW_BYTES,
        memory=max(_memory(SIZE), rows * central.ROW_MEMORY),
    )


def there(context: Context) -> int:
    """Return how many bytes of that lie there already."""
    sizes = (LARGE, *GROWTH) if context.large else (SIZE,)
    return sum(data.there(context.folder, data.Shape(SOURCES, size)) for size in sizes)


def rows(context: Context) -> list[Row]:
    """Measure."""
    if not context.large:
        return [measure(context, data.Shape(SOURCES, SIZE), peers=True)]
    grown = [measure(context, data.Shape(SOURCES, size), prefix="growth") for size in GROWTH]
    whole = measure(context, data.Shape(SOURCES, LARGE))
    return [whole, *grown, _growth(grown[0], grown[1], whole)]


def measure(
    context: Context, shape: data.Shape, *, peers: bool = False, prefix: str = "sweep", runs: int = RUNS
) -> Row:
    """Sweep one shape a few times, and have the answer checked.

    Raises:
        UnavailableError: A process ended or fell silent.
    """
    folder = data.make(context.folder, shape, context.progress)
    context.progress(f"sweep {shape.name}: the oracle")
    truth = _oracle(folder)
    sources = data.sources(folder)
    outcomes = []
    for number in range(runs):
        outcomes.append(sweep_run.run(sources, settings=SETTINGS))
        context.progress(f"sweep {shape.name}: run {number + 1} of {runs}: {outcomes[-1].seconds:.2f} s")
    asked = central.ask_all(folder, context.progress) if peers else {}
    return row_of(f"{prefix}-{shape.name}", shape, truth, outcomes, asked)


def row_of(
    name: str, shape: data.Shape, truth: dict[str, Any], outcomes: list[Outcome], asked: dict[str, Answer]
) -> Row:
    """Return the row of a shape: the best of all runs, exact where every run and every peer was."""
    best = min(outcomes, key=lambda one: one.seconds)
    right = {
        peer: one.agree and (one.tokens, one.rows) == (truth["tokens"], truth["rows"]) for peer, one in asked.items()
    }
    exact = all(_fits(one, truth) for one in outcomes) and all(right.values())
    tokens = shape.sources * shape.size
    return Row(
        name=name,
        exact=exact,
        seconds=best.seconds,
        hub_cpu_s=best.hub_cpu_s,
        nodes_cpu_s=best.nodes_cpu_s,
        # The worst, as memory is a bound and not a speed.
        hub_rss_mb=max(one.hub_rss_mb for one in outcomes),
        peers={peer: one.seconds for peer, one in asked.items()},
        details={
            "tokens_per_s": round(tokens / best.seconds),
            "windows": best.windows,
            "shared_tokens": truth["tokens"],
            "shared_rows": truth["rows"],
            "runs_s": [round(one.seconds, 3) for one in outcomes],
            "peers": {peer: {**one.details, "exact": right[peer]} for peer, one in asked.items()},
            **best.details,
        },
    )


def _fits(outcome: Outcome, truth: dict[str, Any]) -> bool:
    """Tell whether all were counted, and each number is the oracle's."""
    counts = {int(byte): number for byte, number in truth["counts"].items()}
    return set(outcome.states) == {"included"} and (outcome.counts, outcome.shared) == (counts, truth["tokens"])


def _growth(million: Row, same_windows: Row, large: Row) -> Row:
    """Return how memory and time grew, from a million tokens a source and from the least with windows as large."""
    return Row(
        name="sweep-growth",
        exact=million.exact and same_windows.exact and large.exact,
        seconds=large.seconds,
        hub_rss_mb=large.hub_rss_mb,
        details={
            "memory_times_same_windows": _times(large.hub_rss_mb, same_windows.hub_rss_mb),
            "seconds_times_8_times_tokens": _times(large.seconds, same_windows.seconds),
            "memory_times_from_1M": _times(large.hub_rss_mb, million.hub_rss_mb),
            "seconds_times_10_times_tokens": _times(large.seconds, million.seconds),
        },
    )


def _times(large: float | None, small: float | None) -> float:
    return round((large or 0) / (small or 1), 3)


def _oracle(folder: Path) -> dict[str, Any]:
    command = [sys.executable, "-m", "bench.oracle", str(folder.absolute())]
    done = subprocess.run(command, cwd=central.ROOT, check=False, capture_output=True, text=True)
    if done.returncode:
        raise UnavailableError(f"the oracle fails: {done.stderr.strip()[-200:]}")
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def _memory(size: int) -> int:
    # The page cache is to hold the columns, else the disk is measured; hub and nodes have little of their own.
    return data.Shape(SOURCES, size).bytes + GIB


def main() -> None:
    """Measure one shape."""
    from bench.rows import Context  # noqa: PLC0415 -- only a command makes one

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sources", type=int, default=SOURCES)
    parser.add_argument("--size", type=int, default=100_000)
    parser.add_argument("--peers", action="store_true", help="beside the peers")
    given = parser.parse_args()
    context = Context(Path("build/bench"), large=False, progress=lambda text: print(text, file=sys.stderr))
    sys.stdout.write(table([measure(context, data.Shape(given.sources, given.size), peers=given.peers)]))


if __name__ == "__main__":
    main()
