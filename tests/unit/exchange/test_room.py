"""Where many holders are late, less is asked; where they keep up, more again; a few late ones slow nobody (3.5)."""

from __future__ import annotations

import random
from collections import Counter, deque
from collections.abc import Callable

import pytest

from concordat.wire.v1 import check_pb2
from services.node.exchange.asker import CONDITION, CROWDED
from services.node.exchange.room import FIRST_PAUSE_S, LEAST_ITEMS, LONGEST_PAUSE_S, MANY, Room
from tests.unit.exchange.hub_by_hand import COVERED, TIMED_OUT, HubByHand, header_of
from tests.unit.exchange.parties import Party, token

MakeParty = Callable[[str], Party]
HOLDERS = 24
MOST = 16 * LEAST_ITEMS


def came(*, late: int, of: int = HOLDERS) -> dict[str, list[str]]:
    """Return what came of a check of which the last holders were late."""
    holders = [f"holder {number}" for number in range(of)]
    return {"in_time": holders[: of - late], "late": holders[of - late :]}


class Window:
    """One check after the other, each as full as may be."""

    def __init__(self) -> None:
        self.room = Room(MOST, random.Random(1))
        self.now = 0.0

    def ask(self, *, late: int) -> float:
        """Ask as soon as may be, with so many late; return how long the room was shut."""
        shut = 0.0
        opens_at = self.room.opens_at(self.now)
        if opens_at is not None:
            assert not self.room.is_open(self.now)
            shut, self.now = opens_at - self.now, opens_at
        assert self.room.is_open(self.now)
        sent_at, items = self.now, self.room.piece
        self.room.leave(items)
        assert not self.room.is_open(self.now)
        self.now += 0.75
        self.room.judge(**came(late=late), sent_at=sent_at, now=self.now)
        self.room.land(items)
        return shut


