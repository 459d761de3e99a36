"""The gateway behind its server: real streams over mTLS, threads and timers."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pytest

from concordat.clock import SystemClock
from concordat.errors import ConcordatError, RefusedError
from concordat.identity.envelope import Envelope
from concordat.identity.home import load_home
from concordat.identity.signed_manifest import verify_manifest
from concordat.rpc.client import call, channel, translate
from concordat.wire.v1 import registry_pb2, session_pb2
from concordat.wire.v1.registry_pb2_grpc import RegistryServiceStub
from concordat.wire.v1.session_pb2_grpc import SessionServiceStub
from gateway.config import GatewaySettings
from gateway.edges import EdgeCandidate
from gateway.service import open_foundation, open_gateway
from tests.unit.gateway.world import Federation, Node, told_once

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

    import grpc.aio

    from concordat.clock import ManualClock
    from concordat.identity.home import Home
    from gateway.hub import Hub

PATIENCE_S = 20.0


@dataclass
class RemoteLink:
    """A session over gRPC with the face of the small world's link."""

    node: Node
    frames: asyncio.Queue[session_pb2.NodeFrame] = field(default_factory=asyncio.Queue)
    seen: list[session_pb2.HubFrame] = field(default_factory=list)
    mute_barrier: bool = False
    error: ConcordatError | None = None

    def send(self, **content: Any) -> None:
        """Queue one frame for the hub."""
        self.frames.put_nowait(session_pb2.NodeFrame(**content))

    async def run(self, to: grpc.aio.Channel) -> None:
        """Carry frames both ways until the hub ends the session."""
        stream = SessionServiceStub(to).Attach(self._outgoing())
        try:
            async for frame in stream:
                self.node.take(self, frame)  # type: ignore[arg-type]  # the same face
        except Exception as error:  # noqa: BLE001 -- told apart below
            self.error = translate(error, "gateway")  # type: ignore[arg-type]

    async def _outgoing(self) -> AsyncIterator[session_pb2.NodeFrame]:
        while True:
            yield await self.frames.get()


def kinds(link: RemoteLink) -> list[str | None]:
    """Return the kinds of the frames that came, in order."""
    return [frame.WhichOneof("frame") for frame in link.seen]


async def until(condition: Callable[[], bool]) -> None:
    """Wait until something holds."""
    async with asyncio.timeout(PATIENCE_S):
        while not condition():  # noqa: ASYNC110 -- what is waited for has no event
            await asyncio.sleep(0.01)


def load(folder: Path, name: str) -> Home:
    return load_home(folder / name, clock=SystemClock())


@asynccontextmanager
async def serving(folder: Path, ledger: Path) -> AsyncIterator[str]:
    """Run a gateway; give its address."""
    async with serving_hub(folder, ledger) as (address, _):
        yield address


@asynccontextmanager
async def serving_hub(folder: Path, ledger: Path) -> AsyncIterator[tuple[str, Hub]]:
    """Run a gateway; give its address and its hub."""
    home = load(folder, "gateway/g1")
    settings = GatewaySettings(address="127.0.0.1:0", ledger=str(ledger))
    with open_foundation(home, settings, clock=SystemClock()) as foundation:
        async with open_gateway(foundation, settings.server(home)) as gateway:
            await gateway.server.start()
            try:
                yield f"127.0.0.1:{gateway.server.port}", gateway.hub
            finally:
                await gateway.hub.stop()
                await gateway.server.stop(None)


@asynccontextmanager
async def attached(
    folder: Path, address: str, name: str, *values: str, tokens: int = 0
) -> AsyncIterator[tuple[Node, RemoteLink]]:
    """Attach a node over gRPC with stored values, which declares so many tokens."""
    home = load(folder, f"node/{name}")
    federation = Federation(home.manifest, {name: home.signing_key})
    clock: ManualClock = SystemClock()  # type: ignore[assignment]  # a clock is a clock
    node = Node(name, federation, clock)
    node.keep(*values)
    link = RemoteLink(node)
    async with channel(address, home=home, server=home.manifest.gateways[0].spiffe) as to:
        task = asyncio.create_task(link.run(to))
        manifest = home.manifest
        hello = session_pb2.Hello(
            federation=manifest.federation,
            manifest_hash=manifest.hash,
            incarnation=b"i" * 16,
            epochs=list(manifest.live_epochs),
            notice_cursor=node.cursor,
            tokens=tokens,
        )
        link.send(hello=hello)
        await until(lambda: bool(link.seen) or task.done())
        node.log2_slots = link.seen[0].welcome.plane_log2_slots if link.seen else 0
        node.snapshot(link)  # type: ignore[arg-type]
        await until(lambda: any(f.WhichOneof("frame") == "snapshot_installed" for f in link.seen) or task.done())
        try:
            yield node, link
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


async def test_a_check_over_real_streams_tells_both_and_brings_a_certificate(
    federation_folder: Path, tmp_path: Path
) -> None:
    async with (
        serving(federation_folder, tmp_path / "ledger.db") as address,
        attached(federation_folder, address, "DE", "x") as (de, _),
        attached(federation_folder, address, "NL", "x") as (nl, link),
    ):
        check_id = nl.check("x", link=link)  # type: ignore[arg-type]
        await until(lambda: told_once(nl, de))
        await until(lambda: check_id in nl.certificates)
        assert nl.states(check_id)["DE"] == "covered"


