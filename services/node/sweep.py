"""A participant's side of a sweep (docs/protocol.md 3.6 (3) to (5)): frames in, frames and verified pairs out.

    rows = SweepColumns.of(sweep_set, operation_key, sweep_id)
    party = SweepParty(own, sweep_id, operation=..., participants=..., rows=rows, salt=...)
    send(party.join())
    step = party.receive(frame)      # store step.verified durably, then send step.frames

`run_sweep` does that over a stream. What the hub may ask is held to what was sent: positions of windows that were sent,
pairs of rows that there are. A pair that this node verified is on disk before the verdict leaves, so that a later
notice of its edge finds it there (3.4 (4)).
"""

from __future__ import annotations

import asyncio
import logging
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

import grpc.aio
import numpy as np

from concordat.errors import ProtocolError, RefusedError, UnavailableError
from concordat.protocol.macs import (
    ADDRESSEE_MAY_BE_TOLD,
    MAC_BYTES,
    SENDER_IS_TOLD,
    equal,
    pair_mac,
)
from concordat.protocol.sweep_frames import PIECE, Cut, Encoder, packed
from concordat.rpc.client import translate
from concordat.tokens import REFERENCE_BYTES, SECRET_BYTES, column
from concordat.wire.v1 import sweep_pb2 as wire
from concordat.wire.v1.sweep_pb2_grpc import SweepServiceStub
from services.node.store.rows import PairRow

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Collection, Coroutine, Sequence

    import numpy.typing as npt

    from services.node.sweep_rows import SweepColumns

BOTH_TOLD: Final = ADDRESSEE_MAY_BE_TOLD | SENDER_IS_TOLD
# A hub is silent while others prepare their sets (15 minutes) or prove their pairs; the channel finds dead lines.
IDLE_S: Final = 1200.0
# A hub lists the pairs of some thousand rows at a time; those with who was dropped since are never judged.
MOST_PAIRS: Final = 1 << 19
# As long as a gateway waits for whoever owes it something (gateway.sweep.effects).
AWAY_S: Final = 30.0
FIRST_PAUSE_S: Final = 0.2
LONGEST_PAUSE_S: Final = 2.0
PREPARING_EVERY_S: Final = 2.0
LEAVE_S: Final = 5.0

_log: Final = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Step:
    """What follows from a frame: first store, then send; `done` ends the sweep.

    What `proves` names are own references whose values the frames prove to a peer; they may leave only while their
    policies still let all participants be told.
    """

    verified: tuple[PairRow, ...] = ()
    proves: tuple[bytes, ...] = ()
    frames: tuple[wire.SweepUp, ...] = field(default=(), repr=False)
    done: wire.SweepDone | None = None


@dataclass(frozen=True, slots=True)
class _Pair:
    peer: str
    secret: bytes = field(repr=False)
    references: tuple[bytes, bytes]


