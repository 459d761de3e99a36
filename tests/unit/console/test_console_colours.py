"""Every text stands out from its ground (WCAG 2.2, 1.4.3 AA), in light and dark; axe passes over single digits."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

CSS = (Path(__file__).parents[3] / "services/console/static/console.css").read_text(encoding="utf-8")
LEAST = 4.5
TEXT_ON_GROUND = [
    *[("ink", ground) for ground in ("ground", "card", "self")],
    *[("soft", ground) for ground in ("ground", "card")],
    *[(f"i{number}", f"l{number}") for number in range(1, 6)],
    *[("l0", "card"), ("accent", "card"), ("card", "accent")],
    *[
        ("good", "card"),
        ("bad", "card"),
        ("good", "good-ground"),
        ("bad", "bad-ground"),
        ("warn", "warn-ground"),
        ("warn", "card"),
    ],
    *[("top-ink", "top"), ("top-soft", "top")],
]


def colours(scheme: str) -> dict[str, str]:
    light, dark = re.findall(r":root \{(.*?)\}", CSS, re.DOTALL)
    return dict(re.findall(r"--([\w-]+): (#[0-9a-f]{6})", light)) | (
        dict(re.findall(r"--([\w-]+): (#[0-9a-f]{6})", dark)) if scheme == "dark" else {}
    )


def luminance(colour: str) -> float:
    parts = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    red, green, blue = (part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast(one: str, other: str) -> float:
    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize(("text", "ground"), TEXT_ON_GROUND)
def test_text_stands_out_from_its_ground(scheme: str, text: str, ground: str) -> None:
    found = colours(scheme)
    assert contrast(found[text], found[ground]) >= LEAST


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_classes_of_the_table_go_one_way_from_the_ground(scheme: str) -> None:
    found = colours(scheme)
    steps = [luminance(found[name]) for name in ("card", "l1", "l2", "l3", "l4", "l5")]
    assert steps == sorted(steps, reverse=scheme == "light")
    assert min(contrast(found[f"l{n}"], found[f"l{n + 1}"]) for n in range(1, 5)) >= 1.25
