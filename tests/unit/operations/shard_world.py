"""A federation whose gateway has shards, over mTLS on loopback, and what comes of a sweep there."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import socket
import sys
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest

from concordat.clock import SystemClock
from concordat.errors import ConcordatError
from concordat.rpc.server import ServerSettings
from concordat.wire.v1 import sweep_pb2
from concordat.wire.v1.check_pb2 import Notice
from gateway.sweep.effects import SweepSettings
from gateway.sweep.shard_server import open_shard
from services.node import operations
from services.node.joining import dial_shard, join_sweep
from services.node.sweep_lines import run_sweep
from tests.unit.operations.held import Held, submit, tokenise
from tests.unit.operations.test_operation_flow import PARTICIPANTS, TODAY, agree, dialled, running

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
    from pathlib import Path

    import grpc.aio

    from services.node.store.store import Store
    from services.node.sweep import SweepParty
    from tests.unit.operations.test_operation_flow import Homes, Hub

    Dial = Callable[[str], grpc.aio.Channel]
    Way = Callable[[Homes, dict[str, Store], str, grpc.aio.Channel, bytes], Awaitable[sweep_pb2.SweepDone]]

VALUES = {"AT": range(60), "BE": range(30, 90), "CZ": range(45, 105)}


def free_ports(count: int) -> list[int]:
    """Return ports that nobody listens on."""
    held = [socket.socket() for _ in range(count)]
    try:
        for one in held:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in held]
    finally:
        for one in held:
            one.close()


def sharing(ports: Sequence[int]) -> SweepSettings:
    """Return settings that share even small sets."""
    return SweepSettings(
        window_tokens=8, away_s=30.0, inactivity_s=60.0, save_s=0.0, shards=tuple(f"localhost:{port}" for port in ports)
    )


@asynccontextmanager
async def shard(
    homes: Homes, folder: Path, ports: Sequence[int], index: int, sweep: SweepSettings | None = None
) -> AsyncIterator[None]:
    """Run one shard in this process, with a server and a folder of its own."""
    settings, sweep = ServerSettings(address=f"127.0.0.1:{ports[index]}", drain_s=0), sweep or sharing(ports)
    async with open_shard(homes["g1"], folder / f"{index}", settings, sweep, clock=SystemClock()) as (server, _):
        await server.start()
        try:
            yield
        finally:
            await server.stop(0)


@asynccontextmanager
async def shards(homes: Homes, folder: Path, ports: Sequence[int]) -> AsyncIterator[None]:
    """Run all shards in this process."""
    async with AsyncExitStack() as stack:
        for index in range(len(ports)):
            await stack.enter_async_context(shard(homes, folder, ports, index))
        yield


@asynccontextmanager
async def processes(
    homes: Homes, ports: Sequence[int], *, once: bool = False
) -> AsyncIterator[list[asyncio.subprocess.Process]]:
    """Run shards as the command line does; which shard one is stands in its environment."""
    home, pipe = homes["g1"].path, asyncio.subprocess.PIPE
    named = ", ".join(f'"localhost:{port}"' for port in ports)
    (home / "gateway.toml").write_text(f"[sweep]\nwindow_tokens = 8\nshards = [{named}]\n")
    command = [
        "-m",
        "concordat",
        "gateway",
        "sweep-shard",
        "--home",
        str(home),
        "--json",
        *(["--once"] if once else []),
    ]
    running: list[asyncio.subprocess.Process] = []
    try:
        for index in range(len(ports)):
            env = {**os.environ, "JOB_COMPLETION_INDEX": str(index)}
            running.append(
                await asyncio.create_subprocess_exec(sys.executable, *command, stdout=pipe, stderr=pipe, env=env)
            )
        for index, one in enumerate(running):
            assert one.stdout is not None
            ready = json.loads(await one.stdout.readline())
            assert (ready["ready"], ready["shard"], ready["port"]) == (True, index, ports[index])
        yield running
    finally:
        for one in running:
            if one.returncode is None:
                one.terminate()
        said = [await one.communicate() for one in running]
    assert [one.returncode for one in running] == [0] * len(ports), said


async def honest(
    homes: Homes, held_by: dict[str, Store], name: str, to_hub: grpc.aio.Channel, sweep_id: bytes
) -> sweep_pb2.SweepDone:
    """Take part as a node does."""
    return await join_sweep(homes[name], to_hub, held_by[name], "action-day", sweep_id, today=TODAY)


async def otherwise(
    homes: Homes,
    held_by: dict[str, Store],
    to_hub: grpc.aio.Channel,
    party: SweepParty,
    dial: Dial | None = None,
) -> sweep_pb2.SweepDone:
    """Let CZ take part with a participant of its own, or by other ways to the shards."""
    store, chosen = held_by["CZ"].verified_pairs, dial or partial(dial_shard, homes["CZ"])
    return await run_sweep(to_hub, party, store=store, may_prove=lambda _: True, dial=chosen)


async def swept(
    homes: Homes,
    held_by: dict[str, Store],
    tmp_path: Path,
    settings: SweepSettings,
    last: Way = honest,
) -> dict[str, Any]:
    """Run one sweep on a copy of the gateway's database; return what came of it. CZ takes part as `last` says."""
    shutil.copy(homes["g1"].path / "gateway.sqlite", tmp_path)
    async with running(homes, tmp_path, settings, folder=tmp_path / "sweeps") as hub:
        async with dialled(hub, homes, *PARTICIPANTS) as channels:
            sweep_id = await operations.start_sweep(channels[0], "action-day")
            ways = (honest, honest, last)
            done = await asyncio.gather(
                *(
                    way(homes, held_by, name, one, sweep_id)
                    for way, name, one in zip(ways, PARTICIPANTS, channels, strict=True)
                ),
                return_exceptions=True,
            )
            report = await operations.fetch_report(homes["AT"], channels[0], "action-day")
        notices = told(hub, homes)
        await cleaned_up(hub)
    assert list((tmp_path / "sweeps").iterdir()) == [], "a sweep's files are deleted at its end"
    return {"report": comparable(report), "notices": notices, "dropped": [word(one) for one in done]}


