"""Shards share the windows of a sweep over real streams, and it comes to what the gateway alone comes to (3.7)."""

from __future__ import annotations

import asyncio
import json
import logging
import shutil
import socket
import sys
from contextlib import AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest

from concordat.clock import SystemClock
from concordat.rpc.server import ServerSettings
from concordat.wire.v1 import sweep_pb2
from concordat.wire.v1.check_pb2 import Notice
from gateway.sweep.effects import SweepSettings
from gateway.sweep.shard_server import open_shard
from services.node import operations
from services.node.joining import join_sweep
from tests.unit.operations.held import Held, submit, tokenise
from tests.unit.operations.test_operation_flow import PARTICIPANTS, TODAY, agree, dialled, running, stores

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence
    from pathlib import Path

    import grpc.aio

    from services.node.store.store import Store
    from tests.unit.operations.test_operation_flow import Homes, Hub

__all__ = ["stores"]
VALUES = {"AT": range(60), "BE": range(30, 90), "CZ": range(45, 105)}
Join = "Callable[[Hub, Homes, dict[str, Store], str, grpc.aio.Channel, bytes], Awaitable[sweep_pb2.SweepDone]]"


def free_ports(count: int) -> list[int]:
    held = [socket.socket() for _ in range(count)]
    try:
        for one in held:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in held]
    finally:
        for one in held:
            one.close()


def sharing(ports: Sequence[int]) -> SweepSettings:
    return SweepSettings(window_tokens=8, away_s=5.0, save_s=0.0, shards=tuple(f"localhost:{port}" for port in ports))


@asynccontextmanager
async def shards(homes: Homes, folder: Path, ports: Sequence[int]) -> AsyncIterator[None]:
    """Run shards in this process, each with a server and a folder of its own."""
    async with AsyncExitStack() as stack:
        for index, port in enumerate(ports):
            settings = ServerSettings(address=f"127.0.0.1:{port}", drain_s=0)
            opened = open_shard(homes["g1"], folder / f"{index}", settings, sharing(ports), clock=SystemClock())
            server = await stack.enter_async_context(opened)
            await server.start()
            stack.push_async_callback(server.stop, 0)
        yield


@asynccontextmanager
async def processes(homes: Homes, ports: Sequence[int]) -> AsyncIterator[None]:
    """Run shards as the command line does."""
    home = homes["g1"].path
    named = ", ".join(f'"localhost:{port}"' for port in ports)
    (home / "gateway.toml").write_text(f"[sweep]\nwindow_tokens = 8\nshards = [{named}]\n")
    running = []
    try:
        for index in range(len(ports)):
            shard = ("gateway", "sweep-shard", "--home", str(home), "--index", str(index), "--json")
            one = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "concordat", *shard),
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.PIPE,
            )
            running.append(one)
        for index, one in enumerate(running):
            assert one.stdout is not None
            ready = json.loads(await one.stdout.readline())
            assert (ready["ready"], ready["shard"], ready["port"]) == (True, index, ports[index])
        yield
    finally:
        for one in running:
            one.terminate()
        said = [await one.communicate() for one in running]
    assert [one.returncode for one in running] == [0] * len(ports), said


async def honest(
    _hub: Hub, homes: Homes, held_by: dict[str, Store], name: str, to_hub: grpc.aio.Channel, sweep_id: bytes
) -> sweep_pb2.SweepDone:
    return await join_sweep(homes[name], to_hub, held_by[name], "action-day", sweep_id, today=TODAY)


async def swept(
    homes: Homes,
    held_by: dict[str, Store],
    tmp_path: Path,
    settings: SweepSettings,
    last: Any = honest,
) -> dict[str, Any]:
    """Run one sweep; return what came of it. CZ takes part as `last` says."""
    shutil.copy(homes["g1"].path / "gateway.sqlite", tmp_path)
    async with running(homes, tmp_path, settings, folder=tmp_path / "sweeps") as hub:
        async with dialled(hub, homes, *PARTICIPANTS) as channels:
            sweep_id = await operations.start_sweep(channels[0], "action-day")
            ways = (honest, honest, last)
            done = await asyncio.gather(
                *(
                    way(hub, homes, held_by, name, one, sweep_id)
                    for way, name, one in zip(ways, PARTICIPANTS, channels, strict=True)
                ),
                return_exceptions=True,
            )
            report = await operations.fetch_report(homes["AT"], channels[0], "action-day")
        notices = {
            name: sorted(
                told_of(one.content)
                for one in hub.ledger.ledger.notices_above(str(homes[name].identity), 0, limit=1000)
            )
            for name in PARTICIPANTS
        }
        async with asyncio.timeout(20):
            while hub.runner._running:  # noqa: ASYNC110 -- the sweep tells nobody when it has cleaned up
                await asyncio.sleep(0.01)
    assert list((tmp_path / "sweeps").iterdir()) == [], "a sweep's files are deleted at its end"
    kept = ("totals", "per_namespace", "matches", "participants", "classes")
    return {
        "report": {key: report[key] for key in kept if key in report},
        "notices": notices,
        "dropped": [one.dropped if isinstance(one, sweep_pb2.SweepDone) else one for one in done],
    }


def told_of(notice: bytes) -> tuple[bytes, str, bytes]:
    told = Notice.FromString(notice).told
    return told.own_reference, told.other, told.other_reference


@pytest.fixture
async def filled(homes: Homes, stores: dict[str, Store]) -> dict[str, Store]:
    """Fill the stores, and agree on an operation: each sweep gets its own copy of the gateway's database."""
    async with running(homes, homes["g1"].path) as hub, dialled(hub, homes, *PARTICIPANTS) as channels:
        await agree(homes, channels)
    for name, values in VALUES.items():
        submit(stores[name], "action-day", [Held("email", f"{at}@example.org") for at in values])
        tokenise(stores[name])
    return stores


@pytest.fixture
async def alone(homes: Homes, filled: dict[str, Store], tmp_path: Path) -> dict[str, Any]:
    (tmp_path / "alone").mkdir()
    return await swept(homes, filled, tmp_path / "alone", sharing(()))


@pytest.mark.parametrize("count", [1, 4])
async def test_shards_come_to_what_the_gateway_alone_comes_to(
    homes: Homes,
    filled: dict[str, Store],
    alone: dict[str, Any],
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    count: int,
) -> None:
    caplog.set_level(logging.INFO, "gateway.sweep")
    ports = free_ports(count)
    async with shards(homes, tmp_path / "shards", ports):
        shared = await swept(homes, filled, tmp_path, sharing(ports))
    assert shared == alone
    assert shared["dropped"] == ["", "", ""]
    assert sum(map(len, shared["notices"].values())) == 188
    assert caplog.text.count(f"is shared by {count} shards") == 1
    assert caplog.text.count("windows ") >= count
    assert list((tmp_path / "shards").glob("*/*")) == [], "a shard forgets its part when the gateway has the report"


async def test_two_shards_in_processes_of_their_own_come_to_the_same(
    homes: Homes, filled: dict[str, Store], alone: dict[str, Any], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "gateway.sweep")
    ports = free_ports(2)
    async with processes(homes, ports):
        assert await swept(homes, filled, tmp_path, sharing(ports)) == alone
    assert caplog.text.count("is shared by 2 shards") == 1
