"""What officers decide of records that are there takes effect at once, once, and in the right order (3.5, 3.8)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from concordat.canon import Kind
from concordat.errors import InputError, RefusedError
from concordat.vocabulary import Visibility, WithdrawReason
from services.node.decisions import Selection
from services.node.store import withdrawals
from services.node.store.policies import proposals

if TYPE_CHECKING:
    from collections.abc import Callable

    from services.node.policy import Policy
    from tests.unit.policy.conftest import Desk

FILE = "kind,identifier\nemail,one@mail.example\n"
HELD = "SELECT count(*) FROM token t JOIN value v ON v.id = t.value_id WHERE v.kept = 1"
PENDING = "SELECT count(*) FROM pending"
TO_CHECK = "SELECT count(*) FROM to_check"


def shown_as(visibility: Visibility) -> Callable[[Policy], Policy]:
    return lambda policy: policy.model_copy(update={"visibility": visibility})


@pytest.fixture
def held(desk: Desk) -> Desk:
    """One value that is published, and asked about, with DE pending."""
    desk.submit(FILE)
    desk.tokenise()
    assert (desk.count(HELD), desk.count(PENDING), desk.count(TO_CHECK)) == (1, 1, 0)
    return desk


def test_what_is_narrowed_is_not_asked_about_anew(held: Desk) -> None:
    held.decisions().change(held.every(), shown_as(Visibility.SILENT), officer="o")
    assert (held.count(HELD), held.count(PENDING), held.count(TO_CHECK)) == (1, 1, 0)
    assert not held.store.plane_is_stale()


def test_what_becomes_local_only_is_out_of_the_index_at_once_and_the_plane_is_built_anew(held: Desk) -> None:
    held.decisions().change(held.every(), shown_as(Visibility.LOCAL_ONLY), officer="o")
    assert (held.count(HELD), held.count(PENDING), held.count(TO_CHECK)) == (0, 0, 0)
    assert held.store.plane_is_stale()
    assert held.store.snapshot([1])[1] == b""


@pytest.mark.parametrize("before", [Visibility.SILENT, Visibility.LOCAL_ONLY])
def test_what_is_widened_is_published_and_asked_about_anew(held: Desk, before: Visibility) -> None:
    """C6: whoever asked before and was told nothing has to hear of it."""
    held.decisions().change(held.every(), shown_as(before), officer="o")
    held.tokenise()
    held.decisions().change(held.every(), shown_as(Visibility.VISIBLE), officer="o")
    assert (held.count(HELD), held.count(PENDING), held.count(TO_CHECK)) == (1, 0, 1)
    held.tokenise()
    assert (held.count(PENDING), held.count(TO_CHECK)) == (1, 0)


def test_a_value_of_two_records_stays_found_while_one_of_them_is_compared(held: Desk) -> None:
    held.submit("kind,identifier,visibility\nemail,one@mail.example,silent\n")
    first, _ = held.every()
    held.decisions().change([first], shown_as(Visibility.LOCAL_ONLY), officer="o")
    assert held.count(HELD) == 1


def test_a_preview_changes_nothing(held: Desk) -> None:
    (shown,) = held.decisions().preview(held.every(), shown_as(Visibility.SILENT))
    assert (shown.told_before, shown.told_after) == (("DE", "EUROPOL", "IJM", "OSCE", "UA"), ())
    assert held.policies()[0].visibility is Visibility.VISIBLE
    assert held.count("SELECT count(*) FROM meta WHERE key = 'journal_position'") == 0


def test_what_shows_a_victim_outside_the_union_waits_for_another_officer(desk: Desk) -> None:
    """LB-26: four eyes, and neither pair twice."""
    desk.submit("kind,identifier,role\nemail,one@mail.example,victim\n")
    (changed,) = desk.decisions().change(
        desk.every(), lambda policy: policy.model_copy(update={"tell": ("UA",)}), officer="officer-1"
    )
    assert changed.proposal
    assert desk.policies()[0].tell == ()
    with pytest.raises(RefusedError) as refused:
        desk.decisions().approve(changed.proposal, officer="officer-1")
    assert refused.value.code == "second_person"
    desk.decisions().approve(changed.proposal, officer="officer-2")
    assert (desk.policies()[0].tell, desk.policies()[0].approved_by) == (("UA",), "officer-2")
    with desk.store.read() as db:
        assert proposals(db) == []
    with pytest.raises(InputError):
        desk.decisions().approve(changed.proposal, officer="officer-2")


def test_an_approval_is_of_one_policy_and_of_no_other(desk: Desk) -> None:
    desk.submit("kind,identifier,role\nemail,one@mail.example,victim\n")
    (changed,) = desk.decisions().change(
        desk.every(), lambda policy: policy.model_copy(update={"tell": ("UA",)}), officer="officer-1"
    )
    desk.decisions().approve(changed.proposal or 0, officer="officer-2")
    (again,) = desk.decisions().change(
        desk.every(), lambda policy: policy.model_copy(update={"tell": ("UA", "IJM")}), officer="officer-1"
    )
    assert again.proposal
    assert desk.policies()[0].tell == ("UA",)


def test_a_withdrawn_value_is_gone_and_its_reference_waits_to_be_buried(held: Desk) -> None:
    """3.8, LB-22: what was typed is deleted here at once."""
    assert held.decisions().withdraw(held.every(), officer="o", reason=WithdrawReason.WITHDRAWN) == 1
    assert held.count("SELECT count(*) FROM value") == 0
    assert held.count("SELECT count(*) FROM token") == 0
    assert held.count("SELECT count(*) FROM record WHERE typed IS NOT NULL") == 0
    assert held.store.plane_is_stale()
    with held.store.read() as db:
        assert len(withdrawals.unburied(db, 10)) == 1


def test_the_same_value_submitted_again_has_another_reference(held: Desk) -> None:
    with held.store.read() as db:
        (before,) = db.execute("SELECT reference FROM value").fetchone()
    held.decisions().withdraw(held.every(), officer="o", reason=WithdrawReason.CORRECTED)
    held.submit(FILE + "\n")
    with held.store.read() as db:
        (after,) = db.execute("SELECT reference FROM value").fetchone()
    assert after != before


def test_the_very_file_submitted_again_after_a_withdrawal_is_taken(held: Desk) -> None:
    """3.8: whoever withdrew by mistake has no other file; a file that nothing was withdrawn of is linked as before."""
    assert held.submit(FILE).again
    held.decisions().withdraw(held.every(), officer="o", reason=WithdrawReason.WITHDRAWN)
    assert not held.submit(FILE).again
    held.tokenise()
    assert (len(held.every()), held.count(HELD)) == (1, 1)


def test_a_file_of_which_some_was_withdrawn_revives_nothing(desk: Desk) -> None:
    desk.submit(FILE + "email,two@mail.example\n")
    desk.decisions().withdraw(desk.every()[:1], officer="o", reason=WithdrawReason.WITHDRAWN)
    assert desk.submit(FILE + "email,two@mail.example\n").again
    assert len(desk.every()) == 1


def test_a_value_of_two_records_is_withdrawn_with_the_last_one(held: Desk) -> None:
    held.submit("kind,identifier,role\nemail,one@mail.example,suspect\n")
    first, second = held.every()
    assert held.decisions().withdraw([first], officer="o", reason=WithdrawReason.WITHDRAWN) == 0
    assert held.count(HELD) == 1
    assert held.decisions().withdraw([second], officer="o", reason=WithdrawReason.WITHDRAWN) == 1
    assert held.count(HELD) == 0


@pytest.mark.parametrize(
    "chosen",
    [
        Selection(typed=" ONE@mail.example", kind=Kind.EMAIL),
        Selection(line=2),
        Selection(case_reference="THB-2026-0001"),
    ],
)
def test_records_are_found_by_where_they_stand_and_by_what_they_are(held: Desk, chosen: Selection) -> None:
    assert [row.line for row in held.decisions().find(chosen)] == [2]


@pytest.mark.parametrize("chosen", [Selection(), Selection(typed="one@mail.example"), Selection(line=9)])
def test_a_selection_of_nothing_says_so(held: Desk, chosen: Selection) -> None:
    with pytest.raises(InputError):
        held.decisions().find(chosen)
