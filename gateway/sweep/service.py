"""The gateway's sweep service: binds the streams of participants to the sweep that runs (docs/protocol.md 3.6).

`SweepRunner` holds the running sweeps and does what `SweepHub` asks for: frames into queues, live edges from the
ledger, edges and report into the database. One task drives a sweep, so that no participant's broken stream stops it
half-way. Whatever fails in it ends that sweep for all its participants with a code; its opener may start again.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, Protocol

from typing_extensions import override

from concordat.errors import ConcordatError, ConfigError, ProtocolError, RefusedError, UnavailableError
from concordat.rpc.server import current_peer
from concordat.wire.v1 import sweep_pb2 as wire
from concordat.wire.v1.session_pb2 import OperationEvent
from concordat.wire.v1.sweep_pb2_grpc import SweepServiceServicer
from gateway.report import build_report, sign_report
from gateway.sweep.checkpoint import KEY_DOMAIN, SweepFolder, remove_ended
from gateway.sweep.effects import Abandoned, Conclude, LookUp, OpenEdges, Run, Send, SweepSettings
from gateway.sweep.hub import Phase, SweepHub
from gateway.sweep.journal import Journal

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Collection, Sequence
    from pathlib import Path

    from concordat.clock import Clock
    from concordat.identity.keys import SigningKey
    from gateway.edges import EdgeCandidate
    from gateway.operations_rows import Operation
    from gateway.operations_store import OperationStore
    from gateway.sweep.effects import Effect
    from gateway.sweep.jobs import Job, Result
    from gateway.sweep.pairs import Pair, ProvenPair

    End = tuple[str, bytes]

EDGES_A_WRITE: Final = 1000
TICK_S: Final = 0.25
# How often the log says how far a sweep has come.
TELL_S: Final = 30.0

_log = logging.getLogger(__name__)


class EdgeLedger(Protocol):
    """What a sweep needs of the ledger."""

    async def live_edges(self, pairs: Sequence[tuple[End, End]]) -> Sequence[bytes | None]:
        """Return the live edge of each pair of (party, reference), or None."""
        ...

    async def open_edges(self, candidates: Sequence[EdgeCandidate]) -> None:
        """Open edges; they are durable and their notices on the way when it returns."""
        ...


@dataclass(frozen=True, slots=True)
class SweepContext:
    """What all sweeps of a gateway share.

    Attributes:
        store: Operations.
        ledger: Edges.
        attached: Returns the parties that are attached now.
        send_event: Sends an event to a party where it is attached.
        identity: SPIFFE id of this gateway.
        key: Signs reports.
        clock: Wall clock and durations.
        settings: Limits.
        folder: Where running sweeps are kept, so that they go on after a restart; None keeps them in memory.
    """

    store: OperationStore
    ledger: EdgeLedger
    attached: Callable[[], Collection[str]]
    send_event: Callable[[str, OperationEvent], None]
    identity: str
    key: SigningKey
    clock: Clock
    settings: SweepSettings = field(default_factory=SweepSettings)
    folder: Path | None = None

    def keep(self, sweep_id: bytes) -> SweepFolder | None:
        """Return the folder of a sweep; None where it is not kept, or cannot be."""
        if self.folder is None:
            return None
        # Deterministic, so that a restarted gateway has the same; nobody else can make it.
        key = hashlib.sha256(self.key.sign(KEY_DOMAIN, sweep_id)).digest()
        try:
            return SweepFolder(self.folder / sweep_id.hex(), key)
        except ConfigError as error:
            _log.warning("a sweep will not survive a restart: %s", error.message)
            return None

    def tidy(self, running: Collection[bytes]) -> None:
        """Delete what a killed gateway has left of sweeps that do not run any more."""
        try:
            for ended in [] if self.folder is None else remove_ended(self.folder, running):
                _log.warning("sweep %s has ended; what was left of it on disk is deleted", ended)
        except OSError as error:
            _log.warning("the folder of sweeps cannot be read: %s", error.strerror)

    def is_kept(self, sweep_id: bytes) -> bool:
        """Tell whether a sweep was under way when a gateway stopped."""
        return self.folder is not None and (self.folder / sweep_id.hex()).is_dir()


@dataclass(frozen=True, slots=True)
class _Letter:
    """A participant's frame, or None where its stream has ended; `read` lets it send the next."""

    party: str
    frame: wire.SweepUp | None = field(repr=False)
    read: asyncio.Future[None]


