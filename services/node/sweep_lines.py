"""The streams of a participant in a sweep: to its gateway, and to the shards that share the windows (3.6, 3.7).

    done = await run_sweep(channel, party, store=store.verified_pairs, may_prove=may_prove, dial=dial)

Where a stream breaks it is dialled again and joined with the same set. What a shard is, the gateway says; that it is
the gateway's, its certificate says (`dial`).
"""

from __future__ import annotations

import asyncio
import logging
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Final

import grpc.aio

from concordat.errors import ConcordatError, ProtocolError, RefusedError, UnavailableError
from concordat.rpc.client import translate, translated
from concordat.wire.v1 import sweep_pb2 as wire
from concordat.wire.v1.sweep_pb2_grpc import SweepServiceStub

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine, Sequence

    from services.node.store.rows import PairRow
    from services.node.sweep import Step, SweepParty
    from services.node.sweep_windows import ShardParty

    Dial = Callable[[str], grpc.aio.Channel]

# A hub is silent while others prepare their sets (15 minutes) or prove their pairs; the channel finds dead lines.
IDLE_S: Final = 1200.0
# As long as a gateway waits for whoever owes it something (gateway.sweep.effects).
AWAY_S: Final = 30.0
FIRST_PAUSE_S: Final = 0.2
LONGEST_PAUSE_S: Final = 2.0
PREPARING_EVERY_S: Final = 2.0
LEAVE_S: Final = 5.0
_LEAVING: Final = wire.SweepUp(leaving=wire.SweepLeaving())

_log: Final = logging.getLogger(__name__)


@dataclass(slots=True)
class Preparation:
    """A participant whose set is still to be made.

    Attributes:
        operation: Operation id.
        sweep_id: Of the sweep.
        build: Makes the set and returns the participant; it may say how many rows of how many are ready.
    """

    operation: str
    sweep_id: bytes
    build: Callable[[Callable[[int, int], None]], Coroutine[None, None, SweepParty]]
    _ready: tuple[int, int] = (0, 0)
    _building: asyncio.Task[SweepParty] | None = None

    async def finish(self, say: Callable[[wire.SweepUp], Awaitable[None]]) -> SweepParty:
        """Build, and say every now and then how far it is; on another stream, go on with what was begun."""
        building = self._building = self._building or asyncio.create_task(self.build(self._note))
        while True:
            done, total = self._ready
            preparing = wire.SweepPreparing(operation=self.operation, sweep_id=self.sweep_id, done=done, total=total)
            await say(wire.SweepUp(preparing=preparing))
            await asyncio.wait({building}, timeout=PREPARING_EVERY_S)
            if building.done():
                return building.result()

    def close(self) -> None:
        """Give up what is still being built."""
        if self._building is not None:
            self._building.cancel()

    def _note(self, done: int, total: int) -> None:
        self._ready = done, total


async def run_sweep(  # noqa: PLR0913 -- what it joins, with what, and for how long
    channel: grpc.aio.Channel,
    party: SweepParty | Preparation,
    *,
    store: Callable[[Sequence[PairRow]], None],
    may_prove: Callable[[Sequence[bytes]], bool],
    dial: Dial | None = None,
    gateway: str = "gateway",
    idle_s: float = IDLE_S,
    away_s: float = AWAY_S,
) -> wire.SweepDone:
    """Take part in a sweep until the hub ends it; where the stream breaks, join again with the same set.

    Args:
        channel: To the gateway that announced the sweep.
        party: This node's part, not yet joined, or one that is still to be prepared.
        store: Writes verified pairs durably before it returns.
        may_prove: Tells whether own references are still visible to all participants.
        dial: Opens a channel to a shard at an address, on which only this gateway is taken for an answer; without it, a
            gateway that names shards breaks the protocol.
        gateway: Name of the gateway for messages.
        idle_s: Longest silence of the hub.
        away_s: How long to try to join again, from when an answered stream broke, or from a shard's last word.

    Raises:
        ProtocolError: The hub broke the protocol.
        RefusedError: A policy was narrowed since the set was read; narrowing holds for every later answer. With code
            `operation_unknown`, the sweep runs no more.
        UnavailableError: The gateway was not reached in time, or fell silent; the opener may start the sweep again.
    """
    line = _Line(channel, gateway, idle_s, store, may_prove, ShardLines(dial))
    main = asyncio.create_task(_again(line, party, away_s))
    leaving = False
    try:
        await asyncio.wait({main, line.shards.failed}, return_when=asyncio.FIRST_COMPLETED)
        # Not where the gateway is away: its sweep goes on when it is back, and it is announced again.
        leaving = not main.done() or not isinstance(main.exception(), UnavailableError | None)
        return main.result() if main.done() else line.shards.failed.result()
    finally:
        main.cancel()
        await asyncio.gather(main, return_exceptions=True)
        await line.shards.close(leave=leaving)
        if isinstance(party, Preparation):
            party.close()


