"""One-time links, logins, and that whoever is not in learns only how to get in."""

from __future__ import annotations

import asyncio
import hashlib
import logging
from typing import TYPE_CHECKING

import pytest
from starlette.requests import Request

from concordat.errors import RefusedError
from services.console.headers import HEADERS
from services.console.links import FOLDER, MAX_LINKS
from services.console.login import BODY_S, read_small
from tests.unit.console.console_world import HOST, ORIGIN, WAIT_S, Console, enter, make_console

if TYPE_CHECKING:
    from pathlib import Path

    import httpx
    from starlette.types import Message

HOUR_S = 3600


@pytest.fixture
def console(tmp_path: Path) -> Console:
    return make_console(tmp_path)


def cookie_of(answer: httpx.Response) -> dict[str, str]:
    """Return the attributes of the one cookie that an answer sets."""
    (line,) = answer.headers.get_list("set-cookie")
    parts = [part.strip().partition("=") for part in line.split(";")]
    return {name.lower() if number else name: value for number, (name, _, value) in enumerate(parts)}


async def test_a_link_lets_one_browser_in_once(console: Console) -> None:
    key = console.links.make()
    async with console.client() as first, console.client() as second:
        opened = await first.get("/login", params={"key": key})
        assert opened.status_code == 200
        assert "Enter the console" in opened.text
        answer = await enter(first, key)
        assert (answer.status_code, answer.headers["location"]) == (303, "/")
        assert (await first.get("/")).status_code == 200
        refused = await enter(second, key)
        assert refused.status_code == 403
        assert "was used" in refused.text
        assert (await second.get("/")).headers["location"] == "/login"


async def test_opening_a_link_uses_nothing_up(console: Console) -> None:
    key = console.links.make()
    async with console.client() as preview, console.client() as person:
        for _ in range(3):
            assert "set-cookie" not in (await preview.get("/login", params={"key": key})).headers
        assert (await enter(person, key)).status_code == 303


async def test_a_link_runs_out_after_a_quarter_of_an_hour(console: Console) -> None:
    early, late = console.links.make(), console.links.make()
    console.clock.advance(15 * 60 - 1)
    async with console.client() as client:
        assert (await enter(client, early)).status_code == 303
        console.clock.advance(1)
        assert (await enter(client, late)).status_code == 403


@pytest.mark.parametrize("key", ["", "x", "A" * 43, "../../tls.key", "\0" * 43, "é" * 43])
async def test_what_was_never_a_link_is_refused(console: Console, key: str) -> None:
    console.links.make()
    async with console.client() as client:
        answer = await enter(client, key)
        assert answer.status_code == 403
        assert "set-cookie" not in answer.headers


def test_the_disk_holds_a_hash_that_only_the_owner_may_read(console: Console) -> None:
    key = console.links.make()
    (path,) = (console.home / FOLDER).iterdir()
    assert path.name == hashlib.sha256(key.encode()).hexdigest()
    assert path.read_text().strip().isdigit(), "the end of the link, and nothing else"
    assert (path.stat().st_mode & 0o777, path.parent.stat().st_mode & 0o777) == (0o600, 0o700)


def test_links_are_bounded_and_those_that_ran_out_make_room(console: Console) -> None:
    for _ in range(MAX_LINKS):
        console.links.make()
    with pytest.raises(RefusedError):
        console.links.make()
    console.clock.advance(15 * 60)
    console.links.make()
    assert len(list((console.home / FOLDER).iterdir())) == 1


async def test_the_cookie_is_of_use_to_this_console_only(console: Console) -> None:
    async with console.client() as client:
        cookie = cookie_of(await enter(client, console.links.make()))
    assert len(cookie.pop("__Host-concordat")) == 43
    assert cookie == {"httponly": "", "max-age": "43200", "path": "/", "samesite": "strict", "secure": ""}


async def test_a_login_ends_by_itself_by_hand_and_when_there_are_too_many(tmp_path: Path) -> None:
    console = make_console(tmp_path, max_sessions=2)
    async with console.logged_in() as first:
        console.clock.advance(12 * HOUR_S - 1)
        assert (await first.get("/")).status_code == 200
        console.clock.advance(1)
        assert (await first.get("/")).status_code == 303
    async with console.logged_in() as oldest, console.logged_in(), console.logged_in() as newest:
        assert (await oldest.get("/")).status_code == 303
        cookie = newest.cookies["__Host-concordat"]
        assert (await newest.post("/logout", headers={"Origin": ORIGIN})).headers["location"] == "/login"
        async with console.client(cookies={"__Host-concordat": cookie}) as thief:
            assert (await thief.get("/")).status_code == 303, "the cookie is of no use after the logout"


