"""The streams of participants, at the gateway and at a shard alike: bound to the sweep that the first frame names."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Protocol

from typing_extensions import override

from concordat.errors import UnavailableError
from concordat.rpc.server import current_peer
from concordat.wire.v1.sweep_pb2_grpc import SweepServiceServicer
from gateway.sweep.effects import SweepSettings

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from concordat.wire.v1 import sweep_pb2 as wire
    from gateway.sweep.driver import Driver
    from gateway.sweep.effects import Send


class Sweeps(Protocol):
    """Knows what runs in this process."""

    def find(self, party: str, first: wire.SweepUp) -> Driver:
        """Return the sweep that a stream's first frame names.

        Raises:
            RefusedError: With code `operation_unknown`, where none runs or the party takes no part (I8).
        """
        ...


class SweepServicer(SweepServiceServicer):
    """Serves the streams of participants."""

    def __init__(self, runner: Sweeps, settings: SweepSettings | None = None) -> None:
        self._runner = runner
        self._first_s = (settings or SweepSettings()).join_s

    @override
    async def Sweep(self, requests: AsyncIterator[wire.SweepUp], context: Any) -> AsyncIterator[wire.SweepDown]:
        """Take a participant's frames and send it those of the hub, until its last."""
        party = str(current_peer())
        try:
            async with asyncio.timeout(self._first_s):
                first = await anext(requests, None)
        except TimeoutError as error:
            raise UnavailableError("a sweep's stream began without a join", code="deadline") from error
        if first is None:
            return
        sweep = self._runner.find(party, first)
        queue = sweep.open(party)
        reader = asyncio.create_task(_read(sweep, party, first, requests, queue))
        try:
            while True:
                send = await queue.get()
                if send is None:
                    break
                yield send.frame
                if send.last:
                    break
        finally:
            sweep.close(party, queue)
            reader.cancel()
            await asyncio.gather(reader, return_exceptions=True)


async def _read(
    sweep: Driver,
    party: str,
    first: wire.SweepUp,
    requests: AsyncIterator[wire.SweepUp],
    queue: asyncio.Queue[Send | None],
) -> None:
    try:
        await sweep.receive(party, first, queue)
        async for frame in requests:
            await sweep.receive(party, frame, queue)
    finally:
        queue.put_nowait(None)
