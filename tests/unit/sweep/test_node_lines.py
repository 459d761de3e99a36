"""A gateway is killed long after its last word, while shards take the windows: its nodes stay in the sweep (3.7)."""

from __future__ import annotations

import asyncio
import logging
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, Final

import grpc
import grpc.aio
import pytest
from typing_extensions import override

from concordat.errors import UnavailableError
from concordat.protocol.sweep_frames import MIN_PREFIX_BITS
from concordat.wire.v1 import sweep_pb2 as wire
from concordat.wire.v1.sweep_pb2_grpc import SweepServiceServicer, add_SweepServiceServicer_to_server
from services.node.sweep import SweepParty
from services.node.sweep_lines import run_sweep
from services.node.sweep_rows import SweepColumns

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

SWEEP_ID: Final = bytes(16)
AWAY_S: Final = 0.05
WINDOWS: Final = 2


class Shard(SweepServiceServicer):
    """Asks for a window when it is told to, and hears whether the node leaves."""

    def __init__(self) -> None:
        self.asks, self.answered, self.left = asyncio.Event(), asyncio.Event(), asyncio.Event()

    @override
    async def Sweep(self, requests: AsyncIterator[wire.SweepUp], context: Any) -> AsyncIterator[wire.SweepDown]:
        await anext(requests, None)
        yield wire.SweepDown(plan=plan(below=WINDOWS))
        for _ in range(WINDOWS):
            await anext(requests, None)
        await self.asks.wait()
        yield wire.SweepDown(want=wire.SweepWant(window=0))
        await anext(requests, None)
        self.answered.set()
        if await anext(requests, None) is not None:
            self.left.set()


class Gateway(SweepServiceServicer):
    """Names the shard, says nothing for longer than a node calls one that is away, and breaks; then it has ended."""

    def __init__(self, shard: Shard) -> None:
        self.shard, self.address, self.streams, self.deaf = shard, "", 0, False

    @override
    async def Sweep(self, requests: AsyncIterator[wire.SweepUp], context: Any) -> AsyncIterator[wire.SweepDown]:
        await anext(requests, None)
        self.streams += 1
        if self.deaf and self.streams > 1:
            await context.abort(grpc.StatusCode.UNAVAILABLE)
        if self.streams > 1:
            # The node has heard of its shard while it had no gateway.
            await self.shard.answered.wait()
            yield wire.SweepDown(done=wire.SweepDone(report_version=7))
            return
        shard = wire.SweepShard(address=self.address, first=0, end=WINDOWS)
        yield wire.SweepDown(plan=plan(shards=[shard]))
        await asyncio.sleep(4 * AWAY_S)
        await context.abort(grpc.StatusCode.UNAVAILABLE)


class Noticed(logging.Handler):
    """Lets the shard ask as soon as the node has noticed that its gateway's stream is broken."""

    def __init__(self, shard: Shard) -> None:
        super().__init__()
        self.shard = shard

    @override
    def emit(self, record: logging.LogRecord) -> None:
        self.shard.asks.set()


@asynccontextmanager
async def asking(shard: Shard) -> AsyncIterator[None]:
    log, noticed = logging.getLogger("services.node.sweep_lines"), Noticed(shard)
    log.addHandler(noticed)
    try:
        yield
    finally:
        log.removeHandler(noticed)


def plan(**more: Any) -> wire.SweepPlan:
    return wire.SweepPlan(prefix_bits=MIN_PREFIX_BITS, window_bits=1, **more)


@asynccontextmanager
async def serving(servicer: SweepServiceServicer) -> AsyncIterator[str]:
    server = grpc.aio.server()
    add_SweepServiceServicer_to_server(servicer, server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        yield f"127.0.0.1:{port}"
    finally:
        await server.stop(0)


async def taking_part(gateway: Gateway) -> wire.SweepDone:
    rows = SweepColumns.sorted_by_token(b"", b"", b"", b"", sweep_id=SWEEP_ID)
    party = SweepParty("a", SWEEP_ID, operation="op", participants=["a", "b"], rows=rows, salt=bytes(32))
    async with (
        serving(gateway.shard) as gateway.address,
        serving(gateway) as address,
        asking(gateway.shard),
        grpc.aio.insecure_channel(address) as to_gateway,
    ):
        return await run_sweep(
            to_gateway,
            party,
            store=lambda _: None,
            may_prove=lambda _: True,
            dial=grpc.aio.insecure_channel,
            away_s=AWAY_S,
        )


async def test_a_gateway_that_was_silent_before_its_line_broke_is_dialled_again_and_no_shard_is_left() -> None:
    gateway = Gateway(Shard())
    done = await taking_part(gateway)
    assert (done.report_version, gateway.streams) == (7, 2)


async def test_a_gateway_that_stays_away_is_given_up_and_its_shards_do_not_hear_that_the_node_leaves() -> None:
    """When the gateway is back it announces its sweep again: until then the node may only be away."""
    gateway = Gateway(Shard())
    gateway.deaf = True
    with pytest.raises(UnavailableError):
        await taking_part(gateway)
    assert gateway.streams > 1
    assert gateway.shard.answered.is_set()
    assert not gateway.shard.left.is_set()
