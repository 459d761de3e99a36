"""A gateway's calls to the shards that take the parts of a sweep (docs/protocol.md 3.7).

    states, journals = await ShardCalls(give, dial, folder, ...).run(begun, progress)

A shard that cannot be reached is called again until it has been away for too long; it goes on where it stood, or takes
its part from the beginning where it has lost it. What a shard has handed over is kept beside the sweep, so that a
gateway that is started again asks for the rest only.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Final, NamedTuple, TypeVar

import numpy as np
from pydantic import ValidationError

from concordat.errors import CATALOGUE, ConcordatError, ConfigError, ProtocolError, UnavailableError
from concordat.rpc.client import call, translated
from concordat.wire.v1 import shard_pb2 as wire
from concordat.wire.v1.shard_pb2_grpc import ShardServiceStub
from gateway.sweep.checkpoint import SweepState
from gateway.sweep.groups import ROW
from gateway.sweep.journal import Journal

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Coroutine, Sequence

    import grpc.aio

    from concordat.clock import Clock
    from gateway.sweep.checkpoint import SweepFolder
    from gateway.sweep.effects import GiveParts

    Dial = Callable[[str], grpc.aio.Channel]
    Part = tuple[SweepState, Journal]
    Heard = Callable[[int, Collection[str]], None]

# A shard says every second how far it is.
SILENT_S: Final = 30.0
PAUSE_S: Final = 0.5
# A shard that begins and breaks off more often does not end its part by being called once more.
MOST_CALLS: Final = 64
END_S: Final = 5.0
# What a call made again may mend.
_PASSING: Final = frozenset({"unavailable", "busy", "stopping", "deadline"})

T = TypeVar("T")
_log = logging.getLogger(__name__)


class SharedProgress(NamedTuple):
    """How far the parts of a sweep are."""

    done: int
    """Windows, of all parts."""
    owing: frozenset[str]
    """Participants of whom something is awaited at a shard."""
    away: tuple[int, ...]
    """Numbers of the shards that do not answer."""


class ShardCalls:
    """The parts of one sweep, each at its shard."""

    def __init__(
        self,
        give: GiveParts,
        dial: Dial,
        folder: SweepFolder | None,
        *,
        patience_s: float,
        clock: Clock,
        most_calls: int = MOST_CALLS,
    ) -> None:
        """Prepare the calls.

        Args:
            give: Who takes what.
            dial: Opens a channel on which only this gateway's own identity is taken for an answer.
            folder: Of the sweep; None keeps in memory what is handed over.
            patience_s: How long a shard may be out of reach.
            clock: The time.
            most_calls: How often one shard may begin.
        """
        self._give = give
        self._dial = dial
        self._folder = folder
        self._patience_s = patience_s
        self._clock = clock
        self._most_calls = most_calls
        self._begun: set[int] = set()
        self._away = set(range(len(give.shares)))
        self._on_begun: Callable[[], None] = _nothing
        self._on_progress: Callable[[SharedProgress], None] = _nothing
        self._done = [0] * len(give.shares)
        self._owing: list[frozenset[str]] = [frozenset()] * len(give.shares)

    async def run(
        self, begun: Callable[[], None], progress: Callable[[SharedProgress], None]
    ) -> tuple[list[SweepState], list[Journal]]:
        """Let all parts be taken; return their states and journals, in the order of the windows.

        Args:
            begun: Called once all shards have their parts.
            progress: Told how far all of them are, whenever one has said so or does not answer.

        Raises:
            UnavailableError: A shard was out of reach for too long.
            ConcordatError: A part failed; names the shard.
        """
        self._on_begun, self._on_progress = begun, progress
        self._tell()
        parts = await _all([self._part(number) for number in range(len(self._done))])
        return [state for state, _ in parts], [journal for _, journal in parts]

    def _tell(self) -> None:
        owing = frozenset[str]().union(*self._owing)
        self._on_progress(SharedProgress(sum(self._done), owing, tuple(sorted(self._away))))

    def _heard(self, number: int, done: int, owing: Collection[str]) -> None:
        self._begun.add(number)
        self._away.discard(number)
        self._done[number], self._owing[number] = done, frozenset(owing)
        if len(self._begun) == len(self._done):
            self._on_begun()
        self._tell()

    def _lost(self, number: int) -> None:
        self._away.add(number)
        self._tell()

    async def _part(self, number: int) -> Part:
        share, order = self._give.shares[number], self._give.orders[number]
        folder = None if self._folder is None else self._folder.part(number)
        if (kept := await asyncio.to_thread(_kept, folder, order)) is not None:
            self._heard(number, share.part.end - share.part.first, ())
            return kept
        heard_at, name, calls = self._clock.monotonic(), f"shard {number} at {share.address}", 0

        def began() -> None:
            nonlocal calls
            calls += 1
            heard(0, ())

        def heard(done: int, owing: Collection[str]) -> None:
            nonlocal heard_at
            heard_at = self._clock.monotonic()
            self._heard(number, done, owing)

        while True:
            try:
                async with self._dial(share.address) as to_shard:
                    return await _Fetch(name, order, folder, began, heard).run(to_shard)
            except UnavailableError as error:
                late = calls >= self._most_calls or self._clock.monotonic() - heard_at >= self._patience_s
                if late or error.code not in _PASSING:
                    raise
                self._lost(number)
                _log.warning("%s is called again: %s", name, error.message)
            await asyncio.sleep(PAUSE_S)


async def end_parts(sweep_id: bytes, addresses: Sequence[str], dial: Dial) -> None:
    """Let shards forget the parts of a sweep; one that is out of reach forgets them by itself, in time."""

    async def end(address: str) -> None:
        async with dial(address) as to_shard:
            request = wire.EndPartsRequest(sweep_id=sweep_id)
            await call(ShardServiceStub(to_shard).EndParts, request, party=f"shard {address}", timeout_s=END_S)

    for result in await asyncio.gather(*map(end, addresses), return_exceptions=True):
        if isinstance(result, ConcordatError):
            _log.warning("a part of sweep %s stays behind: %s", sweep_id.hex(), result.message)


class _Fetch:
    """One call to one shard."""

    def __init__(
        self, name: str, order: SweepState, folder: SweepFolder | None, began: Callable[[], None], heard: Heard
    ) -> None:
        self._name = name
        self._order = order
        self._folder = folder
        self._began = began
        self._heard = heard
        self._state: SweepState | None = None
        # What a call before this one has left would stay in the file, beside what comes again.
        self._journal = Journal(None if folder is None else folder.journal(fresh=True))

    async def run(self, to_shard: grpc.aio.Channel) -> Part:
        stream = ShardServiceStub(to_shard).TakePart()
        try:
            with translated(self._name):
                await stream.write(wire.TakePartRequest(order=self._order.model_dump_json().encode()))
                while isinstance(news := await self._next(stream), wire.PartNews):
                    await self._take(news)
            return await asyncio.to_thread(self._whole)
        except BaseException:
            self._journal.close()
            raise
        finally:
            stream.cancel()

    async def _next(self, stream: grpc.aio.StreamStreamCall[wire.TakePartRequest, wire.PartNews]) -> object:
        try:
            async with asyncio.timeout(SILENT_S):
                return await stream.read()
        except TimeoutError as error:
            raise UnavailableError(f"{self._name} fell silent", code="deadline") from error

    async def _take(self, news: wire.PartNews) -> None:
        match news.WhichOneof("news"):
            case "begun":
                self._began()
            case "progress":
                self._heard(news.progress.windows, news.progress.owing)
            case "state":
                self._state = _read_state(news.state, self._name)
                self._heard(self._state.window - self._state.first, ())
            case "rows" if self._state is not None:
                await asyncio.to_thread(self._append, news.rows)
            case "failed":
                code = news.failed if news.failed in CATALOGUE else "internal"
                raise ConcordatError(f"{self._name}: its part of the sweep failed", code=code)
            case _:
                raise ProtocolError(f"{self._name} sent what has no place")

    def _append(self, rows: bytes) -> None:
        assert self._state is not None
        if len(rows) % ROW.itemsize or self._journal.rows + len(rows) // ROW.itemsize > self._state.journal_rows:
            raise ProtocolError(f"{self._name} hands over other rows than it has")
        self._journal.append(np.frombuffer(rows, ROW))

    def _whole(self) -> Part:
        state, order = self._state, self._order
        if state is None or state.journal_rows != self._journal.rows:
            # As where the shard was stopped while it handed over.
            raise UnavailableError(f"{self._name} ended before its part was whole")
        if not _fits(state, order):
            raise ProtocolError(f"{self._name} hands over another part than it was given")
        if self._folder is not None:
            self._journal.sync()
            self._folder.save(state)
        return state, self._journal


def _fits(state: SweepState, order: SweepState) -> bool:
    same = {"sweep_id", "operation", "prefix_bits", "window_bits", "first", "end", "participants"}
    if state.model_dump(include=same) != order.model_dump(include=same) or state.window != order.end:
        return False
    # Whoever the part had not been given would be named for it.
    ordered = {one.party for one in order.members}
    left = {one.party for one in state.members} | state.dropped.keys()
    return ordered <= left


def _kept(folder: SweepFolder | None, order: SweepState) -> Part | None:
    """Return a part that was handed over before this gateway was stopped."""
    if folder is None:
        return None
    try:
        state = folder.load()
        if state is None or not _fits(state, order):
            return None
        journal = Journal(folder.journal())
        journal.cut(state.journal_rows)
    except ConfigError as error:
        _log.warning("a part is asked for again: %s", error.message)
        return None
    return state, journal


def _read_state(raw: bytes, name: str) -> SweepState:
    try:
        return SweepState.model_validate_json(raw)
    except ValidationError as error:
        raise ProtocolError(f"{name} hands over what is no state of a sweep") from error


async def _all(work: Sequence[Coroutine[None, None, T]]) -> list[T]:
    """Return all results; where one fails, the others end and its error is raised."""
    tasks = [asyncio.create_task(one) for one in work]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_EXCEPTION)
        for task in tasks:
            if task.done() and not task.cancelled() and (error := task.exception()) is not None:
                raise error
        return [task.result() for task in tasks]
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def _nothing(*_: object) -> None:
    """Have nobody to tell."""
