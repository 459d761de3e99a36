"""One charter an operation, one report a charter, and nothing for who takes no part."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest

from concordat.errors import ConcordatError, IdentityError, ProtocolError, RefusedError
from concordat.wire.v1 import operations_pb2 as wire
from gateway.operations_store import OperationStore
from tests.unit.operations.charters import Proposed, proposed, sign

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
    given.keys[1].ciphertext = given.keys[1].ciphertext[:-1] + b"\x00"
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


def test_a_report_is_frozen_once(store: OperationStore, homes: Homes) -> None:
    activate(store, homes)
    with pytest.raises(RefusedError):
        store.report(who(homes, "BE"), "action-day")
    store.start_sweep(who(homes, "AT"), "action-day", SWEEP)
    store.freeze("action-day", SWEEP, b"{}", bytes(64))
    with pytest.raises(ConcordatError):
        store.freeze("action-day", SWEEP, b"{1}", bytes(64))
    with pytest.raises(RefusedError):
        store.start_sweep(who(homes, "AT"), "action-day", OTHER_SWEEP)
    assert store.report(who(homes, "BE"), "action-day") == (b"{}", bytes(64))


def test_an_abandoned_sweep_may_be_started_again(store: OperationStore, homes: Homes) -> None:
    activate(store, homes)
    store.start_sweep(who(homes, "AT"), "action-day", SWEEP)
    store.abandon_sweep("action-day", OTHER_SWEEP)
    assert store.get(who(homes, "AT"), "action-day").state == wire.OPERATION_STATE_SWEEPING
    store.abandon_sweep("action-day", SWEEP)
    assert store.get(who(homes, "AT"), "action-day").state == wire.OPERATION_STATE_ACTIVE
