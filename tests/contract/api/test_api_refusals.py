"""What issue 3 wants to see refused, against a whole gateway over TLS, with the code that its page promises."""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING, Any, Final

import pytest

from concordat.client.proofs import client_assertion
from concordat.clock import SystemClock
from concordat.identity.federation import init_federation
from concordat.identity.home import load_home
from concordat.identity.keys import SigningKey
from tests.contract.api.serving import Session, in_a_thread, right_bodies, whole_gateway
from tests.unit.custodian.running import loopback_plan

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    import requests

TOKEN: Final = "/v1/token"
QUERIES: Final = "/v1/queries"
EVALUATIONS: Final = "/v1/evaluations"


@pytest.fixture(scope="module")
def federation(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("refusals") / "federation"
    plan = loopback_plan(name="refusals.example", tick_ms=10, window_ms=20)
    init_federation(directory, plan, unsafe_dealer=True)
    return directory


@pytest.fixture(scope="module")
def gateway(federation: Path) -> Iterator[None]:
    home = load_home(federation / "gateway/g1", clock=SystemClock())
    with in_a_thread(lambda: whole_gateway(home, federation)):
        yield


@pytest.fixture
def ijm(federation: Path, gateway: None) -> Iterator[Session]:
    found = Session(load_home(federation / "partner/IJM", clock=SystemClock()))
    yield found
    found.close()


@pytest.fixture
def osce(federation: Path, gateway: None) -> Iterator[Session]:
    found = Session(load_home(federation / "partner/OSCE", clock=SystemClock()))
    yield found
    found.close()


def sent(session: Session, path: str, body: Any, *, token: str | None = None, proof: str | None = None) -> Any:
    bearer = token or session.current()
    made = proof or session.proof("POST", session.origin + path, token=bearer)
    headers = {"Authorization": f"DPoP {bearer}", "DPoP": made}
    return session.http.post(session.origin + path, json=body, headers=headers, timeout=20)


def asked(session: Session, form: dict[str, str], *, proof: str | None = None) -> requests.Response:
    """Ask for a token, with a nonce that holds."""
    session.current()
    made = proof or session.proof("POST", session.origin + TOKEN, token=None)
    return session.http.post(session.origin + TOKEN, data=form, headers={"DPoP": made}, timeout=20)


def refused(answer: requests.Response, status: int, code: str, error: str | None) -> None:
    body = answer.json()
    assert (answer.status_code, body["code"], body.get("error")) == (status, code, error), body
    assert answer.headers["content-type"] == "application/problem+json"
    # RFC 6749 5.2: who the client is, is no matter of the scheme, so that the body alone names it.
    challenged = error is not None and error != "invalid_client"
    assert (f'error="{error}"' in answer.headers.get("www-authenticate", "")) == challenged


@pytest.mark.parametrize("path", [QUERIES, EVALUATIONS])
def test_a_proof_that_is_played_again_is_refused(ijm: Session, path: str) -> None:
    proof = ijm.proof("POST", ijm.origin + path, token=ijm.current())
    proof = ijm.proof("POST", ijm.origin + path, token=ijm.current())
    assert sent(ijm, path, right_bodies(ijm)[path](), proof=proof).status_code == 200
    refused(sent(ijm, path, right_bodies(ijm)[path](), proof=proof), 401, "bad_identity", "invalid_dpop_proof")


def test_a_proof_that_is_played_again_gets_no_token(ijm: Session) -> None:
    ijm.current()
    proof = ijm.proof("POST", ijm.origin + TOKEN, token=None)
    assert asked(ijm, ijm.form(), proof=proof).status_code == 200
    refused(asked(ijm, ijm.form(), proof=proof), 400, "bad_identity", "invalid_dpop_proof")


def test_the_token_of_another_partner_is_refused(ijm: Session, osce: Session) -> None:
    """With the thief's own key, and with no proof at all."""
    taken, nonce = ijm.current(), osce.current()
    assert taken != nonce
    refused(sent(osce, QUERIES, right_bodies(osce)[QUERIES](), token=taken), 401, "bad_identity", "invalid_dpop_proof")
    bare = osce.http.post(osce.origin + QUERIES, json={}, headers={"Authorization": f"DPoP {taken}"}, timeout=20)
    refused(bare, 401, "bad_identity", "invalid_dpop_proof")
    bearer = osce.http.post(osce.origin + QUERIES, json={}, headers={"Authorization": f"Bearer {taken}"}, timeout=20)
    refused(bearer, 401, "bad_identity", "invalid_token")
    assert sent(ijm, QUERIES, right_bodies(ijm)[QUERIES]()).status_code == 200


@pytest.mark.parametrize("how", ["expired", "of a key that the manifest does not name", "for another gateway"])
def test_an_assertion_that_does_not_hold_gets_no_token(ijm: Session, how: str) -> None:
    home, now = ijm.home, SystemClock().now()
    gateway = home.manifest.gateways[0].spiffe
    # A minute and a half behind the limits of life and skew.
    now -= 90 + home.manifest.max_skew_s if how == "expired" else 0
    made = client_assertion(
        SigningKey.generate() if how.startswith("of a key") else home.signing_key,
        client=home.identity,
        gateway=home.identity if how == "for another gateway" else gateway,
        now=now,
        jti=secrets.token_bytes(16),
    )
    refused(asked(ijm, ijm.form() | {"client_assertion": made}), 401, "bad_identity", "invalid_client")


def test_an_assertion_gets_one_token(ijm: Session) -> None:
    form = ijm.form()
    assert asked(ijm, form).status_code == 200
    refused(asked(ijm, form), 401, "bad_identity", "invalid_client")


@pytest.mark.parametrize("path", [QUERIES, EVALUATIONS])
def test_nobody_sends_what_another_partner_has_signed(ijm: Session, osce: Session, path: str) -> None:
    """And once it was refused, it still is of use to whose it is: nothing of it was used up."""
    theirs = right_bodies(osce)[path]()
    answer = sent(ijm, path, theirs)
    assert answer.status_code == 403
    assert answer.json()["code"] in ("bad_identity", "bad_signature", "refused")
    assert sent(osce, path, theirs).status_code == 200


def test_a_query_is_asked_once(ijm: Session) -> None:
    body = right_bodies(ijm)[QUERIES]()
    assert sent(ijm, QUERIES, body).status_code == 200
    refused(sent(ijm, QUERIES, body), 409, "request_reused", None)


def test_what_a_node_has_signed_does_not_pass_the_api(ijm: Session, federation: Path, gateway: None) -> None:
    """Nor does the node itself: it has proved who it is, and has no business here."""
    node = Session(load_home(federation / "node/NL", clock=SystemClock()))
    try:
        refused(sent(ijm, EVALUATIONS, right_bodies(node)[EVALUATIONS]()), 403, "refused", None)
        ijm.current()
        node.nonce = ijm.nonce
        proof = node.proof("POST", node.origin + TOKEN, token=None)
        answer = node.http.post(node.origin + TOKEN, data=node.form(), headers={"DPoP": proof}, timeout=20)
        assert (answer.status_code, answer.json()["error"]) == (400, "unauthorized_client")
    finally:
        node.close()
