"""An exercise of two countries with real processes: it meets itself only, is counted nowhere, and leaves nothing."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING, Any

import pytest

from concordat.clock import ManualClock, SystemClock
from concordat.errors import ConcordatError
from concordat.identity.home import load_home
from services.node.exercises import wipe_ended
from services.node.store.store import FILE_NAME, Store
from tests.e2e.local import KillableFederation, mails, run_json, until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.slow


@pytest.fixture
def federation(tmp_path: Path) -> Iterator[KillableFederation]:
    with KillableFederation(tmp_path / "drill", ("DE", "NL")) as made:
        made.prepare()
        made.start()
        yield made


def submit(federation: KillableFederation, name: str, file: Path, *more: str) -> None:
    where = ("--case", federation.case(), "--home", federation.home(name), "--no-wait")
    assert run_json("node", "submit", file, *where, *more)["accepted"] == 3


def matches(federation: KillableFederation, name: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = run_json("node", "matches", "--home", federation.home(name))["matches"]
    return found


def report(federation: KillableFederation) -> dict[str, Any] | None:
    try:
        return run_json("node", "operation", "report", "drill", "--home", federation.home("NL"))
    except (AssertionError, ConcordatError):
        return None


def test_an_exercise_meets_itself_only_and_leaves_nothing(federation: KillableFederation, tmp_path: Path) -> None:
    file = mails(tmp_path / "three.csv", range(3))
    nl, de = federation.home("NL"), federation.home("DE")
    opened = ("drill", "--title", "Drill", "--participants", "NL,DE", "--case", federation.case(), "--home", nl)
    run_json("node", "operation", "open", *opened, "--exercise")
    # Before DE has signed, NL's questions wait; DE has the same addresses for real.
    submit(federation, "NL", file, "--operation", "drill")
    federation.submit("DE", file)
    run_json("node", "operation", "sign", "drill", "--yes", "--home", de)
    submit(federation, "DE", file, "--operation", "drill")
    until("both are told", lambda: all(len(matches(federation, name)) == 3 for name in federation.names))
    for name in federation.names:
        assert {(one["operation"], one["exercise"]) for one in matches(federation, name)} == {("drill", True)}
    run_json("node", "operation", "start-sweep", "drill", "--home", nl)
    until("the report is there", lambda: report(federation) is not None)
    frozen = report(federation)
    assert frozen is not None
    assert (frozen["exercise"], frozen["totals"]["communication_devices"], frozen["matches"]) == (True, 3, 3)
    with closing(sqlite3.connect(federation.home("g1", "gateway") / "ledger.db")) as ledger:
        assert ledger.execute("SELECT exercise, count(*) FROM edge GROUP BY exercise").fetchall() == [("drill", 3)]
    logs = [federation.home(f"c{index}", "custodian") / "custodian.log" for index in (1, 2, 3)]
    lines = [json.loads(line) for log in logs if log.exists() for line in log.read_text().splitlines()]
    assert {line.get("exercise", "") for line in lines} == {"", "drill"}
    federation.stop()
    after = ManualClock(SystemClock().now() + 6 * 86_400)
    for name, kept in (("NL", 0), ("DE", 3)):
        with Store.open(federation.home(name) / FILE_NAME) as store:
            wipe_ended(load_home(federation.home(name), clock=SystemClock()), store, clock=after)
            with store.read() as db:
                left = {
                    table: db.execute(f"SELECT count(*) FROM {table}").fetchone()[0]
                    for table in ("record", "told", "verified_pair", "witness")
                }
        assert left == {"record": kept, "told": 0, "verified_pair": 0, "witness": 0}