@pytest.mark.parametrize("headers", [{}, {"Origin": "https://evil.example"}, {"Origin": "null"}])
async def test_a_stranger_s_page_can_neither_log_in_nor_out(console: Console, headers: dict[str, str]) -> None:
    key = console.links.make()
    async with console.client() as client:
        answer = await client.post("/login", data={"key": key}, headers={"Sec-Fetch-Site": "cross-site", **headers})
        assert answer.status_code == 403
        assert (await enter(client, key)).status_code == 303, "the link was not used up"
        await client.post("/logout", headers={"Sec-Fetch-Site": "cross-site", **headers})
        assert (await client.get("/")).status_code == 200, "still in"


async def test_a_browser_that_hides_the_origin_but_says_same_origin_gets_in(console: Console) -> None:
    async with console.client() as client:
        answer = await enter(client, console.links.make(), Origin="null", **{"Sec-Fetch-Site": "same-origin"})
        assert answer.status_code == 303


@pytest.mark.parametrize("path", ["/", "/events", "/logout", "/nothing", "/static/../links", "/static/x", "/docs"])
@pytest.mark.parametrize("method", ["GET", "POST", "DELETE"])
async def test_whoever_is_not_in_is_shown_how_to_get_in_and_not_what_there_is(
    console: Console, method: str, path: str
) -> None:
    async with console.client(cookies={"__Host-concordat": "A" * 43}) as client:
        answer = await client.request(method, path)
        assert (answer.status_code, answer.headers["location"]) == (303, "/login")
        page = await client.get("/login")
        assert "concordat console link" in page.text


async def test_unknown_paths_are_not_found_for_who_is_in(console: Console) -> None:
    async with console.logged_in() as client:
        assert (await client.get("/nothing")).status_code == 404
        assert (await client.get("/static/nothing.js")).status_code == 404
        assert (await client.delete("/")).status_code == 405


async def test_every_answer_has_every_header(console: Console) -> None:
    wanted = {name.decode(): value.decode() for name, value in HEADERS}
    assert "default-src 'none'" in wanted["content-security-policy"]
    assert "unsafe" not in wanted["content-security-policy"]
    async with console.client() as stranger, console.logged_in() as client:
        answers = [await stranger.get(path) for path in ("/", "/login", "/healthz", "/static/console.css", "/nothing")]
        answers += [await client.get(path) for path in ("/", "/static/console.js", "/nothing")]
        answers.append(await stranger.get("/login", headers={"Host": "evil.example"}))
    for answer in answers:
        assert {name: answer.headers[name] for name in wanted} == wanted


@pytest.mark.parametrize("host", ["evil.example", "evil.example:7480", "localhost", "localhost:7480.evil.example", ""])
async def test_another_host_name_gets_no_page(console: Console, host: str) -> None:
    async with console.logged_in() as client:
        answer = await client.get("/", headers={"Host": host})
        assert answer.status_code == 421
        assert (await client.get("/healthz", headers={"Host": "10.1.2.3"})).status_code == 200
        assert (await client.get("/", headers={"Host": HOST.upper()})).status_code == 200


async def test_reports_of_the_policy_are_counted_and_never_repeated(
    console: Console, caplog: pytest.LogCaptureFixture
) -> None:
    async with console.client() as client:
        answer = await client.post("/csp-report", content=b'{"csp-report": {"blocked-uri": "hostile-text"}}')
        assert answer.status_code == 204
        assert (await client.post("/csp-report", content=b"x" * 100_000)).status_code == 204
    assert console.app.state.pages.csp_reports == 2
    assert "hostile-text" not in caplog.text


async def test_a_flood_of_reports_is_few_lines(console: Console, caplog: pytest.LogCaptureFixture) -> None:
    async with console.client() as client:
        for _ in range(100):
            assert (await client.post("/csp-report")).status_code == 204
    said = [record for record in caplog.records if record.name.startswith("services.")]
    assert [record.__dict__["count"] for record in said] == [1, 2, 4, 8, 16, 32, 64]


async def test_a_body_that_does_not_come_is_given_up() -> None:
    """Nobody needs a login to send one, so that bodies without end would keep everybody else's place."""

    async def never() -> Message:
        await asyncio.Event().wait()
        raise AssertionError

    request = Request({"type": "http", "method": "POST", "path": "/login", "headers": []}, never)
    async with asyncio.timeout(WAIT_S):
        assert await read_small(request, 512, within_s=0.01) is None
    assert 0 < BODY_S <= 30


async def test_no_key_and_no_cookie_stands_in_a_log(console: Console, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    key = console.links.make()
    async with console.client() as client:
        await client.get("/login", params={"key": key})
        await enter(client, key)
        await enter(client, key)
        cookie = client.cookies["__Host-concordat"]
        await client.get("/")
    said = "\n".join(f"{record.getMessage()} {record.__dict__}" for record in caplog.records if record.name != "httpx")
    assert key not in said
    assert cookie not in said


async def test_a_form_that_is_none_is_refused(console: Console) -> None:
    async with console.client() as client:
        for body, kind in ((b"key=" + b"x" * 5000, "application/x-www-form-urlencoded"), (b"{}", "application/json")):
            headers = {"Origin": ORIGIN, "Content-Type": kind}
            assert (await client.post("/login", content=body, headers=headers)).status_code == 403
