"""A custodian behind mTLS evaluates for those whom its table names, and for nobody else."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest

from concordat.clock import SystemClock
from concordat.errors import IdentityError, RefusedError
from concordat.identity.manifest import KeyClass
from concordat.oprf.client import verify
from concordat.oprf.server import Evaluation
from concordat.rpc.client import call, channel
from concordat.wire.v1 import custodian_pb2 as wire
from concordat.wire.v1.custodian_pb2_grpc import CustodianServiceStub
from services.custodian.config import CustodianSettings
from tests.unit.custodian.running import RunningCustodians, elements, home_of, make_federation, request_of


async def test_a_node_gets_an_evaluation_with_a_proof_and_its_quota(large_quotas: Path) -> None:
    node, custodian = home_of(large_quotas, "node/NL"), home_of(large_quotas, "custodian/c1")
    named = node.manifest.custodian(1)
    request = request_of(
        node.manifest,
        node.signing_key,
        requester=node.identity,
        custodian=named.id,
        now=SystemClock().now(),
        blinded=elements(5),
    )
    async with RunningCustodians(large_quotas) as running:
        await running.start(1)
        async with channel(named.address, home=node, server=custodian.identity) as to_custodian:
            stub = CustodianServiceStub(to_custodian)
            reply = await call(stub.Evaluate, request, party="c1", timeout_s=10)
            quota = await call(stub.GetQuota, wire.GetQuotaRequest(), party="c1", timeout_s=10)
    evaluation = Evaluation(1, reply.elements, reply.proof)
    assert verify(request.elements, evaluation, named.public_share(KeyClass.STRONG)).index == 1
    assert reply.manifest_hash == node.manifest.hash
    assert {one.key_class: one.used for one in quota.classes}["strong"] >= 5
    assert list(quota.epochs) == [1]


async def test_a_gateway_has_no_quota_to_read(large_quotas: Path) -> None:
    gateway, custodian = home_of(large_quotas, "gateway/g1"), home_of(large_quotas, "custodian/c1")
    async with RunningCustodians(large_quotas) as running:
        await running.start(1)
        address = gateway.manifest.custodian(1).address
        async with channel(address, home=gateway, server=custodian.identity) as to_custodian:
            stub = CustodianServiceStub(to_custodian)
            with pytest.raises(RefusedError):
                await call(stub.GetQuota, wire.GetQuotaRequest(), party="c1", timeout_s=10)


async def test_a_party_of_another_federation_is_not_let_in(large_quotas: Path, tmp_path: Path) -> None:
    foreign = home_of(make_federation(tmp_path / "other"), "node/NL")
    custodian = home_of(large_quotas, "custodian/c1")
    async with RunningCustodians(large_quotas) as running:
        await running.start(1)
        address = custodian.manifest.custodian(1).address
        async with channel(address, home=foreign, server=custodian.identity) as to_custodian:
            stub = CustodianServiceStub(to_custodian)
            with pytest.raises(IdentityError):
                await call(stub.GetQuota, wire.GetQuotaRequest(), party="c1", timeout_s=10)


def test_the_example_settings_are_settings() -> None:
    text = (Path(__file__).parents[3] / "services/custodian/example.toml").read_text()
    assert CustodianSettings.model_validate(tomllib.loads(text)).max_concurrent == 256
