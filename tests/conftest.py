"""What every test shares: the table of what ran and what was skipped, and the switch that forbids skips."""

from __future__ import annotations

import secrets
from collections import Counter, defaultdict
from typing import TYPE_CHECKING, Any

import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.id_generator import IdGenerator
from xdist.scheduler import LoadScopeScheduling

if TYPE_CHECKING:
    from _pytest.terminal import TerminalReporter


class _Ids(IdGenerator):
    """Numbers that are not drawn from the module `random`, whose state is Hypothesis's while it makes examples."""

    def generate_span_id(self) -> int:
        return secrets.randbits(64) or 1

    def generate_trace_id(self) -> int:
        return secrets.randbits(128) or 1


@pytest.fixture(scope="session", autouse=True)
def spans_of_this_process() -> None:
    """Be first to set the tracer provider, which can be set once.

    A command that a test runs in this process would else set its own, and shut it down for all tests after it.
    """
    trace.set_tracer_provider(TracerProvider(id_generator=_Ids(), shutdown_on_exit=False))


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--no-skips", action="store_true", help="a skipped test is a failure (make test-all)")


# Files whose tests use one federation of processes between them.
_SHARED = frozenset(f"tests/e2e/test_{name}.py" for name in ("crash_between_submits", "custodians_away", "cli_json"))
# These share one federation in containers, or would fight with it for the machine.
_CONTAINERS = ("tests/e2e/docker/", "tests/e2e/test_pods.py")
# Its tests hold worlds against each other that are told once.
_WORLDS = "tests/twoworlds/test_two_worlds.py"
# Its tests share nothing, and each is long.
_APART = "tests/e2e/test_demo.py"


class _TogetherWhatSharesProcesses(LoadScopeScheduling):  # type: ignore[misc]  # xdist has no types
    """One worker runs a whole file of tests/e2e, so that its processes start once; nearly all others go one by one.

    The marker xdist_group would say the same, but xdist 3.8 writes it where pytest 9.2 does not look.
    """

    def _split_scope(self, nodeid: str) -> str:
        path = nodeid.partition("::")[0]
        if path.startswith(_CONTAINERS):
            return "containers"
        if path == _WORLDS:
            return path
        if path == _APART or not path.startswith("tests/e2e/"):
            return nodeid
        return "shared" if path in _SHARED else path


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> LoadScopeScheduling:
    """Choose which tests one worker runs."""
    return _TogetherWhatSharesProcesses(config, log)


def _area(node_id: str) -> str:
    parts = node_id.split("::", 1)[0].split("/")
    return "/".join(parts[1:-1]) or "tests"


def _skips(reporter: TerminalReporter) -> dict[str, Counter[str]]:
    found: dict[str, Counter[str]] = defaultdict(Counter)
    for report in reporter.stats.get("skipped", []):
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
        found[_area(report.nodeid)][reason.removeprefix("Skipped: ")] += 1
    return found


def pytest_terminal_summary(terminalreporter: TerminalReporter) -> None:
    """Print one row an area: ran, and skipped because of what."""
    ran = Counter(
        _area(report.nodeid)
        for outcome in ("passed", "failed", "error")
        for report in terminalreporter.stats.get(outcome, [])
        if getattr(report, "when", "call") == "call"
    )
    skipped = _skips(terminalreporter)
    terminalreporter.section("what ran")
    for area in sorted(ran | Counter(dict.fromkeys(skipped, 0)) if skipped else ran):
        reasons = "; ".join(f"{number} skipped because {why}" for why, number in skipped.get(area, Counter()).items())
        terminalreporter.write_line(f"{area:<28} {ran[area]:>5} ran   {reasons}")


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    """Turn a green run with skips into a red one, where skips are forbidden."""
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    if session.config.getoption("--no-skips") and reporter is not None and reporter.stats.get("skipped"):
        session.exitstatus = pytest.ExitCode.TESTS_FAILED
