"""Sets for a sweep: sorted columns of each source on disk, as a node would have them when it joins.

    python -m bench.data FOLDER --sources 26 --size 1000000

Tokens are uniform, as an OPRF's are. One in a hundred of each source is drawn from a pool that all share, four times as
large as what one source draws; how many tokens two or more sources hold comes out of that, and nothing here knows it.
Numbers come from Philox by seed, source and block, so that the same shape is always the same files, which are kept.
`FOLDER/00/` and so on hold one source each: `high`, `low` u64 and `class` u8, (n); `answer` (n), what a node answers
for a row, as it would have it when it joins (concordat.protocol.sweep_frames.ANSWER).
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import numpy.typing as npt

from bench.rows import short
from concordat.protocol.sweep_frames import ANSWER
from concordat.tokens import NAMESPACE_NUMBERS

if TYPE_CHECKING:
    from collections.abc import Callable

FORMAT: Final = 2
COLUMNS: Final = ("high", "low", "class", "answer")
ROW_BYTES: Final = 8 + 8 + 1 + ANSWER.itemsize
SHARED_OF: Final = 100
POOL: Final = 4
BLOCK: Final = 1 << 16
NAMESPACES: Final = ("e164", "email", "account", "platform", "app", "person")
_READY: Final = "ready.json"
_NUMBERS: Final = np.array([NAMESPACE_NUMBERS[name] for name in NAMESPACES], np.uint8)
_U64: Final = 1 << 64

Words = npt.NDArray[np.uint64]
Bytes = npt.NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class Shape:
    """How many sources of how many tokens each."""

    sources: int
    size: int
    seed: int = 5

    @property
    def bytes(self) -> int:
        """Return the size of the columns on disk."""
        return self.sources * self.size * ROW_BYTES

    @property
    def name(self) -> str:
        """Return the shape in short, as `26x1M`."""
        return f"{self.sources}x{short(self.size)}"


@dataclass(frozen=True, slots=True)
class Part:
    """Tokens in ascending order with the namespace of each."""

    high: Words
    low: Words
    namespace: Bytes

    def sorted(self) -> Part:
        """Return the same in ascending order."""
        order = np.argsort(self.high, kind="stable")
        high = self.high[order]
        if (high[1:] == high[:-1]).any():
            order = np.lexsort((self.low, self.high))
        return Part(self.high[order], self.low[order], self.namespace[order])


def make(folder: Path, shape: Shape, progress: Callable[[str], None] = lambda _: None) -> Path:
    """Return the folder of a shape's sources; make it where it is not there.

    Args:
        folder: Where all shapes lie.
        shape: Which.
        progress: Told how far it is.
    """
    whole = folder / f"{shape.name}-{shape.seed}"
    if _ready(whole, shape):
        return whole
    shutil.rmtree(whole, ignore_errors=True)
    whole.mkdir(parents=True)
    with ProcessPoolExecutor(2, mp_context=get_context("spawn")) as pool:
        tasks = [pool.submit(_source, whole / f"{at:02}", shape, at) for at in range(shape.sources)]
        for done, task in enumerate(tasks, 1):
            task.result()
            progress(f"data {shape.name}: {done} of {shape.sources} sources")
    (whole / _READY).write_text(json.dumps(_stamp(shape)), encoding="utf-8")
    return whole


def there(folder: Path, shape: Shape) -> int:
    """Return how many bytes of a shape lie there already: all or none."""
    return shape.bytes if _ready(folder / f"{shape.name}-{shape.seed}", shape) else 0


def sources(whole: Path) -> list[Path]:
    """Return the folders of the sources, in order."""
    return sorted(one for one in whole.iterdir() if one.is_dir() and one.name.isdigit())


def column(source: Path, name: str) -> npt.NDArray[Any]:
    """Return one column, mapped from disk."""
    found: npt.NDArray[Any] = np.load(source / f"{name}.npy", mmap_mode="r")
    return found


def _stamp(shape: Shape) -> dict[str, int]:
    return {"format": FORMAT, **asdict(shape)}


def _ready(whole: Path, shape: Shape) -> bool:
    try:
        return bool(json.loads((whole / _READY).read_text(encoding="utf-8")) == _stamp(shape))
    except (OSError, ValueError):
        return False


def _random(shape: Shape, *what: int) -> np.random.Generator:
    return np.random.Generator(np.random.Philox(np.random.SeedSequence([shape.seed, *what])))


def _pool(shape: Shape) -> Part:
    random = _random(shape, 0)
    size = POOL * max(1, shape.size // SHARED_OF)
    high, low = (random.integers(0, _U64, size, np.uint64) for _ in range(2))
    return Part(high, low, random.choice(_NUMBERS, size)).sorted()


def _source(folder: Path, shape: Shape, number: int) -> None:
    """Write one source, block by block of the tokens' space, so that memory does not grow with the size."""
    folder.mkdir()
    random = _random(shape, 1, number)
    pool = _pool(shape)
    drawn = np.sort(random.permutation(len(pool.high))[: max(1, shape.size // SHARED_OF)])
    shared = Part(pool.high[drawn], pool.low[drawn], pool.namespace[drawn])
    bits = max(0, (shape.size // BLOCK).bit_length())
    own = random.multinomial(shape.size - len(drawn), np.full(1 << bits, 0.5**bits))
    borders = (
        np.searchsorted(shared.high >> np.uint64(64 - bits), np.arange((1 << bits) + 1)) if bits else [0, len(drawn)]
    )
    files = {name: _file(folder, name, shape.size) for name in COLUMNS}
    at = 0
    for block in range(1 << bits):
        common = slice(int(borders[block]), int(borders[block + 1]))
        part = _block(
            random,
            block,
            bits,
            int(own[block]),
            Part(shared.high[common], shared.low[common], shared.namespace[common]),
        )
        end = at + len(part.high)
        for name, values in _columns(random, part).items():
            files[name][at:end] = values
        at = end
    for one in files.values():
        one.flush()


def _file(folder: Path, name: str, size: int) -> np.memmap[Any, Any]:
    kinds: dict[str, np.dtype[Any]] = {
        "high": np.dtype(np.uint64),
        "low": np.dtype(np.uint64),
        "class": np.dtype(np.uint8),
        "answer": ANSWER,
    }
    return np.lib.format.open_memmap(folder / f"{name}.npy", "w+", kinds[name], (size,))


def _block(random: np.random.Generator, block: int, bits: int, size: int, common: Part) -> Part:
    """Return the tokens of one block: `size` of the source's own, and those of the pool that fall into it."""
    width = 64 - bits
    high = random.integers(0, 1 << width, size, np.uint64) | np.uint64(block << width)
    low = random.integers(0, _U64, size, np.uint64)
    namespace = random.choice(_NUMBERS, size)
    return Part(
        np.concatenate((high, common.high)),
        np.concatenate((low, common.low)),
        np.concatenate((namespace, common.namespace)),
    ).sorted()


def _columns(random: np.random.Generator, part: Part) -> dict[str, npt.NDArray[Any]]:
    size = len(part.high)
    # Holders of one value may assess it differently, and only a platform is assessed.
    assessed = part.namespace == NAMESPACE_NUMBERS["platform"]
    grades = random.integers(0, 3, (2, size), np.uint8) * assessed
    # Equal values have equal match secrets, hence equal confirms: here a hash of the token stands for them.
    confirm = np.stack((_mixed(part.high ^ part.low), _mixed(part.low + np.uint64(1))), axis=1)
    answer = np.empty(size, ANSWER)
    answer["high"], answer["low"] = part.high, part.low
    answer["confirm"] = confirm.view(np.uint8).reshape(size, 16)
    answer["reference"] = random.integers(0, _U64, (size, 2), np.uint64).view(np.uint8).reshape(size, 16)
    answer["class"] = part.namespace | grades[0] << 4 | grades[1] << 6
    return {"high": part.high, "low": part.low, "class": answer["class"], "answer": answer}


def _mixed(words: Words) -> Words:
    """Mix each word (SplitMix64's finaliser)."""
    mixed = words.copy()
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
        mixed = (mixed ^ (mixed >> np.uint64(shift))) * np.uint64(factor)
    return mixed ^ (mixed >> np.uint64(31))


def main() -> None:
    """Make one shape's files."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--sources", type=int, default=26)
    parser.add_argument("--size", type=int, default=1_000_000)
    given = parser.parse_args()
    whole = make(given.folder, Shape(given.sources, given.size), lambda text: print(text, file=sys.stderr))
    sys.stdout.write(f"{whole}\n")


if __name__ == "__main__":
    main()