class RunningSweep:
    """One sweep: its streams, and the task that drives it."""

    def __init__(self, operation: Operation, sweep_id: bytes, context: SweepContext) -> None:
        self.operation = operation
        self.sweep_id = sweep_id
        self._context = context
        # At most one letter a stream, the outcome of one job, and a tick: None.
        self._inbox: asyncio.Queue[_Letter | asyncio.Future[Result] | None] = asyncio.Queue()
        # One thread: jobs use the same buffers and write the same journal, in order.
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="sweep")
        self._queues: dict[str, asyncio.Queue[Send | None]] = {}
        self._folder = context.keep(sweep_id)
        self._hub = self._new_hub()
        self._first: list[Effect] = []
        self._told_at = context.clock.monotonic()

    def _new_hub(self) -> SweepHub:
        charter, folder, context = self.operation.charter, self._folder, self._context
        return SweepHub(
            self.sweep_id,
            charter.operation,
            charter.participants,
            attached=context.attached(),
            namespaces=charter.namespaces,
            settings=context.settings,
            now=context.clock.monotonic(),
            journal=None if folder is None else Journal(folder.journal()),
            folder=folder,
        )

    def take_up(self) -> None:
        """Go on where a gateway stopped; from the beginning where it had not come to the first window.

        Before `run`.
        """
        try:
            state = None if self._folder is None else self._folder.load()
            if state is not None:
                self._first = self._hub.take_up(state)
                _log.info("sweep %s goes on: %s", self.sweep_id.hex(), self._hub.progress)
        except (ConfigError, ProtocolError) as error:
            _log.warning("sweep %s begins anew: %s", self.sweep_id.hex(), error.message)
            self._hub.journal.close()
            self._hub = self._new_hub()

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
            await asyncio.get_running_loop().run_in_executor(self._thread, self._hub.journal.close)
            if self.over and self._folder is not None:
                self._folder.remove()
        except OSError as error:
            _log.warning("files of sweep %s stay behind: %s", self.sweep_id.hex(), error.strerror)
        finally:
            self._thread.shutdown(wait=False)

    async def _tick(self) -> None:
        while True:
            await asyncio.sleep(TICK_S)
            self._inbox.put_nowait(None)

    async def _guarded(self, letter: _Letter | asyncio.Future[Result] | None) -> None:
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

    def _step(self, letter: _Letter | asyncio.Future[Result] | None) -> list[Effect]:
        now = self._context.clock.monotonic()
        if letter is None:
            if now - self._told_at >= TELL_S:
                self._told_at = now
                _log.info("sweep %s: %s", self.sweep_id.hex(), self._hub.progress)
            return self._hub.tick(now)
        if isinstance(letter, asyncio.Future):
            return self._hub.ran(letter.result(), now)
        if letter.frame is None:
            return self._hub.gone(letter.party, now)
        return self._hub.receive(letter.party, letter.frame, now)

    @staticmethod
    def _release(letter: _Letter | asyncio.Future[Result] | None) -> None:
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
        try:
            # Or the next start of the gateway would take it up again.
            await asyncio.to_thread(self._context.store.abandon_sweep, self.operation.charter.operation, self.sweep_id)
        except ConcordatError as error:
            _log.warning("sweep %s is not noted as ended: %s", self.sweep_id.hex(), error.message)

    async def _apply(self, effects: Sequence[Effect]) -> None:
        for effect in effects:
            if isinstance(effect, Send):
                self._put(effect)
            elif isinstance(effect, Run):
                self._start(effect.job)
            elif isinstance(effect, LookUp):
                live = await self._live(effect.pairs)
                await self._apply(self._hub.live_known(live, self._context.clock.monotonic()))
            elif isinstance(effect, OpenEdges):
                # (5), (6): edges first, so that the report never names a value that its holders are not told of.
                await self._open_edges(effect.edges)
                await self._apply(self._hub.edges_open(self._context.clock.monotonic()))
            elif isinstance(effect, Conclude):
                await self._conclude(effect)
            elif isinstance(effect, Abandoned):
                name = self.operation.charter.operation
                await asyncio.to_thread(self._context.store.abandon_sweep, name, self.sweep_id)
                _log.warning("sweep %s ends without a report: fewer than two took part", self.sweep_id.hex())

    def _put(self, send: Send) -> None:
        queue = self._queues.get(send.party)
        if queue is not None:
            queue.put_nowait(send)

    async def _live(self, pairs: Sequence[Pair]) -> list[bool]:
        ends = [tuple(zip(pair.parties, pair.references, strict=True)) for pair in pairs]
        live: list[bool] = []
        for at in range(0, len(ends), EDGES_A_WRITE):
            part = [(one, two) for one, two in ends[at : at + EDGES_A_WRITE]]
            live += [edge is not None for edge in await self._context.ledger.live_edges(part)]
        return live

    async def _open_edges(self, edges: Sequence[ProvenPair]) -> None:
        charter = self.operation.charter
        exercise = charter.operation if charter.exercise else ""
        candidates = [proven.edge(self.sweep_id, exercise) for proven in edges]
        for at in range(0, len(candidates), EDGES_A_WRITE):
            await self._context.ledger.open_edges(candidates[at : at + EDGES_A_WRITE])

    async def _conclude(self, conclude: Conclude) -> None:
        context, name = self._context, self.operation.charter.operation
        basis = await asyncio.to_thread(context.store.basis, name)
        report = build_report(
            self.operation,
            conclude.result,
            basis,
            gateway=context.identity,
            key=context.key,
            frozen_at=int(context.clock.now()),
        )
        signature = sign_report(report, context.key)
        version = await asyncio.to_thread(context.store.freeze, name, self.sweep_id, report, signature)
        await self._apply(self._hub.frozen(version))
        _log.info("sweep %s has ended: version %d of the report is frozen", self.sweep_id.hex(), version)
        for party in self.operation.charter.participants:
            context.send_event(party, OperationEvent(operation=name, kind=OperationEvent.KIND_REPORTED))


