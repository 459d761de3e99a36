"""The routing filter: one bit a party in a table of 2^log2 uint64, and planes that are built beside the live one (3.2).

A token may be held by a party only if all its slots have the party's bit. Bits are only ever added in place; a plane
with fewer bits replaces the live one in a single step, merged with every delta that came meanwhile. So the filter has
false positives and never a false negative (C4). It lives in memory only.
"""

from __future__ import annotations

import hashlib
import hmac
from typing import TYPE_CHECKING, Final

import numpy as np

from concordat.errors import ConfigError, ProtocolError
from concordat.planes import require_shape, set_bits, slots_of, unpack_slots

if TYPE_CHECKING:
    from numpy.typing import NDArray

MAX_PARTIES: Final = 64
_BLOCK: Final = 1 << 20


class PlaneBuilder:
    """A snapshot on its way: chunks in order, deltas beside them, nothing live before both are complete."""

    def __init__(self, sequence: int, *, log2_slots: int, hashes: int, keep_deltas: bool = True) -> None:
        self.sequence = sequence
        self.log2_slots = log2_slots
        self.hashes = hashes
        self._keep_deltas = keep_deltas
        self._bits = np.zeros(1 << (log2_slots - 3), dtype=np.uint8)
        self._deltas = np.zeros_like(self._bits)
        self._filled = 0
        self._digest = hashlib.sha256()

    def chunk(self, offset: int, bits: bytes) -> None:
        """Take the next chunk.

        Raises:
            ProtocolError: It leaves a gap, repeats bytes, is empty or runs over the end.
        """
        if offset != self._filled or not bits or offset + len(bits) > self._bits.size:
            raise ProtocolError("a snapshot's chunk does not follow the one before it")
        self._bits[offset : offset + len(bits)] = np.frombuffer(bits, dtype=np.uint8)
        self._filled += len(bits)
        self._digest.update(bits)

    def delta(self, sequence: int, slots: NDArray[np.uint32]) -> None:
        """Take a delta that was published while the snapshot is on its way."""
        self.sequence = max(self.sequence, sequence)
        if self._keep_deltas:
            set_bits(self._deltas, slots)

    def finish(self, bitmap_hash: bytes) -> NDArray[np.uint8]:
        """Return the bitmap of the snapshot and of all deltas since its begin.

        Raises:
            ProtocolError: Bytes are missing, or the hash is another.
        """
        if self._filled != self._bits.size:
            raise ProtocolError("a snapshot ends before its last byte")
        if not hmac.compare_digest(self._digest.digest(), bitmap_hash):
            raise ProtocolError("a snapshot is not the one that its hash names")
        return self._bits | self._deltas


class RoutingTable:
    """The planes of up to 64 parties; `versions` counts the changes of each."""

    def __init__(self, parties: tuple[str, ...], *, log2_slots: int, hashes: int) -> None:
        """Make empty planes.

        Args:
            parties: SPIFFE ids; their order gives each its bit.
            log2_slots: A plane has 2 to this power slots.
            hashes: Slots that a token sets.

        Raises:
            ConfigError: More parties than bits, or no such shape.
        """
        require_shape(log2_slots, hashes)
        if len(parties) > MAX_PARTIES:
            raise ConfigError(f"the routing filter has room for {MAX_PARTIES} nodes; the manifest names {len(parties)}")
        self.log2_slots = log2_slots
        self.hashes = hashes
        self.parties = parties
        self.versions = np.zeros(MAX_PARTIES, dtype=np.int64)
        self._index = {party: number for number, party in enumerate(parties)}
        self._table = np.zeros(1 << log2_slots, dtype=np.uint64)

    def index(self, party: str) -> int:
        """Return the number of a party's bit.

        Raises:
            ConfigError: The table was made without this party.
        """
        try:
            return self._index[party]
        except KeyError as error:
            raise ConfigError("the routing filter has no plane for this party") from error

    def bit(self, party: str) -> np.uint64:
        """Return the mask with only this party's bit."""
        return np.uint64(1 << self.index(party))

    def slots(self, packed: bytes) -> NDArray[np.uint32]:
        """Read a delta's slots.

        Raises:
            ProtocolError: No whole slots, or one outside the plane.
        """
        return unpack_slots(packed, self.log2_slots)

    def route(self, tokens: bytes) -> NDArray[np.uint64]:
        """Return the mask of the parties that may hold each of the packed tokens, in one pass."""
        slots = slots_of(tokens, self.log2_slots, self.hashes)
        masks = self._table[slots[:, 0]]
        for column in range(1, self.hashes):
            masks &= self._table[slots[:, column]]
        return masks

    def merge_delta(self, party: str, slots: NDArray[np.uint32]) -> None:
        """Set slots in a party's live plane."""
        # Repeated slots are safe: every repetition writes the same value.
        self._table[slots] |= self.bit(party)
        self.touch(party)

    def install(self, party: str, bits: NDArray[np.uint8]) -> None:
        """Replace a party's live plane by a whole bitmap."""
        number, bit = np.uint64(self.index(party)), self.bit(party)
        for start in range(0, self._table.size, _BLOCK):
            block = self._table[start : start + _BLOCK]
            fresh = np.unpackbits(bits[start >> 3 : (start + block.size) >> 3], bitorder="little")
            block &= ~bit
            block |= fresh.astype(np.uint64) << number
        self.touch(party)

    def touch(self, party: str) -> None:
        """Count a change, so that items routed before it are routed again before the barrier."""
        self.versions[self.index(party)] += 1
