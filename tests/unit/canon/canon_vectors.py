"""Reads the canonical form vectors: JSON that any language can run."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Final

from concordat.canon import Context, Kind, Reading, read

FOLDER: Final = Path(__file__).parents[2] / "vectors" / "canon"


def load(name: str) -> dict[str, Any]:
    """Return one vector file."""
    loaded: dict[str, Any] = json.loads((FOLDER / f"{name}.json").read_text("utf-8"))
    return loaded


def read_case(case: dict[str, Any], default_context: dict[str, Any]) -> Reading:
    """Read what a case types, in its context or the file's."""
    given = {**default_context, **case.get("context", {})}
    context = Context(
        home_region=given["home_region"],
        region=given.get("region"),
        origin=tuple(given.get("origin", ())),
        destination=tuple(given.get("destination", ())),
        platform=given.get("platform"),
    )
    return read(Kind.parse(case["kind"]), case["typed"], context)
