"""A console without a gateway: states of a whole action day, a source of events by hand, requests over ASGI."""

from __future__ import annotations

import asyncio
import random
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC
from typing import TYPE_CHECKING, Any

import httpx

from concordat.api.operator import (
    ALIVE_EVENT,
    STATE_EVENT,
    Alive,
    CustodianState,
    FrozenReport,
    NodeState,
    OperationPhase,
    OperationState,
    OperatorState,
    PairMatches,
    PartnerMatches,
    SweepParty,
    SweepPhase,
    SweepProgress,
    SweepStanding,
)
from concordat.client.sse import ServerEvent
from concordat.clock import ManualClock
from concordat.errors import UnavailableError
from concordat.identity.manifest import PartyClass
from services.console.app import build_app
from services.console.feed import Feed
from services.console.links import LoginLinks
from services.console.login import Door
from services.console.page import Clockwork
from services.console.sessions import Sessions

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator
    from pathlib import Path

    from fastapi import FastAPI

    from concordat.errors import ConcordatError

START = 1_800_000_000.0
EU = "AT BE BG CY CZ DE EE ES FI FR GR HR HU IE IT LT LU LV NL PL RO SE".split()
THIRD = ("AL", "CH", "GB", "UA")
HOST = "localhost:7480"
ORIGIN = f"https://{HOST}"
WAIT_S = 5.0


def node(name: str, *, attached: bool = True) -> NodeState:
    kind = PartyClass.EU_STATE if name in EU else PartyClass.THIRD_COUNTRY
    since = int(START) // 60 * 60 - 60 * (sum(map(ord, name)) % 90)
    return NodeState(name=name, party_class=kind, attached=attached, since=since)


def action_day(*, seed: int = 7, absent: tuple[str, ...] = ("LT",)) -> OperatorState:
    """Return the state of an action day with 26 countries and Europol."""
    draw = random.Random(seed)
    names = sorted([*EU, *THIRD, "EUROPOL"])
    weights = {name: draw.choice([1, 2, 2, 3, 5]) for name in names} | {"EUROPOL": 8, "RO": 7, "NL": 5, "DE": 5}
    pairs = []
    for place, one in enumerate(names):
        for other in names[place + 1 :]:
            strength = weights[one] * weights[other] / 5
            kinds = {"e164": 0.5, "account": 0.6, "platform": 0.35, "email": 0.2, "iban": 0.08}
            counts = {kind: int(draw.expovariate(1) * strength * part) for kind, part in kinds.items()}
            counts = {kind: number for kind, number in counts.items() if number}
            if counts:
                pairs.append(PairMatches(one=one, other=other, counts=counts))
    totals = {"people_usernames": 85, "communication_devices": 325, "platforms": 371}
    totals |= {"platforms_suspected": 26, "platforms_identified": 5, "platforms_csa": 10}
    return OperatorState(
        version=41,
        changed_at=int(START),
        federation="hub.empact.example",
        gateway="g1",
        nodes=tuple(node(name, attached=name not in absent) for name in names),
        custodians=tuple(CustodianState(name=f"c{n}", serving=True, since=int(START) - 5400) for n in (1, 2, 3)),
        threshold=2,
        matches=tuple(pairs),
        partners=(PartnerMatches(partner="IJM", counts={"platform": 7, "e164": 4}),),
        operations=(
            operation("thb-2026-11", "Global Chain, day 2", OperationPhase.ACTIVE, participants=27, signed=27),
            operation(
                "thb-2026-11-day1",
                "Global Chain, day 1",
                OperationPhase.REPORTED,
                participants=27,
                signed=27,
                report=FrozenReport(frozen_at=int(START) - 50000, totals=totals, matches=112, included=26),
            ),
        ),
    )


def operation(
    code: str,
    title: str,
    phase: OperationPhase,
    *,
    participants: int = 3,
    signed: int = 3,
    report: FrozenReport | None = None,
    exercise: bool = False,
) -> OperationState:
    return OperationState(
        operation=code,
        title=title,
        purpose="thb",
        exercise=exercise,
        phase=phase,
        starts_at=int(START) - 90000,
        ends_at=int(START) + 90000,
        participants=participants,
        signed=signed,
        report=report,
    )


def sweeping(done: int, *, dropped: str = "deadline", title: str = "Chain") -> OperationState:
    """Return an operation of three whose sweep runs: NL is waited for, and RO was left out."""
    parties = (
        SweepParty(name="DE", standing=SweepStanding.JOINED),
        SweepParty(name="NL", standing=SweepStanding.JOINED, owes=True),
        SweepParty(name="RO", standing=SweepStanding.DROPPED if dropped else SweepStanding.JOINED, code=dropped),
    )
    progress = SweepProgress(
        phase=SweepPhase.WINDOWS, windows_done=done, windows=64, pairs_percent=0, rows_about=2000, parties=parties
    )
    return operation("op", title, OperationPhase.SWEEPING).model_copy(update={"sweep": progress})


