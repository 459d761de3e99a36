"""What the routes of the API work with, given once when the app is built."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

from fastapi import Depends, Request

if TYPE_CHECKING:
    from collections.abc import Callable

    from concordat.clock import Clock
    from concordat.custodians import Transport
    from concordat.identity.home import Home
    from gateway.hub import Hub
    from gateway.operations_store import OperationStore
    from gateway.view import OperatorView


@dataclass(frozen=True, slots=True)
class ApiContext:
    """A gateway, as its API sees it."""

    home: Home
    clock: Clock
    hub: Hub
    operations: OperationStore
    view: OperatorView | None
    """The operator's view (gateway/view.py); None where the gateway has none."""
    relay: Transport
    """Carries partners' evaluation requests to the custodians."""
    random_bytes: Callable[[int], bytes]


def context_of(request: Request) -> ApiContext:
    """Return the context of the app that serves a request."""
    found: ApiContext = request.app.state.context
    return found


Context = Annotated[ApiContext, Depends(context_of)]
"""Type of a route's parameter that gets the context."""
