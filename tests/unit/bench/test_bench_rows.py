"""Rows of a bench: what every program that reads them may rely on."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from pydantic import ValidationError

from bench.machine import Machine, Needs, free, require_room
from bench.rows import Row, load, save, table
from concordat.errors import ConfigError

if TYPE_CHECKING:
    from pathlib import Path

ROW = Row(
    name="sweep-26x1M", exact=True, seconds=0.5, hub_cpu_s=0.4, nodes_cpu_s=0.3, hub_rss_mb=99, peers={"polars": 2}
)


def test_a_file_is_a_list_of_rows_with_every_field(tmp_path: Path) -> None:
    save(tmp_path / "out" / "sweep.json", [ROW, Row(name="tokenise", exact=True, seconds=1)])
    found = json.loads((tmp_path / "out" / "sweep.json").read_text())
    fields = {"name", "exact", "seconds", "hub_cpu_s", "nodes_cpu_s", "hub_rss_mb", "peers", "details"}
    assert [set(row) for row in found] == [fields, fields]
    assert found[1]["hub_cpu_s"] is None
    assert load(tmp_path / "out" / "sweep.json")[0] == ROW


@pytest.mark.parametrize("wrong", [{"name": "a b"}, {"seconds": -1}, {"secs": 1}, {"exact": None}])
def test_a_row_refuses_what_it_does_not_know(wrong: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        Row.model_validate({**ROW.model_dump(), **wrong})


def test_the_table_says_how_many_times_longer_a_peer_took_and_shouts_at_a_wrong_answer() -> None:
    shown = table([ROW, ROW.model_copy(update={"exact": False})])
    assert "polars 2 s (4.0 times ours)" in shown
    assert [" yes " in line for line in shown.splitlines()] == [False, True, False]
    assert " NO " in shown.splitlines()[2]


def test_what_does_not_fit_is_refused_before_anything_is_made(tmp_path: Path) -> None:
    require_room(Needs(1, 1), tmp_path / "not" / "there")
    with pytest.raises(ConfigError, match="GiB of disk"):
        require_room(Needs(disk=1 << 60), tmp_path)
    with pytest.raises(ConfigError, match="GiB of memory"):
        require_room(Needs(memory=2 * free()), tmp_path)
    # Data that lie there already need no second place.
    require_room(Needs(disk=1 << 60), tmp_path, there=1 << 60)
    assert not list(tmp_path.iterdir())


def test_the_machine_is_named() -> None:
    machine = Machine.here()
    assert machine.cores >= 1
    assert str(machine.cores) in str(machine)
    assert set(machine.facts()) == {"processor", "cores", "load_at_start", "python", "date"}
