"""What a relay sees of the sweep streams of one operation, and a hold on those of one party.

    hold = SweepHold("drill")
    with Tapping(gate=hold.gate) as tapping:
        hold.hold("DE", 30)         # nothing of DE's goes on from its window 30 on
        hold.wait_held()            # so the hub stands before that window
        hold.release()
        assert hold.plans("NL") == [0]

What is held goes on when it is released, even if its sender was killed meanwhile: it was on its way.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from google.protobuf.message import DecodeError

from concordat.wire.v1 import sweep_pb2 as wire

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.e2e.tap import Conversation, Frames

WAIT_S: Final = 60
_POLL_S: Final = 0.02


@dataclass
class Seen:
    """What one stream of a party carried."""

    party: str
    plan: wire.SweepPlan | None = None
    windows: list[int] = field(default_factory=list)
    """Sent by the party."""


class SweepHold:
    """Looks at each chunk before the relay carries it on."""

    def __init__(self, operation: str) -> None:
        """Hold nothing; of other operations' sweeps nothing is seen."""
        self._operation = operation
        self._news = threading.Condition()
        self._read: Counter[tuple[int, int]] = Counter()
        """Messages that were looked at, of each stream and direction."""
        self._seen: dict[tuple[int, int], Seen] = {}
        self._held: tuple[str, int] | None = None
        self._holds = False

    def hold(self, party: str, window: int) -> None:
        """Let nothing of a party's through any more, once it has sent this window or a later one."""
        with self._news:
            self._held, self._holds = (party, window), False

    def release(self) -> None:
        """Carry on whatever was held."""
        with self._news:
            self._held, self._holds = None, False

    def wait_held(self) -> None:
        """Wait until the hold has something in it."""
        self._wait("the hold has something in it", lambda: self._holds)

    def wait_plans(self, party: str, number: int) -> None:
        """Wait until the hub has said so often where a party goes on."""
        self._wait(f"{party} has {number} plans", lambda: len(self._plans(party)) >= number)

    def plans(self, party: str) -> list[int]:
        """Return where the hub said that a party goes on, once for each of its streams."""
        with self._news:
            return self._plans(party)

    def sent(self, party: str) -> list[list[int]]:
        """Return the windows that a party sent, for each of its streams."""
        with self._news:
            return [list(one.windows) for one in self._of(party)]

    async def gate(self, said: Conversation, frames: Frames) -> None:
        """Look at what came, and come back when it may go on."""
        up = frames is said.up
        reaches = False
        with self._news:
            for stream in list(frames.data):
                for message in self._new_messages(frames, stream):
                    reaches |= self._take(said, stream, message, up=up)
            self._news.notify_all()
        if not reaches:
            return
        with self._news:
            self._holds = True
            self._news.notify_all()
        while self._holds:  # noqa: ASYNC110 -- another thread releases it
            await asyncio.sleep(_POLL_S)

    def _new_messages(self, frames: Frames, stream: int) -> Iterator[bytes]:
        messages = list(frames.messages_of(stream))
        seen, self._read[id(frames), stream] = self._read[id(frames), stream], len(messages)
        yield from messages[seen:]

    def _take(self, said: Conversation, stream: int, message: bytes, *, up: bool) -> bool:
        """Note one message; tell whether it reaches the hold."""
        key = (id(said), stream)
        party = said.client.name
        try:
            if up:
                return self._took_up(key, party, wire.SweepUp.FromString(message))
            if key in self._seen:
                self._took_down(self._seen[key], wire.SweepDown.FromString(message))
        except DecodeError:
            # Another service's stream.
            assert key not in self._seen
        return False

    def _took_up(self, key: tuple[int, int], party: str, frame: wire.SweepUp) -> bool:
        first = frame.join if frame.HasField("join") else frame.preparing
        if first.operation == self._operation and len(first.sweep_id) > 0:
            self._seen.setdefault(key, Seen(party))
        seen = self._seen.get(key)
        if seen is None or not frame.HasField("window"):
            return False
        seen.windows.append(frame.window.window)
        return self._held is not None and self._held[0] == party and frame.window.window >= self._held[1]

    @staticmethod
    def _took_down(seen: Seen, frame: wire.SweepDown) -> None:
        if frame.HasField("plan"):
            seen.plan = frame.plan

    def _of(self, party: str) -> list[Seen]:
        return [one for one in self._seen.values() if one.party == party]

    def _plans(self, party: str) -> list[int]:
        return [one.plan.first for one in self._of(party) if one.plan is not None]

    def _wait(self, what: str, condition: Callable[[], bool]) -> None:
        deadline = time.monotonic() + WAIT_S
        with self._news:
            while not condition():
                assert self._news.wait(deadline - time.monotonic()), f"not within {WAIT_S} s: {what}"
