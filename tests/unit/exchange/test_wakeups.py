"""Who is pending is asked again when it can help, and not sooner (3.5)."""

from __future__ import annotations

import pytest

from services.node.exchange.wakeups import Due, Wakeups, backoff_s
from services.node.store.rows import PendingRow

NL, DE, FR = "nl", "de", "fr"


def started(*rows: PendingRow, attached: tuple[str, ...] = ()) -> Wakeups:
    wakeups = Wakeups()
    wakeups.attach(rows, attached)
    return wakeups


def take(wakeups: Wakeups, now: float = 0.0, limit: int = 100) -> list[Due]:
    wakeups.wake(now)
    found: list[Due] = []
    while len(found) < limit and (due := wakeups.next()) is not None:
        found.append(due)
    return found


def test_a_new_batch_is_asked_of_all_also_of_those_who_are_away() -> None:
    wakeups = started()
    wakeups.add(1, [NL, DE])
    assert take(wakeups) == [Due(1, frozenset({NL, DE}))]
    assert take(wakeups) == []


def test_own_attach_wakes_all_that_is_pending_but_for_holders_that_are_away() -> None:
    rows = [PendingRow(1, NL, "timed_out", 3), PendingRow(1, DE, "offline", 1), PendingRow(2, FR, "new", 0)]
    wakeups = started(*rows, PendingRow(2, NL, "outside", 1), attached=(NL,))
    assert take(wakeups) == [Due(2, frozenset({NL, FR})), Due(1, frozenset({NL}))]


def test_a_holder_that_comes_wakes_its_batches_and_all_due_holders_go_into_one_question() -> None:
    rows = [PendingRow(batch, holder, "offline", 1) for batch in (1, 2) for holder in (NL, DE)]
    wakeups = started(*rows)
    assert take(wakeups) == []
    wakeups.presence([NL, DE])
    assert take(wakeups) == [Due(1, frozenset({NL, DE})), Due(2, frozenset({NL, DE}))]
    wakeups.presence([NL, DE])
    assert take(wakeups) == []


def test_a_holder_that_timed_out_while_attached_is_asked_after_1_2_4_to_60_seconds() -> None:
    wakeups, now = started(PendingRow(1, NL, "new", 0), attached=(NL,)), 0.0
    for pause in (1, 2, 4, 8, 16, 32, 60, 60):
        assert take(wakeups, now) == [Due(1, frozenset({NL}))]
        wakeups.settle(1, NL, state="timed_out", now=now)
        assert wakeups.next_at() == now + pause
        assert take(wakeups, now + pause - 0.01) == []
        now += pause


def test_a_holder_that_came_between_tick_and_certificate_is_not_waited_for_in_vain() -> None:
    """The certificate says 'offline', but the presence that would wake the batch has been here already."""
    wakeups = started(PendingRow(1, NL, "new", 0))
    take(wakeups)
    wakeups.presence([NL])
    wakeups.settle(1, NL, state="offline", now=0.0)
    assert take(wakeups, 1.0) == [Due(1, frozenset({NL}))]


def test_a_holder_that_leaves_is_waited_for_instead_of_being_asked_again_and_again() -> None:
    wakeups = started(PendingRow(1, NL, "new", 0), attached=(NL,))
    take(wakeups)
    wakeups.settle(1, NL, state="timed_out", now=0.0)
    wakeups.presence([])
    assert take(wakeups, 1.0) == []
    assert wakeups.next_at() is None
    wakeups.presence([NL])
    assert take(wakeups, 1.0) == [Due(1, frozenset({NL}))]


def test_outside_the_agreement_waits_for_a_manifest_and_for_nothing_else() -> None:
    wakeups = started(PendingRow(1, NL, "new", 0), attached=(NL,))
    take(wakeups)
    wakeups.settle(1, NL, state="outside", now=0.0)
    wakeups.presence([])
    wakeups.presence([NL])
    assert take(wakeups, 1000.0) == []
    wakeups.new_manifest()
    assert take(wakeups) == [Due(1, frozenset({NL}))]


def test_a_batch_is_not_asked_while_a_check_of_it_is_under_way() -> None:
    wakeups = started(PendingRow(1, NL, "new", 0), PendingRow(1, DE, "offline", 0))
    take(wakeups)
    wakeups.underway(1)
    wakeups.presence([DE])
    assert take(wakeups) == []
    wakeups.finished(1)
    assert take(wakeups) == [Due(1, frozenset({DE}))]


