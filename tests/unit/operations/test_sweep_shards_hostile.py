"""What lies at or to a shard, and who may not speak to one (I8)."""

from __future__ import annotations

import asyncio
from base64 import b64encode
from functools import partial
from typing import TYPE_CHECKING

import grpc
import pytest
from typing_extensions import override

from concordat.clock import SystemClock
from concordat.errors import ConcordatError, IdentityError, ProtocolError, UnavailableError
from concordat.identity.federation import init_federation
from concordat.identity.home import load_home
from concordat.identity.names import Role
from concordat.identity.plan import FederationPlan, NodePlan
from concordat.protocol.sweep_frames import MIN_PREFIX_BITS
from concordat.rpc.client import call, channel, messages
from concordat.rpc.methods import grpc_table
from concordat.rpc.server import ServerSettings, build_server
from concordat.wire.v1 import shard_pb2, sweep_pb2
from concordat.wire.v1.shard_pb2_grpc import ShardServiceStub
from concordat.wire.v1.sweep_pb2_grpc import SweepServiceStub
from gateway.sweep.checkpoint import MemberState, SweepState
from services.node import operations
from services.node.joining import dial_shard, is_of
from services.node.sweep import SweepParty
from services.node.sweep_windows import accepted_shards
from tests.unit.operations.shard_world import (
    alone,
    filled,
    free_ports,
    honest,
    otherwise,
    shards,
    sharing,
    swept,
    word,
)
from tests.unit.operations.test_operation_flow import PARTICIPANTS, dialled, running, stores
from tests.unit.operations.test_sweep_goes_on import party_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    import grpc.aio

    from concordat.identity.home import Home
    from services.node.store.store import Store
    from services.node.sweep import Step
    from tests.unit.operations.test_operation_flow import Homes

__all__ = ["alone", "filled", "stores"]


class Liar(SweepParty):
    """Leaves a token out at one shard, which by itself cannot see that."""

    @override
    def receive(self, frame: sweep_pb2.SweepDown) -> Step:
        step = super().receive(frame)
        for shard in step.shards[1:2]:
            rows = self._rows
            shard._rows = type(rows)(rows.high[:-20], rows.answer[:-20], rows.secret[:-20])
        return step


class Broken(SweepParty):
    """Sends one shard what is no window."""

    @override
    def receive(self, frame: sweep_pb2.SweepDown) -> Step:
        step = super().receive(frame)
        for shard in step.shards[1:2]:
            shard.receive = _no_window  # type: ignore[method-assign] # what cheats
        return step


def _no_window(frame: sweep_pb2.SweepDown) -> list[sweep_pb2.SweepUp]:
    return [sweep_pb2.SweepUp(window=sweep_pb2.SweepWindow(window=4000 + len(frame.WhichOneof("frame") or "")))]


@pytest.mark.parametrize("kind", [Liar, Broken])
async def test_who_lies_at_one_shard_is_named_and_dropped_from_all(
    homes: Homes, filled: dict[str, Store], tmp_path: Path, kind: type[SweepParty]
) -> None:
    async def lie(
        homes: Homes, held_by: dict[str, Store], _name: str, to_hub: grpc.aio.Channel, sweep_id: bytes
    ) -> sweep_pb2.SweepDone:
        party = party_of(homes, held_by, "CZ", sweep_id)
        party.__class__ = kind
        return await otherwise(homes, held_by, to_hub, party)

    ports = free_ports(2)
    async with shards(homes, tmp_path / "shards", ports):
        found = await swept(homes, filled, tmp_path, sharing(ports), lie)
    assert found["dropped"] == ["", "", "protocol_violation"]
    states = [one["state"] for one in found["report"]["participants"]]
    assert states == ["included", "included", "dropped:protocol_violation"]
    # The values that AT and BE share, and none of CZ's.
    assert found["report"]["matches"] == 32
    assert found["notices"]["CZ"] == []


async def _once(frame: sweep_pb2.SweepUp) -> AsyncIterator[sweep_pb2.SweepUp]:
    yield frame
    await asyncio.Event().wait()


