"""I8: every condition of the table's gRPC rows, met and broken once, at a whole gateway and a custodian over mTLS."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import pytest

from concordat.clock import SystemClock
from concordat.errors import ConcordatError, RefusedError
from concordat.identity.federation import init_federation
from concordat.identity.home import load_home
from concordat.identity.names import Role, SpiffeId
from concordat.identity.plan import FederationPlan, NodePlan, PartnerPlan
from concordat.rpc.client import call, channel, messages
from concordat.rpc.methods import METHODS, Condition
from concordat.rpc.server import ServerSettings
from concordat.wire.v1 import custodian_pb2, operations_pb2, session_pb2, shard_pb2, sweep_pb2
from concordat.wire.v1.custodian_pb2_grpc import CustodianServiceStub
from concordat.wire.v1.operations_pb2_grpc import OperationServiceStub
from concordat.wire.v1.session_pb2_grpc import SessionServiceStub
from concordat.wire.v1.shard_pb2_grpc import ShardServiceStub
from concordat.wire.v1.sweep_pb2_grpc import SweepServiceStub
from gateway.config import GatewaySettings
from gateway.service import open_foundation, open_gateway
from gateway.sweep.effects import SweepSettings
from gateway.sweep.shard_server import open_shard, shard_table
from tests.unit.custodian.running import RunningCustodians, elements, free_ports, request_of
from tests.unit.operations.charters import proposed, sign

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable
    from pathlib import Path

    import grpc.aio

    from concordat.identity.home import Home

OPERATION: Final = "action-day"
NODES: Final = ("AT", "BE", "CZ", "DE")
CUSTODIAN: Final = "custodian/c1"
OK: Final = "ok"


@dataclass
class Bench:
    """A gateway and a custodian that serve, and everybody's folders; DE takes part in no operation."""

    homes: dict[str, Home]
    address: str

    @asynccontextmanager
    async def dialled(self, name: str, to: str = "g1") -> AsyncIterator[grpc.aio.Channel]:
        server = self.homes[to]
        address = self.address if to == "g1" else server.manifest.custodian_by_id(server.identity).address
        async with channel(address, home=self.homes[name], server=server.identity) as opened:
            yield opened

    async def operation(self, name: str, method: str, request: Any) -> Any:
        async with self.dialled(name) as opened:
            return await call(getattr(OperationServiceStub(opened), method), request, party="hub", timeout_s=10)

    async def evaluate(self, name: str, signer: str, *, key: str | None = None) -> Any:
        custodian, home = self.homes["c1"], self.homes[signer]
        request = request_of(
            home.manifest,
            self.homes[key or signer].signing_key,
            requester=home.identity,
            custodian=str(custodian.identity),
            now=SystemClock().now(),
            blinded=elements(2),
        )
        async with self.dialled(name, "c1") as opened:
            return await call(CustodianServiceStub(opened).Evaluate, request, party="c1", timeout_s=10)

    async def used(self, name: str) -> int:
        async with self.dialled(name, "c1") as opened:
            quota = CustodianServiceStub(opened).GetQuota
            found = await call(quota, custodian_pb2.GetQuotaRequest(), party="c1", timeout_s=10)
        return max(int(one.used) for one in found.classes)


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("conditions") / "federation"
    plan = FederationPlan(
        name="conditions.example",
        nodes=tuple(NodePlan.parse(name) for name in NODES),
        partners=(PartnerPlan.parse("IJM"), PartnerPlan.parse("OSCE")),
        custodian_addresses=tuple(f"127.0.0.1:{port}" for port in free_ports(3)),
    )
    init_federation(directory, plan, unsafe_dealer=True)
    return directory


@pytest.fixture
async def bench(folders: Path, tmp_path: Path) -> AsyncIterator[Bench]:
    names = {name: f"node/{name}" for name in NODES} | {"IJM": "partner/IJM", "OSCE": "partner/OSCE"}
    names |= {"g1": "gateway/g1", "c1": "custodian/c1"}
    homes = {name: load_home(folders / path, clock=SystemClock()) for name, path in names.items()}
    settings = GatewaySettings(address="127.0.0.1:0", ledger=str(tmp_path / "ledger.sqlite"))
    async with RunningCustodians(folders) as custodians:
        await custodians.start(1)
        with open_foundation(homes["g1"], settings, clock=SystemClock()) as foundation:
            async with open_gateway(foundation, settings.server(homes["g1"])) as gateway:
                await gateway.server.start()
                try:
                    yield Bench(homes, f"127.0.0.1:{gateway.server.port}")
                finally:
                    await gateway.stop()
                    await gateway.server.stop(0)


async def code_of(outcome: Awaitable[Any]) -> str:
    """Return what came of a call."""
    try:
        await outcome
    except ConcordatError as error:
        return error.code
    return OK


