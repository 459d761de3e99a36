"""Who may be told of a record, by its policy, the classes and the opt-in table (LB-09, LB-10, LB-23, LB-24, LB-26)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from concordat.vocabulary import Handling, Purpose, Role, Tlp, Visibility
from services.node.policy import (
    DEFAULT,
    LOCAL_ONLY,
    SILENT,
    About,
    Policy,
    may_tell,
    needs_second_person,
    told_parties,
    widens,
)
from tests.unit.policy.conftest import NODES

if TYPE_CHECKING:
    from concordat.identity.manifest import Manifest, Party

ABOUT = About(Purpose.INVESTIGATION, "")
ALL = ["DE", "EUROPOL", "IJM", "OSCE", "UA"]


@pytest.mark.parametrize(
    ("policy", "told"),
    [
        (DEFAULT, ALL),
        (SILENT, []),
        (LOCAL_ONLY, []),
        (Policy(tell=("DE",)), ["DE"]),
        (Policy(tell=("eu_state", "IJM")), ["DE", "IJM"]),
        (Policy(tell=("third_country",)), ["UA"]),
        (Policy(tell=()), []),
        (Policy(not_tell=("UA",)), ["DE", "EUROPOL", "IJM", "OSCE"]),
        (Policy(not_tell=("third_country", "partner")), ["DE", "EUROPOL", "OSCE"]),
        (Policy(tell=("UA",), not_tell=("third_country",)), []),
        # A class names nobody where the record is red, or under other restrictions.
        (Policy(tlp=Tlp.RED), []),
        (Policy(tlp=Tlp.RED, tell=("eu_state", "UA")), ["UA"]),
        (Policy(handling=Handling.H3, tell=("eu_state",)), []),
        (Policy(handling=Handling.H3, tell=("DE", "UA")), ["DE", "UA"]),
        (Policy(tlp=Tlp.AMBER_STRICT, handling=Handling.H2), ALL),
        (Policy(visibility=Visibility.SILENT, tell=("DE",)), []),
    ],
)
def test_whoever_the_policy_names_may_be_told_and_nobody_else(
    policy: Policy, told: list[str], own: Party, manifest: Manifest
) -> None:
    """LB-09, LB-10, LB-24; CH has opted in for nobody, so it is outside the agreement whatever a policy says."""
    assert told_parties(policy, own=own, manifest=manifest) == told


def test_who_has_not_opted_in_is_told_of_nothing_in_either_direction(own: Party, manifest: Manifest) -> None:
    """LB-26: NL lets third countries ask and CH lets nobody, so neither is told of the other's."""
    swiss = manifest.party("CH")
    assert not manifest.agreed(own, swiss)
    assert not manifest.agreed(swiss, own)
    assert not may_tell(Policy(tell=("CH",)), swiss, own=own, manifest=manifest, about=ABOUT)
    assert not may_tell(DEFAULT, own, own=swiss, manifest=manifest, about=ABOUT)


def test_the_agreement_is_the_same_from_both_sides(manifest: Manifest) -> None:
    for one in manifest.nodes:
        for other in manifest.nodes:
            assert manifest.agreed(one, other) == manifest.agreed(other, one)


@pytest.mark.parametrize(
    ("policy", "about", "told"),
    [
        (Policy(purposes=(Purpose.INVESTIGATION,)), About("investigation", ""), True),
        (Policy(purposes=(Purpose.INVESTIGATION,)), About("prevention", ""), False),
        (Policy(operations=("EMPACT",)), About("investigation", "EMPACT"), True),
        (Policy(operations=("EMPACT",)), About("investigation", ""), False),
        (Policy(purposes=(Purpose.PREVENTION,), operations=("EMPACT",)), About("prevention", "EMPACT"), True),
        (Policy(purposes=(Purpose.PREVENTION,), operations=("EMPACT",)), About("detection", "EMPACT"), False),
        (DEFAULT, About("anything", "anywhere"), True),
    ],
)
def test_purpose_and_operation_are_those_of_whoever_would_be_told(
    policy: Policy, about: About, told: bool, own: Party, manifest: Manifest
) -> None:
    """LB-23: another purpose takes the provider's permission."""
    assert may_tell(policy, manifest.party("DE"), own=own, manifest=manifest, about=about) is told


