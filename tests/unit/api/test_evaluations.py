"""3.9: the relay carries what the caller signed to the custodian that it names, unchanged, and errors come back."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any

import pytest

from concordat.api.model import EvaluationRequest, EvaluationResponse
from concordat.errors import CATALOGUE, ConcordatError, RefusedError
from concordat.protocol.evaluation import sign_evaluation
from concordat.wire.v1 import custodian_pb2 as wire
from gateway.api.problems import STATUS

if TYPE_CHECKING:
    from collections.abc import Callable

    import httpx

    from concordat.identity.home import Home
    from tests.unit.api.api_world import ApiClient, RelayByHand

ELEMENTS = bytes(64)


def request_of(home: Home, *, custodian: int = 2, **changes: Any) -> EvaluationRequest:
    body = wire.EvaluateBody(
        federation=home.manifest.federation,
        requester=str(home.identity),
        custodian=home.manifest.custodian(2).id,
        count=2,
        elements_hash=hashlib.sha256(ELEMENTS).digest(),
    )
    for name, value in changes.items():
        setattr(body, name, value)
    signed = sign_evaluation(body, home.signing_key)
    return EvaluationRequest(custodian=custodian, body=signed.raw, signature=signed.signature, elements=ELEMENTS)


async def send(client: ApiClient, request: EvaluationRequest) -> httpx.Response:
    return await client.send("POST", "/v1/evaluations", json=request.model_dump(mode="json"))


async def test_a_request_goes_to_its_custodian_as_it_is_and_the_answer_comes_back(
    ijm: ApiClient, relay: RelayByHand
) -> None:
    relay.answer = wire.EvaluateResponse(elements=b"e" * 64, proof=b"p" * 64, manifest_hash=b"h" * 32, quota_left=7)
    request = request_of(ijm.home)
    answer = await send(ijm, request)
    assert answer.status_code == 200
    assert EvaluationResponse.model_validate_json(answer.content) == EvaluationResponse(
        elements=b"e" * 64, proof=b"p" * 64, manifest_hash=(b"h" * 32).hex(), quota_left=7
    )
    carried = wire.EvaluateRequest(body=request.body, signature=request.signature, elements=ELEMENTS)
    assert relay.asked == [(2, carried)]


@pytest.mark.parametrize("code", CATALOGUE)
async def test_a_custodians_error_comes_through_with_its_code(ijm: ApiClient, relay: RelayByHand, code: str) -> None:
    relay.answer = ConcordatError("local text", code=code, public_detail="what to change")
    answer = await send(ijm, request_of(ijm.home))
    body = answer.json()
    assert (answer.status_code, body["status"], body["code"]) == (STATUS[code], STATUS[code], code)
    assert (body["type"], body["title"]) == (f"urn:concordat:error:{code}", CATALOGUE[code].public)
    assert body["detail"] == "what to change"
    assert "local text" not in answer.text


async def test_a_code_that_is_not_in_the_catalogue_is_internal(ijm: ApiClient, relay: RelayByHand) -> None:
    relay.answer = RefusedError("local text", code="of_this_process_only")
    answer = await send(ijm, request_of(ijm.home))
    assert (answer.status_code, answer.json()["code"]) == (500, "internal")


async def test_nobody_carries_what_another_has_signed(
    ijm: ApiClient, relay: RelayByHand, home: Callable[[str], Home]
) -> None:
    for other in ("partner/OSCE", "node/NL"):
        answer = await send(ijm, request_of(home(other)))
        assert (answer.status_code, answer.json()["code"]) == (403, "refused")
    assert not relay.asked


async def test_what_is_no_request_or_for_another_custodian_goes_nowhere(ijm: ApiClient, relay: RelayByHand) -> None:
    good = request_of(ijm.home)
    for wrong, code in (
        (good.model_copy(update={"body": b"\xff\xff"}), "protocol_violation"),
        (good.model_copy(update={"custodian": 1}), "protocol_violation"),
        (good.model_copy(update={"custodian": 9}), "bad_input"),
    ):
        answer = await send(ijm, wrong)
        assert (answer.status_code, answer.json()["code"]) == (400, code)
    assert not relay.asked
