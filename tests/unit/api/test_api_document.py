"""The OpenAPI document and the page for developers say what the code does."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import pytest
from fastapi.routing import iter_route_contexts

from concordat.api import model
from concordat.errors import CATALOGUE
from gateway.api.access import OPEN, GuardedRoute
from gateway.api.examples import EXAMPLES
from gateway.api.gate import PROOFS_KEPT
from gateway.api.limits import AT_ONCE, BODY_S, MAX_BODY_BYTES
from gateway.api.openapi import document_of
from gateway.api.problems import STATUS
from gateway.api.server import MAX_HEAD_BYTES, ApiSettings
from gateway.api.token_endpoint import MAX_FORM_BYTES, TokenResponse
from gateway.api.tokens import LIFE_S, SCOPES

if TYPE_CHECKING:
    from collections.abc import Iterator

    import httpx
    from fastapi import FastAPI

PAGE: Final = (Path(__file__).parents[3] / "docs/partner-api.md").read_text("utf-8")


def operations(document: dict[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            yield method.upper(), path, operation


async def test_the_document_is_served_to_everyone(http: httpx.AsyncClient, app: FastAPI) -> None:
    answer = await http.get("/v1/openapi.json")
    assert answer.json() == document_of(app)
    assert answer.json()["openapi"] == "3.1.0"


def test_i8_every_route_is_guarded_or_open_by_name_and_all_are_in_the_document(app: FastAPI) -> None:
    routes = set()
    for one in iter_route_contexts(app.routes):
        assert isinstance(one.original_route, GuardedRoute)
        routes |= {(method, one.path) for method in one.original_route.methods or ()}
    documented = {(method, path) for method, path, _ in operations(document_of(app))}
    assert routes == documented
    assert routes >= OPEN


async def test_i8_without_a_token_every_route_but_the_open_ones_refuses(app: FastAPI, http: httpx.AsyncClient) -> None:
    tried = 0
    for method, path, _ in operations(document_of(app)):
        if (method, path) not in OPEN:
            answer = await http.request(method, path.replace("{operation}", "op1"), content=b"{}")
            assert (answer.status_code, answer.json()["code"]) == (401, "bad_identity")
            tried += 1
    assert tried >= 5


def test_every_operation_says_its_scope_its_problems_and_what_it_is(app: FastAPI) -> None:
    names = set()
    for method, path, operation in operations(document_of(app)):
        assert operation["summary"]
        assert operation["description"]
        names.add(operation["operationId"])
        statuses = {int(status) for status in operation["responses"]}
        assert {200, 400, 404, 405, 500, 503} <= statuses
        for status, response in operation["responses"].items():
            if status != "200":
                assert set(response["content"]) == {"application/problem+json"}
        if (method, path) in OPEN:
            assert operation["security"] == []
        else:
            (scheme,) = operation["security"]
            assert len(scheme["access_token"]) == 1
            assert scheme["dpop_proof"] == []
            assert {401, 403} <= statuses
        assert (method == "POST") == ({408, 411, 413, 415} <= statuses)
    assert len(names) == len(list(operations(document_of(app))))


def test_every_code_can_come_with_a_status_that_some_operation_documents(app: FastAPI) -> None:
    documented = {int(status) for *_, operation in operations(document_of(app)) for status in operation["responses"]}
    assert set(STATUS.values()) <= documented


@pytest.mark.parametrize(
    ("path", "request_model", "response_model"),
    [
        ("/v1/token", None, TokenResponse),
        ("/v1/evaluations", model.EvaluationRequest, model.EvaluationResponse),
        ("/v1/queries", model.QueryRequest, model.QueryResponse),
        ("/v1/operations/{operation}/report", None, model.ReportResponse),
    ],
)
def test_examples_are_read_by_the_models(path: str, request_model: Any, response_model: Any) -> None:
    example = EXAMPLES[path]
    response_model.model_validate(example.response)
    if request_model is not None:
        request_model.model_validate(example.request)


def rows(columns: str) -> list[tuple[str, ...]]:
    """Return the rows of the page's table that has these columns."""
    _, _, below = PAGE.partition(f"| {columns} |\n")
    lines = below.partition("\n\n")[0].splitlines()[1:]
    return [tuple(cell.strip() for cell in line.strip("|").split(" | ")) for line in lines]


def test_the_page_names_every_route_with_its_scope(app: FastAPI) -> None:
    named = {route.strip("`"): scope.strip("`") for route, scope, _, _ in rows("route | scope | who | what")}
    expected = {}
    for method, path, operation in operations(document_of(app)):
        scopes = [scope for one in operation["security"] for scope in one["access_token"]]
        expected[f"{method} {path}"] = scopes[0] if scopes else "-"
    assert named == expected
    for _, scope, who, _ in rows("route | scope | who | what"):
        roles = {role.value for role, scopes in SCOPES.items() if scope.strip("`") in scopes}
        assert scope == "-" or set(who.split(", ")) == roles


def test_the_page_has_the_table_of_codes() -> None:
    said = {code.strip("`"): (int(status), meaning) for code, status, meaning in rows("code | status | meaning")}
    assert {code: status for code, (status, _) in said.items()} == dict(STATUS)
    for code, (_, meaning) in said.items():
        assert meaning.startswith(CATALOGUE[code].public)


def test_the_page_names_every_error_of_access() -> None:
    sources = [path.read_text() for path in (Path(__file__).parents[3] / "gateway/api").glob("*.py")]
    kinds = r'"((?:invalid|insufficient|unauthorized|unsupported|use_dpop)_[a-z_]+)"'
    raised = {name for text in sources for name in re.findall(kinds, text)}
    assert {error.strip("`") for error, _, _ in rows("error | status | do")} == raised


def test_the_page_has_the_limits() -> None:
    text = " ".join(PAGE.split())
    for said in (
        f"at most {MAX_BODY_BYTES >> 20} MiB (a token form {MAX_FORM_BYTES >> 10} KiB)",
        f"comes within {BODY_S:.0f} s",
        f"A head has at most {MAX_HEAD_BYTES >> 10} KiB",
        f"at most {AT_ONCE} requests at once",
        f"closed after {ApiSettings(address='x:1').keep_alive_s} s",
        f"at most {PROOFS_KEPT:,} of one party".replace(",", " "),
        f"A token ends after {LIFE_S // 60} minutes",
    ):
        assert said in text
