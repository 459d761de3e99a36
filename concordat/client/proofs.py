"""What a client proves at the HTTPS API: who it is (RFC 7523), and that it holds the key of its token (RFC 9449).

The assertion is signed with the party's identity key of the manifest. The DPoP key is drawn by each process and never
stored, so that a token taken from its memory or from the gateway is of no use without it.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Final

from concordat.base64url import encode

if TYPE_CHECKING:
    from concordat.identity.keys import SigningKey, VerifyKey
    from concordat.identity.names import SpiffeId

ASSERTION_LIFE_S: Final = 30
ID_BYTES: Final = 16


def jwk_of(key: VerifyKey) -> dict[str, str]:
    """Return a public key as a JWK (RFC 8037)."""
    return {"crv": "Ed25519", "kty": "OKP", "x": encode(key.raw)}


def client_assertion(key: SigningKey, *, client: SpiffeId, gateway: SpiffeId, now: float, jti: bytes) -> str:
    """Return the JWT with which a client asks for a token.

    Args:
        key: The client's identity key.
        client: Its name.
        gateway: For whom it is; another replica refuses it.
        now: Unix seconds.
        jti: Random, for this assertion only.
    """
    claims = {
        "iss": str(client),
        "sub": str(client),
        "aud": str(gateway),
        "jti": encode(jti),
        "iat": int(now),
        "exp": int(now) + ASSERTION_LIFE_S,
    }
    return key.sign_jws({"typ": "JWT"}, claims)


def dpop_proof(
    key: SigningKey, *, method: str, url: str, now: float, jti: bytes, token: str | None, nonce: str | None
) -> str:
    """Return the proof of one request.

    Args:
        key: The process's DPoP key.
        method: Of the request.
        url: Of the request, without query.
        now: Unix seconds.
        jti: Random, for this proof only.
        token: The access token that goes with it; None where one is asked for.
        nonce: The last one that the gateway gave.
    """
    claims: dict[str, object] = {"jti": encode(jti), "htm": method, "htu": url, "iat": int(now)}
    if token is not None:
        claims["ath"] = encode(hashlib.sha256(token.encode()).digest())
    if nonce is not None:
        claims["nonce"] = nonce
    return key.sign_jws({"typ": "dpop+jwt", "jwk": jwk_of(key.public)}, claims)
