"""What a request may bring: limits on size, form and time, and answers that say no more than they must."""

from __future__ import annotations

import asyncio
import json
import logging
from typing import TYPE_CHECKING, Annotated, Any, Final

import pytest

from concordat.api.model import QueryRequest, Scope
from gateway.api.access import Caller, caller, guarded_router
from gateway.api.limits import MAX_BODY_BYTES

if TYPE_CHECKING:
    import httpx
    from fastapi import FastAPI

    from tests.unit.api.api_world import ApiClient

PATH: Final = "/v1/evaluations"
JSON: Final = {"content-type": "application/json"}
# What a canary of a test looks like: it must not come back.
SECRET: Final = "plus31612345678"


async def post(client: ApiClient, content: Any, **headers: str) -> httpx.Response:
    return await client.send("POST", PATH, content=content, headers={**JSON, **headers})


def problem(answer: httpx.Response) -> tuple[int, str]:
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["status"] == answer.status_code
    return answer.status_code, answer.json()["code"]


async def test_a_body_has_a_limit(ijm: ApiClient) -> None:
    assert problem(await post(ijm, b" " * (MAX_BODY_BYTES + 1))) == (413, "too_large")
    assert problem(await post(ijm, b" " * MAX_BODY_BYTES)) == (400, "bad_input")


async def test_a_body_comes_with_its_length(ijm: ApiClient) -> None:
    async def parts() -> Any:
        yield b"{}"

    assert problem(await post(ijm, parts())) == (411, "bad_input")
    for length in ("1", "3"):
        assert problem(await post(ijm, parts(), **{"content-length": length})) == (400, "bad_input")
    for length in ("-1", "x", "1" * 20):
        assert problem(await post(ijm, parts(), **{"content-length": length})) == (400, "bad_input")


@pytest.mark.parametrize(
    "kind", ["text/plain", "application/x-www-form-urlencoded", "application/json; charset=latin1"]
)
async def test_another_media_type_is_refused(ijm: ApiClient, kind: str) -> None:
    assert problem(await post(ijm, b"{}", **{"content-type": kind})) == (415, "bad_input")


async def test_a_packed_body_is_refused(ijm: ApiClient) -> None:
    assert problem(await post(ijm, b"{}", **{"content-encoding": "gzip"})) == (415, "bad_input")


async def test_json_may_say_that_it_is_utf_8(ijm: ApiClient) -> None:
    assert problem(await post(ijm, b"{}", **{"content-type": "application/JSON; charset=UTF-8"})) == (400, "bad_input")


async def test_a_get_has_no_body(ijm: ApiClient) -> None:
    answer = await ijm.send("GET", "/v1/operations/op1/report", content=b"{}")
    assert problem(answer) == (400, "bad_input")


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b"\xff\xfe",
        b"[" * 100_000,
        b'{"custodian":' + b"9" * 5000 + b"}",
        b'{"custodian": NaN}',
        b'{"custodian": "1", "body": "\\ud800", "signature": "", "elements": ""}',
        json.dumps({"custodian": 1, "body": "A" * 5000, "signature": SECRET, "elements": "="}).encode(),
        json.dumps({SECRET: SECRET}).encode(),
    ],
    ids=range(11),
)
async def test_what_is_no_body_of_the_schema_is_refused_and_not_repeated(ijm: ApiClient, content: bytes) -> None:
    answer = await post(ijm, content)
    assert problem(answer) == (400, "bad_input")
    assert SECRET not in answer.text


async def test_a_refusal_says_which_field_is_wrong(ijm: ApiClient) -> None:
    answer = await post(ijm, json.dumps({"custodian": 0, "body": "", "signature": "A", "elements": "AA"}).encode())
    assert "body.custodian: Input should be greater than or equal to 1" in answer.json()["detail"]


async def test_unknown_paths_and_methods_are_problems(ijm: ApiClient, http: httpx.AsyncClient) -> None:
    assert problem(await http.get("/v1/nothing")) == (404, "refused")
    assert problem(await http.get("/v1/token/")) == (404, "refused")
    answer = await http.request("PUT", PATH)
    assert problem(answer) == (405, "refused")
    assert answer.headers["allow"] == "POST"


async def test_every_answer_stays_out_of_caches_and_frames(ijm: ApiClient, http: httpx.AsyncClient) -> None:
    answers = [await http.get(path) for path in ("/healthz", "/v1/nothing", "/v1/openapi.json")]
    answers += [await http.put("/healthz"), await http.post(PATH), await post(ijm, b"{}")]
    for answer in answers:
        assert answer.headers["cache-control"] == "no-store"
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert "default-src 'none'" in answer.headers["content-security-policy"]
        assert answer.headers["strict-transport-security"].startswith("max-age=")


async def test_an_unexpected_error_is_internal_and_its_text_goes_nowhere(
    ijm: ApiClient, app: FastAPI, caplog: pytest.LogCaptureFixture
) -> None:
    broken = guarded_router()

    @broken.get("/v1/broken")
    async def fails(who: Annotated[Caller, caller(Scope.QUERY)]) -> str:
        raise ValueError(f"{SECRET} of {who.identity}")

    app.include_router(broken)
    with caplog.at_level(logging.INFO):
        answer = await ijm.send("GET", "/v1/broken")
    assert problem(answer) == (500, "internal")
    assert answer.headers["cache-control"] == "no-store"
    assert SECRET not in answer.text
    assert [one.message for one in caplog.records if one.levelno >= logging.ERROR] == ["request failed unexpectedly"]


async def test_an_answer_that_does_not_fit_its_model_is_internal(ijm: ApiClient, app: FastAPI) -> None:
    wrong = guarded_router()

    @wrong.get("/v1/wrong", response_model=QueryRequest)
    async def answers(who: Annotated[Caller, caller(Scope.QUERY)]) -> Any:
        return {"party": str(who.identity)}

    app.include_router(wrong)
    assert problem(await ijm.send("GET", "/v1/wrong")) == (500, "internal")


async def test_a_body_has_its_time(app: FastAPI, ijm: ApiClient) -> None:
    """Told by the ASGI server's side: the sender stops in the middle."""
    sent: list[dict[str, Any]] = []
    first = [{"type": "http.request", "body": b"{", "more_body": True}]

    async def receive() -> dict[str, Any]:
        if first:
            return first.pop()
        await asyncio.Event().wait()
        raise AssertionError

    async def send(message: Any) -> None:
        sent.append(message)

    headers = {
        **JSON,
        "content-length": "2",
        "authorization": f"DPoP {ijm.token}",
        "dpop": ijm.proof("POST", PATH, token=ijm.token),
    }
    scope = {
        "type": "http",
        "http_version": "1.1",
        "method": "POST",
        "path": PATH,
        "query_string": b"",
        "headers": [(name.encode(), value.encode()) for name, value in headers.items()],
    }
    app.state.body_s = 0.05
    await app(scope, receive, send)
    assert sent[0]["status"] == 408
