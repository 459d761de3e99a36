"""A charter that is swept again, and a charter near to it, over mTLS with the real services."""

from __future__ import annotations

import asyncio
import dataclasses
import secrets
from typing import TYPE_CHECKING, Any

import pytest

from concordat.errors import RefusedError
from concordat.report_view import render_report
from concordat.wire.v1.check_pb2 import Notice
from services.node import operations
from services.node.joining import join_sweep
from services.node.policy import SILENT
from tests.unit.operations.held import Held, submit, tokenise
from tests.unit.operations.test_operation_flow import PARTICIPANTS, PLAN, TODAY, agree, dialled, running, stores, text

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Sequence
    from contextlib import AbstractContextManager
    from pathlib import Path

    import grpc.aio

    from concordat.identity.home import Home
    from services.node.operations import OperationPlan
    from services.node.store.rows import PairRow
    from services.node.store.store import Store

Homes = dict[str, "Home"]
__all__ = ["stores"]
SECOND = dataclasses.replace(PLAN, operation="second", officer="officer-1", second_officer="officer-2")


async def sweep(homes: Homes, channels: Sequence[grpc.aio.Channel], held: dict[str, Store], operation: str) -> int:
    sweep_id = await operations.start_sweep(channels[0], operation)
    done = await asyncio.gather(
        *(
            join_sweep(homes[name], one, held[name], operation, sweep_id, today=TODAY)
            for name, one in zip(PARTICIPANTS, channels, strict=True)
        )
    )
    assert {one.dropped for one in done} == {""}
    (version,) = {one.report_version for one in done}
    return version


async def test_a_second_sweep_of_a_charter_makes_version_2_and_version_1_stays(
    homes: Homes, stores: dict[str, Store], tmp_path: Path
) -> None:
    async with running(homes, tmp_path) as hub, dialled(hub, homes, *PARTICIPANTS) as channels:
        await agree(homes, channels)
        assert await sweep(homes, channels, stores, "action-day") == 1
        submit(stores["BE"], "action-day", [Held("email", "new@b.example")])
        tokenise(stores["BE"])
        assert await sweep(homes, channels, stores, "action-day") == 2
        newest, first = [
            await operations.fetch_report(homes["CZ"], channels[2], "action-day", version=version) for version in (0, 1)
        ]
        with pytest.raises(RefusedError):
            await operations.fetch_report(homes["CZ"], channels[2], "action-day", version=3)
    assert (first["version"], newest["version"]) == (1, 2)
    assert newest["difference"]["totals"] == {"communication_devices": 1}
    assert newest["difference"]["participants"] == [{"party": str(homes["BE"].identity), "change": "set"}]
    shown = text(render_report(newest))
    assert "Against version 1: Communication devices checked" in shown
    assert "BE: its set is another" in shown


async def open_and_sign(homes: Homes, channels: Sequence[grpc.aio.Channel], plan: OperationPlan) -> None:
    await operations.open_operation(homes["AT"], channels[0], plan, random_bytes=secrets.token_bytes)
    for name, one in zip(("BE", "CZ"), channels[1:], strict=True):
        proposal = await operations.fetch_operation(homes[name], one, plan.operation)
        await operations.sign_operation(homes[name], one, proposal)


async def test_a_near_charter_needs_four_eyes_and_its_report_is_rounded(
    homes: Homes, stores: dict[str, Store], tmp_path: Path
) -> None:
    async with running(homes, tmp_path) as hub, dialled(hub, homes, *PARTICIPANTS) as channels:
        await agree(homes, channels)
        await sweep(homes, channels, stores, "action-day")
        with pytest.raises(RefusedError) as refusal:
            await open_and_sign(homes, channels, dataclasses.replace(SECOND, second_officer=""))
        assert refusal.value.code == "near_duplicate"
        await open_and_sign(homes, channels, SECOND)
        for name, store in stores.items():
            submit(store, "second", [Held("email", f"{name.lower()}@near.example")])
            tokenise(store)
        await sweep(homes, channels, stores, "second")
        exact, shown = [
            await operations.fetch_report(homes["CZ"], channels[2], operation) for operation in ("action-day", "second")
        ]
    # In truth 3 addresses against 2 devices, and no platform against 2.
    assert exact["totals"] == shown["totals"]
    assert (exact["rounded"], shown["rounded"]) == (False, True)
    assert "Rounded" in text(render_report(shown))