def test_the_oldest_batches_go_first_and_the_rest_keeps_its_turn() -> None:
    wakeups = started(*[PendingRow(batch, NL, "new", 0) for batch in (3, 1, 2)])
    assert [due.batch_id for due in take(wakeups, limit=2)] == [1, 2]
    assert [due.batch_id for due in take(wakeups, limit=2)] == [3]


def test_a_batch_of_some_values_of_another_waits_for_the_same_holders() -> None:
    """I6: whoever is pending for a value stays so, into whatever batch it goes."""
    rows = [PendingRow(1, holder, state, 1) for holder, state in ((DE, "offline"), (FR, "outside"), (NL, "new"))]
    wakeups = started(*rows, attached=(NL, FR))
    take(wakeups)
    wakeups.settle(1, NL, state="timed_out", now=0.0)
    wakeups.settle(1, FR, state="outside", now=0.0)
    wakeups.split(1, 2)
    assert take(wakeups, 0.5) == []
    assert take(wakeups, 1.0) == [Due(1, frozenset({NL})), Due(2, frozenset({NL}))]
    wakeups.presence([NL, DE, FR])
    assert take(wakeups, 1.0) == [Due(1, frozenset({DE})), Due(2, frozenset({DE}))]
    wakeups.new_manifest()
    assert take(wakeups, 1.0) == [Due(1, frozenset({FR})), Due(2, frozenset({FR}))]
    wakeups.settle(2, NL, state="timed_out", now=1.0)
    assert wakeups.next_at() == 3.0


def test_a_holder_that_was_late_in_a_crowd_waits_eight_seconds_at_most() -> None:
    wakeups, now = started(PendingRow(1, NL, "new", 0), attached=(NL,)), 0.0
    for pause in (1, 2, 4, 8, 8, 8):
        assert take(wakeups, now) == [Due(1, frozenset({NL}))]
        wakeups.settle(1, NL, state="timed_out", now=now, crowded=True)
        assert wakeups.next_at() == now + pause
        now += pause
    # When it is late by itself it is one that always was.
    take(wakeups, now)
    wakeups.settle(1, NL, state="timed_out", now=now)
    assert wakeups.next_at() == now + 60


def test_every_fourth_turn_is_for_what_was_asked_before() -> None:
    """A holder that comes back is asked in time, whatever this node submits meanwhile."""
    wakeups = started(*[PendingRow(batch, NL, "timed_out", 1) for batch in (1, 2)], attached=(NL,))
    for batch in range(10, 20):
        wakeups.add(batch, [NL])
    assert [due.batch_id for due in take(wakeups, limit=9)] == [10, 11, 12, 1, 13, 14, 15, 2, 16]


def test_what_was_never_asked_goes_before_what_was() -> None:
    wakeups = started(*[PendingRow(batch, NL, "timed_out", 1) for batch in (1, 2, 3)], attached=(NL,))
    wakeups.add(9, [NL])
    wakeups.add(8, [NL])
    assert [due.batch_id for due in take(wakeups, limit=3)] == [8, 9, 1]
    # A part of what was never asked was not either.
    wakeups.add(10, [NL])
    wakeups.split(10, 11)
    wakeups.give_back(Due(11, frozenset({NL})))
    assert [due.batch_id for due in take(wakeups, limit=2)] == [2, 10]
    assert [due.batch_id for due in take(wakeups, limit=2)] == [11, 3]


def test_of_what_was_asked_before_the_one_that_waited_longest_goes_first() -> None:
    """Where few can be asked at a time, a batch whose holders are always late must not take every turn."""
    wakeups = started(*[PendingRow(batch, NL, "timed_out", 1) for batch in (1, 2, 3)], attached=(NL,))
    turns = list[int]()
    for now in range(6):
        first, *rest = take(wakeups, now)
        turns.append(first.batch_id)
        for one in rest:
            wakeups.give_back(one)
        wakeups.settle(first.batch_id, NL, state="timed_out", now=now, crowded=True)
    assert turns == [1, 2, 3, 1, 2, 3]


@pytest.mark.parametrize(("attempts", "seconds"), [(0, 1), (1, 1), (2, 2), (7, 60), (100, 60)])
def test_pauses_grow_to_a_minute(attempts: int, seconds: float) -> None:
    assert backoff_s(attempts) == seconds
