"""What a partner's program gets for its identifiers, and what it does not believe (docs/protocol.md 3.9)."""

from __future__ import annotations

from dataclasses import replace
from datetime import date
from typing import TYPE_CHECKING

import pytest

from concordat.api import model
from concordat.client import Checked, Client, Cover, FoundHit, Item, Outcome, Progress, Verdict
from concordat.errors import ConfigError, IdentityError, InputError, ProtocolError, RefusedError, UnavailableError
from concordat.protocol.macs import HOLDER_TOLD
from concordat.vocabulary import Purpose
from tests.unit.client.conftest import home
from tests.unit.client.fake_api import Reply, Request, problem
from tests.unit.client.fake_hub import CASE, COVERED, MINUTE, OFFLINE, OUTSIDE, TIMED_OUT, hub

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from concordat.justification import Justification
    from concordat.wire.v1 import check_pb2 as wire

PHONE, MAIL, PROFILE = "+40721123456", "lena@mail.example", "https://instagram.com/lena.k"


@pytest.fixture
def folder(federation: Path) -> Path:
    return federation / "partner/IJM"


async def ask(folder: Path, *items: str | Item, case: Justification = CASE) -> Outcome:
    async with Client.open(folder) as client:
        return await client.check(items, case)


def results(outcome: Outcome) -> list[str]:
    return [one.result.value for one in outcome]


async def test_hits_misses_and_who_is_outside_with_what_the_caller_calls_them(federation: Path, folder: Path) -> None:
    async with hub(federation) as fake:
        await fake.hold("NL", "e164", PHONE)
        await fake.hold("DE", "e164", PHONE)
        await fake.hold("DE", "account", "instagram.com:handle:lena.k")
        await fake.hold("FR", "email", MAIL)
        items: list[str | Item] = [
            Item("(+40) 721-123.456", client_ref="row 1"),
            Item(MAIL, kind="email", client_ref="row 2"),
            Item("0721 123 456", region="RO", client_ref="row 3"),
            "https://www.instagram.com/lena.k/",
        ]
        found = await ask(folder, *items)

    assert results(found) == ["hit", "no_hit", "hit", "hit"]
    assert [one.client_ref for one in found] == ["row 1", "row 2", "row 3", None]
    assert [hit.party for hit in found[0].hits] == ["NL", "DE"]
    assert found[0].hits[0] == FoundHit("NL", "eu_state", found[0].hits[0].handle)
    assert found[0].hits == found[2].hits
    assert [hit.party for hit in found[3].hits] == ["DE"]
    assert not any(one.complete for one in found)
    assert [(one.party, one.cover) for one in found[1].not_covered] == [("FR", Cover.OUTSIDE)]
    assert found[1].covered == ("NL", "DE")
    assert found[1].sentence() == "no hit at the 2 parties covered; not covered: FR (outside the agreement)"
    assert {one.data_minute for one in found.coverage} == {MINUTE}
    assert found.requests == (found[0].request,)
    assert found.quota_left is not None
    # The two spellings of the number are one value, asked once.
    assert fake.asked == [("e164", "email", "account")]
    assert fake.evaluated == 2 * 3


async def test_a_reference_is_the_same_in_every_query_and_process_and_another_for_another_partner_key(
    federation: Path, folder: Path
) -> None:
    async with hub(federation) as fake:
        await ask(folder, PHONE, MAIL)
        await ask(folder, MAIL)
        bodies = [
            model.QueryRequest.model_validate_json(one.body) for one in fake.requests if one.path == "/v1/queries"
        ]
    first, second = bodies
    assert second.items[0].reference == first.items[1].reference
    assert second.items[0].reference != first.items[0].reference
    assert second.items[0].token == first.items[1].token
    assert second.items[0].ask_mac != first.items[1].ask_mac
    assert second.header != first.header


async def test_a_client_does_not_spend_quota_twice_for_a_value(federation: Path, folder: Path) -> None:
    async with hub(federation) as fake, Client.open(folder) as client:
        await client.check([PHONE], CASE)
        await client.check([PHONE, MAIL], CASE)
    assert fake.evaluated == 2 * 2
    assert fake.asked == [("e164",), ("e164", "email")]


