"""Where it is not known what the ledger took, nothing is lost by it."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING

import pytest

from concordat.clock import SystemClock
from concordat.protocol.certificate import WRONG_ANSWER_MAC
from gateway.effects import ReadNotices, Write
from gateway.hub import Hub
from gateway.ledger import Committed, Ledger, LedgerWrite, PublishedSequence
from gateway.rules import Limits
from gateway.writer import LedgerWriter
from tests.unit.gateway.world import told_once

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tests.unit.gateway.world import World


def test_notices_of_a_group_that_was_durable_although_it_failed_are_told(world: World) -> None:
    """The commit reached the disk and its word was lost: repeated, it changes nothing and brings no notices."""
    de, nl = world.attached("DE", "x"), world.attached("NL", "x")
    hub = world.hubs[0]
    nl.check("x")
    hub.hold_writes = True
    world.settle()
    held, hub.held, hub.hold_writes = hub.held, [], False
    for effect in held:
        assert isinstance(effect, Write)
        world.ledger.write(effect.writes)
        hub.exchange.failed([])
        hub.exchange.committed([effect.number], world.ledger.write(effect.writes))
    world.settle()
    assert told_once(nl, de)


def test_a_refusal_that_is_not_stored_comes_again_with_the_next_session(world: World) -> None:
    """Else the edge would stay live at the hub, the value would be covered, and nobody would ever be told."""
    de, nl = world.attached("DE", "x"), world.attached("NL", "x")
    hub, link = world.hubs[0], nl.link
    assert de.told == []
    nl.check("x")
    world.settle()
    hub.ledger_up = False
    nl.refuse(link, nl.told[0], WRONG_ANSWER_MAC)
    world.settle()
    assert link.closed == "unavailable"


class Deaf(Ledger):
    """Cannot be read, for a reason that nobody foresaw."""

    incarnation = b"L" * 16

    def __init__(self) -> None:
        pass

    def notices_above(self, recipient: str, cursor: int, *, limit: int) -> list[object]:  # type: ignore[override]  # never returns
        """Fail."""
        raise RuntimeError(f"{recipient}, {cursor}, {limit}")


async def test_a_session_whose_notices_cannot_be_read_ends_whatever_the_reason(world: World) -> None:
    exchange = world.hubs[0].exchange
    hub = Hub(exchange, Deaf(), clock=SystemClock(), limits=Limits())
    number, channel = hub.open(world.federation.id("NL"))
    hub._do(ReadNotices(number, world.federation.id("NL"), 0, 1))
    async with asyncio.timeout(5):
        await channel.closed()
    assert channel.code == "unavailable"
    await hub.stop()


@pytest.mark.parametrize(("cursor", "code"), [(0, None), (1, None), (2, "unavailable")])
async def test_a_ledger_that_was_put_back_under_a_running_gateway_serves_nobody_who_was_told_more(
    world: World, cursor: int, code: str | None
) -> None:
    """C10: under its old incarnation its next notices would have numbers that the node has seen already."""
    world.attached("DE", "x")
    nl = world.attached("NL", "x")
    nl.check("x")
    world.settle()
    assert nl.cursor == 1
    hub = Hub(world.hubs[0].exchange, world.ledger, clock=SystemClock(), limits=Limits())
    number, channel = hub.open(nl.id)
    hub._do(ReadNotices(number, nl.id, cursor, 1))
    with suppress(TimeoutError):
        async with asyncio.timeout(0.3 if code is None else 5):
            await channel.closed()
    assert channel.code == code
    await hub.stop()


class Forgetful(Ledger):
    """Takes a group and says that it did not."""

    def __init__(self) -> None:
        self.calls = 0

    def write(self, writes: Sequence[LedgerWrite]) -> Committed:
        """Fail the first time."""
        self.calls += 1
        if self.calls == 1:
            raise OSError(f"{len(writes)} writes, and no word of them")
        return Committed(self.calls)


async def test_the_exchange_hears_of_a_doubt_before_the_group_is_repeated() -> None:
    heard: list[tuple[str, list[int]]] = []
    writer = LedgerWriter(
        Forgetful(),
        on_committed=lambda numbers, _: heard.append(("committed", list(numbers))),
        on_failed=lambda numbers: heard.append(("failed", list(numbers))),
    )
    writer.submit(1, (PublishedSequence("A", 1),))
    writer.submit(2, (PublishedSequence("A", 2),))
    writer.start()
    await writer.stop()
    assert heard == [("failed", []), ("committed", [1]), ("committed", [2])]
