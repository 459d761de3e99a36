"""The root of a sweep set: the Merkle tree hash of RFC 9162 (2.1.1) over 4096 leaves, cut by prefix (3.6 (3)).

Leaf j is over the top 32 bits, little-endian, of all sweep tokens whose top 12 bits are j, in their order. So a root
belongs to a set and to no plan; it is whole window by window, whether they come in one run, after a restart, or in
several processes; and that a prefix is in the set, or is not, shows with its leaf and a path of twelve hashes
(docs/adr/0012).

    subtrees = [window_root(offsets, prefix_bits=..., window=..., window_bits=...) for each window]
    root = join_roots(subtrees)

What the report names is the *commitment*: a hash of the root, the size and a salt that the participant keeps for a
charter. A root alone would let whoever reads it try guesses at a small set.
"""

from __future__ import annotations

import hashlib
from functools import cache
from typing import TYPE_CHECKING, Final

import numpy as np

from concordat.errors import ProtocolError
from concordat.tokens import length_prefixed

if TYPE_CHECKING:
    from collections.abc import Sequence

    from concordat.protocol.sweep_frames import Offsets, Prefixes

LEAF_BITS: Final = 12
HASHED_BITS: Final = 32
ROOT_BYTES: Final = 32
SALT_BYTES: Final = 32
COMMITMENT_DOMAIN: Final = b"sweep-set"
_HIGH_BITS: Final = 64
_LEAF: Final = hashlib.sha256(b"\0")


def window_root(offsets: Offsets, *, prefix_bits: int, window: int, window_bits: int) -> bytes:
    """Return the root of the subtree that one window fills.

    Args:
        offsets: Prefixes of the window's tokens less the window's base, ascending.
        prefix_bits: Bits of a prefix, at least 32.
        window: Number of the window.
        window_bits: Top bits that number a window, at most 12.

    Raises:
        ProtocolError: No such window, or prefixes that are too short.
    """
    if not 0 <= window_bits <= LEAF_BITS or not 0 <= window < 1 << window_bits or prefix_bits < HASHED_BITS:
        raise ProtocolError("a set root is over at least 32 bits a token and at most 4096 windows")
    levels = LEAF_BITS - window_bits
    if not len(offsets):
        return _empty(levels)
    # Shifted as they are: offsets of a wide window have more bits than a leaf's words.
    top = (offsets >> (prefix_bits - HASHED_BITS)).astype("<u4", copy=False)
    top += np.uint32(window << (HASHED_BITS - window_bits))
    hashed = top.data.cast("B")
    leaf_span = 1 << (prefix_bits - LEAF_BITS)
    firsts = (np.arange(1, 1 << levels, dtype=np.int64) * leaf_span).astype(offsets.dtype)
    borders = np.searchsorted(offsets, firsts) * 4
    empty, start, leaves = _empty(0), 0, []
    for end in [*borders.tolist(), len(hashed)]:
        leaf = empty
        if end > start:
            state = _LEAF.copy()
            state.update(hashed[start:end])
            leaf = state.digest()
        leaves.append(leaf)
        start = end
    return _root(leaves, 0)


def join_roots(subtrees: Sequence[bytes]) -> bytes:
    """Return the root of a set from the subtrees of all its windows, in order.

    Raises:
        ProtocolError: Their number is no power of two up to 4096.
    """
    count = len(subtrees)
    if not 0 < count <= 1 << LEAF_BITS or count & (count - 1):
        raise ProtocolError("a set root has a power of two of subtrees, at most 4096")
    return _root(list(subtrees), LEAF_BITS - (count - 1).bit_length())


def set_root(high: Prefixes) -> bytes:
    """Return the root of a set from the ascending first words of its tokens, uint64."""
    offsets = (high >> np.uint64(_HIGH_BITS - HASHED_BITS)).astype(np.int64)
    return window_root(offsets, prefix_bits=HASHED_BITS, window=0, window_bits=0)


def commitment(salt: bytes, root: bytes, size: int) -> bytes:
    """Return what a report says of a participant's set: equal in two sweeps where the set is equal."""
    return hashlib.sha256(length_prefixed(COMMITMENT_DOMAIN, salt, root, size.to_bytes(8, "big"))).digest()


def _root(nodes: list[bytes], level: int) -> bytes:
    while len(nodes) > 1:
        empty, above = _empty(level), _empty(level + 1)
        nodes = [
            above if left is empty and right is empty else _node(left, right)
            for left, right in zip(nodes[::2], nodes[1::2], strict=True)
        ]
        level += 1
    return nodes[0]


@cache
def _empty(level: int) -> bytes:
    """Return the root of a subtree without a token, 2^level leaves; the same object each time."""
    return hashlib.sha256(b"\0").digest() if level == 0 else _node(_empty(level - 1), _empty(level - 1))


def _node(left: bytes, right: bytes) -> bytes:
    return hashlib.sha256(b"\1" + left + right).digest()