async def test_a_shard_serves_participants_of_its_part_and_its_own_gateway_alone(
    homes: Homes, filled: dict[str, Store], tmp_path: Path
) -> None:
    (port,) = free_ports(1)
    tried: dict[str, str] = {}

    async def code(opened: grpc.aio.Channel, frame: sweep_pb2.SweepUp) -> str:
        try:
            async with opened:
                async for _ in messages(SweepServiceStub(opened).Sweep(_once(frame)), party="shard"):
                    return "answered"
        except ConcordatError as error:
            return error.code
        return "ended"

    async def part_code(opened: grpc.aio.Channel, sweep_id: bytes) -> str:
        try:
            async with opened:
                request = shard_pb2.EndPartsRequest(sweep_id=sweep_id)
                await call(ShardServiceStub(opened).EndParts, request, party="shard", timeout_s=5)
        except ConcordatError as error:
            return error.code
        return "answered"

    async def curious(
        homes: Homes, held_by: dict[str, Store], name: str, to_hub: grpc.aio.Channel, sweep_id: bytes
    ) -> sweep_pb2.SweepDone:
        party, seen, answered = party_of(homes, held_by, name, sweep_id), asyncio.Event(), asyncio.Event()
        (dead,) = free_ports(1)

        def dial(address: str) -> grpc.aio.Channel:
            """Stay away until the part is there and the others have been answered."""
            seen.set()
            return dial_shard(homes[name], address if answered.is_set() else f"localhost:{dead}")

        async def ask() -> None:
            await seen.wait()
            address, gateway = f"localhost:{port}", homes["g1"].identity
            join = sweep_pb2.SweepJoin(operation="action-day", sweep_id=sweep_id)
            other = sweep_pb2.SweepJoin(operation="action-day", sweep_id=bytes(16))
            dials = partial(channel, address, server=gateway)
            tried["no participant"] = await code(dials(home=homes["DE"]), sweep_pb2.SweepUp(join=join))
            tried["another sweep"] = await code(dials(home=homes["CZ"]), sweep_pb2.SweepUp(join=other))
            tried["another frame"] = await code(
                dials(home=homes["CZ"]), sweep_pb2.SweepUp(leaving=sweep_pb2.SweepLeaving())
            )
            tried["a part"] = await part_code(dials(home=homes["CZ"]), sweep_id)
            answered.set()

        asked = asyncio.create_task(ask())
        done = await otherwise(homes, held_by, to_hub, party, dial)
        await asked
        return done

    async with shards(homes, tmp_path / "shards", [port]):
        found = await swept(homes, filled, tmp_path, sharing([port]), curious)
    assert tried == {
        "no participant": "operation_unknown",
        "another sweep": "operation_unknown",
        "another frame": "operation_unknown",
        "a part": "refused",
    }
    assert found["dropped"] == ["", "", ""]


@pytest.fixture(scope="module")
def stranger(tmp_path_factory: pytest.TempPathFactory) -> Home:
    """Return a gateway of the same name, of another federation of the same name."""
    directory = tmp_path_factory.mktemp("strangers") / "federation"
    plan = FederationPlan(name="ops.example", nodes=tuple(NodePlan.parse(name) for name in PARTICIPANTS))
    init_federation(directory, plan, unsafe_dealer=True)
    return load_home(directory / "gateway" / "g1", clock=SystemClock())


async def test_a_shard_refuses_a_certificate_of_another_root(homes: Homes, tmp_path: Path, stranger: Home) -> None:
    (port,) = free_ports(1)
    end = shard_pb2.EndPartsRequest(sweep_id=bytes(16))
    async with shards(homes, tmp_path, [port]):
        async with channel(f"localhost:{port}", home=homes["g1"], server=homes["g1"].identity) as own:
            await call(ShardServiceStub(own).EndParts, end, party="shard", timeout_s=5)
        async with channel(f"localhost:{port}", home=stranger, server=stranger.identity) as foreign:
            with pytest.raises((IdentityError, UnavailableError)):
                await call(ShardServiceStub(foreign).EndParts, end, party="shard", timeout_s=5)


@pytest.mark.parametrize("impostor", ["BE", "stranger"])
async def test_who_listens_at_a_shards_address_without_the_gateways_identity_gets_nothing(
    homes: Homes, filled: dict[str, Store], tmp_path: Path, stranger: Home, impostor: str
) -> None:
    """The sweep fails by name, and no node dials there: its gateway never had an answer."""
    (port,) = free_ports(1)
    home = stranger if impostor == "stranger" else homes[impostor]
    settings = ServerSettings(address=f"127.0.0.1:{port}", drain_s=0)
    server = build_server(settings, home=home, table=grpc_table(Role.GATEWAY), known=lambda _: True, add=lambda _: None)
    await server.start()
    try:
        async with (
            running(homes, homes["g1"].path, sharing([port])) as hub,
            dialled(hub, homes, *PARTICIPANTS) as lines,
        ):
            sweep_id = await operations.start_sweep(lines[0], "action-day")
            ways = [honest(homes, filled, name, one, sweep_id) for name, one in zip(PARTICIPANTS, lines, strict=True)]
            done = await asyncio.gather(*ways, return_exceptions=True)
            assert hub.runner.running("action-day") is None
        async with dial_shard(homes["CZ"], f"localhost:{port}") as opened:
            with pytest.raises(IdentityError):
                async for _ in messages(SweepServiceStub(opened).Sweep(_once(sweep_pb2.SweepUp())), party="shard"):
                    pass
    finally:
        await server.stop(0)
    assert [word(one) for one in done] == ["bad_identity"] * 3


