"""Who may be told of what this node asks follows from its records' policies, as they are when it asks (3.4 (1))."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from concordat.errors import ProtocolError
from concordat.identity.manifest import Manifest
from concordat.protocol.check import MAX_AUDIENCE_SETS, MAX_CLAUSES, accept_audience, accept_items, audience_hash
from concordat.vocabulary import Purpose
from concordat.wire.v1 import check_pb2
from services.node.exchange.audience import Audiences, audience_columns, fits_clause, has_unconditionally
from services.node.policy import DEFAULT, LOCAL_ONLY, SILENT, About, Policy, may_tell
from tests.unit.exchange.hub_by_hand import HubByHand, header_of
from tests.unit.exchange.parties import SALT, AskerByHand, Federation, Party

ONE, TWO, THREE = "+447700900001", "+447700900002", "+447700900003"
MakeParty = Callable[[str], Party]


def audience(federation: Federation, *policies: Policy) -> check_pb2.AudienceSet:
    own = federation.manifest.party("NL")
    return Audiences(own, federation.manifest).of(frozenset(one.content() for one in policies))


def named(federation: Federation, found: check_pb2.AudienceSet) -> set[str]:
    return {name for name in ("DE", "FR") if federation.id(name) in found.parties}


def test_all_is_one_byte_and_nobody_is_nobody(federation: Federation) -> None:
    assert audience(federation, DEFAULT) == check_pb2.AudienceSet(everyone=True)
    assert audience(federation, SILENT) == check_pb2.AudienceSet()
    assert audience(federation, LOCAL_ONLY) == check_pb2.AudienceSet()
    assert audience(federation) == check_pb2.AudienceSet()


def test_a_set_is_the_union_over_the_records_of_a_value(federation: Federation) -> None:
    found = audience(federation, SILENT, Policy(tell=("DE",)))
    assert named(federation, found) == {"DE"}
    assert audience(federation, Policy(tell=("DE",)), Policy(tell=("FR",))).everyone


def test_conditions_become_clauses_and_who_is_told_without_any_is_in_none(federation: Federation) -> None:
    conditional = Policy(purposes=(Purpose.INVESTIGATION,), operations=("b", "a"))
    found = audience(federation, conditional, Policy(tell=("DE",)))
    assert named(federation, found) == {"DE"}
    (clause,) = found.clauses
    assert list(clause.parties) == [federation.id("FR")]
    assert (list(clause.purposes), list(clause.operations)) == (["investigation"], ["a", "b"])


def test_whoever_is_outside_the_agreement_is_in_no_set(federation: Federation) -> None:
    """Compared are two whose rows have each other's class: a row of FR's that is empty leaves FR out here too."""
    content = federation.manifest.model_dump()
    manifest = Manifest.model_validate(content | {"opt_in": {**content["opt_in"], "FR": ()}})
    found = Audiences(manifest.party("NL"), manifest).of(frozenset({DEFAULT.content()}))
    assert (found.everyone, list(found.parties)) == (False, [federation.id("DE")])


PARTS = st.sets(st.sampled_from(["DE", "FR", "eu_state", "partner"]))
POLICIES = st.builds(
    lambda tell, not_tell, purposes, operations, visible: (DEFAULT if visible else SILENT).model_copy(
        update={
            "tell": None if tell is None else tuple(sorted(tell)),
            "not_tell": tuple(sorted(not_tell)),
            "purposes": tuple(sorted(purposes)),
            "operations": tuple(sorted(operations)),
        }
    ),
    st.none() | PARTS,
    PARTS,
    st.sets(st.sampled_from(list(Purpose)), max_size=2),
    st.sets(st.sampled_from(["a", "b"])),
    st.booleans(),
)


@settings(max_examples=200)
@given(st.lists(POLICIES, max_size=4), st.sampled_from(list(Purpose)), st.sampled_from(["", "a", "b"]))
def test_a_set_lets_whom_a_policy_lets_and_nobody_else(
    federation: Federation, policies: list[Policy], purpose: Purpose, operation: str
) -> None:
    """What a holder reads from the set is what `may_tell` says at the asker: so order plays no part (LB-23)."""
    found, manifest = audience(federation, *policies), federation.manifest
    about = About(purpose.value, operation)
    for name in ("DE", "FR"):
        party = manifest.party(name)
        wanted = any(may_tell(one, party, own=manifest.party("NL"), manifest=manifest, about=about) for one in policies)
        told = has_unconditionally(found, party.id) or fits_clause(found, party.id, {(purpose.value, operation)})
        assert told == wanted


def test_equal_sets_are_shared_and_indexed(node_checks: list[check_pb2.Check], federation: Federation) -> None:
    (check,) = node_checks
    assert len(check.audience_sets) == 2
    accept_audience(header_of(check), check.audience_salt, list(check.audience_sets), check.items.audiences)
    by_item = [check.audience_sets[at].everyone for at in check.items.audiences]
    assert sorted(by_item) == [False, True, True]


@pytest.fixture
def node_checks(party: MakeParty) -> list[check_pb2.Check]:
    node = party("NL")
    node.submit(ONE, TWO)
    node.submit(THREE, policy=SILENT)
    return HubByHand(node).attach()


def test_a_policy_that_was_narrowed_since_counts_at_each_send(party: MakeParty) -> None:
    node = party("NL")
    node.submit(ONE)
    (first,) = HubByHand(node).attach()
    assert first.audience_sets[0].everyone
    node.handle(ONE, SILENT, ask=False)
    node.restart()
    (again,) = HubByHand(node).attach()
    assert [list(one.parties) or one.everyone for one in again.audience_sets] == [False]


def test_a_value_that_is_compared_with_nobody_any_more_is_not_asked_about(party: MakeParty) -> None:
    node = party("NL")
    node.submit(ONE, TWO)
    hub = HubByHand(node)
    hub.attach()
    node.handle(ONE, LOCAL_ONLY, ask=False)
    node.restart()
    (check,) = HubByHand(node).attach()
    assert header_of(check).fields.count == 1


def test_more_sets_than_a_check_can_say_leave_in_several_checks(party: MakeParty) -> None:
    """300 policies: no value is dropped, each item keeps its own set, and each batch is waited for by itself."""
    node = party("NL")
    values = [f"+4477009{number:05}" for number in range(300)]
    for number, value in enumerate(values):
        node.submit(value, policy=Policy(operations=(f"op-{number}",)))
    hub = HubByHand(node)
    checks = hub.attach()
    checks += hub.checks(node.core.work())
    assert sorted(header_of(one).fields.count for one in checks) == [300 - MAX_AUDIENCE_SETS, MAX_AUDIENCE_SETS]
    operations = []
    for check in checks:
        accept_items(check.items, count=header_of(check).fields.count, exact=True)
        accept_audience(header_of(check), check.audience_salt, list(check.audience_sets), check.items.audiences)
        sets = [check.audience_sets[at] for at in check.items.audiences or bytes(header_of(check).fields.count)]
        operations += [one.clauses[0].operations[0] for one in sets]
    assert sorted(operations) == sorted(f"op-{number}" for number in range(300))
    assert {batch for batch, _ in node.pending()} == {1, 2}


@given(st.lists(st.integers(0, 400), max_size=600))
def test_columns_give_each_item_its_set(wanted: list[int]) -> None:
    made = {one: check_pb2.AudienceSet(parties=[str(one)]) for one in wanted}
    sets, column, over = audience_columns([made[one] for one in wanted])
    kept = [one for at, one in enumerate(wanted) if at not in set(over)]
    assert len(sets) <= MAX_AUDIENCE_SETS
    assert len({tuple(one.parties) for one in sets}) == len(sets)
    assert [sets[at].parties[0] for at in column or bytes(len(kept))] == [str(one) for one in kept]
    assert bool(over) == (len(set(wanted)) > MAX_AUDIENCE_SETS)


def test_a_set_with_more_clauses_than_policies_make_is_refused(asker: AskerByHand) -> None:
    sets = [check_pb2.AudienceSet(clauses=[check_pb2.AudienceClause()] * (MAX_CLAUSES + 1))]
    header = asker.header(1, audience_hash=audience_hash(SALT, sets))
    with pytest.raises(ProtocolError):
        accept_audience(header, SALT, sets, b"")
