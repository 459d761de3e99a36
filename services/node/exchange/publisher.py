"""The node's routing plane: a snapshot at each attach, deltas after it (docs/protocol.md 3.2 step 3, 3.3 step 2).

A batch of tokens has its number durably before it leaves, and one batch is under way at a time. A batch that was never
acknowledged is in the next snapshot, whose acknowledgement covers it. The hub names the shape of the plane, in its
welcome and again where the plane has become too small.
"""

from __future__ import annotations

import hashlib
from itertools import islice
from typing import TYPE_CHECKING, Final

from concordat.errors import ProtocolError
from concordat.planes import PlaneBits, pack_slots, require_shape, slots_of
from concordat.tokens import TOKEN_BYTES
from concordat.wire.v1 import session_pb2 as wire
from services.node.store.plane_size import token_count

if TYPE_CHECKING:
    from collections.abc import Generator, Iterable, Iterator

    from services.node.exchange.identity import Identity
    from services.node.store.store import Store

CHUNK_BYTES: Final = 256 << 10
FRAMES_AT_ONCE: Final = 6
# A byte a slot while it is made; room for 80 million tokens.
MOST_LOG2_SLOTS: Final = 30
# The bits of so many tokens are set before the session is looked at again: a few milliseconds.
TOKENS_AT_ONCE: Final = 1 << 17
TOKENS_OF_DELTA: Final = 4096
# Far above what a node reaches; one that took over a higher number could soon publish nothing more.
MAX_SEQUENCE: Final = 1 << 48


