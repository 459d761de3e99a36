"""The stream of one node: frames in to the hub, frames out from a bounded queue (3.2)."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING, Any, Protocol

from typing_extensions import override

from concordat.errors import CATALOGUE, ConcordatError, UnavailableError
from concordat.protocol import several
from concordat.rpc.server import current_peer
from concordat.wire.v1.session_pb2_grpc import SessionServiceServicer

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Sequence

    from concordat.wire.v1 import session_pb2 as wire
    from gateway.rules import Limits


class Channel:
    """What waits to be sent to one session; whoever lets too much wait is cut off."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._queue: deque[tuple[int, int, wire.HubFrame]] = deque()
        self._bytes = 0
        self._question_bytes = 0
        self._filled = asyncio.Event()
        self._closed = asyncio.Event()
        self.code: str | None = None
        self.takes_several = False
        """Whether the node has said that it takes several frames in one message."""

    @property
    def waiting_bytes(self) -> int:
        """Return the bytes that wait, without questions: who is asked depends on what is held silently (I11)."""
        return self._bytes - self._question_bytes

    def put(self, frame: wire.HubFrame, tick: int) -> None:
        """Append a frame."""
        size = frame.ByteSize()
        if len(self._queue) >= self._limits.queue_frames or self._bytes + size > self._limits.queue_bytes:
            self.close("busy")
            return
        self._queue.append((tick, size, frame))
        self._bytes += size
        self._question_bytes += size if tick else 0
        self._filled.set()

    def forget(self, tick: int) -> None:
        """Drop questions of this tick and earlier ones, which nobody needs any more (I2)."""
        if any(0 < other <= tick for other, _, _ in self._queue):
            self._queue = deque(entry for entry in self._queue if not 0 < entry[0] <= tick)
            self._bytes = sum(size for _, size, _ in self._queue)
            self._question_bytes = sum(size for tick, size, _ in self._queue if tick)

    def close(self, code: str) -> None:
        """End the session with a code; an empty one is a good end."""
        if self.code is None:
            self.code = code
            self._closed.set()

    async def closed(self) -> None:
        """Return when the session is to end."""
        await self._closed.wait()

    async def drain(self, write: Callable[[wire.HubFrame], Awaitable[None]]) -> None:
        """Send frames for ever, in order."""
        while True:
            await self._filled.wait()
            self._filled.clear()
            while self._queue:
                await write(self._next())

    def _next(self) -> wire.HubFrame:
        """Take out the next message: what waits shares it, as far as it has room."""
        frames: list[wire.HubFrame] = []
        room = several.MAX_BYTES
        most = several.MAX_FRAMES if self.takes_several else 1
        while self._queue and len(frames) < most and (not frames or self._queue[0][1] <= room):
            tick, size, frame = self._queue.popleft()
            self._bytes -= size
            self._question_bytes -= size if tick else 0
            room -= size
            frames.append(frame)
        return several.hub_message(frames)


class Sessions(Protocol):
    """The hub, as a stream sees it."""

    def open(self, party: str) -> tuple[int, Channel]:
        """Take a stream of an authenticated party."""
        ...

    def frames(self, session: int, frames: Sequence[wire.NodeFrame]) -> None:
        """Take frames that came together, in their order."""
        ...

    def detach(self, session: int) -> None:
        """Note that a stream has ended."""
        ...


class SessionServicer(SessionServiceServicer):
    """Serves the streams that nodes dial out."""

    def __init__(self, hub: Sessions) -> None:
        self._hub = hub

    @override
    async def Attach(self, request_iterator: AsyncIterator[wire.NodeFrame], context: Any) -> None:  # type: ignore[override]  # writes instead of yielding
        """Carry frames both ways until either side ends the session."""
        number, channel = self._hub.open(str(current_peer()))
        tasks = {
            asyncio.create_task(self._read(number, channel, request_iterator)),
            asyncio.create_task(channel.drain(context.write)),
            asyncio.create_task(channel.closed()),
        }
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            # A write that a half-open connection holds up ends with its task.
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            self._hub.detach(number)
        if channel.code:
            raise _closing(channel.code)
        for task in done:
            task.result()

    async def _read(self, number: int, channel: Channel, messages: AsyncIterator[wire.NodeFrame]) -> None:
        async for message in messages:
            if message.HasField("hello"):
                channel.takes_several = message.hello.takes_several
            self._hub.frames(number, several.frames_of(message))


def _closing(code: str) -> ConcordatError:
    known = code if code in CATALOGUE else "internal"
    return UnavailableError("the hub ends the session", code=known)
