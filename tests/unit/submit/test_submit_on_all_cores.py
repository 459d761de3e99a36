"""A long file is read by worker processes, and ends in the store as if one process had read it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from io import StringIO
from typing import TYPE_CHECKING, NamedTuple

import pytest
from rich.console import Console

from concordat.canon import Kind
from concordat.clock import SystemClock
from concordat.errors import UnavailableError
from services.node import submit as submitting
from services.node.case import load_case, template
from services.node.reader import RecordReader, RowChunk
from services.node.record import Row
from services.node.store.store import Store
from services.node.submit import POOL_CHUNK_ROWS, POOL_FROM_BYTES, SubmitProgress, Submitter
from services.node.submit_view import SubmitBar
from services.node.worker_pool import WorkerPool
from tests.unit.custodian.running import CASE, home_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from concordat.identity.home import Home
    from services.node.submit import SubmitReport

ROWS = 3300
PADDING = "n" * 140


def long_file(folder: Path) -> Path:
    """Write rows of which some cannot be read, some name a value again, and some have weak values too."""
    kinds: tuple[Callable[[int], str], ...] = (
        lambda n: f"email,person{n}@mail.example",
        lambda n: f"phone,+33 1 99 00 {n // 100 % 100:02d} {n % 100:02d}",
        lambda n: "email,nonsense" if n % 3 else "spaceship,Enterprise",
        lambda n: f"platform,www.site{n}.example",
        lambda n: f"username,@example{n % 400}",
    )
    path = folder / "long.csv"
    lines = (f"{kinds[n % len(kinds)](n)},{PADDING}" for n in range(ROWS))
    path.write_text("kind,identifier,notes\n" + "\n".join(lines) + "\n")
    assert path.stat().st_size > POOL_FROM_BYTES
    return path


def rows_of(store: Store) -> dict[str, list[tuple[object, ...]]]:
    """Return all that is stored but what is drawn at random; ids, which follow the chunks, are left out."""
    with store.read() as db:
        value = "v.namespace, v.rules_version, v.canonical, v.grade"
        return {
            "record": db.execute(
                "SELECT item, line, typed, status, code, reason, kind, region, region_assumed, notes, trafficking,"
                " abuse, row, look_once, role, keep_until, known FROM record ORDER BY item"
            ).fetchall(),
            "value": db.execute(
                f"SELECT r.item, {value}, v.kept FROM record r JOIN record_value rv ON rv.record_id = r.id"
                " JOIN value v ON v.id = rv.value_id ORDER BY 1, 2, 3, 4, 5"
            ).fetchall(),
            "to do": db.execute(
                f"SELECT {value}, epoch, key_class FROM to_tokenise t JOIN value v ON v.id = t.value_id"
                " ORDER BY 1, 2, 3, 4, 5, 6"
            ).fetchall(),
            "to ask": db.execute(
                f"SELECT {value}, purpose, operation, look_once FROM to_check c JOIN value v ON v.id = c.value_id"
                " ORDER BY 1, 2, 3, 4, 5"
            ).fetchall(),
            "complete": db.execute("SELECT complete FROM file").fetchall(),
        }


class InOneProcess(NamedTuple):
    """What one process makes of the long file."""

    report: SubmitReport
    rows: dict[str, list[tuple[object, ...]]]


@pytest.fixture(scope="module")
def undisturbed(federation: Path, tmp_path_factory: pytest.TempPathFactory) -> InOneProcess:
    folder = tmp_path_factory.mktemp("undisturbed")
    with Store.open(folder / "store.sqlite") as store:
        submitter = Submitter(home_of(federation, "node/NL"), store, SystemClock(), CASE, workers=1)
        return InOneProcess(submitter.submit(long_file(folder)), rows_of(store))


def test_worker_processes_give_what_one_process_gives(
    submitter: Submitter, undisturbed: InOneProcess, tmp_path: Path
) -> None:
    path, told = long_file(tmp_path), list[SubmitProgress]()
    report = replace(submitter, workers=3).submit(path, progress=told.append)
    assert rows_of(submitter.store) == undisturbed.rows
    assert (report.counts, report.refused) == (undisturbed.report.counts, undisturbed.report.refused)
    assert [one.rows for one in told] == [1000, 2000, 3000, ROWS]
    assert told[-1].read_bytes == told[-1].size_bytes == path.stat().st_size
    assert [one.read_bytes for one in told] == sorted(one.read_bytes for one in told)


def test_kill_9_of_a_submit_on_all_cores_loses_and_doubles_nothing(
    submitter: Submitter, home: Home, undisturbed: InOneProcess, tmp_path: Path
) -> None:
    """I9: whoever kills the submit kills its workers too, and the same command again goes on."""
    path, case = long_file(tmp_path), tmp_path / "case.toml"
    case.write_text(template(CASE.valid_until))
    arguments = ["node", "submit", str(path), "--case", str(case), "--home", str(home.path), "--json"]
    mine = replace(submitter, case=load_case(case, today=CASE.valid_until), workers=2)

    def stored() -> int:
        with submitter.store.read() as db:
            return int(db.execute("SELECT count(*) FROM record").fetchone()[0])

    with subprocess.Popen([sys.executable, "-m", "concordat", *arguments], stdout=subprocess.DEVNULL) as child:
        while not stored() and child.poll() is None:
            time.sleep(0.01)
        workers = children_of(child.pid)
        child.send_signal(signal.SIGKILL)
    assert stored() % POOL_CHUNK_ROWS == 0
    assert stored()
    deadline = time.monotonic() + 30
    while any(is_alive(pid) for pid in workers):
        assert time.monotonic() < deadline, "a worker goes on although nobody reads what it says"
        time.sleep(0.02)
    report = mine.submit(path)
    assert (rows_of(submitter.store), report.counts) == (undisturbed.rows, undisturbed.report.counts)


def children_of(pid: int) -> list[int]:
    with open(f"/proc/{pid}/task/{pid}/children") as children:  # noqa: PTH123 -- of the system, no path of ours
        return [int(one) for one in children.read().split()]


def is_alive(pid: int) -> bool:
    try:
        with open(f"/proc/{pid}/stat") as stat:  # noqa: PTH123 -- as above
            return stat.read().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_a_worker_that_is_ended_ends_the_submit_and_nothing_stored_is_lost(
    submitter: Submitter, undisturbed: InOneProcess, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = long_file(tmp_path)
    # More chunks than are under way at once, or the workers may have done all before they are ended.
    monkeypatch.setattr(submitting, "POOL_CHUNK_ROWS", 300)

    def kill(done: SubmitProgress) -> None:
        if done.rows == 300:
            for pid in children_of(os.getpid()):
                os.kill(pid, signal.SIGKILL)

    submit = replace(submitter, workers=2)
    with pytest.raises(UnavailableError, match="a worker process has ended"):
        submit.submit(path, progress=kill)
    report = submit.submit(path)
    assert (rows_of(submitter.store), report.counts) == (undisturbed.rows, undisturbed.report.counts)


def test_rows_are_taken_no_further_than_the_workers_need(submitter: Submitter) -> None:
    """The memory of a submit does not grow with its file."""
    reader = RecordReader(submitter._desk())
    taken = 0

    def endless() -> Iterator[RowChunk]:
        nonlocal taken
        while True:
            taken += 1
            yield RowChunk([(taken, Row(line=taken, typed="a@mail.example", kind=Kind.EMAIL))], taken)

    with WorkerPool(reader.read_chunk, workers=2) as pool:
        chunks = pool.each(endless())
        found = [next(chunks).records[0].item for _ in range(5)]
    assert found == [1, 2, 3, 4, 5]
    assert taken <= 5 + 2 * 2


def test_ctrl_c_says_what_is_stored_and_how_to_go_on(submitter: Submitter, tmp_path: Path) -> None:
    path, text = long_file(tmp_path), StringIO()

    def interrupt(done: SubmitProgress) -> None:
        bar.update(done)
        if done.rows == 2 * POOL_CHUNK_ROWS:
            raise KeyboardInterrupt

    bar = SubmitBar(Console(file=text), quiet=False)
    with pytest.raises(KeyboardInterrupt), bar:
        replace(submitter, workers=2).submit(path, progress=interrupt)
    assert text.getvalue() == "Stopped. 2,000 rows are stored; the same command again goes on behind them.\n"


def test_a_submit_that_fails_says_what_is_stored_too(submitter: Submitter, tmp_path: Path) -> None:
    path, text = long_file(tmp_path), StringIO()

    def fail(done: SubmitProgress) -> None:
        bar.update(done)
        raise UnavailableError("the disk is full")

    bar = SubmitBar(Console(file=text), quiet=False)
    with pytest.raises(UnavailableError), bar:
        replace(submitter, workers=2).submit(path, progress=fail)
    assert text.getvalue() == "1,000 rows are stored; the same command again goes on behind them.\n"


def test_who_goes_on_hears_first_what_was_stored_before(submitter: Submitter, tmp_path: Path) -> None:
    path, told = long_file(tmp_path), list[SubmitProgress]()

    def interrupt(_: SubmitProgress) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        replace(submitter, workers=2).submit(path, progress=interrupt)
    replace(submitter, workers=2).submit(path, progress=told.append)
    assert [one.rows for one in told] == [1000, 2000, 3000, ROWS]
    assert [one.read_bytes > 0 for one in told] == [False, True, True, True]
