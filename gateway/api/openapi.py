"""The OpenAPI 3.1 document: what FastAPI finds in the routes, and what it cannot know: problems, proofs, examples."""

from __future__ import annotations

from http import HTTPStatus
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final

from fastapi.openapi.utils import get_openapi

from concordat.api.model import Problem
from gateway.api.access import NONCE_HEADER, OPEN
from gateway.api.examples import EXAMPLES
from gateway.api.problems import MEDIA_TYPE

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from fastapi import FastAPI

ACCESS_TOKEN: Final = "access_token"  # noqa: S105 -- names of security schemes
PROOF: Final = "dpop_proof"
_ALWAYS: Final = (400, 404, 405, 500, 503)
_GUARDED: Final = (401, 403)
_WITH_BODY: Final = (408, 411, 413, 415)
# What only some can answer; the codes are in problems.STATUS.
_MORE: Final[Mapping[str, tuple[int, ...]]] = MappingProxyType(
    {"/v1/token": (401,), "/v1/evaluations": (409, 429, 502, 504), "/v1/queries": (409, 429, 504)}
)
_TEXT: Final = MappingProxyType({"type": "string"})
_HEADERS: Final[Mapping[int, Mapping[str, Any]]] = MappingProxyType(
    {
        400: {NONCE_HEADER: {"description": "With `use_dpop_nonce`: put it into the next proof.", "schema": _TEXT}},
        401: {
            "WWW-Authenticate": {"description": "DPoP challenge with `algs` and `error`.", "schema": _TEXT},
            NONCE_HEADER: {"description": "With `use_dpop_nonce`: put it into the next proof.", "schema": _TEXT},
        },
        403: {"WWW-Authenticate": {"description": "With `insufficient_scope`.", "schema": _TEXT}},
        405: {"Allow": {"description": "Methods that the path has.", "schema": _TEXT}},
        429: {"Retry-After": {"description": "Seconds.", "schema": _TEXT}},
        503: {"Retry-After": {"description": "Seconds.", "schema": _TEXT}},
    }
)
_SCHEMES: Final = MappingProxyType(
    {
        ACCESS_TOKEN: {
            "type": "http",
            "scheme": "DPoP",
            "description": "`Authorization: DPoP TOKEN`, with a token of `POST /v1/token`; it lives 5 minutes.",
        },
        PROOF: {
            "type": "apiKey",
            "in": "header",
            "name": "DPoP",
            "description": "Proof of the token's key for this very request (RFC 9449): htm, htu, iat, jti, ath, nonce.",
        },
    }
)
_DESCRIPTION: Final = (
    "For partner organisations, which ask, and for the hub operator's console. Everything that is signed, blinded or"
    " masked travels as base64url without padding; no identifier ever does. Errors are problems (RFC 9457), and their"
    " `code` says what to do."
)


def document_of(app: FastAPI) -> dict[str, Any]:
    """Return the document of an app."""
    found: dict[str, Any] = get_openapi(
        title=app.title,
        version=app.version,
        openapi_version="3.1.0",
        description=_DESCRIPTION,
        routes=app.routes,
        servers=[{"url": f"https://{one}"} for one in sorted(app.state.authorities)] or None,
    )
    components = found.setdefault("components", {})
    schemas = components.setdefault("schemas", {})
    for name in ("HTTPValidationError", "ValidationError"):
        schemas.pop(name, None)
    schemas["Problem"] = Problem.model_json_schema(ref_template="#/components/schemas/{model}")
    components["securitySchemes"] = _thawed(_SCHEMES)
    for path, method, operation in _operations(found):
        _complete(path, method, operation)
    return found


def _operations(found: dict[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    for path, methods in found["paths"].items():
        for method, operation in methods.items():
            yield path, method, operation


def _complete(path: str, method: str, operation: dict[str, Any]) -> None:
    responses: dict[str, Any] = operation["responses"]
    responses.pop("422", None)
    guarded = (method.upper(), path) not in OPEN
    statuses = {*_ALWAYS, *_MORE.get(path, ())}
    if guarded:
        statuses |= set(_GUARDED)
        scopes = [scope for one in operation["security"] for names in one.values() for scope in names]
        operation["security"] = [{ACCESS_TOKEN: scopes, PROOF: []}]
    else:
        operation["security"] = []
    if guarded or path == "/v1/token":
        nonce = {"description": "For the next proof.", "schema": dict(_TEXT)}
        responses["200"].setdefault("headers", {})[NONCE_HEADER] = nonce
    if method == "post":
        statuses |= set(_WITH_BODY)
    for status in sorted(statuses):
        responses[str(status)] = _problem(status)
    _illustrate(path, operation)


def _problem(status: int) -> dict[str, Any]:
    found: dict[str, Any] = {
        "description": HTTPStatus(status).phrase,
        "content": {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}},
    }
    if status in _HEADERS:
        found["headers"] = _thawed(_HEADERS[status])
    return found


def _illustrate(path: str, operation: dict[str, Any]) -> None:
    example = EXAMPLES.get(path)
    if example is None:
        return
    if example.request is not None:
        for content in operation["requestBody"]["content"].values():
            content["example"] = example.request
    for content in operation["responses"]["200"]["content"].values():
        content["example"] = example.response


def _thawed(value: Any) -> Any:
    """Return plain dictionaries, which JSON can write and a caller may change."""
    if isinstance(value, str):
        return value
    return {name: _thawed(one) for name, one in value.items()}
