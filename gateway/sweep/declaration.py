"""What a participant commits to before any window, and what it is held to while it streams (3.6 (3), (4))."""

from __future__ import annotations

import hmac
from base64 import b64encode
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, Self, TypeAlias

import numpy as np
import numpy.typing as npt

from concordat.errors import ConfigError, ProtocolError
from concordat.protocol.report import split_class
from concordat.protocol.set_root import ROOT_BYTES, SALT_BYTES, commitment, join_roots
from concordat.protocol.sweep_frames import WORD_BYTES
from gateway.sweep.checkpoint import MemberState

if TYPE_CHECKING:
    from collections.abc import Collection

    from concordat.protocol.sweep_frames import Cut
    from concordat.wire.v1 import sweep_pb2 as wire

CLASSES: Final = 256
# Sweep tokens are pseudorandom: a window as full as this does not happen to an honest participant.
MAX_FILL: Final = 2
FILL_MARGIN: Final = 1024

Numbers: TypeAlias = npt.NDArray[np.int64]
Bytes: TypeAlias = npt.NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class Declaration:
    """Size, counts a class byte, root of the set and its salt."""

    size: int
    counts: Numbers
    set_root: bytes
    salt: bytes = field(repr=False)

    @property
    def commitment(self) -> bytes:
        """Return what the report says of the set."""
        return commitment(self.salt, self.set_root, self.size)

    @classmethod
    def read(cls, join: wire.SweepJoin, *, namespaces: Collection[str], max_size: int) -> Declaration:
        """Check the form of a join.

        Raises:
            ProtocolError: A field is out of its limits; names the field. Code `too_large` where the set is.
        """
        if join.size > max_size:
            raise ProtocolError("join: field size is over the limit", code="too_large")
        if len(join.set_root) != ROOT_BYTES or len(join.salt) != SALT_BYTES:
            raise ProtocolError("join: field set_root or salt has not 32 bytes")
        classes = list(join.classes)
        if classes != sorted(set(classes)) or len(join.counts) != 8 * len(classes):
            raise ProtocolError("join: fields classes and counts do not fit")
        numbers = [int.from_bytes(join.counts[at : at + 8], "little") for at in range(0, len(join.counts), 8)]
        # Python's integers: a sum that wraps around would let counts lie.
        if sum(numbers) != join.size or 0 in numbers:
            raise ProtocolError("join: field counts does not add up to size")
        if any(split_class(byte)[0] not in namespaces for byte in classes):
            raise ProtocolError("join: field classes names a namespace that the charter does not")
        counts = np.zeros(CLASSES, np.int64)
        counts[classes] = numbers
        return cls(join.size, counts, join.set_root, join.salt)

    def same(self, other: Declaration) -> bool:
        """Tell whether a join that comes again is the one that was made."""
        return (
            self.size == other.size
            and hmac.compare_digest(self.set_root, other.set_root)
            and hmac.compare_digest(self.salt, other.salt)
            and bool((self.counts == other.counts).all())
        )


class Progress:
    """How far one participant's set has come, held to its declaration."""

    def __init__(self, declaration: Declaration, cut: Cut, first: int = 0) -> None:
        self.next = first
        """The next window that may be sent."""
        self.rows = 0
        """Rows of the windows that were merged."""
        self._declaration = declaration
        self._cut = cut
        self._first = first
        self._roots: list[bytes] = []
        self._sizes: list[int] = []
        self._left = declaration.counts.copy()
        self.limit = MAX_FILL * (declaration.size >> cut.window_bits) + FILL_MARGIN
        """Most rows of a window."""

    def receive(self, frame: wire.SweepWindow, below: int) -> None:
        """Check number and size of the next window, before it is kept.

        Raises:
            ProtocolError: Wrong number, beyond the credit, or larger than the declared set can make it.
        """
        if frame.window != self.next or not self.next < min(below, self._cut.windows):
            raise ProtocolError("a window came out of order or beyond the credit")
        if len(frame.deltas) > WORD_BYTES * self._cut.most_words(self.limit):
            raise ProtocolError("a window holds more than was declared", code="too_large")
        self.next += 1

    def merged(self, rows: int, root: bytes) -> None:
        """Note a window that was read; compare the whole with what was declared.

        Raises:
            ProtocolError: More rows than were declared, or another set.
        """
        self.rows += rows
        self._sizes.append(rows)
        self._roots.append(root)
        if rows > self.limit or self.rows > self._declaration.size:
            raise ProtocolError("a window holds more than was declared", code="too_large")
        if len(self._roots) < self._cut.windows:
            return
        if self.rows != self._declaration.size:
            raise ProtocolError("the set has another size than was declared")
        if not hmac.compare_digest(join_roots(self._roots), self._declaration.set_root):
            raise ProtocolError("the set is not the one that was declared")

    def charge(self, classes: Bytes) -> None:
        """Count candidate rows against the declared counts.

        Raises:
            ProtocolError: More rows of a class than were declared, or a class byte that was not declared.
        """
        self._left -= np.bincount(classes, minlength=CLASSES)
        if (self._left < 0).any():
            raise ProtocolError("candidates: more rows of a class than were declared")

    def state(self, party: str, window: int) -> MemberState:
        """Return how far the set had come at a window; the candidates of those before it were charged.

        Args:
            party: SPIFFE id of the participant.
            window: The next, at most behind those that were merged.
        """
        declared, windows = self._declaration, window - self._first
        return MemberState(
            party=party,
            size=declared.size,
            counts=_sparse(declared.counts),
            set_root=b64encode(declared.set_root),
            salt=b64encode(declared.salt),
            roots=b64encode(b"".join(self._roots[:windows])),
            rows=sum(self._sizes[:windows]),
            left=_sparse(self._left),
        )

    @classmethod
    def restored(cls, state: MemberState, cut: Cut, first: int, window: int) -> tuple[Declaration, Self]:
        """Return what was declared and how far it had come from the first window to the next.

        Raises:
            ConfigError: The state contradicts itself.
        """
        declaration = Declaration(state.size, _dense(state.counts), state.set_root, state.salt)
        progress, windows = cls(declaration, cut, first), window - first
        roots = [state.roots[at : at + ROOT_BYTES] for at in range(0, len(state.roots), ROOT_BYTES)]
        if len(roots) != windows or len(state.roots) != windows * ROOT_BYTES:
            raise ConfigError("the state of a sweep names another number of windows than it has")
        progress.next, progress.rows = window, state.rows
        # Of windows before the restart only their sum is needed.
        progress._sizes = [state.rows, *[0] * (windows - 1)] if windows else []
        progress._roots, progress._left = roots, _dense(state.left)
        return declaration, progress


def _sparse(counts: Numbers) -> dict[int, int]:
    return {int(byte): int(counts[byte]) for byte in np.flatnonzero(counts)}


def _dense(sparse: dict[int, int]) -> Numbers:
    counts = np.zeros(CLASSES, np.int64)
    for byte, number in sparse.items():
        counts[byte] = number
    return counts
