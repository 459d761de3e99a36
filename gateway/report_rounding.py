"""Rounded figures of a report whose charter is near to an earlier one (concordat.protocol.near, docs/report.md).

A figure is what the earlier report shows, plus a difference that is a multiple of 5 and is cut towards zero; and it is
that of the earlier report where the difference is below a threshold of 5 to 9. So a change of one, or of a few, shows
nothing. Rounding each report to multiples of 5 would not do that: from an exact 15 to a rounded 20 somebody was added.

The threshold is the gateway's secret, for each figure another, and the same for all charters near to that one: whoever
adds values of his own until the figure moves does not know how many of others moved it, and cannot ask again for
another throw. 0 stays 0 without anybody's meaning it: a rounded 0 says that there are few, at most 8, not none.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any, Final

from concordat.tokens import length_prefixed

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from concordat.identity.keys import SigningKey

STEP: Final = 5
DOMAIN: Final = "report-rounding"
# One number under two names has one threshold, or the two figures would narrow it down.
_SAME: Final = {"totals/platforms": "per_namespace/platform"}


class Rounding:
    """How the figures of one report are rounded."""

    def __init__(self, key: SigningKey, family: bytes, earlier: Mapping[str, Any] | None) -> None:
        """Round against an earlier report.

        Args:
            key: The gateway's own; its signatures are secret here and the same each time.
            family: Hash of the charter whose report the figures are held against.
            earlier: That report; None where its operation has ended without one, and nothing can be subtracted.
        """
        self._key = key
        self._family = family
        self._earlier = earlier or {}

    def figures(self, group: str, exact: Mapping[str, int], names: Iterable[str]) -> dict[str, int]:
        """Return a group of figures, rounded, for every name: that a name is there must not show that there is one."""
        known: Mapping[str, int] = self._earlier.get(group, {})
        return {name: self._figure(f"{group}/{name}", exact.get(name, 0), known.get(name, 0)) for name in names}

    def matches(self, exact: int) -> int:
        """Return the number of shared values, rounded."""
        return self._figure("matches", exact, self._earlier.get("matches", 0))

    def size(self, party: str, exact: int | None) -> int | None:
        """Return the size of a participant's set, rounded."""
        if exact is None:
            return None
        known = {one["party"]: one["size"] or 0 for one in self._earlier.get("participants", ())}
        return self._figure(f"size/{party}", exact, known.get(party, 0))

    def _figure(self, name: str, exact: int, earlier: int) -> int:
        return rounded(exact, earlier, self._threshold(_SAME.get(name, name)))

    def _threshold(self, name: str) -> int:
        secret = self._key.sign(DOMAIN, length_prefixed(self._family, name.encode()))
        return STEP + hashlib.sha256(secret).digest()[0] % STEP


def rounded(exact: int, earlier: int, threshold: int) -> int:
    """Return the earlier figure, moved by whole steps where the exact one is `threshold` or more away from it."""
    difference = exact - earlier
    if abs(difference) < threshold:
        return earlier
    steps = abs(difference) // STEP * STEP
    return earlier + steps if difference > 0 else earlier - steps
