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


def any_row(store: Store) -> bool:
    with store.read() as db:
        return db.execute("SELECT 1 FROM record LIMIT 1").fetchone() is not None


def test_kill_9_in_the_middle_of_a_submit_loses_and_doubles_nothing(home: Home, tmp_path: Path) -> None:
    path, case = tmp_path / "many.csv", tmp_path / "case.toml"
    lines = [f"email,person{number}@mail.example" if number % 50 else "email,nonsense" for number in range(ROWS)]
    path.write_text("kind,identifier\n" + "\n".join(lines) + "\n")
    case.write_text(template(CASE.valid_until))
    arguments = ["node", "submit", str(path), "--case", str(case), "--home", str(home.path), "--json"]
    profile = load_case(case, today=CASE.valid_until)

    with Store.open(home.path / FILE_NAME) as store:
        with subprocess.Popen([sys.executable, "-m", "concordat", *arguments], stdout=subprocess.DEVNULL) as child:
            while not any_row(store) and child.poll() is None:
                time.sleep(0.01)
            child.send_signal(signal.SIGKILL)
        assert any_row(store)
        report = Submitter(home, store, SystemClock(), profile).submit(path)
        disturbed = rows_of(store)
    with Store.open(tmp_path / "other.sqlite") as store:
        undisturbed = Submitter(home_of(tmp_path, "node/NL"), store, SystemClock(), profile).submit(path)
        assert disturbed == rows_of(store)
    assert report.counts == undisturbed.counts
    assert report.counts.accepted + report.counts.refused == ROWS
