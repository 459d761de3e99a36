"""What the exchange wants done: the only way in which the core touches the world.

The service carries effects out in order. Writes and reads come back as `Exchange.committed`, `Exchange.failed`,
`Exchange.sequences_read` and `Exchange.notices_read`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from concordat.wire.v1 import session_pb2 as wire

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gateway.ledger import LedgerWrite
    from gateway.query import QueryOutcome


@dataclass(frozen=True, slots=True)
class Send:
    """Send a frame to a session; one with a tick holds tokens and is dropped once the tick is forgotten."""

    session: int
    frame: wire.HubFrame = field(repr=False)
    tick: int = 0


@dataclass(frozen=True, slots=True)
class Close:
    """End a session with a code of the catalogue; an empty code is a good end."""

    session: int
    code: str


@dataclass(frozen=True, slots=True)
class Write:
    """Make these durable, together with whatever else waits."""

    number: int
    writes: tuple[LedgerWrite, ...]
    urgent: bool = True
    """False where nobody waits for it: it may go with the next write that somebody does wait for."""


@dataclass(frozen=True, slots=True)
class ReadSequences:
    """Read all published sequences for the barriers of a tick."""

    tick: int


@dataclass(frozen=True, slots=True)
class ReadNotices:
    """Read a party's sequence and its next notices."""

    session: int
    party: str
    above: int
    limit: int


@dataclass(frozen=True, slots=True)
class Forget:
    """Drop every frame of this tick that waits to be sent (I2)."""

    tick: int


@dataclass(frozen=True, slots=True)
class Note:
    """Write a line to the hub's log; names parties and codes, never content."""

    text: str
    party: str
    warning: bool = True


@dataclass(frozen=True, slots=True)
class Answered:
    """Hand a partner's query its outcome; the certificate's window is over."""

    query: int
    outcome: QueryOutcome = field(repr=False)


Effect = Send | Close | Write | ReadSequences | ReadNotices | Forget | Note | Answered


class Settled(Protocol):
    """What is to happen when a write has come back."""

    def __call__(self, *, durable: bool) -> None:
        """Hear whether the write is durable."""


class Outbox:
    """Effects in order, and what is to happen when a write has come back."""

    def __init__(self) -> None:
        self._effects: list[Effect] = []
        self._waiting: dict[int, Settled] = {}
        self._next = 1

    def put(self, effect: Effect) -> None:
        """Append an effect."""
        self._effects.append(effect)

    def send(self, session: int, *, tick: int = 0, **content: object) -> None:
        """Append a frame, given as the one field of `HubFrame` that it sets."""
        self.put(Send(session, wire.HubFrame(**content), tick))  # type: ignore[arg-type]  # one of the oneof's fields

    def write(self, writes: Sequence[LedgerWrite], then: Settled, *, urgent: bool = True) -> None:
        """Append a write; `then` hears whether it is durable."""
        self.put(Write(self._next, tuple(writes), urgent))
        self._waiting[self._next] = then
        self._next += 1

    def settle(self, number: int, *, durable: bool) -> None:
        """Hand a write's result to the one who waits for it."""
        self._waiting.pop(number)(durable=durable)

    def drain(self) -> list[Effect]:
        """Return and forget the effects so far."""
        effects, self._effects = self._effects, []
        return effects
