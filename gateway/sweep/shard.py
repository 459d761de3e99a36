"""A shard: takes parts of sweeps for its gateway, streams them with the participants, and hands them over (3.7).

A part is known here from its order, which the gateway sends, and from nothing else. It is kept in the shard's folder,
sealed as at the gateway, until the gateway says that it has it or has not asked for an hour; after a restart it goes
on at the next window. No token is kept or handed over (I2).
"""

from __future__ import annotations

import asyncio
import logging
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final

from pydantic import ValidationError
from typing_extensions import override

from concordat.errors import ConcordatError, ConfigError, ProtocolError, RefusedError, UnavailableError
from concordat.tasks import cancelled
from concordat.wire.v1 import shard_pb2, sweep_pb2
from concordat.wire.v1.shard_pb2_grpc import ShardServiceServicer
from gateway.sweep.checkpoint import SWEEP_ID_BYTES, SweepState, folder_of, kept_sweeps
from gateway.sweep.driver import Driver
from gateway.sweep.effects import Abandoned, HandOver, Part
from gateway.sweep.hub import SweepHub
from gateway.sweep.journal import Journal

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from concordat.clock import Clock
    from concordat.identity.home import Home
    from gateway.sweep.checkpoint import SweepFolder
    from gateway.sweep.effects import Effect, SweepSettings

MAX_PARTS: Final = 8
ORDER_NAME: Final = "order"
FIRST_S: Final = 10.0
NEWS_S: Final = 1.0
# The gateway asks all the time while its sweep runs, also after a restart.
UNASKED_S: Final = 3600.0
LOOK_S: Final = 30.0

_log = logging.getLogger(__name__)


class RunningPart(Driver):
    """One part: streamed as a sweep is, up to its state."""

    def __init__(self, order: SweepState, folder: SweepFolder, settings: SweepSettings, clock: Clock) -> None:
        """Go on where the folder says, else begin.

        Raises:
            ConfigError: Folder or order cannot be used.
        """
        assert order.end is not None
        self.order = order
        self.ended = asyncio.Event()
        self.code = ""
        self.asked_at = clock.monotonic()
        hub = SweepHub(
            order.sweep_id,
            order.operation,
            order.participants,
            attached=(),
            namespaces=order.namespaces,
            settings=settings,
            now=clock.monotonic(),
            journal=Journal(folder.journal()),
            folder=folder,
            part=Part(order.first, order.end),
        )
        super().__init__(order.sweep_id, hub, clock, folder)
        self._kept = folder
        self._windows = order.end - order.first
        self._state: SweepState | None = None
        self._first = hub.take_up(folder.load() or order)

    @property
    def done(self) -> int:
        """Return how many of its windows are done."""
        return self.windows[0] - self.order.first

    @property
    def owing(self) -> list[str]:
        """Return the participants of whom something is awaited."""
        return [one.party for one in self._hub.members.all() if self._hub.owes(one)]

    @property
    def progress(self) -> str:
        """Say for the log how far it has come."""
        return f"{self.done} of its {self._windows} windows"

    def result(self) -> tuple[SweepState, Journal]:
        """Return what is handed over, once it has ended well; the journal is the caller's to close."""
        assert self._state is not None
        journal = Journal(self._kept.journal())
        journal.cut(self._state.journal_rows)
        return self._state, journal

    async def give_up(self) -> None:
        """Let those who ask for it hear that nothing comes of it."""
        await self._failed("unavailable")

    def forget(self) -> None:
        """Delete its files."""
        self._kept.remove()

    @override
    async def _do(self, effect: Effect) -> None:
        if isinstance(effect, HandOver):
            # Before anybody is told that it is over.
            await self._in_thread(lambda: self._save(effect.state))
            self._state = effect.state
            self.farewell = sweep_pb2.SweepDown(done=sweep_pb2.SweepDone())
            self.ended.set()
        elif isinstance(effect, Abandoned):
            await self._failed("unavailable")

    @override
    async def _failed(self, code: str) -> None:
        self.code = code
        self.farewell = sweep_pb2.SweepDown(done=sweep_pb2.SweepDone(dropped=code))
        self.ended.set()

    @override
    def _clear(self) -> None:
        """Keep the files until the gateway has them."""

    def _save(self, state: SweepState) -> None:
        self._hub.journal.sync()
        self._kept.save(state)


