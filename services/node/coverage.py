"""What may be said of coverage: of whom nothing is known yet and why, and 'no match' of covered parties only (I6)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from concordat.identity.names import short
from services.node.store.overview import PendingHolder

if TYPE_CHECKING:
    from collections.abc import Iterable

    from services.node.store.overview import FileProgress

_WHY: Final = {
    "outside": "outside the agreement",
    "offline": "offline",
    "timed_out": "no answer in time",
    "new": "not asked yet",
}
_NAMED: Final = 30


def named(party: str) -> str:
    """Return what people call a party, with its role where it is no node: IJM (partner)."""
    role = party.rpartition("/")[0].rpartition("/")[2]
    return short(party) if role == "node" else f"{short(party)} ({role})"


def not_covered(pending: Iterable[PendingHolder]) -> str:
    """Return who is not covered and why, each party once; empty where everybody is."""
    reasons: dict[str, set[str]] = {}
    for one in pending:
        reasons.setdefault(short(one.holder), set()).add(one.state)
    parts = []
    for holder, states in sorted(reasons.items()):
        # One reason a party: what stands in the way now, and not what was merely not tried yet.
        state = next((known for known in _WHY if known in states), min(states))
        parts.append(f"{holder} ({_WHY.get(state, state)})")
    if not parts:
        return ""
    return f"not covered yet: {', '.join(parts)}; the running node goes on asking"


def with_unasked(
    pending: Iterable[PendingHolder], progress: FileProgress, holders: Iterable[str]
) -> list[PendingHolder]:
    """Return who is not covered, with everybody where some value was not asked about yet.

    Whoever reads that nobody is missing and nothing matches would read 'no hit' (I6).
    """
    if progress.values and progress.asked == progress.values:
        return list(pending)
    there = list(pending)
    known = {one.holder for one in there}
    return there + [PendingHolder(holder, "new", 0) for holder in sorted(set(holders) - known)]


def no_match(covered: Iterable[str], *, matched: bool) -> str:
    """Return the sentence that says of covered parties, and of no other, that nothing matches.

    Args:
        covered: The parties that have covered everything that was asked.
        matched: Whether some match is shown beside it.
    """
    names = sorted(short(one) for one in covered)
    if not names:
        return "" if matched else "Nobody is covered yet, so nothing is known."
    listed = ", ".join(names[:_NAMED]) + (f" and {len(names) - _NAMED} more" if len(names) > _NAMED else "")
    who = "the party that is covered" if len(names) == 1 else f"the {len(names)} parties that are covered"
    return f"{'Otherwise no' if matched else 'No'} match with {who}: {listed}."
