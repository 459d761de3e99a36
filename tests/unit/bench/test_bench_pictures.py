"""Pictures: their bars are as long as their figures say, and what no bench has measured is not drawn."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from typing import TYPE_CHECKING

import pytest

from bench.central import ROOT
from bench.drawing import Bar, Chart
from bench.pictures import PICTURES, draw
from bench.rows import Row, save

if TYPE_CHECKING:
    from pathlib import Path

MACHINE = {"processor": "some <processor>", "cores": 2, "date": "2026-01-01"}


def widths(text: str) -> list[float]:
    ET.fromstring(text)
    return [float(one) for one in re.findall(r'<rect [^>]*width="([\d.]+)"', text)]


def test_a_bar_twice_as_long_is_twice_as_much() -> None:
    one, two = widths(Chart("t", "s", (Bar("a", 1.0, "1"), Bar("b", 2.0, "2"))).svg())
    assert one * 2 == pytest.approx(two, abs=0.2)


def test_a_logarithmic_bar_grows_alike_with_each_decade() -> None:
    bars = tuple(Bar("a", value, "x") for value in (1.0, 10.0, 100.0))
    one, two, three = widths(Chart("t", "s", bars, logarithmic=True).svg())
    assert two - one == pytest.approx(three - two, abs=0.2)


def test_what_was_measured_is_drawn_and_nothing_else(tmp_path: Path) -> None:
    row = Row(name="sweep-26x1M", exact=True, seconds=0.5, peers={"polars": 2.0}, details={"machine": MACHINE})
    save(tmp_path / "out" / "sweep.json", [row])
    said: list[str] = []
    assert draw(tmp_path / "out", tmp_path / "to", said.append) == ["sweep"]
    assert [path.name for path in (tmp_path / "to").iterdir()] == ["sweep.svg"]
    text = (tmp_path / "to" / "sweep.svg").read_text()
    assert "some &lt;processor&gt;, 2 cores, 2026-01-01" in text
    assert "4.0 times" in text
    assert len(widths(text)) == 2
    assert len(said) == len(PICTURES) - 1


@pytest.mark.parametrize("name", sorted(PICTURES))
def test_the_page_shows_every_picture(name: str) -> None:
    assert f"performance/{name}.svg" in (ROOT / "docs" / "performance.md").read_text()
    ET.parse(ROOT / "docs" / "performance" / f"{name}.svg")