class SweepParty:
    """State of one participant in one sweep."""

    def __init__(
        self,
        own: str,
        sweep_id: bytes,
        *,
        operation: str,
        participants: Collection[str],
        rows: SweepColumns,
        salt: bytes,
    ) -> None:
        """Begin with the set as it is now.

        Args:
            own: SPIFFE id of this node.
            sweep_id: Of the sweep.
            operation: Its operation.
            participants: Of the charter.
            rows: The set.
            salt: Of the set's commitment; the same in each sweep of a charter.
        """
        self._own = own
        self._sweep_id = sweep_id
        self._operation = operation
        self._peers = frozenset(participants) - {own}
        self._rows = rows
        self._salt = salt
        self._join: wire.SweepJoin | None = None
        self._cut: Cut | None = None
        self._encoder = Encoder(Cut.for_sizes(()))
        self._borders: npt.NDArray[np.int64] = np.zeros(1, np.int64)
        self._sent = 0
        self._wanted = -1
        self._pairs: dict[int, _Pair] = {}

    def join(self) -> wire.SweepUp:
        """Return the first frame of a stream: the commitment to the set, the same in each stream of a sweep."""
        self._cut, self._wanted = None, -1
        # The gateway lists anew what was under way.
        self._pairs.clear()
        self.commit()
        assert self._join is not None
        return wire.SweepUp(join=self._join)

    def commit(self) -> None:
        """Compute the commitment to the set; takes a second for ten million rows."""
        if self._join is not None:
            return
        counts = self._rows.class_counts()
        self._join = wire.SweepJoin(
            operation=self._operation,
            sweep_id=self._sweep_id,
            size=len(self._rows),
            classes=bytes([byte for byte, _ in counts]),
            counts=b"".join(number.to_bytes(8, "little") for _, number in counts),
            set_root=self._rows.root(),
            salt=self._salt,
        )

    def receive(self, frame: wire.SweepDown) -> Step:
        """Take a frame of the hub.

        Raises:
            ProtocolError: The hub asks what it may not; the sweep ends.
        """
        match frame.WhichOneof("frame"):
            case "plan":
                return self._plan(frame.plan)
            case "want":
                return self._want(frame.want)
            case "pairs":
                return self._prove(frame.pairs)
            case "pair_proofs":
                return self._verify(frame.pair_proofs)
            case "done":
                return Step(done=frame.done)
            case _:
                raise ProtocolError("the gateway sent an empty frame")

    def _plan(self, plan: wire.SweepPlan) -> Step:
        if self._cut is not None:
            raise ProtocolError("the gateway planned twice")
        cut = Cut(plan.prefix_bits, plan.window_bits)
        if plan.first > cut.windows:
            raise ProtocolError("the gateway goes on at a window that there is not")
        self._cut, self._borders, self._sent = cut, cut.borders(self._rows.high), plan.first
        self._encoder = Encoder(cut)
        return Step(frames=tuple(self._windows(plan.below)))

    def _windows(self, below: int) -> list[wire.SweepUp]:
        assert self._cut is not None
        frames = []
        while self._sent < min(below, self._cut.windows):
            first, last = (int(at) for at in self._borders[self._sent : self._sent + 2])
            deltas = packed(self._encoder.encode(self._rows.high[first:last], self._sent))
            frames.append(wire.SweepUp(window=wire.SweepWindow(window=self._sent, deltas=deltas)))
            self._sent += 1
        return frames

    def _want(self, want: wire.SweepWant) -> Step:
        if self._cut is None or not self._wanted < want.window < self._sent or len(want.positions) % 4:
            raise ProtocolError("the gateway wants rows of a window that was not sent, or wants twice")
        first, last = (int(at) for at in self._borders[want.window : want.window + 2])
        positions = np.frombuffer(want.positions, "<u4").astype(np.int64)
        if (positions[1:] <= positions[:-1]).any() or (len(positions) and positions[-1] >= last - first):
            raise ProtocolError("the gateway wants rows that do not exist, or out of order")
        self._wanted = want.window
        rows = positions + first
        answer = wire.SweepCandidates(
            window=want.window,
            rows=self._rows.answer.view(PIECE)[rows].tobytes(),
        )
        frames = self._windows(want.below)
        if frames:
            frames[0].window.candidates.CopyFrom(answer)
        else:
            frames = [wire.SweepUp(candidates=answer)]
        return Step(frames=tuple(frames))

    def _prove(self, listed: wire.PairList) -> Step:
        """(5): prove to the peer that this node knows the values of the pairs."""
        if listed.peer not in self._peers:
            raise ProtocolError("the gateway names a peer that is not in the charter")
        numbers = _numbers(listed.pairs)
        own, other = column(listed.own_references, REFERENCE_BYTES), column(listed.peer_references, REFERENCE_BYTES)
        rows = np.frombuffer(listed.own_rows, "<u8") if len(listed.own_rows) % 8 == 0 else np.empty(0, np.uint64)
        if not len(numbers) == len(own) == len(other) == len(rows) or not set(numbers).isdisjoint(self._pairs):
            raise ProtocolError("the gateway lists a pair twice, or columns that differ in length")
        if len(rows) and int(rows.max()) >= len(self._rows):
            raise ProtocolError("the gateway lists a pair of a row that there is not")
        if len(self._pairs) + len(numbers) > MOST_PAIRS:
            raise ProtocolError("the gateway lists pairs without end")
        places = rows.astype(np.int64)
        if self._rows.answer["reference"][places].tobytes() != listed.own_references:
            raise ProtocolError("the gateway lists a pair of a row under another reference")
        secrets = column(self._rows.secret[places].tobytes(), SECRET_BYTES)
        macs = []
        for number, secret, references in zip(numbers, secrets, zip(own, other, strict=True), strict=True):
            self._pairs[number] = _Pair(listed.peer, secret, references)
            macs.append(pair_mac(secret, self._sweep_id, (self._own, listed.peer), references, BOTH_TOLD))
        proofs = wire.PairProofs(
            peer=listed.peer, pairs=listed.pairs, macs=b"".join(macs), decisions=bytes([BOTH_TOLD]) * len(numbers)
        )
        return Step(proves=tuple(own), frames=(wire.SweepUp(pair_proofs=proofs),))

    def _verify(self, proofs: wire.PairProofs) -> Step:
        """(5): judge a peer's proofs; what is good is stored before the verdict leaves."""
        numbers, macs = _numbers(proofs.pairs), column(proofs.macs, MAC_BYTES)
        if not len(numbers) == len(macs) == len(proofs.decisions):
            raise ProtocolError("the gateway relays proofs whose columns differ in length")
        verified, verdicts = [], bytearray()
        for number, mac, decision in zip(numbers, macs, proofs.decisions, strict=True):
            # A pair that is judged is forgotten, so that nothing grows with the number of matches.
            pair = self._pairs.pop(number, None)
            if pair is None or pair.peer != proofs.peer:
                raise ProtocolError("the gateway relays a proof of a pair that it did not list, or twice")
            own_reference, peer_reference = pair.references
            expected = pair_mac(
                pair.secret, self._sweep_id, (pair.peer, self._own), (peer_reference, own_reference), decision
            )
            good = equal(expected, mac)
            verdicts.append(good)
            if good:
                verified.append(PairRow(own_reference, pair.peer, peer_reference, self._sweep_id))
        verdict = wire.PairVerdicts(peer=proofs.peer, pairs=proofs.pairs, verdicts=bytes(verdicts))
        return Step(verified=tuple(verified), frames=(wire.SweepUp(pair_verdicts=verdict),))