async def _again(line: _Line, party: SweepParty | Preparation, away_s: float) -> wire.SweepDone:
    clock, pause_s = asyncio.get_running_loop().time, FIRST_PAUSE_S
    broke_at: float | None = None
    while True:
        before = line.heard_at
        try:
            return await line.run(party)
        except UnavailableError as error:
            # A gateway in good health is silent for long while others prepare or its shards take the windows.
            if broke_at is None or line.heard_at > before:
                broke_at, pause_s = clock(), FIRST_PAUSE_S
            # What shards have is streamed on without it.
            if error.code != "unavailable" or clock() - max(broke_at, line.shards.heard_at) >= away_s:
                raise
            _log.warning("the stream of a sweep broke and is dialled again: %s", error.message)
        await asyncio.sleep(pause_s)
        pause_s = min(2 * pause_s, LONGEST_PAUSE_S)


@dataclass(slots=True)
class _Line:
    """One stream of a sweep after the other."""

    channel: grpc.aio.Channel
    gateway: str
    idle_s: float
    store: Callable[[Sequence[PairRow]], None]
    may_prove: Callable[[Sequence[bytes]], bool]
    shards: ShardLines
    heard_at: float = 0.0

    async def run(self, party: SweepParty | Preparation) -> wire.SweepDone:
        stream = SweepServiceStub(self.channel).Sweep()
        try:
            if isinstance(party, Preparation):
                party = await party.finish(stream.write)
            await stream.write(party.join())
            while True:
                async with asyncio.timeout(self.idle_s) as limit:
                    # A gateway is silent while its shards take the windows.
                    self.shards.heard = partial(_extend, limit, self.idle_s)
                    try:
                        frame = await stream.read()
                    finally:
                        # Its shards go on where a gateway's stream has broken, and what is over cannot be extended.
                        self.shards.heard = _nothing
                if not isinstance(frame, wire.SweepDown):
                    raise UnavailableError(f"{self.gateway} ended the sweep without a word")
                self.heard_at = asyncio.get_running_loop().time()
                step = party.receive(frame)
                await self._follow(step, stream)
                if step.done is not None:
                    return step.done
        except grpc.aio.AioRpcError as error:
            raise translate(error, self.gateway) from error
        except asyncio.InvalidStateError as error:
            # What grpc says where a frame is to go into a stream that has ended.
            raise UnavailableError(f"{self.gateway} ended the stream while this node had more to say") from error
        except TimeoutError as error:
            raise UnavailableError(f"{self.gateway} fell silent in the sweep", code="deadline") from error
        finally:
            stream.cancel()

    async def _follow(self, step: Step, stream: grpc.aio.StreamStreamCall[wire.SweepUp, wire.SweepDown]) -> None:
        if step.verified:
            await asyncio.to_thread(self.store, step.verified)
        if step.proves and not await asyncio.to_thread(self.may_prove, step.proves):
            await self._leave(stream)
            raise RefusedError("a record of the sweep's set was narrowed while the sweep ran")
        if step.planned:
            self.shards.open(step.shards)
        for up in step.frames:
            await stream.write(up)

    async def _leave(self, stream: grpc.aio.StreamStreamCall[wire.SweepUp, wire.SweepDown]) -> None:
        """Say so, and wait until it is heard: a line that only breaks is waited for."""
        await stream.write(_LEAVING)
        with suppress(TimeoutError):
            async with asyncio.timeout(LEAVE_S):
                while isinstance(frame := await stream.read(), wire.SweepDown) and not frame.HasField("done"):
                    pass


