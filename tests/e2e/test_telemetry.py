"""What real processes send to a real collector: spans of every role, and nothing of what they work on (I1, I2, I11)."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import pytest
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor

from concordat.clock import SystemClock
from concordat.errors import ConcordatError
from concordat.identity.home import load_home
from concordat.rpc.client import call, channel
from concordat.telemetry.allowed import ATTRIBUTES, SPANS
from concordat.wire.v1 import custodian_pb2, operations_pb2
from concordat.wire.v1.operations_pb2_grpc import OperationServiceStub
from demo.processes import free_ports
from services.node.store.store import FILE_NAME, Store
from tests.e2e.canaries import Canary, Scanner
from tests.e2e.local import KillableFederation
from tests.e2e.otlp_sink import Sink
from tests.e2e.tap import Tapping
from tests.e2e.test_demo import mixed

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path


pytestmark = pytest.mark.slow

NAMES: Final = ("NL", "DE", "RO")
CUSTODIANS: Final = ("c1", "c2", "c3")
CONSOLE: Final = "console-console"
SERVER, CLIENT = 2, 3
HELD, UNKNOWN = "0044 (7700) 900-123", "nobody.knows@kanarie-ten.example"
TEXT: Final = ("SELECT typed FROM record", "SELECT canonical FROM value")
BYTES: Final = {
    "label": "SELECT label FROM token",
    "match secret": "SELECT secret FROM token",
    "token": "SELECT token FROM token",
    "reference": "SELECT reference FROM value",
}
RESOURCE: Final = {"service.name", "service.version", "service.instance.id"}


def secrets_in(homes: Iterable[Path]) -> Iterator[tuple[str, str | bytes]]:
    """Return all that a node's store holds of identifiers, and what was made of them."""
    for home in homes:
        with Store.open(home / FILE_NAME) as store, store.read() as db:
            for query in TEXT:
                yield from (("text", text) for (text,) in db.execute(query) if text and len(text) >= 6)
            for what, query in BYTES.items():
                yield from ((what, bytes(found)) for (found,) in db.execute(query))


def elements_in(tapping: Tapping) -> Iterator[tuple[str, bytes]]:
    """Return the blinded elements that went to custodians, and what they made of them."""
    for one in tapping.wire.conversations():
        for message in one.up.messages():
            yield from _cut("blinded element", custodian_pb2.EvaluateRequest.FromString(message).elements)
        for message in one.down.messages():
            yield from _cut("evaluated element", custodian_pb2.EvaluateResponse.FromString(message).elements)


def _cut(what: str, elements: bytes) -> Iterator[tuple[str, bytes]]:
    yield from ((what, elements[at : at + 32]) for at in range(0, len(elements), 32))


def scanner_of(secrets: Iterable[tuple[str, str | bytes]]) -> tuple[Scanner, list[Canary]]:
    """Return a scanner for secrets, each once, and the secrets as it numbers them."""
    canaries = [Canary(number, what, value) for number, (what, value) in enumerate(dict.fromkeys(secrets), 1)]
    return Scanner(canaries), canaries


def only_what_is_listed(sink: Sink) -> bool:
    """Tell whether all that came is made of listed words; what else there is are times, numbers and random ids."""
    spans = sink.spans()
    assert {one.name for one in spans} <= SPANS
    for labels in [*(one.attributes for one in spans), *sink.metric_labels()]:
        assert all(name in ATTRIBUTES and ATTRIBUTES[name](value) for name, value in labels.items())
    assert all(set(one) == RESOURCE for one in sink.resources())
    assert not [what for what, _ in sink.requests() if what == "logs"]
    return True


def only_one_trace_of_the_partner(sink: Sink) -> set[str]:
    """Return the services in the trace of the partner's check, after a look at who is in it."""
    spans = sink.spans()
    (check,) = [one for one in spans if (one.service, one.name) == ("partner", "check")]
    members = [one for one in spans if one.trace_id == check.trace_id]
    services = {one.service for one in members}
    assert not any(service.startswith("node-") for service in services)
    assert services & {f"custodian-{name}" for name in CUSTODIANS}
    assert {one.attributes["http.route"] for one in members if one.name == "http" and one.kind == SERVER} == {
        "/v1/token",
        "/v1/evaluations",
        "/v1/queries",
    }
    assert [one.service for one in members if one.name == "check" and one.kind == SERVER] == ["gateway-g1"]
    return services