@dataclass(slots=True)
class Preparation:
    """A participant whose set is still to be made.

    Attributes:
        operation: Operation id.
        sweep_id: Of the sweep.
        build: Makes the set and returns the participant; it may say how many rows of how many are ready.
    """

    operation: str
    sweep_id: bytes
    build: Callable[[Callable[[int, int], None]], Coroutine[None, None, SweepParty]]
    _ready: tuple[int, int] = (0, 0)
    _building: asyncio.Task[SweepParty] | None = None

    async def finish(self, say: Callable[[wire.SweepUp], Awaitable[None]]) -> SweepParty:
        """Build, and say every now and then how far it is; on another stream, go on with what was begun."""
        building = self._building = self._building or asyncio.create_task(self.build(self._note))
        while True:
            done, total = self._ready
            preparing = wire.SweepPreparing(operation=self.operation, sweep_id=self.sweep_id, done=done, total=total)
            await say(wire.SweepUp(preparing=preparing))
            await asyncio.wait({building}, timeout=PREPARING_EVERY_S)
            if building.done():
                return building.result()

    def close(self) -> None:
        """Give up what is still being built."""
        if self._building is not None:
            self._building.cancel()

    def _note(self, done: int, total: int) -> None:
        self._ready = done, total


async def run_sweep(
    channel: grpc.aio.Channel,
    party: SweepParty | Preparation,
    *,
    store: Callable[[Sequence[PairRow]], None],
    may_prove: Callable[[Sequence[bytes]], bool],
    gateway: str = "gateway",
    idle_s: float = IDLE_S,
    away_s: float = AWAY_S,
) -> wire.SweepDone:
    """Take part in a sweep until the hub ends it; where the stream breaks, join again with the same set.

    Args:
        channel: To the gateway that announced the sweep.
        party: This node's part, not yet joined, or one that is still to be prepared.
        store: Writes verified pairs durably before it returns.
        may_prove: Tells whether own references are still visible to all participants.
        gateway: Name of the gateway for messages.
        idle_s: Longest silence of the hub.
        away_s: How long to try to join again, from the last frame of the hub on.

    Raises:
        ProtocolError: The hub broke the protocol.
        RefusedError: A policy was narrowed since the set was read; narrowing holds for every later answer. With code
            `operation_unknown`, the sweep runs no more.
        UnavailableError: The gateway was not reached in time, or fell silent; the opener may start the sweep again.
    """
    line = _Line(channel, gateway, idle_s, store, may_prove)
    clock, pause_s = asyncio.get_running_loop().time, FIRST_PAUSE_S
    line.heard_at = clock()
    try:
        while True:
            before = line.heard_at
            try:
                return await line.run(party)
            except UnavailableError as error:
                if error.code != "unavailable" or clock() - line.heard_at >= away_s:
                    raise
                _log.warning("the stream of a sweep broke and is dialled again: %s", error.message)
            pause_s = FIRST_PAUSE_S if line.heard_at > before else min(2 * pause_s, LONGEST_PAUSE_S)
            await asyncio.sleep(pause_s)
    finally:
        if isinstance(party, Preparation):
            party.close()


