"""Two sets of numbers that look like telephone numbers, of which one in a hundred is in both."""

from __future__ import annotations

import random

SHARED_OF = 100


def two_sets(size: int) -> tuple[list[str], list[str]]:
    """Return the sets, the second shuffled; no number is anybody's."""
    first = [f"+49{number:011}" for number in range(size)]
    second = [f"+49{number:011}" for number in range(size - size // SHARED_OF, 2 * size - size // SHARED_OF)]
    random.Random(5).shuffle(second)
    return first, second
