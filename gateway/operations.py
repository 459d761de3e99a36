"""The gateway's operation service: propose, read, list, countersign, start the sweep, read the report (3.6).

Thin: what holds is decided in `gateway.operations_store`; here are the caller, the thread and the events that go out.
An event only says that there is something to read; a node that was away gets those that still matter when it attaches
(`events_for`), so none needs to be kept.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final, Protocol

from typing_extensions import override

from concordat.rpc.server import current_peer
from concordat.wire.v1 import operations_pb2 as wire
from concordat.wire.v1.operations_pb2_grpc import OperationServiceServicer
from concordat.wire.v1.session_pb2 import OperationEvent

if TYPE_CHECKING:
    from collections.abc import Callable

    from gateway.operations_rows import Operation
    from gateway.operations_store import OperationStore

SWEEP_ID_BYTES: Final = 16


class Sweeps(Protocol):
    """What starts sweeps and knows which run."""

    def running(self, operation: str) -> bytes | None:
        """Return the id of an operation's sweep that runs in this process."""
        ...

    def start(self, operation: Operation, sweep_id: bytes) -> None:
        """Start a sweep and tell its participants."""
        ...


class OperationServicer(OperationServiceServicer):
    """Serves nodes that take part in operations; all of it is theirs to read, and nobody else's (I8)."""

    def __init__(
        self,
        store: OperationStore,
        *,
        sweeps: Sweeps,
        send_event: Callable[[str, OperationEvent], None],
        random_bytes: Callable[[int], bytes],
    ) -> None:
        self._store = store
        self._sweeps = sweeps
        self._send_event = send_event
        self._random_bytes = random_bytes
        self._starting = asyncio.Lock()

    @override
    async def Propose(self, request: wire.ProposeRequest, context: Any) -> wire.ProposeResponse:
        """Take a charter of its opener; the same again changes nothing."""
        keys = list(request.keys)
        held, new = await asyncio.to_thread(self._store.propose, _caller(), request.charter, request.signature, keys)
        if new:
            for party in held.unsigned:
                self._tell(party, held, OperationEvent.KIND_PROPOSED)
        return wire.ProposeResponse(charter_hash=held.hash)

    @override
    async def GetOperation(self, request: wire.GetOperationRequest, context: Any) -> wire.GetOperationResponse:
        """Return a charter, its signatures, and the caller's own sealed key."""
        caller = _caller()
        held = await asyncio.to_thread(self._store.get, caller, request.operation)
        (key,) = [one for one in held.keys if one.recipient == caller]
        return wire.GetOperationResponse(
            charter=held.raw, signatures=held.signatures, key=key, state=wire.OperationState.ValueType(held.state)
        )

    @override
    async def ListOperations(self, request: wire.ListOperationsRequest, context: Any) -> wire.ListOperationsResponse:
        """Return the operations in which the caller takes part."""
        found = await asyncio.to_thread(self._store.listed, _caller())
        summaries = [
            wire.OperationSummary(
                operation=one.charter.operation,
                title=one.charter.title,
                state=wire.OperationState.ValueType(one.state),
                unsigned=one.unsigned,
                exercise=one.charter.exercise,
            )
            for one in found
        ]
        return wire.ListOperationsResponse(operations=summaries)

    @override
    async def Countersign(self, request: wire.CountersignRequest, context: Any) -> wire.CountersignResponse:
        """Add the caller's signature; the last one makes the operation active."""
        held, active = await asyncio.to_thread(self._store.countersign, _caller(), request.operation, request.signature)
        if active:
            for party in held.charter.participants:
                self._tell(party, held, OperationEvent.KIND_ACTIVE)
        return wire.CountersignResponse(state=wire.OperationState.ValueType(held.state))

    @override
    async def StartSweep(self, request: wire.StartSweepRequest, context: Any) -> wire.StartSweepResponse:
        """Start the sweep; while it runs, the same request returns the same sweep."""
        caller = _caller()
        async with self._starting:
            held = await asyncio.to_thread(self._store.get, caller, request.operation)
            running = self._sweeps.running(request.operation)
            if running is not None and held.charter.opener == caller:
                return wire.StartSweepResponse(sweep_id=running)
            # A sweep that a stopped gateway left behind goes on at its start where it was kept; else it is replaced.
            sweep_id = self._random_bytes(SWEEP_ID_BYTES)
            held = await asyncio.to_thread(self._store.start_sweep, caller, request.operation, sweep_id)
            self._sweeps.start(held, sweep_id)
        return wire.StartSweepResponse(sweep_id=sweep_id)

    @override
    async def GetReport(self, request: wire.GetReportRequest, context: Any) -> wire.GetReportResponse:
        """Return a version of the frozen report, exactly as signed."""
        found = await asyncio.to_thread(self._store.report, _caller(), request.operation, request.version)
        return wire.GetReportResponse(report=found.report, signature=found.signature, versions=found.versions)

    async def events_for(self, party: str) -> list[OperationEvent]:
        """Return what still matters to a party that has just attached."""
        events = []
        for held in await asyncio.to_thread(self._store.listed, party):
            name = held.charter.operation
            if held.state == wire.OPERATION_STATE_PROPOSED and party in held.unsigned:
                events.append(OperationEvent(operation=name, kind=OperationEvent.KIND_PROPOSED))
            running = self._sweeps.running(name)
            if running is not None:
                events.append(OperationEvent(operation=name, kind=OperationEvent.KIND_SWEEP, sweep_id=running))
        return events

    def _tell(self, party: str, held: Operation, kind: OperationEvent.Kind.ValueType) -> None:
        self._send_event(party, OperationEvent(operation=held.charter.operation, kind=kind))


def _caller() -> str:
    return str(current_peer())
