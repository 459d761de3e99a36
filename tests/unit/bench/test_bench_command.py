"""The command of the benches: what each leaves, and that one which cannot run stops no other."""

from __future__ import annotations

import json
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from bench.__main__ import main
from bench.machine import Needs
from bench.rows import Row
from concordat.errors import UnavailableError

if TYPE_CHECKING:
    from pathlib import Path


def fails(error: Exception) -> Any:
    def rows(_context: object) -> list[Row]:
        raise error

    return SimpleNamespace(rows=rows)


def gives(row: Row, **more: Any) -> Any:
    return SimpleNamespace(rows=lambda _context: [row], **more)


GOOD = Row(name="live-1", exact=True, seconds=0.01)


def run(folder: Path, *names: str, modules: dict[str, Any]) -> int:
    return main([*names, "--out", str(folder / "out"), "--data", str(folder / "data")], load=modules.__getitem__)


def test_each_bench_leaves_its_rows_and_the_machine_beside_them(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(tmp_path, "live", modules={"live": gives(GOOD)}) == 0
    (row,) = json.loads((tmp_path / "out" / "live.json").read_text())
    assert row["name"] == "live-1"
    assert row["details"]["machine"]["cores"] >= 1
    said = capsys.readouterr()
    assert "live-1" in said.out
    # Before anything runs.
    assert said.err.index("needs ") < said.err.index("live ...")


def test_json_is_all_rows(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(tmp_path, "live", "planes", "--json", modules={"live": gives(GOOD), "planes": gives(GOOD)}) == 0
    assert [row["name"] for row in json.loads(capsys.readouterr().out)] == ["live-1", "live-1"]


@pytest.mark.parametrize("error", [UnavailableError("no such thing here"), ValueError("broken")])
def test_one_that_cannot_run_is_said_and_stops_no_other(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], error: Exception
) -> None:
    assert run(tmp_path, "planes", "live", modules={"planes": fails(error), "live": gives(GOOD)}) == 1
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["live.json"]
    said = capsys.readouterr()
    assert str(error) in said.err
    assert "live-1" in said.out


def test_a_wrong_answer_is_no_success(tmp_path: Path) -> None:
    wrong = GOOD.model_copy(update={"exact": False})
    assert run(tmp_path, "live", modules={"live": gives(wrong)}) == 1


def test_where_there_is_no_room_nothing_is_begun(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    much = gives(GOOD, needs=lambda _context: Needs(disk=1 << 60))
    assert run(tmp_path, "live", modules={"live": much}) == 1
    assert not (tmp_path / "out").exists()
    assert "GiB of disk" in capsys.readouterr().err
