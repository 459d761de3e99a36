"""Reaching custodians through the gateway's relay: blinded elements, signed by the partner (3.9)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from concordat.api.model import EvaluationRequest, EvaluationResponse
from concordat.errors import ConcordatError
from concordat.wire.v1 import custodian_pb2 as wire

if TYPE_CHECKING:
    from concordat.client.session import ApiSession
    from concordat.identity.manifest import Custodian


class Relay:
    """A `concordat.custodians.Transport` over HTTPS; what it carries is verified where it arrives."""

    def __init__(self, session: ApiSession) -> None:
        self._session = session
        self.quota_left: dict[int, int] = {}
        """Custodian -> what was left of the day's quota after its last answer."""

    async def evaluate(
        self, custodian: Custodian, request: wire.EvaluateRequest, *, timeout_s: float
    ) -> wire.EvaluateResponse:
        """Carry one signed request to one custodian.

        Raises:
            ConcordatError: The custodian or the gateway refuses, or cannot be reached.
        """
        body = EvaluationRequest(
            custodian=custodian.index, body=request.body, signature=request.signature, elements=request.elements
        )
        try:
            found = await self._session.post("/v1/evaluations", body, EvaluationResponse, timeout_s=timeout_s)
        except ConcordatError as error:
            # The session names the gateway only; a reader must know which custodian was meant.
            error.args = (f"custodian {custodian.spiffe.name}: {error.message}",)
            raise
        self.quota_left[custodian.index] = found.quota_left
        return wire.EvaluateResponse(
            elements=found.elements,
            proof=found.proof,
            manifest_hash=bytes.fromhex(found.manifest_hash),
            quota_left=found.quota_left,
        )

    async def close(self) -> None:
        """Do nothing: the session is its owner's."""
