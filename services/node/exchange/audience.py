"""Who may be told of what this node asks about: its audience sets (docs/protocol.md 3.4 (1)).

A set follows from the policies of a value's records alone: whoever one of them lets be told is in it, with the
conditions under which it does (LB-23, LB-24). It is made anew for each check that leaves, so that a policy that was
narrowed since counts.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Final

from concordat.protocol.check import MAX_AUDIENCE_SETS, MAX_CLAUSES
from concordat.wire.v1 import check_pb2 as wire
from services.node.policy import DEFAULT, Policy, reaches

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from concordat.identity.manifest import Manifest, Party

MAX_REMEMBERED: Final = 4096
NOBODY: Final = wire.AudienceSet()
_Condition = tuple[tuple[str, ...], tuple[str, ...]]


@lru_cache(maxsize=MAX_REMEMBERED)
def read_policy(content: str) -> Policy:
    """Return a policy by its content; the default one where a record names none."""
    return Policy.of(content) if content else DEFAULT


class Audiences:
    """Makes the audience sets of one node under one manifest."""

    def __init__(self, own: Party, manifest: Manifest) -> None:
        self._own = own
        self._manifest = manifest
        self._others = sorted((one for one in manifest.nodes if one.id != own.id), key=lambda one: one.id)
        self._made: dict[frozenset[str], wire.AudienceSet] = {}

    def of(self, policies: frozenset[str]) -> wire.AudienceSet:
        """Return the set of a value whose live records have these policies; nobody is in it where there are none."""
        found = self._made.get(policies)
        if found is None:
            if len(self._made) >= MAX_REMEMBERED:
                self._made.clear()
            found = self._made[policies] = self._make([read_policy(one) for one in sorted(policies)])
        return found

    def _make(self, policies: Sequence[Policy]) -> wire.AudienceSet:
        always: set[str] = set()
        conditional: dict[_Condition, set[str]] = {}
        for policy in policies:
            names = {one.id for one in self._others if reaches(policy, one, own=self._own, manifest=self._manifest)}
            condition = (tuple(sorted({one.value for one in policy.purposes})), tuple(sorted(set(policy.operations))))
            if any(condition):
                conditional.setdefault(condition, set()).update(names)
            else:
                always |= names
        if len(always) == len(self._others):
            return wire.AudienceSet(everyone=True)
        clauses = [
            wire.AudienceClause(parties=sorted(names - always), purposes=purposes, operations=operations)
            for (purposes, operations), names in sorted(conditional.items())
            if names - always
        ]
        # A value whose records have more conditions than a set can say tells fewer, and never more, than it might.
        return wire.AudienceSet(parties=sorted(always), clauses=clauses[:MAX_CLAUSES])


def audience_columns(wanted: Sequence[wire.AudienceSet]) -> tuple[list[wire.AudienceSet], bytes, list[int]]:
    """Share equal sets among items.

    Args:
        wanted: The set of each item.

    Returns:
        The sets in the order of their first use, the index column (empty where all is 0), and the positions of items
        that have to go into another check, as no set is left for them.
    """
    sets: dict[bytes, int] = {}
    shared: list[wire.AudienceSet] = []
    column = bytearray()
    over: list[int] = []
    # Sets of one origin are one object; only others are compared by their bytes.
    known: dict[int, int] = {}
    for position, audience in enumerate(wanted):
        index = known.get(id(audience))
        if index is None:
            index = sets.setdefault(audience.SerializeToString(deterministic=True), len(shared))
            if index == len(shared):
                shared.append(audience)
            known[id(audience)] = index
        if index >= MAX_AUDIENCE_SETS:
            over.append(position)
        else:
            column.append(index)
    return shared[:MAX_AUDIENCE_SETS], bytes(column) if any(column) else b"", over


def has_unconditionally(audience: wire.AudienceSet, party: str) -> bool:
    """Tell whether a party may be told whatever its own record is about."""
    return audience.everyone or party in audience.parties


def fits_clause(audience: wire.AudienceSet, party: str, abouts: Collection[tuple[str, str]]) -> bool:
    """Tell whether a clause lets a party be told that has records about these (purpose, operation)."""
    return any(
        party in clause.parties
        and any(
            (not clause.purposes or purpose in clause.purposes)
            and (not clause.operations or operation in clause.operations)
            for purpose, operation in abouts
        )
        for clause in audience.clauses
    )
