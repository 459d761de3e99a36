"""A node can show why it asked each question and who was covered, and open the hashes in the logs of others (I5)."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import pytest

from concordat.justification import Step, justification_salt
from services.node.audit import AskedCheck, asked_checks, open_justification
from services.node.store import cases
from tests.unit.exchange.hub_by_hand import COVERED, OFFLINE, HubByHand, header_of
from tests.unit.exchange.parties import Party

MakeParty = Callable[[str], Party]
NUMBER = "+447700900001"


@pytest.fixture
def node(party: MakeParty) -> Party:
    return party("NL")


def asked(node: Party) -> list[AskedCheck]:
    with node.store.read() as db:
        return list(asked_checks(db, manifest=node.federation.manifest, key=node.federation.keys[node.name]))


def test_a_check_shows_its_reason_and_the_certified_coverage(node: Party) -> None:
    node.submit(NUMBER)
    hub = HubByHand(node)
    (check,) = hub.attach()
    (before,) = asked(node)
    assert before.coverage is None
    hub.certify(check, {"DE": COVERED, "FR": OFFLINE})
    (after,) = asked(node)
    assert after.opened is not None
    assert after.opened.case.justification_hash(after.opened.salt) == header_of(check).fields.justification_hash
    assert after.coverage is not None
    assert {name.rpartition("/")[2]: state for name, (state, _) in after.coverage.holders.items()} == {
        "DE": "covered",
        "FR": "offline",
    }
    assert after.coverage.problem == ""


def test_a_certificate_that_was_touched_proves_nothing(node: Party) -> None:
    node.submit(NUMBER)
    hub = HubByHand(node)
    (check,) = hub.attach()
    hub.certify(check, {"DE": COVERED, "FR": COVERED})
    with node.store.write() as db:
        (stored,) = db.execute("SELECT certificate FROM sent_check").fetchone()
        db.execute("UPDATE sent_check SET certificate = ?", (stored[:-1] + bytes([stored[-1] ^ 1]),))
    (found,) = asked(node)
    assert found.coverage is not None
    assert found.coverage.problem


def test_a_reason_opens_also_after_the_case_profile_was_changed(node: Party) -> None:
    node.submit(NUMBER)
    HubByHand(node).attach()
    with node.store.write() as db:
        (case,) = cases.all_cases(db)
        cases.put_case(db, case.model_copy(update={"officer": "officer-18"}), node.clock.now() + 1)
    (found,) = asked(node)
    assert found.opened is not None
    assert found.opened.case.officer == case.officer


def test_hashes_in_the_logs_of_others_are_opened_by_the_party_alone(node: Party) -> None:
    node.submit(NUMBER)
    (check,) = HubByHand(node).attach()
    key, fields = node.federation.keys["NL"], header_of(check).fields
    with node.store.read() as db:
        (case,) = cases.all_cases(db)
        for step, name in ((Step.EVALUATE, b"r" * 16), (Step.CHARTER, b"op-1")):
            digest = case.justification_hash(justification_salt(key, step, name))
            opened = open_justification(db, key=key, name=name, digest=digest)
            assert opened is not None
            assert opened.case == case
        opened = open_justification(db, key=key, name=fields.check_id, digest=fields.justification_hash)
        assert opened is not None
        other = node.federation.keys["DE"]
        assert open_justification(db, key=other, name=fields.check_id, digest=fields.justification_hash) is None


def test_a_hash_that_no_form_of_the_case_fits_is_said_not_to_open(node: Party) -> None:
    node.submit(NUMBER)
    HubByHand(node).attach()
    with node.store.write() as db:
        db.execute("DELETE FROM case_form")
    (found,) = asked(node)
    assert dataclasses.replace(found, opened=None) == found
