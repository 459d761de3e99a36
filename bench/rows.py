"""What a bench leaves: rows, as JSON for programs and as one table for people.

save(folder / "sweep.json", rows)
sys.stdout.write(table(rows))
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from pathlib import Path

_COLUMNS: Final = ("row", "exact", "seconds", "hub CPU s", "nodes CPU s", "hub MB", "peers, and what else was seen")


class Row(BaseModel):
    """One measurement.

    Attributes:
        name: Which, as `sweep-26x1M`.
        exact: Whether every answer was the right one, by a check that shares no code with what was measured.
        seconds: Wall time of the work; of a live check the median.
        hub_cpu_s: CPU seconds of the gateway's process; null where there is none.
        nodes_cpu_s: CPU seconds of all node processes together.
        hub_rss_mb: Peak resident memory of the gateway's process, MB of 10^6 bytes.
        peers: Wall seconds of others for the same answer in the same run.
        details: Whatever else was measured or chosen.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = Field(pattern=r"^[a-zA-Z0-9.-]{1,64}$")
    exact: bool
    seconds: float = Field(ge=0)
    hub_cpu_s: float | None = Field(default=None, ge=0)
    nodes_cpu_s: float | None = Field(default=None, ge=0)
    hub_rss_mb: float | None = Field(default=None, ge=0)
    peers: dict[str, float] = {}
    details: dict[str, Any] = {}


@dataclass(frozen=True, slots=True)
class Context:
    """What a bench is given.

    Attributes:
        folder: For data that may be large; what is in it may be used again by the next run.
        large: Whether the long sizes are asked for.
        progress: Takes one line of text, for people.
    """

    folder: Path
    large: bool
    progress: Callable[[str], None]


def short(number: int) -> str:
    """Return a number as it stands in a row's name: 10M, 1250k, 300."""
    for unit, letter in ((1_000_000, "M"), (1_000, "k")):
        if number and number % unit == 0:
            return f"{number // unit}{letter}"
    return str(number)


_ROWS: Final = TypeAdapter(list[Row])


def percentile(ordered: Sequence[float], part: int) -> float:
    """Return the value below which `part` of a hundred lie; 0 of nothing."""
    return ordered[min(len(ordered) - 1, len(ordered) * part // 100)] if ordered else 0.0


def save(path: Path, rows: Sequence[Row]) -> None:
    """Write rows as a JSON list, in one piece."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(".part")
    part.write_text(json.dumps([row.model_dump() for row in rows], indent=1) + "\n", encoding="utf-8")
    part.replace(path)


def load(path: Path) -> list[Row]:
    """Read what `save` has written."""
    return _ROWS.validate_json(path.read_bytes())


def table(rows: Iterable[Row]) -> str:
    """Return the rows as one table."""
    lines = [_COLUMNS, *(_cells(row) for row in rows)]
    widths = [max(len(line[at]) for line in lines) for at in range(len(_COLUMNS) - 1)]
    return "".join(_line(cells, widths) for cells in lines)


def _line(cells: Sequence[str], widths: Sequence[int]) -> str:
    first = cells[0].ljust(widths[0])
    middle = [cell.rjust(width) for cell, width in zip(cells[1:-1], widths[1:], strict=True)]
    return "  ".join([first, *middle, cells[-1]]).rstrip() + "\n"


def _cells(row: Row) -> tuple[str, ...]:
    peers = [f"{name} {_number(seconds)} s ({_times(seconds, row.seconds)})" for name, seconds in row.peers.items()]
    shown = [f"{name} {_value(value)}" for name, value in row.details.items() if isinstance(value, int | float)]
    return (
        row.name,
        "yes" if row.exact else "NO",
        _number(row.seconds),
        _number(row.hub_cpu_s),
        _number(row.nodes_cpu_s),
        _number(row.hub_rss_mb),
        "; ".join([*peers, *shown[:4]]),
    )


def _times(theirs: float, ours: float) -> str:
    return f"{theirs / ours:.1f} times ours" if ours else "ours is 0"


def _value(value: float) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return str(value) if isinstance(value, int) else _number(value)


def _number(value: float | None) -> str:
    if value is None:
        return "-"
    return f"{value:.0f}" if value >= 100 else f"{value:.3g}"
