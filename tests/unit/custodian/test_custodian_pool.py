"""A node asks t custodians, evenly; it names a liar, and waits below t and says so."""

from __future__ import annotations

import asyncio
import json
import shutil
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from concordat.clock import SystemClock
from concordat.custodians import CustodianPool, Liar
from concordat.errors import ConfigError, RefusedError, UnavailableError
from concordat.identity.manifest import KeyClass, Manifest
from concordat.justification import Step, justification_salt
from tests.unit.custodian.running import BUDGETS, CASE, RunningCustodians, home_of, make_federation

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

INPUTS = [b"one", b"two", b"three"]


def pool_of(federation: Path, name: str = "NL", on_liar: Callable[[Liar], None] | None = None) -> CustodianPool:
    return CustodianPool(
        home_of(federation, f"node/{name}"), clock=SystemClock(), first_rest_s=0.05, on_liar=on_liar, timeout_s=10
    )


async def ask(pool: CustodianPool, inputs: list[bytes] | None = None, key_class: KeyClass = KeyClass.STRONG) -> bytes:
    return await pool.evaluate(inputs or INPUTS, key_class=key_class, epoch=1, case=CASE)


async def test_two_parties_get_the_same_outputs_and_each_class_others(large_quotas: Path) -> None:
    async with (
        RunningCustodians(large_quotas) as running,
        pool_of(large_quotas) as nl,
        pool_of(large_quotas, "DE") as de,
    ):
        await running.start(1, 2, 3)
        outputs = await ask(nl)
        assert len(outputs) == 64 * len(INPUTS)
        assert await ask(de) == outputs
        assert await ask(nl, key_class=KeyClass.WEAK) != outputs


async def test_every_subset_gives_the_same_outputs_and_they_rotate_evenly(large_quotas: Path) -> None:
    async with RunningCustodians(large_quotas) as running, pool_of(large_quotas) as pool:
        await running.start(1, 2, 3)
        outputs = {await ask(pool) for _ in range(6)}
        assert len(outputs) == 1
        assert pool.asked(KeyClass.STRONG) == {1: 12, 2: 12, 3: 12}


async def test_public_shares_that_do_not_give_the_group_key_are_found_before_a_custodian_is_asked(
    large_quotas: Path,
) -> None:
    """Found after, each of the node's attempts would cost its quota once more."""
    home = home_of(large_quotas, "node/NL")
    form = home.manifest.model_dump()
    keys = form["group_keys"]
    keys[KeyClass.STRONG], keys[KeyClass.WEAK] = keys[KeyClass.WEAK], keys[KeyClass.STRONG]
    crossed = replace(home, manifest=Manifest.model_validate(form))
    async with CustodianPool(crossed, clock=SystemClock()) as pool:
        with pytest.raises(ConfigError):
            await ask(pool)
        assert set(pool.asked(KeyClass.STRONG).values()) == {0}


async def test_a_node_can_open_the_justification_hash_in_a_custodians_log(large_quotas: Path) -> None:
    """Evidence that nobody can open is none (I5): the salt comes back from the logged request id."""
    key = home_of(large_quotas, "node/NL").signing_key
    log = large_quotas / "custodian/c1/custodian.log"
    async with RunningCustodians(large_quotas) as running, pool_of(large_quotas) as pool:
        await running.start(1, 2)
        await ask(pool)
        await ask(pool)
    lines = [json.loads(line) for line in log.read_text().splitlines()[-2:]]
    for line in lines:
        salt = justification_salt(key, Step.EVALUATE, bytes.fromhex(line["request"]))
        assert CASE.justification_hash(salt).hex() == line["justification"]
    assert lines[0]["justification"] != lines[1]["justification"]


async def test_with_one_custodian_down_all_works(large_quotas: Path) -> None:
    async with RunningCustodians(large_quotas) as running, pool_of(large_quotas) as pool:
        await running.start(1, 3)
        assert len({await ask(pool) for _ in range(4)}) == 1


async def test_below_t_a_request_fails_and_says_which_custodian_and_why(large_quotas: Path) -> None:
    async with RunningCustodians(large_quotas) as running, pool_of(large_quotas) as pool:
        await running.start(2)
        with pytest.raises(UnavailableError, match=r"2 of 3 custodians are needed.*c1 cannot be reached now") as caught:
            await ask(pool)
        assert "c3 cannot be reached now" in caught.value.message


