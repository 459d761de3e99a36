"""The gateway's sweep service: binds the streams of participants to the sweep that runs (docs/protocol.md 3.6).

`SweepRunner` holds the running sweeps and does what `SweepHub` asks for: frames into queues, live edges from the
ledger, edges and report into the database. One task drives a sweep, so that no participant's broken stream stops it
half-way. Whatever fails in it ends that sweep for all its participants with a code; its opener may start again.
"""

from __future__ import annotations

import asyncio
import logging
from functools import partial
from typing import TYPE_CHECKING, Final

from typing_extensions import override

from concordat.errors import ConcordatError, ConfigError, ProtocolError, RefusedError
from concordat.tasks import cancelled
from concordat.wire.v1.session_pb2 import OperationEvent
from gateway.report import build_report, sign_report
from gateway.sweep.driver import Driver
from gateway.sweep.effects import Abandoned, Conclude, GiveParts, LookUp, OpenEdges
from gateway.sweep.hub import SweepHub
from gateway.sweep.jobs import JoinJob
from gateway.sweep.journal import Journal
from gateway.sweep.shards import ShardCalls, end_parts
from gateway.sweep.standing import rows_offset, standing_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from concordat.api.operator import SweepProgress
    from concordat.wire.v1 import sweep_pb2 as wire
    from gateway.operations_rows import Operation
    from gateway.sweep.checkpoint import SweepFolder
    from gateway.sweep.context import SweepContext
    from gateway.sweep.effects import Effect
    from gateway.sweep.pairs import Pair, ProvenPair
    from gateway.sweep.shards import SharedProgress

EDGES_A_WRITE: Final = 1000

_log = logging.getLogger(__name__)


class RunningSweep(Driver):
    """One sweep of this gateway."""

    def __init__(self, operation: Operation, sweep_id: bytes, context: SweepContext) -> None:
        self.operation = operation
        self._context = context
        # Where parts of it may be; of a sweep that is taken up, wherever shards are.
        self._shards: tuple[str, ...] = ()
        self._sharing: asyncio.Task[None] | None = None
        folder = context.keep(sweep_id)
        super().__init__(sweep_id, _new_hub(operation, sweep_id, context, folder), context.clock, folder)

    def take_up(self) -> None:
        """Go on where a gateway stopped; from the beginning where it had not come to the first window.

        Before `run`.
        """
        try:
            state = None if self._folder is None else self._folder.load()
            if state is not None:
                self._first = self._hub.take_up(state)
                self._shards = self._context.settings.shards
                _log.info("sweep %s goes on: %s", self.sweep_id.hex(), self._hub.progress)
        except (ConfigError, ProtocolError) as error:
            _log.warning("sweep %s begins anew: %s", self.sweep_id.hex(), error.message)
            self._hub.journal.close()
            self._hub = _new_hub(self.operation, self.sweep_id, self._context, self._folder)

    def standing(self, offset: int) -> SweepProgress:
        """Return how far it is, as the operator may see it; so many rows are left out."""
        return standing_of(self._hub, offset)

    @override
    async def _failed(self, code: str) -> None:
        try:
            # Or the next start of the gateway would take it up again.
            await self._abandon()
        except ConcordatError as error:
            _log.warning("sweep %s is not noted as ended: %s", self.sweep_id.hex(), error.message)

    @override
    async def _do(self, effect: Effect) -> None:
        if isinstance(effect, LookUp):
            live = await self._live(effect.pairs)
            await self._apply(self._hub.live_known(live, self._clock.monotonic()))
        elif isinstance(effect, OpenEdges):
            # (5), (6): edges first, so that the report never names a value that its holders are not told of.
            await self._open_edges(effect.edges)
            await self._apply(self._hub.edges_open(self._clock.monotonic()))
        elif isinstance(effect, Conclude):
            await self._conclude(effect)
        elif isinstance(effect, Abandoned):
            await self._abandon()
            _log.warning("sweep %s ends without a report: fewer than two took part", self.sweep_id.hex())
        elif isinstance(effect, GiveParts):
            self._sharing = asyncio.create_task(self._share(effect))

    async def _share(self, give: GiveParts) -> None:
        """Let the shards take their parts, and have what they hand over joined."""
        try:
            _log.info("sweep %s is shared by %d shards", self.sweep_id.hex(), len(give.shares))
            self._shards = tuple(share.address for share in give.shares)
            calls = ShardCalls(
                give,
                self._context.dial_shard,
                self._folder,
                patience_s=self._context.settings.shard_s,
                clock=self._clock,
            )
            states, journals = await calls.run(lambda: self._tell(self._hub.parts_begun), self._shared)
        except Exception as error:  # noqa: BLE001 -- the task that drives the sweep ends it
            self._tell(partial(_raise, error))
        else:
            participants = tuple(self.operation.charter.participants)
            self._start(JoinJob(states, journals, participants, self._hub.journal))

    def _shared(self, progress: SharedProgress) -> None:
        sharing = self._hub.sharing
        sharing.done, sharing.owing, sharing.away = progress

    @override
    async def _let_go(self) -> None:
        if self._sharing is not None:
            self._sharing.cancel()
            await asyncio.gather(self._sharing, return_exceptions=True)
        await super()._let_go()
        if self.over:
            await end_parts(self.sweep_id, self._shards, self._context.dial_shard)

    async def _abandon(self) -> None:
        name = self.operation.charter.operation
        await asyncio.to_thread(self._context.store.abandon_sweep, name, self.sweep_id)

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


def _raise(error: Exception, _now: float) -> list[Effect]:
    raise error


def _new_hub(operation: Operation, sweep_id: bytes, context: SweepContext, folder: SweepFolder | None) -> SweepHub:
    charter = operation.charter
    return SweepHub(
        sweep_id,
        charter.operation,
        charter.participants,
        attached=context.attached(),
        namespaces=charter.namespaces,
        settings=context.settings,
        now=context.clock.monotonic(),
        journal=None if folder is None else Journal(folder.journal()),
        folder=folder,
    )


class SweepRunner:
    """The sweeps that run in this process; at most one an operation."""

    def __init__(self, context: SweepContext) -> None:
        self._context = context
        self._running: dict[str, RunningSweep] = {}
        self._offset = rows_offset(context.key)
        self._tasks: set[asyncio.Task[None]] = set()

    def running(self, operation: str) -> bytes | None:
        """Return the id of an operation's sweep that runs."""
        sweep = self._running.get(operation)
        return None if sweep is None or sweep.over else sweep.sweep_id

    def standings(self) -> dict[bytes, tuple[str, SweepProgress]]:
        """Return by sweep its operation, and how far it is."""
        running = {name: sweep for name, sweep in self._running.items() if not sweep.over}
        return {sweep.sweep_id: (name, sweep.standing(self._offset)) for name, sweep in running.items()}

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
        await cancelled(list(self._tasks))
        self._running.clear()

    async def _run(self, name: str, sweep: RunningSweep) -> None:
        await sweep.run()
        if self._running.get(name) is sweep:
            del self._running[name]
