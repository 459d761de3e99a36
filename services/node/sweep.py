"""A participant's side of a sweep (docs/protocol.md 3.6 (3) to (5)): frames in, frames and verified pairs out.

    rows = SweepRows.of(sweep_set, operation_key)
    party = SweepParty(own, sweep_id, operation=..., participants=..., rows=rows)
    send(party.join())
    step = party.receive(frame)      # store step.verified durably, then send step.frames

`run_sweep` does that over a stream. What the hub may ask is held to what was sent: positions of windows that were sent,
pairs of rows that were candidates. A pair that this node verified is on disk before the verdict leaves, so that a later
notice of its edge finds it there (3.4 (4)).
"""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import dataclass, field
from itertools import pairwise
from typing import TYPE_CHECKING, Final

import grpc.aio
import numpy as np

from concordat.errors import ProtocolError, RefusedError, UnavailableError
from concordat.protocol.macs import (
    ADDRESSEE_MAY_BE_TOLD,
    MAC_BYTES,
    SENDER_IS_TOLD,
    confirm_macs,
    equal,
    pair_mac,
)
from concordat.protocol.set_root import set_root
from concordat.rpc.client import translate
from concordat.tokens import REFERENCE_BYTES, SECRET_BYTES, TOKEN_BYTES, column
from concordat.wire.v1 import sweep_pb2 as wire
from concordat.wire.v1.sweep_pb2_grpc import SweepServiceStub
from services.node.store.rows import PairRow

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence

    import numpy.typing as npt

    from concordat.tokens import MaskKey
    from services.node.store.sweep_set import SweepSet

MAX_WINDOW_BITS: Final = 16
BOTH_TOLD: Final = ADDRESSEE_MAY_BE_TOLD | SENDER_IS_TOLD
IDLE_S: Final = 120.0
_WORD_BITS: Final = 64


@dataclass(frozen=True, slots=True)
class SweepRows:
    """The set of a sweep as packed columns, ascending by token: what is streamed, proven and declared."""

    tokens: bytes = field(repr=False)
    secrets: bytes = field(repr=False)
    references: bytes = field(repr=False)
    classes: bytes = field(repr=False)

    def __post_init__(self) -> None:
        size = len(self.classes)
        widths = ((self.tokens, TOKEN_BYTES), (self.secrets, SECRET_BYTES), (self.references, REFERENCE_BYTES))
        if any(len(packed) != size * width for packed, width in widths):
            raise ProtocolError("the columns of a sweep set differ in length")

    def __len__(self) -> int:
        return len(self.classes)

    @classmethod
    def of(cls, held: SweepSet, key: MaskKey) -> SweepRows:
        """Return the rows of a node's set under the operation's key."""
        return cls.sorted_by_token(key.apply(held.labels), held.secrets, held.references, held.classes)

    @classmethod
    def sorted_by_token(cls, tokens: bytes, secrets: bytes, references: bytes, classes: bytes) -> SweepRows:
        """Bring columns in any order into the order of the sweep."""
        order = sorted(range(len(classes)), key=column(tokens, TOKEN_BYTES).__getitem__)
        return cls(
            _taken(tokens, TOKEN_BYTES, order),
            _taken(secrets, SECRET_BYTES, order),
            _taken(references, REFERENCE_BYTES, order),
            bytes([classes[row] for row in order]),
        )


