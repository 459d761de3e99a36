"""The explorer finds what is planted, by the shortest way, and counts every state once."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.model.explorer import NEVER_AT_REST, NO_WAY_ON, explore

if TYPE_CHECKING:
    from collections.abc import Iterator

Pair = tuple[int, int]


def grid(state: Pair) -> Iterator[tuple[str, Pair]]:
    """Walk on a torus of 5 by 7."""
    x, y = state
    yield "right", ((x + 1) % 5, y)
    yield "up", (x, (y + 1) % 7)


def test_every_state_is_counted_once() -> None:
    assert explore((0, 0), grid, lambda _: None).states == 35


def test_a_planted_violation_is_found_by_the_shortest_way() -> None:
    found = explore((0, 0), grid, lambda state: "planted" if state == (2, 1) else None).counterexample
    assert found is not None
    assert (found.reason, len(found.steps), sorted(found.steps)) == ("planted", 3, ["right", "right", "up"])
    assert str(found).splitlines()[-1] == "  => planted"


def test_a_planted_deadlock_is_found() -> None:
    def stuck(state: Pair) -> Iterator[tuple[str, Pair]]:
        return iter(()) if state == (3, 0) else grid(state)

    found = explore((0, 0), stuck, lambda _: None, rests=lambda state: state == (0, 0)).counterexample
    assert found is not None
    assert (found.reason, found.steps) == (NO_WAY_ON, ("right",) * 3)


def test_a_circle_that_never_comes_to_rest_is_found() -> None:
    steps = {0: [1, 2], 1: [0], 2: [3], 3: [2]}

    def walk(state: int) -> Iterator[tuple[str, int]]:
        yield from ((f"to {one}", one) for one in steps[state])

    found = explore(0, walk, lambda _: None, rests=lambda state: state == 0).counterexample
    assert found is not None
    assert (found.reason, found.steps) == (NEVER_AT_REST, ("to 2",))


def test_an_end_that_is_wanted_is_no_deadlock() -> None:
    def count(state: int) -> Iterator[tuple[str, int]]:
        if state < 3:
            yield "on", state + 1

    result = explore(0, count, lambda _: None, rests=lambda state: state == 3)
    assert (result.states, result.counterexample) == (4, None)


def test_a_limit_is_said() -> None:
    assert not explore((0, 0), grid, lambda _: None, limit=10).complete
