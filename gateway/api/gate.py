"""The gate of the API: an access token of this gateway, and a DPoP proof for this very request."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.api.problems import ApiError

if TYPE_CHECKING:
    from fastapi import Request

    from concordat.api.model import Scope
    from gateway.api.access import Caller
    from gateway.api.context import ApiContext


class PartnerGate:
    """Admits who has a token of this process; the tokens end with it."""

    def __init__(self, context: ApiContext) -> None:
        self._context = context

    async def admit(self, request: Request, scope: Scope) -> Caller:  # noqa: ARG002 -- comes with /v1/token
        """Return who calls.

        Raises:
            ApiError: Always, until /v1/token is there.
        """
        raise ApiError("no access token", code="bad_identity", status=401, headers={"WWW-Authenticate": "DPoP"})
