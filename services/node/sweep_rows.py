"""The rows of a participant in a sweep, as columns in the order of its sweep tokens (docs/protocol.md 3.6 (2), (3)).

The columns are arrays in memory for a small set, and mapped from an operation's run for a large one (services.node.
index): what is streamed, proven and declared reads the same either way.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, Self, TypeAlias

import numpy as np
import numpy.typing as npt

from concordat.errors import ProtocolError
from concordat.protocol.macs import CONFIRM_BYTES, confirm_macs
from concordat.protocol.set_root import set_root
from concordat.protocol.sweep_frames import ANSWER
from concordat.tokens import REFERENCE_BYTES, SECRET_BYTES, TOKEN_BYTES
from services.node.index.rows import order_of, words_of

if TYPE_CHECKING:
    from concordat.protocol.sweep_frames import Answers
    from concordat.tokens import MaskKey
    from services.node.index.rows import Words
    from services.node.store.sweep_set import SweepSet

CLASSES: Final = 256
Bytes: TypeAlias = npt.NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class SweepColumns:
    """The set of a sweep, ascending by token.

    Attributes:
        high: First words of the sweep tokens, big-endian values; shape (n,). What is streamed.
        answer: What is answered for a row, in one piece, as rows are read here and there; `ANSWER`, shape (n,).
        secret: Match secrets; shape (n, 32). For pairs only.
    """

    high: Words = field(repr=False)
    answer: Answers = field(repr=False)
    secret: Bytes = field(repr=False)

    def __post_init__(self) -> None:
        size = len(self.high)
        if self.answer.shape != (size,) or self.answer.dtype != ANSWER or self.secret.shape != (size, SECRET_BYTES):
            raise ProtocolError("the columns of a sweep set differ in length")

    def __len__(self) -> int:
        return len(self.high)

    @classmethod
    def of(cls, held: SweepSet, key: MaskKey, sweep_id: bytes) -> Self:
        """Return the rows of a small set under the operation's key, in memory."""
        return cls.sorted_by_token(
            key.apply(held.labels), held.secrets, held.references, held.classes, sweep_id=sweep_id
        )

    @classmethod
    def sorted_by_token(
        cls, tokens: bytes, secrets: bytes, references: bytes, classes: bytes, *, sweep_id: bytes
    ) -> Self:
        """Bring packed columns in any order into the order of the sweep.

        Raises:
            ProtocolError: They differ in length.
        """
        size = len(classes)
        widths = ((tokens, TOKEN_BYTES), (secrets, SECRET_BYTES), (references, REFERENCE_BYTES))
        if any(len(packed) != size * width for packed, width in widths):
            raise ProtocolError("the columns of a sweep set differ in length")
        answer = np.empty(size, ANSWER)
        high, low = words_of(tokens)
        answer["high"], answer["low"] = high, low
        answer["confirm"] = np.frombuffer(confirm_macs(secrets, sweep_id), np.uint8).reshape(-1, CONFIRM_BYTES)
        answer["reference"] = np.frombuffer(references, np.uint8).reshape(-1, REFERENCE_BYTES)
        answer["class"] = np.frombuffer(classes, np.uint8)
        order = order_of(high, low)
        secret = np.frombuffer(secrets, np.uint8).reshape(-1, SECRET_BYTES)
        return cls(high[order], answer[order], secret[order])

    def class_counts(self) -> list[tuple[int, int]]:
        """Return the class bytes of the set, ascending, and how many values are of each."""
        counts = np.bincount(self.answer["class"], minlength=CLASSES)
        return [(int(byte), int(counts[byte])) for byte in np.flatnonzero(counts)]

    def root(self) -> bytes:
        """Return the root of the set (concordat.protocol.set_root)."""
        return set_root(self.high)
