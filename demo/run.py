"""One run of the demo, from folders and keys to the comparison with the truth."""

from __future__ import annotations

import asyncio
import json
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from concordat import telemetry
from concordat.client import Verdict
from concordat.protocol.report import TOTALS
from demo.action import OPERATION, ActionDay
from demo.federation import LocalFederation
from demo.files import write_files
from demo.partner import ask, judge
from demo.score import Score, score
from demo.stores import Stores

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from demo.files import PartyFile
    from demo.partner import PartnerCheck
    from demo.scenario import Scenario
    from demo.show import Screen

WORK_S: Final = 240
# On top of it, for each record: two cores do the work of all parties and custodians.
WORK_RECORD_S: Final = 0.05
NOTICES_S: Final = 5
NOTICES_RECORD_S: Final = 0.0005
POLL_S: Final = 0.2


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came out of a run."""

    scenario: str
    totals: Mapping[str, int]
    score: Score
    refused_lines: int
    wrong_answers: tuple[str, ...]
    """What is wrong with the answers to partners."""
    queries: int
    hits: int
    seconds: float

    @property
    def right(self) -> bool:
        """Tell whether all is as the scenario says; it decides the exit code."""
        return self.score.right and not self.wrong_answers

    def to_json(self) -> dict[str, Any]:
        """Return the outcome as the JSON that `--json` writes."""
        return {
            "scenario": self.scenario,
            "right": self.right,
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
            "queries": self.queries,
            "queries_hit": self.hits,
            "wrong_answers": list(self.wrong_answers),
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
    federation = LocalFederation(
        folder,
        scenario.parties,
        partners=scenario.partners,
        console=True,
        hosts=hosts,
        sabotage=sabotage,
        on_event=screen.on_event,
    )
    federation.otlp = otlp
    with screen.step("keys, certificates, manifest; token keys without a dealer"):
        federation.prepare()
    with federation:
        with screen.step(f"3 custodians, gateway, console, {len(scenario.parties)} nodes"):
            federation.start()
        screen.console_link(federation.console_link)
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
    with screen.work("tokenise, publish, check; matches as they come") as tell:
        stores.wait_done(WORK_S + WORK_RECORD_S * len(scenario.lines), tell)
    with screen.step("sweep and report"):
        report = asyncio.run(day.sweep())
    totals = report["totals"] if report is not None else dict.fromkeys(TOTALS, 0)
    result = _settled(scenario, stores, files, totals)
    screen.report(report)
    screen.comparison(result)
    with telemetry.exporting("partner", day.federation.otlp):
        operation = OPERATION if report is not None else None
        checks = [_ask(day, scenario, partner, operation, screen) for partner in scenario.partners]
    wrong = (*_judged(scenario, checks, stores, files), *_misread(report, checks))
    screen.partner_checks(checks, wrong)
    outcome = Outcome(
        scenario=scenario.name,
        totals=totals,
        score=result,
        refused_lines=sum(report.counts.refused for reports_of in reports.values() for report in reports_of),
        wrong_answers=wrong,
        queries=len(scenario.queries),
        hits=sum(len(check.outcome.of(Verdict.HIT)) for check in checks),
        seconds=time.monotonic() - begun,
    )
    screen.verdict(right=outcome.right, seconds=outcome.seconds)
    return outcome


def _ask(day: ActionDay, scenario: Scenario, partner: str, operation: str | None, screen: Screen) -> PartnerCheck:
    number = sum(query.partner == partner for query in scenario.queries)
    with screen.step(f"{partner}, a partner, checks {number} identifiers by the gateway's API, and reads the report"):
        return asyncio.run(ask(day.federation.home(partner, "partner"), scenario, partner, operation=operation))


def _misread(report: Mapping[str, Any] | None, checks: Sequence[PartnerCheck]) -> list[str]:
    """Say which partner read another report than its opener did."""
    return [
        f"{check.partner}: reads another report than the opener"
        for check in checks
        if report is not None and (check.report is None or json.loads(check.report) != report)
    ]


def _judged(
    scenario: Scenario, checks: Sequence[PartnerCheck], stores: Stores, files: Sequence[PartyFile]
) -> tuple[str, ...]:
    """Say what is wrong with the answers when the last holder has been told; what is wrong then stays wrong."""
    answers, lines = [answer for check in checks for answer in check.answers()], stores.lines_of(files)
    deadline = time.monotonic() + NOTICES_S + NOTICES_RECORD_S * len(scenario.lines)
    while True:
        wrong = judge(scenario, answers, stores.told(), lines)
        if not wrong or time.monotonic() > deadline:
            return wrong
        time.sleep(POLL_S)


def _settled(scenario: Scenario, stores: Stores, files: Sequence[PartyFile], totals: Mapping[str, int]) -> Score:
    """Score when the last notices have come; what is missing then stays missing."""
    lines = stores.lines_of(files)
    deadline = time.monotonic() + NOTICES_S + NOTICES_RECORD_S * len(scenario.lines)
    while True:
        result = score(scenario, stores.told(), lines, totals)
        if result.found == result.expected or time.monotonic() > deadline:
            return result
        time.sleep(POLL_S)
