"""What a holder decides of a proven hit: may the asker be told of mine, am I told of his (docs/protocol.md 3.4 (2)).

Who asked plays no part in either: each side's own policy decides who is told of its record, tested against purpose and
operation of the one that would be told (LB-23).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from concordat.protocol.macs import ASKER_TOLD, HOLDER_TOLD
from services.node.exchange.audience import fits_clause, has_unconditionally, read_policy
from services.node.policy import About, may_tell

if TYPE_CHECKING:
    from collections.abc import Sequence

    from concordat.identity.manifest import Manifest, Party
    from concordat.protocol.check import SignedHeader
    from concordat.wire.v1 import check_pb2 as wire
    from services.node.store.handling import Holding


class Decider:
    """Decides the hits of one question."""

    def __init__(
        self, header: SignedHeader, sets: Sequence[wire.AudienceSet], *, own: Party, manifest: Manifest
    ) -> None:
        self._asker = manifest.party_by_id(header.fields.asker)
        self._about = About(header.fields.purpose, header.fields.operation)
        self._sets = sets
        self._own = own
        self._manifest = manifest
        self._lets: dict[str, bool] = {}
        self._always = [has_unconditionally(one, own.id) for one in sets]

    def decide(self, holdings: Sequence[Holding], audience: int) -> int:
        """Return the decision on a value.

        Args:
            holdings: What its live records say.
            audience: Index of the asker's set.
        """
        compared = [one for one in holdings if read_policy(one.policy).compared]
        asker = any(self._asker_may(one.policy) for one in compared)
        return (ASKER_TOLD if asker else 0) | (HOLDER_TOLD if self._is_told(compared, audience) else 0)

    def _asker_may(self, policy: str) -> bool:
        known = self._lets.get(policy)
        if known is None:
            known = self._lets[policy] = may_tell(
                read_policy(policy), self._asker, own=self._own, manifest=self._manifest, about=self._about
            )
        return known

    def _is_told(self, compared: Sequence[Holding], audience: int) -> bool:
        if not compared:
            return False
        if self._always[audience]:
            return True
        abouts = {(one.purpose, one.operation) for one in compared}
        return fits_clause(self._sets[audience], self._own.id, abouts)
