"""GET /v1/operations/{operation}/report: the frozen report, for the partners that the charter names as readers."""

import asyncio
from typing import Annotated

from fastapi import APIRouter, Path, Query

from concordat.api.model import ReportResponse, Scope
from concordat.protocol.charter import OPERATION_ID
from gateway.api.access import Caller, caller, guarded_router
from gateway.api.context import Context
from gateway.operations_store import MAX_VERSIONS

router: APIRouter = guarded_router()

Operation = Annotated[
    str,
    Path(pattern=f"^{OPERATION_ID.pattern}$", max_length=64, description="Id of the operation, as its charter has it."),
]

Version = Annotated[int, Query(ge=0, le=MAX_VERSIONS, description="Version of the report; 0 is the newest.")]


@router.get("/v1/operations/{operation}/report", summary="The frozen report of an operation", tags=["partner"])
async def report(
    who: Annotated[Caller, caller(Scope.REPORT)], context: Context, operation: Operation, version: Version = 0
) -> ReportResponse:
    """Return the report exactly as the gateway signed it, to a partner that the operation's charter names as reader.

    An operation that does not exist, that has not been signed by all, or whose charter does not name the caller is
    refused alike, with `operation_unknown`; a reader of one that is signed and has no report yet gets `refused`.
    """
    found = await asyncio.to_thread(context.operations.report_for_reader, str(who.identity), operation, version)
    return ReportResponse(report=found.report, signature=found.signature)
