"""The custodian's gRPC face: wire types in and out, the core in a thread between."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from google.protobuf.message import DecodeError
from typing_extensions import override

from concordat.clock import MS
from concordat.errors import ProtocolError, RefusedError
from concordat.identity.names import Role, SpiffeId
from concordat.rpc.guard import current_peer
from concordat.wire.v1 import custodian_pb2 as wire
from concordat.wire.v1.custodian_pb2_grpc import CustodianServiceServicer

if TYPE_CHECKING:
    from concordat.rpc.guard import Context
    from services.custodian.core import Custodian


class CustodianServicer(CustodianServiceServicer):
    """Serves one `Custodian`."""

    def __init__(self, custodian: Custodian) -> None:
        self._custodian = custodian

    @override
    async def Evaluate(self, request: wire.EvaluateRequest, context: Context) -> wire.EvaluateResponse:
        """Evaluate and prove a batch of blinded elements."""
        _require_may_carry(current_peer(), request)
        done = await asyncio.to_thread(self._custodian.evaluate, request)
        return wire.EvaluateResponse(
            elements=done.evaluation.elements,
            proof=done.evaluation.proof,
            manifest_hash=self._custodian.manifest.hash,
            quota_left=done.quota_left,
        )

    @override
    async def GetQuota(self, request: wire.GetQuotaRequest, context: Context) -> wire.GetQuotaResponse:
        """Tell the caller its own quotas."""
        found = await asyncio.to_thread(self._custodian.quota_of, current_peer())
        return wire.GetQuotaResponse(
            classes=[
                wire.ClassQuota(
                    key_class=one.key_class,
                    limit=one.limit,
                    used=one.used,
                    exercise_limit=one.exercise_limit,
                    exercise_used=one.exercise_used,
                )
                for one in found
            ],
            epochs=self._custodian.epochs,
            period_ends_at_ms=int(self._custodian.period_ends_at * MS),
            manifest_hash=self._custodian.manifest.hash,
        )


def _require_may_carry(peer: SpiffeId, request: wire.EvaluateRequest) -> None:
    """Refuse a gateway that carries anything but a partner's request; that the partner signed it is checked later."""
    if peer.role is not Role.GATEWAY:
        return
    try:
        requester = wire.EvaluateBody.FromString(request.body).requester
    except DecodeError as error:
        raise ProtocolError("the evaluation request cannot be read") from error
    if SpiffeId.parse(requester).role is not Role.PARTNER:
        raise RefusedError("a gateway carries requests of partners only")
