"""A run under its name is whole; whatever was done to its file, it is not opened (I9)."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import numpy as np
import pytest

from concordat.errors import ConfigError
from services.node.index.run import PAGE, Column, Run, RunFacts
from services.node.index.run_writer import RunWriter, remove_leftovers

if TYPE_CHECKING:
    from pathlib import Path

LAYOUT = (Column("high", "<u8"), Column("epoch", "<u4"), Column("secret", "|u1", 32))
STEPS = ("columns", "header", "synced")


class KilledError(Exception):
    """Stands for the end of the process."""


def columns(rows: int) -> dict[str, np.ndarray]:
    return {
        "high": np.arange(rows, dtype=np.uint64) << np.uint64(40),
        "epoch": np.arange(rows, dtype=np.uint32) % 3,
        "secret": np.arange(rows * 32, dtype=np.uint64).astype(np.uint8).reshape(rows, 32),
    }


def write(path: Path, rows: int, *, block: int = 700, capacity: int | None = None) -> None:
    whole = columns(rows)
    with RunWriter.begin(path, RunFacts("test", {"sequence": 7, "of": "x"}), LAYOUT, capacity=capacity or rows) as to:
        for at in range(0, rows, block):
            to.append({name: values[at : at + block] for name, values in whole.items()})
        to.commit()


@pytest.mark.parametrize("rows", [0, 1, 511, 512, 513, 3000])
def test_a_run_gives_back_what_was_written_in_blocks(tmp_path: Path, rows: int) -> None:
    write(tmp_path / "index" / "a.run", rows, capacity=rows + 900)
    run = Run.open(tmp_path / "index" / "a.run", "test")
    assert run.rows == rows
    assert run.facts == {"sequence": 7, "of": "x"}
    for name, values in columns(rows).items():
        assert np.array_equal(run.column(name), values)
    run.release()
    assert np.array_equal(run.column("high"), columns(rows)["high"])


def test_folder_and_file_are_the_owners_alone(tmp_path: Path) -> None:
    path = tmp_path / "index" / "a.run"
    write(path, 5)
    assert path.parent.stat().st_mode & 0o777 == 0o700
    assert path.stat().st_mode & 0o777 == 0o600
    path.chmod(0o640)
    with pytest.raises(ConfigError, match="others can open it"):
        Run.open(path, "test")


def test_a_run_is_no_run_of_another_kind(tmp_path: Path) -> None:
    write(tmp_path / "a.run", 5)
    with pytest.raises(ConfigError):
        Run.open(tmp_path / "a.run", "live")
    with pytest.raises(ConfigError):
        Run.open(tmp_path / "b.run", "test")


def test_a_changed_byte_anywhere_in_it_is_found(tmp_path: Path) -> None:
    path = tmp_path / "a.run"
    write(path, 1000)
    whole = bytearray(path.read_bytes())
    header = int.from_bytes(whole[8:12], "little") + 16
    ends = [PAGE + 8000, PAGE + 8192 + 4000, PAGE + 8192 + 4096 + 32_000]
    places = [*range(0, header, 7), PAGE, *(end - 1 for end in ends), PAGE + 8192, PAGE + 8192 + 4096 + 12_345]
    for place in places:
        damaged = whole.copy()
        damaged[place] ^= 4
        path.write_bytes(damaged)
        with pytest.raises(ConfigError):
            Run.open(path, "test")
    path.write_bytes(whole)
    assert Run.open(path, "test").rows == 1000


def test_a_file_of_another_length_is_found(tmp_path: Path) -> None:
    path = tmp_path / "a.run"
    write(path, 1000)
    whole = path.read_bytes()
    for part in (b"", whole[:10], whole[:PAGE], whole[:-PAGE], whole[:-1], whole + b"\0", whole + whole):
        path.write_bytes(part)
        with pytest.raises(ConfigError):
            Run.open(path, "test")


@pytest.mark.parametrize("step", STEPS)
def test_a_crash_before_the_new_name_leaves_the_old_run(tmp_path: Path, step: str) -> None:
    path = tmp_path / "a.run"
    write(path, 10)

    def crash(at: str) -> None:
        if at == step:
            raise KilledError

    with RunWriter.begin(path, RunFacts("test"), LAYOUT, capacity=5) as writer:
        writer.append(columns(5))
        with pytest.raises(KilledError):
            writer.commit(crash)
    assert Run.open(path, "test").rows == 10


def test_what_a_killed_writer_leaves_is_removed(tmp_path: Path) -> None:
    writer = RunWriter.begin(tmp_path / "a.run", RunFacts("test"), LAYOUT, capacity=5)
    writer.append(columns(5))
    # A killed process closes nothing.
    descriptor = writer._descriptor
    os.close(descriptor)
    assert len(list(tmp_path.iterdir())) == 1
    remove_leftovers(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_run_may_be_empty(tmp_path: Path) -> None:
    with RunWriter.begin(tmp_path / "a.run", RunFacts("test"), LAYOUT, capacity=0) as writer:
        writer.commit()
    assert len(Run.open(tmp_path / "a.run", "test").column("secret")) == 0


def test_a_reader_keeps_the_columns_of_a_run_that_was_replaced(tmp_path: Path) -> None:
    path = tmp_path / "a.run"
    write(path, 1000)
    old = Run.open(path, "test")
    write(path, 10)
    assert np.array_equal(old.column("secret"), columns(1000)["secret"])


def test_blocks_over_the_capacity_or_of_unequal_columns_are_not_written(tmp_path: Path) -> None:
    with RunWriter.begin(tmp_path / "a.run", RunFacts("test"), LAYOUT, capacity=600) as writer:
        with pytest.raises(ValueError, match="capacity"):
            writer.append(columns(5000))
        with pytest.raises(ValueError, match="length"):
            writer.append({**columns(5), "epoch": columns(4)["epoch"]})
    assert list(tmp_path.iterdir()) == []


def test_two_writers_of_one_run_do_not_mix_their_rows(tmp_path: Path) -> None:
    path, layout, facts = tmp_path / "one.run", (Column("high", "<u8"),), RunFacts("live")
    with (
        RunWriter.begin(path, facts, layout, capacity=4) as first,
        RunWriter.begin(path, facts, layout, capacity=4) as second,
    ):
        second.append({"high": np.array([7, 8, 9], np.uint64)})
        first.append({"high": np.array([1, 2], np.uint64)})
        second.commit()
        assert Run.open(path, "live").column("high").tolist() == [7, 8, 9]
        first.commit()
    assert Run.open(path, "live").column("high").tolist() == [1, 2]
    assert list(tmp_path.iterdir()) == [path]
