"""3.3 (3), 3.5: values are asked about once they can be found, once a purpose, until every holder has covered them."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

import pytest

from concordat.vocabulary import Purpose
from services.node.store.rows import CoincidenceRow, PairRow, WitnessRow
from tests.unit.node_store.conftest import case, token

if TYPE_CHECKING:
    from tests.unit.node_store.conftest import Desk

HOLDERS = ("spiffe://test.example/node/DE", "spiffe://test.example/node/RO")
VALUES = tuple(f"{letter}@mail.example" for letter in "abcdefg")


def form(desk: Desk, size: int = 100) -> list[int]:
    return desk.store.form_batches(1, size, HOLDERS, random.Random(1))


def ready(desk: Desk, *values: str, look_once: bool = False) -> None:
    desk.put(*values, look_once=look_once)
    desk.tokenise()
    desk.publish()


def test_nothing_is_asked_before_it_is_published(desk: Desk) -> None:
    desk.put(*VALUES)
    assert form(desk) == []
    desk.tokenise()
    assert form(desk) == []
    batch = desk.store.take_unpublished(1, 4)
    assert batch is not None
    assert form(desk) == []
    desk.store.acknowledge_published(batch.sequence)
    (first,) = form(desk)
    assert desk.store.batch(first).count == 4


def test_batches_hold_each_value_once_with_all_that_a_question_needs(desk: Desk) -> None:
    ready(desk, *VALUES)
    ids = form(desk, 3)
    batches = [desk.store.batch(one) for one in ids]
    assert [one.count for one in batches] == [3, 3, 1]
    tokens = b"".join(one.tokens for one in batches)
    assert sorted(tokens[at : at + 16] for at in range(0, len(tokens), 16)) == sorted(map(token, VALUES))
    assert batches[0].case == case()
    assert (batches[0].purpose, batches[0].operation, batches[0].look_once) == ("investigation", "", False)
    assert [len(batches[0].references), len(batches[0].secrets), len(batches[0].grades)] == [48, 96, 3]
    assert b"secret" not in repr(batches).encode()


def test_the_order_of_a_batch_is_drawn(desk: Desk) -> None:
    ready(desk, *VALUES)
    (batch,) = form(desk)
    assert desk.store.batch(batch).tokens != b"".join(map(token, VALUES))


def test_every_holder_is_pending_for_a_new_batch_and_only_covered_ones_leave(desk: Desk) -> None:
    ready(desk, *VALUES)
    (batch,) = form(desk)
    assert [(one.batch_id, one.holder, one.state) for one in desk.store.pending_batches()] == [
        (batch, holder, "new") for holder in HOLDERS
    ]
    desk.store.set_pending_state(batch, HOLDERS[0], "offline")
    desk.store.set_pending_state(batch, HOLDERS[0], "timed_out")
    desk.store.cover(batch, [HOLDERS[1]])
    desk.store.set_pending_state(batch, HOLDERS[1], "offline")
    desk.reopen()
    (left,) = desk.store.pending_batches()
    assert (left.holder, left.state, left.attempts) == (HOLDERS[0], "timed_out", 2)
    assert desk.store.pending_batches(HOLDERS[1]) == []
    with pytest.raises(ValueError, match="pending"):
        desk.store.set_pending_state(batch, HOLDERS[0], "gone")


def test_a_refused_answer_makes_its_holder_pending_again(desk: Desk) -> None:
    ready(desk, *VALUES)
    (batch,) = form(desk)
    desk.store.cover(batch, HOLDERS)
    desk.store.reopen_pending(batch, HOLDERS[0])
    desk.store.reopen_pending(batch, HOLDERS[0])
    (left,) = desk.store.pending_batches()
    assert (left.holder, left.attempts) == (HOLDERS[0], 2)


def test_the_same_value_is_not_asked_again_for_the_same_purpose(desk: Desk) -> None:
    ready(desk, *VALUES)
    form(desk)
    ready(desk, *VALUES, "new@mail.example")
    (again,) = form(desk)
    assert desk.store.batch(again).tokens == token("new@mail.example")


def test_another_purpose_is_another_question(desk: Desk) -> None:
    ready(desk, *VALUES)
    form(desk)
    desk.put(*VALUES, profile=case("C-2", purpose=Purpose.PREVENTION))
    (again,) = form(desk)
    assert (desk.store.batch(again).count, desk.store.batch(again).purpose) == (len(VALUES), "prevention")


def test_what_is_looked_at_once_is_asked_without_being_published(desk: Desk) -> None:
    desk.put(*VALUES, look_once=True)
    desk.tokenise()
    (batch,) = form(desk)
    assert desk.store.batch(batch).look_once


def test_a_value_kept_after_it_was_looked_at_is_asked_again_once_it_is_published(desk: Desk) -> None:
    """Whoever submitted it in between could not find it, and was not asked since (I3)."""
    desk.put("a@mail.example", "b@mail.example", look_once=True)
    desk.tokenise()
    (first,) = form(desk)
    desk.store.cover(first, HOLDERS)
    before = desk.reference("a@mail.example")
    desk.put("a@mail.example")
    assert form(desk) == []
    desk.publish()
    (second,) = form(desk)
    assert not desk.store.batch(second).look_once
    assert desk.store.batch(second).references == desk.reference("a@mail.example") == before
    assert desk.store.batch(first).tokens == token("b@mail.example")


def test_a_batch_whose_values_have_all_gone_is_pending_for_nobody(desk: Desk) -> None:
    desk.put("a@mail.example", look_once=True)
    desk.tokenise()
    (first,) = form(desk)
    desk.put("a@mail.example")
    assert desk.store.pending_batches() == []
    with pytest.raises(LookupError):
        desk.store.batch(first)


def test_a_case_that_has_ended_asks_nothing_and_waits_for_nobody(desk: Desk) -> None:
    ready(desk, "a@mail.example")
    form(desk)
    ready(desk, "b@mail.example")
    desk.put("c@mail.example")
    desk.clock.advance(40 * 86_400)
    assert form(desk) == []
    assert desk.store.pending_batches() == []
    assert desk.store.untokenised(1, "strong", 10) is None
    desk.put("d@mail.example", profile=case(days=60))
    assert len(form(desk)) == 1
    assert len(desk.store.pending_batches()) == 4


def test_what_was_sent_is_there_after_a_crash_with_its_certificate(desk: Desk) -> None:
    ready(desk, *VALUES)
    (batch,) = form(desk)
    desk.store.record_sent(b"i" * 16, batch, b"header", b"h" * 32, 12.5)
    desk.store.store_certificate(b"i" * 16, b"certificate")
    desk.reopen()
    sent = desk.store.sent_check(b"i" * 16)
    assert sent is not None
    assert (sent.batch_id, sent.header, sent.header_hash, sent.certificate) == (
        batch,
        b"header",
        b"h" * 32,
        b"certificate",
    )
    assert desk.store.sent_check(b"x" * 16) is None


def test_asks_and_pairs_that_were_verified_are_known_again(desk: Desk) -> None:
    row = WitnessRow(b"o" * 16, HOLDERS[0], b"a" * 16, b"c" * 16)
    weak = CoincidenceRow(b"w" * 16, HOLDERS[0], b"a" * 16, b"c" * 16, 2, b"l" * 8, b"r" * 8)
    desk.store.witness([row, row], [weak])
    desk.store.verified_pairs([PairRow(b"o" * 16, HOLDERS[1], b"p" * 16, b"s" * 16)])
    desk.reopen()
    assert desk.store.has_witness(b"o" * 16, HOLDERS[0], b"a" * 16)
    assert not desk.store.has_witness(b"o" * 16, HOLDERS[1], b"a" * 16)
    assert not desk.store.has_witness(b"w" * 16, HOLDERS[0], b"a" * 16)
    assert desk.store.known_coincidences(HOLDERS[0], [b"l" * 8, b"m" * 8]) == [weak]
    assert desk.store.known_coincidences(HOLDERS[1], [b"l" * 8]) == []
    assert desk.store.has_verified_pair(PairRow(b"o" * 16, HOLDERS[1], b"p" * 16, b"s" * 16))
    assert not desk.store.has_verified_pair(PairRow(b"o" * 16, HOLDERS[1], b"p" * 16, b"t" * 16))


def test_work_goes_on_under_the_case_that_lasts_longer(desk: Desk) -> None:
    """One value waits for its token, one for its question, one for holders, when the first case ends."""
    longer = case("C-2", days=60)
    ready(desk, "holders@mail.example")
    (first,) = form(desk)
    ready(desk, "question@mail.example")
    desk.put("token@mail.example")
    desk.put("token@mail.example", "question@mail.example", "holders@mail.example", profile=longer)
    desk.put("token@mail.example", "question@mail.example", "holders@mail.example", profile=case("C-3", days=1))
    desk.clock.advance(40 * 86_400)
    assert not desk.store.all_published()
    desk.tokenise()
    desk.publish()
    (second,) = form(desk)
    assert desk.store.batch(second).count == 3
    assert desk.store.batch(second).case == longer
    assert {one.batch_id for one in desk.store.pending_batches()} == {second}
    with pytest.raises(LookupError):
        desk.store.batch(first)