async def _open(bench: Bench, opener: str = "AT", *, sender: str = "AT") -> str:
    now = int(SystemClock().now())
    made = proposed(bench.homes, opener, starts_at=now - 60, ends_at=now + 3600)
    request = operations_pb2.ProposeRequest(charter=made.raw, signature=made.signature, keys=made.keys)
    return await code_of(bench.operation(sender, "Propose", request))


async def _active(bench: Bench) -> None:
    assert await _open(bench) == OK
    for name in ("BE", "CZ"):
        request = operations_pb2.GetOperationRequest(operation=OPERATION)
        found = await bench.operation(name, "GetOperation", request)
        signature = sign(bench.homes[name], found.charter)
        await bench.operation(
            name, "Countersign", operations_pb2.CountersignRequest(operation=OPERATION, signature=signature)
        )


async def _attach(bench: Bench, *, manifest_hash: bytes | None = None) -> str:
    manifest = bench.homes["AT"].manifest
    hello = session_pb2.Hello(
        federation=manifest.federation,
        manifest_hash=manifest_hash or manifest.hash,
        incarnation=b"i" * 16,
        epochs=list(manifest.live_epochs),
    )

    async def welcomed() -> None:
        async with bench.dialled("AT") as opened:
            stream = SessionServiceStub(opened).Attach(_one(session_pb2.NodeFrame(hello=hello)))
            async for _ in messages(stream, party="hub"):
                return

    return await code_of(welcomed())


async def _one(frame: Any) -> AsyncIterator[Any]:
    yield frame
    await asyncio.Event().wait()


async def _none() -> AsyncIterator[Any]:
    """Say nothing: a call that is refused before its first frame has left reads as a broken line."""
    await asyncio.Event().wait()
    yield None


async def attach(bench: Bench) -> None:
    assert await _attach(bench) == OK
    assert await _attach(bench, manifest_hash=bytes(32)) == "stale_manifest"


async def propose(bench: Bench) -> None:
    assert await _open(bench, opener="AT", sender="BE") != OK
    assert await _open(bench) == OK


async def get_operation(bench: Bench) -> None:
    await _open(bench)
    request = operations_pb2.GetOperationRequest(operation=OPERATION)
    assert await code_of(bench.operation("BE", "GetOperation", request)) == OK
    assert await code_of(bench.operation("DE", "GetOperation", request)) == "operation_unknown"


async def list_operations(bench: Bench) -> None:
    await _open(bench)
    seen = {
        name: [
            one.operation
            for one in (
                await bench.operation(name, "ListOperations", operations_pb2.ListOperationsRequest())
            ).operations
        ]
        for name in NODES
    }
    assert seen == {"AT": [OPERATION], "BE": [OPERATION], "CZ": [OPERATION], "DE": []}


async def countersign(bench: Bench) -> None:
    await _active(bench)
    charter = (
        await bench.operation("AT", "GetOperation", operations_pb2.GetOperationRequest(operation=OPERATION))
    ).charter
    request = operations_pb2.CountersignRequest(operation=OPERATION, signature=sign(bench.homes["DE"], charter))
    assert await code_of(bench.operation("DE", "Countersign", request)) == "operation_unknown"


async def start_sweep(bench: Bench) -> None:
    await _active(bench)
    request = operations_pb2.StartSweepRequest(operation=OPERATION)
    assert await code_of(bench.operation("DE", "StartSweep", request)) == "operation_unknown"
    assert await code_of(bench.operation("BE", "StartSweep", request)) == "refused"
    assert await code_of(bench.operation("AT", "StartSweep", request)) == OK


async def get_report(bench: Bench) -> None:
    await _active(bench)
    request = operations_pb2.GetReportRequest(operation=OPERATION)
    # No report yet, which only a participant is told.
    assert await code_of(bench.operation("BE", "GetReport", request)) == "refused"
    assert await code_of(bench.operation("DE", "GetReport", request)) == "operation_unknown"


async def sweep(bench: Bench) -> None:
    await _active(bench)
    started = await bench.operation("AT", "StartSweep", operations_pb2.StartSweepRequest(operation=OPERATION))
    frame = sweep_pb2.SweepUp(join=sweep_pb2.SweepJoin(operation=OPERATION, sweep_id=started.sweep_id))

    async def join(name: str) -> None:
        async with bench.dialled(name) as opened:
            async for _ in messages(SweepServiceStub(opened).Sweep(_one(frame)), party="hub"):
                return

    assert await code_of(join("DE")) == "operation_unknown"
    assert await code_of(join("BE")) != "operation_unknown"


async def take_part(bench: Bench) -> None:
    await _own_shard(bench, "TakePart")


async def end_parts(bench: Bench) -> None:
    await _own_shard(bench, "EndParts")