class ShardLines:
    """The streams to the shards of one sweep, each joined again for as long as the gateway's goes on."""

    def __init__(self, dial: Dial | None) -> None:
        self.failed: asyncio.Future[wire.SweepDone] = asyncio.get_running_loop().create_future()
        """Done at the first shard that drops this participant, or breaks the protocol."""
        self.heard: Callable[[], None] = _nothing
        """Called for each frame of a shard."""
        self.heard_at = 0.0
        """When a shard said something last."""
        self._dial = dial
        self._lines: dict[ShardParty, tuple[_ShardLine, asyncio.Task[None]]] = {}

    def open(self, parties: Sequence[ShardParty]) -> None:
        """Go to the shards of a plan; streams that run go on, and those that no plan has any more end.

        Raises:
            ProtocolError: This node dials no shards.
        """
        if parties and self._dial is None:
            raise ProtocolError("the gateway names shards, and none are dialled here")
        for gone in self._lines.keys() - set(parties):
            self._lines.pop(gone)[1].cancel()
        for party in parties:
            if party not in self._lines or self._lines[party][1].done():
                assert self._dial is not None
                line = _ShardLine(party, self._dial, self)
                self._lines[party] = line, asyncio.create_task(self._run(line))

    async def close(self, *, leave: bool) -> None:
        """End all streams; where this node leaves, say so, and wait until it is heard."""
        tasks = [task for _, task in self._lines.values()]
        if leave and tasks:
            await asyncio.gather(*(line.leave() for line, _ in self._lines.values()), return_exceptions=True)
            await asyncio.wait(tasks, timeout=LEAVE_S)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        if self.failed.done():
            self.failed.exception()

    async def _run(self, line: _ShardLine) -> None:
        try:
            done = await self._done(line)
            if done.dropped and not self.failed.done():
                self.failed.set_result(done)
        except Exception as error:  # noqa: BLE001 -- whatever it was, the sweep is over for this node
            if not self.failed.done():
                self.failed.set_exception(error)

    async def _done(self, line: _ShardLine) -> wire.SweepDone:
        pause_s = 0.0
        while True:
            try:
                return await line.run()
            except ConcordatError as error:
                # A shard that was started again may not have its part yet.
                unknown = isinstance(error, RefusedError) and error.code == "operation_unknown"
                if not (unknown or isinstance(error, UnavailableError)) or line.left:
                    raise
                if not pause_s or line.heard:
                    _log.warning("the stream to a shard broke and is dialled again: %s", error.message)
            pause_s = FIRST_PAUSE_S if line.heard or not pause_s else min(2 * pause_s, LONGEST_PAUSE_S)
            line.heard = False
            await asyncio.sleep(pause_s)


class _ShardLine:
    """One stream to a shard after the other."""

    def __init__(self, party: ShardParty, dial: Dial, lines: ShardLines) -> None:
        self.heard = self.left = self._joined = False
        self._party = party
        self._dial = dial
        self._lines = lines
        self._writing = asyncio.Lock()
        self._stream: grpc.aio.StreamStreamCall[wire.SweepUp, wire.SweepDown] | None = None

    async def run(self) -> wire.SweepDone:
        name = f"the shard at {self._party.address}"
        async with self._dial(self._party.address) as to_shard:
            stream = self._stream = SweepServiceStub(to_shard).Sweep()
            try:
                with translated(name):
                    await self._write(self._party.join())
                    self._joined = True
                    if self.left:
                        await self._write(_LEAVING)
                    while isinstance(frame := await stream.read(), wire.SweepDown):
                        self.heard = True
                        self._lines.heard_at = asyncio.get_running_loop().time()
                        self._lines.heard()
                        if frame.HasField("done"):
                            return frame.done
                        for up in self._party.receive(frame):
                            await self._write(up)
                raise UnavailableError(f"{name} ended the sweep without a word")
            finally:
                self._stream, self._joined = None, False
                stream.cancel()

    async def leave(self) -> None:
        """Say that this node leaves; the shard's answer ends the stream."""
        self.left = True
        if self._joined:
            await self._write(_LEAVING)

    async def _write(self, frame: wire.SweepUp) -> None:
        async with self._writing:
            if self._stream is not None:
                await self._stream.write(frame)


def _extend(limit: asyncio.Timeout, seconds: float) -> None:
    limit.reschedule(asyncio.get_running_loop().time() + seconds)


def _nothing() -> None:
    """Have nobody to tell."""