async def test_a_custodian_that_returns_is_asked_again_and_what_was_paid_is_not_paid_twice(tmp_path: Path) -> None:
    federation = make_federation(tmp_path / "federation", budgets=BUDGETS)
    log = federation / "custodian/c2/custodian.log"

    def charged() -> int:
        lines = [json.loads(line) for line in log.read_text().splitlines()] if log.exists() else []
        return sum(line["count"] for line in lines if not line["repeat"])

    async with RunningCustodians(federation) as running, pool_of(federation) as pool:
        await running.start(2)
        many = [b"input %d" % one for one in range(200)]
        # A request that fails takes its call to c2 back; it may not have got there.
        while not charged():
            with pytest.raises(UnavailableError):
                await ask(pool, many)
            await asyncio.sleep(0.05)
        # Two of three are up, so that c2 must be one of them.
        await running.start(1)
        while True:
            try:
                await ask(pool, many)
                break
            except UnavailableError:
                await asyncio.sleep(0.05)
        # c2 has 300 a day: a second charge of 200 would have been refused.
        assert charged() == 200


async def test_a_liar_is_named_with_evidence_and_left_out(large_quotas: Path) -> None:
    liars: list[Liar] = []
    async with RunningCustodians(large_quotas) as running, pool_of(large_quotas, on_liar=liars.append) as pool:
        await running.start(1, 2, 3)
        honest = await ask(pool)
        await running.stop(2)
        await running.start(2, sabotage="wrong-points")
        assert {await ask(pool) for _ in range(6)} == {honest}
        named = pool.asked(KeyClass.STRONG)[2]
        assert pool.excluded == ("spiffe://test.example/custodian/c2",)
        await ask(pool)
        assert pool.asked(KeyClass.STRONG)[2] == named
    assert [one.party for one in liars] == ["spiffe://test.example/custodian/c2"]
    evidence = json.loads(liars[0].evidence)
    assert len(bytes.fromhex(evidence["proof"])) == 64
    assert len(bytes.fromhex(evidence["request"])) == 32


async def test_another_manifest_is_said_to_be_the_reason(large_quotas: Path) -> None:
    home = home_of(large_quotas, "node/NL")
    other = Manifest.model_validate({**home.manifest.model_dump(), "tick_ms": 251})
    async with (
        RunningCustodians(large_quotas) as running,
        CustodianPool(replace(home, manifest=other), clock=SystemClock()) as pool,
    ):
        await running.start(1, 2, 3)
        with pytest.raises(UnavailableError, match=r"c[123]: The manifest named is not the one in force"):
            await ask(pool)


async def test_quotas_are_reached_in_full_and_their_end_is_told(tmp_path: Path) -> None:
    """300 at each of three custodians, two a token: 450 tokens, which is E."""
    federation = make_federation(tmp_path / "federation", budgets=BUDGETS)
    async with RunningCustodians(federation) as running, pool_of(federation) as pool:
        await running.start(1, 2, 3)
        for number in range(9):
            await ask(pool, [b"%d %d" % (number, one) for one in range(50)])
        with pytest.raises(RefusedError, match="quota") as caught:
            await ask(pool)
        assert caught.value.code == "quota_exhausted"
        assert await ask(pool, key_class=KeyClass.WEAK)


async def test_a_spent_exercise_leaves_real_work_to_go_on_and_is_named_in_each_request(
    small_quotas: Path, tmp_path: Path
) -> None:
    """I7: a budget that is used up keeps nobody from the other."""
    folder = tmp_path / "federation"
    shutil.copytree(small_quotas, folder)
    many = [b"input %d" % number for number in range(BUDGETS[KeyClass.STRONG] * 2 // 30 + 1)]
    async with RunningCustodians(folder) as running, pool_of(folder) as pool:
        await running.start(1, 2, 3)
        with pytest.raises(RefusedError) as refusal:
            await pool.evaluate(many, key_class=KeyClass.STRONG, epoch=1, case=CASE, exercise="rehearsal")
        assert refusal.value.code == "quota_exhausted"
        outputs = await ask(pool)
        pool.forget_spent(KeyClass.STRONG, exercise=True)
        again = await pool.evaluate(INPUTS, key_class=KeyClass.STRONG, epoch=1, case=CASE, exercise="rehearsal")
        # The same inputs: that an exercise's tokens differ comes from its domain string alone.
        assert outputs == again
    lines = [
        json.loads(line)
        for index in (1, 2, 3)
        for line in (folder / f"custodian/c{index}/custodian.log").read_text().splitlines()
    ]
    assert sorted(line.get("exercise", "") for line in lines) == ["", "", "rehearsal", "rehearsal"]
