"""The ciphersuite ristretto255-SHA512 of RFC 9497 (section 4.1): domain separation, hashing, key derivation.

Concordat uses mode VOPRF. Mode OPRF is here because its vectors check the same functions once more.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Final

from concordat.errors import ConfigError, InputError
from concordat.oprf import group

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

OUTPUT_BYTES: Final = 64
SEED_BYTES: Final = 32
MAX_INPUT_BYTES: Final = 2**16 - 1

_BLOCK_BYTES: Final = 128  # SHA-512's s_in_bytes, the length of Z_pad (RFC 9380, section 5.3.1)
_Z_PAD: Final = hashlib.sha512(bytes(_BLOCK_BYTES))
_ELEMENT_LEN: Final = group.ELEMENT_BYTES.to_bytes(2, "big")


def prefixed(data: bytes) -> bytes:
    """Return data behind its length as two bytes, big-endian: I2OSP(len(x), 2) || x."""
    return len(data).to_bytes(2, "big") + data


class _Expander:
    """expand_message_xmd with SHA-512 for 64 bytes (RFC 9380, section 5.3.1), ell = 1, for one tag.

    The hash state behind Z_pad is kept and copied: a message costs two compressions less.
    """

    def __init__(self, tag: bytes) -> None:
        tag_prime = tag + bytes([len(tag)])
        self._b0_tail = group.UNIFORM_BYTES.to_bytes(2, "big") + b"\x00" + tag_prime
        self._b1_tail = b"\x01" + tag_prime

    def expand(self, messages: Iterable[bytes], prefix: bytes = b"") -> bytes:
        """Return 64 uniform bytes for each message; the prefix stands before each and is absorbed once."""
        start = _Z_PAD.copy()
        start.update(prefix)
        sha512, b0_tail, b1_tail = hashlib.sha512, self._b0_tail, self._b1_tail
        out = []
        for message in messages:
            state = start.copy()
            state.update(message + b0_tail)
            out.append(sha512(state.digest() + b1_tail).digest())
        return b"".join(out)


class Suite:
    """One mode of the suite: its context string (section 3.1) and what hangs on it."""

    def __init__(self, mode: int) -> None:
        self.mode = mode
        context = b"OPRFV1-" + bytes([mode]) + b"-ristretto255-SHA512"
        self.group_tag = b"HashToGroup-" + context
        self.seed_tag = b"Seed-" + context
        self._to_group = _Expander(self.group_tag)
        self._to_scalar = _Expander(b"HashToScalar-" + context)
        self._derive = _Expander(b"DeriveKeyPair" + context)

    def hash_to_group(self, inputs: Sequence[bytes]) -> bytes:
        """Hash each input to an element (sections 2.1 and 4.1).

        Raises:
            InputError: an input is longer than 2^16 - 1 bytes, or hashes to the identity (section 3.3.1).
        """
        if any(len(x) > MAX_INPUT_BYTES for x in inputs):
            raise InputError(f"an input is longer than {MAX_INPUT_BYTES} bytes")
        elements = group.from_hash(self._to_group.expand(inputs))
        if group.IDENTITY in group.split(elements):
            raise InputError("an input hashes to the identity")
        return elements

    def hash_to_scalars(self, messages: Iterable[bytes], prefix: bytes = b"") -> bytes:
        """Hash each message, behind the common prefix, to a scalar (sections 2.1 and 4.1)."""
        return group.reduce_scalars(self._to_scalar.expand(messages, prefix))

    def derive_key_pair(self, seed: bytes, info: bytes) -> tuple[bytes, bytes]:
        """Derive secret scalar and public element from 32 secret bytes and public info (section 3.2.1).

        Raises:
            ConfigError: the seed is not 32 bytes, info is too long, or 256 attempts gave zero.
        """
        if len(seed) != SEED_BYTES or len(info) > MAX_INPUT_BYTES:
            raise ConfigError(f"a seed has {SEED_BYTES} bytes, its info at most {MAX_INPUT_BYTES}")
        for counter in range(256):
            message = seed + prefixed(info) + bytes([counter])
            secret = group.reduce_scalars(self._derive.expand([message]))
            if secret != group.ZERO:
                return secret, group.mult_base(secret)
        raise ConfigError("no key comes from this seed")


def finalize_hash(inputs: Sequence[bytes], unblinded: bytes) -> bytes:
    """Hash each input with its unblinded element to 64 bytes of output (section 3.3.1, Finalize)."""
    sha512 = hashlib.sha512
    tail = b"Finalize"
    return b"".join(
        sha512(len(x).to_bytes(2, "big") + x + _ELEMENT_LEN + n + tail).digest()
        for x, n in zip(inputs, group.split(unblinded), strict=True)
    )


OPRF: Final = Suite(0x00)
VOPRF: Final = Suite(0x01)
