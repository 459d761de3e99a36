"""An operation from charter to report over mTLS: the real services, ledger and stores on loopback."""

from __future__ import annotations

import asyncio
import dataclasses
import secrets
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from datetime import date
from io import StringIO
from typing import TYPE_CHECKING, Any

import grpc.aio
import pytest
from rich.console import Console

from concordat.clock import ManualClock, SystemClock
from concordat.errors import ConcordatError, ConfigError, IdentityError, RefusedError, UnavailableError
from concordat.identity.names import Role
from concordat.report_view import render_report
from concordat.rpc.client import call, channel
from concordat.rpc.methods import grpc_table
from concordat.rpc.server import ServerSettings, build_server
from concordat.wire.v1 import operations_pb2 as wire
from concordat.wire.v1 import sweep_pb2
from concordat.wire.v1.operations_pb2_grpc import OperationServiceStub, add_OperationServiceServicer_to_server
from concordat.wire.v1.session_pb2 import OperationEvent
from concordat.wire.v1.sweep_pb2_grpc import SweepServiceStub, add_SweepServiceServicer_to_server
from gateway.database import open_engine
from gateway.ledger import Ledger
from gateway.operations import OperationServicer
from gateway.operations_store import OperationStore
from gateway.sweep.context import SweepContext
from gateway.sweep.effects import SweepSettings
from gateway.sweep.service import SweepRunner
from gateway.sweep.streams import SweepServicer
from services.node import operations
from services.node.charter_view import render_charter
from services.node.held import load_operation
from services.node.joining import join_sweep, set_query
from services.node.operations import OperationPlan
from services.node.store.rows import PairRow
from services.node.store.store import Store
from services.node.store.sweep_set import read_sweep_set
from tests.unit.operations.charters import NOW, proposed
from tests.unit.operations.held import Held, submit, tokenise

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator, Sequence
    from pathlib import Path

    from concordat.identity.home import Home
    from gateway.edges import EdgeCandidate

PARTICIPANTS = ("AT", "BE", "CZ")
TODAY = date(2027, 1, 15)
Homes = dict[str, "Home"]

HOLDINGS = {
    "AT": [Held("e164", "+447700900001"), Held("platform", "a.example", 1), Held("account", "x"), Held("url", "u")],
    "BE": [Held("e164", "+447700900001"), Held("platform", "a.example", 2), Held("email", "b@b.example")],
    "CZ": [Held("e164", "+447700900001"), Held("platform", "c.example", 1, 1), Held("iban", "XX00")],
}


class AsyncLedger:
    """The ledger as the hub offers it to sweeps."""

    def __init__(self, ledger: Ledger) -> None:
        self.ledger = ledger
        self.fail = False

    async def live_edges(self, pairs: Sequence[tuple[tuple[str, bytes], tuple[str, bytes]]]) -> list[bytes | None]:
        return await asyncio.to_thread(self.ledger.live_edges, pairs)

    async def open_edges(self, candidates: Sequence[EdgeCandidate]) -> None:
        if self.fail:
            raise UnavailableError("the disk is full")
        await asyncio.to_thread(self.ledger.open_edges, candidates)


@dataclass
class Hub:
    """A gateway that serves operations and sweeps only."""

    port: int
    ledger: AsyncLedger
    runner: SweepRunner
    servicer: OperationServicer
    events: list[tuple[str, int]] = field(default_factory=list)


@asynccontextmanager
async def running(
    homes: Homes, tmp_path: Path, settings: SweepSettings | None = None, *, port: int = 0, folder: Path | None = None
) -> AsyncIterator[Hub]:
    home = homes["g1"]
    engine = open_engine(tmp_path / "gateway.sqlite")
    clock = SystemClock()
    store = OperationStore(engine, manifest=lambda: home.manifest, clock=ManualClock(NOW))
    ledger = AsyncLedger(Ledger(engine, now_ms=lambda: int(NOW * 1000), random_bytes=secrets.token_bytes))
    events: list[tuple[str, int]] = []

    def send_event(party: str, event: OperationEvent) -> None:
        events.append((party.rpartition("/")[2], event.kind))

    context = SweepContext(
        store=store,
        ledger=ledger,
        attached=lambda: {str(homes[name].identity) for name in PARTICIPANTS},
        send_event=send_event,
        identity=str(home.identity),
        key=home.signing_key,
        clock=clock,
        settings=settings or SweepSettings(window_tokens=2, away_s=1.0),
        folder=folder,
        dial=lambda address: channel(address, home=home, server=home.identity),
    )
    runner = SweepRunner(context)
    servicer = OperationServicer(store, sweeps=runner, send_event=send_event, random_bytes=secrets.token_bytes)

    def add(server: grpc.aio.Server) -> None:
        add_OperationServiceServicer_to_server(servicer, server)
        add_SweepServiceServicer_to_server(SweepServicer(runner), server)

    server = build_server(
        ServerSettings(address=f"127.0.0.1:{port}", drain_s=0),
        home=home,
        table=grpc_table(Role.GATEWAY),
        known=home.manifest.knows,
        add=add,
    )
    runner.take_up(store.sweeping())
    await server.start()
    try:
        yield Hub(server.port, ledger, runner, servicer, events)
    finally:
        await runner.stop()
        await server.stop(0)
        engine.dispose()


