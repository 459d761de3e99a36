"""base64url without padding (RFC 4648 5, RFC 7515 2): bytes as JSON bodies, JWTs and links have them."""

from __future__ import annotations

import base64
import binascii


def encode(value: bytes) -> str:
    """Return bytes as base64url without padding."""
    return base64.urlsafe_b64encode(value).rstrip(b"=").decode()


def decode(text: str) -> bytes:
    """Return the bytes of base64url without padding.

    Raises:
        ValueError: Anything else, such as padding or bits that no byte has.
    """
    try:
        found = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError):
        found = None
    if found is None or encode(found) != text:
        raise ValueError("bytes are written as base64url without padding")
    return found
