"""Measure whether an asker can tell by time that somebody holds a value in silence (I11): `make leak-test`.

    python -m tests.leaktest                 both: nothing may be found, then 5 ms that are planted must be
    python -m tests.leaktest --leaky 5       plants 5 ms; ends with 1, as it is found
    python -m tests.leaktest --leaky 0       the federation as it is, alone
    python -m tests.leaktest --checks 400    a short run

Ends with 0 where all is as it should be, else with 1.
"""

from __future__ import annotations

import argparse
import asyncio
import subprocess
import sys
import tempfile
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING, Final

from tests.leaktest import federation
from tests.leaktest.asker import Measured, measure
from tests.leaktest.federation import MOST_DELAY_S, TICK_MS, WINDOW_MS
from tests.leaktest.statistic import ALPHA, SHIFT_MS, compare, found_in, rank_p

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.leaktest.statistic import Finding

CHECKS: Final = 3000
EXPERIMENTS: Final = 100
ENOUGH: Final = 99
SIZE: Final = 400


def main(arguments: list[str]) -> int:
    """Run what the arguments say."""
    parser = argparse.ArgumentParser(prog="leak-test", description="Can an asker tell a silent holder by time?")
    parser.add_argument(
        "--leaky", type=float, default=None, metavar="MS", help="plant a leak of MS, and run this alone"
    )
    parser.add_argument("--checks", type=int, default=CHECKS, metavar="N", help=f"checks a run (default {CHECKS})")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--part", nargs="+", help=argparse.SUPPRESS)
    chosen = parser.parse_args(arguments)
    if chosen.part:
        return _part(*chosen.part)
    _say(f"ticks of {TICK_MS} ms, windows of {WINDOW_MS} ms, answers held back for 0 to {MOST_DELAY_S * 1000:g} ms")
    if chosen.leaky is not None:
        finding, same, _ = _run(chosen.leaky, chosen)
        return int(finding.significant or not same)
    return _both(chosen)


def _both(chosen: argparse.Namespace) -> int:
    finding, same, honest = _run(0.0, chosen)
    planted, _, leaky = _run(SHIFT_MS, chosen)
    size = min(SIZE, *(2 * len(sample) for run in (honest, leaky) for sample in run.offsets()))
    false, right = (found_in(*run.offsets(), size=size, times=EXPERIMENTS, seed=chosen.seed) for run in (honest, leaky))
    _say(f"of {EXPERIMENTS} experiments of {size} checks, drawn from these: a leak in {false} where there is none,")
    _say(f"  in {right} where {SHIFT_MS:g} ms were planted (at least {ENOUGH} wanted)")
    good = same and not finding.significant and planted.significant and right >= ENOUGH
    _say("as it should be" if good else "NOT as it should be")
    return int(not good)


def _run(leaky_ms: float, chosen: argparse.Namespace) -> tuple[Finding, bool, Measured]:
    name = f"{leaky_ms:g} ms planted" if leaky_ms else "as it is"
    with tempfile.TemporaryDirectory() as made:
        measured = _measure(Path(made) / "federation", leaky_ms, chosen, name)
    finding = compare(*measured.offsets(), seed=chosen.seed)
    missed = measured.uncovered()
    _say(f"{name}: {finding}")
    word = "a difference" if finding.significant else "no difference"
    _say(f"  {word} at {ALPHA:g}; not covered: {missed[0].sum():.0f} + {missed[1].sum():.0f}")
    # A holder that is timed out where it holds something tells as much as time does.
    return finding, rank_p(*missed) >= ALPHA, measured


def _measure(directory: Path, leaky_ms: float, chosen: argparse.Namespace, name: str) -> Measured:
    federation.make(directory)

    def progress(done: int) -> None:
        if done % 200 == 0 or done == chosen.checks:
            _say(f"  {name}: {done} of {chosen.checks} checks", end="\r" if sys.stderr.isatty() else "\n")

    with ExitStack() as stack:
        gateway = stack.enter_context(_process("gateway", str(directory), str(leaky_ms)))
        address = f"127.0.0.1:{int(gateway.readline())}"
        holder = stack.enter_context(_process("holder", str(directory), address, str(chosen.checks)))
        assert holder.readline().strip() == "attached"
        return asyncio.run(measure(directory, address, chosen.checks, seed=chosen.seed, progress=progress))


@contextmanager
def _process(*part: str) -> Iterator[IO[str]]:
    command = [sys.executable, "-m", "tests.leaktest", "--part", *part]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield process.stdout
        finally:
            process.terminate()


def _part(name: str, directory: str, *rest: str) -> int:
    if name == "gateway":
        asyncio.run(federation.serve_gateway(Path(directory), leaky_ms=float(rest[0])))
    else:
        asyncio.run(federation.run_holder(Path(directory), rest[0], int(rest[1])))
    return 0


def _say(text: str, *, end: str = "\n") -> None:
    print(text, file=sys.stderr, end=end, flush=True)  # noqa: T201 -- what the command is for


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
