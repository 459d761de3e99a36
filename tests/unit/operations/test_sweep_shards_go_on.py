"""A shard, or the gateway, is stopped while shards take the windows: the sweep goes on, or fails by name (3.7)."""

from __future__ import annotations

import asyncio
import logging
import shutil
from contextlib import AsyncExitStack
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest

from concordat.errors import ConfigError
from concordat.wire.v1.sweep_pb2 import SweepDone, SweepDown
from concordat.wire.v1.sweep_pb2_grpc import SweepServiceStub
from services.node import operations
from services.node.joining import dial_shard
from services.node.sweep_lines import run_sweep
from tests.unit.operations.shard_world import (
    alone,
    cleaned_up,
    comparable,
    filled,
    free_ports,
    honest,
    otherwise,
    shard,
    shards,
    sharing,
    swept,
    told,
    word,
)
from tests.unit.operations.test_operation_flow import PARTICIPANTS, dialled, running, stores
from tests.unit.operations.test_sweep_goes_on import party_of

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path

    import grpc.aio

    from concordat.identity.home import Home
    from concordat.wire.v1 import sweep_pb2
    from services.node.store.store import Store
    from services.node.sweep import Step, SweepParty
    from services.node.sweep_windows import ShardParty
    from tests.unit.operations.test_operation_flow import Homes, Hub

    Answer = Callable[[sweep_pb2.SweepDown], list[sweep_pb2.SweepUp]]

__all__ = ["alone", "filled", "stores"]


class Hold:
    """Lets a participant answer the second shard once and no more, until it is released."""

    def __init__(self, party: SweepParty, home: Home) -> None:
        self.party = party
        self._home = home
        self._released = False
        self._channels: list[grpc.aio.Channel] = []
        self._seen: set[ShardParty] = set()
        self._receive = party.receive
        party.receive = self._plan  # type: ignore[method-assign] # what stalls

    def dial(self, address: str) -> grpc.aio.Channel:
        self._channels.append(dial_shard(self._home, address))
        return self._channels[-1]

    async def release(self) -> None:
        """Break its streams, so that it is asked again."""
        self._released = True
        for one in self._channels:
            await one.close()

    def _plan(self, frame: sweep_pb2.SweepDown) -> Step:
        step = self._receive(frame)
        for one in set(step.shards[1:]) - self._seen:
            self._seen.add(one)
            one.receive = partial(self._answer, one.part[2], one.receive)  # type: ignore[method-assign] # what stalls
        return step

    def _answer(self, first: int, whole: Answer, frame: sweep_pb2.SweepDown) -> list[sweep_pb2.SweepUp]:
        held = frame.HasField("want") and frame.want.window > first and not self._released
        return [] if held else whole(frame)


async def interrupted(
    homes: Homes,
    held_by: dict[str, Store],
    tmp_path: Path,
    ports: list[int],
    trouble: Callable[[AsyncExitStack], Awaitable[Hub | None]],
    hub_port: int = 0,
) -> dict[str, Any]:
    """Run a sweep, with trouble when one window of the second shard is done."""
    shutil.copy(homes["g1"].path / "gateway.sqlite", tmp_path)
    async with AsyncExitStack() as stack:
        first = await stack.enter_async_context(AsyncExitStack())
        hub = await first.enter_async_context(
            running(homes, tmp_path, sharing(ports), port=hub_port, folder=tmp_path / "sweeps")
        )
        channels = await stack.enter_async_context(dialled(hub, homes, *PARTICIPANTS))
        sweep_id = await operations.start_sweep(channels[0], "action-day")
        hold = Hold(party_of(homes, held_by, "CZ", sweep_id), homes["CZ"])
        ways = [
            *(honest(homes, held_by, name, one, sweep_id) for name, one in zip(("AT", "BE"), channels, strict=False)),
            otherwise(homes, held_by, channels[2], hold.party, hold.dial),
        ]
        tasks = [asyncio.create_task(one) for one in ways]
        sweep, waits = hub.runner._running["action-day"], f"waits for {homes['CZ'].identity}"
        async with asyncio.timeout(20):
            while sweep.windows != (5, 8) or not sweep._hub.progress.endswith(waits):  # noqa: ASYNC110 -- tells nobody
                await asyncio.sleep(0.01)
        hub = await trouble(first) or hub
        await hold.release()
        done = await asyncio.gather(*tasks, return_exceptions=True)
        report = await operations.fetch_report(homes["AT"], channels[0], "action-day")
        notices = told(hub, homes)
        await cleaned_up(hub)
    return {"report": comparable(report), "notices": notices, "dropped": [word(one) for one in done]}


