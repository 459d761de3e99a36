"""The windows of a sweep at shards, as the gateway's hub sees it: who takes what, and what came of it (3.7)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from concordat.wire.v1 import sweep_pb2 as wire
from gateway.sweep.declaration import Progress
from gateway.sweep.effects import GiveParts, Part, Send, Share

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from concordat.protocol.sweep_frames import Cut
    from gateway.sweep.checkpoint import MemberState, SweepState
    from gateway.sweep.members import Member, Members


def shares_of(addresses: Sequence[str], cut: Cut) -> tuple[Share, ...]:
    """Return who takes which windows; nobody where there are fewer windows than shards."""
    if cut.windows < len(addresses):
        return ()
    borders = [cut.windows * at // len(addresses) for at in range(len(addresses) + 1)] if addresses else []
    return tuple(
        Share(address, Part(first, end))
        for address, first, end in zip(addresses, borders[:-1], borders[1:], strict=True)
    )


class Sharing:
    """State of the parts of a sweep that were given away."""

    def __init__(self, members: Members, namespaces: Collection[str]) -> None:
        self.shares: tuple[Share, ...] = ()
        self.begun = False
        self.done = 0
        """Windows that are done, at all shards."""
        self.owing: frozenset[str] = frozenset()
        """Participants that a shard waits for."""
        self.away: tuple[int, ...] = ()
        """Numbers of the shards that do not answer."""
        self._members = members
        self._namespaces = tuple(sorted(namespaces))

    @property
    def addresses(self) -> tuple[str, ...]:
        """Return where the parts are."""
        return tuple(share.address for share in self.shares)

    def give(self, state: SweepState) -> GiveParts:
        """Return the parts of a sweep that has no window yet, as its shards begin with them."""
        common = {"participants": self._members.participants, "namespaces": self._namespaces, "shards": ()}
        orders = tuple(
            state.model_copy(update={"first": one.part.first, "window": one.part.first, "end": one.part.end, **common})
            for one in self.shares
        )
        return GiveParts(self.shares, orders)

    def plan_for(self, member: Member, cut: Cut) -> Send:
        """Return the plan for a participant: where to stream what."""
        shards = [wire.SweepShard(address=one.address, first=one.part.first, end=one.part.end) for one in self.shares]
        plan = wire.SweepPlan(window_bits=cut.window_bits, prefix_bits=cut.prefix_bits, shards=shards)
        return Send(member.party, wire.SweepDown(plan=plan))

    def plans(self, cut: Cut) -> list[Send]:
        """Return the plan for all that are here, once all shards have begun."""
        return [self.plan_for(member, cut) for member in self._members.all() if member.here] if self.begun else []

    def take(self, state: SweepState, cut: Cut) -> dict[str, str]:
        """Take what the parts were joined to; return who is dropped for it, and the code."""
        joined = {one.party: one for one in state.members}
        dropped = {}
        for member in self._members.all():
            one = joined.get(member.party)
            if one is None or not self._restored(member, one, cut):
                dropped[member.party] = state.dropped.get(member.party, "protocol_violation")
        return dropped

    @staticmethod
    def _restored(member: Member, state: MemberState, cut: Cut) -> bool:
        declaration, progress = Progress.restored(state, cut, 0, cut.windows)
        if not declaration.same(member.declaration):
            return False
        member.progress = progress
        return True
