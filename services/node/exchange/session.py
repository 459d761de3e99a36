"""The node's side of one session at the rim: dial, read, write, and let the core work in its own thread.

One task reads, one writes out of a bounded queue, and one hands frames to the core in their order, so that a barrier's
reply follows the answers before it. The core and the store run in one worker thread; the loop only carries bytes.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Final, NamedTuple, TypeVar

import grpc.aio

from concordat.errors import ConcordatError, ProtocolError, RefusedError, UnavailableError
from concordat.protocol import several
from concordat.rpc.client import channel, translate
from concordat.wire.v1 import session_pb2 as wire
from concordat.wire.v1.session_pb2_grpc import SessionServiceStub
from services.node.events import Detached
from services.node.exchange.identity import Identity

if TYPE_CHECKING:
    from collections.abc import Callable
    from random import Random

    from concordat.clock import Clock
    from concordat.identity.home import Home
    from concordat.identity.manifest import Gateway
    from services.node.events import EventSink
    from services.node.exchange.core import NodeCore

T = TypeVar("T")

POLL_S: Final = 1.0
BACKOFF_S: Final = (0.1, 0.2, 0.5, 1.0, 2.0, 5.0)
QUEUE_FRAMES: Final = 512
FRAMES_AT_ONCE: Final = 64
NOTICES_AT_ONCE: Final = 256
NOTICE_PAUSE_S: Final = 0.01
# More than a gateway may have sent and not yet seen acknowledged.
MAX_NOTICES: Final = 1 << 14
GOOD_BYE_S: Final = 1.0
SUPERSEDED: Final = "superseded"
_SUPERSEDED_TEXT: Final = (
    "a newer incarnation of this party's store has attached, so this one is its store no more: another process runs"
    " on a copy. If this copy was put back on purpose and no other process runs: concordat node restored --home HOME"
)
# After these the folder is read again before the next attempt: there may be a newer manifest in it.
_READ_HOME_AFTER: Final = frozenset({"stale_manifest", "stale_epoch", "stale_rules", "bad_identity", "bad_signature"})
_LOG: Final = logging.getLogger(__name__)


@dataclass(slots=True)
class _Stream:
    """One attached stream."""

    call: grpc.aio.StreamStreamCall[wire.NodeFrame, wire.HubFrame]
    incoming: asyncio.Queue[wire.HubFrame] = field(default_factory=lambda: asyncio.Queue(QUEUE_FRAMES))
    notices: deque[wire.HubFrame] = field(default_factory=deque)
    """Notices wait apart: however many there are, questions and barriers are answered in time."""
    takes_several: bool = False
    """Whether the gateway has said that it takes several frames in one message."""
    outgoing: asyncio.Queue[wire.NodeFrame] = field(default_factory=lambda: asyncio.Queue(QUEUE_FRAMES))


class _Step(NamedTuple):
    frames: list[wire.NodeFrame]
    operations: list[wire.OperationEvent]


@dataclass(frozen=True, slots=True)
class Hooks:
    """What a session tells and asks the process that it runs in."""

    emit: EventSink
    reload: Callable[[], Home]
    """Read the party's folder anew; in the worker thread."""
    on_operation: Callable[[wire.OperationEvent], None]
    """Take an event of an operation; in the loop's thread."""


