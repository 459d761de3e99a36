"""Who asks for a token: a JWT signed with the party's identity key of the manifest (RFC 7523, private_key_jwt).

Every refusal is the same error, after the same work, so that an unknown client and a wrong signature look alike (I8).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from concordat.errors import IdentityError, ProtocolError
from concordat.identity.keys import SigningKey
from concordat.identity.names import SpiffeId
from gateway.api import jose

if TYPE_CHECKING:
    from concordat.identity.manifest import Manifest

ALGORITHMS: Final = ("Ed25519", "EdDSA")
TYPES: Final = frozenset({None, "JWT", "client-authentication+jwt"})
LIFE_S: Final = 60
MAX_JTI: Final = 128
# Checked in place of a client's that the manifest does not name.
_NOBODY: Final = SigningKey.generate().public


@dataclass(frozen=True, slots=True)
class Assertion:
    """A client that proved who it is."""

    client: SpiffeId
    jti: str
    until: float
    """Unix seconds at which the assertion itself is refused."""


def check(text: str, *, manifest: Manifest, audience: str, now: float) -> Assertion:
    """Check a client assertion; whether it was used before is the caller's to ask.

    Args:
        text: As received.
        manifest: Names the client and its key.
        audience: SPIFFE id of this gateway.
        now: Unix seconds.

    Raises:
        IdentityError: The client is not authenticated, whatever the reason.
    """
    try:
        return _checked(text, manifest=manifest, audience=audience, now=now)
    except (ProtocolError, IdentityError) as error:
        raise IdentityError(f"client assertion: {error.message}", code="bad_identity") from error


def _checked(text: str, *, manifest: Manifest, audience: str, now: float) -> Assertion:
    token = jose.read(text, header=("typ", "kid"))
    # (1) The client that the issuer claims to be, and its signature.
    issuer, subject = token.word("iss"), token.word("sub")
    client = _client(subject, manifest)
    key = manifest.verify_key(client) if client is not None else _NOBODY
    if not jose.verify(token, jose.identity_key(key), algorithms=ALGORITHMS) or client is None:
        raise ProtocolError("unknown client or wrong signature")
    if issuer != subject or token.header.get("typ") not in TYPES:
        raise ProtocolError("issuer and subject differ, or another type of JWT")
    # (2) Meant for this gateway alone: one audience, as text.
    if token.word("aud") != audience:
        raise ProtocolError("meant for another audience")
    # (3) Valid now, and not for long.
    skew_s, expires = manifest.max_skew_s, token.time("exp")
    if not now - skew_s < expires <= now + LIFE_S + skew_s:
        raise ProtocolError("expired, or lives too long")
    if any(name in token.claims and token.time(name) > now + skew_s for name in ("iat", "nbf")):
        raise ProtocolError("from the future")
    # (4) Named, so that it can be refused the second time.
    jti = token.word("jti")
    if len(jti) > MAX_JTI:
        raise ProtocolError("the jti is too long")
    return Assertion(client, jti, expires + skew_s)


def _client(subject: str, manifest: Manifest) -> SpiffeId | None:
    try:
        found = SpiffeId.parse(subject)
    except IdentityError:
        return None
    return found if manifest.knows(found) else None
