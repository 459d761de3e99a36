"""The operator's page in a real browser, over real processes: how soon it shows what, and that it is fit to be read.

The bounds are those of the page's promise: a match within a second of its notice, an absent node within its lease.
"""

from __future__ import annotations

import asyncio
import os
import signal
import threading
import time
from contextlib import contextmanager
from datetime import UTC
from typing import TYPE_CHECKING

import pytest

from concordat.api.operator import OperationPhase
from concordat.clock import SystemClock
from concordat.web import bind
from gateway.rules import Limits
from services.console.app import build_app
from services.console.feed import Feed
from services.console.links import LoginLinks
from services.console.login import Door
from services.console.page import Clockwork
from services.console.server import serve
from services.console.service import link_of
from services.console.sessions import Sessions
from tests.e2e.browser import browser, keep, needs_chromium, visit
from tests.e2e.local import KillableFederation, mails, run_json, until
from tests.unit.console.console_world import HandSource, action_day, operation, sweeping

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from playwright.sync_api import Browser

    from concordat.api.operator import OperatorState
    from demo.processes import Event
    from tests.e2e.browser import Visit

pytestmark = needs_chromium

NAMES = ("NL", "DE", "RO")
NOTICE_TO_PAGE_S = 1.0
HOSTILE = '"><img src=x onerror="window.hit=1"><script>window.hit=1</script>'


class TimedFederation(KillableFederation):
    """A federation that notes when each node said that it was told of a match."""

    def __init__(self, folder: Path, names: tuple[str, ...]) -> None:
        super().__init__(folder, names, console=True)
        self.told_at: list[float] = []

    def _keep(self, process: str, event: Event) -> None:
        if event.get("event") == "told":
            self.told_at.append(time.time())
        super()._keep(process, event)

    def new_link(self) -> str:
        """Return a login link made by the command."""
        found: str = run_json("console", "link", "--home", self.home("console", "console"))["link"]
        return found


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    with browser() as started:
        yield started


@pytest.fixture(scope="module")
def federation(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TimedFederation]:
    with TimedFederation(tmp_path_factory.mktemp("console"), NAMES) as made:
        made.prepare()
        yield made


@pytest.fixture
def open_page(federation: TimedFederation, chromium: Browser) -> Iterator[Visit]:
    """The page, live, with all nodes attached."""
    federation.whole()
    with visit(chromium) as visited:
        visited.enter(federation.new_link())
        visited.wait_slot("tile.nodes", f"{len(NAMES)} of {len(NAMES)}")
        visited.wait_slot("tile.custodians", "3 of 3")
        yield visited


def test_a_new_match_shows_within_a_second_of_its_notice(
    federation: TimedFederation, open_page: Visit, tmp_path: Path
) -> None:
    assert open_page.text("DE|NL") == "0"
    federation.submit("NL", mails(tmp_path / "nl.csv", [1]))
    federation.submit("DE", mails(tmp_path / "de.csv", [1]))
    shown_at = open_page.changed_at("DE|NL", "1")
    until("both nodes were told", lambda: len(federation.told_at) >= 2)
    assert shown_at - max(federation.told_at[:2]) <= NOTICE_TO_PAGE_S
    assert open_page.text("tile.communication_devices") == "1"
    assert "DE and NL: first match" in open_page.page.get_by_role("log").inner_text()


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSTOP], ids=["killed", "frozen"])
def test_an_absent_node_shows_within_its_lease(
    federation: TimedFederation, open_page: Visit, number: signal.Signals
) -> None:
    host = federation.host_of("RO")
    assert host.pid is not None
    since = time.time()
    if number is signal.SIGKILL:
        federation.kill(host)
    else:
        os.kill(host.pid, number)
    try:
        assert open_page.changed_at("node.RO", "absent") - since <= Limits().absent_after_s
        assert open_page.text("tile.nodes") == "2 of 3"
        assert "RO is absent" in open_page.page.get_by_role("log").inner_text()
    finally:
        if number is signal.SIGSTOP:
            os.kill(host.pid, signal.SIGCONT)
    federation.whole()
    open_page.wait_slot("node.RO", "attached")


def test_a_custodian_that_does_not_serve_shows(federation: TimedFederation, open_page: Visit) -> None:
    federation.kill(federation.custodians["c2"])
    open_page.wait_slot("custodian.c2", "silent")
    open_page.wait_slot("tile.custodians", "2 of 3")
    federation.whole()
    open_page.wait_slot("custodian.c2", "serves")


def test_without_the_gateway_no_number_is_left_and_the_page_comes_back_by_itself(
    federation: TimedFederation, open_page: Visit
) -> None:
    total = open_page.text("total")
    federation.kill(federation.hub)
    open_page.wait_slot("away", "does not answer since")
    assert {open_page.text(slot) for slot in ("total", "DE|NL", "node.NL", "tile.nodes")} == {"\N{EN DASH}"}
    for text in ("No operation.", "No hit yet."):
        assert not open_page.page.get_by_text(text).is_visible(), "what is not known is not denied either"
    federation.whole()
    open_page.wait_slot("tile.nodes", "3 of 3")
    assert open_page.text("away") == ""
    assert open_page.page.get_by_text("No operation.").is_visible()
    assert open_page.text("total") == total


