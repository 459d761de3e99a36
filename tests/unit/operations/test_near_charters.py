"""Which charters are nearly the same, and what their reports show: never a single change (3.6 (7); LB-27)."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from concordat.errors import ProtocolError, RefusedError
from concordat.identity.keys import SigningKey
from concordat.protocol.charter import charter_hash, parse_charter
from concordat.protocol.near import near, require_four_eyes
from concordat.protocol.report import class_byte
from concordat.wire.v1 import operations_pb2 as wire
from gateway.operations_rows import Operation
from gateway.report import ReportBasis, build_report
from gateway.report_rounding import STEP, Rounding, rounded
from gateway.sweep.effects import Participation, SweepResult

if TYPE_CHECKING:
    from collections.abc import Mapping

DAY = 86_400
KEY = SigningKey.generate()


def charter(operation: str, parties: range | list[int], **changes: Any) -> wire.Charter:
    names = sorted(f"spiffe://ops.example/node/P{number:02}" for number in parties)
    given = {
        "federation": "ops.example",
        "operation": operation,
        "title": "Action day",
        "opener": names[0],
        "participants": names,
        "purpose": "prevention",
        "namespaces": ["e164", "platform"],
        "starts_at": 100 * DAY,
        "ends_at": 105 * DAY,
        "operation_key_hash": bytes(32),
        "epoch": 1,
        "justification_hash": bytes(32),
    }
    return wire.Charter(**{**given, **changes})


FIRST = charter("first", range(26))


@pytest.mark.parametrize(
    ("parties", "expected"),
    [
        (range(26), True),
        (range(25), True),
        (range(27), True),
        (range(21), True),  # 5 of 26 are missing
        (range(20), False),  # 6 of 26 are missing
        (range(5, 31), False),  # five other ones for five: 10 of 31
        (range(26, 52), False),
    ],
)
def test_participants_are_few_up_to_a_fifth(parties: range, *, expected: bool) -> None:
    second = charter("second", parties)
    assert near(FIRST, second) is near(second, FIRST) is expected


@pytest.mark.parametrize(
    ("parties", "expected"), [([0, 1, 2], True), ([0, 1], True), ([0, 1, 3], True), ([0, 3, 4], False), ([3, 4], False)]
)
def test_of_few_participants_two_may_differ(parties: list[int], *, expected: bool) -> None:
    assert near(charter("first", [0, 1, 2]), charter("second", parties)) is expected


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"starts_at": 135 * DAY, "ends_at": 140 * DAY}, True),
        ({"starts_at": 135 * DAY + 1, "ends_at": 140 * DAY}, False),
        ({"starts_at": 60 * DAY, "ends_at": 70 * DAY}, True),
        ({"starts_at": 60 * DAY, "ends_at": 70 * DAY - 1}, False),
        ({"namespaces": ["iban", "platform"]}, True),
        ({"namespaces": ["iban"]}, False),
        ({"purpose": "investigation"}, False),
        ({"exercise": True}, False),
        ({"federation": "other.example"}, False),
        ({"operation": "first"}, False),
    ],
)
def test_dates_kinds_and_purpose(changes: dict[str, Any], *, expected: bool) -> None:
    second = charter("second", range(26), **changes) if "operation" not in changes else charter("first", range(26))
    assert near(FIRST, second) is near(second, FIRST) is expected


def test_a_near_charter_without_a_second_officer_is_refused() -> None:
    with pytest.raises(RefusedError) as refusal:
        require_four_eyes(charter("second", range(25)), [FIRST])
    assert refusal.value.code == "near_duplicate"
    require_four_eyes(charter("second", range(25), officer="o-1", second_officer="o-2"), [FIRST])
    require_four_eyes(charter("second", range(10)), [FIRST])


@pytest.mark.parametrize(
    ("officer", "second"),
    [("", "o-2"), ("o-1", "o-1"), ("o-1", "O-1"), ("o-1", " o-2"), ("o-1", "o\n2"), ("o-1", "o" * 201)],
)
def test_four_eyes_are_those_of_two_officers(officer: str, second: str) -> None:
    with pytest.raises(ProtocolError):
        parse_charter(charter("second", range(3), officer=officer, second_officer=second).SerializeToString())


# What reports show.


def operation(name: str, parties: range, number: int) -> Operation:
    given = charter(name, parties)
    return Operation(given, given.SerializeToString(deterministic=True), 3, b"s" * 16, (), (), number)


def result(of: Operation, counts: Mapping[int, int], shared: int = 0) -> SweepResult:
    size = sum(counts.values())
    parties = of.charter.participants
    return SweepResult(counts, shared, tuple(Participation(one, "included", size, "00" * 32) for one in parties))


def report(of: Operation, counts: Mapping[int, int], basis: ReportBasis, shared: int = 0) -> dict[str, Any]:
    raw = build_report(of, result(of, counts, shared), basis, gateway="g1", key=KEY, frozen_at=1)
    found: dict[str, Any] = json.loads(raw)
    return found


def pair(base: int, change: int) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the reports of two charters that differ by one participant, who adds `change` phone numbers."""
    first, second = operation("first", range(25), 1), operation("second", range(26), 2)
    phone = class_byte("e164", 0, 0)
    raw = build_report(first, result(first, {phone: base}, base), ReportBasis(), gateway="g1", key=KEY, frozen_at=1)
    basis = ReportBasis(near=True, earlier=raw, family=charter_hash(first.raw))
    return json.loads(raw), report(second, {phone: base + change}, basis, base + change)


