"""A lone weak coincidence tells nobody; a second one between the same two lines confirms it (2, 3.4 step 2)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from concordat.protocol.check import audience_hash
from concordat.protocol.macs import ASKER_TOLD, HOLDER_TOLD
from concordat.wire.v1 import check_pb2
from services.node.exchange.answerer import Answerer
from services.node.policy import DEFAULT, SILENT, Policy
from services.node.store.values import STRONG, WEAK, CanonicalValue
from tests.unit.exchange.parties import SALT, AskerByHand, Item

if TYPE_CHECKING:
    from tests.unit.exchange.parties import Party

NOTHING = check_pb2.Answer(check_id=b"c" * 16)
BOTH = ASKER_TOLD | HOLDER_TOLD
HOST, NAME, PHONE = "shop.example", "anna", "+447700900123"
LINE, OTHER_LINE = b"line-one", b"line-two"


def value(canonical: str, grade: int = WEAK) -> CanonicalValue:
    return CanonicalValue("e164", 1, canonical, grade)


def weak(canonical: str, reference: bytes, *, line: bytes = LINE, record: bytes = b"", audience: int = 0) -> Item:
    return Item(canonical, reference * 16, WEAK, audience=audience, tags=line + record)


def answerer(holder: Party) -> Answerer:
    identity = holder.federation.identity(holder.name)
    return Answerer(identity.spiffe, identity.manifest, holder.store, clock=holder.clock)


def holding(holder: Party, *, lines: tuple[int, int] = (1, 1), policy: Policy = DEFAULT) -> Answerer:
    """Store two weak values of two records, in one line or in two."""
    holder.submit_line(lines[0], [value(HOST)], policy=policy)
    holder.submit_line(lines[1], [value(NAME)], policy=policy)
    holder.publish()
    return answerer(holder)


def decisions(answer: check_pb2.Answer) -> dict[int, int]:
    places = [int.from_bytes(answer.positions[at : at + 4], "little") for at in range(0, len(answer.positions), 4)]
    return dict(zip(places, answer.decisions, strict=True))


def rows(holder: Party, table: str) -> int:
    with holder.store.read() as db:
        count: int = db.execute(f"SELECT count(*) FROM {table}").fetchone()[0]
    return count


def test_two_of_one_line_on_both_sides_are_answered_as_hits(holder: Party, asker: AskerByHand) -> None:
    node = holding(holder)
    answer = node.answer(asker.question(asker.header(2), [weak(HOST, b"a"), weak(NAME, b"b")]))
    assert decisions(answer) == {0: BOTH, 1: BOTH}
    assert (rows(holder, "witness"), rows(holder, "weak_coincidence")) == (2, 2)


def test_the_second_may_come_in_a_later_check_and_after_a_restart(holder: Party, asker: AskerByHand) -> None:
    node = holding(holder)
    assert node.answer(asker.question(asker.header(1), [weak(HOST, b"a")])) == NOTHING
    assert (rows(holder, "witness"), rows(holder, "weak_coincidence")) == (0, 1)
    holder.restart()
    later = asker.header(1, check_id=b"d" * 16)
    assert decisions(answerer(holder).answer(asker.question(later, [weak(NAME, b"b")]))) == {0: BOTH}


def test_a_strong_one_counts_as_the_second(holder: Party, asker: AskerByHand) -> None:
    holder.submit_line(1, [value(HOST)], [value(PHONE, STRONG)])
    holder.publish()
    node = answerer(holder)
    strong = Item(PHONE, b"b" * 16, STRONG, tags=LINE)
    assert decisions(node.answer(asker.question(asker.header(1), [strong]))) == {0: BOTH}
    later = asker.header(1, check_id=b"d" * 16)
    assert decisions(node.answer(asker.question(later, [weak(HOST, b"a")]))) == {0: BOTH}


@pytest.mark.parametrize(
    "second",
    [
        pytest.param(weak(NAME, b"b", line=OTHER_LINE), id="of another line of the asker's"),
        pytest.param(weak(NAME, b"b", record=b"record-1"), id="of the same record of the asker's"),
        pytest.param(Item(NAME, b"b" * 16, WEAK, secret=b"x" * 32, tags=LINE), id="whose match secret is not known"),
        pytest.param(weak(HOST, b"b"), id="of the same own record"),
    ],
)
def test_what_confirms_nothing(holder: Party, asker: AskerByHand, second: Item) -> None:
    node = holding(holder)
    items = [weak(HOST, b"a", record=b"record-1"), second]
    assert node.answer(asker.question(asker.header(2), items)) == NOTHING
    assert rows(holder, "witness") == 0


def test_own_records_of_two_lines_confirm_nothing(holder: Party, asker: AskerByHand) -> None:
    node = holding(holder, lines=(1, 2))
    assert node.answer(asker.question(asker.header(2), [weak(HOST, b"a"), weak(NAME, b"b")])) == NOTHING


def test_nested_parts_of_one_own_record_confirm_nothing(holder: Party, asker: AskerByHand) -> None:
    """Host and registrable domain of one URL are one coincidence."""
    holder.submit_line(1, [value("www.shop.example"), value(HOST)])
    holder.publish()
    items = [weak("www.shop.example", b"a"), weak(HOST, b"b")]
    assert answerer(holder).answer(asker.question(asker.header(2), items)) == NOTHING


def test_two_askers_confirm_nothing_for_each_other(holder: Party, asker: AskerByHand) -> None:
    node, other = holding(holder), AskerByHand("FR", holder.federation, holder.clock)
    assert node.answer(asker.question(asker.header(1), [weak(HOST, b"a")])) == NOTHING
    assert node.answer(other.question(other.header(1), [weak(NAME, b"b")])) == NOTHING


def test_without_group_tags_nothing_is_confirmed(holder: Party, asker: AskerByHand) -> None:
    question = asker.question(asker.header(2), [weak(HOST, b"a"), weak(NAME, b"b")])
    question.items.group_tags = b""
    assert holding(holder).answer(question) == NOTHING


def test_tags_that_somebody_changed_on_the_way_confirm_nothing(holder: Party, asker: AskerByHand) -> None:
    """The hub cannot read them: what it writes there is noise to whoever has the match secret."""
    question = asker.question(asker.header(2), [weak(HOST, b"a"), weak(NAME, b"b")])
    question.items.group_tags = bytes(32)
    assert holding(holder).answer(question) == NOTHING


def test_the_holder_s_policy_decides_for_weak_ones_too(holder: Party, asker: AskerByHand) -> None:
    node = holding(holder, policy=SILENT)
    answer = node.answer(asker.question(asker.header(2), [weak(HOST, b"a"), weak(NAME, b"b")]))
    assert decisions(answer) == {0: HOLDER_TOLD, 1: HOLDER_TOLD}


def test_a_discreet_question_confirms_in_memory_and_leaves_nothing(holder: Party, asker: AskerByHand) -> None:
    node, sets = holding(holder), (check_pb2.AudienceSet(),)
    first = asker.header(1, audience_hash=audience_hash(SALT, sets))
    assert node.answer(asker.question(first, [weak(HOST, b"a")], audience_sets=sets)) == NOTHING
    later = asker.header(1, check_id=b"d" * 16, audience_hash=audience_hash(SALT, sets))
    answer = node.answer(asker.question(later, [weak(NAME, b"b")], audience_sets=sets))
    assert decisions(answer) == {0: ASKER_TOLD}
    assert (rows(holder, "witness"), rows(holder, "weak_coincidence")) == (0, 0)
    # What was in memory ends with its check.
    holder.clock.advance(61)
    last = asker.header(1, check_id=b"e" * 16, audience_hash=audience_hash(SALT, sets))
    assert node.answer(asker.question(last, [weak(HOST, b"a")], audience_sets=sets)).references == b""