async def test_what_cannot_be_read_is_named_and_the_others_go_on(federation: Path, folder: Path) -> None:
    async with hub(federation) as fake:
        bad: list[str | Item] = [
            "",
            "Jane Doe",
            "0721 123 456",
            Item("x", kind="nonsense"),
            Item(PHONE, region="Mars"),
            "y" * 5000,
        ]
        found = await ask(folder, *bad, PHONE)
    assert results(found) == ["unreadable"] * 6 + ["no_hit"]
    assert [(one.reason or "").rpartition("[")[2] for one in found][:6] == [
        "empty]",
        "unknown_kind]",
        "unknown_region]",
        "unknown_kind]",
        "bad_input]",
        "too_long]",
    ]
    assert "needs its country" in (found[2].reason or "")
    assert all(one.coverage == () and not one.complete for one in found[:6])
    assert fake.asked == [("e164",)]


async def test_what_the_agreement_does_not_allow_is_neither_tokenised_nor_sent(federation: Path, folder: Path) -> None:
    async with hub(federation) as fake:
        found = await ask(folder, "DE89 3704 0044 0532 0130 00", PHONE)
        assert results(found) == ["not_allowed", "no_hit"]
        assert found[0].sentence() == "not allowed"
        assert (fake.evaluated, fake.asked) == (2, [("e164",)])
        missing = CASE.model_copy(update={"purpose": Purpose.MISSING_PERSON})
        only = await ask(folder, MAIL, case=missing)
        assert results(only) == ["not_allowed"]
        assert (only.coverage, only.requests) == ((), ())
    assert fake.evaluated == 2


async def test_i6_no_hit_is_never_said_where_nobody_is_covered(federation: Path, folder: Path) -> None:
    async with hub(federation) as fake:
        fake.states |= {"NL": OFFLINE, "DE": TIMED_OUT}
        fake.answer_hook = lambda answer: answer.model_copy(
            update={"results": tuple(model.ItemResult(result=model.Result.NO_HIT) for _ in answer.results)}
        )
        found = await ask(folder, PHONE)
    assert results(found) == ["not_covered"]
    assert found[0].sentence() == (
        "nothing is known: nobody was covered; not covered: DE (no answer in time); NL (offline); "
        "FR (outside the agreement)"
    )
    assert [(one.party, one.cover.value) for one in found.coverage] == [
        ("NL", "offline"),
        ("DE", "timed_out"),
        ("FR", "outside"),
    ]


async def test_a_party_that_is_late_but_proves_its_hit_is_named_as_hit(federation: Path, folder: Path) -> None:
    async with hub(federation) as fake:
        fake.states["DE"] = TIMED_OUT
        await fake.hold("DE", "e164", PHONE)
        found = await ask(folder, PHONE)
    assert results(found) == ["hit"]
    assert [one.party for one in found[0].not_covered] == ["FR"]


def _wrong_mac(hit: model.Hit) -> model.Hit:
    return hit.model_copy(update={"answer_mac": bytes(32)})


def _other_decision(hit: model.Hit) -> model.Hit:
    return hit.model_copy(update={"decision": HOLDER_TOLD})


def _other_reference(hit: model.Hit) -> model.Hit:
    return hit.model_copy(update={"reference": bytes(16)})


@pytest.mark.parametrize("lie", [_wrong_mac, _other_decision, _other_reference])
async def test_a_hit_without_proof_is_no_hit_and_its_party_is_named_as_unverified(
    federation: Path, folder: Path, lie: Callable[[model.Hit], model.Hit]
) -> None:
    async with hub(federation) as fake:
        fake.wrong_answer["DE"] = lie
        await fake.hold("DE", "e164", PHONE)
        await fake.hold("DE", "email", MAIL)
        await fake.hold("NL", "email", MAIL)
        found = await ask(folder, PHONE, MAIL)
    assert results(found) == ["no_hit", "hit"]
    assert found[0].covered == ("NL",)
    assert found[0].unverified == ("DE",)
    assert "DE (answer not verified)" in found[0].sentence()
    assert [hit.party for hit in found[1].hits] == ["NL"]
    assert found[1].unverified == ("DE",)


async def test_a_hit_that_another_party_s_answer_is_passed_off_as_is_not_believed(
    federation: Path, folder: Path
) -> None:
    async with hub(federation) as fake:
        await fake.hold("DE", "e164", PHONE)
        nl = fake.gateway.manifest.party("NL").id
        fake.wrong_answer["DE"] = lambda hit: hit.model_copy(update={"party": nl})
        found = await ask(folder, PHONE)
    assert results(found) == ["no_hit"]
    assert found[0].unverified == ("NL",)


