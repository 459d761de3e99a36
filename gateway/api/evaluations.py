"""POST /v1/evaluations: a partner's signed request to one custodian, carried as it is (3.9).

The custodian checks and charges who signed; the gateway makes sure that this is who called, and adds nothing.
"""

from typing import Annotated, Final

from fastapi import APIRouter
from google.protobuf.message import DecodeError

from concordat.api.model import EvaluationRequest, EvaluationResponse, Scope
from concordat.errors import IdentityError, InputError, ProtocolError, RefusedError
from concordat.identity.manifest import Custodian, Manifest
from concordat.wire.v1 import custodian_pb2 as wire
from gateway.api.access import Caller, caller, guarded_router
from gateway.api.context import Context

TIMEOUT_S: Final = 15.0

router: APIRouter = guarded_router()


@router.post("/v1/evaluations", summary="Blinded elements to one custodian", tags=["partner"])
async def evaluate(
    who: Annotated[Caller, caller(Scope.EVALUATE)], context: Context, body: EvaluationRequest
) -> EvaluationResponse:
    """Carry a request that the partner signed to the custodian that it names, and its answer back.

    The custodian charges the partner's quota. The same request again, id and body, is not charged again.
    """
    custodian = _custodian(context.home.manifest, body.custodian)
    _require_own(body.body, who, custodian)
    request = wire.EvaluateRequest(body=body.body, signature=body.signature, elements=body.elements)
    reply = await context.relay.evaluate(custodian, request, timeout_s=TIMEOUT_S)
    return EvaluationResponse(
        elements=reply.elements,
        proof=reply.proof,
        manifest_hash=reply.manifest_hash.hex(),
        quota_left=reply.quota_left,
    )


def _custodian(manifest: Manifest, index: int) -> Custodian:
    try:
        return manifest.custodian(index)
    except IdentityError as error:
        raise InputError(error.message, public_detail="custodian: the manifest has none of this index") from error


def _require_own(raw: bytes, who: Caller, custodian: Custodian) -> None:
    try:
        fields = wire.EvaluateBody.FromString(raw)
    except DecodeError as error:
        raise ProtocolError("the evaluation request cannot be read", public_detail="body: no EvaluateBody") from error
    # The custodian checks both again; here they keep a partner from carrying what another has signed.
    if fields.requester != str(who.identity):
        raise RefusedError("the request was signed for another party", public_detail="body: requester is the caller")
    if fields.custodian != custodian.id:
        raise ProtocolError("the request names another custodian", public_detail="body: custodian is another")
