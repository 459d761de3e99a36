"""From a canonical value to a token (docs/protocol.md 2).

A value enters the OPRF as a length-prefixed input. Of the 64-byte output, bytes 0-15 are the *label* and bytes 16-47
the *match secret*; neither leaves the party. What travels is the *token*: the label under the mask key of the epoch, or
in a sweep the *sweep token*, the label under the operation's key. Labels, secrets and tokens are handled as packed
columns: one `bytes` object, entries of fixed size one after the other.

    inputs = [token_input("example", "e164", 1, 1, "+40700000001")]
    labels, secrets = split_outputs(outputs)          # 16 and 32 bytes an entry
    tokens = MaskKey(key).apply(labels)               # 16 bytes an entry
"""

from __future__ import annotations

import hashlib
from typing import Final

from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

from concordat.errors import ProtocolError

TOKEN_BYTES: Final = 16
LABEL_BYTES: Final = 16
SECRET_BYTES: Final = 32
REFERENCE_BYTES: Final = 16
OUTPUT_BYTES: Final = 64
MASK_KEY_BYTES: Final = 32
MAX_PART_BYTES: Final = 2**16 - 1

NAMESPACE_NUMBERS: Final = {
    "e164": 1,
    "email": 2,
    "account": 3,
    "platform": 4,
    "url": 5,
    "app": 6,
    "iban": 7,
    "wallet": 8,
    "imei": 9,
    "document": 10,
    "vehicle": 11,
    "person": 12,
}
NAMESPACES_BY_NUMBER: Final = {number: name for name, number in NAMESPACE_NUMBERS.items()}


def length_prefixed(*parts: bytes) -> bytes:
    """Join parts so that no two different lists of parts give the same bytes.

    Each part is preceded by its length as two bytes, big-endian (as RFC 9497 does with its inputs).

    Raises:
        ProtocolError: A part is longer than two bytes can say.
    """
    if any(len(part) > MAX_PART_BYTES for part in parts):
        raise ProtocolError(f"a part of more than {MAX_PART_BYTES} bytes has no length prefix", code="too_large")
    return b"".join(len(part).to_bytes(2, "big") + part for part in parts)


def token_input(domain: str, namespace: str, rules_version: int, epoch: int, canonical: str) -> bytes:
    """Return the OPRF input of one canonical value.

    Args:
        domain: Domain string of the federation, or of an exercise, whose tokens can never equal real ones.
        namespace: Name of the namespace; the kind that an officer chose does not enter.
        rules_version: Version of the namespace's canonical form.
        epoch: Epoch of the key.
        canonical: Canonical value.

    Raises:
        ProtocolError: The canonical value is longer than 65 535 bytes.
    """
    return length_prefixed(
        domain.encode(),
        namespace.encode(),
        rules_version.to_bytes(4, "big"),
        epoch.to_bytes(4, "big"),
        canonical.encode(),
    )


def split_outputs(outputs: bytes) -> tuple[bytes, bytes]:
    """Split packed OPRF outputs into the packed labels and the packed match secrets."""
    starts = range(0, len(outputs), OUTPUT_BYTES)
    labels = b"".join([outputs[i : i + LABEL_BYTES] for i in starts])
    secrets = b"".join([outputs[i + LABEL_BYTES : i + LABEL_BYTES + SECRET_BYTES] for i in starts])
    return labels, secrets


def column(packed: bytes, width: int) -> list[bytes]:
    """Split a packed column into its entries of `width` bytes.

    Raises:
        ProtocolError: The length is no multiple of the width.
    """
    if len(packed) % width:
        raise ProtocolError(f"a packed column of {len(packed)} bytes holds no whole entries of {width} bytes")
    return [packed[i : i + width] for i in range(0, len(packed), width)]


class MaskKey:
    """A key under which labels become tokens: the mask key of an epoch, or the key of an operation."""

    def __init__(self, key: bytes) -> None:
        if len(key) != MASK_KEY_BYTES:
            raise ProtocolError(f"a mask key has {MASK_KEY_BYTES} bytes, not {len(key)}")
        self._key = key

    def __repr__(self) -> str:
        return "MaskKey(<secret>)"

    @property
    def hash(self) -> bytes:
        """Return the SHA-256 by which a manifest or charter names this key."""
        return hashlib.sha256(self._key).digest()

    def secret(self) -> bytes:
        """Return the key itself, for its party's own key file and for nothing else."""
        return self._key

    def apply(self, labels: bytes) -> bytes:
        """Return the tokens of packed labels, in the same order.

        Each label is one AES block, so that the whole column is one call and the map is a permutation.
        """
        # ECB on purpose: entries are pseudorandom, distinct single blocks, and equal labels must give equal tokens.
        encryptor = Cipher(algorithms.AES(self._key), modes.ECB()).encryptor()  # noqa: S305 -- as said above
        return encryptor.update(labels) + encryptor.finalize()