async def test_an_answer_that_does_not_let_the_asker_know_is_no_hit(federation: Path, folder: Path) -> None:
    async with hub(federation) as fake:
        fake.decision = HOLDER_TOLD
        await fake.hold("DE", "e164", PHONE)
        found = await ask(folder, PHONE)
    assert results(found) == ["no_hit"]
    assert found[0].unverified == ("DE",)


async def test_an_answer_of_a_party_outside_the_agreement_is_no_hit(federation: Path, folder: Path) -> None:
    async with hub(federation) as fake:
        fake.answering = (COVERED, OUTSIDE)
        await fake.hold("FR", "e164", PHONE)
        found = await ask(folder, PHONE)
    assert results(found) == ["no_hit"]
    assert found[0].unverified == ("FR",)


async def test_i6_a_party_that_does_not_answer_partners_can_never_be_covered(federation: Path, folder: Path) -> None:
    async with hub(federation) as fake:
        fake.states["FR"] = COVERED
        with pytest.raises(ProtocolError, match="does not answer partners"):
            await ask(folder, PHONE)


def _without_one(body: wire.CertificateBody) -> None:
    del body.holders[0]


def _twice(body: wire.CertificateBody) -> None:
    body.holders.append(body.holders[0])


def _partial(body: wire.CertificateBody) -> None:
    body.partial = True


def _covers_all(body: wire.CertificateBody) -> None:
    for one in body.holders:
        one.state = COVERED


def _of_another(body: wire.CertificateBody) -> None:
    body.check_id = bytes(16)


def _other_header(body: wire.CertificateBody) -> None:
    body.header_hash = bytes(32)


@pytest.mark.parametrize("lie", [_without_one, _twice, _partial, _covers_all, _of_another, _other_header])
async def test_a_certificate_that_does_not_fit_is_refused(
    federation: Path, folder: Path, lie: Callable[[wire.CertificateBody], None]
) -> None:
    async with hub(federation) as fake:
        fake.body_hook = lie
        with pytest.raises(ProtocolError):
            await ask(folder, PHONE)


def _coverage_prettier(answer: model.QueryResponse) -> model.QueryResponse:
    better = tuple(one.model_copy(update={"state": model.State.COVERED}) for one in answer.coverage)
    return answer.model_copy(update={"coverage": better})


def _coverage_newer(answer: model.QueryResponse) -> model.QueryResponse:
    newer = tuple(one.model_copy(update={"data_minute": MINUTE + 1}) for one in answer.coverage)
    return answer.model_copy(update={"coverage": newer})


def _coverage_less(answer: model.QueryResponse) -> model.QueryResponse:
    return answer.model_copy(update={"coverage": answer.coverage[1:]})


def _no_certificate(answer: model.QueryResponse) -> model.QueryResponse:
    return answer.model_copy(update={"certificate": None})


def _another_number(answer: model.QueryResponse) -> model.QueryResponse:
    return answer.model_copy(update={"request": "0" * 32})


def _one_result_more(answer: model.QueryResponse) -> model.QueryResponse:
    return answer.model_copy(update={"results": answer.results * 2})


def _hit_of_nobody(answer: model.QueryResponse) -> model.QueryResponse:
    return answer.model_copy(update={"results": (model.ItemResult(result=model.Result.HIT),)})


@pytest.mark.parametrize(
    "lie",
    [
        _coverage_prettier,
        _coverage_newer,
        _coverage_less,
        _no_certificate,
        _another_number,
        _one_result_more,
        _hit_of_nobody,
    ],
)
async def test_an_answer_that_differs_from_its_certificate_or_itself_is_refused(
    federation: Path, folder: Path, lie: Callable[[model.QueryResponse], model.QueryResponse]
) -> None:
    async with hub(federation) as fake:
        fake.answer_hook = lie
        with pytest.raises(ProtocolError):
            await ask(folder, PHONE)


async def test_a_certificate_signed_by_another_party_is_refused(federation: Path, folder: Path) -> None:
    async with hub(federation) as fake:
        fake.gateway = replace(fake.gateway, signing_key=home(federation, "node/NL").signing_key)
        with pytest.raises(IdentityError) as found:
            await ask(folder, PHONE)
    assert found.value.code == "bad_signature"


async def test_work_goes_on_with_t_custodians_and_says_so_below(federation: Path, folder: Path) -> None:
    async with hub(federation, custodians=2):
        assert results(await ask(folder, PHONE)) == ["no_hit"]
    async with hub(federation, custodians=1) as fake:
        with pytest.raises(UnavailableError, match=r"2 of 3 custodians .*custodian c[123]: gateway"):
            await ask(folder, PHONE)
    assert fake.asked == []


