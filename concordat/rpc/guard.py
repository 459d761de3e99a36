"""The one wrapper around every handler of a server, unary and stream alike.

Whatever its kind, a handler runs inside the same coroutine: (1) who calls, whether he may, and whether he has his part
of the calls at once already, (2) the server's deadline for unary calls, (3) a span, (4) every error turned into its row
of the catalogue. So no kind can miss a step. Handlers are coroutines or async generators; a synchronous one is refused
when the server is built.
"""

from __future__ import annotations

import asyncio
import inspect
import logging
from collections import Counter
from contextlib import aclosing, contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, Final, NoReturn, TypeAlias

import grpc
import grpc.aio

from concordat import telemetry
from concordat.errors import (
    CATALOGUE,
    ConcordatError,
    IdentityError,
    RefusedError,
    UnavailableError,
    accepted_detail,
)
from concordat.identity.certificates import peer_of

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator

    from concordat.identity.names import SpiffeId
    from concordat.rpc.auth import AuthorisationTable

CODE_TRAILER: Final = "concordat-error"
DETAIL_TRAILER: Final = "concordat-detail"
# One party may hold this part of all calls at once: streams cost their caller nothing, and others must get through.
PARTY_PART: Final = 4

_log = logging.getLogger(__name__)
_peer: ContextVar[SpiffeId] = ContextVar("concordat_peer")

Context: TypeAlias = "grpc.aio.ServicerContext[Any, Any]"
Handler: TypeAlias = "grpc.RpcMethodHandler[Any, Any]"


def current_peer() -> SpiffeId:
    """Return the party that made the call now being served.

    Raises:
        LookupError: Outside a call.
    """
    return _peer.get()


class Guard(grpc.aio.ServerInterceptor):
    """Wrap each handler; refuse whatever the table does not name."""

    def __init__(
        self,
        *,
        table: AuthorisationTable,
        known: Callable[[SpiffeId], bool],
        deadline_s: float,
        max_concurrent: int,
    ) -> None:
        self._table = table
        self._known = known
        self._deadline_s = deadline_s
        self._free = max_concurrent
        self._most_per_party = max(1, max_concurrent // PARTY_PART)
        self._held: Counter[SpiffeId] = Counter()

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[Handler | None]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> Handler:
        """Return the guarded handler of a method, or one that refuses."""
        method = handler_call_details.method
        # The table is asked first: a method without a row and one that does not exist look alike from outside.
        handler = await continuation(handler_call_details) if method in self._table.roles else None
        if handler is None:
            return self._refusal()
        return self._guarded(method, handler)

    def _refusal(self) -> Handler:
        async def refuse(_requests: Any, context: Context) -> None:
            async def nothing() -> None:
                raise RefusedError("no row of the authorisation table names this method")

            # No row has this name, so the check refuses a known caller and the body is never reached. The name that
            # the caller gave goes into no span and no log.
            await self._run("(no row)", context, nothing, unary=True)

        # A stream handler answers without reading, so it refuses calls of any kind at once.
        return grpc.stream_stream_rpc_method_handler(refuse)

    def _guarded(self, method: str, handler: Handler) -> Handler:
        behaviour = _behaviour(handler)
        if not (inspect.iscoroutinefunction(behaviour) or inspect.isasyncgenfunction(behaviour)):
            raise TypeError(f"the handler of {method} is not asynchronous")
        streams = bool(handler.response_streaming)
        unary = not (streams or handler.request_streaming)

        async def serve(request: Any, context: Context) -> Any:
            async def body() -> Any:
                if not inspect.isasyncgenfunction(behaviour):
                    return await behaviour(request, context)
                async with aclosing(behaviour(request, context)) as responses:
                    async for response in responses:
                        await context.write(response)
                return None

            return await self._run(method, context, body, unary=unary)

        return _same_kind(handler)(
            serve,
            request_deserializer=handler.request_deserializer,
            response_serializer=handler.response_serializer,
        )

    async def _run(self, method: str, context: Context, body: Callable[[], Awaitable[Any]], *, unary: bool) -> Any:
        if self._free <= 0:
            await _abort(context, UnavailableError("too many calls at once", code="busy"))
        self._free -= 1
        # Each call runs in a task of its own, so what is set in its context needs no reset.
        try:
            with telemetry.serving(method, context.invocation_metadata() or (), unary=unary):
                return await self._checked(method, context, body, unary=unary)
        except ConcordatError as error:
            await _abort(context, error)
        finally:
            self._free += 1

    async def _checked(self, method: str, context: Context, body: Callable[[], Awaitable[Any]], *, unary: bool) -> Any:
        caller = None
        try:
            caller = _caller(context)
            telemetry.note_peer_role(caller.role)
            self._table.check(method, caller, self._known)
            _peer.set(caller)
            with self._counted(caller):
                # A caller's own deadline is enforced by gRPC; one that is later than the server's does not count.
                return await (self._before_deadline(body) if unary else body())
        except grpc.aio.AbortError:
            raise
        except ConcordatError as error:
            # Who: many refusals of one party, such as of its quota, are what its operator looks for.
            extra = {"rpc_method": method, "party": str(caller)}
            _log.info("call refused or failed: %s [%s]", error.message, error.code, extra=extra)
            raise
        except Exception as error:
            # The boundary: the catalogue's sentence goes out, what happened stays in the local log.
            _log.exception("call failed unexpectedly", extra={"rpc_method": method})
            raise ConcordatError("internal error") from error

    @contextmanager
    def _counted(self, caller: SpiffeId) -> Iterator[None]:
        if self._held[caller] >= self._most_per_party:
            raise UnavailableError("this party has too many calls at once", code="busy")
        self._held[caller] += 1
        try:
            yield
        finally:
            self._held[caller] -= 1
            if not self._held[caller]:
                del self._held[caller]

    async def _before_deadline(self, body: Callable[[], Awaitable[Any]]) -> Any:
        limit = asyncio.timeout(self._deadline_s)
        try:
            async with limit:
                return await body()
        except TimeoutError as error:
            if not limit.expired():
                raise
            raise UnavailableError("the handler took longer than the server allows", code="deadline") from error


async def _abort(context: Context, error: ConcordatError) -> NoReturn:
    code = error.code if error.code in CATALOGUE else "internal"
    entry = CATALOGUE[code]
    trailers = [(CODE_TRAILER, code)]
    detail = accepted_detail(error.public_detail)
    if detail is not None:
        trailers.append((DETAIL_TRAILER, detail))
    await context.abort(grpc.StatusCode[entry.status], entry.public, tuple(trailers))
    raise AssertionError("abort returns to nobody")


def _caller(context: Context) -> SpiffeId:
    found = context.auth_context().get("x509_pem_cert", ())
    for pem in found:
        return peer_of(bytes(pem))
    raise IdentityError("the call came without a client certificate")


def _behaviour(handler: Handler) -> Callable[..., Any]:
    found: Callable[..., Any] | None = (
        (handler.stream_stream if handler.request_streaming else handler.unary_stream)
        if handler.response_streaming
        else (handler.stream_unary if handler.request_streaming else handler.unary_unary)
    )
    assert found is not None
    return found


def _same_kind(handler: Handler) -> Callable[..., Handler]:
    if handler.response_streaming:
        return (
            grpc.stream_stream_rpc_method_handler if handler.request_streaming else grpc.unary_stream_rpc_method_handler
        )
    return grpc.stream_unary_rpc_method_handler if handler.request_streaming else grpc.unary_unary_rpc_method_handler
