"""Ask the central table with DuckDB, from its own file: python -m bench.peers.duckdb_query FOLDER."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from typing import Any

from bench.peers.measured import report

QUESTION = "SELECT count(*), sum(n) FROM (SELECT count(*) AS n FROM central GROUP BY high, low HAVING {several})"


def main() -> None:
    """Ask in two forms."""
    duckdb: Any = importlib.import_module("duckdb")
    connection = duckdb.connect(str(Path(sys.argv[1]) / "central.duckdb"), read_only=True)

    def ask(several: str) -> tuple[int, int]:
        tokens, rows = connection.execute(QUESTION.format(several=several)).fetchone()
        return int(tokens), int(rows)

    report(
        {
            "min<>max": lambda: ask("min(source) <> max(source)"),
            "count distinct": lambda: ask("count(DISTINCT source) > 1"),
        },
        version=duckdb.__version__,
    )


if __name__ == "__main__":
    main()