async def test_planes_grow_while_the_hub_serves(federation_folder: Path, tmp_path: Path) -> None:
    """Growth and a large plane take many steps of the loop, and what was published before is found after it (I3)."""
    async with (
        serving_hub(federation_folder, tmp_path / "ledger.db") as (address, hub),
        attached(federation_folder, address, "DE", "x") as (de, de_link),
        attached(federation_folder, address, "NL", "x", tokens=600_000) as (nl, link),
    ):
        assert (de.log2_slots, nl.log2_slots) == (21, 25)
        de.publish("y", to=[de_link])  # type: ignore[list-item]  # as below
        states = list[str]()
        # Whoever is late on a busy machine is asked again, as a node would.
        while "covered" not in states and len(states) < 10:
            check_id = nl.check(*nl.keep("x", "y"), link=link)  # type: ignore[arg-type]
            await until(lambda one=check_id: one in nl.certificates and len(nl.told) == 2)  # type: ignore[misc]
            states.append(nl.states(check_id)["DE"])
        assert states[-1] == "covered"
        assert not hub._exchange.busy


async def test_a_newer_session_ends_the_older_one_with_its_code(federation_folder: Path, tmp_path: Path) -> None:
    async with (
        serving(federation_folder, tmp_path / "ledger.db") as address,
        attached(federation_folder, address, "DE") as (_, old),
        attached(federation_folder, address, "DE"),
    ):
        await until(lambda: old.error is not None)
        assert old.error is not None
        assert old.error.code == "session_replaced"


async def test_notices_survive_a_restart_of_the_gateway(federation_folder: Path, tmp_path: Path) -> None:
    ledger = tmp_path / "ledger.db"
    async with (
        serving(federation_folder, ledger) as address,
        attached(federation_folder, address, "DE", "x") as (de, _),
        attached(federation_folder, address, "NL", "x") as (nl, link),
    ):
        nl.check("x", link=link)  # type: ignore[arg-type]
        await until(lambda: told_once(nl, de))
    async with serving(federation_folder, ledger) as address, attached(federation_folder, address, "DE") as (again, _):
        # A node that lost its disk reads its list from the start.
        await until(lambda: again.cursor == 1)
        assert again.told == de.told


async def test_a_sweep_opens_edges_and_sends_events_through_the_hub(federation_folder: Path, tmp_path: Path) -> None:
    async with (
        serving_hub(federation_folder, tmp_path / "ledger.db") as (address, hub),
        attached(federation_folder, address, "DE", "x") as (de, de_link),
        attached(federation_folder, address, "NL", "x") as (nl, _),
    ):
        assert hub.attached() == [de.id, nl.id]
        ends = ((de.id, de.values["x"]), (nl.id, nl.values["x"]))
        assert await hub.live_edges([ends]) == [None]
        candidate = EdgeCandidate(
            party_a=de.id,
            reference_a=de.values["x"],
            party_b=nl.id,
            reference_b=nl.values["x"],
            namespace=1,
            told_a=True,
            told_b=True,
            sweep_id=b"s" * 16,
        )
        await hub.open_edges([candidate])
        await hub.open_edges([candidate])
        (edge,) = await hub.live_edges([ends])
        await until(lambda: told_once(nl, de))
        assert [told.edge_id for told in nl.told] == [edge]
        event = session_pb2.OperationEvent(operation="op", kind=session_pb2.OperationEvent.KIND_REPORTED)
        hub.send_event(de.id, event)
        hub.send_event("spiffe://test.example/node/FR", event)
        await until(lambda: "operation_event" in kinds(de_link))


async def test_a_gateway_that_stops_says_so(federation_folder: Path, tmp_path: Path) -> None:
    async with (
        serving_hub(federation_folder, tmp_path / "ledger.db") as (address, hub),
        attached(federation_folder, address, "DE") as (_, link),
    ):
        await hub.stop()
        await until(lambda: link.error is not None)
        assert link.error is not None
        assert link.error.code == "stopping"


async def test_a_party_that_is_no_node_may_not_attach(federation_folder: Path, tmp_path: Path) -> None:
    async with serving(federation_folder, tmp_path / "ledger.db") as address:
        home = load(federation_folder, "custodian/c1")
        async with channel(address, home=home, server=home.manifest.gateways[0].spiffe) as to:
            stream = SessionServiceStub(to).Attach(iter(()))
            with pytest.raises(Exception, match="Not permitted") as caught:
                async for _ in stream:
                    pass
            assert isinstance(translate(caught.value, "gateway"), RefusedError)  # type: ignore[arg-type]


async def test_every_party_reads_the_signed_manifest(federation_folder: Path, tmp_path: Path) -> None:
    async with serving(federation_folder, tmp_path / "ledger.db") as address:
        home = load(federation_folder, "custodian/c1")
        async with channel(address, home=home, server=home.manifest.gateways[0].spiffe) as to:
            stub = RegistryServiceStub(to)
            reply = await call(
                stub.GetManifest, registry_pb2.GetManifestRequest(), party="gateway", timeout_s=PATIENCE_S
            )
        assert verify_manifest(Envelope.from_json(reply.envelope), home.roots).hash == home.manifest.hash
