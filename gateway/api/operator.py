"""`/v1/operator`: the hub operator's state and its stream of versions, for consoles only (docs/console.md)."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing, suppress
from typing import Annotated, Any, Final

from fastapi import Request
from pydantic import BaseModel
from starlette.responses import StreamingResponse
from starlette.types import Receive, Send
from starlette.types import Scope as AsgiScope
from typing_extensions import override

from concordat.api.model import Scope
from concordat.api.operator import ALIVE_EVENT, HEARTBEAT_S, STATE_EVENT, Alive, OperatorState
from concordat.clock import Clock
from concordat.errors import UnavailableError
from gateway.api.access import Caller, caller, guarded_router
from gateway.api.context import Context
from gateway.view import OperatorView

# A reader that takes nothing keeps its place in the stream for as long as its token, and not a moment longer.
STUCK_S: Final = 5.0
_STREAM: Final[dict[int | str, dict[str, Any]]] = {
    200: {
        "description": f"Events `{STATE_EVENT}` (OperatorState) and `{ALIVE_EVENT}` (Alive) until the token ends.",
        "content": {"text/event-stream": {"schema": {"type": "string"}}},
    }
}

router = guarded_router()


@router.get("/v1/operator/state", summary="All that the operator may see now", tags=["operator"])
async def state(_who: Annotated[Caller, caller(Scope.OPERATOR)], context: Context) -> OperatorState:
    """Return the newest state."""
    return await _view(context.view).state()


@router.get(
    "/v1/operator/events",
    summary="The state, and each version that follows",
    tags=["operator"],
    response_class=StreamingResponse,
    responses=_STREAM,
)
async def events(
    who: Annotated[Caller, caller(Scope.OPERATOR)], context: Context, request: Request
) -> StreamingResponse:
    """Stream server-sent events; the newest state comes first, so that there is nothing to go on from."""
    view, lasts_s = _view(context.view), who.until - context.clock.now()
    # Asked before the answer begins, so that who is one too many is told so.
    with view.subscribe(str(who.identity)):
        pass
    await view.state()
    stopping: asyncio.Event | None = getattr(request.app.state, "stopping", None)
    lines = event_lines(view, str(who.identity), clock=context.clock, until=who.until, stopping=stopping)
    return EventStream(lines, ends_after_s=lasts_s + STUCK_S)


async def event_lines(
    view: OperatorView, who: str, *, clock: Clock, until: float, stopping: asyncio.Event | None = None
) -> AsyncGenerator[bytes, None]:
    """Yield events until the token or the gateway ends.

    Args:
        view: Whose versions.
        who: The subscriber.
        clock: Of this process.
        until: Unix time of the token's end.
        stopping: Set when the gateway's API stops.
    """
    version = 0
    with suppress(UnavailableError), view.subscribe(who) as changes:
        while (left_s := until - clock.now()) > 0 and not (stopping and stopping.is_set()):
            found = await changes.next(min(HEARTBEAT_S, left_s))
            if found is not None:
                version = found.version
                yield _event(STATE_EVENT, found, version)
            elif clock.now() < until:
                yield _event(ALIVE_EVENT, Alive(version=version), version)


class EventStream(StreamingResponse):
    """A stream that ends for whoever stopped reading, too, and gives back its place at once."""

    def __init__(self, lines: AsyncGenerator[bytes, None], *, ends_after_s: float) -> None:
        super().__init__(lines, media_type="text/event-stream")
        self._lines = lines
        self._ends_after_s = ends_after_s

    @override
    async def __call__(self, scope: AsgiScope, receive: Receive, send: Send) -> None:
        async with aclosing(self._lines):
            with suppress(TimeoutError):
                async with asyncio.timeout(self._ends_after_s):
                    await super().__call__(scope, receive, send)


def _view(view: OperatorView | None) -> OperatorView:
    if view is None:
        raise UnavailableError("this gateway keeps no operator's view")
    return view


def _event(name: str, body: BaseModel, version: int) -> bytes:
    # JSON has no line breaks of its own, so that no data can begin another field.
    return f"event: {name}\nid: {version}\ndata: {body.model_dump_json()}\n\n".encode()
