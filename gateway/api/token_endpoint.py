"""POST /v1/token: client credentials (RFC 6749 4.4) with private_key_jwt (RFC 7523) and DPoP (RFC 9449 5)."""

from typing import TYPE_CHECKING, Any, Final, Literal
from urllib.parse import parse_qsl

from fastapi import Request, Response
from pydantic import BaseModel, ConfigDict, Field

from concordat.api.model import ASSERTION_TYPE, Scope
from gateway.api import limits
from gateway.api.access import NONCE_HEADER, guarded_router
from gateway.api.problems import ApiError
from gateway.api.tokens import LIFE_S, SCOPES

if TYPE_CHECKING:
    from concordat.identity.names import SpiffeId
    from gateway.api.gate import PartnerGate

FORM: Final = "application/x-www-form-urlencoded"
MAX_FORM_BYTES: Final = 16 << 10
MAX_FIELDS: Final = 16

router = guarded_router()


class TokenResponse(BaseModel):
    """An access token, RFC 6749 5.1."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    access_token: str = Field(max_length=4096, repr=False)
    token_type: Literal["DPoP"] = "DPoP"  # noqa: S105 -- the name of a type
    expires_in: int = Field(ge=1, le=LIFE_S, description="Seconds.")
    scope: str = Field(description="What was granted, separated by spaces.")


_PROPERTIES: Final[dict[str, Any]] = {
    "grant_type": {"type": "string", "const": "client_credentials"},
    "client_assertion_type": {"type": "string", "const": ASSERTION_TYPE},
    "client_assertion": {
        "type": "string",
        "maxLength": 4096,
        "description": "JWT of the party, alg Ed25519, aud the gateway's SPIFFE id, exp at most 60 s ahead, jti once.",
    },
    "client_id": {"type": "string", "maxLength": 400, "description": "SPIFFE id; as the assertion's sub."},
    "scope": {
        "type": "string",
        "maxLength": 100,
        "description": "Separated by spaces; all that the role has by default.",
    },
}
_REQUIRED: Final = ("grant_type", "client_assertion_type", "client_assertion")
_DPOP_HEADER: Final = {
    "name": "DPoP",
    "in": "header",
    "required": True,
    "description": "Proof of the key to which the token will be bound (RFC 9449).",
    "schema": {"type": "string", "maxLength": 4096},
}
_DOCUMENT: Final[dict[str, Any]] = {
    "parameters": [_DPOP_HEADER],
    "requestBody": {
        "required": True,
        "content": {FORM: {"schema": {"type": "object", "required": list(_REQUIRED), "properties": _PROPERTIES}}},
    },
}


@router.post(
    "/v1/token",
    summary="An access token for a partner or the console",
    tags=["access"],
    openapi_extra=_DOCUMENT,
)
async def token(request: Request, response: Response) -> TokenResponse:
    """Give a token of five minutes, bound to the key of the request's DPoP proof.

    Authenticate with a JWT signed with the identity key that the manifest names for the party.
    """
    gate: PartnerGate = request.app.state.issuer
    within_s = request.app.state.body_s
    form = _form(await limits.read_body(request, media_type=FORM, max_bytes=MAX_FORM_BYTES, within_s=within_s))
    client, proof = gate.authenticate(request, form["client_assertion"])
    if form.get("client_id", str(client.client)) != str(client.client):
        raise _invalid("invalid_request", "client_id: is not the assertion's sub")
    granted = _granted(client.client, form.get("scope"))
    response.headers[NONCE_HEADER] = gate.nonces.current()
    issued = gate.tokens.issue(client.client, granted, key_hash=proof.key_hash)
    return TokenResponse(access_token=issued, expires_in=LIFE_S, scope=" ".join(granted))


def _form(body: bytes) -> dict[str, str]:
    try:
        pairs = parse_qsl(
            body.decode("utf-8"),
            keep_blank_values=True,
            strict_parsing=True,
            errors="strict",
            max_num_fields=MAX_FIELDS,
        )
    except ValueError as error:
        raise _invalid("invalid_request", "the form cannot be read") from error
    found = dict(pairs)
    if len(found) != len(pairs):
        raise _invalid("invalid_request", "a parameter stands twice")
    for name in _REQUIRED:
        if not found.get(name):
            raise _invalid("invalid_request", f"{name}: missing")
    if found["grant_type"] != "client_credentials":
        raise _invalid("unsupported_grant_type", "grant_type: is client_credentials")
    if found["client_assertion_type"] != ASSERTION_TYPE:
        raise _invalid("invalid_request", f"client_assertion_type: is {ASSERTION_TYPE}")
    return found


def _granted(client: "SpiffeId", wanted: str | None) -> tuple[Scope, ...]:
    allowed = SCOPES.get(client.role, ())
    if not allowed:
        # It has proved who it is, so it may know that this door is not its own.
        raise ApiError("the role has no scopes", code="refused", status=400, error="unauthorized_client")
    names = wanted.split(" ") if wanted is not None else list(allowed)
    if not set(names) <= set(allowed):
        raise ApiError("a scope that the role has not", code="refused", status=400, error="invalid_scope")
    return tuple(one for one in allowed if one in names)


def _invalid(name: str, detail: str) -> ApiError:
    return ApiError(detail, code="bad_input", status=400, error=name, public_detail=detail)
