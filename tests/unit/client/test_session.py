from __future__ import annotations

import asyncio
import base64
import json
import logging
import subprocess
import sys
from contextlib import aclosing, asynccontextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from pydantic import BaseModel

from concordat.client.connection import MAX_ANSWER_BYTES, SessionLimits
from concordat.client.session import ApiSession, segment
from concordat.clock import ManualClock, SystemClock
from concordat.errors import (
    ConcordatError,
    ConfigError,
    IdentityError,
    InputError,
    ProtocolError,
    RefusedError,
    UnavailableError,
)
from tests.unit.client.conftest import home
from tests.unit.client.fake_api import FakeApi, Reply, problem, serving

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from concordat.identity.home import Home

QUICK = SessionLimits(connect_s=2, answer_s=5, silence_s=1, first_pause_s=0.01, longest_pause_s=0.05)


class Hello(BaseModel):
    hello: str


HELLO = Reply(body=b'{"hello":"partner"}')


@asynccontextmanager
async def opened(
    partner: Home, gateway: Home, *, served_as: Home | None = None, limits: SessionLimits = QUICK
) -> AsyncIterator[tuple[FakeApi, ApiSession]]:
    api = FakeApi(gateway)
    api.route("GET", "/v1/hello", HELLO)
    api.route("POST", "/v1/hello", HELLO)
    async with serving(api, served_as or gateway), ApiSession(partner, clock=SystemClock(), limits=limits) as session:
        yield api, session


def claims_of(token: str) -> dict[str, Any]:
    payload = token.split(".")[1]
    found: dict[str, Any] = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
    return found


async def test_one_token_serves_many_requests_each_with_a_proof_of_its_own(partner: Home, gateway: Home) -> None:
    async with opened(partner, gateway) as (api, session):
        assert (await session.get("/v1/hello", Hello)).hello == "partner"
        assert (await session.post("/v1/hello", Hello(hello="x"), Hello)).hello == "partner"
        assert await session.scopes() == ("evaluate", "query")
    assert [one.path for one in api.requests] == ["/v1/token", "/v1/hello", "/v1/hello"]
    assert api.requests[1].client == str(partner.identity)
    proofs = [one.header("dpop") or "" for one in api.requests]
    assert len({claims_of(proof)["jti"] for proof in proofs}) == 3


@pytest.mark.parametrize("impostor", ["node/NL", "custodian/c1", "partner/IJM"])
async def test_another_party_s_certificate_is_refused_though_it_names_the_host(
    partner: Home, gateway: Home, federation: Path, impostor: str
) -> None:
    async with opened(partner, gateway, served_as=home(federation, impostor)) as (api, session):
        with pytest.raises(IdentityError, match="certificate"):
            await session.get("/v1/hello", Hello)
    assert api.requests == []


