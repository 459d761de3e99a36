"""RFC 9449 4.3, check by check, on the published examples and on proofs that are right but for one thing."""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING, Any, Final

import pytest
from joserfc.jwk import ECKey, OKPKey, RSAKey

from concordat.base64url import decode, encode
from gateway.api import dpop
from tests.unit.api.api_world import jwt, signed

if TYPE_CHECKING:
    from collections.abc import Callable

# RFC 9449, Figures 2 and 12, and the thumbprint of Figure 10.
_JWK_PART: Final = (
    "eyJ0eXAiOiJkcG9wK2p3dCIsImFsZyI6IkVTMjU2IiwiandrIjp7Imt0eSI6IkVDIiwieCI6Imw4dEZyaHgtMzR0VjNoUklDUkRZOXpDa0Rs"
    "cEJoRjQyVVFVZldWQVdCRnMiLCJ5IjoiOVZFNGpmX09rX282NHpiVFRsY3VOSmFqSG10NnY5VERWclUwQ2R2R1JEQSIsImNydiI6IlAtMjU2In19"
)
TOKEN_PROOF: Final = (
    f"{_JWK_PART}.eyJqdGkiOiItQndDM0VTYzZhY2MybFRjIiwiaHRtIjoiUE9TVCIsImh0dSI6Imh0dHBzOi8vc2VydmVyLmV4YW1wbGUuY29tL3Rv"
    "a2VuIiwiaWF0IjoxNTYyMjYyNjE2fQ.2-GxA6T8lP4vfrg8v-FdWP0A0zdrj8igiMLvqRMUvwnQg4PtFLbdLXiOSsX0x7NVY-FNyJK70nfbV37x"
    "RZT3Lg"
)
RESOURCE_PROOF: Final = (
    f"{_JWK_PART}.eyJqdGkiOiJlMWozVl9iS2ljOC1MQUVCIiwiaHRtIjoiR0VUIiwiaHR1IjoiaHR0cHM6Ly9yZXNvdXJjZS5leGFtcGxlLm9yZy9w"
    "cm90ZWN0ZWRyZXNvdXJjZSIsImlhdCI6MTU2MjI2MjYxOCwiYXRoIjoiZlVIeU8ycjJaM0RaNTNFc05yV0JiMHhXWG9hTnk1OUlpS0NBcWtzbVFF"
    "byJ9.2oW9RP35yRqzhrtNP86L-Ey71EOptxRimPPToA1plemAgR6pxHF8y6-yqyVnmcw6Fy1dqd-jfxSYoMxhAJpLjA"
)
ACCESS_TOKEN: Final = "Kz~8mXK1EalYznwH-LC-1fBAo.4Ljp~zsPE_NeO.gxU"
THUMBPRINT: Final = "0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I"

NOW: Final = 1_800_000_000
KEY: Final = ECKey.generate_key("P-256")
OTHER: Final = OKPKey.generate_key("Ed25519")
TARGET: Final = dpop.Target("POST", "/v1/queries", frozenset({"api.example:7443"}))
BOUND: Final = dpop.Bound("token", KEY.thumbprint())
NONCE: Final = "nonce"


def test_the_proof_that_the_rfc_sends_to_the_token_endpoint_holds() -> None:
    target = dpop.Target("POST", "/token", frozenset({"server.example.com:443"}))
    proof = dpop.check([TOKEN_PROOF], target, now=1562262616, skew_s=0, accepts=None)
    assert (proof.key_hash, proof.jti) == (THUMBPRINT, "-BwC3ESc6acc2lTc")


