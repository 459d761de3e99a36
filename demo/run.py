"""One run of the demo, from folders and keys to the comparison with the truth."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from concordat.protocol.report import TOTALS
from demo.action import ActionDay
from demo.federation import LocalFederation
from demo.files import write_files
from demo.score import Score, score
from demo.stores import Stores

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from demo.files import PartyFile
    from demo.scenario import Scenario
    from demo.show import Screen

WORK_S: Final = 240
NOTICES_S: Final = 5
POLL_S: Final = 0.2


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came out of a run."""

    scenario: str
    totals: Mapping[str, int]
    score: Score
    refused_lines: int
    seconds: float

    def to_json(self) -> dict[str, Any]:
        """Return the outcome as the JSON that `--json` writes."""
        return {
            "scenario": self.scenario,
            "right": self.score.right,
            "totals": dict(self.totals),
            "matches_expected": self.score.expected,
            "matches_found": self.score.found,
            "matches_missing": len(self.score.missing),
            "matches_unexpected": len(self.score.unexpected),
            "matches_doubled": len(self.score.doubled),
            "missing": list(self.score.missing),
            "unexpected": list(self.score.unexpected),
            "doubled": list(self.score.doubled),
            "wrong_totals": list(self.score.wrong_totals),
            "refused_lines": self.refused_lines,
            "seconds": round(self.seconds, 2),
        }


def run_demo(
    scenario: Scenario,
    folder: Path,
    *,
    screen: Screen,
    hosts: int = 2,
    fault: str | None = None,
    otlp: str | None = None,
    linger: bool = False,
) -> Outcome:
    """Run a scenario.

    Args:
        scenario: Lines and truth.
        folder: Empty folder for files, stores and logs.
        screen: Where to show progress.
        hosts: Processes among which the nodes are spread.
        fault: "canonical", "route" or "notify", to show that the comparison finds it.
        otlp: OpenTelemetry collector of every process.
        linger: Keep everything running until Enter is pressed.

    Raises:
        UnavailableError: A process does not start, or work is not done in time; the message says which and why.
    """
    begun = time.monotonic()
    files = write_files(scenario, folder / "files")
    sabotage = {"gateway": fault} if fault in ("route", "notify") else {}
    federation = LocalFederation(folder, scenario.parties, hosts=hosts, sabotage=sabotage, on_event=screen.on_event)
    federation.otlp = otlp
    with screen.step("keys, certificates, manifest; token keys without a dealer"):
        federation.prepare()
    with federation:
        with screen.step(f"3 custodians, gateway, {len(scenario.parties)} nodes"):
            federation.start()
        with Stores({name: federation.home(name) for name in scenario.parties}) as stores:
            careless = next(iter(scenario.parties)) if fault == "canonical" else None
            day = ActionDay(federation, scenario, stores, careless=careless)
            outcome = _action_day(day, scenario, stores, files, screen=screen, begun=begun)
        if linger:
            screen.linger(federation.home(next(iter(scenario.parties))))
    return outcome


def _action_day(
    day: ActionDay,
    scenario: Scenario,
    stores: Stores,
    files: Sequence[PartyFile],
    *,
    screen: Screen,
    begun: float,
) -> Outcome:
    with screen.step("charter, signed by every participant"):
        asyncio.run(day.sign_charter())
    with screen.step("submit raw files of all parties", total=len(scenario.lines)) as advance:
        reports = day.submit(files, advance)
    with screen.step("tokenise, publish, check; matches as they come"):
        stores.wait_done(WORK_S)
    with screen.step("sweep and report"):
        report = asyncio.run(day.sweep())
    totals = report["totals"] if report is not None else dict.fromkeys(TOTALS, 0)
    result = _settled(scenario, stores, files, totals)
    seconds = time.monotonic() - begun
    screen.report(report)
    screen.comparison(result, seconds)
    refused = sum(report.counts.refused for reports_of in reports.values() for report in reports_of)
    return Outcome(scenario.name, totals, result, refused, seconds)


def _settled(scenario: Scenario, stores: Stores, files: Sequence[PartyFile], totals: Mapping[str, int]) -> Score:
    """Score when the last notices have come; what is missing then stays missing."""
    lines = stores.lines_of(files)
    deadline = time.monotonic() + NOTICES_S
    while True:
        result = score(scenario, stores.told(), lines, totals)
        if result.found == result.expected or time.monotonic() > deadline:
            return result
        time.sleep(POLL_S)
