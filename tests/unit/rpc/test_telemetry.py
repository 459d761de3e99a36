"""Logs are lines of JSON without content; spans have method and role and nothing else."""

from __future__ import annotations

import asyncio
import gc
import json
import logging
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from concordat import telemetry
from tests.unit.rpc.echo import SECRET, UNARY, Echo, dialled, serving
from tests.unit.telemetry.spans import recorded

if TYPE_CHECKING:
    from collections.abc import Iterator

    from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

    from tests.unit.rpc.conftest import Parties


@pytest.fixture
def root_logger() -> Iterator[logging.Logger]:
    root = logging.getLogger()
    handlers, level, hook = root.handlers[:], root.level, sys.excepthook
    yield root
    sys.excepthook = hook
    root.handlers[:] = handlers
    root.setLevel(level)


@pytest.fixture(scope="module")
def spans() -> InMemorySpanExporter:
    return recorded()


def test_a_line_says_when_who_and_what(root_logger: logging.Logger, capsys: pytest.CaptureFixture[str]) -> None:
    telemetry.log_to_stderr("node-NL")
    logging.getLogger("services.node").info("published %d", 3, extra={"party": "NL", "raw": SECRET})
    line = json.loads(capsys.readouterr().err)
    assert {key: line[key] for key in ("level", "service", "logger", "message", "party")} == {
        "level": "info",
        "service": "node-NL",
        "logger": "services.node",
        "message": "published 3",
        "party": "NL",
    }
    # Only extras with a name on the list are written.
    assert "raw" not in line


async def test_a_task_that_failed_unseen_is_logged_without_its_text(
    root_logger: logging.Logger, capsys: pytest.CaptureFixture[str]
) -> None:
    telemetry.log_to_stderr("node-NL")

    async def fail() -> None:
        raise KeyError(SECRET)

    task = asyncio.create_task(fail())
    await asyncio.wait([task])
    del task
    gc.collect()
    told = capsys.readouterr().err
    assert "Task exception was never retrieved" in told
    assert "KeyError" in told
    assert SECRET not in told


def test_what_ends_a_process_is_logged_without_its_text() -> None:
    program = f"from concordat import telemetry; telemetry.setup('node-NL'); raise KeyError({SECRET!r})"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert SECRET not in done.stderr
    line = json.loads(done.stderr)
    assert (line["level"], line["error"][0]["type"]) == ("critical", "builtins.KeyError")


async def test_a_span_has_method_and_role_of_the_caller_and_nothing_else(
    parties: Parties, echo: Echo, spans: InMemorySpanExporter
) -> None:
    spans.clear()
    async with (
        serving(parties.custodian, echo) as server,
        dialled(server, home=parties.node, to=parties.custodian.identity) as calls,
    ):
        await calls.replies(UNARY, b"0:ok")
        await calls.failure(UNARY, b"0:foreign")
        await calls.failure("/concordat.test.v1.Echo/" + "NoRow", b"0:ok")
    found = spans.get_finished_spans()
    assert [dict(span.attributes or {}) for span in found] == [
        {"rpc.method": UNARY, "concordat.peer.role": "node"},
        {"rpc.method": UNARY, "concordat.peer.role": "node", "concordat.code": "internal"},
        {"rpc.method": "(no row)", "concordat.peer.role": "node", "concordat.code": "refused"},
    ]
    assert [span.status.status_code.name for span in found] == ["UNSET", "ERROR", "ERROR"]
    assert not any(span.events for span in found)
    assert not any(SECRET in span.to_json() for span in found)