@dataclass(slots=True)
class _Line:
    """One stream of a sweep after the other."""

    channel: grpc.aio.Channel
    gateway: str
    idle_s: float
    store: Callable[[Sequence[PairRow]], None]
    may_prove: Callable[[Sequence[bytes]], bool]
    heard_at: float = 0.0

    async def run(self, party: SweepParty | Preparation) -> wire.SweepDone:
        stream = SweepServiceStub(self.channel).Sweep()
        try:
            if isinstance(party, Preparation):
                party = await party.finish(stream.write)
            await stream.write(party.join())
            while True:
                async with asyncio.timeout(self.idle_s):
                    frame = await stream.read()
                if not isinstance(frame, wire.SweepDown):
                    raise UnavailableError(f"{self.gateway} ended the sweep without a word")
                self.heard_at = asyncio.get_running_loop().time()
                step = party.receive(frame)
                await self._follow(step, stream)
                if step.done is not None:
                    return step.done
        except grpc.aio.AioRpcError as error:
            raise translate(error, self.gateway) from error
        except asyncio.InvalidStateError as error:
            # What grpc says where a frame is to go into a stream that has ended.
            raise UnavailableError(f"{self.gateway} ended the stream while this node had more to say") from error
        except TimeoutError as error:
            raise UnavailableError(f"{self.gateway} fell silent in the sweep", code="deadline") from error
        finally:
            stream.cancel()

    async def _follow(self, step: Step, stream: grpc.aio.StreamStreamCall[wire.SweepUp, wire.SweepDown]) -> None:
        if step.verified:
            await asyncio.to_thread(self.store, step.verified)
        if step.proves and not await asyncio.to_thread(self.may_prove, step.proves):
            await self._leave(stream)
            raise RefusedError("a record of the sweep's set was narrowed while the sweep ran")
        for up in step.frames:
            await stream.write(up)

    async def _leave(self, stream: grpc.aio.StreamStreamCall[wire.SweepUp, wire.SweepDown]) -> None:
        """Say so, and wait until it is heard: a line that only breaks is waited for."""
        await stream.write(wire.SweepUp(leaving=wire.SweepLeaving()))
        with suppress(TimeoutError):
            async with asyncio.timeout(LEAVE_S):
                while isinstance(frame := await stream.read(), wire.SweepDown) and not frame.HasField("done"):
                    pass


def _numbers(packed: bytes) -> list[int]:
    if len(packed) % 8:
        raise ProtocolError("a column of pair numbers is cut short")
    numbers = [int(number) for number in np.frombuffer(packed, "<u8")]
    if len(set(numbers)) != len(numbers):
        raise ProtocolError("a column of pair numbers names one twice")
    return numbers