class ShardParts:
    """The parts that this process has."""

    def __init__(self, home: Home, folder: Path, settings: SweepSettings, clock: Clock) -> None:
        self._home = home
        self._folder = folder
        self._settings = settings
        self._clock = clock
        self._parts: dict[bytes, RunningPart] = {}
        self._tasks: dict[bytes, asyncio.Task[None]] = {}
        self._looking: asyncio.Task[None] | None = None
        self._changing = asyncio.Lock()
        self.over = asyncio.Event()
        """Set once a part was forgotten, and no other is left."""

    def start(self) -> None:
        """Go on with the parts that a stopped shard has kept."""
        self._looking = asyncio.create_task(self._look())
        for sweep_id in kept_sweeps(self._folder):
            kept = folder_of(self._folder, sweep_id, self._home.signing_key)
            try:
                part = RunningPart(_kept_order(kept), kept, self._settings, self._clock)
                _log.info("a part of sweep %s goes on: %s", sweep_id.hex(), part.progress)
                self._drive(part)
            except (ConfigError, ProtocolError) as error:
                _log.warning("a part of sweep %s is given up: %s", sweep_id.hex(), error.message)
                kept.remove()

    async def take(self, order: SweepState) -> RunningPart:
        """Return the part of an order, as it stands; another one of the same sweep is given up.

        Raises:
            ProtocolError: The order is of nobody that this federation knows, or of no windows.
            UnavailableError: There are too many parts.
        """
        self._require_order(order)
        async with self._changing:
            part = self._parts.get(order.sweep_id)
            # A part that failed is begun anew: the gateway would not ask for it again otherwise.
            if part is None or part.order != order or part.code:
                part = await self._begin(order)
            part.asked_at = self._clock.monotonic()
            return part

    async def _begin(self, order: SweepState) -> RunningPart:
        await self._end(order.sweep_id)
        if len(self._parts) >= MAX_PARTS:
            raise UnavailableError("this shard has too many parts", code="busy")
        kept = folder_of(self._folder, order.sweep_id, self._home.signing_key)
        await asyncio.to_thread(kept.save, order, ORDER_NAME)
        part = RunningPart(order, kept, self._settings, self._clock)
        _log.info("windows %d to %d of sweep %s begin", order.first, order.end, order.sweep_id.hex())
        self._drive(part)
        return part

    def _require_order(self, order: SweepState) -> None:
        nodes = {node.id for node in self._home.manifest.nodes}
        parties = {one.party for one in order.members}
        windows = order.end is not None and order.first == order.window < order.end <= 1 << order.window_bits
        if not windows or not parties <= set(order.participants) <= nodes or len(order.sweep_id) != SWEEP_ID_BYTES:
            raise ProtocolError("an order of no part, or of others than this federation's nodes")

    def find(self, party: str, first: sweep_pb2.SweepUp) -> RunningPart:
        """Return the part of the sweep that a stream's first frame names.

        Raises:
            RefusedError: With code `operation_unknown`, where there is none or the party takes no part (I8).
        """
        part = self._parts.get(first.join.sweep_id)
        named = part is not None and first.HasField("join") and first.join.operation == part.order.operation
        if part is None or not named or party not in part.order.participants:
            raise RefusedError("no such sweep, or the caller takes no part in it", code="operation_unknown")
        return part

    async def end(self, sweep_id: bytes) -> None:
        """Forget a part."""
        async with self._changing:
            if await self._end(sweep_id) and not self._parts:
                self.over.set()

    async def _end(self, sweep_id: bytes) -> bool:
        part, task = self._parts.pop(sweep_id, None), self._tasks.pop(sweep_id, None)
        if part is None or task is None:
            return False
        with suppress(ConcordatError):
            await cancelled([task])
        if not part.ended.is_set():
            # Or whoever asked for it would hear of it for ever.
            await part.give_up()
        await asyncio.to_thread(part.forget)
        return True

    async def stop(self) -> None:
        """Stop all parts; they go on after the next start."""
        with suppress(ConcordatError):
            await cancelled([*self._tasks.values(), self._looking])
        self._parts.clear()
        self._tasks.clear()

    def _drive(self, part: RunningPart) -> None:
        self._parts[part.sweep_id] = part
        self._tasks[part.sweep_id] = asyncio.create_task(part.run())

    async def _look(self) -> None:
        while True:
            await asyncio.sleep(LOOK_S)
            late = [one for one in self._parts.values() if self._clock.monotonic() - one.asked_at > UNASKED_S]
            for part in late:
                _log.warning("a part of sweep %s is given up: its gateway has not asked for it", part.sweep_id.hex())
                await self.end(part.sweep_id)


class ShardServicer(ShardServiceServicer):
    """Serves this gateway's own identity; the table lets nobody else in."""

    def __init__(self, parts: ShardParts, clock: Clock) -> None:
        self._parts = parts
        self._clock = clock

    @override
    async def TakePart(
        self, requests: AsyncIterator[shard_pb2.TakePartRequest], context: Any
    ) -> AsyncIterator[shard_pb2.PartNews]:
        """Take a part, tell of it, and hand it over."""
        try:
            async with asyncio.timeout(FIRST_S):
                first = await anext(requests, None)
        except TimeoutError as error:
            raise UnavailableError("a stream began without an order", code="deadline") from error
        part = await self._parts.take(_order(first))
        yield shard_pb2.PartNews(begun=shard_pb2.PartBegun())
        while not part.ended.is_set():
            part.asked_at = self._clock.monotonic()
            yield shard_pb2.PartNews(progress=shard_pb2.PartProgress(windows=part.done, owing=part.owing))
            with suppress(TimeoutError):
                async with asyncio.timeout(NEWS_S):
                    await part.ended.wait()
        if part.code:
            yield shard_pb2.PartNews(failed=part.code)
            return
        state, journal = await asyncio.to_thread(part.result)
        try:
            yield shard_pb2.PartNews(state=state.model_dump_json().encode())
            blocks = journal.blocks()
            while (rows := await asyncio.to_thread(next, blocks, None)) is not None:
                yield shard_pb2.PartNews(rows=rows.tobytes())
        finally:
            journal.close()

    @override
    async def EndParts(self, request: shard_pb2.EndPartsRequest, context: Any) -> shard_pb2.EndPartsResponse:
        """Forget the part of a sweep."""
        await self._parts.end(request.sweep_id)
        return shard_pb2.EndPartsResponse()


def _kept_order(kept: SweepFolder) -> SweepState:
    order = kept.load(ORDER_NAME)
    if order is None:
        raise ConfigError("a part without its order")
    return order


def _order(first: shard_pb2.TakePartRequest | None) -> SweepState:
    try:
        return SweepState.model_validate_json(b"" if first is None else first.order)
    except ValidationError as error:
        raise ProtocolError("an order that cannot be read") from error