def test_the_proof_that_the_rfc_sends_to_a_resource_holds_for_its_token() -> None:
    target = dpop.Target("GET", "/protectedresource", frozenset({"resource.example.org:443"}))
    bound = dpop.Bound(ACCESS_TOKEN, THUMBPRINT)
    proof = dpop.check([RESOURCE_PROOF], target, now=1562262618, skew_s=0, accepts=None, bound=bound)
    assert (proof.key_hash, proof.jti) == (THUMBPRINT, "e1j3V_bKic8-LAEB")
    for wrong in (dpop.Bound(ACCESS_TOKEN + "x", THUMBPRINT), dpop.Bound(ACCESS_TOKEN, KEY.thumbprint())):
        with pytest.raises(dpop.BadProofOfKeyError):
            dpop.check([RESOURCE_PROOF], target, now=1562262618, skew_s=0, accepts=None, bound=wrong)


def test_an_altered_proof_of_the_rfc_does_not_hold() -> None:
    target = dpop.Target("POST", "/token", frozenset({"server.example.com:443"}))
    altered = TOKEN_PROOF.replace("iwiaHRtIjoiUE9TVCIs", "iwiaHRtIjoiUE9TVSIs")
    assert altered != TOKEN_PROOF
    with pytest.raises(dpop.BadProofOfKeyError):
        dpop.check([altered], target, now=1562262616, skew_s=0, accepts=None)


def proof_of(key: Any = KEY, header: dict[str, Any] | None = None, without: str = "", **changes: Any) -> str:
    claims: dict[str, Any] = {
        "jti": "jti",
        "htm": "POST",
        "htu": "https://api.example:7443/v1/queries",
        "iat": NOW,
        "nonce": NONCE,
        "ath": encode(hashlib.sha256(b"token").digest()),
        **changes,
    }
    claims.pop(without, None)
    algorithm = "ES256" if isinstance(key, ECKey) else "Ed25519"
    whole = {"typ": "dpop+jwt", "alg": algorithm, "jwk": key.as_dict(private=False), **(header or {})}
    return jwt(whole, claims, key)


def check(*proofs: str, bound: dpop.Bound | None = BOUND, now: float = NOW, skew_s: float = 5) -> dpop.Proof:
    return dpop.check(list(proofs), TARGET, now=now, skew_s=skew_s, accepts=lambda one: one == NONCE, bound=bound)


@pytest.mark.parametrize("key", [KEY, OTHER], ids=["ES256", "Ed25519"])
def test_a_proof_with_either_kind_of_key_holds(key: Any) -> None:
    assert check(proof_of(key), bound=dpop.Bound("token", key.thumbprint())).key_hash == key.thumbprint()


@pytest.mark.parametrize(
    "uri",
    [
        "https://api.example:7443/v1/queries?page=2#top",
        "HTTPS://API.example:7443/v1/queries",
        "https://api.example:7443/v1/%71ueries",
    ],
)
def test_9_the_uri_is_compared_after_normalisation_without_query_and_fragment(uri: str) -> None:
    assert check(proof_of(htu=uri)).jti == "jti"


def without_signature() -> str:
    first, second, _ = proof_of().split(".")
    return f"{first}.{second}."


def unsigned() -> str:
    header = encode(b'{"typ":"dpop+jwt","alg":"none","jwk":{}}')
    return f"{header}.{proof_of().split('.')[1]}.AAAA"


def signed_with_the_public_key_as_a_secret() -> str:
    header = {"typ": "dpop+jwt", "alg": "HS256", "jwk": KEY.as_dict(private=False)}
    return jwt(header, {"jti": "jti"}, KEY.as_pem(private=False))


def of_rsa() -> str:
    key = RSAKey.generate_key(2048)
    return jwt({"typ": "dpop+jwt", "alg": "RS256", "jwk": key.as_dict(private=False)}, {"jti": "jti"}, key)


