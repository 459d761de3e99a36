"""What has changed between two states, in words: the list of events on the page.

Made of what the page shows anyway, so that it tells nothing that the numbers do not (I11).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from concordat.api.operator import OperationPhase

if TYPE_CHECKING:
    from collections.abc import Iterator

    from concordat.api.operator import OperationState, OperatorState

MOST_PAIRS: Final = 8
_PHASES: Final = {
    OperationPhase.PROPOSED: "proposed",
    OperationPhase.ACTIVE: "signed by all participants",
    OperationPhase.SWEEPING: "the sweep runs",
    OperationPhase.REPORTED: "the report is frozen",
}


def news_between(before: OperatorState, after: OperatorState) -> list[str]:
    """Return what a reader should hear, most pressing last."""
    return [*_operations(before, after), *_custodians(before, after), *_nodes(before, after), *_matches(before, after)]


def _matches(before: OperatorState, after: OperatorState) -> list[str]:
    known = {(pair.one, pair.other): sum(pair.counts.values()) for pair in before.matches}
    found = {(pair.one, pair.other): sum(pair.counts.values()) for pair in after.matches}
    lines = [
        f"{one} and {other}: {_grown(known.get((one, other), 0), number, 'match', 'matches')}"
        for (one, other), number in found.items()
        if number != known.get((one, other), 0)
    ]
    lines += [f"{one} and {other}: no match any more" for one, other in known if (one, other) not in found]
    if len(lines) > MOST_PAIRS:
        lines = [*lines[:MOST_PAIRS], f"and {len(lines) - MOST_PAIRS} more pairs with other numbers"]
    hits = {one.partner: sum(one.counts.values()) for one in before.partners}
    for one in after.partners:
        number = sum(one.counts.values())
        if number != hits.get(one.partner, 0):
            lines.append(f"Partner {one.partner}: {_grown(hits.get(one.partner, 0), number, 'hit', 'hits')}")
    return lines


def _grown(before: int, after: int, singular: str, plural: str) -> str:
    if not before:
        return f"first {singular}" if after == 1 else f"first {after} {plural}"
    change = abs(after - before)
    more = "more" if after > before else "fewer"
    return f"{change} {more} {singular if change == 1 else plural}, {after} now"


def _nodes(before: OperatorState, after: OperatorState) -> Iterator[str]:
    attached = {node.name: node.attached for node in before.nodes}
    for node in after.nodes:
        if attached.get(node.name, False) != node.attached:
            yield f"{node.name} is {'attached' if node.attached else 'absent'}"


def _custodians(before: OperatorState, after: OperatorState) -> Iterator[str]:
    serving = {one.name: one.serving for one in before.custodians}
    for one in after.custodians:
        if one.serving is not None and serving.get(one.name) not in (one.serving, None):
            yield f"Custodian {one.name} {'serves again' if one.serving else 'does not serve'}"


def _operations(before: OperatorState, after: OperatorState) -> Iterator[str]:
    known = {one.operation: one for one in before.operations}
    for one in after.operations:
        line = _operation(known.get(one.operation), one)
        if line:
            yield f"Operation {one.title}: {line}"
        for name, code in _left_out(known.get(one.operation), one):
            yield f"Operation {one.title}: {name} is left out of the sweep [{code}]"


def _operation(before: OperationState | None, after: OperationState) -> str:
    if before is None or before.phase is not after.phase:
        if before is not None and (before.phase, after.phase) == (OperationPhase.SWEEPING, OperationPhase.ACTIVE):
            return "the sweep ended without a report"
        return _PHASES[after.phase]
    if before.signed != after.signed:
        return f"{after.signed} of {after.participants} have signed"
    return ""


def _left_out(before: OperationState | None, after: OperationState) -> Iterator[tuple[str, str]]:
    known = set() if before is None or before.sweep is None else {one.name for one in before.sweep.parties if one.code}
    for one in () if after.sweep is None else after.sweep.parties:
        if one.code and one.name not in known:
            yield one.name, one.code
