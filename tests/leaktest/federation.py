"""The parts of the leak test's federation: folders, a gateway, a holder that takes its time. Real gRPC with mTLS.

The hub, its ledger and the holder's core and store are those of production; what is made by hand is the wire between
holder and hub, which holds each answer back for 0 to 250 ms, and tokens, which are made from names.
"""

from __future__ import annotations

import asyncio
import random
import secrets
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from typing_extensions import override

from concordat.clock import MS, SystemClock
from concordat.identity.federation import init_federation
from concordat.identity.home import Home, load_home
from concordat.identity.manifest import Manifest
from concordat.identity.names import Role
from concordat.identity.plan import ASKING_CLASSES, FederationPlan, NodePlan
from concordat.protocol import several
from concordat.protocol.check import parse_header
from concordat.rpc.client import channel
from concordat.rpc.methods import grpc_table
from concordat.rpc.server import ServerSettings, build_server
from concordat.wire.v1 import check_pb2, session_pb2
from concordat.wire.v1.session_pb2_grpc import SessionServiceStub, add_SessionServiceServicer_to_server
from gateway.database import open_engine
from gateway.exchange import Exchange, Signer
from gateway.hub import Hub
from gateway.ledger import Ledger
from gateway.rules import Limits
from gateway.session import SessionServicer
from services.node.policy import SILENT
from tests.unit.exchange import parties
from tests.unit.exchange.parties import Party

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    import grpc.aio

    from gateway.effects import Send

TICK_MS: Final = 25
WINDOW_MS: Final = 500
MOST_DELAY_S: Final = 0.25
ASKER, HOLDER, GATEWAY = "NL", "RO", "g1"
_LOG2_SLOTS: Final = 18


def make(directory: Path) -> None:
    """Make the folders: a gateway, an asker, a holder."""
    plan = FederationPlan(
        name="leak.example",
        nodes=(NodePlan.parse(ASKER), NodePlan.parse(HOLDER)),
        opt_in=dict.fromkeys((ASKER, HOLDER), ASKING_CLASSES),
        tick_ms=TICK_MS,
        window_ms=WINDOW_MS,
    )
    init_federation(directory, plan, unsafe_dealer=True)


def home_of(directory: Path, name: str) -> Home:
    """Load a party's folder; planes are small, so that a start takes no time."""
    home = load_home(directory / ("gateway" if name == GATEWAY else "node") / name, clock=SystemClock())
    fields = home.manifest.model_dump() | {"plane_log2_slots": _LOG2_SLOTS}
    return replace(home, manifest=Manifest.model_validate(fields))


def held(number: int) -> str:
    """Return a value that the holder holds in silence."""
    return f"held {number}"


def nobodys(number: int) -> str:
    """Return a value that nobody holds."""
    return f"nobody's {number}"


class LeakyHub(Hub):
    """A hub in which a certificate leaves later where somebody was asked: the leak that the test must find."""

    later_s = 0.0

    @override
    def _send(self, effect: Send) -> None:
        asked: set[bytes] = self.__dict__.setdefault("asked", set())
        if effect.frame.HasField("question"):
            header = parse_header(effect.frame.question.header, effect.frame.question.signature)
            asked.add(header.fields.check_id)
        if effect.frame.HasField("certificate"):
            body = check_pb2.CertificateBody.FromString(effect.frame.certificate.body)
            if body.check_id in asked:
                asyncio.get_running_loop().call_later(self.later_s, super()._send, effect)
                return
        super()._send(effect)


async def serve_gateway(directory: Path, *, leaky_ms: float) -> None:
    """Serve until cancelled; print the port."""
    home, clock = home_of(directory, GATEWAY), SystemClock()
    engine = open_engine(directory / "ledger.sqlite")
    ledger = Ledger(engine, now_ms=lambda: int(clock.now() * MS), random_bytes=secrets.token_bytes)
    # Ticks are short, so that many barriers wait for an answer that is held back.
    limits = Limits(absent_after_barriers=1000)
    signer = Signer(str(home.identity), home.signing_key)
    exchange = Exchange(home.manifest, signer=signer, ledger_incarnation=ledger.incarnation, clock=clock, limits=limits)
    hub = (LeakyHub if leaky_ms else Hub)(exchange, ledger, clock=clock, limits=limits)
    if isinstance(hub, LeakyHub):
        hub.later_s = leaky_ms / MS

    def add(server: grpc.aio.Server) -> None:
        add_SessionServiceServicer_to_server(SessionServicer(hub), server)

    settings = ServerSettings(address="127.0.0.1:0", drain_s=0)
    server = build_server(settings, home=home, table=grpc_table(Role.GATEWAY), known=home.manifest.knows, add=add)
    hub.start()
    await server.start()
    print(server.port, flush=True)  # noqa: T201 -- read by the test
    await asyncio.Event().wait()


async def run_holder(directory: Path, address: str, values: int) -> None:
    """Hold values in silence and answer late, until cancelled; say when attached."""
    home, clock = home_of(directory, HOLDER), SystemClock()
    federation = parties.Federation(home.manifest, {HOLDER: home.signing_key})
    party = Party(HOLDER, federation, directory, clock)  # type: ignore[arg-type]  # a clock is a clock
    party.submit(*(held(number) for number in range(values)), policy=SILENT)
    party.publish()
    with party.store.write() as db:
        # It would ask about each of them, too.
        db.execute("DELETE FROM to_check")
    rng = random.Random(0)
    outgoing: asyncio.Queue[session_pb2.NodeFrame] = asyncio.Queue()
    outgoing.put_nowait(party.core.hello())
    loop, latest = asyncio.get_running_loop(), 0.0
    async with channel(address, home=home, server=home.manifest.gateways[0].spiffe) as to:
        async for message in SessionServiceStub(to).Attach(_queued(outgoing)):
            frames = several.frames_of(message)
            for answer in party.core.step(frames, work=message.HasField("welcome")):
                if answer.HasField("answer") and answer.answer.positions:
                    at = loop.time() + rng.uniform(0, MOST_DELAY_S)
                    latest = max(latest, at)
                    loop.call_at(at, outgoing.put_nowait, answer)
                elif answer.HasField("barrier_reply"):
                    # It follows the answers before it; calls for one moment come in any order.
                    loop.call_at(max(latest + 0.001, loop.time()), outgoing.put_nowait, answer)
                else:
                    outgoing.put_nowait(answer)
            if any(frame.HasField("snapshot_installed") for frame in frames):
                print("attached", flush=True)  # noqa: T201 -- read by the test


async def _queued(frames: asyncio.Queue[session_pb2.NodeFrame]) -> AsyncIterator[session_pb2.NodeFrame]:
    while True:
        yield await frames.get()
