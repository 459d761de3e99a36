"""`concordat demo` in full: right for any seed, wrong when something is broken, and nothing of it is left behind."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

DEMO_S: Final = 200
TOTALS: Final = {
    "people_usernames": 85,
    "platforms": 371,
    "communication_devices": 325,
    "platforms_suspected": 26,
    "platforms_identified": 5,
    "platforms_csa": 10,
}

pytestmark = pytest.mark.slow


@dataclass(frozen=True, slots=True)
class Demo:
    """A demo that runs as a process group of its own, with a folder of its own for what is temporary."""

    process: subprocess.Popen[str]
    temporary: Path
    outcome: Path

    def children(self) -> list[int]:
        """Return all processes of its group but itself; its children make no groups of their own."""
        return [pid for pid in _group(self.process.pid) if pid != self.process.pid]

    def wait(self) -> tuple[int, dict[str, Any]]:
        """Wait for the end; return exit code and outcome."""
        out, _ = self.process.communicate(timeout=DEMO_S)
        found: dict[str, Any] = json.loads(self.outcome.read_text("utf-8")) if self.outcome.exists() else {}
        assert found or self.process.returncode, out
        return self.process.returncode, found

    def nothing_is_left(self) -> bool:
        """Tell whether no process and no temporary file of it is there any more."""
        return not _group(self.process.pid) and not list(self.temporary.iterdir())


def _group(group: int) -> list[int]:
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                # After the name in parentheses: state, parent, group.
                state, _, its_group = (entry / "stat").read_text().rpartition(")")[2].split()[:3]
            except OSError:
                continue
            if int(its_group) == group and state != "Z":
                found.append(int(entry.name))
    return found


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Any]:
    started: list[Demo] = []

    def go(*options: str | Path) -> Demo:
        temporary, outcome = tmp_path / "temporary", tmp_path / "outcome.json"
        temporary.mkdir()
        process = subprocess.Popen(
            [sys.executable, "-m", "concordat", "demo", "--once", "--json", outcome, *options],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            text=True,
            start_new_session=True,
            env={**os.environ, "TMPDIR": str(temporary)},
        )
        started.append(Demo(process, temporary, outcome))
        return started[-1]

    yield go
    for demo in started:
        for pid in _group(demo.process.pid):
            os.kill(pid, signal.SIGKILL)
        demo.process.communicate()


def mixed(path: Path) -> Path:
    """Write a scenario with matches, near misses, several lines of one party in one group, and a standing party."""
    lines: list[dict[str, str]] = []
    match: list[list[str]] = []

    def hold(party: str, kind: str, typed: str, **more: str) -> str:
        lines.append({"id": f"{party}-{len(lines)}", "party": party, "kind": kind, "typed": typed, **more})
        return lines[-1]["id"]

    # Written in four ways by three parties, twice by one of them; it is one thing, and three pairs.
    match.append(
        [
            hold("NL", "whatsapp", "https://wa.me/447700900123"),
            hold("NL", "phone", "+44 (0)7700 900-123"),
            hold("RO", "fax", "07700 900 123", region="GB"),
            hold("EUROPOL", "phone", "0044 7700 900123"),
        ]
    )
    for number in range(12):
        text = f"person.{number}@mail.example"
        match.append([hold("DE", "email", text), hold("NL", "email", text.upper()), hold("NL", "email", f" {text} ")])
    match.append([hold("RO", "domain", "https://shop.example/a"), hold("EUROPOL", "domain", "SHOP.example")])
    # Nobody else's, by one character.
    for party, text in (
        ("DE", "persom.1@mail.example"),
        ("RO", "person1@mail.example"),
        ("NL", "person.1@mail2.example"),
    ):
        hold(party, "email", text)
    hold("DE", "phone", "+44 7700 900124")
    scenario = {
        "name": "a small exam",
        "parties": {"DE": {}, "NL": {}, "RO": {}, "EUROPOL": {"party_class": "eu_agency", "standing": True}},
        "lines": lines,
        "match": match,
        "differ": [[match[0][0], lines[-1]["id"]]],
        # One number of NL and RO, one of DE, 12 shared addresses and 3 lone ones; Europol's lines count nowhere.
        "totals": {"communication_devices": 17, "platforms": 1, "people_usernames": 0},
    }
    path.write_text(json.dumps(scenario), encoding="utf-8")
    return path


@pytest.mark.parametrize("seed", ["1", pytest.param("2", marks=pytest.mark.full)])
def test_the_action_day_comes_out_right_and_leaves_nothing_behind(start: Any, seed: str) -> None:
    demo = start("--seed", seed)
    code, outcome = demo.wait()
    assert outcome["totals"] == TOTALS
    assert outcome["matches_expected"] > 1_000
    assert outcome["matches_found"] == outcome["matches_expected"]
    assert [outcome[f"matches_{name}"] for name in ("missing", "unexpected", "doubled")] == [0, 0, 0]
    assert outcome["refused_lines"] == 0
    assert outcome["seconds"] > 0
    assert code == 0
    assert demo.nothing_is_left()


@pytest.mark.full
def test_a_scaled_action_day_comes_out_right(start: Any) -> None:
    demo = start("--scale", "20000")
    code, outcome = demo.wait()
    assert (code, outcome["right"]) == (0, True)
    assert outcome["matches_found"] == outcome["matches_expected"] > 5_000
    assert demo.nothing_is_left()


def test_a_scale_that_cannot_be_is_refused(start: Any) -> None:
    code, outcome = start("--scale", "1999").wait()
    assert (code, outcome) == (2, {})


@pytest.mark.full
def test_a_scenario_of_strangers_comes_out_as_they_say(start: Any, tmp_path: Path) -> None:
    demo = start("--hosts", "1", "--scenario", mixed(tmp_path / "scenario.json"))
    code, outcome = demo.wait()
    assert (code, outcome["right"]) == (0, True)
    assert outcome["matches_found"] == outcome["matches_expected"] == 3 + 12 + 1
    assert demo.nothing_is_left()


# The sweep finds what routing lost, but not at a party that takes no part in it: two things of Europol.
@pytest.mark.parametrize(
    ("part", "lost"),
    [
        ("route", 2),
        pytest.param("canonical", 12, marks=pytest.mark.full),
        pytest.param("notify", 12, marks=pytest.mark.full),
    ],
)
def test_a_part_that_is_broken_on_purpose_makes_it_fail(start: Any, tmp_path: Path, part: str, lost: int) -> None:
    demo = start("--break", part, "--hosts", "1", "--scenario", mixed(tmp_path / "scenario.json"))
    code, outcome = demo.wait()
    assert (code, outcome["right"]) == (1, False)
    assert outcome["matches_missing"] >= lost
    assert outcome["matches_found"] == outcome["matches_expected"] - outcome["matches_missing"]
    assert demo.nothing_is_left()


@pytest.mark.parametrize(
    ("moment", "number", "code"), [("starting", signal.SIGTERM, 143), ("working", signal.SIGINT, 130)]
)
def test_a_demo_that_is_stopped_takes_everything_with_it(
    start: Any, tmp_path: Path, moment: str, number: signal.Signals, code: int
) -> None:
    demo = start("--hosts", "1", "--scenario", mixed(tmp_path / "scenario.json"))
    deadline = time.monotonic() + DEMO_S
    # Three custodians, the gateway, one host of all nodes; they serve once a store was written to.
    while len(demo.children()) < 5 or (moment == "working" and not list(demo.temporary.rglob("store.sqlite-wal"))):
        assert time.monotonic() < deadline
        assert demo.process.poll() is None
        time.sleep(0.02)
    # To the demo alone, as a service manager does; a terminal would send it to all of its children too.
    demo.process.send_signal(number)
    assert demo.wait() == (code, {})
    assert demo.nothing_is_left()
