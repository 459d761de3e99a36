"""Ask the central table with Polars' streaming engine: python -m bench.peers.polars_query FOLDER."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from typing import Any

from bench.peers.measured import report


def main() -> None:
    """Ask in two forms."""
    pl: Any = importlib.import_module("polars")
    table = Path(sys.argv[1]) / "central.parquet"
    source = pl.col("source")

    def ask(several: Any) -> tuple[int, int]:
        groups = pl.scan_parquet(table).group_by("high", "low").agg(pl.len().alias("rows"), several.alias("several"))
        found = groups.filter("several").select(pl.len(), pl.col("rows").sum()).collect(engine="streaming").row(0)
        return int(found[0]), int(found[1])

    report(
        {"min<>max": lambda: ask(source.min() != source.max()), "count distinct": lambda: ask(source.n_unique() > 1)},
        version=pl.__version__,
    )


if __name__ == "__main__":
    main()
