"""What a custodian does with its share of a key: evaluate and prove (RFC 9497, section 3.3.2, BlindEvaluate).

Each custodian is an ordinary RFC 9497 VOPRF server; only the client knows that the key is shared.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, NoReturn

from concordat.errors import ConfigError, ProtocolError
from concordat.oprf import dleq, group
from concordat.oprf.engine import current

if TYPE_CHECKING:
    from collections.abc import Callable

    from concordat.oprf.engine import Engine

MAX_BATCH: Final = 4096


@dataclass(frozen=True, eq=False)
class KeyShare:
    """A custodian's share of one key.

    Attributes:
        index: the custodian's point, 1 to n.
        secret: scalar of 32 bytes; shows in no repr and goes into no pickle.
        public: secret times generator, checked when the share is made.
    """

    index: int
    secret: bytes = field(repr=False)
    public: bytes

    def __post_init__(self) -> None:
        if self.index < 1:
            raise ConfigError("a key share has an index of at least 1")
        try:
            secret = group.decode_scalar(self.secret, "key share")
            public = group.mult_base(secret)
        except ProtocolError as e:
            raise ConfigError(f"key share {self.index} is no non-zero scalar below the group order") from e
        if public != self.public:
            raise ConfigError(f"key share {self.index} does not fit its public share")

    def __reduce__(self) -> NoReturn:
        raise TypeError("a key share is not pickled")

    @classmethod
    def from_secret(cls, index: int, secret: bytes) -> KeyShare:
        """Make a share with the public element that belongs to it.

        Raises:
            ConfigError: the index is below 1, or the secret is no non-zero scalar below the order.
        """
        try:
            public = group.mult_base(group.decode_scalar(secret, "key share"))
        except ProtocolError as e:
            raise ConfigError(f"key share {index} is no non-zero scalar below the group order") from e
        return cls(index, secret, public)


@dataclass(frozen=True)
class Evaluation:
    """What one custodian answers: its index, a column of n·32 bytes, and one proof of 64 bytes over it."""

    index: int
    elements: bytes
    proof: bytes


def evaluate(
    share: KeyShare,
    elements: bytes,
    *,
    random: Callable[[int], bytes] = os.urandom,
    engine: Engine | None = None,
) -> Evaluation:
    """Multiply each blinded element by the share, and prove it.

    A repetition of a request comes out with the same elements and another proof: each call draws its own nonce.

    Args:
        share: the custodian's share.
        elements: 1 to `MAX_BATCH` blinded elements as received, n·32 bytes.
        random: source of the proof's nonce; leave it alone outside of tests.
        engine: what multiplies; by default this process's.

    Raises:
        ProtocolError: the batch is empty or too long, or an element does not decode strictly.
    """
    check_batch(elements, "blinded elements")
    engine = engine or current(group.count(elements))
    blinded = engine.decode(elements, "blinded elements")
    evaluated = engine.mult(share.secret, blinded)
    return Evaluation(
        index=share.index,
        elements=evaluated,
        proof=dleq.prove(share.secret, share.public, blinded, evaluated, random=random, engine=engine),
    )


def check_batch(elements: bytes, what: str) -> None:
    """Refuse a column that is empty, too long or cut inside an element, before anything is computed.

    Raises:
        ProtocolError: so; with code `too_large` where it is too long.
    """
    if not elements or len(elements) % group.ELEMENT_BYTES:
        raise ProtocolError(f"{what}: {len(elements)} bytes are no batch")
    if group.count(elements) > MAX_BATCH:
        raise ProtocolError(f"{what}: {group.count(elements)} are over {MAX_BATCH} a batch", code="too_large")
