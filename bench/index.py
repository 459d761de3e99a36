"""A node's index at size: made from the store, opened at a start, asked, and read through (docs/performance.md).

The store is made once in the folder of the benches' data and used again: values with random references and tokens, as a
node would have them after years of submits. Each figure comes from a process of its own, so that its memory is its own.
A look-up asks 1 000 tokens of which the store holds every other one; that the answers are right is checked against
SQLite without an index. It is measured again with the store's pages, and then the run's too, out of the page cache.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import sqlite3
import time
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context
from typing import TYPE_CHECKING, Any, Final

from bench.machine import Needs
from bench.processes import MB, peak_mb, rss_mb
from bench.rows import Row, short
from concordat.clock import SystemClock
from services.node.index.keeper import FOLDER, LIVE_NAME, Keeper
from services.node.index.live import LiveIndex
from services.node.store import meta
from services.node.store.schema import VERSION
from services.node.store.store import FILE_NAME, Store

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from bench.rows import Context
    from services.node.store.rows import Hit

TOKENS: Final = 1_000_000
TOKENS_LARGE: Final = 10_000_000
# A token in the store and its run; and where the run is made, which sorts.
TOKEN_BYTES: Final = 350
TOKEN_MEMORY: Final = 150
ASKED: Final = 1000
ROUNDS: Final = 50
_BATCH: Final = 4096
_INDEXES: Final = (
    "token_by_token",
    "token_unpublished",
    "token_by_sequence",
    "token_by_value",
    "value_unkept",
    "value_of_exercise",
)
_COUNTED: Final = (
    "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n LIMIT :tokens) INSERT INTO {} SELECT {} FROM n"
)
_VALUE: Final = "i, 'e164', 1, '+4070' || i, 1, randomblob(16), 1, ''"
_TOKEN: Final = f"1, i, randomblob(16), randomblob(32), randomblob(16), 1 + (i - 1) / {_BATCH}"


def make_store(folder: Path, tokens: int) -> None:
    """Make a store of so many published tokens, if the folder does not hold it already."""
    ready = folder / f"{tokens}-{VERSION}.ready"
    if ready.exists():
        return
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    Store.open(folder / FILE_NAME).close()
    db = sqlite3.connect(folder / FILE_NAME, isolation_level=None)
    db.execute("PRAGMA synchronous = OFF")
    texts = [db.execute("SELECT sql FROM sqlite_master WHERE name = ?", (name,)).fetchone()[0] for name in _INDEXES]
    db.execute("BEGIN")
    for name in _INDEXES:
        db.execute(f"DROP INDEX {name}")
    db.execute(_COUNTED.format("value", _VALUE), {"tokens": tokens})
    db.execute(_COUNTED.format("token", _TOKEN), {"tokens": tokens})
    last = 1 + (tokens - 1) // _BATCH
    db.execute("INSERT INTO numbered VALUES (?, randomblob(8))", (last,))
    for name in (meta.SEQUENCE, meta.PUBLISHED_THROUGH):
        meta.put(db, name, last)
    for text in texts:
        db.execute(text)
    db.execute("COMMIT")
    db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    db.close()
    ready.touch()


class _Meter:
    """Wall and CPU seconds since it was made, and the memory of this process in MB."""

    def __init__(self) -> None:
        self._wall, self._cpu = time.perf_counter(), time.process_time()

    def read(self) -> dict[str, float]:
        """Return what was used."""
        return {
            "seconds": time.perf_counter() - self._wall,
            "cpu_s": time.process_time() - self._cpu,
            "rss_mb": rss_mb(),
            "peak_rss_mb": peak_mb(),
        }


def _build(folder: Path) -> dict[str, Any]:
    shutil.rmtree(folder / FOLDER, ignore_errors=True)
    keeper = Keeper(folder, LiveIndex(), clock=SystemClock(), min_rows=1)
    meter = _Meter()
    made = keeper.tend()
    return {**meter.read(), "made": made, "file_mb": (folder / FOLDER / LIVE_NAME).stat().st_size / MB}


def _opened(folder: Path) -> tuple[Store, Keeper, bool]:
    index = LiveIndex()
    keeper = Keeper(folder, index, clock=SystemClock(), min_rows=1)
    good = keeper.start()
    store = Store.open(folder / FILE_NAME)
    store.use_index(index)
    return store, keeper, good


def _start(folder: Path) -> dict[str, Any]:
    meter = _Meter()
    _, _, good = _opened(folder)
    return {**meter.read(), "made": good}


def _questions(store: Store, tokens: int) -> list[bytes]:
    """Return batches of which every other token is in the store."""
    rng, batches = random.Random(5), list[bytes]()
    with store.read() as db:
        for _ in range(ROUNDS):
            ids = [rng.randint(1, tokens) for _ in range(ASKED // 2)]
            marks = ",".join("?" * len(ids))
            rows = db.execute(
                f"SELECT token FROM token WHERE epoch = 1 AND value_id IN ({marks})",
                ids,
            )
            held = [row[0] for row in rows]
            batches.append(
                b"".join(one for pair in zip(held, (os.urandom(16) for _ in held), strict=True) for one in pair)
            )
    return batches


def _timed(
    lookup: Callable[[bytes], list[Hit]], batches: list[bytes], before: Callable[[], None] = lambda: None
) -> list[float]:
    times = []
    for batch in batches:
        before()
        start = time.perf_counter()
        lookup(batch)
        times.append(time.perf_counter() - start)
    return sorted(times)


def _forget(*paths: Path) -> None:
    """Have the page cache forget files, as long as they are not mapped."""
    for path in paths:
        descriptor = os.open(path, os.O_RDONLY)
        os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
        os.close(descriptor)


def _lookup(folder: Path, tokens: int) -> dict[str, Any]:
    store, keeper, good = _opened(folder)
    # As a node does after a start; it reads the run once.
    keeper.tend()
    alone = Store.open(folder / FILE_NAME)
    batches = _questions(alone, tokens)
    meter = _Meter()
    times = _timed(lambda batch: store.lookup(batch, 1), batches)
    used = meter.read()
    plain = _timed(lambda batch: alone.lookup(batch, 1), batches)
    files = folder / FILE_NAME, folder / FOLDER / LIVE_NAME
    cold_store = _timed(lambda batch: store.lookup(batch, 1), batches, partial(_forget, files[0]))
    cold = _timed(lambda batch: store.lookup(batch, 1), batches, partial(_forget, *files))
    right = all(store.lookup(batch, 1) == alone.lookup(batch, 1) for batch in batches[:5])
    misses = [os.urandom(16 * ASKED) for _ in range(ROUNDS)]
    missed = _timed(lambda batch: store.lookup(batch, 1), misses)
    return {
        **used,
        "made": good and right and len(store.lookup(batches[0], 1)) * 2 * 16 == len(batches[0]),
        "seconds": times[ROUNDS // 2],
        "p99_s": times[-1],
        "cold_store_s": cold_store[ROUNDS // 2],
        "cold_s": cold[ROUNDS // 2],
        "no_hits_s": missed[ROUNDS // 2],
        "store_alone_s": plain[ROUNDS // 2],
        "cpu_s": used["cpu_s"] / ROUNDS,
    }


def _scan(folder: Path, tokens: int) -> dict[str, Any]:
    store, _, _ = _opened(folder)
    meter = _Meter()
    number = sum(len(block) // 16 for block in store.snapshot_blocks((1,))[1])
    return {**meter.read(), "made": number == tokens}


def needs(context: Context) -> Needs:
    """Return what the store and its run take; what is there of the same size is used again."""
    tokens = _tokens(context)
    return Needs(disk=tokens * TOKEN_BYTES, memory=tokens * TOKEN_MEMORY)


def rows(context: Context) -> list[Row]:
    """Measure the index of a store of a million tokens, or ten."""
    tokens, progress = _tokens(context), context.progress
    folder = context.folder / f"index-{tokens}"
    progress(f"a store of {tokens:,} tokens in {folder}")
    make_store(folder, tokens)
    work = (
        ("build", _build, (folder,)),
        ("start", _start, (folder,)),
        (f"lookup-{ASKED}", _lookup, (folder, tokens)),
        ("scan", _scan, (folder, tokens)),
    )
    return [
        _measured(f"index-{name}-{short(tokens)}", measure, *given, progress=progress) for name, measure, given in work
    ]


def _measured(
    name: str, measure: Callable[..., dict[str, Any]], *given: object, progress: Callable[[str], None]
) -> Row:
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        seen = pool.submit(measure, *given).result()
    progress(f"{name}: {json.dumps(seen)}")
    details = {key: round(value, 5) for key, value in seen.items() if key not in ("seconds", "cpu_s", "made")}
    return Row(
        name=name,
        exact=seen["made"],
        seconds=seen["seconds"],
        nodes_cpu_s=seen["cpu_s"],
        details=details,
    )


def _tokens(context: Context) -> int:
    return TOKENS_LARGE if context.large else TOKENS
