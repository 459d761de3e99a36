"""A holder answers what is proven, the same item always alike, and keeps nothing where it is not told (3.4 step 2)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from concordat.identity.manifest import Manifest
from concordat.protocol.check import CHECK_COST, audience_hash
from concordat.protocol.macs import ASKER_TOLD, HOLDER_TOLD, answer_mac
from concordat.wire.v1 import check_pb2
from services.node.exchange.answerer import Answerer
from services.node.exchange.seen import SeenChecks
from services.node.policy import DEFAULT, SILENT
from tests.unit.exchange.parties import SALT, AskerByHand, Item, secret

if TYPE_CHECKING:
    from concordat.clock import ManualClock
    from tests.unit.exchange.parties import Federation, Party

THEIRS = b"r" * 16
PHONE = "+447700900123"
NOTHING = check_pb2.Answer(check_id=b"c" * 16)


def answerer(holder: Party, *, seen: SeenChecks | None = None) -> Answerer:
    identity = holder.federation.identity(holder.name)
    made = Answerer(identity.spiffe, identity.manifest, holder.store, clock=holder.clock)
    if seen is not None:
        made._seen = seen
    return made


@pytest.fixture
def held(holder: Party) -> Party:
    holder.submit(PHONE, "+447700900124")
    holder.publish()
    return holder


def witnessed(holder: Party, asker: AskerByHand, theirs: bytes = THEIRS) -> bool:
    return holder.store.has_witness(holder.reference(PHONE), holder.federation.id(asker.name), theirs)


def test_a_proven_hit_is_answered_with_a_mac_and_kept_as_a_witness(held: Party, asker: AskerByHand) -> None:
    header = asker.header(2)
    answer = answerer(held).answer(asker.question(header, [Item("+447700900199", b"q" * 16), Item(PHONE, THEIRS)]))
    own, decision = held.reference(PHONE), ASKER_TOLD | HOLDER_TOLD
    assert answer.refused == ""
    assert answer.positions == (1).to_bytes(4, "little")
    assert answer.references == own
    assert answer.decisions == bytes([decision])
    assert answer.answer_macs == answer_mac(secret(PHONE), header.hash, held.id, (THEIRS, own), decision)
    assert answer.namespaces == bytes([1])
    assert witnessed(held, asker)


@pytest.mark.parametrize("stolen", [b"x" * 32, bytes(32)])
def test_a_token_that_was_only_seen_opens_nothing(held: Party, asker: AskerByHand, stolen: bytes) -> None:
    """Without the match secret there is no answer, no witness and no refusal that would tell anything."""
    answer = answerer(held).answer(asker.question(asker.header(1), [Item(PHONE, THEIRS, secret=stolen)]))
    assert answer == check_pb2.Answer(check_id=b"c" * 16)
    assert not witnessed(held, asker)


def test_a_recorded_item_is_worth_nothing_under_another_header(
    held: Party, asker: AskerByHand, federation: Federation, clock: ManualClock
) -> None:
    recorded = asker.question(asker.header(1), [Item(PHONE, THEIRS)])
    thief = AskerByHand("FR", federation, clock)
    header = thief.header(1)
    recorded.header, recorded.signature = header.raw, header.signature
    assert answerer(held).answer(recorded) == check_pb2.Answer(check_id=b"c" * 16)
    assert not held.store.has_witness(held.reference(PHONE), federation.id("FR"), THEIRS)


def test_a_header_that_another_party_signed_is_refused(held: Party, asker: AskerByHand, federation: Federation) -> None:
    header = asker.header(1, key=federation.keys["FR"])
    assert answerer(held).answer(asker.question(header, [Item(PHONE, THEIRS)])).refused == "bad_signature"
    assert not witnessed(held, asker)


def test_a_header_is_refused_after_its_expiry(held: Party, asker: AskerByHand, clock: ManualClock) -> None:
    question = asker.question(asker.header(1), [Item(PHONE, THEIRS)])
    node = answerer(held)
    assert node.answer(question).references
    clock.advance(60)
    assert node.answer(question).refused == "expired"


def test_items_over_the_headers_count_are_answered_by_nobody_over_all_questions(
    held: Party, asker: AskerByHand
) -> None:
    """A refusal would be in everybody's certificates (I11); a question that cannot be is refused all the same."""
    node, header = answerer(held), asker.header(1)
    assert node.answer(asker.question(header, [Item("+447700900199", THEIRS)])).refused == ""
    assert node.answer(asker.question(header, [Item(PHONE, THEIRS)])) == NOTHING
    over = asker.question(header, [Item(PHONE, THEIRS)], positions=[1])
    assert node.answer(over).refused == "protocol_violation"
    two = asker.question(header, [Item(PHONE, THEIRS), Item("+447700900124", THEIRS)])
    assert node.answer(two).refused == "protocol_violation"
    assert not witnessed(held, asker)


