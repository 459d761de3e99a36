"""3.2, 3.3 (2): tokens get sequence numbers once, stay unacknowledged over a crash, and are found from then on."""

from __future__ import annotations

from typing import TYPE_CHECKING

from services.node.store.values import WEAK
from tests.unit.node_store.conftest import token

if TYPE_CHECKING:
    from tests.unit.node_store.conftest import Desk

THREE = ("a@mail.example", "b@mail.example", "c@mail.example")


def split(packed: bytes) -> set[bytes]:
    return {packed[at : at + 16] for at in range(0, len(packed), 16)}


def test_batches_are_numbered_upwards_and_hold_every_token_once(desk: Desk) -> None:
    desk.put(*THREE)
    desk.tokenise()
    seen = []
    while (batch := desk.store.take_unpublished(1, 2)) is not None:
        seen.append(batch)
        desk.store.acknowledge_published(batch.sequence)
    assert [one.sequence for one in seen] == [1, 2]
    assert split(b"".join(one.tokens for one in seen)) == {token(one) for one in THREE}
    assert desk.store.sequence() == 2


def test_a_batch_that_was_not_acknowledged_is_given_out_again_after_a_crash(desk: Desk) -> None:
    desk.put(*THREE)
    desk.tokenise()
    first = desk.store.take_unpublished(1, 2)
    desk.reopen()
    assert desk.store.take_unpublished(1, 2) == first
    assert first is not None
    desk.store.acknowledge_published(first.sequence)
    second = desk.store.take_unpublished(1, 2)
    assert second is not None
    assert second.sequence == 2


def test_a_snapshot_holds_what_is_numbered_and_says_up_to_where(desk: Desk) -> None:
    desk.put(*THREE)
    desk.tokenise()
    batch = desk.store.take_unpublished(1, 2)
    assert batch is not None
    sequence, tokens = desk.store.snapshot((1,))
    assert (sequence, split(tokens)) == (1, split(batch.tokens))
    assert desk.store.snapshot((2,)) == (1, b"")


def test_numbers_go_on_above_what_the_ledger_has_seen(desk: Desk) -> None:
    desk.store.raise_sequence(40)
    desk.store.raise_sequence(7)
    desk.put(*THREE)
    desk.tokenise()
    batch = desk.store.take_unpublished(1, 10)
    assert batch is not None
    assert batch.sequence == 41


def test_all_is_published_only_when_the_last_token_is_acknowledged(desk: Desk) -> None:
    states = [desk.store.all_published()]
    desk.put(*THREE)
    states.append(desk.store.all_published())
    desk.tokenise()
    states.append(desk.store.all_published())
    batch = desk.store.take_unpublished(1, 10)
    assert batch is not None
    states.append(desk.store.all_published())
    desk.store.acknowledge_published(batch.sequence)
    assert [*states, desk.store.all_published()] == [True, False, False, False, True]


def test_what_is_looked_at_once_is_never_published_nor_found(desk: Desk) -> None:
    desk.put("a@mail.example", look_once=True)
    desk.tokenise()
    assert desk.store.take_unpublished(1, 10) is None
    assert desk.store.all_published()
    assert desk.store.lookup(token("a@mail.example"), 1) == []
    desk.put("a@mail.example")
    desk.publish()
    assert len(desk.store.lookup(token("a@mail.example"), 1)) == 1


def test_a_look_up_answers_in_the_order_of_the_tokens_with_what_belongs_to_each(desk: Desk) -> None:
    desk.put("a@mail.example")
    desk.put("b@mail.example", grade=WEAK)
    desk.tokenise()
    asked = token("b@mail.example") + token("nothing") + token("a@mail.example") + token("b@mail.example")
    assert desk.store.lookup(asked, 1) == []
    desk.publish()
    hits = desk.store.lookup(asked, 1)
    assert [(one.index, one.grade) for one in hits] == [(0, 2), (2, 1), (3, 2)]
    assert hits[1].reference == desk.reference("a@mail.example")
    assert hits[1].secret == b"secret of a@mail.example".ljust(32)
    assert desk.store.lookup(asked, 2) == []
    assert b"secret" not in repr(hits).encode()


def test_a_look_up_of_thousands_of_tokens_finds_each(desk: Desk) -> None:
    values = [f"{number}@m.example" for number in range(1200)]
    desk.put(*values)
    desk.tokenise()
    desk.publish(1000)
    assert len(desk.store.lookup(b"".join(map(token, values)), 1)) == 1200


def test_the_secret_of_a_reference_belongs_to_an_epoch(desk: Desk) -> None:
    desk.put("a@mail.example")
    desk.tokenise()
    reference = desk.reference("a@mail.example")
    assert desk.store.secret_of(reference, 1) == b"secret of a@mail.example".ljust(32)
    assert desk.store.secret_of(reference, 2) is None
    assert desk.store.secret_of(b"x" * 16, 1) is None


def test_a_new_epoch_wants_a_token_of_every_value_again(desk: Desk) -> None:
    desk.put(*THREE)
    desk.tokenise()
    desk.publish()
    desk.store.add_epoch(1)
    assert desk.store.untokenised_count() == 0
    desk.store.add_epoch(2)
    desk.store.add_epoch(2)
    assert desk.store.untokenised_count() == 3
    assert not desk.store.all_published()
