"""I7: quotas per class and authority are charged durably before evaluation, survive restart and fail closed."""

from __future__ import annotations

import json
import sqlite3
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from concordat.errors import ConcordatError, IdentityError, ProtocolError, RefusedError, UnavailableError
from concordat.identity.manifest import KeyClass
from concordat.oprf.client import verify
from services.custodian.journal import Journal
from services.custodian.quotas import DATABASE
from tests.unit.custodian.running import BUDGETS, elements

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.unit.custodian.conftest import Bench


def code_of(call: Callable[[], object]) -> str:
    with pytest.raises(ConcordatError) as caught:
        call()
    return caught.value.code


def test_an_evaluation_is_right_proven_and_charged(bench: Bench) -> None:
    request = bench.request(7)
    done = bench.custodian.evaluate(request)
    share = bench.custodian.shares[1, KeyClass.STRONG].public
    assert verify(request.elements, done.evaluation, share).index == 1
    assert done.quota_left == 300 - 7
    assert bench.used() == 7


def test_the_limit_is_the_floor_of_e_t_over_n(bench: Bench) -> None:
    limits = {one.key_class: one.limit for one in bench.custodian.quota_of(bench.node.identity)}
    assert limits == {name: budget * 2 // 3 for name, budget in BUDGETS.items()}


def test_what_is_over_the_limit_is_refused_and_charges_nothing(bench: Bench) -> None:
    bench.custodian.evaluate(bench.request(290))
    assert code_of(lambda: bench.custodian.evaluate(bench.request(11))) == "quota_exhausted"
    assert bench.used() == 290
    bench.custodian.evaluate(bench.request(10))
    assert bench.used() == 300


def test_classes_and_authorities_have_quotas_of_their_own(bench: Bench) -> None:
    bench.custodian.evaluate(bench.request(300))
    bench.custodian.evaluate(bench.request(20, key_class="weak"))
    bench.custodian.evaluate(bench.request(300, node=bench.other))
    assert (bench.used("strong"), bench.used("weak")) == (300, 20)
    assert code_of(lambda: bench.custodian.evaluate(bench.request(1, key_class="weak"))) == "quota_exhausted"


def exercise_used(bench: Bench, key_class: str = "strong") -> int:
    return {one.key_class: one.exercise_used for one in bench.custodian.quota_of(bench.node.identity)}[key_class]


def test_an_exercise_has_a_tenth_of_the_budget_charged_apart(bench: Bench) -> None:
    limits = {one.key_class: one.exercise_limit for one in bench.custodian.quota_of(bench.node.identity)}
    assert limits == {name: budget * 2 // 30 for name, budget in BUDGETS.items()}
    bench.custodian.evaluate(bench.request(limits["strong"], exercise="rehearsal"))
    assert (bench.used(), exercise_used(bench)) == (0, limits["strong"])
    assert code_of(lambda: bench.custodian.evaluate(bench.request(1, exercise="rehearsal"))) == "quota_exhausted"
    # All exercises share one budget; another name brings no more.
    assert code_of(lambda: bench.custodian.evaluate(bench.request(1, exercise="other"))) == "quota_exhausted"
    bench.custodian.evaluate(bench.request(300))
    assert code_of(lambda: bench.custodian.evaluate(bench.request(1))) == "quota_exhausted"


def test_real_work_leaves_the_budget_of_exercises_alone_and_a_restart_keeps_both(bench: Bench) -> None:
    bench.custodian.evaluate(bench.request(300))
    bench.custodian.evaluate(bench.request(7, exercise="rehearsal"))
    bench.reopen()
    assert (bench.used(), exercise_used(bench)) == (300, 7)


def test_a_period_put_back_from_a_copy_is_spent_for_exercises_too(bench: Bench) -> None:
    bench.custodian.quotas.spend(bench.clock.now())
    assert code_of(lambda: bench.custodian.evaluate(bench.request(1, exercise="rehearsal"))) == "quota_exhausted"


def test_the_log_names_the_exercise(bench: Bench) -> None:
    bench.custodian.evaluate(bench.request(1, exercise="rehearsal"))
    bench.custodian.evaluate(bench.request(1))
    lines = [json.loads(line) for line in (bench.path / "custodian.log").read_text().splitlines()]
    assert [line.get("exercise") for line in lines] == ["rehearsal", None]


def test_a_repeat_under_the_name_of_an_exercise_is_another_body(bench: Bench) -> None:
    bench.custodian.evaluate(bench.request(5, request_id=b"r" * 16))
    again = bench.request(5, request_id=b"r" * 16, exercise="rehearsal")
    assert code_of(lambda: bench.custodian.evaluate(again)) == "request_reused"


def test_the_same_request_again_is_uncharged_and_proven_with_another_nonce(bench: Bench) -> None:
    request = bench.request(300)
    first, second = bench.custodian.evaluate(request), bench.custodian.evaluate(request)
    assert first.evaluation.elements == second.evaluation.elements
    assert first.evaluation.proof != second.evaluation.proof
    assert bench.used() == 300


def test_a_request_id_with_another_body_is_refused(bench: Bench) -> None:
    bench.custodian.evaluate(bench.request(5, request_id=b"r" * 16))
    other = bench.request(5, request_id=b"r" * 16, justification=b"j" * 32)
    assert code_of(lambda: bench.custodian.evaluate(other)) == "request_reused"
    assert bench.used() == 5
    bench.custodian.evaluate(bench.request(5, node=bench.other, request_id=b"r" * 16))


def test_a_new_day_brings_a_new_quota_and_a_clock_set_back_does_not(bench: Bench) -> None:
    bench.custodian.evaluate(bench.request(300))
    bench.clock.advance(86_400)
    bench.custodian.evaluate(bench.request(300))
    bench.clock.set_wall(bench.clock.now() - 2 * 86_400)
    assert code_of(lambda: bench.custodian.evaluate(bench.request(1))) == "quota_exhausted"


def test_charges_and_request_ids_survive_a_restart(bench: Bench) -> None:
    request = bench.request(295)
    bench.custodian.evaluate(request)
    bench.reopen()
    assert bench.used() == 295
    bench.custodian.evaluate(request)
    assert code_of(lambda: bench.custodian.evaluate(bench.request(6))) == "quota_exhausted"


def test_a_store_that_does_not_work_lets_nothing_be_evaluated(bench: Bench) -> None:
    with sqlite3.connect(bench.path / DATABASE) as other:
        other.execute("DROP TABLE charge")
    other.close()
    with pytest.raises(UnavailableError):
        bench.custodian.evaluate(bench.request())


def test_a_log_that_does_not_work_lets_nothing_be_evaluated(bench: Bench) -> None:
    full = Journal(Path("/dev/full"))
    with pytest.raises(UnavailableError):
        replace(bench.custodian, journal=full).evaluate(bench.request())
    full.close()


def test_the_log_names_who_how_much_and_why_and_no_element(bench: Bench) -> None:
    request = bench.request(3, justification=b"j" * 32)
    bench.custodian.evaluate(request)
    text = (bench.path / "custodian.log").read_text()
    line = json.loads(text)
    assert (line["requester"], line["class"], line["count"]) == (str(bench.node.identity), "strong", 3)
    assert line["justification"] == (b"j" * 32).hex()
    assert request.elements[:32].hex() not in text


@pytest.mark.parametrize(
    ("changed", "code"),
    [
        ({"lifetime_s": -1}, "expired"),
        ({"lifetime_s": 100_000}, "expired"),
        ({"manifest_hash": b"m" * 32}, "stale_manifest"),
        ({"epoch": 2}, "stale_epoch"),
        ({"key_class": "other"}, "stale_epoch"),
        ({"justification": b"short"}, "justification_missing"),
        ({"request_id": b"short"}, "protocol_violation"),
        ({"custodian": "spiffe://test.example/custodian/c2"}, "bad_identity"),
        ({"exercise": "no operation's id"}, "protocol_violation"),
    ],
)
def test_a_request_that_is_wrong_in_one_thing_is_refused_uncharged(
    bench: Bench, changed: dict[str, Any], code: str
) -> None:
    assert code_of(lambda: bench.custodian.evaluate(bench.request(**changed))) == code
    assert bench.used() == 0


def test_a_request_under_another_partys_name_is_refused(bench: Bench) -> None:
    with pytest.raises(IdentityError):
        bench.custodian.evaluate(bench.request(key=bench.other.signing_key))


def test_elements_that_were_not_signed_are_refused_uncharged(bench: Bench) -> None:
    request = bench.request(2)
    request.elements = elements(2)
    with pytest.raises(ProtocolError):
        bench.custodian.evaluate(request)
    assert bench.used() == 0


def test_a_party_that_the_manifest_does_not_name_is_refused(bench: Bench) -> None:
    stranger = bench.node.identity.parse("spiffe://test.example/node/XX")
    with pytest.raises((IdentityError, RefusedError)):
        bench.custodian.evaluate(bench.request(requester=stranger))
