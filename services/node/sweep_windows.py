"""The windows of a set on their way to one hub: the gateway, or a shard of it that takes a part (3.6 (4), 3.7).

What a hub may ask is held to what was sent: positions of windows that were sent, each window once.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from concordat.errors import ProtocolError
from concordat.identity.manifest import is_address
from concordat.protocol.sweep_frames import MAX_SHARDS, PIECE, Cut, Encoder, packed
from concordat.wire.v1 import sweep_pb2 as wire

if TYPE_CHECKING:
    import numpy.typing as npt

    from services.node.sweep_rows import SweepColumns


class WindowSender:
    """State of the windows of one stream."""

    def __init__(self, rows: SweepColumns, plan: wire.SweepPlan, *, first: int = 0, end: int | None = None) -> None:
        """Begin where a plan says.

        Args:
            rows: The set.
            plan: Of the hub.
            first: The first window that this hub may take.
            end: The window behind the last; by default all are its.

        Raises:
            ProtocolError: The plan is none, or goes on at a window that the hub has not.
        """
        self._rows = rows
        self.cut = Cut(plan.prefix_bits, plan.window_bits)
        self._end = self.cut.windows if end is None else end
        if not first <= plan.first <= self._end:
            raise ProtocolError("the gateway goes on at a window that there is not")
        self._borders: npt.NDArray[np.int64] = self.cut.borders(rows.high)
        self._encoder = Encoder(self.cut)
        self._first = self._sent = plan.first
        self._wanted = -1

    def send(self, below: int) -> list[wire.SweepUp]:
        """Return the windows below a number that were not sent yet."""
        frames = []
        while self._sent < min(below, self._end):
            first, last = (int(at) for at in self._borders[self._sent : self._sent + 2])
            deltas = packed(self._encoder.encode(self._rows.high[first:last], self._sent))
            frames.append(wire.SweepUp(window=wire.SweepWindow(window=self._sent, deltas=deltas)))
            self._sent += 1
        return frames

    def answer(self, want: wire.SweepWant) -> list[wire.SweepUp]:
        """Return the rows that are wanted, with the windows for which the want gives credit.

        Raises:
            ProtocolError: The hub asks what it may not.
        """
        if not self._wanted < want.window < self._sent or len(want.positions) % 4:
            raise ProtocolError("the gateway wants rows of a window that was not sent, or wants twice")
        first, last = (int(at) for at in self._borders[want.window : want.window + 2])
        positions = np.frombuffer(want.positions, "<u4").astype(np.int64)
        if (positions[1:] <= positions[:-1]).any() or (len(positions) and positions[-1] >= last - first):
            raise ProtocolError("the gateway wants rows that do not exist, or out of order")
        self._wanted = want.window
        rows = self._rows.answer.view(PIECE)[positions + first].tobytes()
        answer = wire.SweepCandidates(window=want.window, rows=rows)
        frames = self.send(want.below)
        if not frames:
            return [wire.SweepUp(candidates=answer)]
        frames[0].window.candidates.CopyFrom(answer)
        return frames


def accepted_shards(plan: wire.SweepPlan) -> tuple[wire.SweepShard, ...]:
    """Return the shards of a plan, in the order of their windows.

    Raises:
        ProtocolError: They are too many, leave windows out or have one twice, or an address is none.
    """
    cut, shards = Cut(plan.prefix_bits, plan.window_bits), tuple(plan.shards)
    borders = [0, *(one.end for one in shards)]
    if len(shards) > MAX_SHARDS or [one.first for one in shards] != borders[:-1] or borders[-1] != cut.windows:
        raise ProtocolError("the gateway's shards do not share the windows of the sweep")
    if any(one.first >= one.end or not is_address(one.address) for one in shards):
        raise ProtocolError("the gateway names a shard without windows or address")
    return shards


class ShardParty:
    """A participant's side towards one shard: the windows of its part, and nothing of pairs."""

    def __init__(self, join: wire.SweepUp, rows: SweepColumns, plan: wire.SweepPlan, shard: wire.SweepShard) -> None:
        """Begin.

        Args:
            join: The first frame of each stream of the sweep.
            rows: The set.
            plan: Of the gateway, which names the shard.
            shard: The shard.
        """
        self.address = shard.address
        self._join = join
        self._rows = rows
        self._cut = Cut(plan.prefix_bits, plan.window_bits)
        self._shard = shard
        self._windows: WindowSender | None = None

    @property
    def part(self) -> tuple[Cut, str, int, int]:
        """Return what tells it from others of the same sweep."""
        return self._cut, self.address, self._shard.first, self._shard.end

    def join(self) -> wire.SweepUp:
        """Return the first frame of a stream."""
        self._windows = None
        return self._join

    def receive(self, frame: wire.SweepDown) -> list[wire.SweepUp]:
        """Take a frame of the shard that is not its last; return what is to be sent.

        Raises:
            ProtocolError: The shard asks what it may not, or what is the gateway's to ask.
        """
        kind = frame.WhichOneof("frame")
        if kind == "plan" and self._windows is None and not frame.plan.shards:
            windows = WindowSender(self._rows, frame.plan, first=self._shard.first, end=self._shard.end)
            if windows.cut != self._cut:
                raise ProtocolError("a shard plans otherwise than its gateway")
            self._windows = windows
            return windows.send(frame.plan.below)
        if kind == "want" and self._windows is not None:
            return self._windows.answer(frame.want)
        raise ProtocolError("a shard sent what has no place there")
