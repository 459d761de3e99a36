"""I2: a body that could not be read is gone with its answer, not when the collector comes by."""

from __future__ import annotations

import gc

import httpx
import pytest
from fastapi import FastAPI
from pydantic import BaseModel

from gateway.api import problems

MARK = "TWFyayBvZiBhIHRva2Vu"


class Body(BaseModel):
    """A body like a query's."""

    token: str
    number: int


def app() -> FastAPI:
    made = FastAPI()
    problems.install(made)

    @made.post("/v1/things")
    async def things(body: Body) -> None:
        del body

    return made


def errors() -> list[str]:
    return [type(one).__name__ for one in gc.get_objects() if isinstance(one, BaseException)]


@pytest.mark.parametrize("content", [f'{{"token": "{MARK}", "number": 1', f'{{"token": "{MARK}", "number": "{MARK}"}}'])
async def test_a_body_that_is_refused_leaves_no_error_behind(content: str) -> None:
    gc.collect()
    gc.disable()
    try:
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app()), base_url="http://test") as client:
            before = errors()
            said = await client.post("/v1/things", content=content, headers={"content-type": "application/json"})
            assert said.status_code == 400
            assert [one for one in errors() if one not in before] == []
    finally:
        gc.enable()