def test_a_position_that_comes_twice_in_a_question_is_refused(held: Party, asker: AskerByHand) -> None:
    items = [Item(PHONE, THEIRS), Item("+447700900124", THEIRS)]
    question = asker.question(asker.header(2), items, positions=[0, 0])
    assert answerer(held).answer(question).refused == "protocol_violation"


def test_a_check_id_under_another_header_is_answered_by_nobody(held: Party, asker: AskerByHand) -> None:
    node = answerer(held)
    node.answer(asker.question(asker.header(1), [Item("+447700900199", THEIRS)]))
    other = asker.header(1, purpose="prevention")
    assert node.answer(asker.question(other, [Item(PHONE, THEIRS)])) == NOTHING
    assert not witnessed(held, asker)


def test_a_class_that_the_opt_in_table_does_not_name_is_refused(held: Party, asker: AskerByHand) -> None:
    manifest = held.federation.manifest
    closed = manifest.model_copy(update={"opt_in": {**manifest.opt_in, "NL": ()}})
    node = answerer(held)
    node.use_manifest(closed)
    header = asker.header(1, manifest_hash=closed.hash)
    assert node.answer(asker.question(header, [Item(PHONE, THEIRS)])).refused == "refused"


def test_a_weak_item_is_answered_by_nobody_and_stays_at_the_holder(holder: Party, asker: AskerByHand) -> None:
    holder.submit("shop.example", grade=check_pb2.GRADE_WEAK, namespace="platform")
    holder.publish()
    items = [Item("shop.example", THEIRS, grade=check_pb2.GRADE_WEAK)]
    assert answerer(holder).answer(asker.question(asker.header(1), items)) == check_pb2.Answer(check_id=b"c" * 16)
    with holder.store.read() as db:
        assert db.execute("SELECT asker_reference FROM weak_coincidence").fetchall() == [(THEIRS,)]
        assert db.execute("SELECT count(*) FROM witness").fetchone() == (0,)


def test_a_weak_token_that_is_presented_as_strong_is_no_hit(holder: Party, asker: AskerByHand) -> None:
    holder.submit("shop.example", grade=check_pb2.GRADE_WEAK, namespace="platform")
    holder.publish()
    answer = answerer(holder).answer(asker.question(asker.header(1), [Item("shop.example", THEIRS)]))
    assert answer == check_pb2.Answer(check_id=b"c" * 16)


def test_an_audience_that_leaves_the_holder_out_is_answered_in_memory(held: Party, asker: AskerByHand) -> None:
    sets = (check_pb2.AudienceSet(parties=[held.federation.id("FR")]),)
    header = asker.header(1, audience_hash=audience_hash(SALT, sets))
    answer = answerer(held).answer(asker.question(header, [Item(PHONE, THEIRS)], audience_sets=sets))
    assert answer.decisions == bytes([ASKER_TOLD])
    assert not witnessed(held, asker)


def test_what_was_only_looked_at_once_is_found_by_nobody(holder: Party, asker: AskerByHand) -> None:
    holder.submit(PHONE, look_once=True)
    holder.publish()
    answer = answerer(holder).answer(asker.question(asker.header(1), [Item(PHONE, THEIRS)]))
    assert answer == check_pb2.Answer(check_id=b"c" * 16)


