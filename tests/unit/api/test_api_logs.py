"""What a caller sends goes into no log: neither tokens, proofs and assertions nor bodies (I1, I2)."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from concordat.api.model import EvaluationRequest
from concordat.base64url import encode
from concordat.errors import ConcordatError
from tests.unit.api.test_evaluations import request_of

if TYPE_CHECKING:
    from collections.abc import Callable

    import pytest

    from tests.unit.api.api_world import ApiClient, RelayByHand


async def test_nothing_that_came_is_in_a_log(
    client: Callable[[str], ApiClient], relay: RelayByHand, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    ijm = client("partner/IJM")
    await ijm.log_in()
    element = b"\x07canary-of-a-blinded-element" + bytes(4)
    good = request_of(ijm.home)
    body = EvaluationRequest(custodian=2, body=good.body, signature=good.signature, elements=element)
    assertion, proof = ijm.assertion(), ijm.proof("POST", "/v1/evaluations", token=ijm.token)
    secret = {"client-canary": "scope-canary"}
    relay.answer = ConcordatError("refused by the custodian", code="bad_signature")
    answers = [
        await ijm.send("POST", "/v1/evaluations", proof=proof, json=body.model_dump(mode="json")),
        await ijm.send("POST", "/v1/evaluations", proof=proof),
        await ijm.send("POST", "/v1/evaluations", json=secret),
        await ijm.send("POST", "/v1/evaluations", token="token-canary", json=secret),
        await ijm.send("GET", "/v1/operations/path-canary/report"),
        await ijm.send("GET", "/v1/unknown-canary?query=canary"),
        await ijm.ask_token(form={"client_assertion": assertion + "x", **secret}),
        await ijm.ask_token(form={"client_assertion": "assertion-canary"}),
    ]
    assert [one.status_code for one in answers] == [403, 401, 400, 401, 403, 404, 401, 401]
    # httpx, the test's own client, notes what it asks for.
    own = [one for one in caplog.records if one.name.startswith(("gateway", "concordat", "uvicorn", "fastapi"))]
    logged = "\n".join(logging.Formatter().format(one) + repr(one.__dict__) for one in own)
    assert "request refused or failed" in logged
    assert str(ijm.home.identity) in logged
    for sent in (ijm.token, proof, assertion, encode(element), encode(good.signature), str(ijm.nonce), "canary"):
        assert sent not in logged