def test_a_node_dials_its_gateways_host_or_domain_and_nothing_else() -> None:
    own = "gateway.concordat-hub.svc:7400"
    good = (
        "gateway.concordat-hub.svc:7410",
        "sweep-shard-0.sweep-shards.concordat-hub.svc:7410",
        "GATEWAY.concordat-hub.svc:1",
    )
    bad = (
        "localhost:5432",
        "db.other.svc:5432",
        "concordat-hub.svc:1",
        "evilconcordat-hub.svc:1",
        "10.0.0.1:22",
        "[::1]:22",
    )
    assert [is_of(own, one) for one in (*good, *bad)] == [True] * len(good) + [False] * len(bad)
    assert is_of("localhost:7400", "localhost:7410")
    assert not is_of("hub.eu:7400", "elsewhere.eu:7410")
    assert not is_of("10.1.2.3:7400", "9.1.2.3:7410")
    assert not is_of("[fd00::1.2.3.4]:7400", "x.2.3.4]:7410")


def test_a_node_refuses_to_dial_elsewhere(homes: Homes) -> None:
    with pytest.raises(ProtocolError):
        dial_shard(homes["CZ"], "db.internal:5432")


@pytest.mark.parametrize(
    "parts",
    [
        [("h:1", 0, 8)],
        [("h:1", 0, 8), ("h:2", 9, 16)],
        [("h:1", 0, 9), ("h:2", 8, 16)],
        [("h:1", 8, 16), ("h:2", 0, 8)],
        [("h:1", 0, 16), ("h:2", 16, 16)],
        [("h:1", 0, 17)],
        [("h", 0, 16)],
        [("h:1/x", 0, 16)],
        [("h:70000", 0, 16)],
        [(f"h:{at + 1}", at, at + 1) for at in range(65)],
    ],
)
def test_a_plan_whose_shards_do_not_share_the_windows_is_refused(parts: list[tuple[str, int, int]]) -> None:
    bits = 4 if len(parts) < 65 else 12
    shards_ = [sweep_pb2.SweepShard(address=address, first=first, end=end) for address, first, end in parts]
    with pytest.raises(ProtocolError):
        accepted_shards(sweep_pb2.SweepPlan(prefix_bits=32, window_bits=bits, shards=shards_))


async def test_a_part_that_is_given_up_ends_the_call_that_asked_for_it(homes: Homes, tmp_path: Path) -> None:
    (port,) = free_ports(1)
    order = SweepState(
        sweep_id=b64encode(bytes(16)),
        operation="op",
        prefix_bits=MIN_PREFIX_BITS,
        window_bits=0,
        credits=1,
        end=1,
        window=0,
        journal_rows=0,
        members=(),
        dropped={},
        participants=tuple(str(homes[name].identity) for name in PARTICIPANTS),
    )
    members = tuple(
        MemberState(
            party=party,
            size=0,
            counts={},
            set_root=b64encode(bytes(32)),
            salt=b64encode(bytes(32)),
            roots=b"",
            rows=0,
            left={},
        )
        for party in order.participants
    )
    order = order.model_copy(update={"members": members})
    async with (
        shards(homes, tmp_path, [port]),
        channel(f"localhost:{port}", home=homes["g1"], server=homes["g1"].identity) as own,
        asyncio.timeout(10),
    ):
        stub = ShardServiceStub(own)
        stream = stub.TakePart()
        await stream.write(shard_pb2.TakePartRequest(order=order.model_dump_json().encode()))
        first = await stream.read()
        assert isinstance(first, shard_pb2.PartNews)
        assert first.HasField("begun")
        await call(stub.EndParts, shard_pb2.EndPartsRequest(sweep_id=bytes(16)), party="shard", timeout_s=5)
        told = []
        while isinstance(news := await stream.read(), shard_pb2.PartNews):
            told.append(news.WhichOneof("news"))
    assert told[-1] == "failed"
