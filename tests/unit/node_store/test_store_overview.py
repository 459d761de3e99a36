"""What `status` and `submit` show of the work follows it step by step, and claims no coverage for who is absent."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

from services.node.store import overview
from services.node.store.values import WEAK

if TYPE_CHECKING:
    from tests.unit.node_store.conftest import Desk

HOLDERS = ("spiffe://test.example/node/DE", "spiffe://test.example/node/RO")


def steps(desk: Desk, file_id: int) -> tuple[int, ...]:
    with desk.store.read() as db:
        return tuple(overview.file_progress(db, file_id, epoch=1))


def test_a_file_is_followed_from_token_to_answer(desk: Desk) -> None:
    file_id = desk.put("a@mail.example", "b@mail.example")
    seen = [steps(desk, file_id)]
    desk.tokenise()
    seen.append(steps(desk, file_id))
    desk.publish()
    seen.append(steps(desk, file_id))
    (batch,) = desk.store.form_batches(1, 10, HOLDERS, random.Random(1))
    seen.append(steps(desk, file_id))
    desk.store.cover(batch, HOLDERS[:1])
    seen.append(steps(desk, file_id))
    desk.store.set_pending_state(batch, HOLDERS[1], "offline")
    seen.append(steps(desk, file_id))
    assert seen == [
        (2, 0, 0, 0, 0),
        (2, 2, 0, 0, 0),
        (2, 2, 2, 0, 0),
        (2, 2, 2, 2, 0),
        (2, 2, 2, 2, 0),
        (2, 2, 2, 2, 2),
    ]
    with desk.store.read() as db:
        assert overview.file_pending(db, file_id) == [(HOLDERS[1], "offline", 1)]


def test_a_weak_value_that_waits_is_no_missing_coverage_of_a_file(desk: Desk) -> None:
    file_id = desk.put("a@mail.example", grade=WEAK)
    desk.tokenise()
    desk.publish()
    desk.store.form_batches(1, 10, HOLDERS, random.Random(1))
    with desk.store.read() as db:
        assert overview.file_pending(db, file_id) == []
        assert {one.holder for one in overview.all_pending(db)} == set(HOLDERS)


def test_the_overview_counts_what_is_left(desk: Desk) -> None:
    desk.put("a@mail.example", "b@mail.example")
    with desk.store.read() as db:
        before = overview.overview(db)
    assert (before.accepted, before.without_token, before.to_check, before.values) == (2, 2, 2, 2)
    desk.tokenise()
    desk.publish()
    desk.store.form_batches(1, 10, HOLDERS, random.Random(1))
    with desk.store.read() as db:
        after = overview.overview(db)
    assert (after.without_token, after.unpublished, after.to_check, after.sequence) == (0, 0, 0, 1)
    assert [(one.state, one.batches) for one in after.pending] == [("new", 1), ("new", 1)]