@asynccontextmanager
async def dialled(hub: Hub, homes: Homes, *names: str) -> AsyncIterator[list[grpc.aio.Channel]]:
    channels = [channel(f"127.0.0.1:{hub.port}", home=homes[name], server=homes["g1"].identity) for name in names]
    try:
        yield channels
    finally:
        for one in channels:
            await one.close()


@pytest.fixture
def stores(homes: Homes) -> Iterator[dict[str, Store]]:
    opened = {name: Store.open(homes[name].path / "store.sqlite") for name in PARTICIPANTS}
    for name, store in opened.items():
        submit(store, "action-day", HOLDINGS[name])
        tokenise(store)
    yield opened
    for store in opened.values():
        store.close()


PLAN = OperationPlan(
    operation="action-day",
    title="Action [bold]day",
    participants=PARTICIPANTS,
    purpose="prevention",
    namespaces=("account", "e164", "email", "platform", "url"),
    starts_at=int(NOW) - 60,
    ends_at=int(NOW) + 3600,
    justification_hash=bytes(32),
)


async def agree(homes: Homes, channels: Sequence[grpc.aio.Channel]) -> None:
    await operations.open_operation(homes["AT"], channels[0], PLAN, random_bytes=secrets.token_bytes)
    for name, one in zip(("BE", "CZ"), channels[1:], strict=True):
        proposal = await operations.fetch_operation(homes[name], one, "action-day")
        await operations.sign_operation(homes[name], one, proposal)


def text(renderable: object, width: int = 120) -> str:
    console = Console(file=StringIO(), width=width)
    console.print(renderable)
    assert isinstance(console.file, StringIO)
    return console.file.getvalue()


async def test_an_operation_runs_from_charter_to_report(homes: Homes, stores: dict[str, Store], tmp_path: Path) -> None:
    async with running(homes, tmp_path) as hub, dialled(hub, homes, *PARTICIPANTS) as channels:
        await agree(homes, channels)
        sweep_id = await operations.start_sweep(channels[0], "action-day")
        done = await asyncio.gather(
            *(
                join_sweep(homes[name], one, stores[name], "action-day", sweep_id, today=TODAY)
                for name, one in zip(PARTICIPANTS, channels, strict=True)
            )
        )
        assert [(one.dropped, one.report_version) for one in done] == [("", 1)] * 3
        report = await operations.fetch_report(homes["CZ"], channels[2], "action-day")
        listed = await operations.list_operations(channels[1])
        edges = {name: hub.ledger.ledger.notices_above(str(homes[name].identity), 0, limit=10) for name in PARTICIPANTS}
        kinds = [kind for party, kind in hub.events if party == "BE"]
    assert report["totals"] == {
        "people_usernames": 1,
        "platforms": 2,
        "communication_devices": 2,
        "platforms_suspected": 1,
        "platforms_identified": 1,
        "platforms_csa": 1,
    }
    assert report["per_namespace"] == {"account": 1, "e164": 1, "email": 1, "platform": 2, "url": 1}
    assert report["uncounted"] == ["url"]
    assert report["matches"] == 2
    assert [(one["size"], one["state"]) for one in report["participants"]] == [
        (4, "included"),
        (3, "included"),
        (2, "included"),
    ]
    assert {name: len(notices) for name, notices in edges.items()} == {"AT": 3, "BE": 3, "CZ": 2}
    assert [one.state for one in listed] == [wire.OPERATION_STATE_REPORTED]
    assert kinds == [
        OperationEvent.KIND_PROPOSED,
        OperationEvent.KIND_ACTIVE,
        OperationEvent.KIND_SWEEP,
        OperationEvent.KIND_REPORTED,
    ]
    _check_verified(homes, stores, sweep_id)
    shown = text(render_report(report))
    assert "Action [bold]day" in shown
    assert "Also compared, in no row above: url 1" in shown
    assert "3 of 3 participants" in shown


