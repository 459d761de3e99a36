"""Confirm MACs of a large set, on all cores (3.6 (3)): one keyed hash a row, made when the node joins a sweep.

A worker reads the match secrets from the set's file itself; they pass through no pipe, argument or environment.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from concordat.protocol.macs import CONFIRM_BYTES, confirm_macs
from services.node.index.run import Run
from services.node.worker_pool import WorkerPool, cores

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    import numpy.typing as npt

ALONE_ROWS: Final = 200_000
"""Fewer rows than this are done before a worker has started."""
BLOCK_ROWS: Final = 1 << 16


def confirm_blocks(run: Run, sweep_id: bytes) -> Iterator[npt.NDArray[Any]]:
    """Give the confirm MACs of a set's rows in their order, shape (rows of the block, 16)."""
    starts = range(0, run.rows, BLOCK_ROWS)
    if run.rows < ALONE_ROWS:
        for start in starts:
            yield _matrix(_macs(run, sweep_id, start))
        return
    with WorkerPool(partial(_macs_of_file, run.path, sweep_id), workers=cores()) as pool:
        for packed in pool.each(starts):
            yield _matrix(packed)


def _macs_of_file(path: Path, sweep_id: bytes, start: int) -> bytes:
    # The parent has read or written all of the file a moment ago.
    return _macs(Run.open(path, "set", check=False), sweep_id, start)


def _macs(run: Run, sweep_id: bytes, start: int) -> bytes:
    return confirm_macs(run.column("secret")[start : start + BLOCK_ROWS].tobytes(), sweep_id)


def _matrix(packed: bytes) -> npt.NDArray[Any]:
    return np.frombuffer(packed, np.uint8).reshape(-1, CONFIRM_BYTES)
