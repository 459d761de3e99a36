"""Exercises at the hub: asked by participants and of participants while they run, and gone at their end (3.6 (8))."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from gateway.exercises import Exercises

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gateway.operations_store import OperationStore
    from tests.unit.gateway.world import Link, World

DRILL: dict[str, Any] = {"operation": "drill", "exercise": True}


def refusals(link: Link) -> list[str]:
    return [frame.check_refused.code for frame in link.seen if frame.HasField("check_refused")]


@pytest.mark.parametrize("running", [{}, {"drill": ("DE", "FR")}, {"other": ("NL", "DE")}])
def test_a_check_of_an_exercise_that_does_not_run_for_its_asker_is_refused(
    world: World, running: Mapping[str, tuple[str, ...]]
) -> None:
    """I8: the refusal does not tell whether there is such an exercise."""
    de, nl = world.attached("DE", "x"), world.attached("NL", "x")
    known = {name: frozenset(world.federation.id(one) for one in parties) for name, parties in running.items()}
    world.hubs[0].exchange.know_exercises(known)
    nl.check("x", **DRILL)
    world.settle()
    assert refusals(nl.link) == ["operation_unknown"]
    assert "question" not in de.link.kinds()


def test_a_check_of_an_exercise_is_sent_to_its_participants_only(world: World) -> None:
    de, fr, nl = world.attached("DE", "x"), world.attached("FR", "x"), world.attached("NL", "x")
    world.hubs[0].exchange.know_exercises({"drill": frozenset({world.federation.id("DE"), world.federation.id("NL")})})
    nl.check("x", **DRILL)
    world.window()
    assert refusals(nl.link) == []
    assert "question" in de.link.kinds()
    assert "question" not in fr.link.kinds()
    assert "certificate" in nl.link.kinds()
    assert world.hubs[0].exchange.progress[1] == 0, "no statistics"


def test_an_exercise_that_is_over_takes_no_check_any_more(world: World) -> None:
    de, nl = world.attached("DE", "x"), world.attached("NL", "x")
    both = frozenset({world.federation.id("DE"), world.federation.id("NL")})
    for running in ({"drill": both}, {}):
        world.hubs[0].exchange.know_exercises(running)
        nl.check("x", **DRILL)
        world.window()
    assert refusals(nl.link) == ["operation_unknown"]
    assert de.link.kinds().count("question") == 1


class FakeStore:
    """Two exercises, of which one is over."""

    def __init__(self) -> None:
        self.over = ["drill", "swept"]

    def running_exercises(self) -> dict[str, frozenset[str]]:
        return {"later": frozenset({"a", "b"})}

    def ended_exercises(self) -> tuple[str, ...]:
        return tuple(self.over)

    def wipe(self, operation: str) -> None:
        self.over.remove(operation)


class FakeHub:
    """Notes what it is told, in order."""

    def __init__(self, store: FakeStore) -> None:
        self.store = store
        self.known: dict[str, frozenset[str]] = {}
        self.wiped: list[tuple[str, bool]] = []

    def know_exercises(self, running: Mapping[str, frozenset[str]]) -> None:
        self.known = dict(running)

    async def wipe_exercise(self, operation: str) -> None:
        self.wiped.append((operation, operation in self.store.over))


async def test_the_ledger_forgets_first_and_no_exercise_whose_sweep_still_runs() -> None:
    store = FakeStore()
    hub, sweeping = FakeHub(store), {"swept"}
    real: OperationStore = store  # type: ignore[assignment] # as far as it is asked
    keeper = Exercises(real, hub, sweeping=sweeping.__contains__)
    await keeper.turn()
    assert hub.known == {"later": frozenset({"a", "b"})}
    assert hub.wiped == [("drill", True)], "the operation goes last, so that a gateway that stops begins again"
    assert store.over == ["swept"]
    sweeping.clear()
    await keeper.turn()
    await keeper.turn()
    assert [name for name, _ in hub.wiped] == ["drill", "swept"]
    assert store.over == []
