"""Signed envelopes after DSSE v1 (Dead Simple Signing Envelope): the signed bytes travel as they were signed.

A verifier counts distinct known keys, so a signature given twice, or under two key ids, counts once.
"""

from __future__ import annotations

import base64
import binascii
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from concordat.errors import IdentityError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from concordat.identity.keys import SigningKey, VerifyKey

_MAX_SIGNATURES: Final = 64


@dataclass(frozen=True, slots=True)
class Signature:
    """One signature and the id of the key that is said to have made it (the key's hexadecimal form)."""

    keyid: str
    sig: bytes


@dataclass(frozen=True, slots=True)
class Envelope:
    """A payload, its type, and signatures over both."""

    payload: bytes
    payload_type: str
    signatures: tuple[Signature, ...] = ()

    def signed_by(self, key: SigningKey) -> Envelope:
        """Return the envelope with one more signature."""
        signature = Signature(key.public.hex(), key.sign_dsse(self.payload_type, self.payload))
        return Envelope(self.payload, self.payload_type, (*self.signatures, signature))

    def verify(self, threshold: int, keys: Iterable[VerifyKey]) -> frozenset[VerifyKey]:
        """Return the keys that have signed, if they are enough.

        Raises:
            IdentityError: With code `bad_signature`, if fewer than `threshold` of `keys` have signed.
        """
        if threshold < 1:
            raise ValueError("a threshold is at least 1")
        known = {key.hex(): key for key in keys}
        good: set[VerifyKey] = set()
        for signature in self.signatures:
            key = known.get(signature.keyid)
            if key is not None and key not in good and _fits(key, self, signature.sig):
                good.add(key)
        if len(good) < threshold:
            raise IdentityError(
                f"{len(good)} of the known keys have signed, {threshold} are needed", code="bad_signature"
            )
        return frozenset(good)

    def to_json(self) -> bytes:
        """Return the DSSE JSON form."""
        form = {
            "payload": base64.b64encode(self.payload).decode(),
            "payloadType": self.payload_type,
            "signatures": [{"keyid": one.keyid, "sig": base64.b64encode(one.sig).decode()} for one in self.signatures],
        }
        return json.dumps(form, indent=1).encode() + b"\n"

    @classmethod
    def from_json(cls, raw: bytes) -> Envelope:
        """Read the DSSE JSON form; verifies nothing.

        Raises:
            IdentityError: If it is not such a form or has more than 64 signatures.
        """
        try:
            form = json.loads(raw)
            return _from_form(form)
        except (ValueError, TypeError, KeyError, RecursionError) as error:
            raise IdentityError("this is no signed envelope") from error


def _from_form(form: Any) -> Envelope:
    if not isinstance(form, dict) or set(form) != {"payload", "payloadType", "signatures"}:
        raise ValueError("fields")
    payload, payload_type, signatures = form["payload"], form["payloadType"], form["signatures"]
    if not isinstance(payload_type, str) or not isinstance(signatures, list) or len(signatures) > _MAX_SIGNATURES:
        raise ValueError("types")
    return Envelope(_decoded(payload), payload_type, tuple(_signature(one) for one in signatures))


def _signature(form: Any) -> Signature:
    if not isinstance(form, dict) or set(form) != {"keyid", "sig"} or not isinstance(form["keyid"], str):
        raise ValueError("signature")
    return Signature(form["keyid"], _decoded(form["sig"]))


def _decoded(text: Any) -> bytes:
    if not isinstance(text, str):
        raise TypeError("base64")
    try:
        return base64.b64decode(text, validate=True)
    except binascii.Error as error:
        raise ValueError("base64") from error


def _fits(key: VerifyKey, envelope: Envelope, sig: bytes) -> bool:
    try:
        key.verify_dsse(envelope.payload_type, sig, envelope.payload)
    except IdentityError:
        return False
    return True
