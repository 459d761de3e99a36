"""Write the central table: all tokens of all sources, one source after the other.

    python -m bench.peers.central FOLDER        # makes FOLDER/central.parquet and FOLDER/central.duckdb

A token is two unsigned words of 64 bits, which Polars and DuckDB group fastest (a blob of 16 bytes takes them longer).
"""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from typing import Any

import numpy as np

GROUP_ROWS = 1 << 20


def main() -> None:
    """Make both files; each is whole when it has its name."""
    folder = Path(sys.argv[1])
    parquet, table = folder / "central.parquet", folder / "central.duckdb"
    if not parquet.exists():
        _write_parquet(folder, parquet)
    if not table.exists():
        _write_table(parquet, table)


def _write_parquet(folder: Path, path: Path) -> None:
    arrow: Any = importlib.import_module("pyarrow")
    files: Any = importlib.import_module("pyarrow.parquet")
    part = path.with_suffix(".part")
    fields = [("high", arrow.uint64()), ("low", arrow.uint64()), ("source", arrow.uint8())]
    writer = files.ParquetWriter(part, arrow.schema(fields), compression="none", use_dictionary=False)
    for number, source in enumerate(sorted(folder.glob("[0-9][0-9]"))):
        high, low = np.load(source / "high.npy"), np.load(source / "low.npy")
        numbers = np.full(len(high), number, np.uint8)
        rows = arrow.table({"high": high, "low": low, "source": numbers})
        writer.write_table(rows, row_group_size=GROUP_ROWS)
    writer.close()
    part.replace(path)


def _write_table(parquet: Path, path: Path) -> None:
    duckdb: Any = importlib.import_module("duckdb")
    part = path.with_suffix(".part")
    part.unlink(missing_ok=True)
    connection = duckdb.connect(str(part))
    connection.execute("CREATE TABLE central AS SELECT * FROM read_parquet(?)", [str(parquet)])
    connection.close()
    part.replace(path)


if __name__ == "__main__":
    main()