def test_an_item_without_a_hit_is_looked_up_again_when_it_comes_again(holder: Party, asker: AskerByHand) -> None:
    """The plane grew between two questions of a check: the second one must find what the first could not."""
    node, question = answerer(holder), asker.question(asker.header(1), [Item(PHONE, THEIRS)])
    assert not node.answer(question).references
    holder.submit(PHONE)
    holder.publish()
    assert node.answer(question).references == holder.reference(PHONE)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_repeated_and_reordered_questions_get_equal_answers(
    held: Party, asker: AskerByHand, data: st.DataObject
) -> None:
    values = [PHONE, "+447700900124", "+447700900125", "+447700900126"]
    items = [Item(value, bytes([at]) * 16) for at, value in enumerate(values)]
    header = asker.header(len(items), check_id=data.draw(st.binary(min_size=16, max_size=16)))
    whole = _by_position(answerer(held).answer(asker.question(header, items)))
    node = answerer(held)
    for places in data.draw(st.lists(st.permutations(range(4)).flatmap(_prefix), max_size=5)):
        question = asker.question(header, [items[at] for at in places], positions=places)
        answer = _by_position(node.answer(question))
        assert answer == {at: whole[at] for at in places if at in whole}


def _prefix(order: list[int]) -> st.SearchStrategy[list[int]]:
    return st.integers(1, len(order)).map(lambda size: list(order)[:size])


def _by_position(answer: check_pb2.Answer) -> dict[int, tuple[bytes, int, bytes]]:
    assert answer.refused == ""
    return {
        int.from_bytes(answer.positions[at * 4 : at * 4 + 4], "little"): (
            answer.references[at * 16 : at * 16 + 16],
            decision,
            answer.answer_macs[at * 32 : at * 32 + 32],
        )
        for at, decision in enumerate(answer.decisions)
    }


def test_the_memory_of_checks_is_bounded_and_empties_with_their_expiry(
    held: Party, asker: AskerByHand, clock: ManualClock
) -> None:
    seen = SeenChecks(max_items=10 * (CHECK_COST + 1), max_items_of_asker=2 * (CHECK_COST + 1))
    node = answerer(held, seen=seen)

    def ask(number: int) -> check_pb2.Answer:
        header = asker.header(1, check_id=bytes([number]) * 16)
        return node.answer(asker.question(header, [Item(PHONE, THEIRS)]))

    for number in range(4):
        assert ask(number).references, "whoever fills its part is answered all the same"
        assert len(seen) == min(number + 1, 2)
    clock.advance(60)
    assert ask(4).references
    assert len(seen) == 1
    assert seen.items == CHECK_COST + 1


def test_each_check_is_forgotten_at_its_own_expiry(held: Party, asker: AskerByHand, clock: ManualClock) -> None:
    """The hub lets its id be used again from then on, whatever lives longer beside it."""
    seen = SeenChecks()
    node, now_ms = answerer(held, seen=seen), int(clock.now() * 1000)
    for number, lives_s in enumerate((50, 10, 30, 20)):
        header = asker.header(1, check_id=bytes([number]) * 16, expires_at_ms=now_ms + lives_s * 1000)
        node.answer(asker.question(header, [Item(PHONE, THEIRS)]))
    left = []
    for _ in range(4):
        clock.advance(10)
        node.answer(asker.question(asker.header(1, check_id=b"probe".ljust(16)), [Item(PHONE, THEIRS)]))
        left.append(len(seen) - 1)
    assert left == [3, 2, 1, 1]
    assert seen.items == 2 * (CHECK_COST + 1)


def test_one_asker_does_not_push_out_what_another_asked(
    held: Party, asker: AskerByHand, federation: Federation, clock: ManualClock
) -> None:
    seen = SeenChecks(max_items=4 * (CHECK_COST + 1))
    node, other = answerer(held, seen=seen), AskerByHand("FR", federation, clock)
    first = other.header(1, check_id=b"first".ljust(16))
    node.answer(other.question(first, [Item("+447700900199", THEIRS)]))
    for number in range(9):
        header = asker.header(1, check_id=bytes([number]) * 16)
        assert node.answer(asker.question(header, [Item(PHONE, THEIRS)])).references
    assert seen.items <= 4 * (CHECK_COST + 1)
    # It is still known which item stands at this position.
    assert not node.answer(other.question(first, [Item(PHONE, THEIRS)])).references


