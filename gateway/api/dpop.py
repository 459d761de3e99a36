"""DPoP (RFC 9449): a proof that whoever sends a request holds the key to which its token is bound.

Sans-IO: header values, the request's method and URI, and the time come in; a `Proof` or an error comes out. Whether a
proof was used before is the caller's to ask (`Proof.jti`), once it knows whose cache to ask.
"""

from __future__ import annotations

import hashlib
import hmac
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final
from urllib.parse import unquote, urlsplit

from concordat.base64url import encode
from concordat.errors import ProtocolError
from gateway.api import jose

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence

ALGORITHMS: Final = ("ES256", "Ed25519")
TYPE: Final = "dpop+jwt"
PAST_S: Final = 120
MAX_JTI: Final = 128


class BadProofOfKeyError(ProtocolError):
    """A proof that RFC 9449 4.3 refuses; `invalid_dpop_proof`."""


class NonceNeededError(ProtocolError):
    """A proof with no nonce of this server, or an old one; `use_dpop_nonce`."""


@dataclass(frozen=True, slots=True)
class Target:
    """The request that a proof must be for."""

    method: str
    path: str
    """Decoded, as the router has it."""
    authorities: Collection[str]
    """HOST:PORT under which this server is reached, lower case. The Host header, the caller's word, is not asked."""


@dataclass(frozen=True, slots=True)
class Bound:
    """An access token, and the thumbprint of the key to which it is bound."""

    token: str = field(repr=False)
    key_hash: str


@dataclass(frozen=True, slots=True)
class Proof:
    """A proof that holds."""

    key_hash: str
    """Thumbprint of its key (RFC 7638), as `cnf.jkt` of a token has it."""
    jti: str
    until: int
    """Unix seconds after which it is too old to be taken again."""


def check(
    values: Sequence[str],
    target: Target,
    *,
    now: float,
    skew_s: float,
    accepts: Callable[[str], bool] | None,
    bound: Bound | None = None,
) -> Proof:
    """Check a proof; the numbers are those of RFC 9449 4.3.

    Args:
        values: Values of the request's DPoP header fields.
        target: The request.
        now: Unix seconds.
        skew_s: By how much the sender's clock may differ.
        accepts: Tells whether a nonce is one of this server; None asks for no nonce.
        bound: The access token that came with it; None where one is asked for.

    Raises:
        BadProofOfKeyError: One of the checks fails.
        NonceNeededError: The nonce is missing or old, and all else that can be known is right.
    """
    try:
        proof, key_hash = _signed(values)
        jti, issued = _fitting(proof, target, now=now, skew_s=skew_s)
        if bound is not None:
            _require_bound(proof, key_hash, bound)
    except ProtocolError as error:
        raise BadProofOfKeyError(f"DPoP: {error.message}") from error
    # (10) The nonce last: who is told to come again with one would else be refused then.
    if accepts is not None and not _nonce_holds(proof, accepts):
        raise NonceNeededError("DPoP: no nonce, or an old one")
    return Proof(key_hash, jti, int(issued + PAST_S + skew_s) + 1)


def _signed(values: Sequence[str]) -> tuple[jose.Unverified, str]:
    # (1) Not more than one header field, (2) a well-formed JWT.
    if len(values) != 1:
        raise ProtocolError("not exactly one DPoP header field")
    proof = jose.read(values[0], header=("typ", "jwk"))
    # (4) The type, (5) the algorithm: asymmetric, and on our list.
    if proof.header.get("typ") != TYPE or proof.header["alg"] not in ALGORITHMS:
        raise ProtocolError("another type or algorithm than a proof has")
    # (7) A public key and nothing more, (6) which has signed.
    key = jose.public_key(proof.header.get("jwk"))
    if not jose.verify(proof, key, algorithms=ALGORITHMS):
        raise ProtocolError("the signature does not fit the key")
    return proof, key.thumbprint()


def _fitting(proof: jose.Unverified, target: Target, *, now: float, skew_s: float) -> tuple[str, int]:
    # (3) All claims are there.
    jti, method, uri, issued = proof.word("jti"), proof.word("htm"), proof.word("htu"), proof.time("iat")
    # (8) Method and (9) URI are those of this request.
    if method != target.method or not _same_uri(uri, target):
        raise ProtocolError("the proof is for another request")
    # (11) Made now. The server's nonce alone would bound its age too; `iat` is checked as well.
    if not now - PAST_S - skew_s <= issued <= now + skew_s:
        raise ProtocolError("the proof is too old or from the future")
    if len(jti) > MAX_JTI:
        raise ProtocolError("the jti is too long")
    return jti, issued


def _require_bound(proof: jose.Unverified, key_hash: str, bound: Bound) -> None:
    # (12) Made for this token, by the key to which the token is bound.
    expected = encode(hashlib.sha256(bound.token.encode()).digest())
    same_token = hmac.compare_digest(proof.word("ath").encode("utf-8", "replace"), expected.encode())
    if not same_token or not hmac.compare_digest(key_hash, bound.key_hash):
        raise ProtocolError("the proof is not of the token's key, or for another token")


def _nonce_holds(proof: jose.Unverified, accepts: Callable[[str], bool]) -> bool:
    nonce = proof.claims.get("nonce")
    return isinstance(nonce, str) and accepts(nonce)


def _same_uri(uri: str, target: Target) -> bool:
    """Compare after the normalisation of RFC 3986 6.2.2 and 6.2.3, without query and fragment."""
    try:
        parts = urlsplit(uri)
        port = parts.port or 443
    except ValueError:
        return False
    if parts.scheme.lower() != "https" or parts.username is not None or parts.hostname is None:
        return False
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    return f"{host}:{port}".lower() in target.authorities and (unquote(parts.path) or "/") == target.path
