"""I7: a period that was put back from a backup counts as spent."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

import pytest

from concordat.errors import ConfigError, RefusedError
from services.custodian.quotas import DATABASE, MARKER, QuotaStore

if TYPE_CHECKING:
    from pathlib import Path

    from tests.unit.custodian.conftest import Bench


def backup(bench: Bench, to: Path) -> None:
    bench.close()
    to.mkdir()
    for name in (DATABASE, MARKER):
        shutil.copy2(bench.path / name, to / name)
    bench.reopen()


def spent(bench: Bench) -> bool:
    try:
        bench.custodian.evaluate(bench.request(1))
    except RefusedError as error:
        return error.code == "quota_exhausted"
    return False


def test_a_restart_is_no_restore(bench: Bench) -> None:
    bench.custodian.evaluate(bench.request(10))
    bench.reopen()
    assert not spent(bench)


def test_a_database_put_back_alone_is_noticed(bench: Bench, tmp_path: Path) -> None:
    bench.custodian.evaluate(bench.request(10))
    backup(bench, tmp_path / "backup")
    bench.custodian.evaluate(bench.request(10))
    bench.close()
    shutil.copy2(tmp_path / "backup" / DATABASE, bench.path / DATABASE)
    bench.reopen()
    assert spent(bench)
    assert bench.used() == 300


def test_a_database_and_marker_put_back_together_are_noticed(bench: Bench, tmp_path: Path) -> None:
    bench.custodian.evaluate(bench.request(10))
    bench.close()
    written_an_hour_ago(bench.path)
    backup(bench, tmp_path / "backup")
    assert spent(bench)


def test_a_second_old_copy_does_not_pass_for_the_first(bench: Bench, tmp_path: Path) -> None:
    """The first copy's position is raised over all that was seen, or a later copy would lie above it."""
    bench.custodian.evaluate(bench.request(1))
    backup(bench, tmp_path / "first")
    bench.custodian.evaluate(bench.request(1))
    bench.custodian.evaluate(bench.request(1))
    bench.custodian.evaluate(bench.request(1))
    backup(bench, tmp_path / "second")
    bench.custodian.evaluate(bench.request(1))
    for copy in ("first", "second"):
        bench.close()
        shutil.copy2(tmp_path / copy / DATABASE, bench.path / DATABASE)
        bench.reopen()
        assert spent(bench), copy


def test_a_charge_waits_for_the_disk(bench: Bench) -> None:
    """Under a weaker setting a power cut would take the last charges back."""
    with bench.custodian.quotas._transaction():
        found = bench.custodian.quotas._db.execute("PRAGMA synchronous").fetchone()
    assert found == (2,)


def test_a_database_that_was_deleted_is_noticed(bench: Bench) -> None:
    bench.custodian.evaluate(bench.request(10))
    bench.close()
    (bench.path / DATABASE).unlink()
    bench.reopen()
    assert spent(bench)


def test_a_marker_that_was_deleted_is_noticed(bench: Bench) -> None:
    bench.custodian.evaluate(bench.request(10))
    bench.close()
    (bench.path / MARKER).unlink()
    bench.reopen()
    assert spent(bench)


def test_database_and_marker_deleted_together_are_noticed_by_the_log(bench: Bench) -> None:
    bench.custodian.evaluate(bench.request(10))
    bench.close()
    (bench.path / DATABASE).unlink()
    (bench.path / MARKER).unlink()
    bench.reopen()
    assert spent(bench)


def test_the_day_after_a_restore_is_an_ordinary_day(bench: Bench) -> None:
    bench.custodian.evaluate(bench.request(10))
    bench.close()
    (bench.path / MARKER).unlink()
    bench.reopen()
    bench.clock.advance(86_400)
    assert not spent(bench)


def test_a_kill_between_commit_and_marker_is_no_restore(bench: Bench) -> None:
    before = (bench.path / MARKER).read_bytes()
    bench.custodian.evaluate(bench.request(10))
    bench.close()
    after = (bench.path / MARKER).read_bytes()
    (bench.path / MARKER).write_bytes(before[:21] + after[21:])
    bench.reopen()
    assert not spent(bench)
    assert bench.used() == 11


def test_a_second_process_is_refused_the_same_folder(bench: Bench) -> None:
    with pytest.raises(ConfigError):
        QuotaStore.open(bench.path, now=bench.clock.now())


def written_an_hour_ago(folder: Path) -> None:
    """Make the marker say that it was written earlier than its file was changed, as one put back says."""
    position, written = (folder / MARKER).read_text().split()
    (folder / MARKER).write_text(f"{position} {int(written) - 3_600_000_000_000:020d}\n")
