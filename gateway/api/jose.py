"""Reading signed JWTs of others: one strict form, few algorithms, keys that are only what they say.

joserfc verifies; what it would let pass and this API has no use for (`crit`, `b64`, keys by URL, claims named twice,
lengths without end) is refused here before a key is looked for.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final

from joserfc import jws
from joserfc.errors import JoseError
from joserfc.jwk import ECKey, OKPKey
from joserfc.jws import JWSRegistry
from typing_extensions import override

from concordat.base64url import decode, encode
from concordat.errors import ProtocolError

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from joserfc.jwa import JWSAlgModel

    from concordat.identity.keys import VerifyKey

PublicKey = OKPKey | ECKey

MAX_BYTES: Final = 4096
MAX_TEXT: Final = 512
# Seconds since 1970 far beyond every manifest; a float or a huge integer is no time.
_LATEST: Final = 1 << 40
_COMPACT: Final = re.compile(r"[A-Za-z0-9_-]{1,1024}\.[A-Za-z0-9_-]{1,3584}\.[A-Za-z0-9_-]{1,512}", re.ASCII)
_CURVES: Final[Mapping[str, tuple[str, frozenset[str]]]] = MappingProxyType(
    {"OKP": ("Ed25519", frozenset({"x"})), "EC": ("P-256", frozenset({"x", "y"}))}
)
_KEY_TYPE: Final[Mapping[str, str]] = MappingProxyType({"Ed25519": "OKP", "EdDSA": "OKP", "ES256": "EC"})
# What a JWK may say of itself beside the key; none of it is read.
_JWK_NOTES: Final = frozenset({"kty", "crv", "kid", "use", "alg", "key_ops"})


@dataclass(frozen=True, slots=True)
class Unverified:
    """What a JWT says, before anyone has checked who says so."""

    text: str
    header: Mapping[str, Any]
    claims: Mapping[str, Any]

    def word(self, name: str) -> str:
        """Return a claim that must be text.

        Raises:
            ProtocolError: It is missing, empty, too long or something else.
        """
        value = self.claims.get(name)
        if not isinstance(value, str) or not 1 <= len(value) <= MAX_TEXT:
            raise ProtocolError(f"the claim {name} is missing or no text")
        return value

    def time(self, name: str) -> int:
        """Return a claim that must be unix seconds.

        Raises:
            ProtocolError: It is missing or something else.
        """
        value = self.claims.get(name)
        if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < _LATEST:
            raise ProtocolError(f"the claim {name} is missing or no time")
        return value


class _Registry(JWSRegistry):
    """The algorithms of one use; joserfc's own look-up would warn of "EdDSA", and fall back where the list is empty."""

    max_header_length = 1024
    max_payload_length = 3584

    def __init__(self, algorithms: Collection[str]) -> None:
        super().__init__(algorithms=frozenset(algorithms))

    @override
    def get_alg(self, name: str) -> JWSAlgModel:
        if name not in (self.allowed or ()):
            raise ProtocolError("the JWT's algorithm is not allowed")
        return self.algorithms[name]


def read(text: str, *, header: Collection[str]) -> Unverified:
    """Read a compact JWS whose payload is a JSON object, without checking its signature.

    Args:
        text: As received.
        header: Names that its header may have beside `alg`.

    Raises:
        ProtocolError: It is anything else.
    """
    if len(text) > MAX_BYTES or not _COMPACT.fullmatch(text):
        raise ProtocolError("this is no compact JWS of three short parts")
    first, second, _ = text.split(".")
    found = Unverified(text, _object(first), _object(second))
    if not isinstance(found.header.get("alg"), str) or not set(found.header) <= {"alg", *header}:
        raise ProtocolError("the JWT's header has no algorithm, or more than it may have")
    return found


def verify(token: Unverified, key: PublicKey, *, algorithms: Collection[str]) -> bool:
    """Tell whether a key made the signature, with one of these algorithms."""
    if token.header["alg"] not in algorithms or _KEY_TYPE.get(token.header["alg"]) != key.key_type:
        return False
    try:
        jws.deserialize_compact(token.text, key, registry=_Registry(algorithms))
    except (JoseError, ProtocolError, ValueError):
        return False
    return True


def identity_key(key: VerifyKey) -> OKPKey:
    """Return a key of the manifest in joserfc's form."""
    return OKPKey.import_key({"kty": "OKP", "crv": "Ed25519", "x": encode(key.raw)})


def public_key(jwk: object) -> PublicKey:
    """Return the key of a JWK that came with a message: Ed25519 or P-256, and its public half only.

    Raises:
        ProtocolError: It is no such key, or more than that.
    """
    if not isinstance(jwk, dict) or not isinstance(jwk.get("kty"), str) or jwk["kty"] not in _CURVES:
        raise ProtocolError("the JWK is no Ed25519 and no P-256 key")
    curve, parts = _CURVES[jwk["kty"]]
    if jwk.get("crv") != curve or not all(isinstance(jwk.get(part), str) and len(jwk[part]) == 43 for part in parts):
        raise ProtocolError("the JWK is no Ed25519 and no P-256 key")
    # The private member `d` is in neither list.
    if not set(jwk) <= parts | _JWK_NOTES:
        raise ProtocolError("the JWK has members that a public key has not")
    plain = {"kty": jwk["kty"], "crv": curve, **{part: encode(decode_part(jwk[part])) for part in sorted(parts)}}
    try:
        return OKPKey.import_key(plain) if jwk["kty"] == "OKP" else ECKey.import_key(plain)
    except (JoseError, ValueError) as error:
        raise ProtocolError("the JWK is no point of its curve") from error


def decode_part(text: str) -> bytes:
    """Return the bytes of base64url.

    Raises:
        ProtocolError: It is anything else.
    """
    try:
        return decode(text)
    except ValueError as error:
        raise ProtocolError("this is no base64url") from error


def _object(part: str) -> dict[str, Any]:
    try:
        found = json.loads(decode_part(part), object_pairs_hook=_once)
    except (ValueError, RecursionError) as error:
        raise ProtocolError("a part of the JWT is no JSON object") from error
    if not isinstance(found, dict):
        raise ProtocolError("a part of the JWT is no JSON object")
    return found


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a name stands twice")
    return found