def small(version: int = 1, **changes: Any) -> OperatorState:
    """Return a state of three nodes without matches."""
    fields: dict[str, Any] = {
        "version": version,
        "changed_at": int(START),
        "federation": "test.example",
        "gateway": "g1",
        "nodes": tuple(node(name) for name in ("DE", "NL", "RO")),
        "custodians": tuple(CustodianState(name=f"c{n}", serving=True, since=int(START)) for n in (1, 2, 3)),
        "threshold": 2,
        "matches": (),
        "partners": (),
        "operations": (),
    }
    return OperatorState.model_validate(fields | changes)


def matches(**pairs: int) -> tuple[PairMatches, ...]:
    """Return edges of phones by pair, written as DE_NL=3."""
    return tuple(
        PairMatches(one=name[:2], other=name[3:], counts={"e164": number}) for name, number in sorted(pairs.items())
    )


@dataclass
class HandSource:
    """A gateway's stream whose events a test sends by hand."""

    queue: asyncio.Queue[ServerEvent | ConcordatError] = field(default_factory=asyncio.Queue)
    asked: int = 0

    async def events(
        self, path: str, *, on_trouble: Callable[[ConcordatError], None] | None = None
    ) -> AsyncIterator[ServerEvent]:
        """Give what was sent; an error stands for a stream that broke, one of another kind ends it all."""
        assert path == "/v1/operator/events"
        self.asked += 1
        while True:
            found = await self.queue.get()
            if isinstance(found, ServerEvent):
                yield found
            elif isinstance(found, UnavailableError):
                assert on_trouble is not None
                on_trouble(found)
            else:
                raise found

    def send(self, state: OperatorState) -> None:
        """Send a state."""
        self.queue.put_nowait(ServerEvent(STATE_EVENT, state.model_dump_json(), str(state.version)))

    def alive(self, version: int = 1) -> None:
        """Send a sign of life."""
        self.queue.put_nowait(ServerEvent(ALIVE_EVENT, Alive(version=version).model_dump_json(), str(version)))

    def breaks(self, times: int = 1) -> None:
        """Let the stream break, and dialling again fail."""
        for _ in range(times):
            self.queue.put_nowait(UnavailableError("gateway g1 cannot be reached"))


class Ticks:
    """Sleep by hand: `pass_s` moves the clock, and wakes whoever sleeps."""

    def __init__(self, clock: ManualClock) -> None:
        self._clock = clock
        self._sleepers: list[tuple[float, asyncio.Event]] = []

    async def sleep(self, seconds: float) -> None:
        """Wait until so much time has passed."""
        woken = asyncio.Event()
        self._sleepers.append((self._clock.monotonic() + seconds, woken))
        await woken.wait()

    async def pass_s(self, seconds: float, step: float = 0.5) -> None:
        """Let time pass."""
        for _ in range(round(seconds / step)):
            self._clock.advance(step)
            for until, woken in self._sleepers:
                if self._clock.monotonic() >= until:
                    woken.set()
            for _ in range(20):
                await asyncio.sleep(0)


@dataclass
class Console:
    """A console's app in this process, and the hands on everything around it."""

    home: Path
    clock: ManualClock
    source: HandSource
    feed: Feed
    links: LoginLinks
    sessions: Sessions
    app: FastAPI
    ticks: Ticks

    def client(self, **options: Any) -> httpx.AsyncClient:
        """Return a browser that follows no redirect."""
        return httpx.AsyncClient(transport=httpx.ASGITransport(self.app), base_url=ORIGIN, **options)

    @asynccontextmanager
    async def logged_in(self) -> AsyncIterator[httpx.AsyncClient]:
        """Return a browser with a login."""
        async with self.client() as client:
            answer = await enter(client, self.links.make())
            assert answer.status_code == 303
            yield client

    async def until(self, happened: Callable[[], bool]) -> None:
        """Wait until something is true, while no time passes."""
        async with asyncio.timeout(WAIT_S):
            while True:
                if happened():
                    return
                await asyncio.sleep(0)


async def enter(client: httpx.AsyncClient, key: str, **headers: str) -> httpx.Response:
    """Press the button on a link's page."""
    return await client.post("/login", data={"key": key}, headers={"Origin": ORIGIN, **headers})


def make_console(home: Path, *, most_streams: int = 8, max_sessions: int = 4) -> Console:
    """Make a console whose feed is not started."""
    clock = ManualClock(START)
    numbers = counted()
    links = LoginLinks(home, clock=clock, random_bytes=lambda size: next(numbers).to_bytes(size, "big"), minutes=15)
    sessions = Sessions(
        clock=clock, random_bytes=lambda size: next(numbers).to_bytes(size, "big"), hours=12, most=max_sessions
    )
    door = Door(links, sessions, origins=[ORIGIN], secure=True)
    source, ticks = HandSource(), Ticks(clock)
    feed = Feed(source, clock=clock, most=most_streams, sleep=ticks.sleep)
    app = build_app(feed, door, Clockwork(UTC), hosts=[HOST])
    return Console(home, clock, source, feed, links, sessions, app, ticks)


def counted() -> Iterator[int]:
    """Return numbers that stand for random ones."""
    number = 1 << 200
    while True:
        number += 1
        yield number
