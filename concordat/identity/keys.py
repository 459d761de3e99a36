"""The keys of a party: Ed25519 for signatures, a post-quantum hybrid HPKE for what only one party may open.

Every signature names what it is for (`domain`), so that bytes signed for one purpose never pass for another. DSSE
envelopes use the DSSE encoding, and web tokens that of JWS; both begin with other bytes than any domain.

Key files are one line of text, `KIND:BASE64`, readable by their owner only.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
from functools import cached_property
from typing import TYPE_CHECKING, Final

from cryptography.exceptions import InvalidSignature, InvalidTag
from cryptography.hazmat.primitives.asymmetric import ed25519, mlkem, x25519
from cryptography.hazmat.primitives.hpke import (
    AEAD,
    KDF,
    KEM,
    MLKEM768X25519PrivateKey,
    MLKEM768X25519PublicKey,
    Suite,
)

from concordat.base64url import encode
from concordat.errors import ConfigError, IdentityError
from concordat.identity.files import read_private, write_private

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

SIGNATURE_BYTES: Final = 64
_PREFIX: Final = b"concordat/v1/"
_DOMAIN: Final = re.compile(r"[a-z0-9]+(?:[/-][a-z0-9]+)*", re.ASCII)
_SIGN_KIND: Final = "ed25519"
_SEAL_KIND: Final = "mlkem768-x25519"
_MLKEM_SEED: Final = 64
_MLKEM_PUBLIC: Final = 1184
_X25519: Final = 32
_SUITE: Final = Suite(KEM.MLKEM768_X25519, KDF.HKDF_SHA256, AEAD.AES_256_GCM)


def pae(payload_type: str, payload: bytes) -> bytes:
    """Return the DSSE v1 pre-authentication encoding of a payload and its type."""
    kind = payload_type.encode()
    return b"DSSEv1 %d %b %d %b" % (len(kind), kind, len(payload), payload)


class VerifyKey:
    """The public half of a signing key; equal and hashable by its 32 bytes."""

    def __init__(self, raw: bytes) -> None:
        if len(raw) != 32:
            raise IdentityError("a verify key has 32 bytes", code="bad_identity")
        self.raw: Final = bytes(raw)

    @classmethod
    def from_hex(cls, text: str) -> VerifyKey:
        """Read 64 hexadecimal digits.

        Raises:
            IdentityError: If the text is anything else.
        """
        if not re.fullmatch(r"[0-9a-f]{64}", text, re.ASCII):
            raise IdentityError("a verify key is written as 64 lower-case hexadecimal digits")
        return cls(bytes.fromhex(text))

    def verify(self, domain: str, signature: bytes, message: bytes) -> None:
        """Check a signature made for `domain`.

        Raises:
            IdentityError: With code `bad_signature`, if it does not fit.
        """
        self._verify(signature, _framed(domain, message))

    def verify_dsse(self, payload_type: str, signature: bytes, payload: bytes) -> None:
        """Check a signature of a DSSE envelope.

        Raises:
            IdentityError: With code `bad_signature`, if it does not fit.
        """
        self._verify(signature, pae(payload_type, payload))

    def hex(self) -> str:
        """Return the key as 64 lower-case hexadecimal digits."""
        return self.raw.hex()

    def fingerprint(self) -> str:
        """Return SHA-256 of the key in groups of four digits, for people to compare."""
        digits = hashlib.sha256(self.raw).hexdigest()
        return " ".join(digits[at : at + 4] for at in range(0, len(digits), 4))

    @cached_property
    def _key(self) -> ed25519.Ed25519PublicKey:
        return ed25519.Ed25519PublicKey.from_public_bytes(self.raw)

    def _verify(self, signature: bytes, framed: bytes) -> None:
        try:
            self._key.verify(signature, framed)
        except (InvalidSignature, ValueError) as error:
            raise IdentityError("a signature does not fit its signer", code="bad_signature") from error

    def __eq__(self, other: object) -> bool:
        return isinstance(other, VerifyKey) and self.raw == other.raw

    def __hash__(self) -> int:
        return hash(self.raw)

    def __repr__(self) -> str:
        return f"VerifyKey({self.raw.hex()})"


class SigningKey:
    """An Ed25519 key that signs for its party."""

    def __init__(self, seed: bytes) -> None:
        if len(seed) != 32:
            raise ConfigError("a signing key has 32 bytes")
        self._key = ed25519.Ed25519PrivateKey.from_private_bytes(seed)
        self.public: Final = VerifyKey(self._key.public_key().public_bytes_raw())

    @classmethod
    def generate(cls) -> SigningKey:
        """Draw a new key from the operating system."""
        return cls(ed25519.Ed25519PrivateKey.generate().private_bytes_raw())

    @classmethod
    def load(cls, path: Path) -> SigningKey:
        """Read a key file.

        Raises:
            ConfigError: If it is missing, too open, another user's or no signing key.
        """
        return cls(_load(path, _SIGN_KIND, 32))

    def save(self, path: Path) -> None:
        """Write the key file, 0600 and atomically."""
        _save(path, _SIGN_KIND, self._key.private_bytes_raw())

    def sign(self, domain: str, message: bytes) -> bytes:
        """Return the 64-byte signature of `message` for `domain`."""
        return self._key.sign(_framed(domain, message))

    def sign_dsse(self, payload_type: str, payload: bytes) -> bytes:
        """Return the 64-byte signature of a DSSE envelope's payload."""
        return self._key.sign(pae(payload_type, payload))

    def sign_jws(self, header: Mapping[str, object], claims: Mapping[str, object]) -> str:
        """Return a compact JWS (RFC 7515) of the claims, `alg` "Ed25519" (RFC 9864).

        Args:
            header: What stands in the protected header beside `alg`.
            claims: The payload.
        """
        # No collision with the other forms: a JWS signs base64url and one dot, and these letters hold neither the
        # slash of `concordat/v1/` nor the blank behind `DSSEv1`.
        signed = f"{_jws_part({**header, 'alg': 'Ed25519'})}.{_jws_part(claims)}"
        return f"{signed}.{encode(self._key.sign(signed.encode()))}"

    def __repr__(self) -> str:
        return f"SigningKey(public={self.public.hex()})"


