"""The whole of it: a partner's client over TLS, tokens and proofs, to custodians behind mTLS and back (3.9)."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import pytest

from concordat.api.model import EvaluationRequest, EvaluationResponse, ReportResponse
from concordat.client.session import ApiSession
from concordat.clock import SystemClock
from concordat.errors import IdentityError, RefusedError, UnavailableError
from concordat.identity.federation import init_federation
from concordat.identity.manifest import KeyClass, PartyClass
from concordat.oprf.client import verify
from concordat.oprf.server import Evaluation
from gateway.config import GatewaySettings
from gateway.service import open_foundation, open_gateway
from tests.unit.custodian.running import RunningCustodians, elements, home_of, loopback_plan, request_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from concordat.identity.home import Home


@pytest.fixture(scope="module")
def federation(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("whole") / "federation"
    plan = loopback_plan(name="whole.example", quotas={PartyClass.PARTNER: {KeyClass.STRONG: 9}})
    init_federation(directory, plan, unsafe_dealer=True)
    return directory


@asynccontextmanager
async def running(federation: Path) -> AsyncIterator[None]:
    home = home_of(federation, "gateway/g1")
    settings = GatewaySettings()
    async with RunningCustodians(federation) as custodians:
        await custodians.start(1)
        with open_foundation(home, settings, clock=SystemClock()) as foundation:
            api = settings.api_server(home)
            async with open_gateway(foundation, settings.server(home), api=api) as gateway:
                assert gateway.api is not None
                await gateway.server.start()
                try:
                    yield
                finally:
                    await gateway.server.stop(0)


def evaluation(home: Home, number: int, *, custodian: int = 1) -> EvaluationRequest:
    made = request_of(
        home.manifest,
        home.signing_key,
        requester=home.identity,
        custodian=home.manifest.custodian(custodian).id,
        now=SystemClock().now(),
        blinded=elements(number),
    )
    return EvaluationRequest(custodian=custodian, body=made.body, signature=made.signature, elements=made.elements)


async def test_a_partners_elements_are_evaluated_and_charged_to_the_partner(federation: Path) -> None:
    home = home_of(federation, "partner/IJM")
    async with running(federation), ApiSession(home, clock=SystemClock()) as session:
        request = evaluation(home, 4)
        answer = await session.post("/v1/evaluations", request, EvaluationResponse)
        again = await session.post("/v1/evaluations", request, EvaluationResponse)
        # E of a partner is 9; floor(9 * 2 / 3) = 6 at one custodian.
        with pytest.raises(RefusedError) as spent:
            await session.post("/v1/evaluations", evaluation(home, 3), EvaluationResponse)
        other = home_of(federation, "partner/OSCE")
        async with ApiSession(other, clock=SystemClock()) as others:
            fresh = await others.post("/v1/evaluations", evaluation(other, 3), EvaluationResponse)
    public = home.manifest.custodian(1).public_share(KeyClass.STRONG)
    assert verify(request.elements, Evaluation(1, answer.elements, answer.proof), public).index == 1
    assert (answer.quota_left, again.quota_left, fresh.quota_left) == (2, 2, 3)
    assert spent.value.code == "quota_exhausted"


async def test_a_custodian_that_is_away_is_said_to_be_so(federation: Path) -> None:
    home = home_of(federation, "partner/IJM")
    async with running(federation), ApiSession(home, clock=SystemClock()) as session:
        with pytest.raises(UnavailableError) as away:
            await session.post("/v1/evaluations", evaluation(home, 1, custodian=2), EvaluationResponse)
    assert away.value.code == "unavailable"


async def test_the_client_is_told_who_has_no_scope_and_which_operation_is_unknown(federation: Path) -> None:
    home, console = home_of(federation, "partner/IJM"), home_of(federation, "console/console")
    async with running(federation), ApiSession(home, clock=SystemClock()) as session:
        assert await session.scopes() == ("evaluate", "query", "report")
        with pytest.raises(RefusedError) as unknown:
            await session.get("/v1/operations/op1/report", ReportResponse)
        assert unknown.value.code == "operation_unknown"
        async with ApiSession(console, clock=SystemClock()) as operator:
            assert await operator.scopes() == ("operator",)
            with pytest.raises(RefusedError):
                await operator.get("/v1/operations/op1/report", ReportResponse)


async def test_a_node_has_no_business_at_the_api(federation: Path) -> None:
    node = home_of(federation, "node/NL")
    async with running(federation), ApiSession(node, clock=SystemClock()) as session:
        with pytest.raises((RefusedError, IdentityError)):
            await session.scopes()
