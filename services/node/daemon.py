"""The running node: makes tokens, keeps its session, asks and answers; several nodes may share a process.

    run([Path("NL"), Path("DE")], json_output=True)

Each node has its own folder, identity, store and session. Whoever submits wakes it through HOME/wake.sock; where that
is lost it looks by itself within a second. A lock in the folder keeps a second daemon from the same store.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import logging
import random
import secrets
import signal
import socket
import sys
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final, Protocol

from concordat.clock import SystemClock
from concordat.custodians import CustodianPool
from concordat.errors import ConcordatError, ConfigError, UnavailableError
from concordat.folder_lock import only_process
from concordat.heartbeat import beat
from concordat.identity.home import load_home
from concordat.rpc.client import channel
from services.node import retention
from services.node.events import Attached, Detached, EventWriter, Waiting
from services.node.exchange.core import NodeCore
from services.node.exchange.identity import Identity
from services.node.exchange.session import Hooks, Session
from services.node.exercises import wipe_ended
from services.node.index.keeper import Keeper
from services.node.index.live import LiveIndex
from services.node.joining import CONDITION as SET_CONDITION
from services.node.joining import join_sweep
from services.node.journal import FILE_NAME as JOURNAL_NAME
from services.node.journal import Journal
from services.node.store.store import FILE_NAME, Store
from services.node.submit import TOKENS_FIRST, WAKE_SOCKET
from services.node.sweeping import Sweeps
from services.node.tokenise import CONDITION, Tokeniser, keep_liar
from services.node.traces import CaseTraces

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterator, Sequence
    from pathlib import Path

    from concordat.clock import Clock
    from concordat.identity.home import Home
    from concordat.wire.v1.sweep_pb2 import SweepDone as SweepEnd
    from services.node.events import Event, EventSink

LOCK_FILE: Final = "daemon.lock"
SESSION: Final = "session"
CONDITIONS_POLL_S: Final = 1.0
INDEX_POLL_S: Final = 5.0
# Each statement of SQLite gives the interpreter away; with the usual 5 ms a thread that makes tokens would keep an
# answer waiting that long for every one of them.
SWITCH_INTERVAL_S: Final = 0.0001
_LOG: Final = logging.getLogger(__name__)


class Wake(Protocol):
    """Takes a wake-up of whoever has put work into the store."""

    def __call__(self, *, tokens_first: bool) -> None:
        """Look for work; for tokens to make only, where all of it begins with them."""


@contextlib.contextmanager
def only_daemon(home: Path) -> Iterator[None]:
    """Hold the lock of a party's folder.

    Raises:
        ConfigError: Another daemon runs on this folder, or the folder cannot be written.
    """
    with only_process(home / LOCK_FILE, taken="another node process runs on this folder; stop it first"):
        yield


@dataclass(slots=True)
class Node:
    """One node of this process."""

    home: Home
    store: Store
    """The exchange's own connection, so that nothing else makes an answer wait for its turn."""
    workshop: Store
    """A second connection to the same file, for tokens and sweeps."""
    keeper: Keeper
    """Of the index, over a third one."""
    emit: EventSink
    clock: Clock
    no_session: str = ""
    """Why there is no session; empty while there is one."""

    async def run(self, stop: asyncio.Event) -> None:
        """Work until told to stop; what is under way then is on disk or is done again."""
        rng = random.SystemRandom()
        identity = Identity.from_home(self.home)
        traces = CaseTraces(self.clock)
        core = NodeCore(
            identity,
            self.store,
            clock=self.clock,
            random_bytes=secrets.token_bytes,
            rng=rng,
            emit=self._hear,
            traces=traces,
        )
        sweeps = Sweeps(
            self._join_sweep,
            emit=self.emit,
            keep=lambda name, text: self.workshop.set_condition(name, text, self.clock.now()),
        )
        hooks = Hooks(self._hear, lambda: load_home(self.home.path, clock=self.clock), sweeps.on_event)
        if not self.home.manifest.gateways:
            raise ConfigError(f"{self.home.path}: the manifest names no gateway")
        session = Session(core, self.home, self.home.manifest.gateways[0], clock=self.clock, rng=rng, hooks=hooks)
        pool = CustodianPool(
            self.home, clock=self.clock, on_liar=lambda liar: keep_liar(self.workshop, self.clock, liar)
        )
        async with pool:
            tokeniser = Tokeniser(
                self.home,
                self.workshop,
                pool,
                clock=self.clock,
                on_tokens=lambda _number: session.wake(),
                traces=traces,
            )

            def wake(*, tokens_first: bool) -> None:
                tokeniser.wake()
                # Else the session would look for what is not there yet, while the tokens that it needs are made.
                if not tokens_first:
                    session.wake()

            with wake_socket(self.home.path, wake):
                try:
                    await _until_first_ends(
                        stop,
                        session.run(stop),
                        tokeniser.run(stop),
                        self._show_conditions(stop),
                        self._retain(stop, session.wake),
                        self._tend_index(stop),
                    )
                finally:
                    await sweeps.close()

    def _hear(self, event: Event) -> None:
        if isinstance(event, Detached):
            self.no_session = f"no session: {event.reason} [{event.code}]"
        elif isinstance(event, Attached):
            self.no_session = ""
        self.emit(event)

    async def _join_sweep(self, operation: str, sweep_id: bytes) -> SweepEnd:
        gateway = self.home.manifest.gateways[0]
        async with channel(gateway.address, home=self.home, server=gateway.spiffe) as to_gateway:
            today = datetime.fromtimestamp(self.clock.now(), UTC).date()

            def say(text: str) -> None:
                try:
                    self.workshop.set_condition(SET_CONDITION, text and f"{operation}: {text}", self.clock.now())
                except UnavailableError as error:
                    # What people may read of a set must not be what it fails for.
                    _LOG.warning("conditions cannot be kept now: %s", error.message)

            return await join_sweep(self.home, to_gateway, self.workshop, operation, sweep_id, today=today, say=say)

    async def _retain(self, stop: asyncio.Event, wake: Callable[[], None]) -> None:
        """Withdraw once an hour what is at its end, and wipe exercises that are over."""
        while not stop.is_set():
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(retention.EVERY_S):
                    await stop.wait()
                    return
            try:
                withdrawn = await asyncio.to_thread(retention.withdraw_ended, self.workshop, clock=self.clock)
                wiped = await asyncio.to_thread(wipe_ended, self.home, self.workshop, clock=self.clock)
                if withdrawn or wiped:
                    wake()
            except UnavailableError as error:
                _LOG.warning("records at their end wait for the store: %s", error.message)

    async def _tend_index(self, stop: asyncio.Event) -> None:
        """Make the index, and make it anew where it falls behind; the store answers without it."""
        while not stop.is_set():
            try:
                await asyncio.to_thread(self.keeper.tend)
            except ConcordatError as error:
                _LOG.warning("the index is not made now: %s", error.message, extra={"code": error.code})
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(INDEX_POLL_S):
                    await stop.wait()

    async def _show_conditions(self, stop: asyncio.Event) -> None:
        """Say why tokens wait, and that they go on; keep for `status` why there is no session; give a sign of life."""
        shown, kept = "", None
        while not stop.is_set():
            beat(self.home.path)
            try:
                if kept != self.no_session:
                    kept = self.no_session
                    await asyncio.to_thread(self.workshop.set_condition, SESSION, kept, self.clock.now())
                conditions = await asyncio.to_thread(self.workshop.conditions)
            except UnavailableError as error:
                # The store is busy or its disk is full; the exchange and the tokeniser say so and go on as well.
                _LOG.warning("conditions cannot be kept now: %s", error.message)
                kept, conditions = None, []
            text = next((one.text for one in conditions if one.name == CONDITION), "")
            if text != shown:
                shown = text
                self.emit(Waiting(CONDITION, text.removeprefix("waiting: ")))
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(CONDITIONS_POLL_S):
                    await stop.wait()


