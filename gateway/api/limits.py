"""Limits on what a request may bring and on how many one party may have at once."""

from __future__ import annotations

import asyncio
from collections import Counter
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from starlette.requests import ClientDisconnect

from concordat.errors import UnavailableError
from gateway.api.problems import ApiError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fastapi import Request

MAX_BODY_BYTES: Final = 1 << 20
BODY_S: Final = 10.0
AT_ONCE: Final = 16
_METHODS_WITH_BODY: Final = frozenset({"POST", "PUT", "PATCH"})


async def read_body(
    request: Request, *, media_type: str = "application/json", max_bytes: int = MAX_BODY_BYTES, within_s: float
) -> bytes:
    """Read the body of a request, for the route as well, or refuse it before it is read.

    Args:
        request: Its method says whether it has a body.
        media_type: The only one that is taken; UTF-8.
        max_bytes: Of the body.
        within_s: Seconds that it may take.

    Raises:
        ApiError: Without length or over the limit, of another media type, too slow, or not as long as it says.
    """
    if request.method not in _METHODS_WITH_BODY:
        if _length(request) not in (None, 0) or "transfer-encoding" in request.headers:
            raise ApiError("a body where none belongs", code="bad_input", status=400, public_detail="has no body")
        return b""
    length = _length(request)
    if length is None or "transfer-encoding" in request.headers:
        raise ApiError(
            "a body without length", code="bad_input", status=411, public_detail="a body comes with Content-Length"
        )
    if length > max_bytes:
        raise ApiError(
            "the body is too large",
            code="too_large",
            status=413,
            public_detail=f"at most {max_bytes} bytes",
            headers={"Connection": "close"},
        )
    if not _is(request, media_type):
        raise ApiError("another media type", code="bad_input", status=415, public_detail=f"is {media_type}")
    body = await _read(request, length, within_s)
    # Where Starlette keeps a body that was read, so that the route reads this one.
    request._body = body  # noqa: SLF001 -- as said above
    return body


class AtOnce:
    """Counts the requests of each party that run; one over its part is refused, so that others get through."""

    def __init__(self, most: int = AT_ONCE) -> None:
        self._most = most
        self._running: Counter[str] = Counter()

    @contextmanager
    def one_of(self, party: str) -> Iterator[None]:
        """Let a request of a party run.

        Raises:
            UnavailableError: With code `busy`, when it has too many already.
        """
        if self._running[party] >= self._most:
            raise UnavailableError("this party has too many requests at once", code="busy")
        self._running[party] += 1
        try:
            yield
        finally:
            self._running[party] -= 1
            if not self._running[party]:
                del self._running[party]


async def _read(request: Request, length: int, within_s: float) -> bytes:
    parts, size = [], 0
    try:
        async with asyncio.timeout(within_s):
            async for part in request.stream():
                parts.append(part)
                size += len(part)
                if size > length:
                    raise ApiError("the body is longer than it says", code="bad_input", status=400)
    except TimeoutError as error:
        raise ApiError("the body came too slowly", code="deadline", status=408) from error
    except ClientDisconnect as error:
        raise ApiError("the caller left before its body was read", code="bad_input", status=400) from error
    if size != length:
        raise ApiError("the body is shorter than it says", code="bad_input", status=400)
    return b"".join(parts)


def _length(request: Request) -> int | None:
    values = request.headers.getlist("content-length")
    if not values:
        return None
    if len(values) != 1 or not (values[0].isascii() and values[0].isdigit() and len(values[0]) <= 12):
        raise ApiError("the Content-Length is no number", code="bad_input", status=400)
    return int(values[0])


def _is(request: Request, media_type: str) -> bool:
    values = request.headers.getlist("content-type")
    if len(values) != 1 or request.headers.getlist("content-encoding"):
        return False
    kind, _, parameter = values[0].partition(";")
    charset = parameter.strip().lower()
    return kind.strip().lower() == media_type and charset in ("", "charset=utf-8", 'charset="utf-8"')
