"""Explore worlds of the model by name, with progress: `make model ARGS='--wide crash'`."""

from __future__ import annotations

import argparse
import sys
import time

from tests.model.configurations import LIMITS, SMALL, widened
from tests.model.rules import Rules


def main() -> int:
    """Explore, and return 1 where something goes wrong."""
    parser = argparse.ArgumentParser(description="Exhaust worlds of the protocol's model.")
    parser.add_argument("worlds", nargs="*", help=f"all without one; there are: {', '.join([*SMALL, *LIMITS])}")
    parser.add_argument("--wide", action="store_true", help="every order of events and steps; takes minutes to hours")
    parser.add_argument("--without", default="", metavar="RULE", help="switch a rule off")
    parser.add_argument("--limit", type=int, help="most states of one world")
    chosen = parser.parse_args()
    rules = Rules(**{chosen.without: False}) if chosen.without else Rules()
    wrong = 0
    for name in chosen.worlds or SMALL:
        world = (SMALL | LIMITS)[name]
        began = time.monotonic()

        def progress(states: int, waiting: int, *, name: str = name, began: float = began) -> None:
            rate = states / max(time.monotonic() - began, 0.001)
            sys.stderr.write(f"\r{name}: {states} states, {waiting} wait, {rate:.0f} states/s ")

        result = (widened(world) if chosen.wide else world).explore(rules, limit=chosen.limit, progress=progress)
        extent = "" if result.complete or result.counterexample else ", not exhausted"
        sys.stdout.write(f"{name}: {result.states} states{extent}\n")
        if result.counterexample is not None:
            sys.stdout.write(f"{result.counterexample}\n")
            wrong = 1
        sys.stdout.flush()
    return wrong


if __name__ == "__main__":
    sys.exit(main())