class Publisher:
    """Says what the hub's plane of this node must hold."""

    chunk_bytes = CHUNK_BYTES

    def __init__(self, identity: Identity, store: Store) -> None:
        self._identity = identity
        self._store = store
        self._shape = self._next_shape = (0, 0)
        self._snapshot: Iterator[wire.NodeFrame | None] | None = None
        self._snapshot_sequence = 0
        self._snapshot_count = 0
        """How often values had left the index when the snapshot was taken."""
        self._rebuilding = False
        self._outgrown = False
        """The hub has named a larger shape since the last snapshot was begun."""
        self._installed = False
        self._sent = 0
        self._acknowledged = 0

    def use_identity(self, identity: Identity) -> None:
        """Publish the epochs of another manifest from the next attach on."""
        self._identity = identity

    @property
    def installed(self) -> bool:
        """Tell whether the plane is complete at the hub."""
        return self._installed

    def attach(self, welcome: wire.Welcome) -> bool:
        """Take a welcome; return True where the ledger shows that this store was restored from an older copy.

        Nothing is published before `begin`.

        Raises:
            ConfigError: A plane of a shape that cannot be made from tokens.
            ProtocolError: A plane that no node makes, or a sequence that no node reaches.
        """
        _require_possible(welcome.plane_log2_slots, welcome.plane_hashes)
        if welcome.ledger_sequence > MAX_SEQUENCE:
            raise ProtocolError("the gateway names a sequence that no node reaches")
        restored = welcome.ledger_sequence > self._store.sequence()
        if restored:
            self._store.raise_sequence(welcome.ledger_sequence)
        self.detach()
        self._next_shape = (welcome.plane_log2_slots, welcome.plane_hashes)
        return restored

    def tokens(self) -> int:
        """Return how many tokens the plane has or is about to have, at most, as the hub is told in the hello."""
        with self._store.read() as db:
            return token_count(db)

    def begin(self) -> None:
        """Start the snapshot of this session: the store has caught up with all that it was told and decided (I9)."""
        self._shape = self._next_shape
        self._sent = self._acknowledged = 0
        self._take_snapshot()

    @property
    def begun(self) -> bool:
        """Tell whether this session's snapshot was started."""
        return self._shape != (0, 0)

    def _take_snapshot(self) -> None:
        # The count first: what leaves the index in between is then taken out once more, never once too seldom.
        self._snapshot_count = self._store.plane_count()
        sequence, blocks = self._store.snapshot_blocks(self._identity.manifest.live_epochs)
        self._snapshot_sequence = sequence
        self._sent = max(self._sent, sequence)
        self._outgrown = False
        self._snapshot = self._frames(sequence, blocks, *self._shape)

    def detach(self) -> None:
        """Forget the session; the next one starts with a snapshot."""
        self._shape = (0, 0)
        self._snapshot = None
        self._installed = self._rebuilding = self._outgrown = False

    def reshape(self, log2_slots: int) -> None:
        """Take the shape in which the hub wants this plane from now on; a snapshot of it follows as soon as may be.

        Raises:
            ConfigError: One that cannot be made from tokens.
            ProtocolError: No larger one than before, or one that no node makes.
        """
        if self._next_shape == (0, 0) or log2_slots <= self._next_shape[0]:
            raise ProtocolError("the gateway names a shape of the plane that is no larger than the one before it")
        shape = (log2_slots, self._next_shape[1])
        _require_possible(*shape)
        self._next_shape = shape
        if self.begun:
            self._shape, self._outgrown = shape, True

    def work(self) -> list[wire.NodeFrame]:
        """Return the next frames: some chunks of the snapshot, and a delta where none is under way."""
        frames: list[wire.NodeFrame] = []
        if self._installed and not self._rebuilding and (self._outgrown or self._store.plane_is_stale()):
            # Bits cannot be taken out of a plane, nor moved: a new one is built beside it and swapped in (3.8).
            self._rebuilding = True
            self._take_snapshot()
        if self._snapshot is not None:
            frames += (frame for frame in islice(self._snapshot, FRAMES_AT_ONCE) if frame is not None)
            if frames and frames[-1].HasField("snapshot_end"):
                self._snapshot = None
        delta = self._delta()
        if delta is not None:
            frames.append(delta)
        return frames

    @property
    def awaited(self) -> int | None:
        """Return the sequence above which the gateway owes an acknowledgement, -1 for the snapshot, None for none."""
        if self._snapshot is not None or self._shape == (0, 0):
            return None
        if not self._installed or self._rebuilding:
            return -1
        return self._acknowledged if self._sent > self._acknowledged else None

    @property
    def has_more(self) -> bool:
        """Tell whether chunks of the snapshot are still to be sent."""
        return self._snapshot is not None

    def snapshot_installed(self, sequence: int) -> bool:
        """Note that the plane is complete, up to the snapshot's sequence or that of a delta that was merged into it.

        Return whether it is the first of this session, with which the node is attached.

        Raises:
            ProtocolError: A sequence that was not sent, or a snapshot that has not left.
        """
        if not self._snapshot_sequence <= sequence <= self._sent or self._snapshot is not None:
            raise ProtocolError("the gateway acknowledges a snapshot that was not sent")
        self._acknowledge(sequence)
        self._store.plane_built(self._snapshot_count)
        first, self._installed, self._rebuilding = not self._installed, True, False
        return first

    def published(self, sequence: int) -> None:
        """Note that a delta is in the plane and durable in the ledger.

        Raises:
            ProtocolError: A sequence that was not sent.
        """
        if sequence > self._sent:
            raise ProtocolError("the gateway acknowledges a sequence that was not sent")
        self._acknowledge(sequence)

    def _acknowledge(self, sequence: int) -> None:
        if sequence > self._acknowledged:
            self._acknowledged = sequence
            self._store.acknowledge_published(sequence)

    def _delta(self) -> wire.NodeFrame | None:
        # (3.3 step 2) Before Begin there is no plane to merge with; a batch under way must be acknowledged first.
        if self._shape == (0, 0) or (self._sent > self._acknowledged and self._sent > self._snapshot_sequence):
            return None
        for epoch in self._identity.manifest.live_epochs:
            batch = self._store.take_unpublished(epoch, TOKENS_OF_DELTA)
            if batch is None or batch.sequence <= self._sent:
                continue
            self._sent = batch.sequence
            slots = pack_slots(slots_of(batch.tokens, *self._shape))
            publish = wire.Publish(sequence=batch.sequence, slots=slots, log2_slots=self._shape[0])
            return wire.NodeFrame(publish=publish)
        return None

    def _frames(
        self, sequence: int, blocks: Iterable[bytes], log2_slots: int, hashes: int
    ) -> Iterator[wire.NodeFrame | None]:
        """Yield a snapshot; None where there is no frame yet, and the caller may do other things."""
        yield wire.NodeFrame(snapshot_begin=wire.SnapshotBegin(sequence=sequence, log2_slots=log2_slots, hashes=hashes))
        plane = yield from _plane(blocks, log2_slots, hashes)
        digest = hashlib.sha256()
        for offset in range(0, plane.size, self.chunk_bytes):
            bits = plane.piece(offset, self.chunk_bytes)
            digest.update(bits)
            yield wire.NodeFrame(snapshot_chunk=wire.SnapshotChunk(offset=offset, bits=bits))
        yield wire.NodeFrame(snapshot_end=wire.SnapshotEnd(bitmap_hash=digest.digest()))


def _require_possible(log2_slots: int, hashes: int) -> None:
    require_shape(log2_slots, hashes)
    if log2_slots > MOST_LOG2_SLOTS:
        raise ProtocolError("the gateway names a plane that is larger than any node makes")


def _plane(blocks: Iterable[bytes], log2_slots: int, hashes: int) -> Generator[None, None, PlaneBits]:
    """Return a plane of packed tokens; stop wherever the caller may do other things."""
    plane, step = PlaneBits(log2_slots, hashes), TOKENS_AT_ONCE * TOKEN_BYTES
    parts = (block[start : start + step] for block in blocks for start in range(0, len(block), step))
    for number, part in enumerate(parts):
        if number:
            yield
        plane.add(part)
    return plane
