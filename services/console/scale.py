"""The colour scale of the table of countries: five classes, each about twice the one before."""

from __future__ import annotations

from itertools import pairwise
from typing import Final

CLASSES: Final = 5
_STEP: Final = 4


class Scale:
    """Classes for numbers up to a greatest one; they stay as they are until that outgrows them fourfold."""

    def __init__(self, greatest: int) -> None:
        self.unit = 1
        while greatest >= self.unit * 16 * _STEP:
            self.unit *= _STEP

    def level(self, number: int) -> int:
        """Return the class of a number: 0 for none, else 1 to 5."""
        if number <= 0:
            return 0
        return max(1, min(CLASSES, (number // self.unit).bit_length()))

    def labels(self) -> list[str]:
        """Return what each class from 1 on stands for."""
        edges = [1, *(self.unit << power for power in range(1, CLASSES))]
        ranges = [f"{low:,}" if low == high else f"{low:,} to {high:,}" for low, high in _between(edges)]
        return [*ranges, f"{edges[-1]:,} or more"]


def _between(edges: list[int]) -> list[tuple[int, int]]:
    return [(low, following - 1) for low, following in pairwise(edges)]