@pytest.mark.parametrize("keeps", [True, False])
async def test_a_shard_that_is_started_again_goes_on_or_repeats_its_part(
    homes: Homes,
    filled: dict[str, Store],
    alone: dict[str, Any],
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    keeps: bool,
) -> None:
    caplog.set_level(logging.INFO, "gateway.sweep")
    ports = free_ports(2)
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(shard(homes, tmp_path / "shards", ports, 0))
        second = await stack.enter_async_context(AsyncExitStack())
        await second.enter_async_context(shard(homes, tmp_path / "shards", ports, 1))

        async def trouble(_: AsyncExitStack) -> None:
            await second.aclose()
            if not keeps:
                shutil.rmtree(tmp_path / "shards" / "1")
            await stack.enter_async_context(shard(homes, tmp_path / "shards", ports, 1))

        assert await interrupted(homes, filled, tmp_path, ports, trouble) == alone
    assert caplog.text.count("windows 4 to 8 of sweep") == (1 if keeps else 2)
    assert caplog.text.count("goes on: 1 of its 4 windows") == (1 if keeps else 0)
    assert caplog.text.count("shard 1 at localhost") >= 1, "which shard was away is said"


@pytest.mark.parametrize("gone", [False, True])
async def test_a_gateway_that_is_started_again_has_its_shards_go_on(
    homes: Homes,
    filled: dict[str, Store],
    alone: dict[str, Any],
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    *,
    gone: bool,
) -> None:
    """It asks only for what it has not got: the shard that had ended may be gone."""
    caplog.set_level(logging.INFO, "gateway.sweep")
    *ports, hub_port = free_ports(3)
    async with AsyncExitStack() as after:
        first = await after.enter_async_context(AsyncExitStack())
        await first.enter_async_context(shard(homes, tmp_path / "shards", ports, 0))
        await after.enter_async_context(shard(homes, tmp_path / "shards", ports, 1))

        async def trouble(gateway: AsyncExitStack) -> Hub:
            await gateway.aclose()
            if gone:
                await first.aclose()
            return await after.enter_async_context(
                running(homes, tmp_path, sharing(ports), port=hub_port, folder=tmp_path / "sweeps")
            )

        assert await interrupted(homes, filled, tmp_path, ports, trouble, hub_port) == alone
    assert caplog.text.count("windows 0 to 4 of sweep") == caplog.text.count("windows 4 to 8 of sweep") == 1


