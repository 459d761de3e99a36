"""Confirm MACs of a large set, on all cores (3.6 (3)): one keyed hash a row, made when the node joins a sweep.

A worker reads the match secrets from the set's file itself; they pass through no pipe, argument or environment.
"""

from __future__ import annotations

from concurrent.futures import Future, ProcessPoolExecutor
from contextlib import ExitStack
from functools import partial
from itertools import islice
from multiprocessing import get_context
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from concordat.protocol.macs import CONFIRM_BYTES, confirm_macs
from services.node.index.run import Run
from services.node.reader_pool import cores

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    import numpy.typing as npt

ALONE_ROWS: Final = 200_000
"""Fewer rows than this are done before a worker has started."""
BLOCK_ROWS: Final = 1 << 16
_AHEAD: Final = 2


def confirm_blocks(run: Run, sweep_id: bytes) -> Iterator[npt.NDArray[Any]]:
    """Give the confirm MACs of a set's rows in their order, shape (rows of the block, 16)."""
    starts = range(0, run.rows, BLOCK_ROWS)
    if run.rows < ALONE_ROWS:
        for start in starts:
            yield _matrix(_macs(run, sweep_id, start))
        return
    workers = cores()
    with ExitStack() as stack:
        # A daemon has threads, which a fork would leave without.
        pool = ProcessPoolExecutor(workers, mp_context=get_context("spawn"))
        stack.callback(pool.shutdown, cancel_futures=True)
        work = partial(_macs_of_file, run.path, sweep_id)
        for packed in _in_order(pool, work, starts, workers * _AHEAD):
            yield _matrix(packed)


def _in_order(pool: ProcessPoolExecutor, work: Callable[[int], bytes], starts: range, ahead: int) -> Iterator[bytes]:
    """Give results in the order of their starts, with few of them waiting."""
    left, under_way = iter(starts), list[Future[bytes]]()
    while True:
        under_way += [pool.submit(work, start) for start in islice(left, ahead - len(under_way))]
        if not under_way:
            return
        yield under_way.pop(0).result()


def _macs_of_file(path: Path, sweep_id: bytes, start: int) -> bytes:
    # The parent has read or written all of the file a moment ago.
    return _macs(Run.open(path, "set", check=False), sweep_id, start)


def _macs(run: Run, sweep_id: bytes, start: int) -> bytes:
    return confirm_macs(run.column("secret")[start : start + BLOCK_ROWS].tobytes(), sweep_id)


def _matrix(packed: bytes) -> npt.NDArray[Any]:
    return np.frombuffer(packed, np.uint8).reshape(-1, CONFIRM_BYTES)