def plant(sink: Sink, canary: Canary) -> None:
    """Send a span as a careless library would, with a secret in an attribute, past the list."""
    provider = TracerProvider(resource=Resource({"service.name": "careless"}), shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(OTLPSpanExporter(endpoint=sink.endpoint, insecure=True)))
    value = canary.value if isinstance(canary.value, str) else canary.value.hex()
    provider.get_tracer("library").start_span("call", attributes={"argument": value}).end()
    provider.shutdown()


def scenario_with_a_partner(path: Path) -> Path:
    """Write the small scenario of the demo's tests, and a partner that asks: a hit, and what nobody holds."""
    scenario = json.loads(mixed(path).read_text("utf-8"))
    scenario["parties"]["NL"] = {"answers_partners": True}
    scenario["queries"] = [
        {"id": "q1", "partner": "IJM", "kind": "phone", "typed": HELD, "same_as": scenario["match"][0][0]},
        {"id": "q2", "partner": "IJM", "kind": "email", "typed": UNKNOWN},
    ]
    path.write_text(json.dumps(scenario), encoding="utf-8")
    return path


def test_the_demo_exports_no_identifier_label_token_or_reference(tmp_path: Path) -> None:
    """I1, I2: the real demo, with a collector for every process."""
    keep = tmp_path / "kept"
    with Sink() as sink:
        scenario = scenario_with_a_partner(tmp_path / "s.json")
        command = ["demo", "--once", "--hosts", "4", "--scenario", scenario, "--keep", keep]
        arguments = [sys.executable, "-m", "concordat", *map(str, command), "--otlp", sink.endpoint]
        done = subprocess.run(arguments, capture_output=True, text=True, check=False, timeout=200)
        assert done.returncode == 0, done.stdout + done.stderr
        services = {one.service for one in sink.spans()}
        assert services >= {"gateway-g1", *(f"custodian-{name}" for name in CUSTODIANS)}
        assert services >= {f"node-{name}" for name in ("DE", "NL", "RO", "EUROPOL")}
        assert {("gateway-g1", "concordat.certificates"), ("node-NL", "rpc.client.duration")} <= set(
            sink.metric_names()
        )
        assert only_one_trace_of_the_partner(sink) >= {"partner", "gateway-g1"}
        homes = sorted((keep / "federation" / "node").iterdir())
        scanner, canaries = scanner_of([*secrets_in(homes), ("text", HELD), ("text", UNKNOWN)])
        assert {one.what for one in canaries} == {"text", *BYTES}
        assert scanner.find_all(sink.places()) == []
        assert only_what_is_listed(sink)
        for canary in (canaries[0], next(one for one in canaries if one.what == "token")):
            plant(sink, canary)
            sink.wait(lambda so_far: any(one.service == "careless" for one in so_far.spans()))
            assert canary.number in {one.canary for one in scanner.find_all(sink.places())}
    logs = {path.name: path.read_text() for path in keep.glob("*.log")}
    assert not [name for name, text in logs.items() if "takes no" in text]


async def be_refused(federation: KillableFederation) -> None:
    """Ask the gateway for what it refuses, so that its log has a line of a call."""
    home = load_home(federation.home("RO"), clock=SystemClock())
    gateway = home.manifest.gateways[0]
    async with channel(gateway.address, home=home, server=gateway.spiffe) as link:
        request = operations_pb2.GetReportRequest(operation="no-such-operation")
        with pytest.raises(ConcordatError):
            await call(OperationServiceStub(link).GetReport, request, party="gateway", timeout_s=10)


@dataclass(frozen=True)
class Run:
    """What a federation with taps in front of its custodians exported."""

    sink: Sink
    federation: KillableFederation
    elements: list[tuple[str, bytes]]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Run]:
    folder = tmp_path_factory.mktemp("telemetry")
    with Sink() as sink, Tapping() as tapping:
        federation = KillableFederation(folder / "run", NAMES, otlp=sink.endpoint)
        federation._with_console = True
        with federation:
            manifest = federation.prepare(tick_ms=100, window_ms=300)
            clients = {manifest.party(name).id: federation.home(name) for name in NAMES}
            clients[manifest.gateways[0].id] = federation.home("g1", "gateway")
            for custodian, port in zip(manifest.custodians, free_ports(len(manifest.custodians)), strict=True):
                home = federation.home(custodian.spiffe.name, "custodian")
                (home / "custodian.toml").write_text(f'address = "localhost:{port}"\n')
                tapping.add(home, listen=custodian.address, dial=f"localhost:{port}", clients=clients)
            federation.start()
            values = [f"trace.{number}@kanarie.example" for number in range(3)]
            for name in NAMES:
                (folder / f"{name}.csv").write_text("kind,value\n" + "".join(f"email,{value}\n" for value in values))
                federation.submit(name, folder / f"{name}.csv")
            with federation.stores() as stores:
                stores.wait_done(60)
            asyncio.run(be_refused(federation))
            # The console asks for its token until the gateway's API is there.
            sink.wait(lambda so_far: any("http.route" in one.attributes for one in so_far.spans()))
        yield Run(sink, federation, list(elements_in(tapping)))


