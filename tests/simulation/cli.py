"""Run seeds of the simulation on all cores: `make simulate SEEDS=1000`; `SEED=n make simulate` shows one in full.

    python -m tests.simulation.cli [--seeds N] [--first N] [--seed N] [--mutant NAME]

Seeds that break an invariant are printed and kept in reproductions.json, which `make test` replays. Exit 1 if there
was one.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
import traceback
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Final

from tests.simulation.mutants import MUTANTS
from tests.simulation.simulation import REAL, Mutant, Outcome, make_federation, simulate

if TYPE_CHECKING:
    from collections.abc import Iterable

    from tests.unit.exchange import parties

KEPT: Final = Path(__file__).parent / "reproductions.json"
EVERY_S: Final = 5.0
BY_NAME: Final = {mutant.name: mutant for mutant in (REAL, *MUTANTS)}
_federation: list[parties.Federation] = []


def kept_seeds() -> list[int]:
    """Return the seeds that broke an invariant once."""
    return sorted(int(seed) for seed in json.loads(KEPT.read_text(encoding="utf-8")))


def keep(outcomes: Iterable[Outcome]) -> None:
    """Add seeds to the file, each with what it broke first."""
    kept = json.loads(KEPT.read_text(encoding="utf-8"))
    kept |= {str(one.seed): one.broken[0] for one in outcomes if str(one.seed) not in kept}
    ordered = {seed: kept[seed] for seed in sorted(kept, key=int)}
    KEPT.write_text(json.dumps(ordered, indent=2) + "\n", encoding="utf-8")


def _begin() -> None:
    with tempfile.TemporaryDirectory() as folder:
        _federation.append(make_federation(Path(folder) / "federation"))


def run(seed: int, mutant: str = "") -> Outcome:
    """Run one seed; an error is an invariant that is broken, too."""
    try:
        return simulate(seed, _federation[0], mutant=BY_NAME[mutant])
    except Exception as error:  # noqa: BLE001 -- whatever it is, it is the seed's finding
        last = traceback.extract_tb(error.__traceback__)[-1]
        return Outcome(seed, (f"{type(error).__name__} in {last.name}, line {last.lineno}: {error}",), 0, ())


def replay(seed: int, mutant: Mutant) -> int:
    """Run one seed, and print all that happens in it."""
    _begin()
    outcome = simulate(seed, _federation[0], mutant=mutant, trace=print)
    print(f"seed {seed}: {'; '.join(outcome.broken) or 'every invariant holds'}")
    return int(bool(outcome.broken))


def run_all(seeds: range, mutant: str) -> list[Outcome]:
    """Run seeds on all cores, with progress; return those that broke something."""
    broken: list[Outcome] = []
    started = said = time.monotonic()
    with ProcessPoolExecutor(os.cpu_count(), initializer=_begin) as pool:
        for done, one in enumerate(pool.map(run, seeds, [mutant] * len(seeds), chunksize=4), 1):
            if one.broken:
                broken.append(one)
                print(f"seed {one.seed} ({', '.join(one.families)}): {'; '.join(one.broken[:3])}", flush=True)
            now = time.monotonic()
            if now - said > EVERY_S or done == len(seeds):
                said, rate = now, done / (now - started)
                left_s = (len(seeds) - done) / rate
                print(f"{done} of {len(seeds)} seeds, {rate:.1f}/s, {left_s:.0f} s left", file=sys.stderr, flush=True)
    return broken


def main() -> int:
    """Run what the command line asks for."""
    parser = argparse.ArgumentParser(prog="make simulate")
    parser.add_argument("--seeds", type=int, default=int(os.environ.get("SEEDS") or 200), help="how many")
    parser.add_argument("--first", type=int, default=0, help="the first of them")
    parser.add_argument(
        "--seed", type=int, default=os.environ.get("SEED") or None, help="only this one, with its trace"
    )
    parser.add_argument("--mutant", choices=list(BY_NAME), default="", help="a rule that is taken out")
    chosen = parser.parse_args()
    if chosen.seed is not None:
        return replay(int(chosen.seed), BY_NAME[chosen.mutant])
    broken = run_all(range(chosen.first, chosen.first + chosen.seeds), chosen.mutant)
    print(f"{len(broken)} of {chosen.seeds} seeds broke an invariant: {[one.seed for one in broken]}")
    if not chosen.mutant:
        keep(broken)
    return int(bool(broken))


if __name__ == "__main__":
    sys.exit(main())
