"""Run benches, print one table, and leave `bench/out/NAME.json`.

    python -m bench [NAMES] [--large] [--json] [--out FOLDER] [--data FOLDER]

Needs of disk and memory are printed and checked before anything is made. What this machine lacks is said and left out.
"""

from __future__ import annotations

import argparse
import importlib
import json
import sys
import time
import traceback
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from bench.machine import GIB, Machine, Needs, require_room
from bench.rows import Context, save, table
from concordat.errors import ConcordatError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from bench.rows import Row

# In this order: the sweep, whose wall time counts, on a machine that nothing before it has made busy.
BENCHES: Final = ("sweep", "live", "index", "planes", "submit", "tokenise")
LARGE: Final = ("sweep", "index", "planes", "submit")
ALL: Final = (*BENCHES, "psi")


def main(argv: Sequence[str] | None = None, *, load: Callable[[str], Any] | None = None) -> int:
    """Run what was asked for; return 1 where a bench failed or an answer was wrong.

    Args:
        argv: The command's arguments.
        load: Returns the module of a bench.
    """
    given = _arguments(argv)
    names = given.names or list(LARGE if given.large else BENCHES)
    context = Context(given.data, given.large, _say)
    modules = {name: (load or _module)(name) for name in names}
    try:
        machine = Machine.here()
        _say(str(machine))
        if not machine.quiet:
            _say(f"WARNING: the load is {machine.load}; something else is at work, and wall times will be too long")
        context.folder.mkdir(parents=True, exist_ok=True)
        _require_room(modules, context)
        rows, failed = [], False
        for name, module in modules.items():
            found = _run(name, module, context, machine, given.out)
            failed |= found is None
            rows += found or []
    except ConcordatError as error:
        _say(f"bench: {error.message}")
        return 1
    sys.stdout.write(json.dumps([row.model_dump() for row in rows]) + "\n" if given.json else table(rows))
    return int(failed or not all(row.exact for row in rows))


def _arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m bench", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("names", nargs="*", choices=[[], *ALL], metavar="NAME", help=", ".join(ALL))
    parser.add_argument("--large", action="store_true", help="26 x 10 M, and how a sweep grows up to it")
    parser.add_argument("--json", action="store_true", help="rows instead of a table")
    parser.add_argument("--out", type=Path, default=Path("bench/out"), help="where NAME.json goes")
    parser.add_argument("--data", type=Path, default=Path("build/bench"), help="where the sets lie; kept")
    return parser.parse_args(argv)


def _run(name: str, module: Any, context: Context, machine: Machine, out: Path) -> list[Row] | None:
    """Return the rows of a bench, which are saved too; None where it could not run."""
    began = time.monotonic()
    _say(f"{name} ...")
    try:
        found = [_stamped(one, machine) for one in module.rows(context)]
    except ConcordatError as error:
        _say(f"{name}: left out: {error.message}")
        return None
    except Exception as error:  # noqa: BLE001 -- the others are to run; it is said, and the exit code tells
        _say(f"{name}: failed: {''.join(traceback.format_exception(error))}")
        return None
    save(out / f"{name}{'-large' if context.large else ''}.json", found)
    _say(f"{name}: done in {time.monotonic() - began:.0f} s")
    return found


def _stamped(row: Row, machine: Machine) -> Row:
    return row.model_copy(update={"details": {**row.details, "machine": machine.facts()}})


def _require_room(modules: Mapping[str, Any], context: Context) -> None:
    needs, there = Needs(), 0
    for module in modules.values():
        needs |= module.needs(context) if hasattr(module, "needs") else Needs(disk=GIB, memory=GIB)
        there = max(there, module.there(context) if hasattr(module, "there") else 0)
    _say(f"needs {needs}, data in {context.folder}")
    require_room(needs, context.folder, there=there)


def _module(name: str) -> Any:
    return importlib.import_module(f"bench.{name}")


def _say(text: str) -> None:
    sys.stderr.write(text + "\n")
    sys.stderr.flush()


if __name__ == "__main__":
    sys.exit(main())