class Session:
    """Keeps a node attached to one gateway until it is stopped."""

    def __init__(
        self, core: NodeCore, home: Home, gateway: Gateway, *, clock: Clock, rng: Random, hooks: Hooks
    ) -> None:
        self._core = core
        self._home = home
        self._gateway = gateway
        self._clock = clock
        self._rng = rng
        self._hooks = hooks
        self._ping = asyncio.Event()
        self._was_attached = False
        self._woken = False
        self._work_at = 0.0
        self._noticed_at = 0.0
        self._worker = ThreadPoolExecutor(1, thread_name_prefix=f"exchange-{home.identity.name}")

    def wake(self) -> None:
        """Look for work now; call it in the loop's thread."""
        self._woken = True
        self._ping.set()

    async def run(self, stop: asyncio.Event) -> None:
        """Attach, and attach again whenever the session ends, until `stop` is set."""
        failures, said = 0, ""
        try:
            while not stop.is_set():
                started = self._clock.monotonic()
                try:
                    error = await self._attend(stop)
                except UnavailableError as caught:
                    # The store could not be read for the hello, or not be used at the end.
                    error = caught
                if error is None:
                    return
                if error.code == SUPERSEDED:
                    raise RefusedError(_SUPERSEDED_TEXT, code=SUPERSEDED) from error
                # A session that lasted starts the pauses anew.
                failures = 1 if self._clock.monotonic() - started > BACKOFF_S[-1] else failures + 1
                # A gateway that stays away is news once.
                if self._was_attached or error.code != said:
                    self._hooks.emit(Detached(error.code, error.message))
                    said = error.code
                if error.code in _READ_HOME_AFTER:
                    await self._in_worker(self._read_home)
                pause_s = BACKOFF_S[min(failures, len(BACKOFF_S)) - 1] * self._rng.uniform(0.5, 1.0)
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(pause_s):
                        await stop.wait()
        finally:
            self._worker.shutdown(wait=True)

    async def _attend(self, stop: asyncio.Event) -> ConcordatError | None:
        """Run one session; return why it ended, or None where this node ended it."""
        async with channel(self._gateway.address, home=self._home, server=self._gateway.spiffe) as to_gateway:
            stream = _Stream(SessionServiceStub(to_gateway).Attach())
            await stream.outgoing.put(await self._in_worker(self._core.hello))
            tasks = [
                asyncio.create_task(one) for one in (self._read(stream), self._write(stream), self._engine(stream))
            ]
            stopped = asyncio.create_task(stop.wait())
            try:
                await asyncio.wait([*tasks, stopped], return_when=asyncio.FIRST_COMPLETED)
                if stop.is_set():
                    await self._say_good_bye(stream, tasks[1])
                    return None
                return await _why([*tasks])
            finally:
                for task in (*tasks, stopped):
                    task.cancel()
                await asyncio.gather(*tasks, stopped, return_exceptions=True)
                stream.call.cancel()
                await self._in_worker(self._leave)

    async def _read(self, stream: _Stream) -> None:
        try:
            async for message in stream.call:
                if message.HasField("welcome"):
                    stream.takes_several = message.welcome.takes_several
                for frame in several.frames_of(message):
                    if frame.HasField("notice"):
                        stream.notices.append(frame)
                        if len(stream.notices) > MAX_NOTICES:
                            raise ProtocolError("the gateway sends notices without waiting for their acknowledgement")
                    else:
                        await stream.incoming.put(frame)
                        self._ping.set()
                self._ping.set()
        except grpc.aio.AioRpcError as error:
            raise translate(error, "the gateway") from error
        raise UnavailableError("the gateway ended the session")

    async def _write(self, stream: _Stream) -> None:
        while True:
            frames = await _next_frames(stream)
            try:
                await stream.call.write(several.node_message(frames))
            except (grpc.aio.AioRpcError, asyncio.InvalidStateError):
                # The stream has ended; the reader hears why.
                return
            finally:
                for _ in frames:
                    stream.outgoing.task_done()

    async def _engine(self, stream: _Stream) -> None:
        """Hand frames and wake-ups to the core, and its frames to the writer, in order."""
        self._work_at = 0.0
        while True:
            await self._wait_for_work(stream)
            if stream.notices:
                self._noticed_at = self._clock.monotonic()
            # Taken back in the thread that sets it, and before the store is read: who wakes later is heard next time.
            woken, self._woken = self._woken, False
            step = await self._in_worker(partial(self._step, _drain(stream), woken=woken))
            for frame in step.frames:
                await stream.outgoing.put(frame)
            for event in step.operations:
                self._hooks.on_operation(event)

    async def _wait_for_work(self, stream: _Stream) -> None:
        """Return when there is something for the core.

        A notice that comes alone is taken at once. Of many in a row, each would wait for the disk by itself: those that
        come soon after the last ones wait a moment for more, or for whatever else is to be done.
        """
        while True:
            self._ping.clear()
            if self._woken or not stream.incoming.empty():
                return
            until = self._noticed_at + NOTICE_PAUSE_S if stream.notices else self._work_at
            rest_s = min(until, self._work_at) - self._clock.monotonic()
            if rest_s <= 0:
                return
            with contextlib.suppress(TimeoutError):
                # Not `wait_for`: in Python 3.11 it can swallow the cancellation that ends this task.
                async with asyncio.timeout(rest_s):
                    await self._ping.wait()

    def _step(self, frames: list[wire.HubFrame], *, woken: bool) -> _Step:
        """Let the core take frames, and look for work where it is time. Runs in the worker thread."""
        due = woken or self._clock.monotonic() >= self._work_at
        answers = self._core.step(frames, work=due)
        if due:
            self._work_at = self._clock.monotonic() + POLL_S
        next_at = 0.0 if self._core.has_more else self._core.next_at()
        if next_at is not None:
            self._work_at = min(self._work_at, next_at)
        return _Step(answers, self._core.operations())

    async def _say_good_bye(self, stream: _Stream, writer: asyncio.Task[None]) -> None:
        with contextlib.suppress(TimeoutError, asyncio.QueueFull):
            stream.outgoing.put_nowait(wire.NodeFrame(bye=wire.Bye()))
            if not writer.done():
                async with asyncio.timeout(GOOD_BYE_S):
                    await stream.outgoing.join()

    def _leave(self) -> None:
        self._was_attached = self._core.attached
        self._core.detach()

    def _read_home(self) -> None:
        try:
            self._home = self._hooks.reload()
        except ConcordatError as error:
            _LOG.warning("the party's folder cannot be used now", extra={"code": error.code})
            return
        self._gateway = self._home.manifest.gateways[0]
        self._core.use_identity(Identity.from_home(self._home))

    async def _in_worker(self, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._worker, work)