class SealingPublicKey:
    """To whom something is sealed; equal and hashable by its 1216 bytes."""

    def __init__(self, raw: bytes) -> None:
        if len(raw) != _MLKEM_PUBLIC + _X25519:
            raise IdentityError(f"a sealing key has {_MLKEM_PUBLIC + _X25519} bytes")
        self.raw: Final = bytes(raw)

    @classmethod
    def from_base64(cls, text: str) -> SealingPublicKey:
        """Read the base64 form.

        Raises:
            IdentityError: If the text is anything else.
        """
        try:
            key = cls(base64.b64decode(text, validate=True))
        except ValueError as error:
            raise IdentityError("a sealing key is written in base64") from error
        if key.base64() != text:
            raise IdentityError("a sealing key has one spelling in base64")
        return key

    def base64(self) -> str:
        """Return the key in base64."""
        return base64.b64encode(self.raw).decode()

    def seal(self, info: bytes, plaintext: bytes) -> bytes:
        """Encrypt for the holder of the private half; only the same `info` opens it (HPKE base mode, one message).

        Raises:
            IdentityError: If it is no key, or a curve point of small order, with which there is no agreement.
        """
        try:
            return _SUITE.encrypt(plaintext, self._key, info=info)
        except ValueError as error:
            raise IdentityError("nothing can be sealed to this key") from error

    @cached_property
    def _key(self) -> MLKEM768X25519PublicKey:
        try:
            return MLKEM768X25519PublicKey(
                mlkem.MLKEM768PublicKey.from_public_bytes(self.raw[:_MLKEM_PUBLIC]),
                x25519.X25519PublicKey.from_public_bytes(self.raw[_MLKEM_PUBLIC:]),
            )
        except ValueError as error:
            raise IdentityError("a sealing key is no ML-KEM-768 and X25519 key") from error

    def __eq__(self, other: object) -> bool:
        return isinstance(other, SealingPublicKey) and self.raw == other.raw

    def __hash__(self) -> int:
        return hash(self.raw)

    def __repr__(self) -> str:
        return f"SealingPublicKey(sha256={hashlib.sha256(self.raw).hexdigest()[:16]})"


class SealingKey:
    """A hybrid HPKE key (MLKEM768-X25519, HKDF-SHA256, AES-256-GCM) that opens what was sealed to its party."""

    SEED_BYTES: Final = _MLKEM_SEED + _X25519

    def __init__(self, seed: bytes) -> None:
        if len(seed) != self.SEED_BYTES:
            raise ConfigError(f"a sealing key has {self.SEED_BYTES} bytes")
        self._seed = bytes(seed)
        lattice = mlkem.MLKEM768PrivateKey.from_seed_bytes(seed[:_MLKEM_SEED])
        curve = x25519.X25519PrivateKey.from_private_bytes(seed[_MLKEM_SEED:])
        self._key = MLKEM768X25519PrivateKey(lattice, curve)
        self.public: Final = SealingPublicKey(
            lattice.public_key().public_bytes_raw() + curve.public_key().public_bytes_raw()
        )

    @classmethod
    def generate(cls) -> SealingKey:
        """Draw a new key from the operating system."""
        lattice = mlkem.MLKEM768PrivateKey.generate().private_bytes_raw()
        return cls(lattice + x25519.X25519PrivateKey.generate().private_bytes_raw())

    @classmethod
    def load(cls, path: Path) -> SealingKey:
        """Read a key file.

        Raises:
            ConfigError: If it is missing, too open, another user's or no sealing key.
        """
        return cls(_load(path, _SEAL_KIND, cls.SEED_BYTES))

    def save(self, path: Path) -> None:
        """Write the key file, 0600 and atomically."""
        _save(path, _SEAL_KIND, self._seed)

    def open(self, info: bytes, ciphertext: bytes) -> bytes:
        """Decrypt what was sealed to this key with the same `info`.

        Raises:
            IdentityError: With code `bad_signature`, if it was sealed to another key, for another `info`, or changed.
        """
        try:
            return _SUITE.decrypt(ciphertext, self._key, info=info)
        except (InvalidTag, ValueError) as error:
            raise IdentityError("sealed content does not open with this key", code="bad_signature") from error

    def __repr__(self) -> str:
        return f"SealingKey({self.public!r})"


def _jws_part(value: Mapping[str, object]) -> str:
    return encode(json.dumps(value, separators=(",", ":")).encode())


def _framed(domain: str, message: bytes) -> bytes:
    if not _DOMAIN.fullmatch(domain):
        raise ValueError("a signing domain has lower-case words joined by / or -")
    return _PREFIX + domain.encode() + b"\0" + message


def _load(path: Path, kind: str, size: int) -> bytes:
    found, _, text = read_private(path).decode("ascii", "replace").strip().partition(":")
    if found != kind:
        raise ConfigError(f"{path}: is no {kind} key file")
    try:
        raw = base64.b64decode(text, validate=True)
    except ValueError:
        raise ConfigError(f"{path}: is damaged") from None
    if len(raw) != size:
        raise ConfigError(f"{path}: is damaged")
    return raw


def _save(path: Path, kind: str, raw: bytes) -> None:
    write_private(path, f"{kind}:{base64.b64encode(raw).decode()}\n".encode())
