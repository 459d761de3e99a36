"""The oracle of the benches against Python's own sets, and the generator against what it promises."""

from __future__ import annotations

import subprocess
import sys
from collections import defaultdict
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from bench import data, oracle
from concordat.protocol.report import gravest
from concordat.protocol.sweep_frames import ANSWER

if TYPE_CHECKING:
    from pathlib import Path

SHAPE = data.Shape(4, 3000)


def by_sets(folder: Path) -> dict[str, Any]:
    held: defaultdict[tuple[int, int], list[int]] = defaultdict(list)
    for source in data.sources(folder):
        high, low, classes = (data.column(source, name).tolist() for name in ("high", "low", "class"))
        assert len(set(zip(high, low, strict=True))) == len(high)
        for token, byte in zip(zip(high, low, strict=True), classes, strict=True):
            held[token].append(byte)
    counts: defaultdict[str, int] = defaultdict(int)
    for classes in held.values():
        counts[str(gravest(classes))] += 1
    sizes = [len(classes) for classes in held.values() if len(classes) > 1]
    return {"tokens": len(sizes), "rows": sum(sizes), "counts": dict(counts)}


def plant(folder: Path, sources: list[list[tuple[int, int, int]]]) -> None:
    """Write sources of (high, low, class) as the generator does."""
    for number, rows in enumerate(sources):
        source = folder / f"{number:02}"
        source.mkdir(parents=True)
        high, low, classes = np.array(sorted(rows), np.uint64).reshape(-1, 3).T
        answer = np.zeros(len(rows), ANSWER)
        answer["confirm"] = np.stack((high, low), axis=1).view(np.uint8)
        columns: dict[str, Any] = {"high": high, "low": low, "class": classes.astype(np.uint8), "answer": answer}
        for name, values in columns.items():
            np.save(source / f"{name}.npy", values)


def test_the_oracle_agrees_with_sets_on_generated_data(tmp_path: Path) -> None:
    whole = data.make(tmp_path, SHAPE)
    assert oracle.answer(whole) == by_sets(whole)
    assert oracle.answer(whole)["tokens"] > 0


def test_the_oracle_agrees_with_sets_at_the_ends_of_the_range_and_on_equal_halves(tmp_path: Path) -> None:
    random = np.random.default_rng(1)
    ends = [0, 1, (1 << 56) - 1, 1 << 56, (1 << 64) - 1]
    held = [(high, low) for high in ends for low in (0, 1, (1 << 64) - 1)]
    plant(tmp_path, [[(*held[at], 4 + 16 * n) for at in random.permutation(15)[: 7 * n]] for n in range(3)])
    assert oracle.answer(tmp_path) == by_sets(tmp_path)


def test_the_oracle_is_a_program_that_loads_no_part_of_concordat() -> None:
    code = "import sys, bench.oracle; print({name.split('.')[0] for name in sys.modules})"
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert not any(name in done.stdout for name in ("'concordat'", "'gateway'", "'services'"))


@pytest.mark.parametrize("broken", ["twice", "confirm"])
def test_the_oracle_refuses_data_that_say_nothing(tmp_path: Path, broken: str) -> None:
    plant(tmp_path, [[(5, 5, 1)], [(5, 5, 1)]])
    if broken == "twice":
        for name in data.COLUMNS:
            one = np.load(tmp_path / "00" / f"{name}.npy")
            np.save(tmp_path / "00" / f"{name}.npy", np.concatenate((one, one)))
    else:
        np.save(tmp_path / "00" / "answer.npy", np.zeros(1, ANSWER))
    with pytest.raises(SystemExit, match="broken"):
        oracle.answer(tmp_path)


def test_the_same_shape_is_the_same_files_and_they_are_kept(tmp_path: Path) -> None:
    first, second = data.make(tmp_path / "a", SHAPE), data.make(tmp_path / "b", SHAPE)
    for one, other in zip(data.sources(first), data.sources(second), strict=True):
        assert all(np.array_equal(data.column(one, name), data.column(other, name)) for name in data.COLUMNS)
    made = (first / "00" / "high.npy").stat().st_mtime_ns
    assert data.make(tmp_path / "a", SHAPE) == first
    assert (first / "00" / "high.npy").stat().st_mtime_ns == made
    assert data.there(tmp_path / "a", SHAPE) == SHAPE.bytes
    assert data.there(tmp_path / "a", data.Shape(5, 3000)) == 0


def test_sources_are_sorted_and_differ_but_for_what_they_share(tmp_path: Path) -> None:
    whole = data.make(tmp_path, data.Shape(2, 200_000))
    one, other = ({*data.column(source, "high").tolist()} for source in data.sources(whole))
    # A quarter of the pool each: of the 2 000 that one draws the other has about 500.
    assert 350 < len(one & other) < 650
    high = data.column(data.sources(whole)[0], "high")
    assert (high[1:] > high[:-1]).all()
    # Uniform: each sixteenth of the space holds a sixteenth.
    assert np.abs(np.bincount((high >> np.uint64(60)).astype(np.int64)) - 12_500).max() < 600
