"""Several batches are under way at a time, and still no token is asked for, nor charged, a second time (I7, I9)."""

from __future__ import annotations

import asyncio
import json
import signal
import subprocess
import sys
from typing import TYPE_CHECKING

from concordat.clock import SystemClock
from concordat.custodians import CustodianPool, Direct
from concordat.errors import UnavailableError
from services.node.store.store import Store
from services.node.submit import Submitter
from services.node.tokenise import AT_ONCE, FIRST_BATCH, Tokeniser
from tests.unit.custodian.running import CASE, RunningCustodians, home_of, make_federation, until

if TYPE_CHECKING:
    from pathlib import Path

    from concordat.identity.home import Home
    from concordat.identity.manifest import Custodian
    from concordat.wire.v1.custodian_pb2 import EvaluateRequest, EvaluateResponse

CLOCK = SystemClock()
THRESHOLD = 2


class Watched(Direct):
    """Carries requests, counts how many are under way, and loses the first answers to some."""

    def __init__(self, home: Home, *, lost: int = 0) -> None:
        super().__init__(home)
        self._lost = lost
        self.under_way = self.most = 0

    async def evaluate(self, custodian: Custodian, request: EvaluateRequest, *, timeout_s: float) -> EvaluateResponse:
        self.under_way += 1
        self.most = max(self.most, self.under_way)
        try:
            answer = await super().evaluate(custodian, request, timeout_s=timeout_s)
        finally:
            self.under_way -= 1
        # The first two batches, which teach what is left of the quota, go through.
        if self.most > THRESHOLD and self._lost:
            self._lost -= 1
            raise UnavailableError("the answer was lost")
        return answer


def addresses(folder: Path, number: int) -> Path:
    path = folder / "many.csv"
    path.write_text("kind,identifier\n" + "".join(f"email,person{one}@mail.example\n" for one in range(number)))
    return path


def charged(federation: Path) -> int:
    """Return how many elements all custodians have charged."""
    logs = [log.read_text() for log in federation.glob("custodian/*/custodian.log")]
    lines = [json.loads(line) for log in logs for line in log.splitlines()]
    return sum(line["count"] for line in lines if not line["repeat"])


def distinct(store: Store) -> int:
    with store.read() as db:
        return int(db.execute("SELECT count(*) FROM value").fetchone()[0])


async def finish(tokeniser: Tokeniser, store: Store) -> None:
    stop = asyncio.Event()
    running = asyncio.create_task(tokeniser.run(stop))
    await until(lambda: not store.untokenised_count())
    stop.set()
    await running


async def test_batches_are_under_way_at_once_and_lost_answers_are_not_charged_again(tmp_path: Path) -> None:
    federation = make_federation(tmp_path / "federation")
    home = home_of(federation, "node/NL")
    transport = Watched(home, lost=3)
    with Store.open(home.path / "store.sqlite") as store:
        Submitter(home, store, CLOCK, CASE).submit(addresses(tmp_path, 200))
        async with (
            RunningCustodians(federation) as running,
            CustodianPool(home, clock=CLOCK, transport=transport, first_rest_s=0.05) as pool,
        ):
            await running.start(1, 2, 3)
            await finish(Tokeniser(home, store, pool, clock=CLOCK, batch=16), store)
        assert THRESHOLD < transport.most <= AT_ONCE * THRESHOLD
        # A batch of which one answer was lost may have asked the third custodian in its place, once.
        assert 0 <= charged(federation) - THRESHOLD * distinct(store) <= 3 * 16


async def test_where_a_quota_is_near_its_end_one_batch_is_under_way(tmp_path: Path) -> None:
    """I7: the rest of a quota goes into ever smaller batches, none of which another one takes away."""
    quota = 120
    budgets = dict.fromkeys(("strong", "weak", "person"), quota)
    federation = make_federation(tmp_path / "federation", budgets=budgets)  # type: ignore[arg-type]  # words are as good
    home = home_of(federation, "node/NL")
    transport = Watched(home)
    with Store.open(home.path / "store.sqlite") as store:
        Submitter(home, store, CLOCK, CASE).submit(addresses(tmp_path, 200))
        async with (
            RunningCustodians(federation) as running,
            CustodianPool(home, clock=CLOCK, transport=transport, first_rest_s=0.05) as pool,
        ):
            await running.start(1, 2, 3)
            stop = asyncio.Event()
            task = asyncio.create_task(Tokeniser(home, store, pool, clock=CLOCK, batch=16).run(stop))
            await until(store.conditions)
            stop.set()
            await task
        assert "quota_exhausted" in store.conditions()[0].text
        assert transport.most == THRESHOLD
        with store.read() as db:
            (strong,) = db.execute(
                "SELECT count(*) FROM token t JOIN value v ON v.id = t.value_id WHERE v.grade = 1"
            ).fetchone()
        # What one custodian charged and no second one had left is lost, less than a batch of it.
        assert quota - 16 < strong <= quota


async def test_kill_9_of_a_node_costs_no_more_than_what_was_under_way(tmp_path: Path) -> None:
    """I9: what has a token is not asked for again; a batch that was under way is, as its blinds are lost."""
    federation = make_federation(tmp_path / "federation")
    home = home_of(federation, "node/NL")
    arguments = [sys.executable, "-m", "concordat", "node", "run", "--home", str(home.path), "--json"]
    with Store.open(home.path / "store.sqlite") as store:
        Submitter(home, store, CLOCK, CASE).submit(addresses(tmp_path, 5 * FIRST_BATCH))
        wanted = store.untokenised_count()
        async with RunningCustodians(federation) as running:
            await running.start(1, 2, 3)
            with subprocess.Popen(arguments, stdout=subprocess.DEVNULL) as node:  # noqa: ASYNC220
                await until(lambda: store.untokenised_count() < wanted)
                node.send_signal(signal.SIGKILL)
                await asyncio.to_thread(node.wait)
            left = store.untokenised_count()
            assert left
            before = charged(federation)
            async with CustodianPool(home, clock=CLOCK) as pool:
                await finish(Tokeniser(home, store, pool, clock=CLOCK), store)
        assert charged(federation) - before == THRESHOLD * left
        made = wanted - left
        assert THRESHOLD * made <= before <= THRESHOLD * (made + AT_ONCE * 2 * FIRST_BATCH)
