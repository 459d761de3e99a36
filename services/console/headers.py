"""Headers of every answer, and the one host under which the console answers at all."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Collection, MutableMapping

    Asgi = Callable[[MutableMapping[str, Any], Callable[..., Any], Callable[..., Any]], Awaitable[None]]

REPORT_PATH: Final = "/csp-report"
HEALTH_PATH: Final = "/healthz"
POLICY: Final = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self'",
        "font-src 'self'",
        "connect-src 'self'",
        "base-uri 'none'",
        "form-action 'self'",
        "frame-ancestors 'none'",
        f"report-uri {REPORT_PATH}",
    )
)
HEADERS: Final = (
    (b"content-security-policy", POLICY.encode()),
    (b"cache-control", b"no-store"),
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"permissions-policy", b"camera=(), geolocation=(), microphone=()"),
)


class Headers:
    """Puts the headers on every answer, and answers no request for another host.

    A page of a stranger whose name is made to point here would otherwise be of the same origin as this one.
    """

    def __init__(self, app: Asgi, hosts: Collection[str]) -> None:
        self._app = app
        self._hosts = frozenset(host.encode() for host in hosts)

    async def __call__(
        self, scope: MutableMapping[str, Any], receive: Callable[..., Any], send: Callable[..., Any]
    ) -> None:
        """Serve a request, as ASGI has it."""
        if scope["type"] != "http":
            return

        async def headed(message: MutableMapping[str, Any]) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message.get("headers", ()), *HEADERS]
            await send(message)

        named = [value.lower() for name, value in scope["headers"] if name == b"host"]
        if scope["path"] != HEALTH_PATH and (len(named) != 1 or named[0] not in self._hosts):
            await _refuse(headed)
        else:
            await self._app(scope, receive, headed)


async def _refuse(send: Callable[..., Any]) -> None:
    body = b"This console is not called by that name; its setting 'origin' says how it is called.\n"
    kind = [(b"content-type", b"text/plain; charset=utf-8"), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": 421, "headers": kind})
    await send({"type": "http.response.body", "body": body})