async def run_node(home: Path, *, stop: asyncio.Event, events: EventSink, ready: asyncio.Event | None = None) -> None:
    """Run one node until `stop` is set.

    Args:
        home: The party's folder.
        stop: Ends the node gracefully.
        events: Takes the node's events, from any thread.
        ready: Set once folder, lock and store are good.

    Raises:
        ConfigError: The folder or the store cannot be used, or another daemon uses it.
        IdentityError: The manifest does not hold, or does not name this party.
    """
    clock = SystemClock()
    loaded = load_home(home, clock=clock)
    path = home / FILE_NAME
    with only_daemon(home), Store.open(path, clock=clock) as store, Store.open(path, clock=clock) as workshop:
        wipe_ended(loaded, store, clock=clock)
        catch_up(home, store, clock)
        # What a process that was killed was making is not made now.
        store.set_condition(SET_CONDITION, "", clock.now())
        index = LiveIndex()
        with contextlib.closing(Keeper(home, index, clock=clock)) as keeper:
            keeper.start()
            store.use_index(index)
            if ready is not None:
                ready.set()
            await Node(loaded, store, workshop, keeper, events, clock).run(stop)


def catch_up(home: Path, store: Store, clock: Clock) -> None:
    """Apply what was decided and is past, before anybody is answered (I9).

    Raises:
        ConfigError: The policy journal was changed, or is shorter than what the store has applied.
        UnavailableError: The store cannot be written.
    """
    if Journal(home / JOURNAL_NAME).replay(store):
        # What the store had forgotten it may have forgotten with a backup: it is another one from now on.
        store.renew_incarnation()
    retention.withdraw_ended(store, clock=clock)


