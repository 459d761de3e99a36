"""Only 'covered' clears, and only for the batch and the holder that it was said of (3.3 step 3, 3.4 step 7, 3.5)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from concordat.errors import IdentityError, ProtocolError, RefusedError
from concordat.protocol.check import accept_audience, accept_header, accept_items
from concordat.protocol.macs import ask_macs
from concordat.wire.v1 import check_pb2, session_pb2
from services.node.events import CheckFailed
from services.node.exchange.asker import CERTIFICATE_WAIT_S
from tests.unit.exchange.hub_by_hand import COVERED, OFFLINE, OUTSIDE, TIMED_OUT, HubByHand, header_of
from tests.unit.exchange.parties import Party, secret

ONE, TWO = "+447700900001", "+447700900002"
MakeParty = Callable[[str], Party]


@pytest.fixture
def node(party: MakeParty) -> Party:
    return party("NL")


def names(check: check_pb2.Check) -> set[str]:
    return {holder.rpartition("/")[2] for holder in check.only_holders}


def test_the_first_question_is_signed_counted_and_goes_to_all(node: Party) -> None:
    node.submit(ONE, TWO)
    (check,) = HubByHand(node).attach()
    header, manifest = header_of(check), node.federation.manifest
    accept_header(header, manifest=manifest, asker=node.id, now=node.clock.now())
    accept_items(check.items, count=2, exact=True)
    accept_audience(header, check.audience_salt, list(check.audience_sets), check.items.audiences)
    assert header.fields.count == 2
    assert list(check.only_holders) == []
    assert check.audience_sets[0].everyone
    expected = {
        ask_macs(secret(value), header.hash, check.items.tokens[at : at + 16], check.items.references[at : at + 16])
        for value in (ONE, TWO)
        for at in (0, 16)
    }
    assert {check.items.ask_macs[:32], check.items.ask_macs[32:]} < expected


def test_pending_rows_and_header_are_on_disk_before_the_check_leaves(node: Party) -> None:
    node.submit(ONE)
    (check,) = HubByHand(node).attach()
    node.restart()
    assert node.pending() == {(1, "DE"): "new", (1, "FR"): "new"}
    sent = node.store.sent_check(header_of(check).fields.check_id)
    assert sent is not None
    assert sent.header == check.header


def test_nothing_is_asked_before_it_is_published(node: Party) -> None:
    hub = HubByHand(node)
    hub.attach()
    node.submit(ONE)
    (publish,) = node.core.work()
    assert publish.HasField("publish")
    assert node.core.work() == []
    assert len(hub.checks([publish])) == 1


def test_what_is_looked_at_once_is_asked_without_being_published(node: Party) -> None:
    node.submit(ONE, look_once=True)
    hub = HubByHand(node)
    (check,) = hub.attach()
    assert header_of(check).fields.look_once
    assert not any(frame.HasField("publish") for frame in hub.frames)
    assert node.store.sequence() == 0


def test_covered_clears_only_the_holders_that_it_is_said_of(node: Party) -> None:
    node.submit(ONE)
    hub = HubByHand(node)
    (check,) = hub.attach()
    hub.certify(check, {"DE": COVERED, "FR": TIMED_OUT})
    assert node.pending() == {(1, "FR"): "timed_out"}


def test_c13_record_1_timed_out_and_record_2_covered_keeps_record_1(node: Party) -> None:
    node.submit(ONE)
    hub = HubByHand(node)
    (first,) = hub.attach()
    node.submit(TWO)
    (second,) = hub.work()
    hub.certify(first, {"DE": TIMED_OUT, "FR": COVERED})
    hub.certify(second, {"DE": COVERED, "FR": COVERED})
    assert node.pending() == {(1, "DE"): "timed_out"}
    node.clock.advance(1)
    (again,) = hub.work()
    assert again.items.tokens == first.items.tokens
    assert names(again) == {"DE"}
    assert header_of(again).fields.check_id != header_of(first).fields.check_id
    hub.certify(again, {"DE": COVERED})
    assert node.pending() == {}


def test_a_holder_that_a_certificate_does_not_name_stays_pending(node: Party) -> None:
    node.submit(ONE)
    hub = HubByHand(node)
    (check,) = hub.attach()
    hub.certify(check, {"DE": COVERED})
    assert node.pending() == {(1, "FR"): "timed_out"}


def test_a_certificate_of_a_repeated_question_clears_nobody_whom_it_did_not_ask(node: Party) -> None:
    node.submit(ONE)
    hub = HubByHand(node)
    (check,) = hub.attach()
    hub.certify(check, {"DE": TIMED_OUT, "FR": OFFLINE})
    node.clock.advance(0.5)
    assert hub.work() == []
    hub.presence("DE")
    node.clock.advance(1)
    (again,) = hub.work()
    assert names(again) == {"DE"}
    hub.certify(again, {"DE": COVERED, "FR": COVERED})
    assert node.pending() == {(1, "FR"): "offline"}


def test_who_was_away_is_asked_when_it_comes(node: Party) -> None:
    node.submit(ONE)
    hub = HubByHand(node, present=("DE",))
    (check,) = hub.attach()
    hub.certify(check, {"DE": COVERED, "FR": OFFLINE})
    node.clock.advance(1000)
    assert hub.work() == []
    (again,) = hub.presence("DE", "FR")
    assert names(again) == {"FR"}


def test_outside_the_agreement_is_pending_and_asked_again_under_a_new_manifest(node: Party) -> None:
    node.submit(ONE)
    hub = HubByHand(node)
    (check,) = hub.attach()
    hub.certify(check, {"DE": COVERED, "FR": OUTSIDE})
    hub.presence("DE")
    hub.presence("DE", "FR")
    node.clock.advance(1000)
    assert hub.work() == []
    assert node.pending() == {(1, "FR"): "outside"}
    node.core.use_identity(node.federation.identity("NL"))
    (again,) = hub.work()
    assert names(again) == {"FR"}


def test_who_looks_once_does_not_wait_for_an_agreement(node: Party) -> None:
    node.submit(ONE, look_once=True)
    hub = HubByHand(node)
    (check,) = hub.attach()
    hub.certify(check, {"DE": TIMED_OUT, "FR": OUTSIDE})
    assert node.pending() == {(1, "DE"): "timed_out"}


def test_a_value_that_is_kept_later_is_asked_anew_of_all_and_its_old_batch_of_nobody(node: Party) -> None:
    node.submit(ONE, look_once=True)
    hub = HubByHand(node, present=("DE",))
    (check,) = hub.attach()
    hub.certify(check, {"DE": COVERED, "FR": OFFLINE})
    node.submit(ONE)
    (kept,) = hub.work()
    assert not header_of(kept).fields.look_once
    assert list(kept.only_holders) == []
    assert kept.items.references == check.items.references
    assert hub.presence("DE", "FR") == []


def test_a_batch_of_an_epoch_that_is_over_is_not_asked(node: Party) -> None:
    node.submit(ONE)
    hub = HubByHand(node, present=("DE",))
    (check,) = hub.attach()
    hub.certify(check, {"DE": COVERED, "FR": OFFLINE})
    manifest = node.federation.manifest
    epochs = manifest.epochs.model_copy(update={"current": 2})
    later = replace(node.federation.identity("NL"), manifest=manifest.model_copy(update={"epochs": epochs}))
    node.core.use_identity(later)
    assert hub.presence("DE", "FR") == []
    assert node.pending() == {(1, "FR"): "offline"}


def test_a_restart_in_the_middle_keeps_everything_pending(node: Party) -> None:
    node.submit(ONE, TWO)
    hub = HubByHand(node, max_items=1)
    first, second = hub.attach()
    hub.certify(first, {"DE": COVERED, "FR": COVERED})
    node.restart()
    assert node.pending() == {(2, "DE"): "new", (2, "FR"): "new"}
    (again,) = HubByHand(node, max_items=1).attach()
    assert again.items.tokens == second.items.tokens


def test_a_certificate_of_an_earlier_session_is_kept_and_clears_nothing(node: Party) -> None:
    """The memory of refused answers went with the session; the question is asked again instead."""
    node.submit(ONE)
    (check,) = HubByHand(node).attach()
    node.core.detach()
    hub = HubByHand(node)
    hub.attach()
    hub.certify(check, {"DE": COVERED, "FR": COVERED})
    assert node.pending() == {(1, "DE"): "new", (1, "FR"): "new"}
    sent = node.store.sent_check(header_of(check).fields.check_id)
    assert sent is not None
    assert sent.certificate is not None


def test_a_certificate_that_nobody_signed_who_may_clears_nothing(node: Party) -> None:
    node.submit(ONE)
    hub = HubByHand(node)
    (check,) = hub.attach()
    with pytest.raises(IdentityError):
        hub.certify(check, {"DE": COVERED, "FR": COVERED}, key=node.federation.keys["DE"])
    assert node.pending() == {(1, "DE"): "new", (1, "FR"): "new"}


def test_a_certificate_about_no_check_of_this_node_is_an_error(node: Party, party: MakeParty) -> None:
    other = party("DE")
    other.submit(ONE)
    (check,) = HubByHand(other).attach()
    hub = HubByHand(node)
    hub.attach()
    with pytest.raises(ProtocolError, match="no check of this node"):
        hub.certify(check, {"FR": COVERED})


def test_a_check_that_is_not_taken_stays_pending_and_is_repeated_later(node: Party) -> None:
    node.submit(ONE)
    hub = HubByHand(node)
    (check,) = hub.attach()
    refused = check_pb2.CheckRefused(check_id=header_of(check).fields.check_id, code="busy")
    assert hub.checks(hub.give(check_refused=refused)) == []
    assert CheckFailed("busy") in node.events
    assert node.pending() == {(1, "DE"): "new", (1, "FR"): "new"}
    node.clock.advance(1)
    assert len(hub.work()) == 1


def test_a_gateway_with_another_manifest_ends_the_session(node: Party) -> None:
    node.submit(ONE)
    hub = HubByHand(node)
    (check,) = hub.attach()
    refused = check_pb2.CheckRefused(check_id=header_of(check).fields.check_id, code="stale_manifest")
    with pytest.raises(RefusedError):
        hub.give(check_refused=refused)


def test_a_certificate_that_never_comes_leaves_pending_as_it_is(node: Party) -> None:
    node.submit(ONE)
    hub = HubByHand(node)
    (check,) = hub.attach()
    node.clock.advance(CERTIFICATE_WAIT_S + 1)
    assert hub.work() == []
    assert node.pending() == {(1, "DE"): "new", (1, "FR"): "new"}
    node.clock.advance(1)
    (again,) = hub.work()
    assert again.items.tokens == check.items.tokens


def test_no_more_than_four_full_batches_are_under_way_at_once(node: Party) -> None:
    node.submit(*[f"+4477009{number:05}" for number in range(20)])
    hub = HubByHand(node, max_items=2)
    checks = hub.attach()
    assert len(checks) == 4
    following = hub.certify(checks[0], {"DE": COVERED, "FR": COVERED})
    assert len(following) == 1
    seen = {check.items.tokens for check in [*checks, *following]}
    assert len(seen) == 5


def test_the_end_of_the_case_ends_its_pending_set(node: Party) -> None:
    node.submit(ONE)
    hub = HubByHand(node, present=("DE",))
    (check,) = hub.attach()
    hub.certify(check, {"DE": COVERED, "FR": OFFLINE})
    node.clock.advance(60 * 86_400)
    assert hub.presence("DE", "FR") == []
    assert node.pending() == {}


def test_a_salt_can_be_made_again_by_the_asker_and_differs_from_check_to_check(node: Party) -> None:
    node.submit(ONE)
    hub = HubByHand(node)
    (check,) = hub.attach()
    hub.certify(check, {"DE": TIMED_OUT, "FR": COVERED})
    node.clock.advance(1)
    (again,) = hub.work()
    hashes = {header_of(one).fields.justification_hash for one in (check, again)}
    assert len(hashes) == 2


def test_frames_before_the_welcome_are_an_error(node: Party) -> None:
    with pytest.raises(ProtocolError):
        node.core.receive(session_pb2.HubFrame(barrier=session_pb2.Barrier(tick=1)))
    with pytest.raises(ProtocolError):
        node.core.receive(session_pb2.HubFrame())
