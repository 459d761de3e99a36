"""Gateways that lose matches on purpose, so that the demo can show that its check finds it. Never for use."""

from __future__ import annotations

import logging
from dataclasses import replace
from typing import TYPE_CHECKING, Final

import numpy as np

from concordat.errors import ConfigError
from gateway.edges import EdgeCandidate
from gateway.ledger import Ledger
from gateway.planes import RoutingTable

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from gateway.ledger import Committed, LedgerWrite

ROUTE: Final = "route"
NOTIFY: Final = "notify"
KINDS: Final = (ROUTE, NOTIFY)

_log = logging.getLogger(__name__)


class LossyTable(RoutingTable):
    """Says of every token that nobody holds it."""

    def route(self, tokens: bytes) -> NDArray[np.uint64]:
        """Route, and lose all of it."""
        return np.zeros_like(super().route(tokens))


class SilentLedger(Ledger):
    """Opens edges and never tells one party of them."""

    victim = ""

    def write(self, writes: Sequence[LedgerWrite]) -> Committed:
        """Write, and leave the victim out."""
        return super().write([self._silenced(write) for write in writes])

    def _silenced(self, write: LedgerWrite) -> LedgerWrite:
        if not isinstance(write, EdgeCandidate):
            return write
        return replace(
            write,
            told_a=write.told_a and write.party_a != self.victim,
            told_b=write.told_b and write.party_b != self.victim,
        )


def require_kind(kind: str) -> None:
    """Refuse a sabotage that does not exist, and say loudly that there is one.

    Raises:
        ConfigError: No such sabotage.
    """
    if kind not in KINDS:
        raise ConfigError(f"there is no such sabotage; there is: {', '.join(KINDS)}")
    _log.warning("SABOTAGE %s: THIS GATEWAY LOSES MATCHES ON PURPOSE; IT IS FOR TESTS ONLY", kind)
