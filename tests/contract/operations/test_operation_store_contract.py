"""One charter an operation, one report a charter, and nothing for who takes no part."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest

from concordat.errors import ConcordatError, IdentityError, ProtocolError, RefusedError
from concordat.protocol.charter import charter_hash
from concordat.wire.v1 import operations_pb2 as wire
from gateway.operations_rows import Frozen
from gateway.operations_store import WIPE_GRACE_S, OperationStore
from tests.unit.operations.charters import NOW, Proposed, proposed, sign

if TYPE_CHECKING:
    from collections.abc import Callable

    from sqlalchemy import Engine

    from concordat.clock import ManualClock
    from concordat.identity.home import Home

Homes = dict[str, "Home"]
SWEEP, OTHER_SWEEP = b"s" * 16, b"t" * 16


def who(homes: Homes, name: str) -> str:
    return str(homes[name].identity)


def propose(store: OperationStore, homes: Homes, given: Proposed | None = None, opener: str = "AT") -> Proposed:
    given = given or proposed(homes)
    store.propose(who(homes, opener), given.raw, given.signature, given.keys)
    return given


def activate(store: OperationStore, homes: Homes) -> Proposed:
    given = propose(store, homes)
    for name in ("BE", "CZ"):
        store.countersign(who(homes, name), "action-day", sign(homes[name], given.raw))
    return given


def test_the_same_charter_again_changes_nothing(store: OperationStore, homes: Homes) -> None:
    given = proposed(homes)
    first, new = store.propose(who(homes, "AT"), given.raw, given.signature, given.keys)
    second, again = store.propose(who(homes, "AT"), given.raw, given.signature, proposed(homes).keys)
    assert (new, again) == (True, False)
    assert first == second


def test_another_charter_under_the_same_id_is_refused(store: OperationStore, homes: Homes) -> None:
    propose(store, homes)
    with pytest.raises(RefusedError):
        propose(store, homes, proposed(homes, title="Another day"))
    assert store.get(who(homes, "AT"), "action-day").charter.title == "Action day"


def test_only_the_opener_proposes(store: OperationStore, homes: Homes) -> None:
    with pytest.raises(RefusedError):
        propose(store, homes, opener="BE")


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"manifest_hash": bytes(32)}, "stale_manifest"),
        ({"ends_at": 1_799_999_000}, "expired"),
        ({"epoch": 9}, "stale_epoch"),
    ],
)
def test_a_charter_out_of_force_is_refused(
    store: OperationStore, homes: Homes, change: dict[str, int], code: str
) -> None:
    with pytest.raises(RefusedError) as refusal:
        propose(store, homes, proposed(homes, **change))  # type: ignore[arg-type] # fields by name
    assert refusal.value.code == code


def test_keys_are_exactly_one_a_participant(store: OperationStore, homes: Homes) -> None:
    given = proposed(homes)
    for keys in ([], given.keys[:-1], [*given.keys, given.keys[0]], [given.keys[0]] * 3):
        with pytest.raises(ProtocolError):
            propose(store, homes, Proposed(given.raw, given.signature, keys))


def test_a_key_that_the_opener_did_not_sign_is_refused(store: OperationStore, homes: Homes) -> None:
    given = proposed(homes)
    last = given.keys[1].ciphertext[-1]
    given.keys[1].ciphertext = given.keys[1].ciphertext[:-1] + bytes([last ^ 1])
    with pytest.raises(IdentityError):
        propose(store, homes, given)


def test_a_charter_with_another_signature_is_refused(store: OperationStore, homes: Homes) -> None:
    given = proposed(homes)
    with pytest.raises(IdentityError):
        propose(store, homes, Proposed(given.raw, sign(homes["BE"], given.raw), given.keys))


def test_all_signatures_make_it_active_and_a_repeated_one_changes_nothing(store: OperationStore, homes: Homes) -> None:
    given = propose(store, homes)
    signed = [
        store.countersign(who(homes, name), "action-day", sign(homes[name], given.raw))
        for name in ("BE", "BE", "CZ", "CZ")
    ]
    assert [active for _, active in signed] == [False, False, True, False]
    assert signed[-1][0].state == wire.OPERATION_STATE_ACTIVE
    assert store.get(who(homes, "CZ"), "action-day").unsigned == ()


def test_two_replicas_that_take_the_last_signatures_at_once_make_it_active_once(
    store: OperationStore, homes: Homes, open_database: Callable[[], Engine], clock: ManualClock
) -> None:
    given = propose(store, homes)
    replicas = [store, OperationStore(open_database(), manifest=lambda: homes["g1"].manifest, clock=clock)]

    def countersign(replica: OperationStore, name: str) -> bool:
        _, active = replica.countersign(who(homes, name), "action-day", sign(homes[name], given.raw))
        return active

    with ThreadPoolExecutor(2) as threads:
        active = list(threads.map(countersign, replicas, ("BE", "CZ")))
    assert sorted(active) == [False, True]
    assert store.get(who(homes, "AT"), "action-day").state == wire.OPERATION_STATE_ACTIVE


def test_a_signature_of_another_party_is_no_countersignature(store: OperationStore, homes: Homes) -> None:
    given = propose(store, homes)
    with pytest.raises(IdentityError):
        store.countersign(who(homes, "BE"), "action-day", sign(homes["CZ"], given.raw))


def test_a_stranger_gets_the_refusal_of_an_unknown_operation(store: OperationStore, homes: Homes) -> None:
    """I8: nothing tells whether the operation exists."""
    given = activate(store, homes)
    stranger, signature = who(homes, "DE"), sign(homes["DE"], given.raw)
    calls: list[Callable[[str], object]] = [
        lambda name: store.get(stranger, name),
        lambda name: store.countersign(stranger, name, signature),
        lambda name: store.start_sweep(stranger, name, SWEEP),
        lambda name: store.report(stranger, name),
    ]
    for call in calls:
        seen = []
        for name in ("action-day", "no-such-day"):
            with pytest.raises(RefusedError) as refusal:
                call(name)
            seen.append((type(refusal.value), refusal.value.code, refusal.value.message, refusal.value.public_detail))
        assert seen[0] == seen[1]
        assert seen[0][1] == "operation_unknown"
    assert store.listed(stranger) == ()


def test_a_participant_lists_its_own_operations(store: OperationStore, homes: Homes) -> None:
    propose(store, homes)
    propose(store, homes, proposed(homes, operation="a-day", participants=[who(homes, "AT"), who(homes, "DE")]))
    assert [one.charter.operation for one in store.listed(who(homes, "AT"))] == ["a-day", "action-day"]
    assert [one.charter.operation for one in store.listed(who(homes, "BE"))] == ["action-day"]


def test_only_the_opener_of_an_active_operation_starts_its_sweep(store: OperationStore, homes: Homes) -> None:
    given = propose(store, homes)
    with pytest.raises(RefusedError):
        store.start_sweep(who(homes, "AT"), "action-day", SWEEP)
    for name in ("BE", "CZ"):
        store.countersign(who(homes, name), "action-day", sign(homes[name], given.raw))
    with pytest.raises(RefusedError):
        store.start_sweep(who(homes, "BE"), "action-day", SWEEP)
    assert store.start_sweep(who(homes, "AT"), "action-day", SWEEP).state == wire.OPERATION_STATE_SWEEPING


def test_a_sweep_outside_the_charters_dates_is_refused(store: OperationStore, homes: Homes, clock: ManualClock) -> None:
    activate(store, homes)
    clock.advance(3600 + 121)
    with pytest.raises(RefusedError) as refusal:
        store.start_sweep(who(homes, "AT"), "action-day", SWEEP)
    assert refusal.value.code == "expired"


def test_a_sweep_left_behind_by_a_stopped_gateway_gives_way_to_a_new_one(
    store: OperationStore, homes: Homes, open_database: Callable[[], Engine], clock: ManualClock
) -> None:
    activate(store, homes)
    store.start_sweep(who(homes, "AT"), "action-day", SWEEP)
    restarted = OperationStore(open_database(), manifest=lambda: homes["g1"].manifest, clock=clock)
    assert restarted.start_sweep(who(homes, "AT"), "action-day", OTHER_SWEEP).sweep_id == OTHER_SWEEP
    with pytest.raises(ConcordatError):
        restarted.freeze("action-day", SWEEP, b"{}", bytes(64))
    assert restarted.freeze("action-day", OTHER_SWEEP, b"{}", bytes(64)) == 1


def test_a_report_is_frozen_and_each_further_sweep_makes_the_next_version(store: OperationStore, homes: Homes) -> None:
    activate(store, homes)
    with pytest.raises(RefusedError):
        store.report(who(homes, "BE"), "action-day")
    store.start_sweep(who(homes, "AT"), "action-day", SWEEP)
    assert store.freeze("action-day", SWEEP, b"{}", bytes(64)) == 1
    with pytest.raises(ConcordatError):
        store.freeze("action-day", SWEEP, b"{1}", bytes(64))
    assert store.report(who(homes, "BE"), "action-day") == Frozen(b"{}", bytes(64), 1)
    store.start_sweep(who(homes, "AT"), "action-day", OTHER_SWEEP)
    assert store.report(who(homes, "BE"), "action-day") == Frozen(b"{}", bytes(64), 1), "it stays while a sweep runs"
    assert store.basis("action-day").previous == b"{}"
    assert store.freeze("action-day", OTHER_SWEEP, b"{2}", bytes(64)) == 2
    found = [store.report(who(homes, "BE"), "action-day", version) for version in (0, 1, 2)]
    assert [(one.report, one.versions) for one in found] == [(b"{2}", 2), (b"{}", 2), (b"{2}", 2)]
    with pytest.raises(RefusedError, match="no such version"):
        store.report(who(homes, "BE"), "action-day", 3)


def test_an_abandoned_further_sweep_leaves_the_report_as_it_was(store: OperationStore, homes: Homes) -> None:
    activate(store, homes)
    store.start_sweep(who(homes, "AT"), "action-day", SWEEP)
    store.freeze("action-day", SWEEP, b"{}", bytes(64))
    store.start_sweep(who(homes, "AT"), "action-day", OTHER_SWEEP)
    store.abandon_sweep("action-day", OTHER_SWEEP)
    assert store.get(who(homes, "AT"), "action-day").state == wire.OPERATION_STATE_REPORTED
    assert store.report(who(homes, "AT"), "action-day").report == b"{}"


def test_an_abandoned_sweep_may_be_started_again(store: OperationStore, homes: Homes) -> None:
    activate(store, homes)
    store.start_sweep(who(homes, "AT"), "action-day", SWEEP)
    store.abandon_sweep("action-day", OTHER_SWEEP)
    assert store.get(who(homes, "AT"), "action-day").state == wire.OPERATION_STATE_SWEEPING
    store.abandon_sweep("action-day", SWEEP)
    assert store.get(who(homes, "AT"), "action-day").state == wire.OPERATION_STATE_ACTIVE


FOUR_EYES = {"officer": "officer-1", "second_officer": "officer-2"}
NEAR: dict[str, dict[str, object]] = {
    "one participant more": {"participants": ["AT", "BE", "CZ", "DE"]},
    "one participant less": {"participants": ["AT", "BE"]},
    "the same participants": {},
    "other kinds, one of them the same": {"namespaces": ["e164", "iban"]},
    "29 days later": {"starts_at": int(NOW) + 29 * 86_400, "ends_at": int(NOW) + 40 * 86_400},
}
FAR: dict[str, dict[str, object]] = {
    "another purpose": {"purpose": "investigation"},
    "no kind in common": {"namespaces": ["iban"]},
    "31 days later": {"starts_at": int(NOW) + 31 * 86_400, "ends_at": int(NOW) + 40 * 86_400},
    "an exercise": {"exercise": True},
}


def second(homes: Homes, changes: dict[str, object], **more: object) -> Proposed:
    given = {**changes, **more}
    if "participants" in given:
        given["participants"] = [who(homes, name) for name in given["participants"]]  # type: ignore[attr-defined]
    return proposed(homes, "AT", operation="second", **given)


@pytest.mark.parametrize("case", NEAR)
def test_a_charter_near_to_an_earlier_one_needs_a_second_officer(
    store: OperationStore, homes: Homes, case: str
) -> None:
    activate(store, homes)
    with pytest.raises(RefusedError) as refusal:
        propose(store, homes, second(homes, NEAR[case]))
    assert refusal.value.code == "near_duplicate"
    assert "action-day" not in f"{refusal.value.message}{refusal.value.public_detail}", "whose it is, is not said (I8)"
    propose(store, homes, second(homes, NEAR[case], **FOUR_EYES))


@pytest.mark.parametrize("case", FAR)
def test_a_charter_that_is_not_near_needs_none(store: OperationStore, homes: Homes, case: str) -> None:
    activate(store, homes)
    propose(store, homes, second(homes, FAR[case]))


def test_a_charter_that_was_never_signed_by_all_makes_none_near(store: OperationStore, homes: Homes) -> None:
    propose(store, homes)
    propose(store, homes, second(homes, {}))


def test_of_two_near_charters_that_wait_for_signatures_only_the_first_becomes_active_without_four_eyes(
    store: OperationStore, homes: Homes
) -> None:
    late = propose(store, homes, second(homes, {}))
    activate(store, homes)
    with pytest.raises(RefusedError) as refusal:
        store.countersign(who(homes, "BE"), "second", sign(homes["BE"], late.raw))
    assert refusal.value.code == "near_duplicate"


def activate_second(store: OperationStore, homes: Homes) -> None:
    given = propose(store, homes, second(homes, {}, **FOUR_EYES))
    for name in ("BE", "CZ"):
        store.countersign(who(homes, name), "second", sign(homes[name], given.raw))


def test_a_near_charter_is_swept_after_the_earlier_one_and_held_against_its_first_report(
    store: OperationStore, homes: Homes
) -> None:
    first = activate(store, homes)
    activate_second(store, homes)
    with pytest.raises(RefusedError) as refusal:
        store.start_sweep(who(homes, "AT"), "second", OTHER_SWEEP)
    assert refusal.value.code == "near_duplicate"
    for report in (b"{1}", b"{2}"):
        store.start_sweep(who(homes, "AT"), "action-day", SWEEP)
        store.freeze("action-day", SWEEP, report, bytes(64))
    store.start_sweep(who(homes, "AT"), "second", OTHER_SWEEP)
    basis = store.basis("second")
    assert (basis.near, basis.earlier, basis.family) == (True, b"{1}", charter_hash(first.raw))
    assert not store.basis("action-day").near, "the earlier one is exact, whatever came later"


def test_a_near_charter_waits_no_longer_for_one_that_has_ended(
    store: OperationStore, homes: Homes, clock: ManualClock
) -> None:
    activate(store, homes)
    given = propose(store, homes, second(homes, {"ends_at": int(NOW) + 86_400}, **FOUR_EYES))
    for name in ("BE", "CZ"):
        store.countersign(who(homes, name), "second", sign(homes[name], given.raw))
    clock.advance(3600 + 121)
    store.start_sweep(who(homes, "AT"), "second", OTHER_SWEEP)
    assert (store.basis("second").near, store.basis("second").earlier) == (True, None)


def exercise(store: OperationStore, homes: Homes) -> None:
    given = propose(store, homes, proposed(homes, exercise=True))
    for name in ("BE", "CZ"):
        store.countersign(who(homes, name), "action-day", sign(homes[name], given.raw))


def test_an_exercise_runs_for_its_participants_between_its_dates(
    store: OperationStore, homes: Homes, clock: ManualClock
) -> None:
    exercise(store, homes)
    propose(store, homes, second(homes, {}))
    assert store.running_exercises() == {"action-day": frozenset(who(homes, name) for name in ("AT", "BE", "CZ"))}
    clock.advance(3600 + 121)
    assert store.running_exercises() == {}


def test_an_exercise_that_not_all_have_signed_does_not_run(store: OperationStore, homes: Homes) -> None:
    propose(store, homes, proposed(homes, exercise=True))
    assert store.running_exercises() == {}


def test_an_exercise_that_has_ended_is_wiped_with_its_reports_and_nothing_else_is(
    store: OperationStore, homes: Homes, clock: ManualClock
) -> None:
    exercise(store, homes)
    propose(store, homes, second(homes, {}))
    store.start_sweep(who(homes, "AT"), "action-day", SWEEP)
    store.freeze("action-day", SWEEP, b"{}", bytes(64))
    assert store.ended_exercises() == ()
    with pytest.raises(ConcordatError):
        store.wipe("action-day")
    clock.advance(3600 + 120 + WIPE_GRACE_S + 1)
    assert store.ended_exercises() == ("action-day",)
    store.wipe("action-day")
    assert [one.charter.operation for one in store.listed(who(homes, "AT"))] == ["second"]
    with pytest.raises(RefusedError):
        store.report(who(homes, "AT"), "action-day")
    assert store.ended_exercises() == ()
    with pytest.raises(ConcordatError):
        store.wipe("second")