def test_half_as_much_is_asked_after_each_window_in_which_many_were_late() -> None:
    window, pieces = Window(), list[int]()
    for _ in range(5):
        pieces.append(window.room.piece)
        assert window.ask(late=HOLDERS) == 0.0
    assert pieces == [MOST, MOST // 2, MOST // 4, MOST // 8, LEAST_ITEMS]


def test_at_the_least_it_pauses_longer_and_longer_but_never_long() -> None:
    window = Window()
    for _ in range(4):
        window.ask(late=HOLDERS)
    assert window.room.piece == LEAST_ITEMS
    pauses = [window.ask(late=HOLDERS) for _ in range(12)]
    assert pauses[0] == 0.0
    assert FIRST_PAUSE_S / 2 <= pauses[1] <= FIRST_PAUSE_S
    assert pauses[1] < pauses[3] < pauses[5]
    assert all(LONGEST_PAUSE_S / 2 <= pause <= LONGEST_PAUSE_S for pause in pauses[6:])


def test_where_holders_keep_up_the_pauses_end_and_all_the_room_comes_back() -> None:
    window = Window()
    for _ in range(12):
        window.ask(late=HOLDERS)
    asked = 0
    while window.room.piece < MOST:
        window.ask(late=0)
        asked += 1
    assert window.ask(late=0) == 0.0
    assert asked < 20


def test_a_few_that_are_always_late_slow_nobody() -> None:
    """Whoever answers nobody must not slow down everybody."""
    window = Window()
    for _ in range(20):
        assert window.ask(late=HOLDERS // MANY) == 0.0
        assert window.room.piece == MOST


def test_one_alone_is_no_crowd_however_few_they_are() -> None:
    room = Room(MOST, random.Random(1))
    for now in range(5):
        room.leave(MOST)
        room.judge(**came(late=1, of=2), sent_at=now, now=now + 0.75)
        room.land(MOST)
        assert not room.crowded
        assert room.piece == MOST


def test_what_left_before_the_last_change_says_nothing_of_now() -> None:
    room = Room(MOST, random.Random(1))
    for _ in range(4):
        room.leave(MOST // 4)
    # Four checks of one window: one cut, not four.
    for at in range(4):
        room.judge(**came(late=HOLDERS), sent_at=1.0, now=2.0 + at / 100)
    assert room.piece == MOST // 2
    room.judge(**came(late=0), sent_at=1.5, now=2.1)
    assert room.piece == MOST // 2
    # Who is late and who is not is known by the last question all the same.
    assert not room.crowded


def test_half_of_what_was_asked_counts_and_not_of_what_might_have_been() -> None:
    room = Room(MOST, random.Random(1))
    room.leave(4 * LEAST_ITEMS)
    room.judge(**came(late=HOLDERS), sent_at=0.0, now=1.0)
    assert room.piece == 2 * LEAST_ITEMS


def test_who_is_asked_again_by_itself_is_still_one_of_a_crowd() -> None:
    """Checks that are repeated for one late holder each would each be of one alone."""
    room = Room(MOST, random.Random(1))
    room.leave(MOST)
    room.judge(**came(late=HOLDERS), sent_at=0.0, now=1.0)
    crowded = list[bool]()
    for number in range(HOLDERS):
        room.judge(in_time=[f"holder {number}"], sent_at=1.0 + number, now=2.0 + number)
        crowded.append(room.crowded)
    few = HOLDERS // MANY
    assert crowded == [True] * (HOLDERS - few - 1) + [False] * (few + 1)


def test_a_check_of_which_nobody_is_there_says_nothing() -> None:
    room = Room(MOST, random.Random(1))
    room.leave(LEAST_ITEMS)
    room.judge(sent_at=0.0, now=1.0)
    assert room.piece == MOST


def test_a_new_session_goes_on_with_the_room_of_the_last_one() -> None:
    """What is pending is asked anew at each attach: all at once, it would end that session too."""
    window = Window()
    for _ in range(6):
        window.ask(late=HOLDERS)
    window.room.leave(LEAST_ITEMS)
    window.room.attach(MOST)
    assert window.room.piece == LEAST_ITEMS
    assert window.ask(late=0) > 0.0
    window.room.attach(LEAST_ITEMS // 2)
    assert window.room.piece == LEAST_ITEMS // 2


def test_a_gateway_that_takes_more_than_the_last_one_is_asked_more() -> None:
    room = Room(LEAST_ITEMS // 2, random.Random(1))
    room.attach(MOST)
    assert room.piece == MOST
    room.leave(MOST)
    room.judge(**came(late=HOLDERS), sent_at=0.0, now=1.0)
    room.attach(2 * MOST)
    assert room.piece == MOST // 2


def many(number: int) -> list[str]:
    return [f"+4477{at:08}" for at in range(number)]


def test_a_batch_that_is_too_much_for_its_holders_is_asked_in_parts_until_all_of_it_is_covered(
    party: MakeParty,
) -> None:
    node = party("NL")
    values = many(3 * LEAST_ITEMS)
    node.submit(*values)
    hub = HubByHand(node)
    (check,) = hub.attach()
    assert hub.certify(check, {"DE": TIMED_OUT, "FR": TIMED_OUT}) == []
    node.clock.advance(1.0)
    waiting, asked = deque(hub.work()), list[set[bytes]]()
    while waiting:
        one = waiting.popleft()
        asked.append({one.items.tokens[at : at + 16] for at in range(0, len(one.items.tokens), 16)})
        waiting += hub.certify(one, {"DE": COVERED, "FR": COVERED})
    assert len(asked[0]) == len(values) // 2
    assert set.union(*asked) == {token(value) for value in values}
    assert node.pending() == {}


def test_a_part_waits_for_whoever_its_batch_waited_for(party: MakeParty) -> None:
    """I6: a holder that was away is asked about every part when it comes, in the same session."""
    node = party("NL")
    values = many(3 * LEAST_ITEMS)
    node.submit(*values)
    hub = HubByHand(node)
    (check,) = hub.attach()
    hub.certify(check, {"DE": TIMED_OUT, "FR": TIMED_OUT})
    hub.presence("DE")
    node.clock.advance(1.0)
    parts, sizes = deque(hub.work()), list[int]()
    while parts:
        one = parts.popleft()
        sizes.append(header_of(one).fields.count)
        parts += hub.certify(one, {"DE": COVERED})
    assert len(sizes) > 1
    assert sum(sizes) == len(values)
    assert {holder for _, holder in node.pending()} == {"FR"}
    asked = hub.presence("DE", "FR")
    tokens = b"".join([one.items.tokens for one in asked])
    assert {tokens[at : at + 16] for at in range(0, len(tokens), 16)} == {token(value) for value in values}


def test_a_gateway_that_takes_fewer_items_than_the_last_one_gets_no_more(party: MakeParty) -> None:
    node = party("NL")
    node.submit(*many(250))
    HubByHand(node).attach()
    node.core.detach()
    checks = HubByHand(node, max_items=100).attach()
    assert [header_of(one).fields.count for one in checks] == [100, 100, 50]


def test_holders_that_are_late_and_gone_are_no_crowd() -> None:
    """Only who is there is asked again, so that they would be late for ever."""
    room = Room(MOST, random.Random(1))
    room.judge(**came(late=2, of=10), sent_at=0.0, now=1.0)
    assert room.crowded
    room.presence(frozenset(f"holder {number}" for number in range(8)))
    assert not room.crowded


@pytest.mark.parametrize(("present", "asked"), [(("DE", "FR"), LEAST_ITEMS), ((), 2 * LEAST_ITEMS)])
def test_a_gateway_that_is_busy_is_asked_less_where_anybody_is_there_to_be_late(
    party: MakeParty, present: tuple[str, ...], asked: int
) -> None:
    node = party("NL")
    node.submit(*many(2 * LEAST_ITEMS))
    hub = HubByHand(node, present=present)
    (check,) = hub.attach()
    hub.give(check_refused=check_pb2.CheckRefused(check_id=header_of(check).fields.check_id, code="busy"))
    node.clock.advance(1.0)
    more = hub.presence("DE", "FR") + hub.work()
    assert header_of(more[0]).fields.count == asked


def test_status_says_why_less_is_asked_as_long_as_it_is(party: MakeParty) -> None:
    node = party("NL")
    # What a process that was killed had said.
    node.store.set_condition(CONDITION, CROWDED, 1.0)
    node.submit(*many(2))
    hub = HubByHand(node)
    (check,) = hub.attach()
    assert node.store.conditions() == []
    hub.certify(check, {"DE": TIMED_OUT, "FR": TIMED_OUT})
    assert [(one.name, one.text) for one in node.store.conditions()] == [(CONDITION, CROWDED)]
    node.clock.advance(1.0)
    (check,) = hub.work()
    hub.certify(check, {"DE": COVERED, "FR": COVERED})
    assert node.store.conditions() == []


def test_a_crowd_makes_no_holder_wait_longer_than_the_crowd_lasts(party: MakeParty) -> None:
    node = party("NL")
    node.submit(*many(2))
    hub = HubByHand(node)
    (check,) = hub.attach()
    for _ in range(6):
        assert hub.certify(check, {"DE": TIMED_OUT, "FR": TIMED_OUT}) == []
        node.clock.advance(LONGEST_PAUSE_S)
        (check,) = hub.work()
    hub.certify(check, {"DE": COVERED, "FR": COVERED})
    assert node.pending() == {}


def test_where_few_can_be_asked_at_a_time_all_have_their_turn(party: MakeParty) -> None:
    node = party("NL")
    node.submit(*many(160))
    hub = HubByHand(node, max_items=2)
    turns, waiting = Counter[bytes](), deque(hub.attach())
    for _ in range(400):
        while waiting:
            one = waiting.popleft()
            turns[one.items.tokens] += 1
            waiting += hub.certify(one, {"DE": TIMED_OUT, "FR": TIMED_OUT})
        node.clock.advance(2.0)
        waiting += hub.work()
    assert len(turns) == 80
    assert max(turns.values()) <= 2 * min(turns.values())


def test_holders_that_are_always_late_together_keep_no_value_from_being_asked(party: MakeParty) -> None:
    """I6: they slow down who asks them, and no more than that."""
    node = party("NL")
    node.submit(*many(40))
    hub = HubByHand(node, max_items=2)
    asked, waiting = set[bytes](), deque(hub.attach())
    fresh, turns_of_fresh = "+447700900999", list[int]()
    for turn in range(120):
        if turn == 60:
            node.submit(fresh)
            waiting += hub.work()
        while waiting:
            one = waiting.popleft()
            asked.add(one.items.tokens)
            if one.items.tokens == token(fresh):
                turns_of_fresh.append(turn)
            waiting += hub.certify(one, {"DE": TIMED_OUT, "FR": TIMED_OUT})
        node.clock.advance(1.0)
        waiting += hub.work()
    assert len(b"".join(asked)) // 16 == 41
    assert 60 <= turns_of_fresh[0] <= 60 + LONGEST_PAUSE_S + 1
