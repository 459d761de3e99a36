"""A plane on its way to the hub, beside the one that is live (3.2 step 3)."""

from __future__ import annotations

import hashlib
import hmac
from typing import TYPE_CHECKING

import numpy as np

from concordat.errors import ProtocolError
from concordat.planes import reshape_slots, set_bits

if TYPE_CHECKING:
    from numpy.typing import NDArray


class PlaneBuilder:
    """A snapshot on its way: chunks in order, deltas beside them, nothing live before both are complete."""

    def __init__(self, sequence: int, *, log2_slots: int, hashes: int, keep_deltas: bool = True) -> None:
        self.sequence = sequence
        self.log2_slots = log2_slots
        self.hashes = hashes
        self._keep_deltas = keep_deltas
        self._bits = np.zeros(1 << (log2_slots - 3), dtype=np.uint8)
        self._filled = 0
        self._digest = hashlib.sha256()

    def chunk(self, offset: int, bits: bytes) -> None:
        """Take the next chunk.

        Raises:
            ProtocolError: It leaves a gap, repeats bytes, is empty or runs over the end.
        """
        if offset != self._filled or not bits or offset + len(bits) > self._bits.size:
            raise ProtocolError("a snapshot's chunk does not follow the one before it")
        # What deltas have set ahead of the chunk stays.
        self._bits[offset : offset + len(bits)] |= np.frombuffer(bits, dtype=np.uint8)
        self._filled += len(bits)
        self._digest.update(bits)

    def delta(self, sequence: int, slots: NDArray[np.uint32], log2_slots: int) -> None:
        """Take a delta, of any shape, that was published while the snapshot is on its way."""
        self.sequence = max(self.sequence, sequence)
        if self._keep_deltas:
            set_bits(self._bits, reshape_slots(slots, log2_slots, self.log2_slots))

    def finish(self, bitmap_hash: bytes) -> NDArray[np.uint8]:
        """Return the bitmap of the snapshot and of all deltas since its begin.

        Raises:
            ProtocolError: Bytes are missing, or the hash is another.
        """
        if self._filled != self._bits.size:
            raise ProtocolError("a snapshot ends before its last byte")
        if not hmac.compare_digest(self._digest.digest(), bitmap_hash):
            raise ProtocolError("a snapshot is not the one that its hash names")
        return self._bits