async def run_nodes(homes: Sequence[Path], writer: EventWriter, *, stop: asyncio.Event) -> None:
    """Run several nodes in this process until `stop` is set; when one fails, all stop and its error is raised."""
    names = [load_home(home, clock=SystemClock()).identity.name for home in homes]
    started = [asyncio.Event() for _ in homes]
    nodes = [
        run_node(home, stop=stop, events=writer.sink(name), ready=ready)
        for home, name, ready in zip(homes, names, started, strict=True)
    ]

    async def announce() -> None:
        for one in started:
            await one.wait()
        writer.ready(names)

    await _until_first_ends(stop, announce(), *nodes)


def run(homes: Sequence[Path], *, json_output: bool) -> None:
    """Run nodes until SIGTERM or SIGINT, with uvloop where it is installed.

    Raises:
        ConcordatError: A node cannot start, or cannot go on.
    """

    async def main() -> None:
        stop = asyncio.Event()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, stop.set)
        await run_nodes(homes, EventWriter(json_output=json_output), stop=stop)

    sys.setswitchinterval(SWITCH_INTERVAL_S)
    with asyncio.Runner(loop_factory=_loop_factory()) as runner:
        runner.run(main())


def _loop_factory() -> type[asyncio.AbstractEventLoop] | None:
    try:
        factory: type[asyncio.AbstractEventLoop] = importlib.import_module("uvloop").Loop
    except ImportError:
        return None
    return factory


@contextlib.contextmanager
def wake_socket(home: Path, wake: Wake) -> Iterator[None]:
    """Listen for wake-ups at HOME/wake.sock; without it the node polls."""
    path = home / WAKE_SOCKET
    loop = asyncio.get_running_loop()
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as listener:
        listener.setblocking(False)
        try:
            # Whatever lies there is left over: this process holds the folder's lock.
            path.unlink(missing_ok=True)
            listener.bind(str(path))
            path.chmod(0o600)
        except OSError as error:
            _LOG.warning("no wake-up socket (%s); the node looks for work once a second", error.strerror)
            yield
            return

        def heard() -> None:
            said = set()
            with contextlib.suppress(BlockingIOError):
                while work := listener.recv(64):
                    said.add(work)
            wake(tokens_first=said == {TOKENS_FIRST})

        loop.add_reader(listener, heard)
        try:
            yield
        finally:
            loop.remove_reader(listener)
            path.unlink(missing_ok=True)


async def _until_first_ends(stop: asyncio.Event, *parts: Coroutine[object, object, None]) -> None:
    """Run parts together; when one fails, stop the others and raise its error."""
    tasks = {asyncio.create_task(part) for part in parts}
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_EXCEPTION)
        for task in done:
            task.result()
    finally:
        stop.set()
        await _end(tasks)


async def _end(tasks: set[asyncio.Task[None]]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
