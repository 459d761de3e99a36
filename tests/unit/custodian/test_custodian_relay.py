"""3.9: a gateway carries requests to custodians, but only those that partners have signed; the signer is charged."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import pytest

from concordat.clock import SystemClock
from concordat.errors import IdentityError, RefusedError
from concordat.identity.federation import init_federation
from concordat.identity.plan import FederationPlan, NodePlan, PartnerPlan
from concordat.rpc.client import call, channel
from concordat.wire.v1 import custodian_pb2 as wire
from concordat.wire.v1.custodian_pb2_grpc import CustodianServiceStub
from tests.unit.custodian.running import RunningCustodians, elements, free_ports, home_of, request_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from concordat.identity.home import Home


@pytest.fixture(scope="module")
def federation(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("relay") / "federation"
    plan = FederationPlan(
        name="relay.example",
        nodes=(NodePlan.parse("NL"),),
        partners=(PartnerPlan.parse("IJM"), PartnerPlan.parse("OSCE")),
        custodian_addresses=tuple(f"127.0.0.1:{port}" for port in free_ports(3)),
    )
    init_federation(directory, plan, unsafe_dealer=True)
    return directory


@asynccontextmanager
async def stub(federation: Path, dials: str) -> AsyncIterator[CustodianServiceStub]:
    home = home_of(federation, dials)
    named = home.manifest.custodian(1)
    async with RunningCustodians(federation) as running:
        await running.start(1)
        async with channel(named.address, home=home, server=named.spiffe) as link:
            yield CustodianServiceStub(link)


def signed(home: Home, *, signer: Home | None = None, number: int = 3) -> wire.EvaluateRequest:
    return request_of(
        home.manifest,
        (signer or home).signing_key,
        requester=home.identity,
        custodian=home.manifest.custodian(1).id,
        now=SystemClock().now(),
        blinded=elements(number),
    )


async def test_a_gateway_carries_a_partners_request_and_the_partner_is_charged(federation: Path) -> None:
    request = signed(home_of(federation, "partner/IJM"))
    async with stub(federation, "gateway/g1") as gateway:
        first = await call(gateway.Evaluate, request, party="c1", timeout_s=10)
        again = await call(gateway.Evaluate, request, party="c1", timeout_s=10)
    async with stub(federation, "partner/IJM") as partner:
        quota = await call(partner.GetQuota, wire.GetQuotaRequest(), party="c1", timeout_s=10)
    assert len(first.elements) == 3 * 32
    assert again.elements == first.elements
    assert {one.key_class: one.used for one in quota.classes}["strong"] == 3


async def test_a_gateway_carries_no_nodes_request(federation: Path) -> None:
    async with stub(federation, "gateway/g1") as gateway:
        with pytest.raises(RefusedError) as refused:
            await call(gateway.Evaluate, signed(home_of(federation, "node/NL")), party="c1", timeout_s=10)
    assert refused.value.code == "refused"
    async with stub(federation, "node/NL") as node:
        quota = await call(node.GetQuota, wire.GetQuotaRequest(), party="c1", timeout_s=10)
    assert {one.key_class: one.used for one in quota.classes}["strong"] == 0


async def test_a_gateway_cannot_sign_for_a_partner(federation: Path) -> None:
    request = signed(home_of(federation, "partner/OSCE"), signer=home_of(federation, "gateway/g1"))
    async with stub(federation, "gateway/g1") as gateway:
        with pytest.raises(IdentityError) as refused:
            await call(gateway.Evaluate, request, party="c1", timeout_s=10)
    assert refused.value.code == "bad_signature"


async def test_what_a_gateway_carries_must_be_readable(federation: Path) -> None:
    async with stub(federation, "gateway/g1") as gateway:
        with pytest.raises(IdentityError):
            await call(gateway.Evaluate, wire.EvaluateRequest(), party="c1", timeout_s=10)
