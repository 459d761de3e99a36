"""Handling belongs to a record and works alike in every order (3.4, I3; LB-23, LB-24; Europol Reg. 19(2), 20(2)).

Each side looks once or submits, its record is visible, silent or local only, either comes first, and the operation is
swept never, before or after the checks: who is told of what follows from the two policies alone, and each is told once.
"""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

import pytest

from concordat.vocabulary import Handling, Purpose, Tlp
from services.node.policy import DEFAULT, LOCAL_ONLY, SILENT, Policy
from tests.simulation.sweeping import OPERATION, sweep

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.simulation.live import Live, RealNode

PHONE = "+447700900001"
POLICIES = {"visible": DEFAULT, "silent": SILENT, "local only": LOCAL_ONLY}
PAIRS = [(one, two) for one in POLICIES for two in POLICIES]


def told(live: Live) -> tuple[int, int]:
    """Return how often NL was told of DE, and DE of NL; whoever does not hold the value was told nothing."""
    nl, de = live.nodes["NL"], live.nodes["DE"]
    return nl.times_told_of(PHONE, de), de.times_told_of(PHONE, nl)


def expected(nl: str, de: str) -> tuple[int, int]:
    """Return who is told once both records are compared: a side is told of the other's visible record."""
    if "local only" in (nl, de):
        return 0, 0
    return int(de == "visible"), int(nl == "visible")


@pytest.mark.parametrize("swept", ["never", "before", "after"])
@pytest.mark.parametrize("first", ["NL", "DE"])
@pytest.mark.parametrize(("nl", "de"), PAIRS)
def test_two_that_submit(make_live: Callable[..., Live], nl: str, de: str, first: str, swept: str) -> None:
    live = make_live("NL", "DE")
    order = ["NL", "DE"] if first == "NL" else ["DE", "NL"]
    handling = {"NL": POLICIES[nl], "DE": POLICIES[de]}
    if swept == "before":
        # Marked for the operation and swept before either has asked.
        for name in order:
            live.nodes[name].party.submit(PHONE, policy=handling[name], operation=OPERATION)
        sweep(live, *order)
    live.attach("NL", "DE")
    for name in order:
        if swept != "before":
            live.nodes[name].submit(PHONE, policy=handling[name], operation=OPERATION)
        live.run(1.5)
    if swept == "after":
        sweep(live, *order)
    live.run(1)
    assert told(live) == expected(nl, de)


@pytest.mark.parametrize("once", ["NL", "DE", "both"])
@pytest.mark.parametrize("first", ["NL", "DE"])
@pytest.mark.parametrize(("nl", "de"), PAIRS)
def test_whoever_looks_once_speaks_for_its_moment(
    make_live: Callable[..., Live], nl: str, de: str, first: str, once: str
) -> None:
    """It finds what is there, and whoever it lets is told; nobody finds it later."""
    live = make_live("NL", "DE")
    live.attach("NL", "DE")
    order = ["NL", "DE"] if first == "NL" else ["DE", "NL"]
    for name in order:
        policy = POLICIES[nl if name == "NL" else de]
        live.nodes[name].submit(PHONE, policy=policy, look_once=once in (name, "both"))
        live.run(1.5)
    found_something = once == order[1]
    assert told(live) == (expected(nl, de) if found_something else (0, 0))
    looked_once = {row.look_once for node in live.nodes.values() for row in node.party.store.all_told()}
    assert looked_once <= {True}


CHANGES = list(itertools.product(["visible", "silent", "local only"], repeat=2))


@pytest.mark.parametrize("who", ["NL", "DE"])
@pytest.mark.parametrize(("before", "after"), CHANGES)
@pytest.mark.parametrize("other", ["visible", "silent"])
def test_a_policy_that_changes_afterwards(
    make_live: Callable[..., Live], before: str, after: str, other: str, who: str
) -> None:
    """Whoever widens asks again, and the other is told once, at that time; what was told before is not taken back."""
    live = make_live("NL", "DE")
    live.attach("NL", "DE")
    for name in ("NL", "DE"):
        live.nodes[name].submit(PHONE, policy=POLICIES[before if name == who else other])
        live.run(1.5)
    state = {"NL": other, "DE": other, who: before}
    reached = expected(state["NL"], state["DE"])
    assert told(live) == reached
    _handle(live, live.nodes[who], POLICIES[after])
    state[who] = after
    now = expected(state["NL"], state["DE"])
    assert told(live) == (max(reached[0], now[0]), max(reached[1], now[1]))
    # And again, with both asking anew: nothing changes for anybody.
    for node in live.nodes.values():
        _handle(live, node, POLICIES[state[node.name]])
    assert told(live) == (max(reached[0], now[0]), max(reached[1], now[1]))


def _handle(live: Live, node: RealNode, policy: Policy) -> None:
    node.party.handle(PHONE, policy)
    live.run(2)


NAMED = {
    "to a party": (Policy(tell=("DE",)), 1),
    "to another party": (Policy(tell=("FR",)), 0),
    "to its class": (Policy(tell=("eu_state",)), 1),
    "to its class, but not to it": (Policy(tell=("eu_state",), not_tell=("DE",)), 0),
    "to a class, and red": (Policy(tell=("eu_state",), tlp=Tlp.RED), 0),
    "to a party, and red": (Policy(tell=("DE",), tlp=Tlp.RED), 1),
    "to a class, and H3": (Policy(tell=("eu_state",), handling=Handling.H3), 0),
    "for its purpose": (Policy(purposes=(Purpose.INVESTIGATION, Purpose.DETECTION)), 1),
    "for another purpose": (Policy(purposes=(Purpose.MISSING_PERSON,)), 0),
    "for its operation": (Policy(operations=(OPERATION,)), 1),
    "for another operation": (Policy(operations=("another",)), 0),
}


@pytest.mark.parametrize("first", ["NL", "DE"])
@pytest.mark.parametrize("name", NAMED)
def test_conditions_are_those_of_the_one_who_would_be_told(
    make_live: Callable[..., Live], name: str, first: str
) -> None:
    """LB-23: purpose and operation are tested against DE's record, whether DE asks or is asked."""
    policy, times = NAMED[name]
    live = make_live("NL", "DE")
    live.attach("NL", "DE")
    for one in ["NL", "DE"] if first == "NL" else ["DE", "NL"]:
        live.nodes[one].submit(PHONE, policy=policy if one == "NL" else DEFAULT, operation=OPERATION)
        live.run(1.5)
    assert told(live) == (1, times)


@pytest.mark.parametrize("first", ["NL", "DE"])
def test_one_record_that_lets_it_is_enough(make_live: Callable[..., Live], first: str) -> None:
    """A value stands for several records: what one hides another may show."""
    live = make_live("NL", "DE")
    live.attach("NL", "DE")
    for one in ["NL", "DE"] if first == "NL" else ["DE", "NL"]:
        if one == "NL":
            live.nodes[one].party.submit(PHONE, policy=SILENT)
            live.nodes[one].party.submit(PHONE, policy=LOCAL_ONLY, operation=OPERATION)
        live.nodes[one].submit(PHONE, policy=DEFAULT)
        live.run(1.5)
    assert told(live) == (1, 1)
