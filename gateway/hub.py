"""The live hub: carries out what the exchange wants, with streams, threads and timers.

One event loop calls the exchange; the ledger is written by one thread and read by another. Operations and sweeps use
`attached`, `send_event`, `live_edges` and `open_edges`.
"""

from __future__ import annotations

import asyncio
import logging
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from concordat import telemetry
from concordat.errors import ConcordatError, UnavailableError
from gateway.effects import Answered, Close, Forget, ReadNotices, ReadSequences, Send, Write
from gateway.ledger import WipeExercise
from gateway.metrics import HubMetrics
from gateway.session import Channel
from gateway.writer import LedgerWriter

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence

    from concordat.clock import Clock
    from concordat.wire.v1 import check_pb2 as check_wire
    from concordat.wire.v1 import session_pb2 as wire
    from gateway.edges import EdgeCandidate
    from gateway.effects import Effect, Note
    from gateway.exchange import Exchange
    from gateway.ledger import Committed, Ledger
    from gateway.query import QueryOutcome
    from gateway.rules import Limits

    End = tuple[str, bytes]
    Greeter = Callable[[str], Awaitable[Sequence[wire.OperationEvent]]]

# Beyond a tick and its window: a hub that is held up answers late, one whose timer failed never would.
QUERY_GRACE_S: Final = 10.0

_log = logging.getLogger(__name__)


