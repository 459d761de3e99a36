"""The root of a sweep set: the Merkle tree hash of RFC 9162 (2.1.1) over its tokens in ascending order (3.6 (3)).

A leaf holds 256 tokens, the last one what is left: a root costs hardly more than one pass of SHA-256, and a single
token can still be shown to be in the set with its leaf and a path of hashes.

    root = SetRoot()
    root.update(tokens)      # any whole number of tokens at a time
    digest = root.digest()

What the report names is the *commitment*: a hash of the root and of a salt that the participant keeps for a charter.
A root alone would let whoever reads it try guesses at a small set.
"""

from __future__ import annotations

import hashlib
from typing import Final

from concordat.tokens import TOKEN_BYTES, length_prefixed

LEAF_TOKENS: Final = 256
ROOT_BYTES: Final = 32
SALT_BYTES: Final = 32
COMMITMENT_DOMAIN: Final = b"sweep-set"
_LEAF_BYTES: Final = LEAF_TOKENS * TOKEN_BYTES


class SetRoot:
    """The root of a set that comes piece by piece; holds hashes only, so that the hub keeps no token by it (I2)."""

    def __init__(self) -> None:
        self._open = hashlib.sha256(b"\0")
        self._filled = 0
        self._leaves = 0
        # Roots of complete subtrees, the largest first: one for each bit that is set in the number of leaves.
        self._peaks: list[bytes] = []

    def update(self, tokens: bytes) -> None:
        """Add packed tokens, in the order of the set."""
        view = memoryview(tokens)
        while view:
            part = view[: _LEAF_BYTES - self._filled]
            self._open.update(part)
            self._filled += len(part)
            view = view[len(part) :]
            if self._filled == _LEAF_BYTES:
                self._close()

    def digest(self) -> bytes:
        """Return the root of what was added; SHA-256 of nothing for the empty set."""
        peaks = [*self._peaks, self._open.digest()] if self._filled else list(self._peaks)
        if not peaks:
            return hashlib.sha256().digest()
        root = peaks.pop()
        while peaks:
            root = _node(peaks.pop(), root)
        return root

    def _close(self) -> None:
        digest, number = self._open.digest(), self._leaves
        while number & 1:
            digest = _node(self._peaks.pop(), digest)
            number >>= 1
        self._peaks.append(digest)
        self._leaves += 1
        self._open, self._filled = hashlib.sha256(b"\0"), 0


def set_root(tokens: bytes) -> bytes:
    """Return the root of packed tokens in ascending order."""
    root = SetRoot()
    root.update(tokens)
    return root.digest()


def commitment(salt: bytes, root: bytes, size: int) -> bytes:
    """Return what a report says of a participant's set: equal in two sweeps where the set is equal."""
    return hashlib.sha256(length_prefixed(COMMITMENT_DOMAIN, salt, root, size.to_bytes(8, "big"))).digest()


def _node(left: bytes, right: bytes) -> bytes:
    return hashlib.sha256(b"\1" + left + right).digest()
