"""The peers of a sweep: each in a process of its own on one central table, and what this machine lacks left out.

for name, found in ask_all(folder, progress): ...
"""

from __future__ import annotations

import json
import subprocess
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from bench import postgres
from concordat.errors import ConcordatError, UnavailableError

if TYPE_CHECKING:
    from collections.abc import Callable

ROOT: Final = Path(__file__).parents[1]
PYTHON: Final = ROOT / ".venv-bench" / "bin" / "python"
TIMEOUT_S: Final = 600
# The table in three forms: Parquet, DuckDB's file, and PostgreSQL's with its copy.
ROW_BYTES: Final = 20 + 24 + 90
# Polars and DuckDB hold a hash table of all tokens.
ROW_MEMORY: Final = 150


@dataclass(frozen=True, slots=True)
class Answer:
    """What a peer found; seconds are the best of its tries."""

    tokens: int
    rows: int
    seconds: float
    agree: bool = True
    details: dict[str, Any] = field(default_factory=dict)


def ask_all(folder: Path, progress: Callable[[str], None]) -> dict[str, Answer]:
    """Ask every peer that is here, one after the other."""
    found: dict[str, Answer] = {}
    if PYTHON.exists():
        progress("peers: writing the central table")
        _program("central", folder)
    else:
        progress("peers: Polars and DuckDB left out: no .venv-bench (make bench makes it)")
    for name in ("polars", "duckdb") if PYTHON.exists() else ():
        progress(f"peers: {name}")
        answer = json.loads(_program(f"{name}_query", folder))
        names = ("tokens", "rows", "seconds", "agree")
        details = {key: value for key, value in answer.items() if key not in names}
        found[name] = Answer(**{key: answer[key] for key in names}, details=details)
    try:
        progress("peers: postgresql")
        found["postgresql"] = Answer(**postgres.ask(folder))
    except ConcordatError as error:
        progress(f"peers: PostgreSQL left out: {error.message}")
    return found


def _program(name: str, folder: Path) -> str:
    command = [str(PYTHON), "-m", f"bench.peers.{name}", str(folder.absolute())]
    try:
        done = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True, timeout=TIMEOUT_S)
    except subprocess.CalledProcessError as error:
        last = error.stderr.strip().splitlines()[-1:]
        raise UnavailableError(f"bench.peers.{name} failed: {last}") from error
    except subprocess.TimeoutExpired as error:
        raise UnavailableError(f"bench.peers.{name} took more than {TIMEOUT_S} s") from error
    return done.stdout
