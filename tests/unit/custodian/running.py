"""A federation with custodians that run in the test's own loop, behind real mTLS on loopback."""

from __future__ import annotations

import asyncio
import hashlib
import os
import socket
from contextlib import AsyncExitStack, ExitStack
from datetime import date
from typing import TYPE_CHECKING, Any, Final, Self

from concordat.clock import SystemClock
from concordat.identity.federation import init_federation
from concordat.identity.home import Home, load_home
from concordat.identity.manifest import KeyClass, PartyClass
from concordat.identity.plan import FederationPlan, NodePlan, PartnerPlan
from concordat.oprf.client import blind
from concordat.protocol.evaluation import sign_evaluation
from concordat.vocabulary import Aim, Offence, Purpose, SubjectCategory
from concordat.wire.v1 import custodian_pb2 as wire
from services.custodian.config import CustodianSettings
from services.custodian.sabotage import sabotaged
from services.custodian.service import open_custodian, server_of
from services.node.case import CaseProfile

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from concordat.clock import Clock
    from concordat.identity.keys import SigningKey
    from concordat.identity.manifest import Manifest
    from concordat.identity.names import SpiffeId

CUSTODIANS: Final = 3
# E of an EU state; floor(E * 2 / 3) at each of three custodians: 300, 20, 6.
BUDGETS: Final = {KeyClass.STRONG: 450, KeyClass.WEAK: 31, KeyClass.PERSON: 10}
CASE: Final = CaseProfile(
    reference="THB-2026-0001",
    authority="Example Police",
    officer="officer-17",
    purpose=Purpose.INVESTIGATION,
    offence=Offence.TRAFFICKING_IN_HUMAN_BEINGS,
    subject_category=SubjectCategory.SUSPECT_OR_CONVICTED,
    aim=Aim.IDENTIFY,
    valid_until=date(2199, 12, 31),
)


def free_ports(number: int) -> list[int]:
    """Return ports of loopback that were free a moment ago, all different."""
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(number)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]


def loopback_plan(**more: Any) -> FederationPlan:
    """Return a plan of NL and two partners, with all of its servers on free ports of loopback."""
    ports = free_ports(CUSTODIANS + 2)
    plan: dict[str, Any] = {
        "nodes": (NodePlan.parse("NL"),),
        "partners": (PartnerPlan.parse("IJM"), PartnerPlan.parse("OSCE")),
        "custodian_addresses": tuple(f"127.0.0.1:{port}" for port in ports[2:]),
        "gateway_address": f"127.0.0.1:{ports[0]}",
        "api_address": f"127.0.0.1:{ports[1]}",
    }
    return FederationPlan(**(plan | more))


def make_federation(
    directory: Path, *, budgets: dict[KeyClass, int] | None = None, federation: str = "test.example"
) -> Path:
    """Make a federation of NL and DE with three custodians on free ports."""
    plan = FederationPlan(
        name=federation,
        nodes=(NodePlan.parse("NL"), NodePlan.parse("DE")),
        custodians=CUSTODIANS,
        custodian_addresses=tuple(f"127.0.0.1:{port}" for port in free_ports(CUSTODIANS)),
        quotas={PartyClass.EU_STATE: budgets or dict.fromkeys(KeyClass, 1000000)},
    )
    init_federation(directory, plan, unsafe_dealer=True)
    return directory


def home_of(federation: Path, role_and_name: str) -> Home:
    """Load one party's folder."""
    return load_home(federation / role_and_name, clock=SystemClock())


class RunningCustodians:
    """Custodians c1 to c3 of a federation, started and stopped one by one."""

    def __init__(self, federation: Path, clock: Clock | None = None) -> None:
        self._federation = federation
        self._clock = clock or SystemClock()
        self._running: dict[int, AsyncExitStack] = {}

    async def start(self, *indices: int, sabotage: str | None = None) -> None:
        """Start custodians; sabotaged ones break the protocol."""
        for index in indices:
            stack = self._running[index] = AsyncExitStack()
            home = home_of(self._federation, f"custodian/c{index}")
            custodian = stack.enter_context(open_custodian(home, clock=self._clock))
            served = sabotaged(custodian, sabotage) if sabotage else custodian
            server = server_of(served, home, CustodianSettings(drain_s=0).server(home))
            await server.start()
            stack.push_async_callback(server.stop, 0)

    async def stop(self, *indices: int) -> None:
        """Stop custodians."""
        for index in indices:
            await self._running.pop(index).aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop(*tuple(self._running))


async def until(condition: Callable[[], object]) -> None:
    """Wait until something is so; a test that waits in vain ends by its own time limit."""
    while not condition():  # noqa: ASYNC110 -- what is waited for is a row of a file, which sets no event
        await asyncio.sleep(0.02)


def elements(number: int) -> bytes:
    """Return blinded elements of made-up inputs."""
    return blind([b"input %d" % one for one in range(number)]).elements


def request_of(
    manifest: Manifest,
    key: SigningKey,
    *,
    requester: SpiffeId,
    custodian: str,
    now: float,
    blinded: bytes,
    request_id: bytes | None = None,
    key_class: str = "strong",
    epoch: int = 1,
    justification: bytes = bytes(32),
    manifest_hash: bytes | None = None,
    lifetime_s: float = 300,
    exercise: str = "",
) -> wire.EvaluateRequest:
    """Return a request that is right in everything but what a test changes."""
    body = wire.EvaluateBody(
        federation=manifest.federation,
        manifest_hash=manifest_hash or manifest.hash,
        requester=str(requester),
        custodian=custodian,
        request_id=request_id or os.urandom(16),
        key_class=key_class,
        epoch=epoch,
        count=len(blinded) // 32,
        elements_hash=hashlib.sha256(blinded).digest(),
        justification_hash=justification,
        expires_at_ms=int((now + lifetime_s) * 1000),
        exercise=exercise,
    )
    signed = sign_evaluation(body, key)
    return wire.EvaluateRequest(body=signed.raw, signature=signed.signature, elements=blinded)