async def test_a_custodian_that_lies_through_the_relay_is_named_and_left_out(
    federation: Path, folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with hub(federation) as fake:
        await fake.hold("NL", "e164", PHONE)
        honest = fake.routes["POST", "/v1/evaluations"]

        async def lying(request: Request) -> Reply:
            reply = await honest(request)
            asked = model.EvaluationRequest.model_validate_json(request.body)
            if asked.custodian == 2 and isinstance(reply.body, bytes):
                said = model.EvaluationResponse.model_validate_json(reply.body)
                # Another element of the group: that of the request itself.
                reply.body = said.model_copy(update={"elements": asked.elements}).model_dump_json().encode()
            return reply

        fake.routes["POST", "/v1/evaluations"] = lying
        async with Client.open(folder) as client:
            # Whoever is asked first: with two of three, custodian 2 is among them by the second time.
            found = [await client.check([PHONE if turn == 0 else f"+4072200000{turn}"], CASE) for turn in range(3)]
            assert client._pool.excluded == ("spiffe://test.example/custodian/c2",)
    assert results(found[0]) == ["hit"]
    assert [results(one) for one in found[1:]] == [["no_hit"]] * 2
    assert "CUSTODIAN LIES: spiffe://test.example/custodian/c2" in caplog.text


async def test_what_failed_after_a_part_was_asked_is_not_asked_and_says_why(federation: Path, folder: Path) -> None:
    numbers = [f"+4072{1_000_000 + one}" for one in range(model.MAX_QUERY_ITEMS + 5)]
    steps: list[Progress] = []
    async with hub(federation) as fake:
        await fake.hold("NL", "e164", numbers[0], numbers[-1])
        fake.fail_queries_after = 1
        async with Client.open(folder) as client:
            part = await client.check([*numbers, "Jane Doe"], CASE, progress=steps.append)
            assert steps == [Progress(1000, 1005)]
            assert [len(part.of(one)) for one in (Verdict.HIT, Verdict.NOT_ASKED, Verdict.UNREADABLE)] == [1, 5, 1]
            assert part.trouble is not None
            assert "busy" in part[1004].sentence()
            fake.fail_queries_after = None
            whole = await client.check(numbers, CASE)
    assert [len(whole.of(one)) for one in (Verdict.HIT, Verdict.NO_HIT)] == [2, 1003]
    assert len(whole.requests) == 2
    # The second time only the tokens were used again.
    assert fake.evaluated == 2 * 1005


async def test_a_quota_that_is_used_up_is_said_as_such(federation: Path, folder: Path) -> None:
    async with hub(federation) as fake:

        async def spent(_: Request) -> Reply:
            return problem(429, "quota_exhausted")

        fake.routes["POST", "/v1/evaluations"] = spent
        with pytest.raises(RefusedError) as found:
            await ask(folder, PHONE)
    assert found.value.code == "quota_exhausted"


async def test_a_justification_that_is_over_or_a_folder_of_a_node_asks_nobody(federation: Path, folder: Path) -> None:
    async with hub(federation) as fake:
        with pytest.raises(InputError) as found:
            await ask(folder, PHONE, case=CASE.model_copy(update={"valid_until": date(2020, 1, 1)}))
        assert found.value.code == "expired"
        with pytest.raises(ConfigError, match="folder of a node"):
            await ask(federation / "node/NL", PHONE)
    assert fake.requests == []


async def test_a_report_is_the_one_that_was_asked_for_as_its_gateway_signed_it(federation: Path, folder: Path) -> None:
    async with hub(federation) as fake, Client.open(folder) as client:
        text = fake.show_report("/v1/operations/op%2F1/report", operation="op/1")
        assert await client.report("op/1") == text
        fake.show_report("/v1/operations/op%2F1/report", operation="op/1", signed=b"another")
        with pytest.raises(IdentityError):
            await client.report("op/1")
        fake.show_report("/v1/operations/op%2F1/report", operation="op2")
        with pytest.raises(IdentityError, match="another operation"):
            await client.report("op/1")


def test_results_show_no_identifier_in_their_repr() -> None:
    item = Item(PHONE, client_ref="secret name")
    shown = repr(Outcome((Checked(item, Verdict.NO_HIT, read_as=PHONE),)))
    assert PHONE not in shown
    assert "secret name" not in shown
