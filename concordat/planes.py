"""Which slots of a routing plane a token sets: the one function that nodes and gateways must share (3.2).

Slot i of a token is its i-th little-endian uint32 modulo the number of slots. This is safe because tokens are outputs
of a pseudorandom function that nobody can choose. A plane is a bitmap of the slots, least significant bit first. As the
number of slots is a power of two, slots of one shape say what slots of another would (`reshape_slots`).

    slots = slots_of(tokens, 21, 4)      # shape (number of tokens, 4)
    plane = bitmap(slots, 21)            # 2**21 / 8 bytes
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final

import numpy as np

from concordat.errors import ConfigError, ProtocolError
from concordat.tokens import TOKEN_BYTES

if TYPE_CHECKING:
    from numpy.typing import NDArray

WORDS_OF_TOKEN: Final = TOKEN_BYTES // 4
MIN_LOG2_SLOTS: Final = 3
MAX_LOG2_SLOTS: Final = 32


def require_shape(log2_slots: int, hashes: int) -> None:
    """Check the two numbers that make the shape of a plane.

    Raises:
        ConfigError: A plane of this shape cannot be made from tokens of 16 bytes.
    """
    if not 1 <= hashes <= WORDS_OF_TOKEN:
        raise ConfigError(f"a token sets 1 to {WORDS_OF_TOKEN} slots of a plane, not {hashes}")
    if not MIN_LOG2_SLOTS <= log2_slots <= MAX_LOG2_SLOTS:
        raise ConfigError(f"a plane has 2^{MIN_LOG2_SLOTS} to 2^{MAX_LOG2_SLOTS} slots, not 2^{log2_slots}")


def slots_of(tokens: bytes, log2_slots: int, hashes: int) -> NDArray[np.uint32]:
    """Return the slots of packed tokens, shape (number of tokens, hashes).

    Raises:
        ConfigError: No such shape of a plane.
        ProtocolError: The column holds no whole tokens.
    """
    require_shape(log2_slots, hashes)
    if len(tokens) % TOKEN_BYTES:
        raise ProtocolError("a column of tokens holds no whole tokens")
    words = np.frombuffer(tokens, dtype="<u4").reshape(-1, WORDS_OF_TOKEN)[:, :hashes]
    return (words & np.uint32((1 << log2_slots) - 1)).astype(np.uint32, copy=False)


def pack_slots(slots: NDArray[np.uint32]) -> bytes:
    """Return slots as they travel in a delta: uint32 little-endian each."""
    return slots.astype("<u4", copy=False).tobytes()


def unpack_slots(packed: bytes, log2_slots: int) -> NDArray[np.uint32]:
    """Read the slots of a delta.

    Raises:
        ProtocolError: No whole slots, or a slot outside the plane.
    """
    if len(packed) % 4:
        raise ProtocolError("a delta holds no whole slots")
    slots = np.frombuffer(packed, dtype="<u4")
    if slots.size and int(slots.max()) >> log2_slots:
        raise ProtocolError("a delta names a slot outside the plane")
    return slots.astype(np.uint32, copy=False)


def reshape_slots(slots: NDArray[np.uint32], log2_slots: int, into: int) -> NDArray[np.uint32]:
    """Return slots of one shape as slots of another, flat: repeated where it is larger, folded where it is smaller.

    Every token that had all its slots among them has them among these.
    """
    flat = slots.reshape(-1)
    if into <= log2_slots:
        return flat & np.uint32((1 << into) - 1)
    repeats = np.arange(1 << (into - log2_slots), dtype=np.uint32) << np.uint32(log2_slots)
    return (repeats[:, np.newaxis] | flat).reshape(-1)


def false_positives(filled: float, hashes: int) -> float:
    """Return which part of foreign tokens a plane says 'maybe' to, of which a part between 0 and 1 is set."""
    return min(max(filled, 0.0), 1.0) ** hashes


def fitting_log2(tokens: int, hashes: int, rate: float) -> int:
    """Return the smallest shape in which a number of tokens makes no more false positives than `rate`."""
    # A plane of m slots, in which n tokens set h each at random, is filled to 1 - exp(-hn/m).
    slots = hashes * max(tokens, 1) / -math.log1p(-(rate ** (1 / hashes)))
    return min(MAX_LOG2_SLOTS, max(MIN_LOG2_SLOTS, math.ceil(math.log2(slots))))


class PlaneBits:
    """A plane that is made of many blocks of tokens, and given out in pieces.

    It takes a byte a slot while it is made: numpy sets bytes many times faster than bits.
    """

    def __init__(self, log2_slots: int, hashes: int) -> None:
        """Make an empty plane.

        Raises:
            ConfigError: No such shape.
        """
        require_shape(log2_slots, hashes)
        self.log2_slots = log2_slots
        self.hashes = hashes
        self._flags = np.zeros(1 << log2_slots, dtype=np.uint8)

    @property
    def size(self) -> int:
        """Return the bytes of the whole bitmap."""
        return self._flags.size >> 3

    def add(self, tokens: bytes) -> None:
        """Set the slots of packed tokens.

        Raises:
            ProtocolError: The column holds no whole tokens.
        """
        self._flags[slots_of(tokens, self.log2_slots, self.hashes).reshape(-1)] = 1

    def piece(self, offset: int, size: int) -> bytes:
        """Return some bytes of the bitmap, fewer at its end."""
        return np.packbits(self._flags[offset << 3 : (offset + size) << 3], bitorder="little").tobytes()


def bitmap(slots: NDArray[np.uint32], log2_slots: int) -> bytes:
    """Return the plane that has exactly these slots set: 2**log2_slots / 8 bytes."""
    flags = np.zeros(1 << log2_slots, dtype=np.uint8)
    flags[slots.reshape(-1)] = 1
    return np.packbits(flags, bitorder="little").tobytes()


def set_bits(bits: NDArray[np.uint8], slots: NDArray[np.uint32]) -> None:
    """Set slots in a bitmap, in place."""
    flat = slots.reshape(-1)
    np.bitwise_or.at(bits, flat >> np.uint32(3), np.left_shift(1, flat & np.uint32(7)).astype(np.uint8))
