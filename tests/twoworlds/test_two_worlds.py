"""I11: two worlds that differ by one silent or local-only holding give byte-equal views to all others, at equal times.

Compared are: frames to every other node, their number, size and times; what its people see of matches and events; every
row on its disk; what the partner and the operator get from the API; the operator's stream and page; the hub's log and
metrics; the sweep's frames; the report, twice. Only questions are left out where the silent party asks: its node asks
in silence, and the node software of who is asked sees that (DESIGN 4, I11); what it leaves there is compared.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import pytest

from services.node.policy import DEFAULT, LOCAL_ONLY, SILENT, Policy
from tests.twoworlds.action_day import OPERATION
from tests.twoworlds.story import DRILL, OTHER, Silence, X
from tests.twoworlds.surfaces import differences

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.twoworlds.story import Told
    from tests.twoworlds.twin import Twin

    Make = Callable[[], Told]
    World = Callable[[str], Told]

EVERYBODY: Final = {"NL", "DE", "FR", "UA", "IJM"}
OF_THE_HUB: Final = {"the hub's queue and certificates"}
"""That somebody asks at all shows to the hub, and to nobody else (docs/telemetry.md)."""


def holds(value: str, policy: Policy, *, operation: str = OPERATION, domain: str = "") -> Callable[[Twin], None]:
    """Return the act of submitting one record more."""
    return lambda twin: twin.submit("RO", value, policy=policy, operation=operation, domain=domain)


def takes_back(value: str) -> Callable[[Twin], None]:
    """Return the act of withdrawing it."""
    return lambda twin: twin.withdraw("RO", value)


def drill(value: str, policy: Policy = SILENT) -> Callable[[Twin], None]:
    """Return the act of submitting a record of an exercise."""
    return holds(value, policy, operation=DRILL, domain=DRILL)


NOTHING: Final = "nothing"
SILENCES: Final = {
    NOTHING: Silence(),
    "another value": Silence(early=holds(OTHER, SILENT)),
    "silent early": Silence(early=holds(X, SILENT)),
    "silent late": Silence(late=holds(X, SILENT)),
    "local only early": Silence(early=holds(X, LOCAL_ONLY)),
    "local only late": Silence(late=holds(X, LOCAL_ONLY)),
    # Not marked for the operation: whoever signs a charter lets its readers read numbers of what is marked for it.
    "for the union": Silence(early=holds(X, Policy(tell=("eu_state",)), operation="")),
    "drill about another": Silence(early=drill(OTHER)),
    "drill": Silence(early=drill(X)),
    "open drill": Silence(early=drill(X, DEFAULT)),
    "another value, back late": Silence(early=holds(OTHER, SILENT), late=takes_back(OTHER)),
    "silent, back late": Silence(early=holds(X, SILENT), late=takes_back(X)),
    "another value, back at the end": Silence(early=holds(OTHER, SILENT), end=takes_back(OTHER)),
    "silent, back at the end": Silence(early=holds(X, SILENT), end=takes_back(X)),
}


def different(one: Told, two: Told) -> dict[str, str]:
    """Return where two worlds differ, questions of the silent party apart."""
    return {name: where for name, where in all_of(one, two).items() if not name.startswith("questions to")}


def all_of(one: Told, two: Told) -> dict[str, str]:
    """Return where two worlds differ."""
    return differences(one.twin.surfaces, two.twin.surfaces, (one.twin.drawn, two.twin.drawn))


def known_to_ro(world: Told, value: str) -> set[str]:
    """Return who RO was told of as a holder of a value."""
    return {row.other.rpartition("/")[2] for row in world.twin.nodes["RO"].party.store.matches() if row.typed == value}


@pytest.fixture
def world(tale: Callable[[str, Silence], Told]) -> Callable[[str], Told]:
    """Return the world of a silence."""
    return lambda name: tale(name, SILENCES[name])


def test_the_same_story_twice_is_the_same_to_the_last_byte(world: World, make_world: Make) -> None:
    again = make_world()
    again.tell(Silence())
    assert all_of(world(NOTHING), again) == {}
    assert len(again.twin.surfaces.by_name) > 25
    assert all(again.twin.surfaces.by_name.values())


def test_i11_a_silent_holder_of_what_others_look_for(world: World) -> None:
    """Both hold one record more, in silence; in one world it is what the others ask about. Questions count too."""
    one, two = world("another value"), world("silent early")
    assert all_of(one, two) == {}
    assert known_to_ro(two, X) == EVERYBODY, "the holder is told of all who ask"
    assert known_to_ro(one, OTHER) <= {"IJM"}


@pytest.mark.parametrize("name", ["silent early", "silent late", "local only early", "local only late"])
def test_i11_a_record_more_or_none(world: World, name: str) -> None:
    """Early it is found by who asks; late its own node asks, discreetly, what the others hold already."""
    one, two = world(NOTHING), world(name)
    assert set(different(one, two)) <= OF_THE_HUB
    assert known_to_ro(two, X) == (EVERYBODY if name.startswith("silent") else set())


def test_i11_a_record_that_is_silent_towards_one_class(world: World) -> None:
    """The third country and the partner ask, and see what they would see without it; the others are told."""
    found = different(world(NOTHING), world("for the union"))
    assert not {name for name in found if "UA" in name or "partner" in name}
    assert "matches at NL" in found, "else nothing was compared"
    assert known_to_ro(world("for the union"), X) == EVERYBODY


def test_i11_a_silent_record_of_an_exercise(world: World) -> None:
    """It meets those of the other participants, in silence, and nothing real."""
    assert all_of(world("drill about another"), world("drill")) == {}
    assert set(different(world(NOTHING), world("drill"))) <= OF_THE_HUB
    assert known_to_ro(world("drill"), X) == {"NL", "DE"}


def test_i11_an_open_record_of_an_exercise_shows_to_nobody_outside(world: World) -> None:
    """The other participants are told; no page, number, report or response of the API knows of it."""
    found = set(different(world(NOTHING), world("open drill")))
    assert "matches at NL" in found
    assert {name for name in found if not name.endswith(("NL", "DE"))} <= OF_THE_HUB


@pytest.mark.parametrize("when", ["late", "at the end"])
def test_i11_a_record_that_is_withdrawn_in_silence(world: World, when: str) -> None:
    """Neither the tombstone, nor the void edges, nor the plane that is built anew shows to those who knew nothing."""
    one, two = world(f"another value, back {when}"), world(f"silent, back {when}")
    assert different(one, two) == {}
    # That a party withdraws something is a line in the hub's log, as its submit was a certificate.
    assert set(different(world(NOTHING), two)) <= OF_THE_HUB | {"the hub's log"}
    for each in (one, two):
        with each.twin.nodes["RO"].party.store.read() as db:
            assert db.execute("SELECT count(*), sum(buried) FROM withdrawal").fetchone() == (1, 1)
