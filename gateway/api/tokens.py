"""Access tokens: signed by a key of this process, short, bound to a DPoP key; a restart ends them all.

Which scopes a role has follows from concordat/rpc/methods.py. Nodes, custodians and gateways have none: they use gRPC.
"""

from __future__ import annotations

from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

from concordat.api.model import Scope
from concordat.base64url import encode
from concordat.errors import IdentityError, ProtocolError
from concordat.identity.keys import SigningKey
from concordat.identity.names import Role, SpiffeId
from concordat.rpc.methods import scopes_of
from gateway.api import jose

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from concordat.clock import Clock
    from concordat.identity.manifest import Manifest

LIFE_S: Final = 300
TYPE: Final = "at+jwt"
ALGORITHMS: Final = ("Ed25519",)
SCOPES: Final[Mapping[Role, tuple[Scope, ...]]] = MappingProxyType(
    {role: scopes for role in Role if (scopes := scopes_of(role))}
)


@dataclass(frozen=True, slots=True)
class Access:
    """What a valid access token says."""

    client: SpiffeId
    scopes: frozenset[Scope]
    key_hash: str
    until: float
    """Unix seconds."""


class AccessTokens:
    """Issues and reads the tokens of one process (RFC 9068)."""

    def __init__(self, *, gateway: str, manifest: Manifest, clock: Clock, random_bytes: Callable[[int], bytes]) -> None:
        self._gateway = gateway
        self._manifest = manifest
        self._clock = clock
        self._random_bytes = random_bytes
        self._key = SigningKey(random_bytes(32))
        self._public = jose.identity_key(self._key.public)

    def issue(self, client: SpiffeId, scopes: tuple[Scope, ...], *, key_hash: str) -> str:
        """Return a token for a client, of use only with the key of that thumbprint."""
        now = int(self._clock.now())
        claims = {
            "iss": self._gateway,
            "aud": self._gateway,
            "sub": str(client),
            "client_id": str(client),
            "iat": now,
            "exp": now + LIFE_S,
            "jti": encode(self._random_bytes(16)),
            "scope": " ".join(scopes),
            "cnf": {"jkt": key_hash},
        }
        return self._key.sign_jws({"typ": TYPE}, claims)

    def read(self, text: str) -> Access:
        """Return what a token says.

        Raises:
            ProtocolError: It is not of this process, has expired, or its client is no longer in the manifest.
        """
        token = jose.read(text, header=("typ",))
        if not jose.verify(token, self._public, algorithms=ALGORITHMS) or token.header.get("typ") != TYPE:
            raise ProtocolError("no access token of this gateway's process")
        if not token.time("iat") - self._manifest.max_skew_s <= self._clock.now() < token.time("exp"):
            raise ProtocolError("the access token has expired")
        client = SpiffeId.parse(token.word("sub"))
        if not self._manifest.knows(client):
            raise IdentityError("the access token's client is not in the manifest")
        scopes = frozenset(map(Scope, token.word("scope").split())) & frozenset(SCOPES.get(client.role, ()))
        return Access(client, scopes, str(token.claims["cnf"]["jkt"]), float(token.time("exp")))