class Hub:
    """An exchange that runs."""

    def __init__(self, exchange: Exchange, ledger: Ledger, *, clock: Clock, limits: Limits) -> None:
        self._exchange = exchange
        self._ledger = ledger
        self._clock = clock
        self._limits = limits
        self._channels: dict[int, tuple[str, Channel]] = {}
        self._writer = LedgerWriter(ledger, on_committed=self._committed, on_failed=self._failed)
        self._reader = ThreadPoolExecutor(max_workers=1, thread_name_prefix="ledger-reader")
        self._timer: asyncio.TimerHandle | None = None
        self._armed_for = -1.0
        self._tasks: set[asyncio.Task[None]] = set()
        self._greeter: Greeter | None = None
        self._changed: Callable[[], object] | None = None
        self._turns = 0
        self._queries: dict[int, tuple[str, asyncio.Future[QueryOutcome]]] = {}
        self._stopping = False
        self._in_doubt = False
        self._working = False
        self._metrics = HubMetrics()
        self._measured = exchange.progress

    def greet_with(self, greeter: Greeter) -> None:
        """Ask `greeter` for the events that a party gets when its session begins."""
        self._greeter = greeter

    def watch(self, changed: Callable[[], object]) -> None:
        """Call `changed` where something changes that the operator may see (I11)."""
        self._changed = changed

    def start(self) -> None:
        """Begin: ticks run from now on."""
        self._writer.start()
        self._arm()

    async def stop(self) -> None:
        """End all sessions with the code `stopping`, and make durable what waits; a second time does nothing."""
        if self._stopping:
            return
        self._stopping = True
        if self._timer is not None:
            self._timer.cancel()
        for _, channel in self._channels.values():
            channel.close("stopping")
        for _, waiting in self._queries.values():
            if not waiting.done():
                waiting.set_exception(_stopping())
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._writer.stop()
        self._reader.shutdown()

    def open(self, party: str) -> tuple[int, Channel]:
        """Take a stream of an authenticated party.

        Raises:
            IdentityError: The manifest names no such node.
        """
        number, channel = self._exchange.open(party), Channel(self._limits)
        self._channels[number] = (party, channel)
        return number, channel

    def frames(self, session: int, frames: Sequence[wire.NodeFrame]) -> None:
        """Take frames that came together, in their order."""
        for frame in frames:
            self._exchange.frame(session, frame)
        self._carry_out()

    def detach(self, session: int) -> None:
        """Note that a stream has ended."""
        self._channels.pop(session, None)
        self._exchange.detach(session)
        self._carry_out()

    def attached(self) -> list[str]:
        """Return the parties that are attached, SPIFFE ids ascending."""
        return self._exchange.attached()

    def send_event(self, party: str, event: wire.OperationEvent) -> None:
        """Send an event of an operation to a party, where it has a session."""
        self._exchange.send_event(party, operation_event=event)
        self._carry_out()

    def know_exercises(self, running: Mapping[str, frozenset[str]]) -> None:
        """Take checks of these exercises, by their participants only."""
        self._exchange.know_exercises(running)

    async def query(
        self, asker: str, message: check_wire.Check, *, namespaces: bytes, muted: frozenset[int]
    ) -> QueryOutcome:
        """Ask the nodes for a partner, and return with the certificate (3.9).

        A caller that is cancelled loses the outcome; the query ends with its certificate all the same.

        Args:
            asker: SPIFFE id of the partner that was authenticated.
            message: As signed by it. The caller keeps none of it while it waits (I2).
            namespaces: Numbers that the partner declared, one byte an item.
            muted: Positions of items that are sent to nobody.

        Raises:
            ConcordatError: What is wrong with it.
            UnavailableError: The hub is stopping, or does not come to an end.
        """
        if self._stopping:
            raise _stopping()
        waiting: asyncio.Future[QueryOutcome] = asyncio.get_running_loop().create_future()
        number = 0
        try:
            number = self._exchange.query(asker, message, namespaces=namespaces, muted=muted)
            self._queries[number] = asker, waiting
            del message
            self._carry_out()
            async with asyncio.timeout(self._exchange.check_s + QUERY_GRACE_S):
                return await waiting
        except TimeoutError as error:
            raise UnavailableError("a query did not come to its certificate", code="deadline") from error
        finally:
            self._queries.pop(number, None)
            self._carry_out()

    async def live_edges(self, pairs: Sequence[tuple[End, End]]) -> Sequence[bytes | None]:
        """Return the live edge of each pair of (party, reference), or None.

        Raises:
            UnavailableError: The ledger cannot be read.
        """
        found: list[bytes | None] = await self._read(self._ledger.live_edges, pairs)
        return found

    async def open_edges(self, candidates: Sequence[EdgeCandidate]) -> None:
        """Open edges; they are durable and their notices on the way when it returns.

        Raises:
            UnavailableError: They are not known to be durable.
        """
        await self._writer.write(candidates)

    async def wipe_exercise(self, operation: str) -> None:
        """Let the ledger forget an exercise that is over; it has when this returns.

        Raises:
            UnavailableError: It is not known to have.
        """
        await self._writer.write([WipeExercise(operation)])

    def _carry_out(self) -> None:
        """Do what the exchange wants, in order."""
        while effects := self._exchange.effects():
            for effect in effects:
                self._do(effect)
        if self._turns != self._exchange.turns:
            self._turns = self._exchange.turns
            self._show()
        if self._exchange.busy and not self._working and not self._stopping:
            self._working = True
            asyncio.get_running_loop().call_soon(self._work)
        self._arm()

    def _work(self) -> None:
        """Let the exchange do a step of what takes long, and everybody else's turn come before the next one."""
        self._working = False
        if not self._stopping:
            # Begun in some session's call, whose trace this is not.
            with telemetry.unexported():
                self._exchange.work()
                self._carry_out()

    def _show(self) -> None:
        if self._changed is not None:
            self._changed()

    def _do(self, effect: Effect) -> None:
        if isinstance(effect, Send):
            self._send(effect)
        elif isinstance(effect, Write):
            if self._stopping:
                self._exchange.failed([effect.number])
            else:
                self._writer.submit(effect.number, effect.writes, urgent=effect.urgent)
        elif isinstance(effect, ReadSequences):
            self._spawn(self._read_sequences(effect))
        elif isinstance(effect, ReadNotices):
            self._spawn(self._read_notices(effect))
        elif isinstance(effect, Close):
            self._close(effect)
        elif isinstance(effect, Answered):
            self._answer(effect)
        elif isinstance(effect, Forget):
            for _, channel in self._channels.values():
                channel.forget(effect.tick)
        else:
            _write_note(effect)

    def _send(self, effect: Send) -> None:
        found = self._channels.get(effect.session)
        if found is None:
            return
        party, channel = found
        channel.put(effect.frame, effect.tick)
        if self._greeter is not None and effect.frame.HasField("welcome"):
            self._spawn(self._greet(party, self._greeter))

    def _close(self, effect: Close) -> None:
        found = self._channels.get(effect.session)
        if found is not None:
            found[1].close(effect.code)

    def _answer(self, effect: Answered) -> None:
        found = self._queries.get(effect.query)
        if found is None or found[1].done():
            # Whoever asked has gone.
            return
        asker, waiting = found
        handle = self._ledger.handle
        hits = [replace(hit, handle=handle(asker, hit.own_reference)) for hit in effect.outcome.hits]
        waiting.set_result(replace(effect.outcome, hits=tuple(hits)))

    async def _greet(self, party: str, greeter: Greeter) -> None:
        for event in await greeter(party):
            self.send_event(party, event)

    def _committed(self, numbers: Sequence[int], committed: Committed) -> None:
        self._exchange.committed(numbers, committed)
        self._carry_out()
        if committed.visible or self._in_doubt:
            # What failed may have been durable all the same, and its repeat then brings nothing new to see.
            self._in_doubt = False
            self._show()

    def _failed(self, numbers: Sequence[int]) -> None:
        self._in_doubt = True
        self._exchange.failed(numbers)
        self._carry_out()

    async def _read_sequences(self, effect: ReadSequences) -> None:
        try:
            state = await self._read(self._ledger.tick_state)
        except ConcordatError:
            # Without sequences no barrier leaves, and nobody is covered in this tick.
            _log.exception("the ledger's sequences could not be read")
            return
        self._exchange.sequences_read(effect.tick, state.sequences, state=state)
        self._carry_out()

    async def _read_notices(self, effect: ReadNotices) -> None:
        try:
            sequence, notices, highest = await self._read(self._notices_of, effect)
        except Exception:  # noqa: BLE001 -- a session that waits for ever for its notices would lose matches
            _log.exception("a party's notices could not be read", extra={"party": effect.party})
            self._exchange.notices_unread(effect.session)
        else:
            self._exchange.notices_read(effect.session, sequence=sequence, notices=notices, highest=highest)
        self._carry_out()

    def _notices_of(self, effect: ReadNotices) -> Any:
        ledger = self._ledger
        if effect.above and not ledger.notices_above(effect.party, effect.above - 1, limit=1):
            # C10: its next notices would have numbers that the node has seen, and would be lost in silence. The next
            # hello says so, and the ledger becomes another one.
            raise UnavailableError("the ledger is older than what this party was told: it was put back from a copy")
        # The list first: what is written between the two reads is sent as it becomes durable.
        highest = ledger.last_cursor(effect.party)
        notices = ledger.notices_above(effect.party, effect.above, limit=effect.limit)
        return ledger.sequence_of(effect.party), notices, highest

    async def _read(self, read: Callable[..., Any], *arguments: Any) -> Any:
        return await asyncio.get_running_loop().run_in_executor(self._reader, partial(read, *arguments))

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        if self._stopping:
            work.close()
            return
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._done)

    def _done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        error = None if task.cancelled() else task.exception()
        if error is not None:
            _log.error("work of the hub failed", exc_info=error)

    def _arm(self) -> None:
        if self._stopping:
            return
        deadline = self._exchange.next_deadline()
        if self._timer is not None:
            if deadline == self._armed_for:
                return
            self._timer.cancel()
        self._armed_for = deadline
        delay = max(0.0, deadline - self._clock.monotonic())
        self._timer = asyncio.get_running_loop().call_later(delay, self._due)

    def _due(self) -> None:
        self._timer = None
        try:
            # The timer was armed in some session's call, whose trace this is not.
            with telemetry.unexported():
                self._exchange.timer()
                self._carry_out()
            self._measure()
        finally:
            # Whatever failed, ticks go on: a hub without ticks covers nobody and says nothing.
            self._arm()

    def _measure(self) -> None:
        (before, counted), self._measured = self._measured, self._exchange.progress
        tick, certified = self._measured
        if (tick, certified) != (before, counted):
            channels = [channel for _, channel in self._channels.values()]
            attached = len(self.attached())
            self._metrics.tick(channels, attached=attached, ticks=tick - before, certificates=certified - counted)
            self._metrics.planes(*self._exchange.planes)


def _stopping() -> UnavailableError:
    return UnavailableError("the hub is stopping", code="stopping")


def _write_note(note: Note) -> None:
    _log.log(logging.WARNING if note.warning else logging.INFO, note.text, extra={"party": note.party})
