"""A value of an exercise is matched with nothing but that exercise's, whatever token and header an asker makes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from services.node.exchange.answerer import Answerer
from tests.unit.exchange.parties import AskerByHand, Item

if TYPE_CHECKING:
    from tests.unit.exchange.parties import Party

PHONE = "+447700900123"
THEIRS = b"r" * 16


@pytest.mark.parametrize(
    ("domain", "fields", "found"),
    [
        ("", {}, True),
        ("", {"operation": "drill"}, True),
        ("", {"operation": "drill", "exercise": True}, False),
        ("drill", {"operation": "drill", "exercise": True}, True),
        ("drill", {"operation": "other", "exercise": True}, False),
        ("drill", {"operation": "drill"}, False),
        ("drill", {}, False),
    ],
)
def test_only_the_same_exercise_or_real_work_meet(
    holder: Party, asker: AskerByHand, domain: str, fields: dict[str, Any], *, found: bool
) -> None:
    """The asker here knows the token and the match secret in each case: it is the header that lies."""
    holder.submit(PHONE)
    holder.publish()
    with holder.store.write() as db:
        db.execute("UPDATE value SET domain = ?", (domain,))
        db.execute("UPDATE file SET domain = :domain, operation = :domain", {"domain": domain})
    identity = holder.federation.identity(holder.name)
    answerer = Answerer(identity.spiffe, identity.manifest, holder.store, clock=holder.clock)
    answer = answerer.answer(asker.question(asker.header(1, **fields), [Item(PHONE, THEIRS)]))
    assert answer.refused == ""
    assert bool(answer.references) is found
    kept = holder.store.has_witness(holder.reference(PHONE), holder.federation.id(asker.name), THEIRS)
    assert kept is found