async def test_a_node_that_knows_the_earlier_charter_does_not_sign_whatever_the_gateway_takes(
    homes: Homes, tmp_path: Path
) -> None:
    async with running(homes, tmp_path) as hub, dialled(hub, homes, *PARTICIPANTS) as channels:
        plan = dataclasses.replace(SECOND, second_officer="")
        # Neither is active, so that the gateway has nothing to say yet.
        await operations.open_operation(homes["AT"], channels[0], PLAN, random_bytes=secrets.token_bytes)
        proposal = await operations.fetch_operation(homes["BE"], channels[1], "action-day")
        await operations.sign_operation(homes["BE"], channels[1], proposal)
        await operations.open_operation(homes["AT"], channels[0], plan, random_bytes=secrets.token_bytes)
        near = await operations.fetch_operation(homes["BE"], channels[1], "second")
        with pytest.raises(RefusedError) as refusal:
            await operations.sign_operation(homes["BE"], channels[1], near)
        assert refusal.value.code == "near_duplicate"
        stranger = await operations.fetch_operation(homes["CZ"], channels[2], "second")
        await operations.sign_operation(homes["CZ"], channels[2], stranger)


class Narrowing:
    """A store whose records become silent once the sweep has read its set."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._reads = 0

    def read(self) -> AbstractContextManager[sqlite3.Connection]:
        self._reads += 1
        if self._reads > 1:
            with self._store.write() as db:
                db.execute("INSERT OR IGNORE INTO policy (content) VALUES (?)", (SILENT.content(),))
                db.execute(
                    "UPDATE record SET policy_id = (SELECT id FROM policy WHERE content = ?)", (SILENT.content(),)
                )
        return self._store.read()

    def verified_pairs(self, rows: Sequence[PairRow]) -> None:
        self._store.verified_pairs(rows)


async def test_a_node_whose_policy_is_narrowed_in_a_running_sweep_proves_nothing_more(
    homes: Homes, stores: dict[str, Store], tmp_path: Path
) -> None:
    """Narrowing takes effect for every later answer, also where the value has streamed already."""
    async with running(homes, tmp_path) as hub, dialled(hub, homes, *PARTICIPANTS) as channels:
        await agree(homes, channels)
        sweep_id = await operations.start_sweep(channels[0], "action-day")
        narrowed: Any = Narrowing(stores["BE"])
        held = {**stores, "BE": narrowed}
        done = await asyncio.gather(
            *(
                join_sweep(homes[name], one, held[name], "action-day", sweep_id, today=TODAY)
                for name, one in zip(PARTICIPANTS, channels, strict=True)
            ),
            return_exceptions=True,
        )
        assert [type(one).__name__ for one in done] == ["SweepDone", "RefusedError", "SweepDone"]
        report = await operations.fetch_report(homes["AT"], channels[0], "action-day")
        told = hub.ledger.ledger.notices_above(str(homes["BE"].identity), 0, limit=10)
    assert [one["state"] for one in report["participants"]] == ["included", "dropped:unavailable", "included"]
    assert told == []


async def test_the_sweep_of_an_exercise_counts_its_own_values_and_flags_its_edges(
    homes: Homes, stores: dict[str, Store], tmp_path: Path
) -> None:
    async with running(homes, tmp_path) as hub, dialled(hub, homes, *PARTICIPANTS) as channels:
        await open_and_sign(homes, channels, dataclasses.replace(PLAN, operation="drill", exercise=True))
        for store in stores.values():
            submit(store, "drill", [Held("e164", "+447700900001")], domain="drill")
            # Real records that were marked for it before it was known to be an exercise.
            submit(store, "drill", [Held("e164", "+447700900002")])
            tokenise(store)
        await sweep(homes, channels, stores, "drill")
        report = await operations.fetch_report(homes["CZ"], channels[2], "drill")
        notices = hub.ledger.ledger.notices_above(str(homes["AT"].identity), 0, limit=10)
        listed = await operations.list_operations(channels[1])
    assert (report["exercise"], report["totals"]["communication_devices"], report["matches"]) == (True, 1, 1)
    assert [Notice.FromString(one.content).told.exercise for one in notices] == [True, True]
    assert hub.ledger.ledger.visible_edges() == {}, "in no number of the operator's"
    assert [one.exercise for one in listed] == [True]
    assert text(render_report(report)).startswith("EXERCISE")
