"""`POST /v1/queries`: from a partner's body to a check of the hub, and from its outcome to a result an item (3.9)."""

from typing import Annotated, Final, Protocol

from fastapi import Request

from concordat.api.model import (
    Coverage,
    Hit,
    ItemResult,
    QueryRequest,
    QueryResponse,
    Result,
    Scope,
    SignedCertificate,
    State,
)
from concordat.identity.manifest import Manifest
from concordat.protocol.check import EVERYONE, SignedHeader, accept_header, parse_header
from concordat.tokens import NAMESPACE_NUMBERS
from concordat.wire.v1 import check_pb2 as wire
from gateway.api.access import Caller, caller, guarded_router
from gateway.api.context import Context
from gateway.query import QueryHit, QueryOutcome, accept_query, muted_positions

_STATES: Final = {
    wire.HOLDER_STATE_COVERED: State.COVERED,
    wire.HOLDER_STATE_TIMED_OUT: State.TIMED_OUT,
    wire.HOLDER_STATE_OFFLINE: State.OFFLINE,
    wire.HOLDER_STATE_OUTSIDE: State.OUTSIDE,
}
# A word that is no namespace; no row can allow it.
_NO_NAMESPACE: Final = 0

router = guarded_router()


class Queries(Protocol):
    """The hub, as a query sees it."""

    async def query(self, asker: str, message: wire.Check, *, namespaces: bytes, muted: frozenset[int]) -> QueryOutcome:
        """Ask the nodes for a partner, and return with the certificate."""
        ...


@router.post("/v1/queries", summary="Ask who holds values", tags=["queries"])
async def query(
    who: Annotated[Caller, caller(Scope.QUERY)], context: Context, body: QueryRequest, request: Request
) -> QueryResponse:
    """Answer after the running tick and its window, hit or no hit: a query speaks for that moment (I6, I11)."""
    try:
        manifest, now = context.home.manifest, context.clock.now()
        return await answer_query(body, who, hub=context.hub, manifest=manifest, now=now)
    finally:
        # I2: the framework would keep the body, tokens and all, for as long as a slow reader takes for the answer.
        for kept in ("_body", "_json"):
            request.__dict__.pop(kept, None)


async def answer_query(
    request: QueryRequest, who: Caller, *, hub: Queries, manifest: Manifest, now: float
) -> QueryResponse:
    """Ask the hub what the partner may ask.

    Args:
        request: As received.
        who: The authenticated partner.
        hub: Asked where an item is allowed.
        manifest: In force.
        now: Unix seconds.

    Raises:
        IdentityError: The header is not the caller's own.
        RefusedError: No row lets the partner query for this purpose, or a rule of the federation says no.
        ConcordatError: Whatever else is wrong with the query.
    """
    header = parse_header(request.header, request.signature)
    namespaces = bytes(NAMESPACE_NUMBERS.get(item.namespace, _NO_NAMESPACE) for item in request.items)
    message, asker = _as_check(request), str(who.identity)
    # Step 3.9 (1): from the published table, before anybody is asked (I8).
    accept_header(header, manifest=manifest, asker=asker, now=now)
    accept_query(header, message, manifest=manifest, namespaces=namespaces, now=now)
    muted = muted_positions(header, namespaces, manifest=manifest)
    if len(muted) == len(namespaces):
        return _response(header, len(namespaces), muted=muted, outcome=None)
    asked = hub.query(asker, message, namespaces=namespaces, muted=muted)
    del message
    return _response(header, len(namespaces), muted=muted, outcome=await asked)


def _as_check(request: QueryRequest) -> wire.Check:
    items = request.items
    return wire.Check(
        header=request.header,
        signature=request.signature,
        items=wire.CheckItems(
            tokens=b"".join(item.token for item in items),
            references=b"".join(item.reference for item in items),
            ask_macs=b"".join(item.ask_mac for item in items),
            grades=bytes([wire.GRADE_STRONG]) * len(items),
        ),
        audience_salt=request.audience_salt,
        audience_sets=EVERYONE,
    )


def _response(
    header: SignedHeader, count: int, *, muted: frozenset[int], outcome: QueryOutcome | None
) -> QueryResponse:
    hits: dict[int, list[Hit]] = {}
    coverage: tuple[Coverage, ...] = ()
    certificate = None
    if outcome is not None:
        for hit in outcome.hits:
            hits.setdefault(hit.position, []).append(_hit(hit))
        coverage = tuple(
            Coverage(party=one.party, state=_STATES[one.state], data_minute=one.data_minute) for one in outcome.coverage
        )
        certificate = SignedCertificate(body=outcome.certificate.body, signature=outcome.certificate.signature)
    # I6: of nobody who was not covered is 'no hit' said.
    otherwise = Result.NO_HIT if any(one.state is State.COVERED for one in coverage) else Result.NOT_COVERED
    results = []
    for position in range(count):
        found = tuple(hits.get(position, ()))
        plain = Result.HIT if found else otherwise
        results.append(ItemResult(result=Result.NOT_ALLOWED if position in muted else plain, hits=found))
    return QueryResponse(
        request=header.fields.check_id.hex(), results=tuple(results), coverage=coverage, certificate=certificate
    )


def _hit(hit: QueryHit) -> Hit:
    return Hit(
        party=hit.party,
        reference=hit.reference,
        decision=hit.decision,
        answer_mac=hit.answer_mac,
        handle=hit.handle,
    )
