"""Signing, reading and verifying manifests against pinned root keys."""

import hashlib
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Final

from pydantic import Field, StringConstraints, ValidationError

from concordat.config import explain
from concordat.errors import IdentityError
from concordat.identity.envelope import Envelope
from concordat.identity.files import read_pinned, read_public
from concordat.identity.keys import SigningKey, VerifyKey
from concordat.identity.manifest import Manifest, Part, VerifyHex

PAYLOAD_TYPE: Final = "application/vnd.concordat.manifest.v1+json"


Operator = Annotated[str, StringConstraints(pattern=r"^[a-z0-9-]{1,63}$")]


class RootKeys(Part):
    """The root keys that an installation has pinned: one per custodian's operator, and the hub operator's."""

    federation: str = Field(max_length=253)
    threshold: int = Field(ge=1, le=65, description="How many of them must have signed a manifest.")
    keys: Mapping[Operator, VerifyHex] = Field(min_length=1, max_length=65, description="Operator -> root key.")
    required: tuple[Operator, ...] = Field(
        default=(), max_length=65, description="Operators who must be among the signers, such as the hub's."
    )

    def verify_keys(self) -> tuple[VerifyKey, ...]:
        """Return the root keys."""
        return tuple(VerifyKey.from_hex(text) for text in self.keys.values())

    def to_json(self) -> bytes:
        """Return the file's form."""
        return json.dumps(self.model_dump(mode="json"), indent=1, sort_keys=True).encode() + b"\n"

    def fingerprint(self) -> str:
        """Return SHA-256 of the canonical form in groups of four digits, for people to compare out of band."""
        canonical = json.dumps(self.model_dump(mode="json"), sort_keys=True, separators=(",", ":")).encode()
        digits = hashlib.sha256(canonical).hexdigest()
        return " ".join(digits[at : at + 4] for at in range(0, len(digits), 4))

    @classmethod
    def load(cls, path: Path) -> "RootKeys":
        """Read the pinned root keys.

        Raises:
            ConfigError: If the file cannot be read, or others can change it.
            IdentityError: If it does not hold root keys, or fewer distinct ones than its threshold.
        """
        try:
            roots = cls.model_validate_json(read_pinned(path))
        except ValidationError as error:
            raise IdentityError(f"{path}: {explain(error)}") from None
        if len(set(roots.keys.values())) != len(roots.keys) or roots.threshold > len(roots.keys):
            raise IdentityError(f"{path}: the root keys are not distinct, or fewer than their threshold")
        if not set(roots.required) <= set(roots.keys):
            raise IdentityError(f"{path}: an operator who must sign has no root key")
        return roots


def sign_manifest(manifest: Manifest, keys: Iterable[SigningKey]) -> Envelope:
    """Return the manifest in an envelope signed by each of `keys`."""
    envelope = Envelope(manifest.payload, PAYLOAD_TYPE)
    for key in keys:
        envelope = envelope.signed_by(key)
    return envelope


def verify_manifest(envelope: Envelope, roots: RootKeys, *, now: float | None = None) -> Manifest:
    """Return the manifest of an envelope after checking signatures, form, rules and (with `now`) expiry.

    Raises:
        IdentityError: If anything is not as it must be; nothing of the payload is used before the signatures are.
    """
    if envelope.payload_type != PAYLOAD_TYPE:
        raise IdentityError("the envelope holds no manifest")
    signers = envelope.verify(roots.threshold, roots.verify_keys())
    if not {VerifyKey.from_hex(roots.keys[operator]) for operator in roots.required} <= signers:
        raise IdentityError("an operator who must sign each manifest has not signed", code="bad_signature")
    try:
        manifest = Manifest.model_validate_json(envelope.payload)
    except ValidationError as error:
        raise IdentityError(f"the manifest is not valid: {explain(error)}") from None
    if manifest.payload != envelope.payload:
        # One manifest has one hash, whoever computes it.
        raise IdentityError("the manifest is not in canonical form")
    if manifest.federation != roots.federation:
        raise IdentityError("the manifest is of another federation than the pinned root keys")
    if now is not None and now >= manifest.expires:
        raise IdentityError("the manifest has expired", code="stale_manifest")
    if now is not None and manifest.issued > now + manifest.max_skew_s:
        raise IdentityError("the manifest is from the future", code="stale_manifest")
    return manifest


def load_manifest(path: Path, roots: RootKeys, *, now: float | None = None) -> Manifest:
    """Read and verify a manifest file.

    Raises:
        ConfigError: If the file cannot be read.
        IdentityError: If signatures, form, rules or expiry are not as they must be.
    """
    return verify_manifest(Envelope.from_json(read_public(path)), roots, now=now)
