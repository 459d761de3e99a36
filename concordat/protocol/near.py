"""Charters that are nearly the same: two reports of such, subtracted, would show what a single party holds (3.6 (7)).

A charter is *near* to an earlier one where both have one purpose, share a namespace, their dates overlap or lie within
30 days, and their participants are the same but for two, or for a fifth of all that either names. What an exercise
counts is never real, so that it is near to exercises only.

Whoever opens a near one needs a second officer, whom the charter names beside the first (four eyes); the hub and every
node that has signed the earlier one refuse it else. Its report has rounded figures (`gateway.report_rounding`).
Statistics are to identify nobody (Pruem II, art. 72; LB-27).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from concordat.errors import RefusedError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from concordat.wire.v1 import operations_pb2 as wire

FEW: Final = 2
FIFTH: Final = 5
APART_S: Final = 30 * 86_400


def near(one: wire.Charter, other: wire.Charter) -> bool:
    """Tell whether two charters of different operations are nearly the same; who was first plays no part."""
    if one.operation == other.operation or one.federation != other.federation:
        return False
    if one.purpose != other.purpose or one.exercise != other.exercise:
        return False
    if not set(one.namespaces) & set(other.namespaces):
        # They count nothing in common.
        return False
    if one.starts_at > other.ends_at + APART_S or other.starts_at > one.ends_at + APART_S:
        return False
    here, there = set(one.participants), set(other.participants)
    different = len(here ^ there)
    return bool(here & there) and (different <= FEW or different * FIFTH <= len(here | there))


def require_four_eyes(charter: wire.Charter, earlier: Iterable[wire.Charter]) -> None:
    """Refuse a charter that is near to an earlier one and names no second officer.

    Raises:
        RefusedError: With code `near_duplicate`; names no operation, as the earlier one may be others'.
    """
    if not charter.second_officer and any(near(charter, one) for one in earlier):
        raise RefusedError(
            "the charter is nearly that of an earlier operation: a second officer must agree", code="near_duplicate"
        )
