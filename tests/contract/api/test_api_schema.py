"""The API does what its OpenAPI document says: requests of every kind, no 5xx, nothing undocumented (bounded)."""

from __future__ import annotations

import copy
from contextlib import asynccontextmanager, contextmanager, nullcontext, suppress
from typing import TYPE_CHECKING, Any, Final

import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.errors import Unsatisfiable
from schemathesis.checks import not_a_server_error
from schemathesis.core.failures import FailureGroup
from schemathesis.core.result import Ok
from schemathesis.generation import GenerationMode
from schemathesis.specs.openapi.checks import (
    allow_header_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)
from typing_extensions import override

from concordat.clock import SystemClock
from concordat.identity.federation import init_federation
from concordat.identity.home import load_home
from concordat.wire.v1.custodian_pb2 import EvaluateResponse
from gateway.api.server import ApiServer
from gateway.config import GatewaySettings
from gateway.database import open_engine
from gateway.operations_store import OperationStore
from tests.contract.api.serving import Session, Signed, in_a_thread, right_bodies, whole_gateway
from tests.unit.api.api_world import RelayByHand, app_of
from tests.unit.custodian.running import loopback_plan

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator
    from pathlib import Path

    from schemathesis.generation.case import Case
    from schemathesis.schemas import APIOperation

# A hundred and some requests an operation and mode would take minutes; CI has seconds.
EXAMPLES: Final = 15
CHECKS: Final = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_schema_conformance,
    response_headers_conformance,
    allow_header_conformance,
]
MANNERS: Final = ("right", "right", "right body", "right body", "none", "wrong")


