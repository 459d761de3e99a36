"""A custodian's own log is on disk before anything is evaluated, and a torn line spoils no other."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING

from concordat.cli import run
from services.custodian.journal import FILE_NAME, Journal
from services.custodian.quotas import DATABASE, MARKER

if TYPE_CHECKING:
    import pytest

    from tests.unit.custodian.conftest import Bench


def test_a_line_that_was_cut_by_a_crash_or_a_full_disk_spoils_only_itself(bench: Bench) -> None:
    bench.custodian.evaluate(bench.request(1))
    bench.close()
    with (bench.path / FILE_NAME).open("ab") as log:
        log.write(b'{"time": "20')
    bench.reopen()
    bench.custodian.evaluate(bench.request(2))
    bench.custodian.evaluate(bench.request(3))
    first, torn, *rest = (bench.path / FILE_NAME).read_text().splitlines()
    assert json.loads(first)["count"] == 1
    assert torn == '{"time": "20'
    assert [json.loads(line)["count"] for line in rest] == [2, 3]


def test_the_log_is_its_owners_only(bench: Bench) -> None:
    bench.close()
    (bench.path / FILE_NAME).unlink()
    before = os.umask(0)
    try:
        Journal(bench.path / FILE_NAME).close()
    finally:
        os.umask(before)
    assert (bench.path / FILE_NAME).stat().st_mode & 0o777 == 0o600


def test_looking_at_the_quotas_does_not_hide_that_they_were_deleted(
    bench: Bench, capsys: pytest.CaptureFixture[str]
) -> None:
    """Else deleting both files and looking once would make a new quota out of a spent one."""
    bench.custodian.evaluate(bench.request(10))
    bench.close()
    (bench.path / DATABASE).unlink()
    (bench.path / MARKER).unlink()
    assert run(["custodian", "quota", "--home", str(bench.path), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["spent"] is True


def test_quotas_are_made_in_a_custodians_folder_only(bench: Bench, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["custodian", "quota", "--home", str(bench.node.path), "--json"]) != 0
    assert "error" in json.loads(capsys.readouterr().out)
    assert not (bench.node.path / DATABASE).exists()
