"""I7, I5: charge committed, then noted, then marked, then all of it on disk, and only then evaluated."""

from __future__ import annotations

import os
import shutil
import sqlite3
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from concordat.errors import RefusedError, UnavailableError
from services.custodian.journal import Journal
from services.custodian.quotas import DATABASE, MARKER

if TYPE_CHECKING:
    from services.custodian.core import Custodian
    from tests.unit.custodian.conftest import Bench


def charged(folder: Path) -> int:
    """Return what another connection sees, which is what is committed."""
    with closing(sqlite3.connect(folder / DATABASE)) as db:
        return int(db.execute("SELECT coalesce(sum(used), 0) FROM charge").fetchone()[0])


def marked(folder: Path) -> int:
    return int((folder / MARKER).read_text().split()[0])


class Watched(Journal):
    """A log that says what it finds when it is written and flushed, and may fail."""

    def __init__(self, folder: Path, *, fail_at: str = "") -> None:
        super().__init__(folder / "watched.log")
        self._folder, self._fail_at = folder, fail_at
        self.seen: list[tuple[str, int, int]] = []

    def see(self, what: str) -> None:
        self.seen.append((what, charged(self._folder), marked(self._folder)))
        if what == self._fail_at:
            raise UnavailableError("the disk is full")

    def write(self, *given: Any, **named: Any) -> None:
        self.see("write")
        super().write(*given, **named)

    def flush(self) -> None:
        self.see("flush")
        super().flush()


def watched(bench: Bench, journal: Watched) -> Custodian:
    def draw(size: int) -> bytes:
        journal.see("evaluate")
        return os.urandom(size)

    return replace(bench.custodian, journal=journal, random=draw)


def test_a_charge_is_committed_then_noted_then_marked_and_then_evaluated(bench: Bench) -> None:
    before = marked(bench.path)
    with closing(Watched(bench.path)) as journal:
        watched(bench, journal).evaluate(bench.request(7))
    assert journal.seen == [("write", 7, before), ("flush", 7, before + 1), ("evaluate", 7, before + 1)]


def test_a_repeat_is_noted_before_it_is_evaluated_and_charged_no_second_time(bench: Bench) -> None:
    request = bench.request(7)
    bench.custodian.evaluate(request)
    before = marked(bench.path)
    with closing(Watched(bench.path)) as journal:
        watched(bench, journal).evaluate(request)
    assert journal.seen == [(what, 7, before) for what in ("write", "flush", "evaluate")]


@pytest.mark.parametrize("fail_at", ["write", "flush"])
def test_what_cannot_be_noted_is_not_evaluated_and_its_repeat_is_free(bench: Bench, fail_at: str) -> None:
    request = bench.request(7)
    with closing(Watched(bench.path, fail_at=fail_at)) as journal, pytest.raises(UnavailableError):
        watched(bench, journal).evaluate(request)
    assert "evaluate" not in [what for what, _, _ in journal.seen]
    # As after a kill between commit and marker: the store is taken for no old copy, and the charge stands.
    bench.reopen()
    assert not bench.custodian.quotas.restored
    bench.custodian.evaluate(request)
    assert bench.used() == 7


def test_a_repeat_marks_what_the_failed_attempt_could_not(bench: Bench, tmp_path: Path) -> None:
    bench.close()
    shutil.copy2(bench.path / DATABASE, tmp_path / "older")
    bench.reopen()
    request = bench.request(7)
    with closing(Watched(bench.path, fail_at="write")) as journal, pytest.raises(UnavailableError):
        watched(bench, journal).evaluate(request)
    bench.custodian.evaluate(request)
    bench.close()
    shutil.copy2(tmp_path / "older", bench.path / DATABASE)
    bench.reopen()
    assert bench.custodian.quotas.restored


def test_what_is_refused_is_neither_noted_nor_charged(bench: Bench) -> None:
    many = bench.request(1000)
    with closing(Watched(bench.path)) as journal, pytest.raises(RefusedError) as refused:
        watched(bench, journal).evaluate(many)
    assert refused.value.code == "quota_exhausted"
    assert journal.seen == []
    assert charged(bench.path) == 0


def test_a_log_that_once_did_not_reach_the_disk_is_trusted_no_more(tmp_path: Path) -> None:
    """The system says of a lost page once; whoever waits after that for the same file would hear that all is well."""
    os.mkfifo(tmp_path / "log")
    with closing(Journal(tmp_path / "log")) as journal:
        (mine,) = (
            int(one.name) for one in Path("/proc/self/fd").iterdir() if one.resolve() == (tmp_path / "log").resolve()
        )
        with pytest.raises(UnavailableError):
            journal.flush()
        good = os.open(tmp_path / "good", os.O_RDWR | os.O_CREAT, 0o600)
        os.dup2(good, mine)
        os.close(good)
        os.fdatasync(mine)
        with pytest.raises(UnavailableError, match="until a restart"):
            journal.flush()
