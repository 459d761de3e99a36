"""A record that is silent towards a party is a discreet question to it: nothing of it stays there (3.4, I11)."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import pytest

from services.node.policy import DEFAULT, SILENT, Policy

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.simulation.live import Live, RealNode

PHONE, OTHER = "+447700900001", "+447700900002"
DISCREET = {"silent": SILENT, "to others only": Policy(tell=("FR",)), "not to it": Policy(not_tell=("NL",))}


def disk(node: RealNode) -> list[str]:
    """Return every row of a store."""
    with node.party.store.read() as db:
        return list(db.iterdump())


def files(node: RealNode) -> dict[str, bytes]:
    """Return the bytes of a store's files."""
    return {path.name: path.read_bytes() for path in node.party.folder.glob(f"{node.name}.sqlite*")}


@pytest.mark.parametrize("handling", DISCREET)
@pytest.mark.parametrize("held", [True, False], ids=["held", "not held"])
def test_nothing_stays_on_disk_log_or_page_of_who_is_asked(
    make_live: Callable[..., Live], caplog: pytest.LogCaptureFixture, handling: str, held: bool
) -> None:
    """The store's files are the same to the byte, and DE is told of what NL lets it be told of."""
    live = make_live("NL", "DE")
    nl, de = live.nodes["NL"], live.nodes["DE"]
    live.attach("NL", "DE")
    nl.submit(PHONE if held else OTHER)
    live.run(2)
    before, bytes_before, seen = disk(nl), files(nl), len(nl.link.seen)
    events = list(nl.party.events)
    with caplog.at_level(logging.DEBUG):
        de.submit(PHONE, policy=DISCREET[handling])
        live.run(3)
    questions = [frame for frame in nl.link.seen[seen:] if frame.HasField("question")]
    assert bool(questions) == held, "the question came, and was answered in memory"
    assert disk(nl) == before
    assert files(nl) == bytes_before
    assert nl.party.events == events
    assert [record for record in caplog.records if "node" in record.name] == []
    assert live.hub.ledger.last_cursor(nl.id) == 0
    assert de.times_told_of(PHONE, nl) == int(held)


def test_the_same_test_finds_a_question_that_is_not_discreet(make_live: Callable[..., Live]) -> None:
    live = make_live("NL", "DE")
    nl, de = live.nodes["NL"], live.nodes["DE"]
    live.attach("NL", "DE")
    nl.submit(PHONE)
    live.run(2)
    before, bytes_before = disk(nl), files(nl)
    de.submit(PHONE, policy=DEFAULT)
    live.run(3)
    assert disk(nl) != before
    assert files(nl) != bytes_before