@dataclass(frozen=True, slots=True)
class Step:
    """What follows from a frame: first store, then send; `done` ends the sweep.

    What `proves` names are own references whose values the frames prove to a peer; they may leave only while their
    policies still let all participants be told.
    """

    verified: tuple[PairRow, ...] = ()
    proves: tuple[bytes, ...] = ()
    frames: tuple[wire.SweepUp, ...] = ()
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
        rows: SweepRows,
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
        self._borders: npt.NDArray[np.int64] | None = None
        self._sent = 0
        self._wanted = -1
        self._candidates: dict[bytes, bytes] = {}
        self._pairs: dict[int, _Pair] = {}
        self._judged: set[int] = set()

    def join(self) -> wire.SweepUp:
        """Return the first frame: the commitment to the set."""
        counts = sorted(Counter(self._rows.classes).items())
        return wire.SweepUp(
            join=wire.SweepJoin(
                operation=self._operation,
                sweep_id=self._sweep_id,
                size=len(self._rows),
                classes=bytes([byte for byte, _ in counts]),
                counts=b"".join(number.to_bytes(8, "little") for _, number in counts),
                set_root=set_root(self._rows.tokens),
                salt=self._salt,
            )
        )

    def receive(self, frame: wire.SweepDown) -> Step:
        """Take a frame of the hub.

        Raises:
            ProtocolError: The hub asks what it may not; the sweep ends.
        """
        match frame.WhichOneof("frame"):
            case "plan":
                return self._plan(frame.plan)
            case "credit":
                return Step(frames=tuple(self._windows(frame.credit.below)))
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
        if self._borders is not None or plan.window_bits > MAX_WINDOW_BITS:
            raise ProtocolError("the gateway planned twice, or too many windows")
        high = np.frombuffer(self._rows.tokens, ">u8")[::2].astype(np.uint64)
        firsts = [window << (_WORD_BITS - plan.window_bits) for window in range(1, 1 << plan.window_bits)]
        inner = np.searchsorted(high, np.array(firsts, np.uint64), side="left")
        self._borders = np.concatenate(([0], inner, [len(self._rows)])).astype(np.int64)
        return Step(frames=tuple(self._windows(plan.credits)))

    def _windows(self, below: int) -> list[wire.SweepUp]:
        if self._borders is None:
            raise ProtocolError("the gateway gave credit before the plan")
        frames = []
        while self._sent < min(below, len(self._borders) - 1):
            first, last = (int(at) for at in self._borders[self._sent : self._sent + 2])
            tokens = self._rows.tokens[first * TOKEN_BYTES : last * TOKEN_BYTES]
            frames.append(wire.SweepUp(window=wire.SweepWindow(window=self._sent, tokens=tokens)))
            self._sent += 1
        return frames

    def _want(self, want: wire.SweepWant) -> Step:
        if self._borders is None or not self._wanted < want.window < self._sent or len(want.positions) % 4:
            raise ProtocolError("the gateway wants rows of a window that was not sent, or wants twice")
        first, last = (int(at) for at in self._borders[want.window : want.window + 2])
        positions = [int(at) for at in np.frombuffer(want.positions, "<u4")]
        if any(a >= b for a, b in pairwise(positions)) or positions[-1:] >= [last - first]:
            raise ProtocolError("the gateway wants rows that do not exist, or out of order")
        self._wanted = want.window
        rows = [first + position for position in positions]
        secrets = _taken(self._rows.secrets, SECRET_BYTES, rows)
        references = _taken(self._rows.references, REFERENCE_BYTES, rows)
        pairs = zip(column(references, REFERENCE_BYTES), column(secrets, SECRET_BYTES), strict=True)
        self._candidates.update(pairs)
        answer = wire.SweepCandidates(
            window=want.window,
            confirms=confirm_macs(secrets, self._sweep_id),
            classes=bytes([self._rows.classes[row] for row in rows]),
            references=references,
        )
        return Step(frames=(wire.SweepUp(candidates=answer),))

    def _prove(self, listed: wire.PairList) -> Step:
        """(5): prove to the peer that this node knows the values of the pairs."""
        if listed.peer not in self._peers:
            raise ProtocolError("the gateway names a peer that is not in the charter")
        numbers = _numbers(listed.pairs)
        own, other = column(listed.own_references, REFERENCE_BYTES), column(listed.peer_references, REFERENCE_BYTES)
        if not len(numbers) == len(own) == len(other) or not set(numbers).isdisjoint(self._pairs):
            raise ProtocolError("the gateway lists a pair twice, or columns that differ in length")
        macs = []
        for number, references in zip(numbers, zip(own, other, strict=True), strict=True):
            secret = self._candidates.get(references[0])
            if secret is None:
                raise ProtocolError("the gateway lists a pair of a row that was no candidate")
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
            pair = self._pairs.get(number)
            if pair is None or pair.peer != proofs.peer or number in self._judged:
                raise ProtocolError("the gateway relays a proof of a pair that it did not list, or twice")
            self._judged.add(number)
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


async def run_sweep(
    channel: grpc.aio.Channel,
    party: SweepParty,
    *,
    store: Callable[[Sequence[PairRow]], None],
    may_prove: Callable[[Sequence[bytes]], bool],
    gateway: str = "gateway",
    idle_s: float = IDLE_S,
) -> wire.SweepDone:
    """Take part in a sweep until the hub ends it.

    Args:
        channel: To the gateway that announced the sweep.
        party: This node's part, not yet joined.
        store: Writes verified pairs durably before it returns.
        may_prove: Tells whether own references are still visible to all participants.
        gateway: Name of the gateway for messages.
        idle_s: Longest silence of the hub.

    Raises:
        ProtocolError: The hub broke the protocol.
        RefusedError: A policy was narrowed since the set was read; narrowing holds for every later answer.
        UnavailableError: The stream broke or fell silent; the opener may start the sweep again.
    """
    stream = SweepServiceStub(channel).Sweep()
    try:
        await stream.write(party.join())
        while True:
            async with asyncio.timeout(idle_s):
                frame = await stream.read()
            if not isinstance(frame, wire.SweepDown):
                raise UnavailableError(f"{gateway} ended the sweep without a word")
            step = party.receive(frame)
            if step.verified:
                await asyncio.to_thread(store, step.verified)
            if step.proves and not await asyncio.to_thread(may_prove, step.proves):
                raise RefusedError("a record of the sweep's set was narrowed while the sweep ran")
            for up in step.frames:
                await stream.write(up)
            if step.done is not None:
                return step.done
    except grpc.aio.AioRpcError as error:
        raise translate(error, gateway) from error
    except TimeoutError as error:
        raise UnavailableError(f"{gateway} fell silent in the sweep", code="deadline") from error
    finally:
        stream.cancel()


def _numbers(packed: bytes) -> list[int]:
    if len(packed) % 8:
        raise ProtocolError("a column of pair numbers is cut short")
    numbers = [int(number) for number in np.frombuffer(packed, "<u8")]
    if len(set(numbers)) != len(numbers):
        raise ProtocolError("a column of pair numbers names one twice")
    return numbers


def _taken(packed: bytes, width: int, rows: Sequence[int]) -> bytes:
    return b"".join([packed[row * width : (row + 1) * width] for row in rows])
