"""The confusable skeleton of a name (Unicode UTS 39), for weak values only and never for showing.

The data are those of the package confusable-homoglyphs: for every source line of Unicode's confusables table both
directions. That makes each class a star, whose centre is the prototype; a class of two has two possible centres, of
which the longer, then the smaller by code point, is taken. So a skeleton here may name another member of the class
than ICU does, yet it joins and parts the same strings.

A name is compared case-folded, and the table maps 0 to capital O: so the map is closed over case folding.
"""

from __future__ import annotations

import functools
import json
import unicodedata
from importlib import resources
from typing import Final

from concordat.canon.text import clean, fold

_ROUNDS: Final = 4  # mapping and folding settle in two; more would mean that the data have a cycle


@functools.cache
def _prototypes() -> dict[int, str]:
    """Return code point -> prototype, read once (about 30 ms)."""
    raw = resources.files("confusable_homoglyphs").joinpath("confusables.json").read_text("utf-8")
    stars: dict[str, list[str]] = {key: [entry["c"] for entry in entries] for key, entries in json.loads(raw).items()}

    def centrality(member: str) -> tuple[int, int, list[int]]:
        return (len(stars.get(member, ())), len(member), [-ord(char) for char in member])

    table: dict[int, str] = {}
    for key, others in stars.items():
        if len(key) == 1 and others:
            centre = max((key, *others), key=centrality)
            if centre != key:
                table[ord(key)] = clean(centre)
    return table


def skeleton(name: str) -> str:
    """Return the skeleton of a name: equal for two names that look alike, whatever their case."""
    table = _prototypes()
    text = fold(name)
    for _ in range(_ROUNDS):
        mapped = unicodedata.normalize("NFD", text).translate(table)
        settled = fold(unicodedata.normalize("NFD", mapped))
        if settled == text:
            break
        text = settled
    return text
