"""Batched proofs of discrete-logarithm equality (RFC 9497, section 2.2): one key made every evaluation of a batch.

A proof is 64 bytes, c || s. It is bound to the public key and to all elements of the batch in their order.
"""

from __future__ import annotations

import hashlib
import hmac
from typing import TYPE_CHECKING, Final

from concordat.errors import ProtocolError
from concordat.oprf import group
from concordat.oprf.engine import REFERENCE, Column, Engine
from concordat.oprf.suite import VOPRF, prefixed

if TYPE_CHECKING:
    from collections.abc import Callable

PROOF_BYTES: Final = 2 * group.SCALAR_BYTES
MAX_ROWS: Final = 2**16 - 1  # the batch index is I2OSP(i, 2)

_ELEMENT_LEN: Final = group.ELEMENT_BYTES.to_bytes(2, "big")


def prove(
    key: bytes,
    public: bytes,
    blinded: Column,
    evaluated: bytes,
    *,
    random: Callable[[int], bytes],
    engine: Engine = REFERENCE,
) -> bytes:
    """Prove that `evaluated` is `key` times `blinded`, row by row (section 2.2.1, GenerateProof).

    The nonce is drawn here and nowhere else, so that no caller can use one twice: two proofs with one nonce give the
    key away. Key and nonce stay inside libsodium.

    Args:
        key: secret scalar, 32 bytes.
        public: key times generator.
        blinded: column of elements, decoded by the caller.
        evaluated: products, n·32 bytes.
        random: source of random bytes; anything but the operating system's is for vectors only.
        engine: what adds up the composite, which is public.

    Raises:
        ProtocolError: the batch is empty or over 65 535 rows, or its composite is the identity.
    """
    weights = _weights(public, blinded.packed, evaluated)
    (m,) = engine.weighted_sums(weights, blinded)
    z = group.mult(key, m)
    nonce = group.random_scalars(1, random)
    c = _challenge(public, m, z, group.mult_base(nonce), group.mult(nonce, m))
    return c + group.scalar_sub(nonce, group.scalar_mul(c, key))


def holds(public: bytes, blinded: Column, evaluated: Column, proof: bytes, *, engine: Engine = REFERENCE) -> bool:
    """Say whether a proof holds (section 2.2.2, VerifyProof); all elements were decoded by the caller.

    Raises:
        ProtocolError: the proof does not decode, the batch is empty or over 65 535 rows, or challenge, response or a
            composite is zero, which chance does not give and libsodium does not multiply.
    """
    if len(proof) != PROOF_BYTES:
        raise ProtocolError(f"proof: {len(proof)} bytes where a proof has {PROOF_BYTES}")
    c = group.decode_scalar(proof[: group.SCALAR_BYTES], "proof")
    s = group.decode_scalar(proof[group.SCALAR_BYTES :], "proof")
    weights = _weights(public, blinded.packed, evaluated.packed)
    m, z = engine.weighted_sums(weights, blinded, evaluated)
    t2 = group.add(group.mult_base(s), group.mult(c, public))
    t3 = group.weighted_sum(s + c, m + z)
    return hmac.compare_digest(c, _challenge(public, m, z, t2, t3))


def _weights(public: bytes, blinded: bytes, evaluated: bytes) -> bytes:
    """Return the weight d_i of each row (section 2.2.1, ComputeComposites)."""
    rows = group.count(blinded)
    if len(blinded) != len(evaluated) or not 0 < rows <= MAX_ROWS:
        raise ProtocolError(f"a proof is over 1 to {MAX_ROWS} pairs of elements")
    seed = hashlib.sha512(prefixed(public) + prefixed(VOPRF.seed_tag)).digest()
    pairs = zip(group.split(blinded), group.split(evaluated), strict=True)
    transcripts = (
        i.to_bytes(2, "big") + _ELEMENT_LEN + c + _ELEMENT_LEN + d + b"Composite" for i, (c, d) in enumerate(pairs)
    )
    return VOPRF.hash_to_scalars(transcripts, prefix=prefixed(seed))


def _challenge(*elements: bytes) -> bytes:
    transcript = b"".join(prefixed(e) for e in elements) + b"Challenge"
    return VOPRF.hash_to_scalars([transcript])