async def _own_shard(bench: Bench, method: str) -> None:
    """A gateway serves it to nobody, itself included; a shard to its own gateway, and to no other one."""
    home = bench.homes["g1"]
    end = shard_pb2.EndPartsRequest(sweep_id=bytes(16))

    async def ask(address: str, order: AsyncIterator[Any]) -> None:
        async with channel(address, home=home, server=home.identity) as opened:
            stub = ShardServiceStub(opened)
            if method == "EndParts":
                await call(stub.EndParts, end, party="shard", timeout_s=10)
                return
            async for _ in messages(stub.TakePart(order), party="shard"):
                return

    assert await code_of(ask(bench.address, _none())) == "refused"
    settings = ServerSettings(address="127.0.0.1:0", drain_s=0)
    async with open_shard(home, home.path / "parts", settings, SweepSettings(), clock=SystemClock()) as (shard, _):
        await shard.start()
        served = {"EndParts": OK, "TakePart": "protocol_violation"}[method]
        order = _one(shard_pb2.TakePartRequest(order=b"{}"))
        assert await code_of(ask(f"127.0.0.1:{shard.port}", order)) == served
        await shard.stop(0)
    other, row = SpiffeId(home.identity.federation, Role.GATEWAY, "g2"), f"{_WIRE}ShardService/{method}"
    shard_table(home).check(row, home.identity, lambda _: True)
    with pytest.raises(RefusedError):
        shard_table(home).check(row, other, lambda _: True)


async def evaluate_of_a_node(bench: Bench) -> None:
    assert await code_of(bench.evaluate("AT", "AT")) == OK
    assert await code_of(bench.evaluate("AT", "BE", key="AT")) == "bad_signature"
    assert (await bench.used("AT"), await bench.used("BE")) == (2, 0)


async def evaluate_of_a_partner(bench: Bench) -> None:
    assert await code_of(bench.evaluate("IJM", "IJM")) == OK
    assert await code_of(bench.evaluate("IJM", "OSCE", key="IJM")) == "bad_signature"
    assert await bench.used("OSCE") == 0


async def evaluate_of_a_gateway(bench: Bench) -> None:
    before = await bench.used("OSCE")
    assert await code_of(bench.evaluate("g1", "OSCE")) == OK
    assert await code_of(bench.evaluate("g1", "CZ")) == "refused"
    assert (await bench.used("OSCE") - before, await bench.used("CZ")) == (2, 0)


async def own_quota(bench: Bench) -> None:
    before = [await bench.used(name) for name in ("BE", "DE", "IJM")]
    await bench.evaluate("BE", "BE")
    assert [await bench.used(name) for name in ("BE", "DE", "IJM")] == [before[0] + 2, *before[1:]]


_WIRE: Final = "/concordat.wire.v1."
CASES: Final[dict[tuple[str, Role], Callable[[Bench], Awaitable[None]]]] = {
    (f"{_WIRE}SessionService/Attach", Role.NODE): attach,
    (f"{_WIRE}OperationService/Propose", Role.NODE): propose,
    (f"{_WIRE}OperationService/GetOperation", Role.NODE): get_operation,
    (f"{_WIRE}OperationService/ListOperations", Role.NODE): list_operations,
    (f"{_WIRE}OperationService/Countersign", Role.NODE): countersign,
    (f"{_WIRE}OperationService/StartSweep", Role.NODE): start_sweep,
    (f"{_WIRE}OperationService/GetReport", Role.NODE): get_report,
    (f"{_WIRE}SweepService/Sweep", Role.NODE): sweep,
    (f"{_WIRE}ShardService/TakePart", Role.GATEWAY): take_part,
    (f"{_WIRE}ShardService/EndParts", Role.GATEWAY): end_parts,
    (f"{_WIRE}CustodianService/Evaluate", Role.NODE): evaluate_of_a_node,
    (f"{_WIRE}CustodianService/Evaluate", Role.PARTNER): evaluate_of_a_partner,
    (f"{_WIRE}CustodianService/Evaluate", Role.GATEWAY): evaluate_of_a_gateway,
    (f"{_WIRE}CustodianService/GetQuota", Role.NODE): own_quota,
    (f"{_WIRE}CustodianService/GetQuota", Role.PARTNER): own_quota,
}


def test_every_condition_of_the_grpc_rows_is_tried_here() -> None:
    conditions = {
        (one.name, role)
        for one in METHODS
        if one.is_grpc
        for role, condition in one.may.items()
        if condition is not Condition.NONE
    }
    assert conditions == set(CASES)


@pytest.mark.parametrize(("method", "role"), CASES)
async def test_i8_a_condition_holds_where_its_row_says_so(bench: Bench, method: str, role: Role) -> None:
    await CASES[method, role](bench)
