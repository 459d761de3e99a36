"""Whole processes and a real collector: what leaves, how it ends, and that a collector that is away stops nobody."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Final

from tests.e2e.otlp_sink import Sink

SECRET: Final = "+44 7700 900123"
PROGRAM: Final = """
import logging, sys, time
from opentelemetry import metrics, trace
from opentelemetry.trace import SpanKind
from concordat import telemetry
settings = telemetry.TelemetrySettings(otlp=sys.argv[1], trace_ratio=float(sys.argv[2]))
with telemetry.setup("test", settings=settings):
    for _ in range(int(sys.argv[3])):
        with telemetry.span("check", kind=SpanKind.CLIENT):
            logging.getLogger("test").info("within")
    careless = trace.get_tracer("library").start_span("GET {secret}", attributes={{"typed": "{secret}"}})
    careless.record_exception(ValueError("{secret}"))
    careless.end()
    with telemetry.span("check"):
        telemetry.meter().create_counter("concordat.ticks").add(1, {{"party": "{secret}", "concordat.code": "ok"}})
        logging.getLogger("test").info("within")
    time.sleep(float(sys.argv[4]))
    print("work done", flush=True)
"""


def run(
    endpoint: str, *, ratio: float = 1, spans: int = 3, seconds: float = 0, timeout_s: float = 60
) -> subprocess.CompletedProcess[str]:
    """Run a process that makes spans, does a library's careless work, and ends."""
    arguments = [endpoint, str(ratio), str(spans), str(seconds)]
    program = PROGRAM.format(secret=SECRET)
    done = subprocess.run(
        [sys.executable, "-c", program, *arguments], capture_output=True, text=True, check=False, timeout=timeout_s
    )
    assert (done.returncode, done.stdout) == (0, "work done\n"), done.stderr
    return done


def test_what_waits_is_sent_at_the_end_and_nothing_careless_is_in_it() -> None:
    with Sink() as sink:
        done = run(sink.endpoint)
        spans = sink.spans()
        assert [(one.service, one.name, one.parent) for one in spans] == [("test", "check", "")] * 4
        assert ("test", "concordat.ticks") in sink.metric_names()
        assert not [place for place, content in sink.places() if SECRET.encode() in content or b"900123" in content]
        ticks = [text for _, request in sink.requests() if "concordat.ticks" in (text := str(request))]
        assert any('key: "concordat.code"' in text for text in ticks)
        assert not any("party" in text for text in ticks)
        assert not any("exemplar" in text for text in ticks)
    lines = [json.loads(line) for line in done.stderr.splitlines()]
    assert {line["trace_id"] for line in lines} == {one.trace_id for one in spans}


def test_the_resource_says_service_version_and_a_random_instance_and_no_host() -> None:
    with Sink() as sink:
        run(sink.endpoint)
        run(sink.endpoint)
        found = sink.resources()
    assert {frozenset(one) for one in found} == {frozenset({"service.name", "service.version", "service.instance.id"})}
    assert len({one["service.instance.id"] for one in found}) == 2


def test_logs_have_trace_ids_where_nothing_is_exported() -> None:
    program = (
        "import logging; from concordat import telemetry; telemetry.setup('test')\n"
        "with telemetry.span('check'): logging.getLogger('test').info('within')\n"
        "with telemetry.unexported(): logging.getLogger('test').info('within')\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    lines = [json.loads(line) for line in done.stderr.splitlines()]
    assert len({line["trace_id"] for line in lines}) == 2
    assert all(len(line["span_id"]) == 16 for line in lines)


def test_a_part_of_all_traces_is_a_part() -> None:
    with Sink() as sink:
        run(sink.endpoint, ratio=0)
        assert sink.spans() == []
        run(sink.endpoint, ratio=0.5, spans=300)
        assert 60 < len(sink.spans()) < 240


def test_a_collector_that_is_away_stops_nobody_and_is_told_once() -> None:
    """The SDK alone would wait for 30 s at the end, for spans and for metrics."""
    done = run("http://127.0.0.1:9", seconds=7, timeout_s=30)
    told = [json.loads(line)["message"] for line in done.stderr.splitlines() if "collector" in line]
    assert sorted(set(told)) == sorted(told)
    assert "the collector takes no spans now" in told
    assert "127.0.0.1:9" not in done.stderr