def test_an_askers_trace_has_the_custodians_and_the_gateway_and_no_holder(run: Run) -> None:
    """I11: where the asker's trace ends."""
    spans = run.sink.spans()
    by_id = {one.span_id: one for one in spans}
    asked = [one for one in spans if one.name == "check" and one.kind == SERVER]
    assert {one.service for one in asked} == {"gateway-g1"}
    whole = 0
    for check in asked:
        asker = by_id[check.parent]
        assert (asker.name, asker.kind, asker.trace_id) == ("check", CLIENT, check.trace_id)
        members = [one for one in spans if one.trace_id == check.trace_id]
        assert {one.service for one in members} <= {asker.service, "gateway-g1", *_custodians()}
        assert "questions" not in {one.name for one in members}
        whole += bool({one.service for one in members} & _custodians())
    assert whole, "no trace of a check has the custodians that made its tokens"


def test_a_holders_trace_is_its_own(run: Run) -> None:
    """I11: a span of questions is alone in its trace, and its holder's process alone exports it."""
    spans = run.sink.spans()
    held = [one for one in spans if one.name == "questions"]
    assert {one.service for one in held} <= {f"node-{name}" for name in NAMES}
    assert held
    for one in held:
        assert (one.parent, one.attributes) == ("", {})
        assert [other.span_id for other in spans if other.trace_id == one.trace_id] == [one.span_id]


def test_the_gateway_exports_nothing_that_speaks_of_routing(run: Run) -> None:
    """I11: a span a check and a span a call, whoever was asked."""
    own = [one for one in run.sink.spans() if one.service == "gateway-g1"]
    assert {one.name for one in own} <= {"check", "rpc", "http"}
    assert all(one.attributes == {} for one in own if one.name == "check")


def test_no_secret_and_no_blinded_element_is_in_any_exported_byte(run: Run) -> None:
    """I1, I2: looked for in all requests, as they came and as text shows them."""
    homes = [run.federation.home(name) for name in NAMES]
    scanner, canaries = scanner_of([*secrets_in(homes), *run.elements])
    assert {one.what for one in canaries} == {"text", "blinded element", "evaluated element", *BYTES}
    assert scanner.find_all(run.sink.places()) == []
    assert only_what_is_listed(run.sink)
    planted = next(one for one in canaries if one.what == "blinded element")
    assert isinstance(planted.value, bytes)
    leak = json.dumps({"attributes": {"elements": planted.value.hex()}}).encode()
    assert [one.canary for one in scanner.find("a planted leak", leak)] == [planted.number]


def test_every_role_exports_spans(run: Run) -> None:
    nodes = {f"node-{name}" for name in NAMES}
    assert {one.service for one in run.sink.spans()} == {"gateway-g1", CONSOLE, *_custodians(), *nodes}


def test_a_line_of_a_log_leads_to_its_span(run: Run) -> None:
    lines = [json.loads(line) for line in (run.federation.folder / "gateway.log").read_text().splitlines()]
    (refused,) = [line for line in lines if line["message"].startswith("call refused")]
    found = [one for one in run.sink.spans() if one.span_id == refused["span_id"]]
    assert [(one.service, one.name, one.trace_id) for one in found] == [("gateway-g1", "rpc", refused["trace_id"])]
    assert found[0].attributes["concordat.code"] in refused["message"]


def test_no_party_is_named_in_a_metric(run: Run) -> None:
    """Series are few: their labels are methods, routes, codes and roles of the program itself."""
    labels = run.sink.metric_labels()
    assert {name for one in labels for name in one} >= {"rpc.method", "concordat.code", "http.route"}
    series = {json.dumps(sorted(one.items())) for one in labels}
    assert len(series) < 100
    assert not [one for one in series for name in (*NAMES, "spiffe") if name in one]


def _custodians() -> set[str]:
    return {f"custodian-{name}" for name in CUSTODIANS}
