"""Bounded worlds: parties, gateways, and the events that may happen, each once and at any time."""

from __future__ import annotations

from dataclasses import dataclass, replace
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
    ordered: bool = True
    """The events happen in their order, at any time; else in every order."""
    prompt: bool = True
    """A notice that can be taken is taken before anything else happens."""

    cut: frozenset[tuple[int, int]] = frozenset()
    """Party and gateway that never reach each other."""
    coarse: bool = False
    """A check runs from question to certificate before anything else happens."""

    def initial(self) -> State:
        """Return the state at the start."""
        number, there = self.parties, range(self.parties)
        nodes = tuple(
            Node(links=tuple(None if (one, at) in self.cut else Link(0, stage=2) for at in range(self.gateways)))
            for one in there
        )
        gateways = tuple(
            empty_gateway(number)._replace(
                sessions=tuple(int((one, at) not in self.cut) for one in there),
                planes=tuple(Plane(complete=(one, at) not in self.cut) for one in there),
            )
            for at in range(self.gateways)
        )
        return State(
            nodes=nodes,
            gateways=gateways,
            ledger=Ledger(0, (0,) * number, (0,) * number, ((),) * number),
            events=tuple(range(len(self.events))),
            beliefs=(Belief(),) * number,
            published=(0,) * number,
            agreed=self.agreed,
            cut=self.cut,
        )

    def actions(self, rules: Rules) -> Callable[[State], Iterator[node.Step]]:
        """Return what can happen in a state, under some rules."""

        def enabled(state: State) -> Iterator[node.Step]:
            if state.fault:
                return
            if self.prompt:
                for party in range(self.parties):
                    if node.has_notice(state, party):
                        yield node.notice_step(state, rules, party)
                        return
            if self.coarse and any(flight for gateway in state.gateways for flight in gateway.flights):
                moves = [one for at in range(self.gateways) for one in hub.check_steps(state, rules, at)]
                # The certificate is the last of them, and leaves when nothing else can happen.
                yield from moves[:-1] or moves
                return
            for party in range(self.parties):
                yield from node.steps(state, rules, party)
            for at in range(self.gateways):
                yield from hub.steps(state, rules, at)
            yield from events.steps(state, rules, self.events, ordered=self.ordered)

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


_B = Event("submit", B, VISIBLE)


def _both(*more: Event, one: str = VISIBLE, two: str = VISIBLE) -> tuple[Event, ...]:
    return (Event("submit", A, one), Event("submit", B, two), *more)


_A = Event("submit", A, VISIBLE)
_MATCH = " with the match"

SMALL: dict[str, Configuration] = {
    "two submits": Configuration((_A, _B)),
    "two gateways": Configuration((_A, _B), gateways=2),
    "two gateways, B reaches one": Configuration((_A, _B), gateways=2, cut=frozenset({(B, 0)})),
    "three parties": Configuration((_A, _B, Event("submit", C, VISIBLE)), parties=3, coarse=True),
    "away": Configuration((_B, Event("crash", B), _A), coarse=True),
    "crash": Configuration((_A, _B, Event("crash", B))),
    "crash after a check": Configuration((_A, _B, Event("crash", B)), coarse=True),
    "gateway crash": Configuration((_A, _B, Event("gateway crash"))),
    "gateway crash, then submits": Configuration((Event("gateway crash"), _A, _B), coarse=True),
    "gateway crash, then another value": Configuration(
        (_A, Event("gateway crash"), Event("other", A), _B), coarse=True
    ),
    "half-open session": Configuration((_A, Event("half-open", A), _B)),
    "lagging index": Configuration((Event("lag", A), _A, _B)),
    "silent": Configuration((_A, Event("submit", B, SILENT))),
    "local only": Configuration((Event("submit", A, LOCAL), _B), coarse=True),
    "widened": Configuration((Event("submit", A, LOCAL), Event("policy", A, VISIBLE), _B), coarse=True),
    "widened later": Configuration((Event("submit", A, LOCAL), _B, Event("policy", A, VISIBLE)), coarse=True),
    "narrowed": Configuration((_A, Event("policy", A, SILENT), _B)),
    "narrowed to local only": Configuration((_A, _B, Event("policy", A, LOCAL))),
    "withdrawn": Configuration((_A, _B, Event("withdraw", A))),
    "withdrawn and submitted again": Configuration((_A, _B, Event("withdraw", A), _A), coarse=True),
    "agreed later": Configuration((_A, _B, Event("agree")), agreed=False),
    "looked once, kept later": Configuration((_B, Event("look once", A), _A), coarse=True),
    "new epoch": Configuration((_A, Event("epoch"), _B), coarse=True),
    "new epoch over a match": Configuration((_A, _B, Event("epoch")), coarse=True),
    "restored": Configuration((_A, Event("backup", A), _B, Event("restore", A)), coarse=True),
    "restored, notices late": Configuration(
        (_A, Event("backup", A), _B, Event("restore", A)), coarse=True, prompt=False
    ),
    "restored without its record": Configuration((Event("backup", A), _A, _B, Event("restore", A)), coarse=True),
    "restored and submitted again, other silent": Configuration(
        (Event("submit", B, SILENT), Event("backup", A), _A, Event("restore", A), _A), coarse=True
    ),
    "narrowed and restored": Configuration(
        (_A, Event("backup", A), Event("policy", A, SILENT), Event("restore", A), _B), coarse=True
    ),
    "withdrawn and restored": Configuration(
        (_A, Event("backup", A), Event("withdraw", A), Event("restore", A), _B), coarse=True
    ),
    "withdrawn, restored, journal lost": Configuration(
        (_A, Event("backup", A), Event("withdraw", A), Event("restore without journal", A), _B), coarse=True
    ),
    "old process beside the restored one": Configuration(
        (Event("backup", A), Event("restore beside", A), _A, _B), coarse=True
    ),
    "ledger restored": Configuration(
        (_A, _B, Event("copy ledger"), Event("restore ledger")), coarse=True, prompt=False
    ),
    "ledger restored, notices before": Configuration(
        (Event("copy ledger"), _A, Event("withdraw", A), _A, _B, Event("restore ledger")), coarse=True, prompt=False
    ),
    "withdrawn, ledger restored": Configuration(
        (
            _A,
            Event("submit", B, SILENT),
            Event("copy ledger", value=_MATCH),
            Event("withdraw", A),
            Event("restore ledger"),
        ),
        coarse=True,
        prompt=False,
    ),
}

LIMITS: dict[str, Configuration] = {
    "ledger rolled back, and no node can see it": Configuration(
        (_A, _B, Event("copy ledger"), Event("roll back ledger")), coarse=True, prompt=False
    ),
    "withdrawn, ledger restored to before the match": Configuration(
        (_A, _B, Event("copy ledger"), Event("withdraw", A), Event("restore ledger")), coarse=True, prompt=False
    ),
}
"""What all rules together do not prevent: docs/model.md says how it is met."""


def widened(configuration: Configuration) -> Configuration:
    """Return a world with every order of events and steps, for long runs."""
    return replace(configuration, ordered=False, prompt=False, coarse=False)
