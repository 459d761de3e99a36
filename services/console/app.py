"""The console's pages: login, the page itself, its events; whoever is not in is told how to get in."""

from __future__ import annotations

import asyncio
import json
import logging
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

from fastapi import Depends, FastAPI, Request
from fastapi.telemetry import TelemetryConfig
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from starlette.exceptions import HTTPException
from starlette.responses import HTMLResponse, RedirectResponse, Response, StreamingResponse

from concordat.errors import UnavailableError
from services.console.headers import HEALTH_PATH, REPORT_PATH, Headers
from services.console.login import LOGIN_PATH, SEE_OTHER, Door, read_small
from services.console.page import REPORT_ROWS, TILES, Clockwork, Frame, Page, build_page, cell

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Collection

    from services.console.feed import Feed, Moment

HERE: Final = Path(__file__).parent
BEAT_S: Final = 2.0
MAX_REPORT_BYTES: Final = 16 << 10
_TYPES: Final = {".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}
# The framework's own spans and logs would hold what routes get; ours are in concordat.telemetry.
_NO_TELEMETRY: Final = TelemetryConfig(
    tracing=False, metrics=False, logs=False, operation_spans=False, auto_configure=False
)

_log = logging.getLogger(__name__)


@dataclass(slots=True)
class Pages:
    """What the routes work with."""

    feed: Feed
    door: Door
    clockwork: Clockwork
    templates: Environment
    csp_reports: int = 0
    frame: Frame = field(default_factory=lambda: Frame.of(None))
    _made_of: tuple[int, int, int] | None = None
    _made: bytes = b""
    _kept: Moment | None = None

    def page(self) -> Page:
        """Return the page now; names stay where the numbers are gone."""
        moment = self.feed.moment()
        if moment.state is not None:
            self.frame = Frame.of(moment.state)
        return build_page(moment, self.frame, self.clockwork)

    def event(self) -> bytes:
        """Return the page now as an event; made once, however many pages are told of it."""
        moment = self.feed.moment()
        newest = moment.news[0].number if moment.news else 0
        key = (id(moment.state), newest, int(moment.heard_at))
        if key != self._made_of:
            self._made_of, self._made = key, _event("page", self.page().as_json())
            # Kept, so that no later state has the same place in memory.
            self._kept = moment
        return self._made

    def html(self, template: str, status: int = 200, **values: Any) -> HTMLResponse:
        """Return a template as an answer."""
        return HTMLResponse(self.templates.get_template(template).render(**values), status)


def build_app(feed: Feed, door: Door, clockwork: Clockwork, *, hosts: Collection[str]) -> FastAPI:
    """Make the app of a console.

    Args:
        feed: The gateway's events.
        door: Logins.
        clockwork: Writes times.
        hosts: `Host` headers under which the console answers.
    """
    templates = Environment(
        loader=FileSystemLoader(HERE / "templates"), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )
    app = FastAPI(openapi_url=None, docs_url=None, redoc_url=None, telemetry=_NO_TELEMETRY, redirect_slashes=False)
    app.state.pages = Pages(feed, door, clockwork, templates)
    _add_public(app)
    _add_private(app)
    app.add_exception_handler(_NotInError, _to_login)
    app.add_exception_handler(HTTPException, _to_login_or_code)
    app.add_middleware(Headers, hosts=hosts)
    return app


class _NotInError(Exception):
    """Raised where only a login may go on."""


def _pages(request: Request) -> Pages:
    found: Pages = request.app.state.pages
    return found


def _inside(request: Request) -> Pages:
    pages = _pages(request)
    if not pages.door.is_in(request):
        raise _NotInError
    return pages


Anyone = Annotated[Pages, Depends(_pages)]
Inside = Annotated[Pages, Depends(_inside)]


async def _to_login(_request: Request, _error: Exception) -> Response:
    return RedirectResponse(LOGIN_PATH, SEE_OTHER)


async def _to_login_or_code(request: Request, error: Exception) -> Response:
    # Whoever is not in does not learn what exists (I8).
    pages = _pages(request)
    status = error.status_code if isinstance(error, HTTPException) else 500
    if not pages.door.is_in(request):
        return RedirectResponse(LOGIN_PATH, SEE_OTHER)
    return Response(f"{status}\n", status, media_type="text/plain")


def _add_public(app: FastAPI) -> None:
    files = {path.name: path.read_bytes() for path in sorted((HERE / "static").iterdir())}

    @app.get(HEALTH_PATH)
    async def healthz() -> Response:
        return Response("ok\n", media_type="text/plain")

    @app.get("/static/{name}")
    async def static(name: str) -> Response:
        if name not in files:
            raise HTTPException(404)
        return Response(files[name], media_type=_TYPES[Path(name).suffix])

    @app.get(LOGIN_PATH)
    async def ask(pages: Anyone, key: str = "") -> Response:
        return pages.html("login.html", key=key, refused=False)

    @app.post(LOGIN_PATH)
    async def enter(request: Request, pages: Anyone) -> Response:
        def refuse() -> Response:
            return pages.html("login.html", 403, key="", refused=True)

        return await pages.door.enter(request, refuse) if pages.door.from_here(request) else refuse()

    @app.post(REPORT_PATH)
    async def report(request: Request, pages: Anyone) -> Response:
        await read_small(request, MAX_REPORT_BYTES)
        pages.csp_reports += 1
        # Anybody could have sent it: its content is not repeated, and a flood of them is few lines (1, 2, 4, 8 ...).
        if pages.csp_reports.bit_count() == 1:
            _log.warning("browsers report breaches of the content security policy", extra={"count": pages.csp_reports})
        return Response(status_code=204)


def _add_private(app: FastAPI) -> None:
    @app.get("/")
    async def show(pages: Inside) -> Response:
        page = pages.page()
        return pages.html(
            "page.html", page=page, frame=pages.frame, cell=cell, tiles=TILES, rows=REPORT_ROWS, zone=_zone(pages)
        )

    @app.post("/logout")
    async def leave(request: Request, pages: Inside) -> Response:
        return pages.door.leave(request) if pages.door.from_here(request) else RedirectResponse("/", SEE_OTHER)

    @app.get("/events")
    async def events(request: Request, pages: Inside) -> Response:
        return StreamingResponse(event_lines(request, pages), media_type="text/event-stream")


def _zone(pages: Pages) -> str:
    return pages.clockwork.zone(pages.feed.moment().heard_at)


async def event_lines(request: Request, pages: Pages, *, beat_s: float = BEAT_S) -> AsyncIterator[bytes]:
    """Yield the page whenever it is new, else a sign of life, for as long as the login lasts."""
    with suppress(UnavailableError), pages.feed.listen() as listener:
        while pages.door.is_in(request):
            fresh = await listener.next(beat_s)
            if not pages.door.is_in(request):
                # Logged out while it waited: what is new is no business of that browser any more.
                return
            if fresh:
                yield pages.event()
                # A burst of matches is one picture, not a hundred.
                await asyncio.sleep(0.1)
            else:
                yield _event("alive", {"heard": pages.clockwork.time(pages.feed.moment().heard_at)})


def _event(name: str, body: dict[str, Any]) -> bytes:
    return f"event: {name}\ndata: {json.dumps(body)}\n\n".encode()
