"""The node's routing plane: a snapshot at each attach, deltas after it (docs/protocol.md 3.2 step 3, 3.3 step 2).

A batch of tokens has its number durably before it leaves, and one batch is under way at a time. A batch that was never
acknowledged is in the next snapshot, whose acknowledgement covers it.
"""

from __future__ import annotations

import hashlib
from itertools import islice
from typing import TYPE_CHECKING, Final

from concordat.errors import ProtocolError
from concordat.planes import bitmap, pack_slots, require_shape, slots_of
from concordat.wire.v1 import session_pb2 as wire

if TYPE_CHECKING:
    from collections.abc import Iterator

    from services.node.exchange.identity import Identity
    from services.node.store.store import Store

CHUNK_BYTES: Final = 256 << 10
FRAMES_AT_ONCE: Final = 6
TOKENS_OF_DELTA: Final = 4096
# Far above what a node reaches; one that took over a higher number could soon publish nothing more.
MAX_SEQUENCE: Final = 1 << 48


class Publisher:
    """Says what the hub's plane of this node must hold."""

    def __init__(self, identity: Identity, store: Store) -> None:
        self._identity = identity
        self._store = store
        self._shape = self._next_shape = (0, 0)
        self._snapshot: Iterator[wire.NodeFrame] | None = None
        self._snapshot_sequence = 0
        self._snapshot_count = 0
        """How often values had left the index when the snapshot was taken."""
        self._rebuilding = False
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
            ProtocolError: A plane of a shape that cannot be made, or a sequence that no node reaches.
        """
        require_shape(welcome.plane_log2_slots, welcome.plane_hashes)
        if welcome.ledger_sequence > MAX_SEQUENCE:
            raise ProtocolError("the gateway names a sequence that no node reaches")
        restored = welcome.ledger_sequence > self._store.sequence()
        if restored:
            self._store.raise_sequence(welcome.ledger_sequence)
        self.detach()
        self._next_shape = (welcome.plane_log2_slots, welcome.plane_hashes)
        return restored

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
        sequence, tokens = self._store.snapshot(self._identity.manifest.live_epochs)
        self._snapshot_sequence = sequence
        self._sent = max(self._sent, sequence)
        self._snapshot = self._frames(sequence, tokens)

    def detach(self) -> None:
        """Forget the session; the next one starts with a snapshot."""
        self._shape = (0, 0)
        self._snapshot = None
        self._installed = self._rebuilding = False

    def work(self) -> list[wire.NodeFrame]:
        """Return the next frames: some chunks of the snapshot, and a delta where none is under way."""
        frames: list[wire.NodeFrame] = []
        if self._installed and not self._rebuilding and self._store.plane_is_stale():
            # Bits cannot be taken out of a plane: a new one is built beside it and swapped in (3.8).
            self._rebuilding = True
            self._take_snapshot()
        if self._snapshot is not None:
            frames += islice(self._snapshot, FRAMES_AT_ONCE)
            if frames[-1].HasField("snapshot_end"):
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
            return wire.NodeFrame(publish=wire.Publish(sequence=batch.sequence, slots=slots))
        return None

    def _frames(self, sequence: int, tokens: bytes) -> Iterator[wire.NodeFrame]:
        log2_slots, hashes = self._shape
        yield wire.NodeFrame(snapshot_begin=wire.SnapshotBegin(sequence=sequence, log2_slots=log2_slots, hashes=hashes))
        bits = bitmap(slots_of(tokens, log2_slots, hashes), log2_slots)
        for offset in range(0, len(bits), CHUNK_BYTES):
            chunk = wire.SnapshotChunk(offset=offset, bits=bits[offset : offset + CHUNK_BYTES])
            yield wire.NodeFrame(snapshot_chunk=chunk)
        yield wire.NodeFrame(snapshot_end=wire.SnapshotEnd(bitmap_hash=hashlib.sha256(bits).digest()))
