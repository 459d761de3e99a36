"""The right answer of a sweep, by brute force: sort everything that all sources hold, and count.

    python -m bench.oracle FOLDER

A program of its own that reads the columns itself and shares no code with the gateway, the nodes or the generator. The
space of tokens is taken in 256 parts by first byte, only so that memory suffices. Prints one JSON object: `tokens` that
two or more sources hold, `rows` of them, and `counts`, distinct values a class byte, where the gravest class in each of
the two areas counts (docs/report.md).
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np


def answer(folder: Path) -> dict[str, Any]:
    """Return the exact answer for the sources in a folder."""
    held = [_opened(one) for one in sorted(folder.glob("[0-9][0-9]"))]
    tokens = rows = 0
    counts = np.zeros(256, np.int64)
    for byte in range(256):
        found = _part([_cut(one, byte) for one in held])
        tokens, rows, counts = tokens + found[0], rows + found[1], counts + found[2]
    return {"tokens": tokens, "rows": rows, "counts": {str(at): int(counts[at]) for at in np.flatnonzero(counts)}}


def _opened(source: Path) -> dict[str, Any]:
    found = {name: np.load(source / f"{name}.npy", mmap_mode="r") for name in ("high", "low", "class", "answer")}
    return {**found, "confirm": found.pop("answer")["confirm"]}


def _cut(source: dict[str, Any], byte: int) -> dict[str, Any]:
    high = source["high"]
    first = np.searchsorted(high, np.uint64(byte << 56), side="left")
    last = np.searchsorted(high, np.uint64((byte << 56) + ((1 << 56) - 1)), side="right")
    return {name: values[first:last] for name, values in source.items()}


def _part(cuts: list[dict[str, Any]]) -> tuple[int, int, Any]:
    high, low, classes = (np.concatenate([cut[name] for cut in cuts]) for name in ("high", "low", "class"))
    source = np.concatenate([np.full(len(cut["high"]), at) for at, cut in enumerate(cuts)])
    if not len(high):
        return 0, 0, np.zeros(256, np.int64)
    order = np.lexsort((source, low, high))
    high, low, classes, source = high[order], low[order], classes[order], source[order]
    first = np.ones(len(high), bool)
    first[1:] = (high[1:] != high[:-1]) | (low[1:] != low[:-1])
    if (~first[1:] & (source[1:] == source[:-1])).any():
        raise SystemExit("a source holds a token twice: the data are broken")
    starts = np.flatnonzero(first)
    holders = np.diff(np.append(starts, len(high)))
    several = holders > 1
    _same_confirm(cuts, order, first)
    # Each area for itself: bits 4-5 trafficking, bits 6-7 abuse; the namespace is the value's own.
    gravest = (
        np.maximum.reduceat(classes & 0x0F, starts)
        | np.maximum.reduceat(classes & 0x30, starts)
        | np.maximum.reduceat(classes & 0xC0, starts)
    )
    return int(several.sum()), int(holders[several].sum()), np.bincount(gravest, minlength=256)


def _same_confirm(cuts: list[dict[str, Any]], order: Any, first: Any) -> None:
    """Check the data, not the answer: what is one token must be one value, or tokens alone would not say it."""
    repeats = np.flatnonzero(~first)
    rows = np.concatenate([cut["confirm"] for cut in cuts])
    if (rows[order[repeats]] != rows[order[repeats - 1]]).any():
        raise SystemExit("equal tokens with different confirms: the data are broken")


if __name__ == "__main__":
    sys.stdout.write(json.dumps(answer(Path(sys.argv[1]))) + "\n")
