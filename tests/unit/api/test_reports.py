"""Who may read a report through the API: the partners that a charter names, once all have signed it (I8)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import pytest

from concordat.api.model import ReportResponse
from concordat.errors import IdentityError, ProtocolError, RefusedError
from concordat.protocol.charter import CHARTER_DOMAIN, MAX_READERS, accept_charter, seal_key
from concordat.wire.v1 import operations_pb2 as wire

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import httpx

    from concordat.clock import ManualClock
    from concordat.identity.home import Home
    from gateway.operations_store import OperationStore
    from tests.unit.api.api_world import ApiClient

    Homes = Callable[[str], Home]

KEY: Final = bytes(range(32))
SWEEP: Final = b"s" * 16
SIGNATURE: Final = b"g" * 64


def charter_of(home: Homes, clock: ManualClock, readers: Sequence[str], operation: str = "op1") -> bytes:
    nl, de = home("node/NL"), home("node/DE")
    charter = wire.Charter(
        federation=nl.manifest.federation,
        manifest_hash=nl.manifest.hash,
        operation=operation,
        title="Action day",
        opener=str(nl.identity),
        participants=sorted((str(nl.identity), str(de.identity))),
        purpose="prevention",
        namespaces=["e164"],
        starts_at=int(clock.now()) - 60,
        ends_at=int(clock.now()) + 3600,
        operation_key_hash=bytes.fromhex("630dcd2966c4336691125448bbb25b4ff412a49c732db2c8abc1b8581bd710dd"),
        epoch=1,
        justification_hash=bytes(32),
        readers=readers,
    )
    return charter.SerializeToString(deterministic=True)


def propose(home: Homes, store: OperationStore, raw: bytes) -> None:
    nl = home("node/NL")
    parties = wire.Charter.FromString(raw).participants
    keys = [seal_key(KEY, raw, one, manifest=nl.manifest, opener=nl.signing_key) for one in parties]
    store.propose(str(nl.identity), raw, nl.signing_key.sign(CHARTER_DOMAIN, raw), keys)


def sign(home: Homes, store: OperationStore, raw: bytes) -> None:
    de = home("node/DE")
    store.countersign(
        str(de.identity), wire.Charter.FromString(raw).operation, de.signing_key.sign(CHARTER_DOMAIN, raw)
    )


def freeze(home: Homes, store: OperationStore, operation: str = "op1") -> None:
    store.start_sweep(str(home("node/NL").identity), operation, SWEEP)
    store.freeze(operation, SWEEP, b'{"version":1}', SIGNATURE)


async def read(client: ApiClient, operation: str = "op1") -> httpx.Response:
    return await client.send("GET", f"/v1/operations/{operation}/report")


async def test_a_reader_gets_the_report_as_it_was_signed(
    ijm: ApiClient, home: Homes, store: OperationStore, clock: ManualClock
) -> None:
    raw = charter_of(home, clock, [str(ijm.home.identity)])
    propose(home, store, raw)
    sign(home, store, raw)
    freeze(home, store)
    answer = await read(ijm)
    assert answer.status_code == 200
    assert ReportResponse.model_validate_json(answer.content) == ReportResponse(
        report=b'{"version":1}', signature=SIGNATURE
    )


async def test_a_reader_gets_the_newest_version_or_the_one_that_it_names(
    ijm: ApiClient, home: Homes, store: OperationStore, clock: ManualClock
) -> None:
    raw = charter_of(home, clock, [str(ijm.home.identity)])
    propose(home, store, raw)
    sign(home, store, raw)
    for number in (1, 2):
        store.start_sweep(str(home("node/NL").identity), "op1", SWEEP)
        store.freeze("op1", SWEEP, b'{"version":%d}' % number, SIGNATURE)
    found = [await ijm.send("GET", f"/v1/operations/op1/report{query}") for query in ("", "?version=1", "?version=2")]
    shown = [ReportResponse.model_validate_json(one.content).report for one in found]
    assert shown == [b'{"version":2}', b'{"version":1}', b'{"version":2}']
    missing = await ijm.send("GET", "/v1/operations/op1/report?version=3")
    assert (missing.status_code, missing.json()["code"]) == (403, "refused")
    for bad in ("-1", "101", "x"):
        refused = await ijm.send("GET", f"/v1/operations/op1/report?version={bad}")
        assert (refused.status_code, refused.json()["code"]) == (400, "bad_input")


async def test_i8_whoever_is_not_named_learns_nothing_at_any_stage(
    ijm: ApiClient, home: Homes, store: OperationStore, clock: ManualClock
) -> None:
    unknown = await read(ijm)
    assert (unknown.status_code, unknown.json()["code"]) == (403, "operation_unknown")
    raw = charter_of(home, clock, [str(home("partner/OSCE").identity)])
    stages: tuple[Callable[[], None], ...] = (
        lambda: propose(home, store, raw),
        lambda: sign(home, store, raw),
        lambda: freeze(home, store),
    )
    for stage in stages:
        stage()
        answer = await read(ijm)
        assert (answer.status_code, answer.content) == (unknown.status_code, unknown.content)
        assert sorted(answer.headers) == sorted(unknown.headers)


async def test_i8_a_reader_learns_nothing_before_all_have_signed_and_then_that_there_is_no_report_yet(
    ijm: ApiClient, home: Homes, store: OperationStore, clock: ManualClock
) -> None:
    unknown = await read(ijm)
    raw = charter_of(home, clock, [str(ijm.home.identity)])
    propose(home, store, raw)
    assert (await read(ijm)).content == unknown.content
    sign(home, store, raw)
    answer = await read(ijm)
    assert (answer.status_code, answer.json()["code"], answer.json()["detail"]) == (403, "refused", "no report yet")


@pytest.mark.parametrize("operation", [".hidden", "a" * 65, "%20"])
async def test_what_is_no_id_of_an_operation_is_refused(ijm: ApiClient, operation: str) -> None:
    answer = await ijm.send("GET", f"/v1/operations/{operation}/report")
    assert (answer.status_code, answer.json()["code"]) == (400, "bad_input")


def signed(home: Homes, raw: bytes) -> wire.Charter:
    nl = home("node/NL")
    return accept_charter(raw, nl.signing_key.sign(CHARTER_DOMAIN, raw), manifest=nl.manifest)


def test_a_charter_names_readers_in_order(home: Homes, clock: ManualClock) -> None:
    ijm, osce = str(home("partner/IJM").identity), str(home("partner/OSCE").identity)
    assert list(signed(home, charter_of(home, clock, [ijm, osce])).readers) == [ijm, osce]
    for wrong in ([osce, ijm], [ijm, ijm], [f"{ijm}{number:03}" for number in range(MAX_READERS + 1)]):
        with pytest.raises(ProtocolError, match="readers"):
            signed(home, charter_of(home, clock, wrong))


@pytest.mark.parametrize("reader", ["node/DE", "console/console"])
def test_a_reader_is_a_partner(home: Homes, clock: ManualClock, reader: str) -> None:
    with pytest.raises(RefusedError, match="reader"):
        signed(home, charter_of(home, clock, [str(home(reader).identity)]))


def test_a_reader_is_in_the_manifest(home: Homes, clock: ManualClock) -> None:
    with pytest.raises(IdentityError):
        signed(home, charter_of(home, clock, ["spiffe://api.example/partner/NOBODY"]))
