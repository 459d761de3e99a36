"""What the hub operator may see, kept current: one state, and a stream of its versions (I11).

    view = OperatorView(manifest, gateway=identity, attached=hub.attached, read=read, clock=clock)
    hub.watch(view.changed)
    view.start()
    with view.subscribe("console") as changes:
        state = await changes.next(HEARTBEAT_S)      # None: nothing new, still alive

The state holds numbers of edges that both sides were told of, who is attached, which custodians serve, operations, and
how far their sweeps are (gateway.sweep.standing). It has a new version where one of these differs, and only then: a
silent or local-only holding, a question or a publish makes none. It is read again after such a change, at most every
200 ms and for at most a fifth of the time; for probes and sweeps, which are not in the database, it is only drawn anew.
Whoever reads slowly gets the newest state and misses those between.
"""

from __future__ import annotations

import asyncio
import logging
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Final

from concordat.errors import UnavailableError
from concordat.tasks import cancelled
from gateway.view_state import Standing, Stored, draw_state

__all__ = ["OperatorView", "Stored", "Subscription"]

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Collection, Iterator, Mapping

    from concordat.api.operator import OperatorState, SweepProgress
    from concordat.clock import Clock
    from concordat.identity.manifest import Manifest
    from concordat.identity.names import SpiffeId

INTERVAL_S: Final = 0.2
REST_PER_WORK: Final = 4.0
RETRY_S: Final = 1.0
FIRST_STATE_S: Final = 5.0
MAX_SUBSCRIPTIONS: Final = 16
MAX_PER_SUBSCRIBER: Final = 4

_log = logging.getLogger(__name__)