def _check_verified(homes: Homes, stores: dict[str, Store], sweep_id: bytes) -> None:
    own = {}
    for name in ("AT", "BE"):
        with stores[name].read() as db:
            own[name] = db.execute("SELECT reference FROM value WHERE namespace = 'platform'").fetchone()[0]
    pair = PairRow(own["AT"], str(homes["BE"].identity), own["BE"], sweep_id)
    assert stores["AT"].has_verified_pair(pair)
    assert not stores["AT"].has_verified_pair(pair._replace(sweep_id=bytes(16)))


async def test_the_gateways_disk_holds_references_and_no_token(
    homes: Homes, stores: dict[str, Store], tmp_path: Path
) -> None:
    """I1, I2: neither label, match secret nor sweep token is in the database or its log."""
    async with running(homes, tmp_path) as hub, dialled(hub, homes, *PARTICIPANTS) as channels:
        await agree(homes, channels)
        sweep_id = await operations.start_sweep(channels[0], "action-day")
        await asyncio.gather(
            *(
                join_sweep(homes[name], one, stores[name], "action-day", sweep_id, today=TODAY)
                for name, one in zip(PARTICIPANTS, channels, strict=True)
            )
        )
        # While the gateway runs, so that the write-ahead log is there too.
        disk = _database(tmp_path)
    held = load_operation(homes["AT"].path, "action-day")
    with stores["AT"].read() as db:
        own = read_sweep_set(db, set_query(homes["AT"], held.charter, today=TODAY))
        shared = db.execute("SELECT reference FROM value WHERE namespace = 'e164'").fetchone()[0]
    assert shared in disk
    for packed, width in ((own.labels, 16), (own.secrets, 32), (held.key.apply(own.labels), 16)):
        entries = [packed[at : at + width] for at in range(0, len(packed), width)]
        assert len(entries) == 4
        assert not any(one in disk or one.hex().encode() in disk for one in entries)


def _database(folder: Path) -> bytes:
    return b"|".join(path.read_bytes() for path in sorted(folder.glob("gateway.sqlite*")))


async def test_a_second_sweep_after_a_failed_one_makes_the_report(
    homes: Homes, stores: dict[str, Store], tmp_path: Path
) -> None:
    async with running(homes, tmp_path) as hub, dialled(hub, homes, *PARTICIPANTS) as channels:
        await agree(homes, channels)

        async def sweep() -> tuple[bytes, list[sweep_pb2.SweepDone]]:
            sweep_id = await operations.start_sweep(channels[0], "action-day")
            return sweep_id, await asyncio.gather(
                *(
                    join_sweep(homes[name], one, stores[name], "action-day", sweep_id, today=TODAY)
                    for name, one in zip(PARTICIPANTS, channels, strict=True)
                )
            )

        hub.ledger.fail = True
        first, failed = await sweep()
        assert {one.dropped for one in failed} == {"unavailable"}
        with pytest.raises(RefusedError):
            await operations.fetch_report(homes["AT"], channels[0], "action-day")
        hub.ledger.fail = False
        second, done = await sweep()
        assert {one.dropped for one in done} == {""}
        assert first != second


async def test_starting_a_running_sweep_again_returns_it(homes: Homes, stores: object, tmp_path: Path) -> None:
    async with running(homes, tmp_path) as hub, dialled(hub, homes, *PARTICIPANTS) as channels:
        await agree(homes, channels)
        first = await operations.start_sweep(channels[0], "action-day")
        assert first == await operations.start_sweep(channels[0], "action-day")
        with pytest.raises(RefusedError):
            await operations.start_sweep(channels[1], "action-day")
        events = await hub.servicer.events_for(str(homes["CZ"].identity))
        assert [(one.kind, one.sweep_id) for one in events] == [(OperationEvent.KIND_SWEEP, first)]


