"""One sweep of sets on disk: a hub process and node processes of their own, real gRPC with mTLS, all on this machine.

    result = run(bench.data.sources(folder), nodes=2)

The gateway's own sweep service and the nodes' own code; what is left out is what surrounds a sweep: charter, report and
edges. The clock starts when the hub sends its plan, after all have joined, and stops when the exact counts are there.
CPU seconds are those of whole processes between the same two moments, and peak memory is that of their whole life.
"""

from __future__ import annotations

import asyncio
import multiprocessing
import time
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import uvloop
from typing_extensions import override

from bench import data
from bench.processes import cpu_s, peak_mb
from bench.sweep_shards import shards
from concordat.clock import SystemClock
from concordat.errors import UnavailableError
from concordat.identity.federation import init_federation
from concordat.identity.home import load_home
from concordat.identity.names import Role
from concordat.identity.plan import FederationPlan, NodePlan
from concordat.rpc.client import channel
from concordat.rpc.methods import grpc_table
from concordat.rpc.server import ServerSettings, build_server
from concordat.wire.v1.sweep_pb2_grpc import add_SweepServiceServicer_to_server
from gateway.memory import share_heaps
from gateway.sweep.context import SweepContext
from gateway.sweep.effects import Conclude, SweepSettings
from gateway.sweep.service import RunningSweep
from gateway.sweep.streams import SweepServicer
from services.node.sweep import SweepParty
from services.node.sweep_lines import run_sweep
from services.node.sweep_rows import SweepColumns

if TYPE_CHECKING:
    from collections.abc import Sequence
    from multiprocessing.connection import Connection

    from gateway.sweep.effects import Effect, SweepResult

OPERATION: Final = "bench"
SWEEP_ID: Final = bytes(16)
COUNTRIES: Final = (
    "AT BE BG CY CZ DE DK EE ES FI FR GR HR HU IE IT LT LU LV MT NL PL PT RO SE SI SK UA MD GE NO CH IS LI RS ME MK AL"
    " BA XK GB"
).split()
SALT: Final = bytes(32)
START_S: Final = 60.0
END_S: Final = 900.0
_SPAWN: Final = multiprocessing.get_context("spawn")


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a sweep came to and what it took; memory in MB of 10^6 bytes."""

    counts: dict[int, int]
    shared: int
    states: list[str]
    seconds: float
    hub_cpu_s: float
    nodes_cpu_s: float
    hub_rss_mb: float
    windows: int
    details: dict[str, Any] = field(default_factory=dict)


def run(sources: Sequence[Path], *, nodes: int = 2, settings: SweepSettings | None = None, shares: int = 0) -> Outcome:
    """Sweep the sources and return what was found.

    Args:
        sources: A folder of columns each (bench.data).
        nodes: Node processes; the sources are dealt out to them.
        settings: Of the sweep; edges are never opened here.
        shares: Shards that share the windows; none by default.
    """
    names = COUNTRIES[: len(sources)]
    with TemporaryDirectory(prefix="concordat-bench-") as folder, ExitStack() as stack:
        root = Path(folder) / "federation"
        plan = FederationPlan(name="bench.example", nodes=tuple(NodePlan.parse(name) for name in names))
        init_federation(root, plan, unsafe_dealer=True)
        up, down = _SPAWN.Pipe()
        chosen = settings or SweepSettings(pairs=False, join_s=END_S)
        shards_spent: list[dict[str, float]] = []
        addresses = stack.enter_context(shards(root, shares, chosen, shards_spent))
        chosen = chosen.model_copy(update={"shards": addresses})
        hub = _SPAWN.Process(target=_hub, args=(root, tuple(names), chosen, down))
        hub.start()
        down.close()
        port = _told(up, START_S)
        parts = [list(zip(names, sources, strict=True))[at::nodes] for at in range(nodes)]
        ends = [_SPAWN.Pipe() for _ in parts]
        children = [
            _SPAWN.Process(target=_node, args=(root, port, tuple(names), part, end))
            for part, (_, end) in zip(parts, ends, strict=True)
        ]
        for child, (_, end) in zip(children, ends, strict=True):
            child.start()
            end.close()
        found = _told(up, END_S)
        spent = [_told(own, START_S) for own, _ in ends]
        for process in (*children, hub):
            process.join(START_S)
        stack.close()
    details = {"shards": shards_spent} if shards_spent else {}
    return Outcome(**found, nodes_cpu_s=sum(one["cpu_s"] for one in spent), details=details)


def _told(connection: Connection, seconds: float) -> Any:
    try:
        if connection.poll(seconds):
            return connection.recv()
    except EOFError as error:
        raise UnavailableError("a process of the bench has ended") from error
    raise UnavailableError("a process of the bench fell silent")


class _Store:
    """Takes the place of the gateway's operations: nothing is frozen here."""

    def abandon_sweep(self, _operation: str, _sweep_id: bytes) -> None:
        raise UnavailableError("the sweep of the bench was abandoned")


