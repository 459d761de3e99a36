"""Bounded worlds: parties, gateways, and the events that may happen, each once and at any time."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from tests.model import events, hub, node, properties
from tests.model.events import Event, empty_gateway
from tests.model.explorer import explore
from tests.model.rules import ON, Rules
from tests.model.state import LOCAL, SILENT, VISIBLE, Belief, Ledger, Link, Node, Plane, State

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.model.explorer import Result

A, B, C, D = range(4)


@dataclass(frozen=True)
class Configuration:
    """A world to exhaust. All nodes are attached at the start, with empty planes that are complete."""

    events: tuple[Event, ...]
    parties: int = 2
    gateways: int = 1
    agreed: bool = True

    def initial(self) -> State:
        """Return the state at the start."""
        number, links = self.parties, (Link(0, stage=2),) * self.gateways
        gateway = empty_gateway(number)._replace(sessions=(1,) * number, planes=(Plane(complete=True),) * number)
        return State(
            nodes=(Node(links=links),) * number,
            gateways=(gateway,) * self.gateways,
            ledger=Ledger(0, (0,) * number, (0,) * number, ((),) * number),
            events=tuple(range(len(self.events))),
            beliefs=(Belief(),) * number,
            published=(0,) * number,
            agreed=self.agreed,
        )

    def actions(self, rules: Rules) -> Callable[[State], Iterator[node.Step]]:
        """Return what can happen in a state, under some rules."""

        def enabled(state: State) -> Iterator[node.Step]:
            if state.fault:
                return
            for party in range(self.parties):
                yield from node.steps(state, rules, party)
            for at in range(self.gateways):
                yield from hub.steps(state, rules, at)
            yield from events.steps(state, rules, self.events)

        return enabled

    def explore(
        self, rules: Rules = ON, *, limit: int | None = None, progress: Callable[[int, int], None] | None = None
    ) -> Result:
        """Exhaust the world, or find the shortest way to a violation."""
        return explore(
            self.initial(),
            self.actions(rules),
            properties.violation,
            rests=properties.rests,
            limit=limit,
            progress=progress,
        )


def _both(*more: Event, one: str = VISIBLE, two: str = VISIBLE) -> tuple[Event, ...]:
    return (Event("submit", A, one), Event("submit", B, two), *more)


SMALL: dict[str, Configuration] = {
    "two submits": Configuration(_both()),
    "node crash": Configuration(_both(Event("crash", A))),
    "gateway crash": Configuration(_both(Event("gateway crash"))),
    "half-open": Configuration(_both(Event("half-open", A))),
    "another value, gateway crash": Configuration(_both(Event("gateway crash"), Event("other", A))),
    "lagging index": Configuration(_both(Event("lag", A))),
    "two gateways": Configuration(_both(), gateways=2),
    "one silent": Configuration(_both(two=SILENT)),
    "one local only": Configuration(_both(two=LOCAL)),
    "widened from local only": Configuration(_both(Event("policy", A, VISIBLE), one=LOCAL)),
    "widened from silent": Configuration(_both(Event("policy", A, VISIBLE), one=SILENT)),
    "narrowed": Configuration(_both(Event("policy", A, SILENT))),
    "withdrawn and submitted again": Configuration(_both(Event("withdraw", A), Event("submit", A, VISIBLE))),
    "agreed later": Configuration(_both(Event("agree")), agreed=False),
    "looked once, kept later": Configuration(_both(Event("look once", A))),
    "new epoch": Configuration(_both(Event("epoch"))),
    "restored": Configuration(_both(Event("backup", A), Event("restore", A))),
    "restored, other silent": Configuration(
        (*_both(Event("backup", A), Event("restore", A), two=SILENT), Event("submit", A, VISIBLE))
    ),
    "narrowed and restored": Configuration(_both(Event("policy", A, SILENT), Event("backup", A), Event("restore", A))),
    "withdrawn and restored": Configuration(_both(Event("withdraw", A), Event("backup", A), Event("restore", A))),
    "restored beside the old process": Configuration(
        (Event("submit", A, VISIBLE), Event("submit", B, VISIBLE), Event("backup", A), Event("restore beside", A))
    ),
    "ledger restored": Configuration(_both(Event("copy ledger"), Event("restore ledger"))),
    "three parties": Configuration((*_both(), Event("submit", C, VISIBLE)), parties=3),
}