async def test_a_participant_whose_stream_breaks_is_named_and_the_others_finish(
    homes: Homes, stores: dict[str, Store], tmp_path: Path
) -> None:
    async with running(homes, tmp_path) as hub, dialled(hub, homes, *PARTICIPANTS) as channels:
        await agree(homes, channels)
        sweep_id = await operations.start_sweep(channels[0], "action-day")
        stream = SweepServiceStub(channels[2]).Sweep()
        join = sweep_pb2.SweepJoin(operation="action-day", sweep_id=sweep_id, set_root=bytes(32), salt=bytes(32))
        await stream.write(sweep_pb2.SweepUp(join=join))
        others = [
            asyncio.create_task(join_sweep(homes[name], one, stores[name], "action-day", sweep_id, today=TODAY))
            for name, one in zip(PARTICIPANTS[:2], channels[:2], strict=True)
        ]
        await stream.read()
        stream.cancel()
        await asyncio.gather(*others)
        report = await operations.fetch_report(homes["AT"], channels[0], "action-day")
    assert [one["state"] for one in report["participants"]][:2] == ["included", "included"]
    assert report["participants"][2]["state"].startswith("dropped:")
    assert report["totals"]["platforms"] == 1
    assert "not in them: CZ" in text(render_report(report))


async def test_an_absent_participant_is_in_the_coverage(homes: Homes, stores: dict[str, Store], tmp_path: Path) -> None:
    settings = SweepSettings(join_s=0.3)
    async with running(homes, tmp_path, settings) as hub, dialled(hub, homes, *PARTICIPANTS) as channels:
        await agree(homes, channels)
        sweep_id = await operations.start_sweep(channels[0], "action-day")
        await asyncio.gather(
            *(
                join_sweep(homes[name], one, stores[name], "action-day", sweep_id, today=TODAY)
                for name, one in zip(PARTICIPANTS[:2], channels[:2], strict=True)
            )
        )
        report = await operations.fetch_report(homes["AT"], channels[0], "action-day")
    assert [one["state"] for one in report["participants"]] == ["included", "included", "absent"]
    assert "not in them: CZ (absent)" in text(render_report(report))


async def test_a_stranger_sees_the_same_as_for_an_unknown_operation(homes: Homes, tmp_path: Path) -> None:
    async with running(homes, tmp_path) as hub, dialled(hub, homes, *PARTICIPANTS, "DE") as channels:
        await agree(homes, channels[:3])
        sweep_id = await operations.start_sweep(channels[0], "action-day")
        seen = [await _refusals(channels[3], name, sweep_id) for name in ("action-day", "no-such-day")]
    assert seen[0] == seen[1]
    assert len(set(seen[0])) == 1


async def _refusals(stranger: grpc.aio.Channel, name: str, sweep_id: bytes) -> list[tuple[object, ...]]:
    stub = OperationServiceStub(stranger)
    requests: list[tuple[Any, Any]] = [
        (stub.GetOperation, wire.GetOperationRequest(operation=name)),
        (stub.Countersign, wire.CountersignRequest(operation=name, signature=bytes(64))),
        (stub.StartSweep, wire.StartSweepRequest(operation=name)),
        (stub.GetReport, wire.GetReportRequest(operation=name)),
    ]
    seen: list[tuple[object, ...]] = []
    for method, request in requests:
        with pytest.raises(grpc.aio.AioRpcError) as refusal:
            await method(request)
        seen.append((refusal.value.code(), refusal.value.details(), tuple(refusal.value.trailing_metadata())))
    stream = SweepServiceStub(stranger).Sweep()
    join = sweep_pb2.SweepJoin(operation=name, sweep_id=sweep_id)
    await stream.write(sweep_pb2.SweepUp(join=join))
    with pytest.raises(grpc.aio.AioRpcError) as refusal:
        await stream.read()
    seen.append((refusal.value.code(), refusal.value.details(), tuple(refusal.value.trailing_metadata())))
    return seen


async def test_a_node_that_did_not_sign_does_not_take_part(
    homes: Homes, stores: dict[str, Store], tmp_path: Path
) -> None:
    async with running(homes, tmp_path) as hub, dialled(hub, homes, "BE") as (one,):
        with pytest.raises(ConfigError):
            await join_sweep(homes["BE"], one, stores["BE"], "action-day", bytes(16), today=TODAY)
        assert hub.runner.running("action-day") is None