async def cleaned_up(hub: Hub) -> None:
    """Wait until the gateway drives no sweep any more."""
    async with asyncio.timeout(20):
        while hub.runner._running:  # noqa: ASYNC110 -- the sweep tells nobody when it has cleaned up
            await asyncio.sleep(0.01)


def word(done: sweep_pb2.SweepDone | BaseException) -> str:
    """Return the code with which a sweep ended for a participant."""
    if isinstance(done, sweep_pb2.SweepDone):
        return done.dropped
    return done.code if isinstance(done, ConcordatError) else repr(done)


def comparable(report: dict[str, Any]) -> dict[str, Any]:
    """Return what two sweeps of the same sets have in common."""
    return {key: report[key] for key in ("totals", "per_namespace", "matches", "participants")}


def told(hub: Hub, homes: Homes) -> dict[str, list[tuple[bytes, str, bytes]]]:
    """Return of which edges each participant is told: its own reference, whose, and theirs."""
    lists = {name: hub.ledger.ledger.notices_above(str(homes[name].identity), 0, limit=1000) for name in PARTICIPANTS}
    return {name: sorted(told_of(one.content) for one in found) for name, found in lists.items()}


def told_of(notice: bytes) -> tuple[bytes, str, bytes]:
    told = Notice.FromString(notice).told
    return told.own_reference, told.other, told.other_reference


async def fill(homes: Homes, held_by: dict[str, Store]) -> None:
    """Fill the stores, and agree on an operation."""
    async with running(homes, homes["g1"].path) as hub, dialled(hub, homes, *PARTICIPANTS) as channels:
        await agree(homes, channels)
    for name, values in VALUES.items():
        submit(held_by[name], "action-day", [Held("email", f"{at}@example.org") for at in values])
        tokenise(held_by[name])


@pytest.fixture
async def filled(homes: Homes, stores: dict[str, Store]) -> dict[str, Store]:
    """The stores of the participants, with what they hold."""
    await fill(homes, stores)
    return stores


@pytest.fixture
async def alone(homes: Homes, filled: dict[str, Store], tmp_path: Path) -> dict[str, Any]:
    """What the gateway comes to without shards."""
    (tmp_path / "alone").mkdir()
    return await swept(homes, filled, tmp_path / "alone", sharing(()))
