"""An officer says that a match is false: signed, of shown edges only, in a closed word, once (3.4)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from concordat.errors import InputError
from concordat.protocol.feedback import accept_feedback
from concordat.vocabulary import FalseHit
from concordat.wire.v1 import check_pb2 as wire
from services.node.falsehits import say_false_hit
from services.node.store import feedback, inbox
from tests.unit.policy.test_match_groups import hear, reference_of, told

if TYPE_CHECKING:
    from tests.unit.policy.conftest import Desk


@pytest.fixture
def matched(desk: Desk) -> tuple[Desk, str]:
    """A match with DE and UA, and its handle."""
    desk.submit("kind,identifier\nemail,one@mail.example\n")
    own = reference_of(desk, "one@mail.example")
    hear(desk, told(own, "DE", edge=1, at_ms=1))
    hear(desk, told(own, "UA", edge=2, at_ms=2))
    return desk, told(own, "DE", edge=1, at_ms=1).handle


def say(desk: Desk, handle: str, other: str | None = None, reason: FalseHit = FalseHit.REASSIGNED) -> list[str]:
    return say_false_hit(
        desk.home, desk.store, handle, reason=reason, officer="officer-17", other=other, clock=desk.clock
    )


def kept(desk: Desk) -> list[feedback.FeedbackRow]:
    with desk.store.read() as db:
        return feedback.all_feedback(db)


def test_it_is_said_of_one_party_or_of_all(matched: tuple[Desk, str]) -> None:
    desk, handle = matched
    assert say(desk, handle, "DE") == ["DE"]
    assert [row.edge_id for row in kept(desk)] == [b"\x01" * 16]
    assert say(desk, handle) == ["DE", "UA"]
    assert len(kept(desk)) == 2


def test_what_leaves_is_signed_and_names_no_officer(matched: tuple[Desk, str]) -> None:
    desk, handle = matched
    say(desk, handle, "DE")
    (row,) = kept(desk)
    message = wire.Feedback.FromString(row.message)
    body = accept_feedback(message, signer=str(desk.home.identity), manifest=desk.home.manifest)
    assert (body.edge_id, body.reason) == (b"\x01" * 16, "reassigned")
    assert body.other.endswith("/DE")
    assert row.officer == "officer-17"
    assert b"officer-17" not in row.message
    assert b"mail.example" not in row.message


def test_what_was_said_first_stays(matched: tuple[Desk, str]) -> None:
    """The hub keeps the first as well, and the other side reads that."""
    desk, handle = matched
    say(desk, handle, "DE")
    say(desk, handle, "DE", FalseHit.TYPING_ERROR)
    assert [row.reason for row in kept(desk)] == ["reassigned"]


@pytest.mark.parametrize("state", ["refused", "voided", "withdrawn"])
def test_nothing_is_said_of_an_edge_that_does_not_stand(matched: tuple[Desk, str], state: str) -> None:
    desk, handle = matched
    with desk.store.write() as db:
        inbox.set_told_state(db, b"\x01" * 16, state)
    with pytest.raises(InputError):
        say(desk, handle, "DE")
    assert say(desk, handle) == ["UA"]


@pytest.mark.parametrize(("handle", "other"), [("M-none", None), ("", "CH"), ("", "de")])
def test_a_match_or_party_that_is_not_there_is_refused(
    matched: tuple[Desk, str], handle: str, other: str | None
) -> None:
    desk, known = matched
    with pytest.raises(InputError) as caught:
        say(desk, handle or known, other)
    assert caught.value.code == "no_such_match"
    assert kept(desk) == []