async def _next_frames(stream: _Stream) -> list[wire.NodeFrame]:
    """Wait for a frame and take it out of the queue, with those that wait behind it and have room in its message."""
    frames = [await stream.outgoing.get()]
    if not stream.takes_several:
        return frames
    room = several.MAX_BYTES - frames[0].ByteSize()
    while room > 0 and len(frames) < several.MAX_FRAMES and not stream.outgoing.empty():
        frames.append(stream.outgoing.get_nowait())
        room -= frames[-1].ByteSize()
    return frames


def _drain(stream: _Stream) -> list[wire.HubFrame]:
    """Return the next frames, notices last."""
    frames: list[wire.HubFrame] = []
    while len(frames) < FRAMES_AT_ONCE and not stream.incoming.empty():
        frames.append(stream.incoming.get_nowait())
    # The welcome comes first in any case: a gateway sends nothing before it.
    frames += [stream.notices.popleft() for _ in range(min(NOTICES_AT_ONCE, len(stream.notices)))]
    return frames


async def _why(tasks: list[asyncio.Task[None]]) -> ConcordatError:
    """Return the error that ended a session; an unforeseen one is raised as it is."""
    # The writer ends silently with the stream; the reader then hears the reason.
    if all(task.done() and task.exception() is None for task in tasks if task.done()):
        await asyncio.wait(tasks, timeout=GOOD_BYE_S, return_when=asyncio.FIRST_EXCEPTION)
    for task in tasks:
        error = task.exception() if task.done() and not task.cancelled() else None
        if isinstance(error, ConcordatError):
            return error
        if error is not None:
            raise error
    return ProtocolError("the session ended without a reason")
