"""The feed: news in words, no old number after silence, and no page that another page holds up."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any

import pytest

from concordat.api.operator import CustodianState, OperationPhase, PartnerMatches
from concordat.client.sse import ServerEvent
from concordat.errors import RefusedError, UnavailableError
from services.console.app import BEAT_S, event_lines
from services.console.news import MOST_PAIRS, news_between
from tests.unit.console.console_world import (
    START,
    WAIT_S,
    Console,
    make_console,
    matches,
    node,
    operation,
    small,
    sweeping,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path


@pytest.fixture
async def console(tmp_path: Path) -> AsyncIterator[Console]:
    found = make_console(tmp_path)
    found.feed.start()
    yield found
    await found.feed.stop()


async def show(console: Console, version: int, **changes: Any) -> None:
    """Send a state and wait until it shows."""
    console.source.send(small(version, **changes))

    def shown() -> bool:
        state = console.feed.moment().state
        return state is not None and state.version == version

    await console.until(shown)


def test_news_are_in_words() -> None:
    before = small(matches=matches(DE_NL=1, DE_RO=2, NL_RO=1))
    after = small(
        matches=matches(DE_NL=4, DE_RO=1),
        partners=[PartnerMatches(partner="IJM", counts={"e164": 1})],
        nodes=[node("DE"), node("NL", attached=False), node("RO")],
        custodians=[CustodianState(name=f"c{n}", serving=n != 2, since=int(START)) for n in (1, 2, 3)],
        operations=[operation("op1", "Chain", OperationPhase.PROPOSED)],
    )
    assert news_between(before, after) == [
        "Operation Chain: proposed",
        "Custodian c2 does not serve",
        "NL is absent",
        "DE and NL: 3 more matches, 4 now",
        "DE and RO: 1 fewer match, 1 now",
        "NL and RO: no match any more",
        "Partner IJM: first hit",
    ]
    assert "DE and NL: first match" in news_between(small(), before)
    assert "DE and RO: first 2 matches" in news_between(small(), before)
    assert news_between(before, before) == []
    assert news_between(after, before)[:2] == ["Custodian c2 serves again", "NL is attached"]


def test_a_sweep_s_course_is_told() -> None:
    def lines(one: OperationPhase, other: OperationPhase, signed: int = 3) -> list[str]:
        before = small(operations=[operation("op1", "Chain", one, signed=2)])
        return news_between(before, small(operations=[operation("op1", "Chain", other, signed=signed)]))

    phases = OperationPhase
    assert lines(phases.PROPOSED, phases.PROPOSED) == ["Operation Chain: 3 of 3 have signed"]
    assert lines(phases.PROPOSED, phases.ACTIVE) == ["Operation Chain: signed by all participants"]
    assert lines(phases.ACTIVE, phases.SWEEPING) == ["Operation Chain: the sweep runs"]
    assert lines(phases.SWEEPING, phases.ACTIVE) == ["Operation Chain: the sweep ended without a report"]
    assert lines(phases.SWEEPING, phases.REPORTED) == ["Operation Chain: the report is frozen"]


def test_who_is_left_out_of_a_sweep_is_told_once() -> None:
    before, after = (small(operations=[sweeping(done, dropped=code)]) for done, code in ((8, ""), (9, "deadline")))
    assert news_between(before, after) == ["Operation Chain: RO is left out of the sweep [deadline]"]
    assert news_between(after, small(operations=[sweeping(10)])) == []
    assert len(news_between(small(), after)) == 2


def test_a_sweep_that_opens_hundreds_of_pairs_is_few_lines() -> None:
    names = [f"{a}{b}" for a in "ABCD" for b in "ABCD"]
    pairs = {f"{one}_{other}": 1 for place, one in enumerate(names) for other in names[place + 1 :]}
    lines = news_between(small(), small(matches=matches(**pairs)))
    assert len(lines) == MOST_PAIRS + 1
    assert lines[-1] == f"and {len(pairs) - MOST_PAIRS} more pairs with other numbers"


async def test_what_is_new_stands_on_top_with_its_time(console: Console) -> None:
    await show(console, 1)
    console.clock.advance(61)
    await show(console, 2, matches=matches(NL_RO=1))
    await show(console, 3, matches=matches(NL_RO=3))
    news = console.feed.moment().news
    assert [one.text for one in news] == ["NL and RO: 2 more matches, 3 now", "NL and RO: first match"]
    assert news[-1].at == START + 61


async def test_after_some_silence_there_is_no_number_until_the_gateway_speaks(console: Console) -> None:
    await show(console, 1)
    heard_at = console.clock.now()
    await console.ticks.pass_s(6)
    assert console.feed.moment().state is not None
    await console.ticks.pass_s(1)
    silent = console.feed.moment()
    assert silent.state is None
    assert silent.heard_at == heard_at
    console.source.alive()
    await console.until(lambda: console.feed.moment().state is not None)
    assert console.feed.moment().heard_at == heard_at + 7


async def test_a_stream_that_ends_with_its_token_and_comes_back_shows_no_gap(console: Console) -> None:
    await show(console, 1)
    console.source.breaks()
    await show(console, 2)
    console.source.breaks()
    await console.until(console.source.queue.empty)
    await asyncio.sleep(0)
    assert console.feed.moment().state is not None


async def test_a_gateway_that_cannot_be_dialled_again_is_gone_at_once(console: Console) -> None:
    await show(console, 1)
    console.source.breaks(2)
    await console.until(lambda: console.feed.moment().state is None)


@pytest.mark.parametrize("what", ["refused", "unreadable"])
async def test_what_no_waiting_mends_hides_the_numbers_and_is_tried_again(
    console: Console, what: str, caplog: pytest.LogCaptureFixture
) -> None:
    await show(console, 1)
    bad = RefusedError("no") if what == "refused" else ServerEvent("state", '{"version": "hostile-text"}', "1")
    console.source.queue.put_nowait(bad)
    await console.until(lambda: console.feed.moment().state is None)
    await console.ticks.pass_s(5)
    await console.until(lambda: console.source.asked == 2)
    await show(console, 2)
    assert "hostile-text" not in caplog.text


class Page:
    """A page that follows the console."""

    def __init__(self, console: Console, cookie: str | None, *, beat_s: float = BEAT_S) -> None:
        class Request:
            cookies = {} if cookie is None else {"__Host-concordat": cookie}

        self.lines = event_lines(Request(), console.app.state.pages, beat_s=beat_s)  # type: ignore[arg-type]  # all of it that is read

    async def next(self) -> tuple[str, dict[str, Any]]:
        async with asyncio.timeout(WAIT_S):
            text = (await anext(self.lines)).decode()
        event, data = text.strip().split("\n")
        return event.removeprefix("event: "), json.loads(data.removeprefix("data: "))


async def test_a_page_gets_the_newest_picture_and_ends_with_its_login(console: Console) -> None:
    await show(console, 1)
    cookie = console.sessions.begin()
    page = Page(console, cookie)
    kind, first = await page.next()
    assert kind == "page"
    assert first["slots"]["NL|RO"] == ["0", "level-0"]
    for number in range(2, 6):
        await show(console, number, matches=matches(NL_RO=number))
    kind, second = await page.next()
    assert second["slots"]["NL|RO"] == ["5", "level-3"], "one picture, not four"
    assert second["news"][0][2] == "NL and RO: 1 more match, 5 now"
    console.sessions.end(cookie)
    with pytest.raises(StopAsyncIteration):
        await page.next()


async def test_a_page_that_waits_at_its_logout_hears_nothing_more(console: Console) -> None:
    await show(console, 1)
    cookie = console.sessions.begin()
    page = Page(console, cookie, beat_s=WAIT_S)
    await page.next()

    async def rest() -> list[bytes]:
        return [line async for line in page.lines]

    waiting = asyncio.create_task(rest())
    await asyncio.sleep(0.2)
    console.sessions.end(cookie)
    await show(console, 2, matches=matches(NL_RO=5))
    async with asyncio.timeout(WAIT_S):
        assert await waiting == []


async def test_pages_at_once_are_bounded_and_end_with_the_console(console: Console) -> None:
    await show(console, 1)
    cookie = console.sessions.begin()
    pages = [Page(console, cookie) for _ in range(8)]
    for page in pages:
        await page.next()
    with pytest.raises(StopAsyncIteration):
        await Page(console, cookie).next()
    with pytest.raises(UnavailableError), console.feed.listen():
        pass
    await console.feed.stop()
    with pytest.raises(StopAsyncIteration):
        await pages[0].next()
    for page in pages:
        await page.lines.aclose()  # type: ignore[attr-defined]  # an async generator


async def test_a_quiet_page_gets_a_sign_of_life(console: Console) -> None:
    await show(console, 1)
    page = Page(console, console.sessions.begin(), beat_s=0.01)
    await page.next()
    assert await page.next() == ("alive", {"heard": "08:00:00"})
    await page.lines.aclose()  # type: ignore[attr-defined]  # an async generator
