"""The gate of the API: an access token of this process, and a DPoP proof for this very request (RFC 9449 7)."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from concordat.errors import IdentityError, ProtocolError, RefusedError
from gateway.api import assertions, dpop
from gateway.api.access import NONCE_HEADER, Caller
from gateway.api.nonces import Nonces
from gateway.api.problems import ApiError
from gateway.api.replay import ReplayCaches
from gateway.api.tokens import AccessTokens

if TYPE_CHECKING:
    from fastapi import Request

    from concordat.api.model import Scope
    from gateway.api.assertions import Assertion
    from gateway.api.context import ApiContext
    from gateway.api.tokens import Access

# Proofs of one caller that are kept until they are too old; 30 requests a second.
PROOFS_KEPT: Final = 8192
ASSERTIONS_KEPT: Final = 1024
_AUTHORIZATION: Final = re.compile(r"DPoP +([A-Za-z0-9._~+/=-]{1,4096})", re.ASCII | re.IGNORECASE)
_CHALLENGE: Final = f'DPoP algs="{" ".join(dpop.ALGORITHMS)}"'


class PartnerGate:
    """Everything about access that lasts as long as the process: keys, nonces, what was used before."""

    def __init__(self, context: ApiContext) -> None:
        self._context = context
        self._manifest = context.home.manifest
        self._audience = str(context.home.identity)
        self.nonces = Nonces(context.random_bytes(32), context.clock)
        self.tokens = AccessTokens(
            gateway=self._audience, manifest=self._manifest, clock=context.clock, random_bytes=context.random_bytes
        )
        self._proofs = ReplayCaches(PROOFS_KEPT)
        self._assertions = ReplayCaches(ASSERTIONS_KEPT)

    async def admit(self, request: Request, scope: Scope) -> Caller:
        """Return who calls.

        Raises:
            ApiError: No valid access token with a proof for this very request, or not one with the scope.
            UnavailableError: The caller has sent more proofs than are kept.
        """
        token, access = self._access(request)
        proof = self._proof(request, dpop.Bound(token, access.key_hash), status=401)
        self._once(access.client, proof, status=401)
        if scope not in access.scopes:
            challenge = f'{_CHALLENGE}, error="insufficient_scope", scope="{scope}"'
            raise _refusal("the token has not the scope", "refused", 403, "insufficient_scope", challenge)
        request.state.dpop_nonce = self.nonces.current()
        return Caller(self._manifest.party_by_id(access.client), access.until)

    def authenticate(self, request: Request, text: str) -> tuple[Assertion, dpop.Proof]:
        """Return the client of a token request and the key that its token will be bound to.

        Raises:
            ApiError: Assertion or proof do not hold, or were used before.
            UnavailableError: The client has sent more of them than are kept.
        """
        now = self._context.clock.now()
        try:
            client = assertions.check(text, manifest=self._manifest, audience=self._audience, now=now)
        except IdentityError as error:
            raise _refusal(error.message, "bad_identity", 401, "invalid_client", _CHALLENGE) from error
        # Whoever is told to come again with a nonce may send the same assertion: it is used up only now.
        proof = self._proof(request, None, status=400)
        self._once(client.client, proof, status=400)
        try:
            self._assertions.of(str(client.client)).take(client.jti, until=client.until, now=now)
        except RefusedError as error:
            raise _refusal(error.message, "bad_identity", 401, "invalid_client", _CHALLENGE) from error
        return client, proof

    def _access(self, request: Request) -> tuple[str, Access]:
        values = request.headers.getlist("authorization")
        if not values:
            # RFC 6750 3: no error's name where no credentials came.
            raise _refusal("no access token", "bad_identity", 401, None, _CHALLENGE)
        found = _AUTHORIZATION.fullmatch(values[0]) if len(values) == 1 else None
        # What is no DPoP token is read as an empty one, and refused as any other that does not hold.
        token = found[1] if found is not None else ""
        try:
            return token, self.tokens.read(token)
        except (ProtocolError, IdentityError) as error:
            challenge = f'{_CHALLENGE}, error="invalid_token"'
            raise _refusal(error.message, "bad_identity", 401, "invalid_token", challenge) from error

    def _proof(self, request: Request, bound: dpop.Bound | None, *, status: int) -> dpop.Proof:
        target = dpop.Target(request.method, request.scope["path"], request.app.state.authorities)
        try:
            return dpop.check(
                request.headers.getlist("dpop"),
                target,
                now=self._context.clock.now(),
                skew_s=self._manifest.max_skew_s,
                accepts=self.nonces.accepts,
                bound=bound,
            )
        except dpop.NonceNeededError as error:
            raise self._proof_refused(error.message, "use_dpop_nonce", status) from error
        except dpop.BadProofOfKeyError as error:
            raise self._proof_refused(error.message, "invalid_dpop_proof", status) from error

    def _once(self, client: object, proof: dpop.Proof, *, status: int) -> None:
        try:
            self._proofs.of(str(client)).take(proof.jti, until=proof.until, now=self._context.clock.now())
        except RefusedError as error:
            raise self._proof_refused("DPoP: the proof was used before", "invalid_dpop_proof", status) from error

    def _proof_refused(self, message: str, name: str, status: int) -> ApiError:
        found = _refusal(message, "bad_identity", status, name, f'{_CHALLENGE}, error="{name}"')
        found.headers[NONCE_HEADER] = self.nonces.current()
        return found


def _refusal(message: str, code: str, status: int, name: str | None, challenge: str) -> ApiError:
    return ApiError(message, code=code, status=status, error=name, headers={"WWW-Authenticate": challenge})