@pytest.mark.parametrize(
    ("role", "policy", "needs"),
    [
        (Role.VICTIM, DEFAULT, True),
        (Role.WITNESS, Policy(tell=("UA",)), True),
        (Role.POTENTIAL_VICTIM, Policy(tell=("IJM",)), True),
        (Role.VICTIM, Policy(tell=("OSCE",)), True),
        (Role.VICTIM, Policy(tell=("DE", "EUROPOL")), False),
        (Role.VICTIM, SILENT, False),
        (Role.VICTIM, Policy(tell=("UA",), approved_by="officer-2"), False),
        (Role.SUSPECT, DEFAULT, False),
        (Role.UNKNOWN, Policy(tell=("third_country",)), False),
    ],
)
def test_a_victim_is_told_of_outside_the_union_with_a_second_person_only(
    role: Role, policy: Policy, needs: bool, own: Party, manifest: Manifest
) -> None:
    """LB-26."""
    assert needs_second_person(policy, role, own=own, manifest=manifest) is needs


@pytest.mark.parametrize(
    ("before", "after", "wider"),
    [
        (DEFAULT, DEFAULT, False),
        (DEFAULT, SILENT, False),
        (SILENT, DEFAULT, True),
        (LOCAL_ONLY, SILENT, True),
        (SILENT, LOCAL_ONLY, False),
        (Policy(tell=("DE",)), Policy(tell=("DE", "UA")), True),
        (Policy(tell=("DE", "UA")), Policy(tell=("DE",)), False),
        (Policy(tell=("DE",)), Policy(tell=("UA",)), True),
        (Policy(purposes=(Purpose.PREVENTION,)), DEFAULT, True),
        (DEFAULT, Policy(purposes=(Purpose.PREVENTION,)), False),
        (Policy(operations=("a",)), Policy(operations=("a", "b")), True),
        (Policy(operations=("a", "b")), Policy(operations=("a",)), False),
        (Policy(operations=("a",)), Policy(operations=("b",)), True),
        (DEFAULT, Policy(handling=Handling.H1), False),
    ],
)
def test_a_change_widens_where_anybody_may_be_told_who_might_not_be(
    before: Policy, after: Policy, wider: bool, own: Party, manifest: Manifest
) -> None:
    assert widens(before, after, own=own, manifest=manifest) is wider


NAMES = st.lists(st.sampled_from([*NODES, "IJM", "eu_state", "third_country", "partner"]), max_size=4, unique=True)
POLICIES = st.builds(
    Policy,
    visibility=st.sampled_from(Visibility),
    handling=st.sampled_from(Handling),
    tlp=st.sampled_from(Tlp),
    tell=st.none() | NAMES.map(tuple),
    not_tell=NAMES.map(tuple),
    purposes=st.lists(st.sampled_from(Purpose), max_size=2, unique=True).map(tuple),
    operations=st.lists(st.sampled_from(["a", "b"]), max_size=2, unique=True).map(tuple),
)
ABOUTS = [About(purpose, operation) for purpose in Purpose for operation in ("", "a", "b", "c")]


@given(before=POLICIES, after=POLICIES)
def test_what_does_not_widen_tells_nobody_more(before: Policy, after: Policy, own: Party, manifest: Manifest) -> None:
    """C6: whoever is asked about anew is everybody who may hear of something new; else a match would be lost."""

    def told(policy: Policy) -> set[tuple[Any, ...]]:
        return {
            (party.name, about)
            for party in manifest.parties
            for about in ABOUTS
            if may_tell(policy, party, own=own, manifest=manifest, about=about)
        }

    if not widens(before, after, own=own, manifest=manifest):
        assert told(after) <= told(before)


@given(policy=POLICIES)
def test_a_policy_is_read_as_it_was_written(policy: Policy) -> None:
    assert Policy.of(policy.content()).content() == policy.content()
