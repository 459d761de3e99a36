"""Examples of bodies in the OpenAPI document. Every byte is made up; a test reads them as the models do."""

from __future__ import annotations

from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final

from concordat.api.model import (
    PROOF_BYTES,
    SALT_BYTES,
    SIGNATURE_BYTES,
    Coverage,
    EvaluationRequest,
    EvaluationResponse,
    Hit,
    ItemResult,
    QueryItem,
    QueryRequest,
    QueryResponse,
    ReportResponse,
    Result,
    SignedCertificate,
    State,
)
from concordat.protocol.evaluation import ELEMENT_BYTES
from concordat.protocol.macs import MAC_BYTES
from concordat.tokens import REFERENCE_BYTES, TOKEN_BYTES

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pydantic import BaseModel


@dataclass(frozen=True, slots=True)
class Example:
    """What a route gets and answers."""

    request: Any
    response: Any


def _bytes(size: int) -> bytes:
    return bytes(number % 251 for number in range(size))


def _json(body: BaseModel) -> Any:
    return body.model_dump(mode="json")


_NODE: Final = "spiffe://concordat.example/node/NL"
_EVALUATION: Final = Example(
    _json(
        EvaluationRequest(
            custodian=1, body=_bytes(200), signature=_bytes(SIGNATURE_BYTES), elements=_bytes(2 * ELEMENT_BYTES)
        )
    ),
    _json(
        EvaluationResponse(
            elements=_bytes(2 * ELEMENT_BYTES), proof=_bytes(PROOF_BYTES), manifest_hash="00" * 32, quota_left=6664
        )
    ),
)
_ITEM: Final = QueryItem(
    token=_bytes(TOKEN_BYTES), reference=_bytes(REFERENCE_BYTES), ask_mac=_bytes(MAC_BYTES), namespace="e164"
)
_HIT: Final = Hit(
    party=_NODE,
    reference=_bytes(REFERENCE_BYTES),
    decision=3,
    answer_mac=_bytes(MAC_BYTES),
    handle="0123456789abcdef0123456789abcdef",
)
_QUERY: Final = Example(
    _json(
        QueryRequest(
            header=_bytes(300), signature=_bytes(SIGNATURE_BYTES), audience_salt=_bytes(SALT_BYTES), items=(_ITEM,)
        )
    ),
    _json(
        QueryResponse(
            request="00" * 16,
            results=(ItemResult(result=Result.HIT, hits=(_HIT,)),),
            coverage=(Coverage(party=_NODE, state=State.COVERED, data_minute=29_925_000),),
            certificate=SignedCertificate(body=_bytes(300), signature=_bytes(SIGNATURE_BYTES)),
        )
    ),
)
_TOKEN: Final = Example(
    {
        "grant_type": "client_credentials",
        "client_assertion_type": "urn:ietf:params:oauth:client-assertion-type:jwt-bearer",
        "client_assertion": "eyJhbGciOiJFZDI1NTE5In0.e30.AAAA",
        "scope": "evaluate query",
    },
    {
        "access_token": "eyJhbGciOiJFZDI1NTE5In0.e30.AAAA",
        "token_type": "DPoP",
        "expires_in": 300,
        "scope": "evaluate query",
    },
)
_REPORT: Final = Example(None, _json(ReportResponse(report=b"{}", signature=_bytes(SIGNATURE_BYTES))))

EXAMPLES: Final[Mapping[str, Example]] = MappingProxyType(
    {
        "/v1/token": _TOKEN,
        "/v1/evaluations": _EVALUATION,
        "/v1/queries": _QUERY,
        "/v1/operations/{operation}/report": _REPORT,
    }
)
