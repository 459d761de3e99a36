"""What the page says of a state, what it says when there is none, and that foreign text stays text."""

from __future__ import annotations

import re
from datetime import UTC
from html import unescape
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

import pytest

from concordat.api.operator import CustodianState, FrozenReport, OperationPhase, OperatorState, PartnerMatches
from services.console.feed import Moment, News
from services.console.page import NO_MATCH, NOTHING, Clockwork, Frame, Page, build_page
from services.console.scale import Scale
from tests.unit.console.console_world import (
    START,
    Console,
    action_day,
    make_console,
    matches,
    node,
    operation,
    small,
    sweeping,
)

if TYPE_CHECKING:
    from pathlib import Path

HOSTILE = "\"><script>alert(1)</script>{{ 7 * 7 }}'"


@pytest.fixture
def console(tmp_path: Path) -> Console:
    return make_console(tmp_path)


def page_of(state: OperatorState, *news: News) -> Page:
    return build_page(Moment(state, START, news), Frame.of(state), Clockwork(UTC))


def texts(page: Page, *names: str) -> list[str]:
    return [page.slots[name].text for name in names]


def test_numbers_are_summed_by_row_of_the_report_and_by_pair() -> None:
    pairs = [
        {"one": "DE", "other": "NL", "counts": {"e164": 3, "email": 1, "account": 2, "iban": 5}},
        {"one": "NL", "other": "RO", "counts": {"platform": 1_000}},
    ]
    page = page_of(small(matches=pairs))
    assert texts(page, "total", "DE|NL", "NL|RO", "DE|RO") == ["1,011", "11", "1,000", "0"]
    assert texts(page, "sum.DE", "sum.NL", "sum.RO") == ["11", "1,011", "1,000"]
    tiles = [f"tile.{name}" for name in ("people_usernames", "communication_devices", "platforms", "others")]
    assert texts(page, *tiles) == ["2", "4", "1,000", "5"]
    assert page.slots["DE|RO"].kind == "level-0"
    assert page.slots["NL|RO"].kind == "level-5"


def test_states_are_words_and_not_only_colours() -> None:
    state = small(
        nodes=[node("DE"), node("NL", attached=False), node("RO")],
        custodians=[
            CustodianState(name="c1", serving=True, since=int(START)),
            CustodianState(name="c2", serving=False, since=int(START)),
            CustodianState(name="c3", serving=None, since=None),
        ],
    )
    page = page_of(state)
    assert texts(page, "tile.nodes", "note.nodes", "node.NL", "node.DE") == [
        "2 of 3",
        "absent: NL",
        "absent",
        "attached",
    ]
    custodians = texts(page, "tile.custodians", "custodian.c1", "custodian.c2", "custodian.c3")
    assert custodians == ["1 of 3", "serves", "silent", "asked"]
    assert "wait" in page.slots["note.custodians"].text, "fewer than the threshold"


def test_a_new_federation_is_waited_for_and_not_an_alarm() -> None:
    unseen = [node(name, attached=False).model_copy(update={"since": None}) for name in ("DE", "NL", "RO")]
    page = page_of(small(nodes=unseen, matches=[]))
    assert page.slots["tile.nodes"].kind == page.slots["node.DE"].kind == "unseen"
    assert texts(page, "note.nodes", "node.DE") == ["not seen yet: DE, NL, RO", "absent"]
    assert texts(page, "table.none") == [NO_MATCH]
    lost = page_of(small(nodes=[*unseen[:2], node("RO", attached=False)], matches=[]))
    assert (lost.slots["tile.nodes"].kind, lost.slots["node.RO"].kind) == ("bad", "bad")
    assert texts(lost, "note.nodes") == ["absent: DE, NL, RO"]
    assert texts(page_of(action_day()), "table.none") == [""]


def test_without_the_gateway_no_number_is_left() -> None:
    state = action_day()
    page = build_page(Moment(None, START, ()), Frame.of(state), Clockwork(UTC))
    full = page_of(state)
    assert set(page.slots) == set(full.slots), "every slot is overwritten"
    kept = {"heard": "08:00:00", "exercise": "", "table.none": "", "away": page.slots["away"].text}
    assert {name: slot.text for name, slot in page.slots.items() if slot.text != NOTHING} == kept
    assert "does not answer since 08:00:00" in kept["away"]
    assert (page.operations, page.partners) == ((), ())


