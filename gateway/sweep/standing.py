"""How far a running sweep is, as the hub's operator may see it (docs/console.md).

What participants hold shows in nothing but whether it is much or little: rows of shared values come in thousands, less
a secret part of a thousand that is the same in every sweep, so that nobody who adds values of their own sees by a
number that moves how many others hold; and what a node has prepared comes in tens of a hundred.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Final

from concordat.api.operator import SweepParty, SweepPhase, SweepProgress, SweepStanding
from concordat.identity.names import SpiffeId
from gateway.sweep.hub import Phase

if TYPE_CHECKING:
    from concordat.identity.keys import SigningKey
    from gateway.sweep.hub import SweepHub

ROWS_STEP: Final = 1000
PERCENT_STEP: Final = 10
DOMAIN: Final = "sweep-standing"
_PHASES: Final = {
    Phase.JOINING: SweepPhase.JOINING,
    Phase.STREAMING: SweepPhase.WINDOWS,
    Phase.SHARED: SweepPhase.WINDOWS,
    Phase.PAIRING: SweepPhase.PAIRS,
}


def rows_offset(key: SigningKey) -> int:
    """Return how many rows a gateway leaves out of what it shows: below a thousand, and always the same."""
    return int.from_bytes(hashlib.sha256(key.sign(DOMAIN, b"rows")).digest()) % ROWS_STEP


def standing_of(hub: SweepHub, offset: int) -> SweepProgress:
    """Return where a sweep stands, and each participant in it.

    Args:
        hub: Of the sweep.
        offset: Rows that are left out.
    """
    done, windows = hub.windows
    joining = hub.phase is Phase.JOINING
    return SweepProgress(
        phase=_PHASES.get(hub.phase, SweepPhase.COUNTING),
        windows_done=0 if joining else done,
        windows=0 if joining else windows,
        pairs_percent=_tens(hub.pairing.begins_at, hub.journal.rows),
        rows_about=max(hub.journal.rows - offset, 0) // ROWS_STEP * ROWS_STEP,
        shards_away=hub.sharing.away if hub.phase is Phase.SHARED else (),
        parties=tuple(sorted((_party(hub, one) for one in hub.members.participants), key=lambda one: one.name)),
    )


def _party(hub: SweepHub, party: str) -> SweepParty:
    name, member = SpiffeId.parse(party).name, hub.members.present.get(party)
    if party in hub.members.dropped:
        return SweepParty(name=name, standing=SweepStanding.DROPPED, code=hub.members.dropped[party])
    if member is not None:
        here = SweepStanding.JOINED if member.here else SweepStanding.AWAY
        return SweepParty(name=name, standing=here, owes=hub.owes(member))
    owes = hub.phase is Phase.JOINING
    if owes and party in hub.joining.preparing:
        _, done, total = hub.joining.preparing[party]
        percent = _tens(done, total) if total else None
        return SweepParty(name=name, standing=SweepStanding.PREPARING, owes=True, prepared_percent=percent)
    if owes and party in hub.joining.expected:
        return SweepParty(name=name, standing=SweepStanding.AWAITED, owes=True)
    return SweepParty(name=name, standing=SweepStanding.ABSENT)


def _tens(done: int, total: int) -> int:
    return min(100 * done // max(total, 1), 100) // PERCENT_STEP * PERCENT_STEP
