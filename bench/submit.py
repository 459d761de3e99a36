"""Submitting a long file: from raw rows to records that wait for their tokens, on all cores.

The rows are of six kinds, written as people write them; each is held against what was stored of it. Tokens have rows
of their own (`bench/tokenise.py`).
"""

from __future__ import annotations

import csv
import resource
import tempfile
import time
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Final

from bench.live_world import some_case
from bench.processes import MB, cpu_s, ended_children_cpu_s, peak_mb
from bench.rows import Row
from concordat.clock import SystemClock
from concordat.identity.federation import init_federation
from concordat.identity.home import load_home
from concordat.identity.plan import FederationPlan, NodePlan
from demo.generate import SYLLABLES
from demo.things import PROFILE, Account, Advert, App, Email, Phone, Platform
from services.node.store.store import FILE_NAME, Store
from services.node.submit import Submitter
from services.node.worker_pool import cores

if TYPE_CHECKING:
    from bench.rows import Context
    from demo.things import Thing

RECORDS: Final = 20_000
RECORDS_LARGE: Final = 1_000_000
SEED: Final = 5


def rows(context: Context) -> list[Row]:
    """Submit a file of 20 000 records, or a million, on all cores and in one process, and return a row of each."""
    records = RECORDS_LARGE if context.large else RECORDS
    with tempfile.TemporaryDirectory(prefix="concordat-bench-") as temporary:
        folder = Path(temporary)
        path = write(folder / "many.csv", records)
        init_federation(folder / "federation", FederationPlan(nodes=(NodePlan.parse("NL"),)), unsafe_dealer=True)
        alone = _submit(folder, path, records, workers=1)
        spread = _submit(folder, path, records, workers=cores())
    return [spread.model_copy(update={"peers": {"one process": alone.seconds}}), alone]


def write(path: Path, records: int) -> Path:
    """Write so many rows of things that are all different but for some telephone numbers."""
    rng = Random(SEED)
    with path.open("w", newline="", encoding="utf-8") as file:
        table = csv.writer(file)
        table.writerow(("kind", "identifier", "region", "platform", "thb"))
        for number in range(records):
            seen = _thing(number, rng).spell("NL", rng)
            assessed = rng.choice(("checked", "suspected", "confirmed"))
            table.writerow((seen.kind, seen.typed, seen.region or "", seen.platform or "", assessed))
    return path


def _thing(number: int, rng: Random) -> Thing:
    name = "".join(rng.choices(SYLLABLES, k=5))
    things: tuple[Thing, ...] = (
        Phone("33", "FR", "0", f"19900{number // 6 % 10_000:04d}"),
        Email(f"{name}.{number}", f"{name}.example"),
        Platform(f"{name}-{number}.example", f"{name}-{number}.example"),
        Account(sorted(PROFILE)[number % len(PROFILE)], f"ex{name[:6]}{number % 10**6}"),
        App(f"com.example.{name}{number}"),
        Advert(f"{name}.example", "ads/page", number),
    )
    return things[number % len(things)]


def _submit(folder: Path, path: Path, records: int, *, workers: int) -> Row:
    home = load_home(folder / "federation/node/NL", clock=SystemClock())
    with Store.open(folder / f"{workers}-{FILE_NAME}") as store:
        began, before_s = time.monotonic(), _cpu_s()
        report = Submitter(home, store, SystemClock(), some_case(), workers=workers).submit(path)
        took_s, used_s = time.monotonic() - began, _cpu_s() - before_s
        with store.read() as db:
            lines = db.execute("SELECT count(*), count(DISTINCT line), min(line), max(line) FROM record").fetchone()
    name = f"submit-{records}" if workers > 1 else f"submit-{records}-one-process"
    return Row(
        name=name,
        exact=report.counts.accepted == records and lines == (records, records, 2, records + 1),
        seconds=round(took_s, 3),
        nodes_cpu_s=round(used_s, 3),
        details={
            "records_per_s": round(records / took_s),
            "workers": workers,
            "cpu_us_per_record": round(used_s / records * 1e6, 1),
            "submit_rss_mb": round(peak_mb(), 1),
            # Of the largest of them, and only the kernel knows: they have ended.
            "worker_rss_mb": round(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024 / MB, 1),
        },
    )


def _cpu_s() -> float:
    return cpu_s() + ended_children_cpu_s()
