"""Getting in and out: a one-time link, then a cookie (docs/console.md).

Opening a link uses nothing up, as mail scanners and previews open links too; the button on its page does.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final
from urllib.parse import parse_qs

from starlette.requests import ClientDisconnect
from starlette.responses import RedirectResponse

from concordat.errors import RefusedError

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from fastapi import Request
    from starlette.responses import Response

    from services.console.links import LoginLinks
    from services.console.sessions import Sessions

LOGIN_PATH: Final = "/login"
MAX_FORM_BYTES: Final = 512
BODY_S: Final = 10.0
SEE_OTHER: Final = 303


class Door:
    """Who is in, and how to get in."""

    def __init__(self, links: LoginLinks, sessions: Sessions, *, origins: Collection[str], secure: bool) -> None:
        self._links = links
        self._sessions = sessions
        self._origins = frozenset(origins)
        self._secure = secure
        # The prefix lets no other host of the domain set it, and needs TLS.
        self.cookie: Final = "__Host-concordat" if secure else "concordat"

    def is_in(self, request: Request) -> bool:
        """Tell whether a request comes from a login."""
        return self._sessions.holds(request.cookies.get(self.cookie))

    def from_here(self, request: Request) -> bool:
        """Tell whether a request that changes something comes from a page of this console."""
        origin = request.headers.get("origin")
        # A page without referrers says 'null' here, and a browser that does says where the request comes from as well.
        own = origin == "null" and request.headers.get("sec-fetch-site") == "same-origin"
        return own or origin in self._origins

    async def enter(self, request: Request, refuse: Callable[[], Response]) -> Response:
        """Use up a link and begin a login."""
        form = await read_form(request)
        try:
            self._links.use(form.get("key", ""))
        except RefusedError:
            return refuse()
        answer = RedirectResponse("/", SEE_OTHER)
        answer.set_cookie(
            self.cookie,
            self._sessions.begin(),
            max_age=self._sessions.life_s,
            path="/",
            secure=self._secure,
            httponly=True,
            samesite="strict",
        )
        return answer

    def leave(self, request: Request) -> Response:
        """End a login."""
        self._sessions.end(request.cookies.get(self.cookie))
        answer = RedirectResponse(LOGIN_PATH, SEE_OTHER)
        answer.delete_cookie(self.cookie, path="/", secure=self._secure, httponly=True, samesite="strict")
        return answer


async def read_form(request: Request) -> dict[str, str]:
    """Return the fields of a small form; nothing where it is no form, or too large."""
    body = await read_small(request, MAX_FORM_BYTES)
    if body is None or request.headers.get("content-type") != "application/x-www-form-urlencoded":
        return {}
    try:
        fields = parse_qs(body.decode("ascii"), max_num_fields=4)
    except (ValueError, UnicodeDecodeError):
        return {}
    return {name: values[0] for name, values in fields.items()}


async def read_small(request: Request, most: int, *, within_s: float = BODY_S) -> bytes | None:
    """Return a body of at most so many bytes that is there in time, or None: whoever sends it is not known yet."""
    body = bytearray()
    try:
        async with asyncio.timeout(within_s):
            async for part in request.stream():
                body += part
                if len(body) > most:
                    return None
    except (ClientDisconnect, TimeoutError):
        return None
    return bytes(body)