async def test_a_shard_that_stays_away_fails_the_sweep_by_name_and_it_may_be_started_again(
    homes: Homes, filled: dict[str, Store], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    ports = free_ports(2)
    settings = sharing(ports).model_copy(update={"shard_s": 1.0})
    shutil.copy(homes["g1"].path / "gateway.sqlite", tmp_path)
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(shard(homes, tmp_path / "shards", ports, 0))
        hub = await stack.enter_async_context(running(homes, tmp_path, settings))
        channels = await stack.enter_async_context(dialled(hub, homes, *PARTICIPANTS))

        async def sweep() -> list[str]:
            sweep_id = await operations.start_sweep(channels[0], "action-day")
            ways = (honest(homes, filled, *one, sweep_id) for one in zip(PARTICIPANTS, channels, strict=True))
            done = [word(one) for one in await asyncio.gather(*ways, return_exceptions=True)]
            await cleaned_up(hub)
            return done

        assert await sweep() == ["unavailable"] * 3
        assert "shard 1 at localhost" in caplog.text
        assert list((tmp_path / "shards").glob("*/*")) == [], "the shard that was there has forgotten its part"
        async with shard(homes, tmp_path / "shards", ports, 1):
            assert await sweep() == [""] * 3


async def test_a_gateway_that_was_stopped_after_its_shards_had_ended_has_them_forget(
    homes: Homes, filled: dict[str, Store], alone: dict[str, Any], tmp_path: Path
) -> None:
    """Its state says nothing of parts any more, and they must not lie at the shards (I2)."""
    *ports, hub_port = free_ports(3)
    shutil.copy(homes["g1"].path / "gateway.sqlite", tmp_path)
    pairing = asyncio.Event()

    async def full(candidates: object) -> None:
        pairing.set()
        await asyncio.Event().wait()

    async with shards(homes, tmp_path / "shards", ports), AsyncExitStack() as stack:
        gateway = partial(running, homes, tmp_path, sharing(ports), port=hub_port, folder=tmp_path / "sweeps")
        async with gateway() as hub:
            hub.ledger.open_edges = full  # type: ignore[method-assign] # what stalls
            channels = await stack.enter_async_context(dialled(hub, homes, *PARTICIPANTS))
            sweep_id = await operations.start_sweep(channels[0], "action-day")
            ways = (honest(homes, filled, *one, sweep_id) for one in zip(PARTICIPANTS, channels, strict=True))
            tasks = [asyncio.create_task(one) for one in ways]
            async with asyncio.timeout(20):
                await pairing.wait()
            assert len(list((tmp_path / "shards").glob("*/*"))) == 2
            # Whoever's line broke before it heard that a part is over hears it when it comes again.
            late = party_of(homes, filled, "CZ", sweep_id).join()
            async with dial_shard(homes["CZ"], f"localhost:{ports[0]}") as to_shard:
                stream = SweepServiceStub(to_shard).Sweep()
                await stream.write(late)
                assert await stream.read() == SweepDown(done=SweepDone())
        async with gateway() as hub:
            done = [word(one) for one in await asyncio.gather(*tasks)]
            report = await operations.fetch_report(homes["AT"], channels[0], "action-day")
            found = {"report": comparable(report), "notices": told(hub, homes), "dropped": done}
            await cleaned_up(hub)
    assert found == alone
    assert list((tmp_path / "shards").glob("*/*")) == []


async def test_shards_that_come_one_after_the_other_wait_for_the_plan(
    homes: Homes, filled: dict[str, Store], tmp_path: Path
) -> None:
    """Nodes hear where to dial when the last has begun: the first must not take them for gone until then."""
    ports = free_ports(2)
    settings = sharing(ports).model_copy(update={"away_s": 0.5})
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(shard(homes, tmp_path / "shards", ports, 0, settings))

        async def come_late() -> None:
            async with asyncio.timeout(20):
                while not list((tmp_path / "shards" / "0").glob("*/order")):  # noqa: ASYNC110 -- a file tells nobody
                    await asyncio.sleep(0.05)
            await asyncio.sleep(3 * settings.away_s)
            await stack.enter_async_context(shard(homes, tmp_path / "shards", ports, 1, settings))

        late = asyncio.create_task(come_late())
        found = await swept(homes, filled, tmp_path, settings)
        await late
    assert found["dropped"] == ["", "", ""]


async def test_a_shard_to_which_nobody_comes_gives_its_part_up(
    homes: Homes, filled: dict[str, Store], tmp_path: Path
) -> None:
    (port,) = free_ports(1)
    settings = sharing([port]).model_copy(update={"away_s": 0.3, "shard_s": 0.5})
    (dead,) = free_ports(1)

    async def lost(*world: Any) -> sweep_pb2.SweepDone:
        homes, held_by, name, to_hub, sweep_id = world
        party = party_of(homes, held_by, name, sweep_id)
        dial = partial(dial_shard, homes[name])
        return await run_sweep(
            to_hub,
            party,
            store=held_by[name].verified_pairs,
            may_prove=lambda _: True,
            dial=lambda _: dial(f"localhost:{dead}"),
        )

    shutil.copy(homes["g1"].path / "gateway.sqlite", tmp_path)
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(shard(homes, tmp_path / "shards", [port], 0, settings))
        hub = await stack.enter_async_context(running(homes, tmp_path, settings))
        channels = await stack.enter_async_context(dialled(hub, homes, *PARTICIPANTS))
        sweep_id = await operations.start_sweep(channels[0], "action-day")
        ways = (lost(homes, filled, *one, sweep_id) for one in zip(PARTICIPANTS, channels, strict=True))
        assert [word(one) for one in await asyncio.gather(*ways, return_exceptions=True)] == ["unavailable"] * 3
        await cleaned_up(hub)


async def test_no_two_shards_have_one_folder(homes: Homes, tmp_path: Path) -> None:
    ports = free_ports(2)
    async with shard(homes, tmp_path, ports, 0):
        with pytest.raises(ConfigError, match="another shard"):
            async with shard(homes, tmp_path, [ports[1], ports[0]], 0):
                pass