def test_a_thousand_items_cost_one_look_up_one_look_at_policies_and_one_write(held: Party, asker: AskerByHand) -> None:
    items = [Item(f"+4477009{number:06}", THEIRS) for number in range(999)] + [Item(PHONE, THEIRS)]
    question = asker.question(asker.header(1000), items)
    node, statements = answerer(held), list[str]()
    with held.store.read() as db:
        db.set_trace_callback(statements.append)
    statements.clear()
    answer = node.answer(question)
    assert answer.positions == (999).to_bytes(4, "little")
    assert [one for one in statements if one.startswith("BEGIN")] == ["BEGIN", "BEGIN", "BEGIN IMMEDIATE"]


@pytest.mark.parametrize("index", [1, 2])
def test_an_item_under_another_audience_set_than_its_asker_put_it_shows_nothing(
    held: Party, asker: AskerByHand, index: int
) -> None:
    """An item's set is in the ask MAC: the hub cannot widen who is told, not even among sets that are signed."""
    sets = (check_pb2.AudienceSet(), check_pb2.AudienceSet(everyone=True), check_pb2.AudienceSet(parties=[held.id]))
    header = asker.header(1, audience_hash=audience_hash(SALT, sets))
    question = asker.question(header, [Item(PHONE, THEIRS)], audience_sets=sets)
    question.items.audiences = bytes([index])
    assert answerer(held).answer(question) == NOTHING
    assert not witnessed(held, asker)
    # Without a column every item has the first set: that is another MAC too.
    again = asker.question(header, [Item(PHONE, THEIRS, audience=1)], audience_sets=sets)
    again.items.audiences = b""
    assert answerer(held).answer(again) == NOTHING


def test_an_answer_that_was_given_stays_and_one_that_was_not_is_decided_by_the_policies_of_now(
    held: Party, asker: AskerByHand
) -> None:
    """Narrowing takes effect for every later answer, and takes nothing back."""
    node, header = answerer(held), asker.header(2)
    first = asker.question(header, [Item(PHONE, THEIRS)], positions=[0])
    given = node.answer(first)
    assert given.decisions == bytes([ASKER_TOLD | HOLDER_TOLD])
    for value in (PHONE, "+447700900124"):
        held.handle(value, SILENT, ask=False)
    assert node.answer(first) == given
    later = node.answer(asker.question(header, [Item("+447700900124", THEIRS)], positions=[1]))
    assert later.decisions == bytes([HOLDER_TOLD])


def test_where_nobody_may_be_told_nothing_is_answered_or_kept(held: Party, asker: AskerByHand) -> None:
    """Silent towards each other: the hub sees what it would see of a token that nobody holds (I11)."""
    held.handle(PHONE, SILENT, ask=False)
    sets = (check_pb2.AudienceSet(parties=[held.federation.id("FR")]),)
    header = asker.header(1, audience_hash=audience_hash(SALT, sets))
    node = answerer(held)
    assert node.answer(asker.question(header, [Item(PHONE, THEIRS)], audience_sets=sets)) == NOTHING
    assert not witnessed(held, asker)
    # It widens while the check lives: the same item is looked up again.
    held.handle(PHONE, DEFAULT, ask=False)
    assert node.answer(asker.question(header, [Item(PHONE, THEIRS)], audience_sets=sets)).decisions == bytes(
        [ASKER_TOLD]
    )


@pytest.mark.parametrize("row", ["NL", "DE"])
def test_two_that_are_not_agreed_are_not_compared_whoever_asks(held: Party, asker: AskerByHand, row: str) -> None:
    """To ask is to hand over tokens: each one's row has to have the other's class (LB-26)."""
    content = held.federation.manifest.model_dump()
    manifest = Manifest.model_validate(content | {"opt_in": {**content["opt_in"], row: ("third_country",)}})
    node = answerer(held)
    node.use_manifest(manifest)
    header = asker.header(1, manifest_hash=manifest.hash)
    assert node.answer(asker.question(header, [Item(PHONE, THEIRS)])).refused == "refused"