async def test_a_node_takes_no_part_before_all_have_signed_whatever_the_gateway_says(
    homes: Homes, stores: dict[str, Store], tmp_path: Path
) -> None:
    async with running(homes, tmp_path) as hub, dialled(hub, homes, "AT", "BE") as (opener, other):
        await operations.open_operation(homes["AT"], opener, PLAN, random_bytes=secrets.token_bytes)
        proposal = await operations.fetch_operation(homes["BE"], other, "action-day")
        await operations.sign_operation(homes["BE"], other, proposal)
        with pytest.raises(RefusedError, match=r"not signed by .*/node/CZ"):
            await join_sweep(homes["BE"], other, stores["BE"], "action-day", bytes(16), today=TODAY)


async def test_an_operation_opened_again_is_refused_and_its_first_key_stays(homes: Homes, tmp_path: Path) -> None:
    async with running(homes, tmp_path) as hub, dialled(hub, homes, *PARTICIPANTS) as channels:
        await agree(homes, channels)
        key = (homes["AT"].path / "operations" / "action-day.key").read_bytes()
        with pytest.raises(RefusedError):
            await operations.open_operation(homes["AT"], channels[0], PLAN, random_bytes=secrets.token_bytes)
    assert key == (homes["AT"].path / "operations" / "action-day.key").read_bytes()
    assert (homes["AT"].path / "operations" / "action-day.key").stat().st_mode & 0o777 == 0o600
    held = {name: load_operation(homes[name].path, "action-day") for name in PARTICIPANTS}
    assert len({one.key.hash for one in held.values()}) == 1


async def test_a_charter_that_was_signed_is_not_replaced_by_another(homes: Homes, tmp_path: Path) -> None:
    async with running(homes, tmp_path) as hub, dialled(hub, homes, *PARTICIPANTS) as channels:
        await agree(homes, channels)
        proposal = await operations.fetch_operation(homes["BE"], channels[1], "action-day")
        shown, narrow = text(render_charter(proposal)), text(render_charter(proposal), 60)
        other = dataclasses.replace(proposal.held, raw=proposed(homes).raw)
        with pytest.raises(IdentityError):
            await operations.sign_operation(homes["BE"], channels[1], dataclasses.replace(proposal, held=other))
    assert "AT, BE, CZ" in shown
    assert proposal.held.hash.hex() in shown
    # Whoever compares it at a narrow terminal needs all of it, too.
    cells = [line.split("│")[2].strip() for line in narrow.splitlines() if line.count("│") == 3]
    assert proposal.held.hash.hex() in "".join(cells)
    assert proposal.signed == tuple(sorted(str(homes[name].identity) for name in PARTICIPANTS))


@pytest.mark.parametrize("name", ["../x", "", ".hidden", "a/b"])
def test_an_operations_id_never_leaves_its_folder(homes: Homes, name: str) -> None:
    with pytest.raises(ConcordatError):
        load_operation(homes["AT"].path, name)


async def test_a_report_that_no_gateway_signed_is_refused(
    homes: Homes, stores: dict[str, Store], tmp_path: Path
) -> None:
    async with running(homes, tmp_path) as hub, dialled(hub, homes, *PARTICIPANTS) as channels:
        await agree(homes, channels)
        sweep_id = await operations.start_sweep(channels[0], "action-day")
        await asyncio.gather(
            *(
                join_sweep(homes[name], one, stores[name], "action-day", sweep_id, today=TODAY)
                for name, one in zip(PARTICIPANTS, channels, strict=True)
            )
        )
        stub, request = OperationServiceStub(channels[0]), wire.GetReportRequest(operation="action-day")
        reply = await call(stub.GetReport, request, party="gateway", timeout_s=10)
    at = homes["AT"]
    assert operations.read_report(at, "action-day", reply.report, reply.signature)["matches"] == 2
    forged = reply.report.replace(b'"matches":2', b'"matches":3')
    assert forged != reply.report
    for raw, signature in ((forged, reply.signature), (reply.report, at.signing_key.sign("report", reply.report))):
        with pytest.raises(IdentityError):
            operations.read_report(at, "action-day", raw, signature)
    with pytest.raises(IdentityError):
        operations.read_report(at, "another-day", reply.report, reply.signature)
    with suppress(OSError):
        (at.path / "operations" / "action-day.charter").write_bytes(proposed(homes).raw)
    with pytest.raises(ConcordatError):
        operations.read_report(at, "action-day", reply.report, reply.signature)