BAD: Final[dict[str, Callable[[], list[str]]]] = {
    "1: no header field": list,
    "1: two header fields": lambda: [proof_of(), proof_of()],
    "2: no JWT": lambda: ["x"],
    "2: not signed at all": lambda: [without_signature()],
    "2: a claim that stands twice": lambda: [doubled()],
    "2: too long": lambda: [proof_of(pad="x" * 4096)],
    "3: no jti": lambda: [proof_of(without="jti")],
    "3: an empty jti": lambda: [proof_of(jti="")],
    "3: a jti that is too long": lambda: [proof_of(jti="j" * 129)],
    "3: a jti that is no text": lambda: [proof_of(jti=7)],
    "3: no htm": lambda: [proof_of(without="htm")],
    "3: no htu": lambda: [proof_of(without="htu")],
    "3: no iat": lambda: [proof_of(without="iat")],
    "3: an iat that is no number": lambda: [proof_of(iat=str(NOW))],
    "3: an iat that is yes": lambda: [proof_of(iat=True)],
    "4: another type": lambda: [proof_of(header={"typ": "JWT"})],
    "5: alg none": lambda: [unsigned()],
    "5: a MAC with the public key": lambda: [signed_with_the_public_key_as_a_secret()],
    "5: RSA": lambda: [of_rsa()],
    "6: signed by another key": lambda: [proof_of(header={"jwk": ECKey.generate_key("P-256").as_dict(private=False)})],
    "6: a key of another kind than its alg": lambda: [proof_of(header={"jwk": OTHER.as_dict(private=False)})],
    "6: no key": lambda: [proof_of(header={"jwk": {}})],
    "6: a point off the curve": lambda: [proof_of(header={"jwk": off_the_curve()})],
    "6: another curve": lambda: [proof_of(header={"jwk": {**KEY.as_dict(private=False), "crv": "P-384"}})],
    "7: a private key": lambda: [proof_of(header={"jwk": KEY.as_dict(private=True)})],
    "8: another method": lambda: [proof_of(htm="GET")],
    "8: the method in lower case": lambda: [proof_of(htm="post")],
    "9: another path": lambda: [proof_of(htu="https://api.example:7443/v1/evaluations")],
    "9: another host": lambda: [proof_of(htu="https://other.example:7443/v1/queries")],
    "9: another port": lambda: [proof_of(htu="https://api.example/v1/queries")],
    "9: without TLS": lambda: [proof_of(htu="http://api.example:7443/v1/queries")],
    "9: a user in the URI": lambda: [proof_of(htu="https://me@api.example:7443/v1/queries")],
    "9: no URI": lambda: [proof_of(htu="https://[/")],
    "11: too old": lambda: [proof_of(iat=NOW - dpop.PAST_S - 6)],
    "11: from the future": lambda: [proof_of(iat=NOW + 6)],
    "12: no ath": lambda: [proof_of(without="ath")],
    "12: for another token": lambda: [proof_of(ath=encode(hashlib.sha256(b"other").digest()))],
    "12: of another key than the token's": lambda: [proof_of(OTHER)],
    "a header that is not known": lambda: [proof_of(header={"crit": ["exp"], "exp": 1})],
}


def doubled() -> str:
    header, claims, _ = (decode(part) for part in proof_of().split("."))
    return signed(json.loads(header), claims.decode()[:-1] + ', "jti": "other"}', KEY)


def off_the_curve() -> dict[str, Any]:
    return {**KEY.as_dict(private=False), "y": encode(bytes(32))}


@pytest.mark.parametrize("name", BAD)
def test_a_proof_is_refused(name: str) -> None:
    with pytest.raises(dpop.BadProofOfKeyError):
        check(*BAD[name]())


@pytest.mark.parametrize("changes", [{"without": "nonce"}, {"nonce": "old"}, {"nonce": 7}, {"nonce": ""}])
def test_10_a_proof_without_a_nonce_of_this_server_is_told_to_come_with_one(changes: dict[str, Any]) -> None:
    with pytest.raises(dpop.NonceNeededError):
        check(proof_of(**changes))


def test_a_proof_is_too_old_before_it_could_be_forgotten() -> None:
    proof = check(proof_of())
    with pytest.raises(dpop.BadProofOfKeyError):
        check(proof_of(), now=proof.until)
