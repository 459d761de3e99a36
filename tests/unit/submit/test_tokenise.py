"""3.3 step 1: what is stored gets its tokens once, whatever stops in between; waiting is said, and ends by itself."""

from __future__ import annotations

import asyncio
import hashlib
from typing import TYPE_CHECKING

from concordat.canon import Kind
from concordat.clock import SystemClock
from concordat.custodians import CustodianPool
from concordat.identity.manifest import KeyClass
from concordat.tokens import MaskKey
from services.node.store.store import Store
from services.node.submit import Submitter
from services.node.tokenise import Tokeniser, keep_liar
from tests.unit.custodian.running import BUDGETS, CASE, RunningCustodians, home_of, make_federation, until

if TYPE_CHECKING:
    from pathlib import Path

    from concordat.identity.home import Home

CLOCK = SystemClock()
ROWS = 25


def pool_of(home: Home, store: Store) -> CustodianPool:
    return CustodianPool(
        home, clock=CLOCK, first_rest_s=0.05, timeout_s=10, on_liar=lambda liar: keep_liar(store, CLOCK, liar)
    )


def some(folder: Path, rows: int = ROWS) -> Path:
    path = folder / "some.csv"
    path.write_text("kind,identifier\n" + "".join(f"phone,+4477009001{one:02}\n" for one in range(rows)))
    return path


def tokens(store: Store) -> dict[str, tuple[bytes, bytes, bytes]]:
    with store.read() as db:
        rows = db.execute(
            "SELECT v.canonical || ' ' || v.grade, t.label, t.secret, t.token"
            " FROM token t JOIN value v ON v.id = t.value_id"
        ).fetchall()
    return {row[0]: (row[1], row[2], row[3]) for row in rows}


async def until_done(tokeniser: Tokeniser, store: Store) -> None:
    stop = asyncio.Event()
    running = asyncio.create_task(tokeniser.run(stop))
    await until(lambda: not store.untokenised_count())
    stop.set()
    await running


async def test_two_nodes_make_equal_tokens_of_equal_values(
    federation: Path, home: Home, store: Store, tmp_path: Path
) -> None:
    Submitter(home, store, CLOCK, CASE).submit(some(tmp_path))
    other_home = home_of(federation, "node/DE")
    made: list[int] = []
    with Store.open(tmp_path / "de.sqlite") as other:
        Submitter(other_home, other, CLOCK, CASE).submit(some(tmp_path))
        async with (
            RunningCustodians(federation) as running,
            pool_of(home, store) as one,
            pool_of(other_home, other) as two,
        ):
            await running.start(1, 2, 3)
            await until_done(Tokeniser(home, store, one, clock=CLOCK, batch=10, on_tokens=made.append), store)
            await until_done(Tokeniser(other_home, other, two, clock=CLOCK), other)
        assert tokens(store) == tokens(other)
    # Each number is a strong value, and a weak one that guesses of others can meet.
    assert len(tokens(store)) == sum(made) == 2 * ROWS
    label, _, token = next(iter(tokens(store).values()))
    assert MaskKey(home.mask_key(1)).apply(label) == token


async def test_a_token_that_is_there_is_never_asked_for_again(
    federation: Path, home: Home, store: Store, tmp_path: Path
) -> None:
    submitter = Submitter(home, store, CLOCK, CASE)
    async with RunningCustodians(federation) as running, pool_of(home, store) as pool:
        await running.start(1, 2, 3)
        submitter.submit(some(tmp_path, 5))
        tokeniser = Tokeniser(home, store, pool, clock=CLOCK)
        assert await tokeniser.run_once() == 5
        before = tokens(store)
        # A new object, as after a kill: it goes on with what is left.
        await until_done(Tokeniser(home, store, pool, clock=CLOCK), store)
        submitter.submit_values(["+44 7700 900100", "+44 7700 900199"], Kind.PHONE)
        await until_done(Tokeniser(home, store, pool, clock=CLOCK), store)
        assert sum(sum(pool.asked(one).values()) for one in (KeyClass.STRONG, KeyClass.WEAK)) == 2 * (5 + 5 + 2)
    assert tokens(store).items() >= before.items()


async def test_below_t_work_waits_says_so_and_finishes_when_a_custodian_returns(
    federation: Path, home: Home, store: Store, tmp_path: Path
) -> None:
    Submitter(home, store, CLOCK, CASE).submit(some(tmp_path))
    async with RunningCustodians(federation) as running, pool_of(home, store) as pool:
        await running.start(3)
        stop = asyncio.Event()
        task = asyncio.create_task(Tokeniser(home, store, pool, clock=CLOCK).run(stop))
        await until(store.conditions)
        (condition,) = store.conditions()
        assert "2 of 3 custodians are needed" in condition.text
        assert "c1 cannot be reached now" in condition.text
        assert store.untokenised_count() == 2 * ROWS
        await running.start(1)
        await until(lambda: not store.untokenised_count())
        stop.set()
        await task
        assert store.conditions() == []


async def test_a_liar_stands_in_the_store_with_the_evidence(
    federation: Path, home: Home, store: Store, tmp_path: Path
) -> None:
    Submitter(home, store, CLOCK, CASE).submit(some(tmp_path))
    async with RunningCustodians(federation) as running, pool_of(home, store) as pool:
        await running.start(1, 3)
        await running.start(2, sabotage="wrong-points")
        await until_done(Tokeniser(home, store, pool, clock=CLOCK, batch=5), store)
    (incident,) = store.incidents()
    assert incident.party == "spiffe://test.example/custodian/c2"
    assert "proof" in incident.evidence
    assert len(tokens(store)) == 2 * ROWS


async def test_a_quota_is_used_up_to_the_last_token_and_its_end_is_said(tmp_path: Path) -> None:
    """E = 31 weak tokens a day: 20 at each of three custodians, so 30 weak tokens of 40 are made."""
    federation = make_federation(tmp_path / "federation", budgets=BUDGETS)
    home = home_of(federation, "node/NL")
    with Store.open(home.path / "store.sqlite") as store:
        Submitter(home, store, CLOCK, CASE).submit(some(tmp_path, 40))
        async with RunningCustodians(federation) as running, pool_of(home, store) as pool:
            await running.start(1, 2, 3)
            stop = asyncio.Event()
            task = asyncio.create_task(Tokeniser(home, store, pool, clock=CLOCK, batch=5).run(stop))
            await until(store.conditions)
            stop.set()
            await task
        assert "quota_exhausted" in store.conditions()[0].text
        assert store.untokenised_count() == 10
        assert len(tokens(store)) == 40 + 30


async def test_each_request_carries_the_hash_of_its_case_with_a_fresh_salt(
    federation: Path, home: Home, store: Store, tmp_path: Path
) -> None:
    submitter = Submitter(home, store, CLOCK, CASE)
    submitter.submit(some(tmp_path))
    logs = [federation / f"custodian/c{one}/custodian.log" for one in (1, 2)]
    before = sum(len(log.read_text().splitlines()) for log in logs if log.exists())
    async with RunningCustodians(federation) as running, pool_of(home, store) as pool:
        await running.start(1, 2)
        await until_done(Tokeniser(home, store, pool, clock=CLOCK, batch=10), store)
    lines = [line for log in logs for line in log.read_text().splitlines()]
    hashes = {line.split('"justification": "')[1][:64] for line in lines}
    assert len(lines) - before == 2 * 6
    assert len(hashes) == len(lines)
    plain = hashlib.sha256(CASE.justification_bytes()).hexdigest()
    assert plain not in hashes