@pytest.mark.parametrize("base", [*range(12), 100, 1000])
def test_two_charters_that_differ_by_one_participant_cannot_be_subtracted(base: int) -> None:
    """The difference of the reports is the same whether that participant holds nothing, one value or four."""
    reports = [pair(base, change) for change in range(STEP)]
    figures = [(one["totals"], one["per_namespace"], one["matches"]) for _, one in reports]
    assert all(one == figures[0] for one in figures)
    first, second = reports[0]
    assert (first["rounded"], second["rounded"]) == (False, True)
    assert (second["totals"], second["matches"]) == (first["totals"], first["matches"])


def test_what_is_many_shows_in_steps() -> None:
    first, second = pair(100, 63)
    assert second["totals"]["communication_devices"] - first["totals"]["communication_devices"] == 60


def test_a_kind_that_only_one_value_has_is_not_named_by_it() -> None:
    """A name that comes up in a rounded report would be a single change that shows."""
    first, second = operation("first", range(25), 1), operation("second", range(26), 2)
    raw = build_report(first, result(first, {}), ReportBasis(), gateway="g1", key=KEY, frozen_at=1)
    basis = ReportBasis(near=True, earlier=raw, family=charter_hash(first.raw))
    with_one = report(second, {class_byte("platform", 2, 2): 1}, basis)
    without = report(second, {}, basis)
    assert with_one["totals"] == without["totals"]
    assert with_one["per_namespace"] == without["per_namespace"] == {"e164": 0, "platform": 0}


def test_the_size_of_a_new_participants_set_is_rounded_too() -> None:
    _, second = pair(100, 3)
    assert {one["size"] % STEP for one in second["participants"]} == {0}


@settings(max_examples=300, deadline=None)
@given(st.integers(0, 1000), st.integers(0, 1000), st.integers(STEP, 2 * STEP - 1))
def test_a_rounded_figure_is_whole_steps_off_the_earlier_one_and_never_beyond_the_exact_one(
    exact: int, earlier: int, threshold: int
) -> None:
    shown = rounded(exact, earlier, threshold)
    assert (shown - earlier) % STEP == 0
    assert min(exact, earlier) <= shown <= max(exact, earlier)
    assert abs(shown - exact) < threshold
    if abs(exact - earlier) < STEP:
        assert shown == earlier


def test_the_threshold_is_secret_the_same_again_and_another_for_each_figure() -> None:
    def thresholds(key: SigningKey, family: bytes) -> list[int]:
        rounding = Rounding(key, family, None)
        return [
            next(n for n in range(20) if rounding.figures("totals", {f"f{i}": n}, [f"f{i}"])[f"f{i}"])
            for i in range(40)
        ]

    once = thresholds(KEY, b"family")
    assert once == thresholds(KEY, b"family")
    assert set(once) == set(range(STEP, 2 * STEP))
    assert once != thresholds(KEY, b"other")
    assert once != thresholds(SigningKey.generate(), b"family")


def test_one_number_under_two_names_has_one_threshold() -> None:
    for key in (SigningKey.generate() for _ in range(20)):
        rounding = Rounding(key, b"family", None)
        for number in range(12):
            total = rounding.figures("totals", {"platforms": number}, ["platforms"])["platforms"]
            assert total == rounding.figures("per_namespace", {"platform": number}, ["platform"])["platform"]


# Versions.


def test_a_further_version_says_which_numbers_changed_and_whose_set_did_and_no_more() -> None:
    one = operation("first", range(3), 1)
    phone, site = class_byte("e164", 0, 0), class_byte("platform", 1, 0)
    before = SweepResult(
        {phone: 5, site: 1},
        2,
        tuple(Participation(p, "included", 2, c * 64) for p, c in zip(one.charter.participants, "abc", strict=True)),
    )
    after = SweepResult(
        {phone: 4, site: 3},
        2,
        (
            Participation(one.charter.participants[0], "included", 2, "a" * 64),
            Participation(one.charter.participants[1], "included", 4, "d" * 64),
            Participation(one.charter.participants[2], "absent"),
        ),
    )
    raw = build_report(one, before, ReportBasis(), gateway="g1", key=KEY, frozen_at=1)
    first = json.loads(raw)
    second = json.loads(build_report(one, after, ReportBasis(raw), gateway="g1", key=KEY, frozen_at=2))
    assert (first["version"], first["difference"], first["previous"]) == (1, None, None)
    assert second["version"] == 2
    assert second["previous"] == charter_hash(raw).hex(), "the SHA-256 of the version before"
    assert second["difference"] == {
        "from": 1,
        "totals": {"communication_devices": -1, "platforms": 2, "platforms_suspected": 2},
        "per_namespace": {"e164": -1, "platform": 2},
        "matches": 0,
        "participants": [
            {"party": one.charter.participants[1], "change": "set"},
            {"party": one.charter.participants[2], "change": "state"},
        ],
    }
