"""A participant's side of a sweep (docs/protocol.md 3.6 (3) to (5)): frames in, frames and verified pairs out.

    rows = SweepColumns.of(sweep_set, operation_key, sweep_id)
    party = SweepParty(own, sweep_id, operation=..., participants=..., rows=rows, salt=...)
    send(party.join())
    step = party.receive(frame)      # store step.verified durably, then send step.frames

`run_sweep` (services.node.sweep_lines) does that over streams. What the hub may ask is held to what was sent: positions
of windows that were sent, pairs of rows that there are. A pair that this node verified is on disk before the verdict
leaves, so that a later notice of its edge finds it there (3.4 (4)).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

import numpy as np

from concordat.errors import ProtocolError
from concordat.protocol.macs import (
    ADDRESSEE_MAY_BE_TOLD,
    MAC_BYTES,
    SENDER_IS_TOLD,
    equal,
    pair_mac,
)
from concordat.protocol.sweep_frames import Cut
from concordat.tokens import REFERENCE_BYTES, SECRET_BYTES, column
from concordat.wire.v1 import sweep_pb2 as wire
from services.node.store.rows import PairRow
from services.node.sweep_windows import ShardParty, WindowSender, accepted_shards

if TYPE_CHECKING:
    from collections.abc import Collection

    from services.node.sweep_rows import SweepColumns

BOTH_TOLD: Final = ADDRESSEE_MAY_BE_TOLD | SENDER_IS_TOLD
# A hub lists the pairs of some thousand rows at a time; those with who was dropped since are never judged.
MOST_PAIRS: Final = 1 << 19


@dataclass(frozen=True, slots=True)
class Step:
    """What follows from a frame: first store, then send; `done` ends the sweep.

    What `proves` names are own references whose values the frames prove to a peer; they may leave only while their
    policies still let all participants be told. Once
    `planned`, `shards` are processes of the gateway to each of which a stream is due, and to no other.
    """

    verified: tuple[PairRow, ...] = ()
    proves: tuple[bytes, ...] = ()
    frames: tuple[wire.SweepUp, ...] = field(default=(), repr=False)
    done: wire.SweepDone | None = None
    planned: bool = False
    shards: tuple[ShardParty, ...] = ()


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
        self._planned = False
        self._windows: WindowSender | None = None
        self._shards: tuple[ShardParty, ...] = ()
        self._pairs: dict[int, _Pair] = {}

    def join(self) -> wire.SweepUp:
        """Return the first frame of a stream: the commitment to the set, the same in each stream of a sweep."""
        self._planned, self._windows = False, None
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
        if self._planned:
            raise ProtocolError("the gateway planned twice")
        self._planned = True
        if not plan.shards:
            self._windows = WindowSender(self._rows, plan)
            return Step(frames=tuple(self._windows.send(plan.below)), planned=True)
        assert self._join is not None
        join = wire.SweepUp(join=self._join)
        # The same for the same part, so that a stream which runs goes on where the gateway plans again.
        kept = {one.part: one for one in self._shards}
        self._shards = tuple(
            kept.get((Cut(plan.prefix_bits, plan.window_bits), one.address, one.first, one.end))
            or ShardParty(join, self._rows, plan, one)
            for one in accepted_shards(plan)
        )
        return Step(planned=True, shards=self._shards)

    def _want(self, want: wire.SweepWant) -> Step:
        if self._windows is None:
            raise ProtocolError("the gateway wants rows of a window that was not sent, or wants twice")
        return Step(frames=tuple(self._windows.answer(want)))

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


def _numbers(packed: bytes) -> list[int]:
    if len(packed) % 8:
        raise ProtocolError("a column of pair numbers is cut short")
    numbers = [int(number) for number in np.frombuffer(packed, "<u8")]
    if len(set(numbers)) != len(numbers):
        raise ProtocolError("a column of pair numbers names one twice")
    return numbers
