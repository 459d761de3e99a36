"""A tiny sweep through the bench's own code: processes, mTLS, oracle and all, and an answer that does not fit."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from bench import data, sweep, sweep_run
from bench.central import Answer
from bench.rows import Context
from gateway.sweep.effects import SweepSettings

if TYPE_CHECKING:
    from pathlib import Path

SHAPE = data.Shape(3, 2000)


def test_a_tiny_sweep_is_exact_and_measured(tmp_path: Path) -> None:
    said: list[str] = []
    row = sweep.measure(Context(tmp_path, large=False, progress=said.append), SHAPE, runs=1)
    assert row.name == "sweep-3x2k"
    assert row.exact
    assert row.details["shared_tokens"] > 0
    # Windows and answers are gone through; what this takes depends on the machine.
    assert min(row.seconds, row.hub_cpu_s or 0, row.nodes_cpu_s or 0, row.hub_rss_mb or 0) > 0
    assert any("run 1" in line for line in said)


@pytest.mark.full
def test_shards_find_what_one_hub_finds(tmp_path: Path) -> None:
    sources = data.sources(data.make(tmp_path, SHAPE))
    settings = SweepSettings(pairs=False, window_tokens=300)
    alone, shared = (sweep_run.run(sources, settings=settings, shares=shares) for shares in (0, 2))
    assert (alone.counts, alone.shared, alone.states) == (shared.counts, shared.shared, shared.states)
    assert [set(one) for one in shared.details["shards"]] == [{"cpu_s", "rss_mb"}] * 2


def test_an_answer_that_is_not_the_oracles_is_not_exact() -> None:
    truth = {"tokens": 2, "rows": 4, "counts": {"1": 10}}
    right = sweep_run.Outcome({1: 10}, 2, ["included", "included"], 1.0, 1.0, 1.0, 50.0, 1)
    wrong = [
        replace(right, counts={1: 9}),
        replace(right, counts={1: 10, 2: 1}),
        replace(right, shared=3),
        replace(right, states=["included", "dropped:deadline"]),
    ]
    assert sweep.row_of("sweep-2x10", SHAPE, truth, [right], {}).exact
    assert not any(sweep.row_of("sweep-2x10", SHAPE, truth, [right, one], {}).exact for one in wrong)


def test_a_peer_that_answers_otherwise_makes_the_row_inexact_and_is_named() -> None:
    truth = {"tokens": 2, "rows": 4, "counts": {"1": 10}}
    ours = sweep_run.Outcome({1: 10}, 2, ["included", "included"], 1.0, 1.0, 1.0, 50.0, 1)
    peers = {"polars": Answer(2, 4, 3.0), "duckdb": Answer(2, 5, 4.0)}
    row = sweep.row_of("sweep-2x10", SHAPE, truth, [ours], peers)
    assert not row.exact
    assert [row.details["peers"][name]["exact"] for name in peers] == [True, False]
    assert row.peers == {"polars": 3.0, "duckdb": 4.0}