class SweepRunner:
    """The sweeps that run in this process; at most one an operation."""

    def __init__(self, context: SweepContext) -> None:
        self._context = context
        self._running: dict[str, RunningSweep] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    def running(self, operation: str) -> bytes | None:
        """Return the id of an operation's sweep that runs."""
        sweep = self._running.get(operation)
        return None if sweep is None or sweep.over else sweep.sweep_id

    def start(self, operation: Operation, sweep_id: bytes) -> None:
        """Start a sweep and tell its participants."""
        _log.info("sweep %s of %s begins", sweep_id.hex(), operation.charter.operation)
        self._drive(RunningSweep(operation, sweep_id, self._context))

    def take_up(self, operations: Sequence[Operation]) -> None:
        """Go on with those of these operations' sweeps that were under way when a gateway stopped, and no other."""
        self._context.tidy([operation.sweep_id for operation in operations])
        for operation in operations:
            if self._context.is_kept(operation.sweep_id):
                sweep = RunningSweep(operation, operation.sweep_id, self._context)
                sweep.take_up()
                self._drive(sweep)

    def _drive(self, sweep: RunningSweep) -> None:
        operation, sweep_id = sweep.operation, sweep.sweep_id
        name = operation.charter.operation
        self._running[name] = sweep
        task = asyncio.create_task(self._run(name, sweep))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        event = OperationEvent(operation=name, kind=OperationEvent.KIND_SWEEP, sweep_id=sweep_id)
        for party in operation.charter.participants:
            self._context.send_event(party, event)

    def find(self, party: str, first: wire.SweepUp) -> RunningSweep:
        """Return the sweep that a stream's first frame names.

        Raises:
            RefusedError: With code `operation_unknown`, where none runs or the party takes no part (I8).
        """
        named_by = first.preparing if first.HasField("preparing") else first.join
        sweep = self._running.get(named_by.operation)
        named = sweep is not None and named_by.sweep_id == sweep.sweep_id
        if sweep is None or not named or party not in sweep.operation.charter.participants:
            raise RefusedError("no such sweep, or the caller takes no part in it", code="operation_unknown")
        return sweep

    async def stop(self) -> None:
        """Stop all sweeps; those that are kept go on after the next start, the others can be started again."""
        for task in list(self._tasks):
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task
        self._running.clear()

    async def _run(self, name: str, sweep: RunningSweep) -> None:
        await sweep.run()
        if self._running.get(name) is sweep:
            del self._running[name]


class SweepServicer(SweepServiceServicer):
    """Serves the streams of participants."""

    def __init__(self, runner: SweepRunner, settings: SweepSettings | None = None) -> None:
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
    sweep: RunningSweep,
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
