"""Drives the hub of a sweep: streams of participants and the results of jobs in, frames and jobs out.

One task drives a sweep, so that no participant's broken stream stops it half-way. What else the hub wants done is up to
who derives from this: the gateway's own sweeps (gateway.sweep.service), and parts of sweeps at a shard.
"""

from __future__ import annotations

import asyncio
import logging
from abc import ABC, abstractmethod
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, TypeAlias, TypeVar

from concordat.errors import ConcordatError
from concordat.wire.v1 import sweep_pb2 as wire
from gateway.sweep.effects import Run, Send
from gateway.sweep.hub import Phase

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from concordat.clock import Clock
    from gateway.sweep.checkpoint import SweepFolder
    from gateway.sweep.effects import Effect
    from gateway.sweep.hub import SweepHub
    from gateway.sweep.jobs import Job, Result

    _Post: TypeAlias = "_Letter | asyncio.Future[Result] | Callable[[float], list[Effect]] | None"

TICK_S: Final = 0.25
# How often the log says how far a sweep has come.
TELL_S: Final = 30.0

T = TypeVar("T")

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class _Letter:
    """A participant's frame, or None where its stream has ended; `read` lets it send the next."""

    party: str
    frame: wire.SweepUp | None = field(repr=False)
    read: asyncio.Future[None]


class Driver(ABC):
    """One sweep, or a part of one: its streams, and the task that drives it."""

    def __init__(self, sweep_id: bytes, hub: SweepHub, clock: Clock, folder: SweepFolder | None) -> None:
        self.sweep_id = sweep_id
        self._hub = hub
        self._clock = clock
        self._folder = folder
        # At most one letter a stream, the outcome of one job, a tick (None), and what else the hub is to be told.
        self._inbox: asyncio.Queue[_Post] = asyncio.Queue()
        # One thread: jobs use the same buffers and write the same journal, in order.
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="sweep")
        self._queues: dict[str, asyncio.Queue[Send | None]] = {}
        self._first: list[Effect] = []
        self._told_at = clock.monotonic()
        self.farewell: wire.SweepDown | None = None
        """What who comes again is told once this is over."""

    @property
    def over(self) -> bool:
        """Tell whether the sweep has ended."""
        return self._hub.phase is Phase.OVER

    @property
    def windows(self) -> tuple[int, int]:
        """Return how many windows are done, and how many there are."""
        return self._hub.windows

    def open(self, party: str) -> asyncio.Queue[Send | None]:
        """Bind a participant's stream; return the queue of frames for it, at whose end is None.

        An earlier stream of the participant ends: the gateway may not have noticed yet that its line is dead.
        """
        earlier = self._queues.pop(party, None)
        if earlier is not None:
            earlier.put_nowait(None)
            self._post(party, None)
        queue: asyncio.Queue[Send | None] = asyncio.Queue()
        self._queues[party] = queue
        if self.over and self.farewell is not None:
            queue.put_nowait(Send(party, self.farewell, last=True))
        return queue

    def close(self, party: str, queue: asyncio.Queue[Send | None]) -> None:
        """Take a participant's stream away."""
        if self._queues.get(party) is queue:
            del self._queues[party]
            self._post(party, None)

    async def receive(self, party: str, frame: wire.SweepUp, queue: asyncio.Queue[Send | None]) -> None:
        """Hand a frame to the hub; return when it has been taken, so that a participant holds one at a time."""
        if self._queues.get(party) is queue:
            await self._post(party, frame)

    def _post(self, party: str, frame: wire.SweepUp | None) -> asyncio.Future[None]:
        read: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        if self.over:
            read.set_result(None)
            self._end(party)
        else:
            self._inbox.put_nowait(_Letter(party, frame, read))
        return read

    async def run(self) -> None:
        """Drive the sweep until it is over."""
        ticking = asyncio.create_task(self._tick())
        try:
            await self._apply(self._first)
            while not self.over:
                await self._guarded(await self._inbox.get())
        finally:
            ticking.cancel()
            while not self._inbox.empty():
                self._release(self._inbox.get_nowait())
            for party in self._queues:
                self._end(party)
            await self._let_go()

    async def _let_go(self) -> None:
        try:
            # After whatever job still runs on it.
            await self._in_thread(self._hub.journal.close)
            if self.over and self._folder is not None:
                self._clear()
        except OSError as error:
            _log.warning("files of sweep %s stay behind: %s", self.sweep_id.hex(), error.strerror)
        finally:
            self._thread.shutdown(wait=False)

    def _clear(self) -> None:
        """Delete the files of a sweep that is over."""
        if self._folder is not None:
            self._folder.remove()

    async def _in_thread(self, work: Callable[[], T]) -> T:
        """Run something after the jobs before it."""
        return await asyncio.get_running_loop().run_in_executor(self._thread, work)

    async def _tick(self) -> None:
        while True:
            await asyncio.sleep(TICK_S)
            self._inbox.put_nowait(None)

    async def _guarded(self, letter: _Post) -> None:
        try:
            await self._apply(self._step(letter))
        except ConcordatError as error:
            _log.warning("sweep %s fails: %s", self.sweep_id.hex(), error.message)
            await self._fail(error.code)
        except Exception:  # noqa: BLE001 -- participants must not wait for a sweep that nobody drives any more
            _log.exception("sweep %s fails", self.sweep_id.hex())
            await self._fail("internal")
        finally:
            self._release(letter)

    def _step(self, letter: _Post) -> list[Effect]:
        now = self._clock.monotonic()
        if letter is None:
            if now - self._told_at >= TELL_S:
                self._told_at = now
                _log.info("sweep %s: %s", self.sweep_id.hex(), self._hub.progress)
            return self._hub.tick(now)
        if isinstance(letter, asyncio.Future):
            return self._hub.ran(letter.result(), now)
        if not isinstance(letter, _Letter):
            return letter(now)
        if letter.frame is None:
            return self._hub.gone(letter.party, now)
        return self._hub.receive(letter.party, letter.frame, now)

    def _tell(self, what: Callable[[float], list[Effect]]) -> None:
        """Let the task that drives the sweep tell its hub something."""
        self._inbox.put_nowait(what)

    @staticmethod
    def _release(letter: _Post) -> None:
        if isinstance(letter, _Letter) and not letter.read.done():
            letter.read.set_result(None)

    def _start(self, job: Job) -> None:
        done: asyncio.Future[Result] = asyncio.get_running_loop().run_in_executor(self._thread, job.run)
        done.add_done_callback(self._inbox.put_nowait)

    def _end(self, party: str) -> None:
        queue = self._queues.get(party)
        if queue is not None:
            queue.put_nowait(None)

    async def _fail(self, code: str) -> None:
        self._hub.fail()
        done = wire.SweepDown(done=wire.SweepDone(dropped=code))
        for party in list(self._queues):
            self._put(Send(party, done, last=True))
        await self._failed(code)

    async def _apply(self, effects: Sequence[Effect]) -> None:
        for effect in effects:
            if isinstance(effect, Send):
                self._put(effect)
            elif isinstance(effect, Run):
                self._start(effect.job)
            else:
                await self._do(effect)

    @abstractmethod
    async def _do(self, effect: Effect) -> None:
        """Do what the hub wants beyond frames and jobs."""

    @abstractmethod
    async def _failed(self, code: str) -> None:
        """Note that the sweep has failed, for the reason of a code."""

    def _put(self, send: Send) -> None:
        queue = self._queues.get(send.party)
        if queue is not None:
            queue.put_nowait(send)
