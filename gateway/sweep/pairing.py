"""The pairs of a sweep at the hub, a block of values at a time (docs/protocol.md 3.6 (5)).

A block comes from the journal: its pairs are looked up in the ledger, listed to both holders, proven and judged, and
what is proven is opened before the next block begins. So memory does not grow with the matches, and a restart repeats
one block at most.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from concordat.errors import ProtocolError
from concordat.wire.v1 import sweep_pb2 as wire
from gateway.sweep.effects import LookUp, OpenEdges, Run, Send
from gateway.sweep.groups import repeats_reference
from gateway.sweep.jobs import PairJob

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gateway.sweep.effects import Effect, SweepSettings
    from gateway.sweep.jobs import Paired
    from gateway.sweep.journal import Journal
    from gateway.sweep.members import Member, Members
    from gateway.sweep.pairs import PairBoard

_log = logging.getLogger(__name__)


class Pairing:
    """State of the pairs of a sweep."""

    def __init__(self, members: Members, settings: SweepSettings, journal: Journal) -> None:
        self.made = 0
        """Pairs that were made so far."""
        self.begins_at = 0
        """The first row of the journal whose pairs have not been opened."""
        self._members = members
        self._settings = settings
        self._journal = journal
        self._ends_at = 0
        self._board: PairBoard | None = None
        self._live_asked = False

    def next_block(self) -> Run:
        """Make the pairs of the next block."""
        self._board = None
        parties = frozenset(self._members.indices())
        job = PairJob(
            self._journal,
            self.begins_at,
            self._settings.pair_rows,
            self._members.participants,
            parties,
            self.made,
        )
        return Run(job)

    def repeating(self, result: Paired) -> list[Member]:
        """Return who has one reference for two values: the ledger would take one edge for the other."""
        if result.rows is None:
            return []
        return [one for one in self._members.all() if repeats_reference(result.rows, one.index)]

    def paired(self, result: Paired) -> list[Effect]:
        """Begin a block; nothing follows where there is none any more."""
        self._ends_at = result.next_at
        if result.board is None:
            return []
        self._board, self._live_asked = result.board, True
        for index in set(range(len(self._members.participants))) - self._members.indices():
            self._board.cancel(index)
        self.made += len(self._board)
        return [LookUp(self._board.pairs())]

    def live_known(self, live: Sequence[bool]) -> list[Effect]:
        """List the pairs that have no live edge yet."""
        if self._board is None or not self._live_asked:
            return []
        self._live_asked = False
        self._board.leave_out(live)
        return self._listed(self._board.lists())

    def settled(self) -> list[Effect]:
        """Open what is proven, once nobody owes a proof or a verdict of the block."""
        if self._board is None or self._live_asked or any(map(self._board.owes, self._members.indices())):
            return []
        proven, self._board = self._board.proven(), None
        return [OpenEdges(proven)]

    def opened(self) -> None:
        """Note that the edges of the block are durable."""
        self.begins_at = self._ends_at

    def relisted(self, member: Member) -> list[Effect]:
        """Begin anew what is under way between a participant that comes again and the others."""
        if self._board is None or self._live_asked:
            return []
        before = len(self._board)
        frames = self._board.relist(member.index)
        self.made += len(self._board) - before
        return self._listed(frames)

    def proofs(self, member: Member, frame: wire.PairProofs) -> list[Effect]:
        """Relay a participant's proofs to their addressee.

        Raises:
            ProtocolError: Of pairs that were not listed to it.
        """
        if self._board is None:
            self._require_left(frame.peer)
            return []
        relayed = self._board.take_proofs(member.index, frame)
        addressee = None if relayed is None else self._members.at(relayed[0])
        if relayed is None or addressee is None or not addressee.here:
            # It is asked anew when it comes again, and so is this one.
            return []
        return [Send(addressee.party, wire.SweepDown(pair_proofs=relayed[1]))]

    def verdicts(self, member: Member, frame: wire.PairVerdicts) -> None:
        """Take a participant's verdicts on a peer's proofs.

        Raises:
            ProtocolError: On pairs whose proofs it has not got.
        """
        if self._board is None:
            self._require_left(frame.peer)
            return
        bad = self._board.take_verdicts(member.index, frame)
        if bad:
            _log.warning("%s says that %d pair proofs of %s do not fit", member.party, bad, frame.peer)

    def owes(self, member: Member) -> bool:
        """Tell whether something is expected of a participant."""
        return self._board is not None and not self._live_asked and self._board.owes(member.index)

    def forget(self, index: int) -> None:
        """Take a dropped participant out."""
        if self._board is not None:
            self._board.cancel(index)

    def close(self) -> None:
        """Let go of the block."""
        self._board = None

    def _listed(self, frames: Sequence[tuple[int, wire.PairList]]) -> list[Effect]:
        """Tell those that are here of their pairs; who comes again is told then."""
        here = {member.index: member.party for member in self._members.all() if member.here}
        return [Send(here[own], wire.SweepDown(pairs=frame)) for own, frame in frames if own in here]

    def _require_left(self, peer: str) -> None:
        """Between blocks only what was on its way to a participant that was dropped may still come."""
        if peer not in self._members.dropped:
            raise ProtocolError("a pair frame where no pairs were listed")
