"""I11: two worlds that differ by one silent or local-only holding give byte-equal views to all others, at equal times.

Compared are: frames to every other node, their number, size and times; what its people see of matches and events; every
row on its disk; what the partner and the operator get from the API; the operator's stream and page; the hub's log and
metrics; the sweep's frames; the report, twice. Only questions are left out where the silent party asks: its node asks
in silence, and the node software of who is asked sees that (DESIGN 4, I11); what it leaves there is compared.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import pytest

from services.node.policy import LOCAL_ONLY, SILENT, Policy
from tests.twoworlds.action_day import OPERATION
from tests.twoworlds.story import OTHER, Silence, X
from tests.twoworlds.surfaces import differences

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.twoworlds.story import Told
    from tests.twoworlds.twin import Twin

    Make = Callable[[], Told]

OF_THE_HUB: Final = {"the hub's queue and certificates"}
"""That somebody asks at all shows to the hub, and to nobody else (docs/telemetry.md)."""


def holds(value: str, policy: Policy, *, operation: str = OPERATION, domain: str = "") -> Callable[[Twin], None]:
    """Return the act of submitting one record more."""
    return lambda twin: twin.submit("RO", value, policy=policy, operation=operation, domain=domain)


def takes_back(value: str) -> Callable[[Twin], None]:
    """Return the act of withdrawing it."""
    return lambda twin: twin.withdraw("RO", value)


def told(make: Make, silence: Silence) -> Told:
    """Tell the story in a new world."""
    world = make()
    world.tell(silence)
    return world


def different(one: Told, two: Told) -> dict[str, str]:
    """Return where two worlds differ, questions of the silent party apart."""
    found = differences(one.twin.surfaces, two.twin.surfaces, (one.twin.drawn, two.twin.drawn))
    return {name: where for name, where in found.items() if not name.startswith("questions to")}


def known_to_ro(world: Told, value: str) -> set[str]:
    """Return who RO was told of as a holder of a value."""
    return {row.other.rpartition("/")[2] for row in world.twin.nodes["RO"].party.store.matches() if row.typed == value}


def test_the_same_story_twice_is_the_same_to_the_last_byte(make_world: Make) -> None:
    one, two = told(make_world, Silence()), told(make_world, Silence())
    assert differences(one.twin.surfaces, two.twin.surfaces, (one.twin.drawn, two.twin.drawn)) == {}
    assert len(one.twin.surfaces.by_name) > 25
    assert all(one.twin.surfaces.by_name.values())


def test_i11_a_silent_holder_of_what_others_look_for(make_world: Make) -> None:
    """Both hold one record more, in silence; in one world it is what the others ask about. Questions count too."""
    one, two = (told(make_world, Silence(early=holds(value, SILENT))) for value in (OTHER, X))
    assert differences(one.twin.surfaces, two.twin.surfaces, (one.twin.drawn, two.twin.drawn)) == {}
    assert known_to_ro(two, X) == {"NL", "DE", "FR", "UA", "IJM"}, "the holder is told of all who ask"
    assert known_to_ro(one, OTHER) <= {"IJM"}


@pytest.mark.parametrize("when", ["early", "late"])
@pytest.mark.parametrize("policy", [SILENT, LOCAL_ONLY], ids=["silent", "local only"])
def test_i11_a_record_more_or_none(make_world: Make, policy: Policy, when: str) -> None:
    """Early it is found by who asks; late its own node asks, discreetly, what the others hold already."""
    one, two = told(make_world, Silence()), told(make_world, Silence(**{when: holds(X, policy)}))
    assert set(different(one, two)) <= OF_THE_HUB
    assert known_to_ro(two, X) == ({"NL", "DE", "FR", "UA", "IJM"} if policy is SILENT else set())


def test_i11_a_record_that_is_silent_towards_one_class(make_world: Make) -> None:
    """The third country and the partner ask, and see what they would see without it; the others are told."""
    # Not marked for the operation: whoever signs a charter lets its readers read numbers of what is marked for it.
    named = holds(X, Policy(tell=("eu_state",)), operation="")
    one, two = told(make_world, Silence()), told(make_world, Silence(early=named))
    found = different(one, two)
    of_the_outsiders = {name for name in found if "UA" in name or "partner" in name}
    assert not of_the_outsiders
    assert "matches at NL" in found, "else nothing was compared"
    assert known_to_ro(two, X) == {"NL", "DE", "FR", "UA", "IJM"}


def test_i11_a_record_of_an_exercise(make_world: Make) -> None:
    """Its tokens equal no real ones, whatever it is about."""
    acts = [holds(value, SILENT, operation="drill", domain="drill") for value in (OTHER, X)]
    one, two = (told(make_world, Silence(early=act)) for act in acts)
    assert different(one, two) == {}
    assert not known_to_ro(two, X)


@pytest.mark.parametrize("when", ["late", "end"])
def test_i11_a_record_that_is_withdrawn_in_silence(make_world: Make, when: str) -> None:
    """Neither the tombstone, nor the void edges, nor the plane that is built anew shows to those who knew nothing."""
    acts = [(holds(value, SILENT), takes_back(value)) for value in (OTHER, X)]
    one, two = (told(make_world, Silence(early=early, **{when: late})) for early, late in acts)
    assert different(one, two) == {}
    three = told(make_world, Silence())
    # That a party withdraws something is a line in the hub's log, as its submit was a certificate.
    assert set(different(three, two)) <= OF_THE_HUB | {"the hub's log"}
    for world in (one, two):
        with world.twin.nodes["RO"].party.store.read() as db:
            assert db.execute("SELECT count(*), sum(buried) FROM withdrawal").fetchone() == (1, 1)