class _Measured(RunningSweep):
    """A sweep that stops at its counts."""

    began_s = 0.0
    began_cpu_s = 0.0
    result: SweepResult | None = None

    @override
    async def _apply(self, effects: Sequence[Effect]) -> None:
        if not self.began_s and any(effect.frame.HasField("plan") for effect in effects if hasattr(effect, "frame")):
            self.began_s, self.began_cpu_s = time.monotonic(), cpu_s()
        await super()._apply(effects)

    @override
    async def _conclude(self, conclude: Conclude) -> None:
        self.result = conclude.result
        self.seconds = time.monotonic() - self.began_s
        self.cpu_s = cpu_s() - self.began_cpu_s
        await self._apply(self._hub.frozen(1))


class _Runner:
    """Knows the one sweep."""

    def __init__(self, sweep: RunningSweep) -> None:
        self.sweep = sweep

    def find(self, _party: str, _first: object) -> RunningSweep:
        return self.sweep


def _hub(root: Path, names: tuple[str, ...], settings: SweepSettings, told: Connection) -> None:
    share_heaps()  # as the gateway does when it starts
    uvloop.run(_serve(root, names, settings, told))


async def _serve(root: Path, names: tuple[str, ...], settings: SweepSettings, told: Connection) -> None:
    home = load_home(next((root / "gateway").iterdir()), clock=SystemClock())
    participants = tuple(sorted(str(load_home(root / "node" / name, clock=SystemClock()).identity) for name in names))
    charter = _Charter(OPERATION, participants, data.NAMESPACES)
    context = SweepContext(
        store=_Store(),  # type: ignore[arg-type]  # what a sweep without a report needs of it
        ledger=None,  # type: ignore[arg-type]  # no edges here
        attached=lambda: participants,
        send_event=lambda _party, _event: None,
        identity=str(home.identity),
        key=home.signing_key,
        clock=SystemClock(),
        settings=settings,
        dial=partial(channel, home=home, server=home.identity),
    )
    sweep = _Measured(_Operation(charter), SWEEP_ID, context)  # type: ignore[arg-type]  # as above
    servicer = SweepServicer(_Runner(sweep), settings)
    server = build_server(
        ServerSettings(address="127.0.0.1:0", drain_s=1),
        home=home,
        table=grpc_table(Role.GATEWAY),
        known=home.manifest.knows,
        add=lambda one: add_SweepServiceServicer_to_server(servicer, one),
    )
    await server.start()
    told.send(server.port)
    await sweep.run()
    assert sweep.result is not None
    told.send(
        {
            "counts": dict(sweep.result.counts),
            "shared": sweep.result.shared_values,
            "states": [one.state for one in sweep.result.participations],
            "seconds": sweep.seconds,
            "hub_cpu_s": sweep.cpu_s,
            "hub_rss_mb": peak_mb(),
            "windows": sweep.windows[1],
        }
    )
    await asyncio.sleep(0.2)
    await server.stop(0)


@dataclass(frozen=True, slots=True)
class _Charter:
    operation: str
    participants: tuple[str, ...]
    namespaces: tuple[str, ...]
    exercise: bool = False


@dataclass(frozen=True, slots=True)
class _Operation:
    charter: _Charter


def _node(root: Path, port: int, names: tuple[str, ...], sources: list[tuple[str, Path]], told: Connection) -> None:
    uvloop.run(_take_part(root, port, names, sources, told))


async def _take_part(
    root: Path, port: int, names: tuple[str, ...], sources: list[tuple[str, Path]], told: Connection
) -> None:
    gateway = load_home(next((root / "gateway").iterdir()), clock=SystemClock()).identity
    participants = [str(load_home(root / "node" / name, clock=SystemClock()).identity) for name in names]
    parties, channels, dials = [], [], []
    for name, source in sources:
        home = load_home(root / "node" / name, clock=SystemClock())
        party = SweepParty(
            str(home.identity),
            SWEEP_ID,
            operation=OPERATION,
            participants=participants,
            rows=_columns(source),
            salt=SALT,
        )
        party.join()
        parties.append(party)
        channels.append(channel(f"127.0.0.1:{port}", home=home, server=gateway))
        dials.append(partial(channel, home=home, server=gateway))
    began_cpu_s = cpu_s()
    done = await asyncio.gather(
        *(
            run_sweep(one, party, store=lambda _rows: None, may_prove=lambda _references: True, dial=dial, idle_s=END_S)
            for one, party, dial in zip(channels, parties, dials, strict=True)
        )
    )
    told.send({"cpu_s": cpu_s() - began_cpu_s, "dropped": [one.dropped for one in done]})
    for one in channels:
        await one.close()


def _columns(source: Path) -> SweepColumns:
    high = data.column(source, "high")
    # Secrets are for pairs, and there are none here.
    none = np.broadcast_to(np.zeros(32, np.uint8), (len(high), 32))
    return SweepColumns(high=high, answer=data.column(source, "answer"), secret=none)