class OperatorView:
    """The operator's view of one gateway."""

    def __init__(
        self,
        manifest: Manifest,
        *,
        gateway: SpiffeId,
        attached: Callable[[], Collection[str]],
        read: Callable[[], Stored],
        clock: Clock,
        sweeps: Callable[[], Mapping[str, SweepProgress]] = dict,
        sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
    ) -> None:
        """Prepare a view; nothing is read before `start`.

        Args:
            manifest: In force.
            gateway: This gateway.
            attached: Returns the SPIFFE ids of the attached nodes.
            read: Reads the database; blocks, and is called from one thread of the view's own.
            clock: Of this process.
            sweeps: Returns how far the running sweeps are, by operation.
            sleep: Waits for some seconds.
        """
        self._manifest = manifest
        self._gateway = gateway
        self._attached = attached
        self._read = read
        self._clock = clock
        self._sweeps = sweeps
        self._sleep = sleep
        self._nodes: dict[str, Standing[bool]] = {party.id: Standing(state=False) for party in manifest.nodes}
        self._custodians: dict[int, Standing[bool | None]] = {one.index: Standing(None) for one in manifest.custodians}
        self._state: OperatorState | None = None
        # Set while the state is what the database says.
        self._current = asyncio.Event()
        self._dirty = asyncio.Event()
        # What was read last, and whether the database may say something else by now.
        self._stored: Stored | None = None
        self._unread = True
        self._subscriptions: list[Subscription] = []
        # Not the hub's reader: barriers wait for that one.
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="operator-view")
        self._loop: asyncio.AbstractEventLoop | None = None
        self._task: asyncio.Task[None] | None = None
        self._stopped = False

    def start(self) -> None:
        """Begin to keep the state current."""
        self._loop = asyncio.get_running_loop()
        self._dirty.set()
        self._task = self._loop.create_task(self._run())

    async def stop(self) -> None:
        """End all streams; a second time does nothing."""
        self._stopped = True
        self._end_streams()
        task, self._task = self._task, None
        await cancelled([task])
        # The database is closed next.
        await asyncio.to_thread(self._thread.shutdown, cancel_futures=True)

    def changed(self) -> None:
        """Note that something visible has changed; any thread may call it."""
        if self._loop is not None and not self._stopped:
            # The loop may end between the question and the call.
            with suppress(RuntimeError):
                self._loop.call_soon_threadsafe(self._note_unread)

    def _note_unread(self) -> None:
        self._unread = True
        self._dirty.set()

    def redraw(self) -> None:
        """Note that something has changed that is not in the database, which is not read for it."""
        self._dirty.set()

    def custodian(self, index: int, *, serving: bool) -> None:
        """Note what a probe of a custodian said."""
        if self._custodians[index].turn(serving, self._clock.now()):
            self.redraw()

    async def state(self) -> OperatorState:
        """Return the newest state.

        Raises:
            UnavailableError: There is none now, as the database cannot be read or the gateway stops.
        """
        with suppress(TimeoutError):
            async with asyncio.timeout(FIRST_STATE_S):
                await self._current.wait()
        if self._state is None or not self._current.is_set() or self._stopped:
            raise UnavailableError("the operator's view has no state now")
        return self._state

    @contextmanager
    def subscribe(self, who: str) -> Iterator[Subscription]:
        """Give the stream of states, the newest first.

        Raises:
            UnavailableError: With code `busy`, where this subscriber or all together have too many streams.
        """
        mine = sum(one.who == who for one in self._subscriptions)
        if mine >= MAX_PER_SUBSCRIBER or len(self._subscriptions) >= MAX_SUBSCRIPTIONS:
            raise UnavailableError("the operator's view has too many streams", code="busy")
        subscription = Subscription(who, self)
        subscription.over = self._stopped
        self._subscriptions.append(subscription)
        try:
            yield subscription
        finally:
            self._subscriptions.remove(subscription)

    async def _run(self) -> None:
        while True:
            await self._dirty.wait()
            began = self._clock.monotonic()
            try:
                if self._unread or self._stored is None:
                    await self.refresh()
                else:
                    self._dirty.clear()
                    self._draw(self._stored)
            except Exception:  # noqa: BLE001 -- a view that has died would show old numbers for ever
                _log.exception("the operator's view could not be read")
                self._fail()
                await self._sleep(RETRY_S)
                continue
            spent = self._clock.monotonic() - began
            await self._sleep(max(INTERVAL_S - spent, REST_PER_WORK * spent))

    async def refresh(self) -> None:
        """Read everything again, and make a new version where something differs.

        Raises:
            UnavailableError: The database cannot be read.
        """
        self._dirty.clear()
        self._unread = False
        self._stored = await asyncio.get_running_loop().run_in_executor(self._thread, self._read)
        self._draw(self._stored)

    def _draw(self, stored: Stored) -> None:
        now, present = self._clock.now(), frozenset(self._attached())
        for party, standing in self._nodes.items():
            standing.turn(party in present, now)
        drawn = draw_state(
            self._manifest,
            stored,
            gateway=self._gateway.name,
            nodes=self._nodes,
            custodians=self._custodians,
            sweeps=self._sweeps(),
        )
        before = self._state
        if before is None:
            self._state = drawn.model_copy(update={"changed_at": int(now)})
        elif drawn != before.model_copy(update={"version": 1, "changed_at": 0}):
            self._state = drawn.model_copy(update={"version": before.version + 1, "changed_at": int(now)})
        self._current.set()
        if self._state is not before:
            for one in self._subscriptions:
                one.fresh.set()

    def _fail(self) -> None:
        """Show no numbers that may be wrong: streams end, and there is no state until the database can be read."""
        self._current.clear()
        self._end_streams()
        self._note_unread()

    def _end_streams(self) -> None:
        for one in self._subscriptions:
            one.over = True
            one.fresh.set()


class Subscription:
    """One reader's place in the stream of versions; holds no state of its own, so a slow reader costs nothing."""

    def __init__(self, who: str, view: OperatorView) -> None:
        self.who = who
        self.over = False
        self.fresh = asyncio.Event()
        self.fresh.set()
        self._view = view

    async def next(self, timeout_s: float) -> OperatorState | None:
        """Return the newest state as soon as this reader has not had it, or None when the time is over.

        Raises:
            UnavailableError: The stream has ended.
        """
        with suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                await self.fresh.wait()
        if self.over:
            raise UnavailableError("the operator's view has ended this stream", code="stopping")
        if not self.fresh.is_set():
            return None
        state = await self._view.state()
        # Not before: what came while this reader waited for the first state is in it.
        self.fresh.clear()
        return state
