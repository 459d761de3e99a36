"""The operator's view: what it counts, when it changes, and that silent holdings move nothing in it (I11)."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from concordat.api.operator import OperationPhase, OperationState, OperatorState, SweepPhase, SweepProgress
from concordat.clock import ManualClock
from concordat.errors import UnavailableError
from concordat.protocol.macs import HOLDER_TOLD
from gateway.view import MAX_PER_SUBSCRIBER, MAX_SUBSCRIPTIONS, OperatorView, Stored
from gateway.view_state import Standing, draw_state
from tests.unit.gateway.world import START

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from concordat.identity.manifest import Manifest
    from gateway.ledger_view import VisibleEdges
    from tests.unit.gateway.world import Federation, World

WAIT_S = 5.0


def view_of(world: World) -> OperatorView:
    hub, manifest = world.hubs[0], world.federation.manifest
    return OperatorView(
        manifest,
        gateway=manifest.gateways[0].spiffe,
        attached=hub.exchange.attached,
        read=lambda: Stored(world.ledger.visible_edges(), ()),
        clock=world.clock,
    )


def counted(state: OperatorState) -> dict[str, dict[str, int]]:
    return {f"{pair.one}-{pair.other}": dict(pair.counts) for pair in state.matches}


async def seen(world: World, *, silent: str, decision: int) -> tuple[list[bytes], int]:
    """Let NL and DE meet while FR keeps to itself; return every state of the view, and how often it was read again."""
    view, states = view_of(world), []

    async def look() -> None:
        await view.refresh()
        states.append((await view.state()).model_dump_json().encode())

    nl, de, fr = world.attached("NL", "x", "y"), world.attached("DE", "x", "y"), world.attached("FR", "z")
    fr.decision = decision
    await look()
    # FR stores something in both worlds; only in one of them it is what the others ask about.
    fr.publish(silent)
    world.settle()
    await look()
    for asker, values in ((nl, ("x", "y")), (de, ("x",)), (nl, ("x",))):
        asker.check(*values)
        world.advance(61)
        await look()
    await view.stop()
    return states, world.hubs[0].shown


@pytest.mark.parametrize("decision", [0, HOLDER_TOLD], ids=["nobody is told", "only the holder is told"])
async def test_i11_a_silent_holder_changes_no_byte_no_version_and_no_reading(
    make_world: Callable[..., World], decision: int
) -> None:
    without, read_without = await seen(make_world(), silent="nothing of theirs", decision=decision)
    with_it, read_with = await seen(make_world(), silent="x", decision=decision)
    assert with_it == without
    assert read_with == read_without > 0
    last = OperatorState.model_validate_json(with_it[-1])
    assert counted(last) == {"DE-NL": {"e164": 2}}
    assert last.version == len(set(with_it)), "what did not change made no version"


async def test_a_match_that_both_know_and_an_absent_node_make_a_version_each(world: World) -> None:
    view = view_of(world)
    nl, _de = world.attached("NL", "x"), world.attached("DE", "x")
    await view.refresh()
    first = await view.state()
    assert {node.name for node in first.nodes if node.attached} == {"NL", "DE"}
    assert {node.since for node in first.nodes} == {None, int(START) // 60 * 60}
    nl.check("x")
    world.window()
    await view.refresh()
    second = await view.state()
    assert counted(first) == {}
    assert counted(second) == {"DE-NL": {"e164": 1}}
    world.hubs[0].exchange.detach(nl.link.session)
    world.advance(60)
    await view.refresh()
    third = await view.state()
    assert {node.name for node in third.nodes if node.attached} == {"DE"}
    assert [first.version, second.version, third.version] == [1, 2, 3]
    await view.stop()


def test_hits_of_partners_are_counted_apart(federation: Federation) -> None:
    manifest = federation.manifest
    edges: VisibleEdges = {
        ("spiffe://test.example/node/DE", "spiffe://test.example/node/NL", 1): 3,
        ("spiffe://test.example/node/DE", "spiffe://test.example/partner/IJM", 4): 2,
        ("spiffe://test.example/node/NL", "spiffe://test.example/partner/IJM", 4): 1,
    }
    state = draw_state(
        manifest,
        Stored(edges, ()),
        gateway="g1",
        nodes={party.id: Standing(state=True) for party in manifest.nodes},
        custodians={one.index: Standing(state=True) for one in manifest.custodians},
    )
    assert counted(state) == {"DE-NL": {"e164": 3}}
    assert [(one.partner, dict(one.counts)) for one in state.partners] == [("IJM", {"platform": 3})]


class Running:
    """A view in a loop, whose waiting and reading a test controls."""

    def __init__(self, manifest: Manifest) -> None:
        self.clock = ManualClock(START)
        self.edges: VisibleEdges = {}
        self.operations: tuple[OperationState, ...] = ()
        self.sweeps: dict[str, SweepProgress] = {}
        self.reads = 0
        self.broken = False
        self.takes_s = 0.0
        self.waits: asyncio.Queue[float] = asyncio.Queue()
        self.go_on = asyncio.Semaphore(0)
        self.manifest = manifest
        self.view = OperatorView(
            manifest,
            gateway=manifest.gateways[0].spiffe,
            attached=lambda: (),
            read=self._read,
            clock=self.clock,
            sweeps=lambda: self.sweeps,
            sleep=self._sleep,
        )

    def _read(self) -> Stored:
        self.reads += 1
        self.clock.advance(self.takes_s)
        if self.broken:
            raise UnavailableError("the ledger cannot be read")
        return Stored(dict(self.edges), self.operations)

    async def _sleep(self, seconds: float) -> None:
        self.waits.put_nowait(seconds)
        await self.go_on.acquire()

    async def waited(self) -> float:
        async with asyncio.timeout(WAIT_S):
            return await self.waits.get()

    def match(self) -> None:
        one, other, *_ = self.manifest.nodes
        key = (min(one.id, other.id), max(one.id, other.id), 1)
        self.edges[key] = self.edges.get(key, 0) + 1
        self.view.changed()


@pytest.fixture
async def running(federation: Federation) -> AsyncIterator[Running]:
    found = Running(federation.manifest)
    found.view.start()
    yield found
    await found.view.stop()


async def test_reading_is_at_most_every_200_ms_and_a_fifth_of_the_time(running: Running) -> None:
    assert await running.waited() == pytest.approx(0.2)
    for _ in range(5):
        running.match()
    await asyncio.sleep(0)
    assert running.reads == 1, "it rests first"
    running.takes_s = 1.0
    running.go_on.release()
    assert await running.waited() == pytest.approx(4.0)
    assert running.reads == 2, "five changes, one reading"


async def test_how_far_a_sweep_is_makes_a_version_while_it_runs(running: Running) -> None:
    await running.waited()
    view = running.view
    running.operations = (operation("op", OperationPhase.SWEEPING), operation("other", OperationPhase.ACTIVE))
    versions = []
    for done in (None, 3, 3, 7):
        # Of one that the database says is over nothing shows, whatever still runs.
        running.sweeps = {} if done is None else {"op": progress(done), "other": progress(1)}
        await view.refresh()
        state = await view.state()
        versions.append(state.version)
        shown = {one.operation: one.sweep for one in state.operations}
        assert shown == {"op": None if done is None else progress(done), "other": None}
    assert versions == [2, 3, 3, 4]


async def test_for_what_is_not_in_the_database_it_is_not_read_again(running: Running) -> None:
    await running.waited()
    running.operations = (operation("op", OperationPhase.SWEEPING),)
    running.view.changed()
    running.go_on.release()
    await running.waited()
    reads = running.reads
    with running.view.subscribe("console") as changes:
        for done in (1, 2):
            running.sweeps = {"op": progress(done)}
            running.view.redraw()
            running.go_on.release()
            await running.waited()
            state = await changes.next(WAIT_S)
            assert state is not None
            assert [one.sweep for one in state.operations] == [progress(done)]
    assert running.reads == reads


def operation(name: str, phase: OperationPhase) -> OperationState:
    return OperationState(
        operation=name,
        title=name,
        purpose="prevention",
        exercise=False,
        phase=phase,
        starts_at=1,
        ends_at=2,
        participants=2,
        signed=2,
    )


def progress(done: int) -> SweepProgress:
    return SweepProgress(
        phase=SweepPhase.WINDOWS, windows_done=done, windows=8, pairs_percent=0, rows_about=0, parties=()
    )


async def test_a_slow_reader_gets_the_newest_state_only(running: Running) -> None:
    await running.waited()
    with running.view.subscribe("console") as changes:
        first = await changes.next(WAIT_S)
        assert first is not None
        assert first.version == 1
        for _ in range(3):
            running.match()
            running.go_on.release()
            await running.waited()
        newest = await changes.next(WAIT_S)
        assert newest is not None
        assert newest.version == 4
        assert await changes.next(0) is None, "nothing new: alive"


async def test_a_custodian_that_stops_serving_shows(running: Running) -> None:
    await running.waited()
    running.view.custodian(1, serving=True)
    running.go_on.release()
    await running.waited()
    running.view.custodian(1, serving=True)
    running.view.custodian(2, serving=False)
    running.go_on.release()
    await running.waited()
    state = await running.view.state()
    assert [one.serving for one in state.custodians] == [True, False, None]
    assert state.version == 3


async def test_a_view_that_cannot_be_read_shows_no_old_numbers_and_comes_back(
    running: Running, caplog: pytest.LogCaptureFixture
) -> None:
    await running.waited()
    running.broken = True
    with running.view.subscribe("console") as changes:
        await changes.next(WAIT_S)
        running.match()
        running.go_on.release()
        await running.waited()
        with pytest.raises(UnavailableError):
            await changes.next(WAIT_S)
    running.broken = False
    running.go_on.release()
    await running.waited()
    assert (await running.view.state()).version == 2
    assert "could not be read" in caplog.text


async def test_streams_are_bounded_and_end_with_the_gateway(running: Running) -> None:
    await running.waited()
    view = running.view
    opened = [view.subscribe(f"console {number // MAX_PER_SUBSCRIBER}") for number in range(MAX_SUBSCRIPTIONS)]
    changes = [one.__enter__() for one in opened]
    for who in ("console 0", "another"):
        with pytest.raises(UnavailableError, match="too many"), view.subscribe(who):
            pass
    opened.pop().__exit__(None, None, None)
    with pytest.raises(UnavailableError, match="too many"), view.subscribe("console 0"):
        pass
    with view.subscribe("another"):
        pass
    await view.stop()
    with pytest.raises(UnavailableError):
        await changes[0].next(WAIT_S)
    with pytest.raises(UnavailableError):
        await view.state()
