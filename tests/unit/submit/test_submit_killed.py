"""I9: a submit that is killed at any moment goes on where it was, and ends as one that was not disturbed."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING

from concordat.clock import SystemClock
from services.node.case import load_case, template
from services.node.store.store import FILE_NAME, Store
from services.node.submit import Submitter
from tests.unit.custodian.running import CASE, home_of

if TYPE_CHECKING:
    from pathlib import Path

    from concordat.identity.home import Home

ROWS = 5000


def rows_of(store: Store) -> list[tuple[object, ...]]:
    with store.read() as db:
        return db.execute(
            "SELECT r.item, r.line, r.typed, r.status, r.code, v.canonical, v.grade FROM record r"
            " LEFT JOIN record_value rv ON rv.record_id = r.id LEFT JOIN value v ON v.id = rv.value_id"
            " ORDER BY r.item, v.grade, v.canonical"
        ).fetchall()


def test_kill_9_in_the_middle_of_a_submit_loses_and_doubles_nothing(home: Home, tmp_path: Path) -> None:
    path, case = tmp_path / "many.csv", tmp_path / "case.toml"
    lines = [f"phone,+44 7700 9{number:05}" if number % 50 else "phone,nonsense" for number in range(ROWS)]
    path.write_text("kind,identifier\n" + "\n".join(lines) + "\n")
    case.write_text(template(CASE.valid_until))
    arguments = ["node", "submit", str(path), "--case", str(case), "--home", str(home.path), "--json"]
    profile = load_case(case, today=CASE.valid_until)

    killed_at = 0
    with Store.open(home.path / FILE_NAME) as store:
        with subprocess.Popen([sys.executable, "-m", "concordat", *arguments], stdout=subprocess.DEVNULL) as child:
            while not killed_at and child.poll() is None:
                time.sleep(0.01)
                killed_at = len(rows_of(store))
            child.send_signal(signal.SIGKILL)
        assert len(rows_of(store)) > 0
        report = Submitter(home, store, SystemClock(), profile).submit(path)
        disturbed = rows_of(store)
    with Store.open(tmp_path / "other.sqlite") as store:
        undisturbed = Submitter(home_of(tmp_path, "node/NL"), store, SystemClock(), profile).submit(path)
        assert disturbed == rows_of(store)
    assert report.counts == undisturbed.counts
    assert report.counts.accepted + report.counts.refused == ROWS