def test_a_running_sweep_is_told_in_its_operations_card() -> None:
    (card,) = page_of(small(operations=[sweeping(12)])).operations
    assert card.phase == "Sweep running"
    assert card.facts[2:] == (
        "Sweep: 12 of 64 windows are done",
        "It waits for NL",
        "Left out: RO [deadline]",
        "Rows of shared values so far: about 2,000",
    )
    (before,) = page_of(small(operations=[operation("op", "Chain", OperationPhase.ACTIVE)])).operations
    assert len(before.facts) == 2


def test_times_are_of_the_zone_and_old_ones_have_their_day() -> None:
    clockwork = Clockwork(ZoneInfo("Europe/Brussels"))
    assert clockwork.time(START) == "09:00:00"
    assert clockwork.zone(START) == "CET"
    assert clockwork.since(int(START) - 3600, START) == "since 08:00"
    assert clockwork.since(int(START) - 86400, START) == "since 14 Jan, 09:00"
    assert clockwork.since(None, START) == ""


@pytest.mark.parametrize(
    ("greatest", "labels"),
    [
        (0, ["1", "2 to 3", "4 to 7", "8 to 15", "16 or more"]),
        (63, ["1", "2 to 3", "4 to 7", "8 to 15", "16 or more"]),
        (64, ["1 to 7", "8 to 15", "16 to 31", "32 to 63", "64 or more"]),
    ],
)
def test_a_colour_is_what_its_legend_says(greatest: int, labels: list[str]) -> None:
    scale = Scale(greatest)
    assert scale.labels() == labels
    for number in range(1, 5 * scale.unit * 16):
        bounds = [int(part) for part in re.findall(r"\d+", labels[scale.level(number) - 1].replace(",", ""))]
        low, high = bounds[0], bounds[-1] if "more" not in labels[scale.level(number) - 1] else number
        assert low <= number <= max(low, high)
    assert scale.level(0) == 0


async def test_the_page_is_filled_by_the_server_too(console: Console) -> None:
    console.feed.start()
    console.source.send(action_day())
    await console.until(lambda: console.feed.moment().state is not None)
    async with console.logged_in() as client:
        html = (await client.get("/")).text
    await console.feed.stop()
    state = action_day()
    rows = re.findall(r'<th scope="row">([A-Z]+)</th>', html)
    assert rows == [one.name for one in state.nodes]
    assert len(re.findall(r"<td ", html)) == len(rows) * (len(rows) + 1)
    assert not re.search(r"<[^>]* style=|<style|<script(?![^>]* src=)|\bon[a-z]+=", html), (
        "nothing that the policy bars"
    )
    assert 'lang="en"' in html


async def test_a_hostile_title_stays_text(console: Console) -> None:
    console.feed.start()
    console.source.send(small(operations=[operation(HOSTILE[:40], HOSTILE, OperationPhase.ACTIVE, exercise=True)]))
    await console.until(lambda: console.feed.moment().state is not None)
    async with console.logged_in() as client:
        html = (await client.get("/")).text
    await console.feed.stop()
    assert "<script>alert" not in html
    assert HOSTILE in unescape(html)
    assert "EXERCISE: what is marked so is a rehearsal" in html


async def test_a_hostile_key_in_a_link_stays_text(console: Console) -> None:
    async with console.client() as client:
        html = (await client.get("/login", params={"key": HOSTILE})).text
    assert "<script>" not in html
    assert HOSTILE in unescape(html)


def test_the_report_s_totals_show_once_it_is_frozen() -> None:
    report = FrozenReport(
        frozen_at=int(START), totals={"platforms": 371, "platforms_csa": 10}, matches=112, included=26
    )
    done = operation("op1", "Done", OperationPhase.REPORTED, participants=27, signed=27, report=report)
    page = page_of(small(operations=[operation("op2", "Now", OperationPhase.SWEEPING), done]))
    assert texts(page, "now.title", "now.phase") == ["Now", "Sweep running"]
    now, then = page.operations
    assert now.totals == ()
    assert ("Platforms checked", "371") in then.totals
    assert ("Platforms linked to child sexual abuse", "10") in then.totals
    assert "26 of 27 participants are in the counts" in then.facts


def test_partners_stand_apart() -> None:
    state = small(matches=matches(DE_NL=1), partners=[PartnerMatches(partner="IJM", counts={"e164": 4, "platform": 7})])
    page = page_of(state)
    assert page.partners == (("IJM", "11 hits"),)
    assert page.slots["total"].text == "1"


async def test_the_page_before_the_gateway_s_first_word_is_a_page(console: Console) -> None:
    async with console.logged_in() as client:
        answer = await client.get("/")
    assert answer.status_code == 200
    assert "does not answer" in answer.text
