"""What the hub operator sees of operations: where each stands, how many signed, and totals once they are frozen."""

from __future__ import annotations

from typing import TYPE_CHECKING

from concordat.api.operator import OperationPhase, OperationState
from concordat.protocol.report import TOTALS, encode_report
from gateway.database import READ_ONLY
from gateway.operations_view import operation_states
from tests.unit.operations.charters import NOW, proposed, sign

if TYPE_CHECKING:
    from concordat.identity.home import Home
    from gateway.operations_store import OperationStore

Homes = dict[str, "Home"]
SWEEP = b"s" * 16


def seen(store: OperationStore) -> list[OperationState]:
    return list(operation_states(store._engine.execution_options(**READ_ONLY)))


def propose(store: OperationStore, homes: Homes, operation: str, **changes: object) -> bytes:
    given = proposed(homes, "AT", operation=operation, **changes)
    store.propose(str(homes["AT"].identity), given.raw, given.signature, given.keys)
    return given.raw


def signed_by(store: OperationStore, homes: Homes, operation: str, raw: bytes, *names: str) -> None:
    for name in names:
        store.countersign(str(homes[name].identity), operation, sign(homes[name], raw))


def test_an_operation_is_followed_from_proposal_to_report(store: OperationStore, homes: Homes) -> None:
    changes: list[str] = []
    store.watch(lambda: changes.append("changed"))
    assert seen(store) == []
    raw = propose(store, homes, "op", title="Chain", exercise=True)
    (first,) = seen(store)
    assert (first.title, first.phase, first.signed, first.participants) == ("Chain", OperationPhase.PROPOSED, 1, 3)
    assert first.exercise
    assert first.report is None
    signed_by(store, homes, "op", raw, "BE")
    assert [one.signed for one in seen(store)] == [2]
    signed_by(store, homes, "op", raw, "CZ")
    assert [one.phase for one in seen(store)] == [OperationPhase.ACTIVE]
    store.start_sweep(str(homes["AT"].identity), "op", SWEEP)
    assert [one.phase for one in seen(store)] == [OperationPhase.SWEEPING]
    participants = [{"party": "x", "state": state, "size": 1} for state in ("included", "included", "absent")]
    totals = dict.fromkeys(TOTALS, 4)
    report = {"frozen_at": int(NOW), "totals": totals, "matches": 2, "participants": participants}
    store.freeze("op", SWEEP, encode_report(report), b"s" * 64)
    (last,) = seen(store)
    assert last.phase is OperationPhase.REPORTED
    assert last.report is not None
    assert (dict(last.report.totals), last.report.matches, last.report.included) == (totals, 2, 2)
    assert len(changes) == 5, "whoever watches was told of every change"


def test_what_is_in_progress_stands_first_and_the_newest_of_a_phase_before_older_ones(
    store: OperationStore, homes: Homes
) -> None:
    for number, operation in enumerate(("older", "newer", "active")):
        raw = propose(store, homes, operation, starts_at=int(NOW) - 3600 + number)
    signed_by(store, homes, "active", raw, "BE", "CZ")
    assert [one.operation for one in seen(store)] == ["active", "newer", "older"]