@pytest.fixture(scope="module")
def federation(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("schema") / "federation"
    plan = loopback_plan(name="schema.example", tick_ms=10, window_ms=20)
    init_federation(directory, plan, unsafe_dealer=True)
    return directory


@contextmanager
def sessions_of(federation: Path) -> Iterator[dict[str, Session]]:
    clock = SystemClock()
    found = {
        "partner": Session(load_home(federation / "partner/IJM", clock=clock)),
        "console": Session(load_home(federation / "console/console", clock=clock)),
    }
    try:
        yield found
    finally:
        for one in found.values():
            one.close()


@pytest.fixture
def sessions(federation: Path) -> Iterator[dict[str, Session]]:
    """Serve the whole gateway."""
    home = load_home(federation / "gateway/g1", clock=SystemClock())
    with in_a_thread(lambda: whole_gateway(home, federation)), sessions_of(federation) as found:
        yield found


def document_of(session: Session) -> dict[str, Any]:
    answer = session.http.get(f"{session.origin}/v1/openapi.json")
    assert answer.status_code == 200
    found: dict[str, Any] = answer.json()
    return found


def run(
    document: dict[str, Any], sessions: dict[str, Session], *, only: str | None = None, examples: int = EXAMPLES
) -> dict[str, set[int]]:
    """Send what the document allows and what it does not; return the statuses that were seen, by operation.

    Raises:
        FailureGroup: An answer is not as the document says.
    """
    seen: dict[str, set[int]] = {}
    for found in schemathesis.openapi.from_dict(document).get_all_operations():
        assert isinstance(found, Ok)
        operation = found.ok()
        if only in (None, operation.path):
            statuses = seen.setdefault(operation.label, set())
            _try(operation, GenerationMode.POSITIVE, sessions, statuses, examples)
            with suppress(Unsatisfiable):
                # Without parameters and body there is nothing that could be wrong.
                _try(operation, GenerationMode.NEGATIVE, sessions, statuses, examples)
    return seen


def _try(
    operation: APIOperation[Any, Any, Any, Any],
    mode: GenerationMode,
    sessions: dict[str, Session],
    statuses: set[int],
    examples: int,
) -> None:
    partner = sessions["partner"]
    bodies = right_bodies(partner)

    @settings(
        max_examples=examples,
        deadline=None,
        database=None,
        derandomize=True,
        suppress_health_check=list(HealthCheck),
        report_multiple_bugs=False,
    )
    @given(case=operation.as_strategy(mode), manner=st.sampled_from(MANNERS))
    def send(case: Case[Any], manner: str) -> None:
        signer = Signed(sessions, manner, bodies)
        answer = case.call_and_validate(
            base_url=partner.origin,
            session=partner.http,
            verify=partner.http.verify,
            auth=signer,
            checks=CHECKS,
            timeout=20,
        )
        statuses.add(answer.status_code)

    send()


@pytest.mark.slow
def test_no_request_brings_a_5xx_or_anything_undocumented(sessions: dict[str, Session]) -> None:
    seen = run(document_of(sessions["partner"]), sessions)
    assert {"POST /v1/token", "POST /v1/evaluations", "POST /v1/queries"} <= set(seen)
    # The run got past the doors: refusals of every kind, and answers where a body was right.
    for label in ("POST /v1/token", "POST /v1/evaluations", "POST /v1/queries", "GET /v1/operator/state"):
        assert 200 in seen[label], seen
        assert seen[label] & {400, 401}, seen
    assert 403 in seen["GET /v1/operations/{operation}/report"], seen


class BrokenRelay(RelayByHand):
    """A relay with a bug that its author did not think of."""

    @override
    async def evaluate(self, custodian: Any, request: Any, *, timeout_s: float) -> Any:
        raise ValueError("planted")


def working_relay() -> RelayByHand:
    relay = RelayByHand()
    relay.answer = EvaluateResponse(elements=bytes(64), proof=bytes(64), manifest_hash=bytes(32), quota_left=1)
    return relay


@asynccontextmanager
async def api_alone(federation: Path, folder: Path, relay: RelayByHand) -> AsyncIterator[None]:
    home = load_home(federation / "gateway/g1", clock=SystemClock())
    engine = open_engine(folder / "ledger.db")
    store = OperationStore(engine, manifest=lambda: home.manifest, clock=SystemClock())
    api = GatewaySettings().api_server(home)
    assert api is not None
    server = ApiServer(app_of(home, SystemClock(), store, relay), api, home=home)
    await server.start()
    try:
        yield
    finally:
        await server.stop()
        engine.dispose()


def test_the_run_finds_a_planted_500(federation: Path, tmp_path: Path) -> None:
    with (
        in_a_thread(lambda: api_alone(federation, tmp_path, BrokenRelay())),
        sessions_of(federation) as sessions,
        pytest.raises(FailureGroup) as found,
    ):
        run(document_of(sessions["partner"]), sessions, only="/v1/evaluations")
    assert any("Server error" in str(one) for one in found.value.exceptions), found.value.exceptions


def _without_a_status(document: dict[str, Any]) -> None:
    del document["paths"]["/v1/evaluations"]["post"]["responses"]["401"]


def _with_another_media_type(document: dict[str, Any]) -> None:
    responses = document["paths"]["/v1/evaluations"]["post"]["responses"]
    responses["400"]["content"] = {"application/json": responses["400"]["content"]["application/problem+json"]}


def _with_another_schema(document: dict[str, Any]) -> None:
    document["components"]["schemas"]["Problem"]["required"].append("never")


def _with_another_header(document: dict[str, Any]) -> None:
    headers = document["paths"]["/v1/evaluations"]["post"]["responses"]["401"]["headers"]
    headers["WWW-Authenticate"]["schema"] = {"type": "integer"}


def _not_at_all(_document: dict[str, Any]) -> None:
    """Leave the document as it is, so that what is found below is what was planted."""


@pytest.mark.parametrize(
    ("spoil", "finds"),
    [
        (_not_at_all, None),
        (_without_a_status, "Undocumented status code"),
        (_with_another_media_type, "Undocumented Content-Type"),
        (_with_another_schema, "Response violates schema"),
        (_with_another_header, "Response header"),
    ],
)
def test_the_run_finds_what_the_document_does_not_say(
    federation: Path, tmp_path: Path, spoil: Callable[[dict[str, Any]], None], finds: str | None
) -> None:
    with in_a_thread(lambda: api_alone(federation, tmp_path, working_relay())), sessions_of(federation) as sessions:
        document = copy.deepcopy(document_of(sessions["partner"]))
        spoil(document)
        with pytest.raises(FailureGroup) if finds else nullcontext() as found:
            run(document, sessions, only="/v1/evaluations")
    if finds is not None:
        assert found is not None
        assert any(finds in str(one) for one in found.value.exceptions), found.value.exceptions
