"""Four eyes hold against other spellings, a later agreement and an old proposal, and never stop narrowing (3.5)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from concordat.errors import InputError, RefusedError
from concordat.vocabulary import Role, Visibility
from services.node.journal import Entry
from services.node.policy import Policy, needs_second_person
from services.node.store.policies import proposals

if TYPE_CHECKING:
    from collections.abc import Callable

    from concordat.identity.manifest import Manifest
    from tests.unit.policy.conftest import Desk

VICTIM = "kind,identifier,role\nemail,one@mail.example,victim\n"


def edited(**fields: Any) -> Callable[[Policy], Policy]:
    return lambda policy: policy.model_copy(update=fields)


@pytest.fixture
def victim(desk: Desk) -> Desk:
    desk.submit(VICTIM)
    return desk


def proposed(desk: Desk, *tell: str) -> int:
    (changed,) = desk.decisions().change(desk.every(), edited(tell=tell), officer="officer-1")
    assert changed.proposal
    return changed.proposal


@pytest.mark.parametrize("same", ["officer-1", " officer-1", "Officer-1 ", "OFFICER-1", "officer\u20101"])
def test_the_same_officer_in_another_way_of_writing_is_no_second_person(victim: Desk, same: str) -> None:
    """LB-26."""
    number = proposed(victim, "UA")
    with pytest.raises((RefusedError, InputError)):
        victim.decisions().approve(number, officer=same)
    assert victim.policies()[0].tell == ()


@pytest.mark.parametrize("nobody", ["", "  ", "\u200b", "a\u2028b", "a\nb", "x" * 201])
def test_nobody_in_particular_decides_nothing(victim: Desk, nobody: str) -> None:
    number = proposed(victim, "UA")
    with pytest.raises(InputError):
        victim.decisions().approve(number, officer=nobody)
    with pytest.raises(InputError):
        victim.decisions().change(victim.every(), edited(visibility=Visibility.SILENT), officer=nobody)
    assert victim.policies()[0].tell == ()


@pytest.mark.parametrize(
    "policy", [Policy(tell=("third_country",)), Policy(tell=("UA",)), Policy(tell=("partner",)), Policy()]
)
def test_an_agreement_that_comes_later_is_no_second_person(policy: Policy, manifest: Manifest) -> None:
    """LB-26: DE lets only the Union ask today; what it would tell others later takes a second person now."""
    own = manifest.party("DE")
    assert needs_second_person(policy, Role.VICTIM, own=own, manifest=manifest)


def test_an_approved_record_is_narrowed_at_once(victim: Desk) -> None:
    """3.5: narrowing takes effect before it is acknowledged, and waits for nobody."""
    victim.decisions().approve(proposed(victim, "UA", "OSCE"), officer="officer-2")
    (changed,) = victim.decisions().change(victim.every(), edited(tell=("UA",)), officer="officer-1")
    assert changed.proposal is None
    assert victim.policies()[0].tell == ("UA",)


def test_a_proposal_ends_with_the_next_decision_on_its_record(victim: Desk) -> None:
    number = proposed(victim, "UA")
    victim.decisions().change(victim.every(), edited(visibility=Visibility.LOCAL_ONLY), officer="officer-1")
    with victim.store.read() as db:
        assert proposals(db) == []
    with pytest.raises(InputError):
        victim.decisions().approve(number, officer="officer-2")


def test_a_word_that_breaks_lines_does_not_break_the_journal(desk: Desk) -> None:
    desk.submit("kind,identifier\nemail,one@mail.example\n")
    (row,) = desk.every()
    with desk.journal().changing(desk.store) as change:
        for word in ("a\u2028b", "a\x85b"):
            change.add([Entry(what="policy", uid=row.uid.hex(), at_ms=1, officer=word, policy=Policy())])
    assert desk.journal().replay(desk.store) == 0


@pytest.mark.parametrize("word", ["a\u2028b", "", "two words", "x" * 65])
def test_what_is_no_operation_is_no_condition(desk: Desk, word: str) -> None:
    """Conditions leave with each question."""
    desk.submit("kind,identifier\nemail,one@mail.example\n")
    with pytest.raises(InputError):
        desk.decisions().change(desk.every(), edited(operations=(word,)), officer="officer-1")