async def test_what_the_environment_says_of_proxies_and_roots_has_no_say(
    partner: Home, gateway: Home, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    keys = tmp_path / "keys"
    for name, value in {
        "HTTPS_PROXY": "http://127.0.0.1:9",
        "ALL_PROXY": "http://127.0.0.1:9",
        "SSL_CERT_FILE": "/nothing",
        "SSLKEYLOGFILE": str(keys),
    }.items():
        monkeypatch.setenv(name, value)
    async with opened(partner, gateway) as (_, session):
        assert (await session.get("/v1/hello", Hello)).hello == "partner"
    assert not keys.exists()


async def test_a_nonce_is_taken_up_once_and_kept(partner: Home, gateway: Home) -> None:
    async with opened(partner, gateway) as (api, session):
        api.nonce = "first"
        await session.get("/v1/hello", Hello)
        assert [one.path for one in api.requests] == ["/v1/token", "/v1/token", "/v1/hello"]
        api.nonce = "second"
        await session.get("/v1/hello", Hello)
        await session.get("/v1/hello", Hello)
    assert [one.path for one in api.requests[3:]] == ["/v1/hello"] * 3


async def test_a_gateway_that_wants_ever_new_nonces_is_asked_twice_and_no_more(partner: Home, gateway: Home) -> None:
    async with opened(partner, gateway) as (api, session):
        await session.scopes()
        wants = problem(401, "bad_identity", error="use_dpop_nonce")
        api.route("GET", "/v1/hello", wants)
        with pytest.raises(IdentityError):
            await session.get("/v1/hello", Hello)
    assert [one.path for one in api.requests] == ["/v1/token", "/v1/hello", "/v1/hello"]


async def test_a_restart_of_the_gateway_costs_a_new_token_and_nothing_else(partner: Home, gateway: Home) -> None:
    async with opened(partner, gateway) as (api, session):
        await session.get("/v1/hello", Hello)
        api.forget_tokens()
        api.nonce = "new"
        both = await asyncio.gather(session.get("/v1/hello", Hello), session.get("/v1/hello", Hello))
        assert [one.hello for one in both] == ["partner", "partner"]
        api.route("GET", "/v1/hello", problem(401, "bad_identity", error="invalid_token"))
        before = len(api.requests)
        with pytest.raises(IdentityError):
            await session.get("/v1/hello", Hello)
    assert [one.path for one in api.requests[before:]] == ["/v1/hello", "/v1/token", "/v1/hello"]


async def test_a_token_is_renewed_before_its_end(partner: Home, gateway: Home) -> None:
    clock = ManualClock(SystemClock().now())
    api = FakeApi(gateway)
    api.route("GET", "/v1/hello", HELLO)
    async with serving(api, gateway), ApiSession(partner, clock=clock, limits=QUICK) as session:
        await session.get("/v1/hello", Hello)
        clock._monotonic += 269
        await session.get("/v1/hello", Hello)
        assert len(api.tokens) == 1
        clock._monotonic += 2
        await session.get("/v1/hello", Hello)
    assert len(api.tokens) == 2


async def test_a_party_that_signs_with_another_key_gets_no_token(
    partner: Home, gateway: Home, federation: Path
) -> None:
    stranger = replace(partner, signing_key=home(federation, "partner/OTHER").signing_key)
    async with opened(stranger, gateway) as (api, session):
        with pytest.raises(IdentityError) as found:
            await session.get("/v1/hello", Hello)
    assert found.value.code == "bad_identity"
    assert [one.path for one in api.requests] == ["/v1/token"]


@pytest.mark.parametrize(
    ("reply", "kind", "code", "text"),
    [
        (problem(403, "refused"), RefusedError, "refused", "Not permitted"),
        (problem(429, "quota_exhausted"), RefusedError, "quota_exhausted", "quota"),
        (problem(400, "bad_input", "items.3: is too long"), InputError, "bad_input", "items.3"),
        (problem(503, "busy"), UnavailableError, "busy", "try again"),
        (problem(409, "stale_manifest"), RefusedError, "stale_manifest", "manifest"),
        (problem(400, "no_such_code", "\x1b[31m"), InputError, "bad_input", "cannot read"),
        (Reply(502, b"<html>proxy</html>"), UnavailableError, "unavailable", "cannot be reached"),
        (Reply(500, b"[" * 100_000), ConcordatError, "internal", "internal error"),
        (Reply(302, b"", {"location": "https://elsewhere.example/"}), ProtocolError, "protocol_violation", "elsewhere"),
        (Reply(200, b'{"hello": 7}'), ProtocolError, "protocol_violation", "hello"),
        (Reply(200, b"no json"), ProtocolError, "protocol_violation", "cannot be read"),
        (Reply(200, [b" " * (1 << 20)] * 17), ProtocolError, "too_large", "more than"),
        (Reply(200, b"{}", {"content-encoding": "gzip"}), ProtocolError, "protocol_violation", "compressed"),
    ],
)
async def test_answers_become_the_error_that_they_stand_for(
    partner: Home, gateway: Home, reply: Reply, kind: type[ConcordatError], code: str, text: str
) -> None:
    async with opened(partner, gateway) as (api, session):
        api.route("GET", "/v1/hello", reply)
        with pytest.raises(kind, match=text) as found:
            await session.get("/v1/hello", Hello)
    assert found.value.code == code
    assert str(found.value).isprintable()
    assert MAX_ANSWER_BYTES == 16 << 20


async def test_a_gateway_that_is_not_there_or_says_nothing_is_unavailable(partner: Home, gateway: Home) -> None:
    async with ApiSession(partner, clock=SystemClock(), limits=QUICK) as session:
        with pytest.raises(UnavailableError):
            await session.get("/v1/hello", Hello)
    async with opened(partner, gateway, limits=SessionLimits(answer_s=0.3)) as (api, session):
        await session.scopes()
        api.route("GET", "/v1/hello", Reply(200, [b"{"], hold_s=3))
        with pytest.raises(UnavailableError) as found:
            await session.get("/v1/hello", Hello)
    assert found.value.code == "deadline"


async def test_events_go_on_behind_the_last_one_after_an_end_a_break_and_a_restart(
    partner: Home, gateway: Home
) -> None:
    events = {"content-type": "text/event-stream"}
    async with opened(partner, gateway) as (api, session):
        api.route(
            "GET",
            "/v1/events",
            Reply(200, [b": hello\n\nid: 1\ndata: a\n\nid: 2\nda", b"ta: b\n\ndata: cut"], events),
            problem(503, "stopping"),
            Reply(500, b"oops"),
            Reply(200, [b"id: 3\nevent: state\ndata: c\ndata: d\n\n"], events, hold_s=1.5),
            Reply(200, [b"id: 4\ndata: e\n\n"], events),
        )
        troubles: list[str] = []
        found = []
        async with aclosing(session.events("/v1/events", on_trouble=lambda one: troubles.append(one.code))) as stream:
            async for event in stream:
                found.append((event.id, event.event, event.data))
                if event.id == "3":
                    api.forget_tokens()
                if event.id == "4":
                    break
    assert found == [
        ("1", "message", "a"),
        ("2", "message", "b"),
        ("3", "state", "c\nd"),
        ("4", "message", "e"),
    ]
    asked = [one.header("last-event-id") for one in api.requests if one.path == "/v1/events"]
    assert asked[:4] == [None, "2", "2", "2"]
    assert set(asked[4:]) == {"3"}
    assert troubles == ["unavailable", "stopping", "internal", "deadline"]


async def test_an_event_stream_that_is_not_permitted_ends(partner: Home, gateway: Home) -> None:
    async with opened(partner, gateway) as (api, session):
        api.route("GET", "/v1/events", problem(403, "refused"))
        with pytest.raises(RefusedError):
            await anext(session.events("/v1/events"))


async def test_no_token_proof_or_key_is_in_a_log_a_repr_or_an_error(
    partner: Home, gateway: Home, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    async with opened(partner, gateway) as (api, session):
        await session.get("/v1/hello", Hello)
        api.route("GET", "/v1/hello", problem(500, "internal"))
        with pytest.raises(ConcordatError) as found:
            await session.get("/v1/hello", Hello)
        said = caplog.text + repr(session.__dict__) + repr(found.value)
    token = next(iter(api.tokens))
    assert token not in said
    for request in api.requests:
        proof = request.header("dpop") or ""
        assert proof.rpartition(".")[2] not in said


def test_a_manifest_without_an_api_and_a_foreign_step_in_a_path_are_refused(partner: Home) -> None:
    bare = partner.manifest.gateways[0].model_copy(update={"api_address": None})
    manifest = partner.manifest.model_copy(update={"gateways": (bare,)})
    with pytest.raises(ConfigError, match="no gateway with an HTTPS API"):
        ApiSession(replace(partner, manifest=manifest), clock=SystemClock())
    assert segment("op/../1?x") == "op%2F..%2F1%3Fx"
    with pytest.raises(ConfigError):
        segment("..")


def test_the_session_needs_no_canonical_forms_which_a_console_has_not_installed() -> None:
    program = (
        "import sys, concordat.client.session;"
        "print([name for name in ('phonenumbers', 'tldextract', 'concordat.canon') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
