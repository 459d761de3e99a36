"""A sweep in parts: ranges of windows that are streamed to hubs of their own, and joined to what one hub would have.

    hub = SweepHub(..., part=Part(first, end), folder=folder)       # in any process
    hub.take_up(order)                                              # gateway.sweep.sharing; ends with HandOver
    state = join_parts(states, journals, participants, into=journal)    # where all have ended

What a part leaves for that is its state, as handed over, and its journal; no token is in either (I2).
"""

from __future__ import annotations

import hmac
from typing import TYPE_CHECKING

import numpy as np

from concordat.errors import ConfigError
from concordat.protocol.set_root import ROOT_BYTES, join_roots

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gateway.sweep.checkpoint import MemberState, SweepState
    from gateway.sweep.journal import Journal

_DECLARED = {"party", "size", "counts", "set_root", "salt"}


def join_parts(
    states: Sequence[SweepState], journals: Sequence[Journal], participants: Sequence[str], *, into: Journal
) -> SweepState:
    """Join the parts of a sweep, in the order of their windows; whoever was dropped from one is dropped from all.

    Args:
        states: As the parts' hubs handed them over.
        journals: Of the parts, beside them.
        participants: Of the charter, in order.
        into: Takes all rows, numbered through each participant's whole set.

    Raises:
        ConfigError: The parts do not make up one sweep.
    """
    _require_whole(states)
    dropped = _dropped(states)
    columns = [{one.party: one for one in state.members} for state in states]
    members = []
    for party in columns[0]:
        if party in dropped:
            continue
        one = _joined([column[party] for column in columns if party in column])
        if one is None or any(party not in column for column in columns):
            dropped[party] = "protocol_violation"
        else:
            members.append(one)
    before = np.zeros(len(participants), np.uint64)
    for column, journal in zip(columns, journals, strict=True):
        for block in journal.blocks():
            rows = block.copy()
            rows["row"] += before[rows["party"]]
            into.append(rows)
        for party, member in column.items():
            before[participants.index(party)] += np.uint64(member.rows)
    return states[0].model_copy(
        update={
            "window": states[-1].window,
            "journal_rows": into.rows,
            "block": 0,
            "members": tuple(members),
            "dropped": dropped,
        }
    )


def _dropped(states: Sequence[SweepState]) -> dict[str, str]:
    dropped: dict[str, str] = {}
    for state in states:
        for party, code in state.dropped.items():
            # Who is dropped from one part leaves the others, which see no more than that.
            if dropped.get(party, "unavailable") == "unavailable":
                dropped[party] = code
    return dropped


def _require_whole(states: Sequence[SweepState]) -> None:
    same = {(one.sweep_id, one.operation, one.prefix_bits, one.window_bits) for one in states}
    if len(same) != 1:
        raise ConfigError("parts of different sweeps cannot be joined")
    borders = [0, *(one.window for one in states)]
    if [one.first for one in states] != borders[:-1] or borders[-1] != 1 << states[0].window_bits:
        raise ConfigError("the parts of a sweep leave windows out, or have one twice")


def _joined(parts: Sequence[MemberState]) -> MemberState | None:
    """Return what a participant's parts come to; None where they are not the set that was declared."""
    first = parts[0]
    if any(one.model_dump(include=_DECLARED) != first.model_dump(include=_DECLARED) for one in parts):
        return None
    roots = b"".join(one.roots for one in parts)
    size = sum(one.rows for one in parts)
    subtrees = [roots[at : at + ROOT_BYTES] for at in range(0, len(roots), ROOT_BYTES)]
    left = {
        byte: number - sum(one.counts[byte] - one.left.get(byte, 0) for one in parts)
        for byte, number in first.counts.items()
    }
    fits = size == first.size and hmac.compare_digest(join_roots(subtrees), first.set_root)
    if not fits or min(left.values(), default=0) < 0:
        return None
    return first.model_copy(update={"roots": roots, "rows": size, "left": left})
