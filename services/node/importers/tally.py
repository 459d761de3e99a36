"""Where every line of a file went, so that nothing is dropped unseen."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field


@dataclass(slots=True)
class Tally:
    """Counts of one pass over a file; complete when the pass is.

    For CSV and JSON lines, `lines` is the sum of `blank_lines`, `heading_lines`, `continued_lines` (of a cell that
    spans lines) and the lines on which rows and refusals stand. `skipped` counts what a format itself says not to
    read, by reason (deleted attributes of MISP, revoked objects of STIX).
    """

    lines: int = 0
    blank_lines: int = 0
    heading_lines: int = 0
    continued_lines: int = 0
    rows: int = 0
    refusals: int = 0
    skipped: Counter[str] = field(default_factory=Counter)