def test_a_link_works_once_and_a_logout_ends_the_login(federation: TimedFederation, chromium: Browser) -> None:
    federation.whole()
    link = federation.new_link()
    with visit(chromium) as visited:
        visited.enter(link)
        visited.page.get_by_role("button", name="Log out").click()
        visited.page.get_by_text("You are not logged in").wait_for()
        visited.page.goto(link.partition("/login")[0])
        visited.page.get_by_text("You are not logged in").wait_for()
        visited.page.goto(link)
        visited.page.get_by_role("button", name="Enter the console").click()
        visited.page.get_by_text("was used").wait_for()
        # The refusal has the status that it should have, of which Chromium complains.
        assert [one for one in visited.complaints if "403" not in one] == []
        visited.complaints.clear()


@contextmanager
def action_day_console(folder: Path, *, begun: bool = True) -> Iterator[tuple[str, Callable[[OperatorState], None]]]:
    """Serve a page of 26 countries and Europol from this process; give its link, and what shows another state."""
    clock, source, sockets = SystemClock(), HandSource(), bind("localhost:0")
    origin = f"http://localhost:{sockets[0].getsockname()[1]}"
    links = LoginLinks(folder, clock=clock, random_bytes=os.urandom, minutes=15)
    door = Door(links, Sessions(clock=clock, random_bytes=os.urandom, hours=1, most=8), origins=[origin], secure=False)
    ready, loop, stop = threading.Event(), asyncio.new_event_loop(), asyncio.Event()

    async def run() -> None:
        feed = Feed(source, clock=clock, most=8, silence_s=60)
        app = build_app(feed, door, Clockwork(UTC), hosts=[origin.removeprefix("http://")])
        feed.start()
        if begun:
            source.send(action_day(absent=()))
        await serve(app, sockets, None, on_ready=ready.set, on_stop=feed.stop, stop=stop)

    def show(state: OperatorState) -> None:
        loop.call_soon_threadsafe(source.send, state)

    thread = threading.Thread(target=loop.run_until_complete, args=(run(),), name="console")
    thread.start()
    try:
        assert ready.wait(20)
        yield link_of(origin, links.make()), show
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join()
        loop.close()


def test_the_page_of_an_action_day_is_fit_to_be_read(chromium: Browser, tmp_path: Path) -> None:
    with action_day_console(tmp_path) as (link, show), visit(chromium, color_scheme="light") as visited:
        visited.enter(link)
        visited.wait_slot("tile.nodes", "27 of 27")
        show(action_day())
        visited.wait_slot("node.LT", "absent")
        keep(visited.page, tmp_path, "console-light")
        assert visited.audit() == []
        keep(visited.page, tmp_path, "console-dark")
        visited.page.set_viewport_size({"width": 420, "height": 900})
        overflow = "document.documentElement.scrollWidth - document.documentElement.clientWidth"
        assert visited.page.evaluate(overflow) == 0, "on a telephone the table scrolls, and the page does not"
        visited.page.keyboard.press("Tab")
        assert visited.page.evaluate("document.activeElement.textContent") == "Skip to the matches"
        visited.page.goto(link.partition("?")[0])
        assert visited.audit() == []


def test_the_course_of_a_sweep_shows_in_its_operations_card(chromium: Browser, tmp_path: Path) -> None:
    with action_day_console(tmp_path) as (link, show), visit(chromium) as visited:
        visited.enter(link)
        visited.wait_slot("now.title", "Global Chain")
        card = visited.page.locator("#operations li")
        for done, dropped in ((12, ""), (40, "deadline")):
            show(action_day().model_copy(update={"operations": (sweeping(done, dropped=dropped),)}))
            card.get_by_text(f"Sweep: {done} of 64 windows are done").wait_for()
            assert card.get_by_text("It waits for NL").is_visible()
            assert card.get_by_text("Left out: RO [deadline]").count() == bool(dropped)
        assert "RO is left out of the sweep [deadline]" in visited.page.get_by_role("log").inner_text()
        assert visited.audit() == []


def test_a_page_that_was_there_before_the_gateway_gets_its_table_by_itself(chromium: Browser, tmp_path: Path) -> None:
    with action_day_console(tmp_path, begun=False) as (link, show), visit(chromium) as visited:
        visited.enter(link)
        visited.wait_slot("away", "does not answer since")
        assert visited.page.get_by_role("rowheader").count() == 0
        show(action_day())
        visited.wait_slot("tile.nodes", "26 of 27")
        assert visited.page.get_by_role("rowheader").count() == 27
        assert visited.text("away") == ""


def test_a_hostile_title_and_name_stay_text_in_the_browser(chromium: Browser, tmp_path: Path) -> None:
    with action_day_console(tmp_path) as (link, show), visit(chromium) as visited:
        visited.enter(link)
        visited.wait_slot("now.title", "Global Chain")
        hostile = operation(HOSTILE[:60], HOSTILE, OperationPhase.ACTIVE)
        show(action_day().model_copy(update={"operations": (hostile,)}))
        visited.wait_slot("now.title", HOSTILE)
        assert HOSTILE in visited.page.locator("#operations h3").inner_text()
        assert HOSTILE in visited.page.get_by_role("log").inner_text()
        assert visited.page.evaluate("[document.images.length, document.scripts.length, window.hit ?? 0]") == [0, 1, 0]
