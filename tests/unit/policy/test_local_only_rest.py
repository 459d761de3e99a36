"""A record that is local only leaves all else as it was: no token, and no question lost for it (3.3, I3, I11)."""

from __future__ import annotations

from datetime import date
from typing import TYPE_CHECKING

from concordat.vocabulary import WithdrawReason

if TYPE_CHECKING:
    from tests.unit.policy.conftest import Desk

LOCAL = "kind,identifier,visibility\nemail,one@mail.example,local_only\n"
VISIBLE = "kind,identifier\nemail,one@mail.example\n"
WAITING = "SELECT count(*) FROM to_tokenise"


def test_a_new_epoch_makes_no_token_of_what_is_local_only(desk: Desk) -> None:
    """Custodians would count it, and the node would not say that all it holds is published."""
    desk.submit(LOCAL)
    assert desk.count(WAITING) == 0
    for epoch in (1, 2):
        desk.store.add_epoch(epoch)
    assert desk.count(WAITING) == 0


def test_a_local_only_record_of_a_longer_case_ends_no_pending_question(desk: Desk) -> None:
    desk.submit(VISIBLE)
    desk.tokenise()
    assert desk.count("SELECT count(*) FROM pending") == 1
    desk.case_fields = {"reference": "THB-2026-0002", "valid_until": date(2027, 12, 31)}
    desk.submit(LOCAL)
    desk.tokenise()
    assert desk.count("SELECT count(*) FROM pending") == 1


def test_a_look_goes_on_asking_when_the_kept_record_beside_it_is_withdrawn(desk: Desk) -> None:
    """3.3: it keeps its pending set until its case ends."""
    desk.submit(VISIBLE)
    (kept,) = desk.every()
    desk.submit(VISIBLE + "\n", look_once=True)
    desk.tokenise()
    desk.decisions().withdraw([kept], officer="officer-1", reason=WithdrawReason.WITHDRAWN)
    desk.tokenise()
    assert desk.count("SELECT count(*) FROM pending p JOIN batch b ON b.id = p.batch_id WHERE b.look_once = 1") == 1
