"""A breadth-first explorer of finite state machines: every state once, the shortest counterexample first.

    result = explore(initial, actions, check)
    assert result.counterexample is None, result.trace()

States are hashable and immutable. An action is a label and the state after it. A state that has been seen is kept as 64
bits of its hash, and its predecessor and label beside it, so that a path can be walked back; the chance that two of a
million states share 64 bits is below one in thirty million.
"""

from __future__ import annotations

from array import array
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Iterable

S = TypeVar("S", bound="Hashable")
MASK = (1 << 64) - 1
NO_WAY_ON = "nothing can happen any more, and this is not the end"
NEVER_AT_REST = "from here all can never come to rest again"


@dataclass(frozen=True)
class Counterexample:
    """The steps from the initial state to one that must not be, and why it must not."""

    steps: tuple[str, ...]
    reason: str

    def __str__(self) -> str:
        numbered = [f"{number:3}. {step}" for number, step in enumerate(self.steps, 1)]
        return "\n".join([*numbered, f"  => {self.reason}"])


@dataclass(frozen=True)
class Result:
    """How many states there are, and the shortest way to a bad one."""

    states: int
    counterexample: Counterexample | None
    complete: bool = True
    """False where the limit ended the search."""


class _Search(Generic[S]):
    def __init__(self, initial: S) -> None:
        self.index = {hash(initial) & MASK: 0}
        self.parents = array("l", [-1])
        self.labels = [""]
        self.queue = deque([(0, initial)])
        self.sources, self.targets = array("l"), array("l")
        self.resting = array("b", [0])

    def visit(self, source: int, label: str, state: S) -> None:
        key = hash(state) & MASK
        found = self.index.get(key)
        if found is None:
            found = self.index[key] = len(self.labels)
            self.parents.append(source)
            self.labels.append(label)
            self.resting.append(0)
            self.queue.append((found, state))
        self.sources.append(source)
        self.targets.append(found)

    def path(self, at: int, reason: str) -> Counterexample:
        steps = []
        while self.parents[at] >= 0:
            steps.append(self.labels[at])
            at = self.parents[at]
        return Counterexample(tuple(reversed(steps)), reason)

    def restless(self) -> int | None:
        """Return the first state from which none at rest can be reached."""
        before: dict[int, list[int]] = {}
        for source, target in zip(self.sources, self.targets, strict=True):
            before.setdefault(target, []).append(source)
        todo = [at for at, rests in enumerate(self.resting) if rests]
        good = set(todo)
        while todo:
            for source in before.get(todo.pop(), ()):
                if source not in good:
                    good.add(source)
                    todo.append(source)
        return next((at for at in range(len(self.labels)) if at not in good), None)


def explore(
    initial: S,
    actions: Callable[[S], Iterable[tuple[str, S]]],
    check: Callable[[S], str | None],
    *,
    rests: Callable[[S], bool] | None = None,
    limit: int | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Result:
    """Visit every state that can be reached, nearest first, and stop at the first bad one.

    Args:
        initial: Where it starts.
        actions: What can happen in a state, each with its label and what comes of it.
        check: Says why a state must not be; None where it may.
        rests: Tells whether a state is an end that is wanted. Where it is given, one must stay in reach of every state.
        limit: Most states; the search ends incomplete there.
        progress: Told the states seen and those that wait, every 10 000.
    """
    search = _Search(initial)
    done = 0
    while search.queue:
        at, state = search.queue.popleft()
        reason = check(state)
        if reason is not None:
            return Result(len(search.labels), search.path(at, reason))
        if rests is not None:
            search.resting[at] = rests(state)
        moves = 0
        for label, after in actions(state):
            moves += 1
            search.visit(at, label, after)
        if not moves and rests is not None and not search.resting[at]:
            return Result(len(search.labels), search.path(at, NO_WAY_ON))
        done += 1
        if progress is not None and not done % 10_000:
            progress(len(search.labels), len(search.queue))
        if limit is not None and len(search.labels) >= limit:
            return Result(len(search.labels), None, complete=False)
    lost = search.restless() if rests is not None else None
    return Result(len(search.labels), None if lost is None else search.path(lost, NEVER_AT_REST))
