"""Bars as SVG text, readable on light and dark ground; no library.

svg = Chart("Sweep of 26 x 1 M tokens", "seconds, less is better", (Bar("Concordat", 0.7, "0.70 s", ours=True),)).svg()
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from html import escape
from typing import Final

WIDTH: Final = 760
LABEL: Final = 210
VALUE: Final = 130
ROW: Final = 30
TOP: Final = 66
BOTTOM: Final = 34
_STYLE: Final = """<style>
text{font:13px system-ui,-apple-system,"Segoe UI",sans-serif;fill:#1f2328}
.title{font-size:16px;font-weight:600}.small{font-size:12px;fill:#59636e}
.ours{fill:#0969da}.theirs{fill:#8c959f}.limit{stroke:#cf222e;stroke-width:1.5;stroke-dasharray:4 3}
@media (prefers-color-scheme:dark){text{fill:#e6edf3}.small{fill:#9198a1}
.ours{fill:#4493f8}.theirs{fill:#6e7681}.limit{stroke:#f85149}}
</style>"""


@dataclass(frozen=True, slots=True)
class Bar:
    """One line: what, how much, and the text at its end."""

    label: str
    value: float
    text: str
    ours: bool = True


@dataclass(frozen=True, slots=True)
class Chart:
    """A picture of bars.

    Attributes:
        title: First line.
        subtitle: What is measured, and in what unit.
        bars: From top to bottom; values over 0 where the scale is logarithmic.
        note: Line at the foot: the machine and the day.
        limit: A value to draw a line at, with its text.
        logarithmic: Whether a bar's length is by the logarithm.
    """

    title: str
    subtitle: str
    bars: tuple[Bar, ...]
    note: str = ""
    limit: tuple[float, str] | None = None
    logarithmic: bool = False

    def svg(self) -> str:
        """Return the file's text."""
        height = TOP + ROW * len(self.bars) + BOTTOM
        said = ", ".join(f"{bar.label} {bar.text}" for bar in self.bars)
        parts = [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" role="img">',
            f"<title>{escape(self.title)}</title><desc>{escape(said)}</desc>",
            _STYLE,
            _text(12, 24, self.title, "title"),
            _text(12, 46, self.subtitle, "small"),
            *(self._bar(number, bar) for number, bar in enumerate(self.bars)),
            self._limit(height),
            _text(12, height - 10, self.note, "small"),
            "</svg>",
        ]
        return "\n".join(part for part in parts if part) + "\n"

    def _bar(self, number: int, bar: Bar) -> str:
        y = TOP + ROW * number
        length = max(2.0, self._length(bar.value))
        kind = "ours" if bar.ours else "theirs"
        return (
            f'<text x="{LABEL - 10}" y="{y + 15}" text-anchor="end">{escape(bar.label)}</text>'
            f'<rect class="{kind}" x="{LABEL}" y="{y}" width="{length:.1f}" height="20" rx="3"/>'
            # Beyond the line of the limit, which would else go through it.
            f"{_text(LABEL + max(length, self._length(self.limit[0]) if self.limit else 0) + 8, y + 15, bar.text)}"
        )

    def _limit(self, height: int) -> str:
        if self.limit is None:
            return ""
        value, text = self.limit
        x = LABEL + self._length(value)
        line = f'<line class="limit" x1="{x:.1f}" x2="{x:.1f}" y1="{TOP - 4}" y2="{height - BOTTOM + 2}"/>'
        return line + f'<text class="small" x="{x:.1f}" y="{TOP - 8}" text-anchor="middle">{escape(text)}</text>'

    def _length(self, value: float) -> float:
        room = WIDTH - LABEL - VALUE
        values = [bar.value for bar in self.bars] + ([self.limit[0]] if self.limit else [])
        largest = max(values)
        if not self.logarithmic:
            return room * value / largest if largest else 0.0
        # The shortest bar is a tenth of a decade long, so that it can be seen.
        lowest = math.log10(min(values)) - 0.1
        return room * (math.log10(value) - lowest) / (math.log10(largest) - lowest)


def _text(x: float, y: float, text: str, kind: str = "") -> str:
    named = f' class="{kind}"' if kind else ""
    return f'<text{named} x="{x:.1f}" y="{y:.1f}">{escape(text)}</text>' if text else ""
