"""Errors as RFC 9457 problems: one table from the catalogue's codes to HTTP statuses, for all that goes wrong."""

from __future__ import annotations

import asyncio
import logging
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

from fastapi.exceptions import RequestValidationError
from fastapi.responses import Response
from opentelemetry import trace
from starlette.exceptions import HTTPException

from concordat.api.model import Problem
from concordat.errors import CATALOGUE, ConcordatError, UnavailableError, accepted_detail

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from fastapi import FastAPI, Request
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

MEDIA_TYPE: Final = "application/problem+json"
RETRY_AFTER_S: Final = 1

STATUS: Final[Mapping[str, int]] = MappingProxyType(
    {
        "internal": 500,
        "bad_input": 400,
        "bad_config": 503,
        # Of a body's signer; who has no access at all gets 401 from `AccessError`.
        "bad_identity": 403,
        "bad_signature": 403,
        "bad_proof": 502,
        "refused": 403,
        "protocol_violation": 400,
        "unavailable": 503,
        "too_large": 413,
        "expired": 400,
        "stale_manifest": 409,
        "stale_epoch": 409,
        "stale_rules": 409,
        "quota_exhausted": 429,
        "request_reused": 409,
        "justification_missing": 400,
        "operation_unknown": 403,
        "session_replaced": 409,
        "superseded": 409,
        "near_duplicate": 409,
        "ledger_restored": 503,
        "busy": 503,
        "deadline": 504,
        "stopping": 503,
    }
)
# What the framework itself refuses, before a route runs.
_OF_STATUS: Final = MappingProxyType({404: "refused", 405: "refused", 413: "too_large"})

_HEADERS: Final = (
    (b"cache-control", b"no-store"),
    (b"x-content-type-options", b"nosniff"),
    (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'"),
    (b"referrer-policy", b"no-referrer"),
    (b"strict-transport-security", b"max-age=31536000"),
)

_log = logging.getLogger(__name__)


class ApiError(ConcordatError):
    """An error whose HTTP status, headers or OAuth name differ from what its code alone says."""

    def __init__(
        self,
        message: str,
        *,
        code: str,
        status: int,
        error: str | None = None,
        headers: Mapping[str, str] | None = None,
        public_detail: str | None = None,
    ) -> None:
        super().__init__(message, code=code, public_detail=public_detail)
        self.status = status
        self.error = error
        self.headers = dict(headers or {})


def problem_of(error: ConcordatError) -> Response:
    """Return the answer that an error stands for; its own text stays in the log."""
    code = error.code if error.code in CATALOGUE else "internal"
    status = error.status if isinstance(error, ApiError) else STATUS[code]
    body = Problem(
        type=f"urn:concordat:error:{code}",
        title=CATALOGUE[code].public,
        status=status,
        code=code,
        error=error.error if isinstance(error, ApiError) else None,
        detail=accepted_detail(error.public_detail),
        instance=_instance(),
    )
    headers = dict(error.headers) if isinstance(error, ApiError) else {}
    if status in (429, 503):
        headers.setdefault("Retry-After", str(RETRY_AFTER_S))
    return Response(body.model_dump_json(exclude_none=True), status_code=status, media_type=MEDIA_TYPE, headers=headers)


def install(app: FastAPI) -> None:
    """Let every error of an app leave it as a problem."""
    app.add_exception_handler(ConcordatError, _concordat)
    app.add_exception_handler(RequestValidationError, _validation)
    app.add_exception_handler(HTTPException, _http)
    app.add_middleware(Boundary)


class Boundary:
    """Turns what nobody expected into `internal`, and puts the headers that every answer has on every answer."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve a request."""
        started = False

        async def headed(message: Message) -> None:
            nonlocal started
            if message["type"] == "http.response.start":
                started = True
                message["headers"] = [*message.get("headers", ()), *_HEADERS]
            await send(message)

        try:
            await self._app(scope, receive, headed)
        except asyncio.CancelledError:
            # The server ends what did not end in time; an answer that has begun can only break off.
            if started:
                raise
            await problem_of(UnavailableError("the gateway stops", code="stopping"))(scope, receive, headed)
        except Exception as error:  # noqa: BLE001 -- the boundary: no foreign exception passes it
            # Nor does its text, which may quote what a partner sent.
            _log.error("request failed unexpectedly", exc_info=error, extra={"rpc_method": _route_of(scope)})
            if started:
                # Half an answer is out: only a broken connection says that the rest will not come.
                raise ConcordatError("an answer broke off") from None
            await problem_of(ConcordatError("internal error"))(scope, receive, headed)


async def _concordat(request: Request, error: Exception) -> Response:
    assert isinstance(error, ConcordatError)
    extra = {"rpc_method": _route_of(request.scope), "code": error.code}
    caller = getattr(request.state, "caller", None)
    if caller is not None:
        # Who: many refusals of one party, such as of its quota, are what its operator looks for.
        extra["party"] = str(caller.identity)
    _log.info("request refused or failed: %s [%s]", error.message, error.code, extra=extra)
    return problem_of(error)


async def _validation(_request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    places = _places(error.errors())
    _let_go(error)
    return problem_of(ConcordatError("the body is not valid", code="bad_input", public_detail=places))


def _let_go(error: BaseException) -> None:
    """Part an error from the frames that hold it, and these from the body, tokens and all (I2).

    The framework's frame keeps the error as the error keeps the frame, until the collector comes by, which on a quiet
    gateway may be much later.
    """
    left: BaseException | None = error
    while left is not None:
        left.__traceback__ = None
        left = left.__cause__ or left.__context__


async def _http(_request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    code = _OF_STATUS.get(error.status_code, "bad_input" if error.status_code < 500 else "internal")
    return problem_of(ApiError("refused by the framework", code=code, status=error.status_code, headers=error.headers))


def _places(details: Sequence[Mapping[str, object]]) -> str:
    """Say which fields are wrong and why, by the names of the schema and never with a value or a foreign key."""
    parts = []
    for detail in details[:3]:
        location = detail["loc"]
        assert isinstance(location, tuple)
        place = location[:-1] if detail["type"] == "extra_forbidden" else location
        reason = "unknown field" if detail["type"] == "extra_forbidden" else str(detail["msg"])
        parts.append(f"{'.'.join(map(str, place))}: {reason.removeprefix('Value error, ')}")
    return "; ".join(parts)[:400]


def _route_of(scope: Scope) -> str:
    # The template, never the path that was asked for, which is the caller's text.
    return getattr(scope.get("route"), "path", "(no route)")


def _instance() -> str | None:
    span = trace.get_current_span().get_span_context()
    return f"urn:concordat:trace:{trace.format_trace_id(span.trace_id)}" if span.is_valid else None
