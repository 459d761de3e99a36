"""The fast engine: columns of bytes in, columns of bytes out, by kernels that check nothing.

So everything is checked here: lengths, row counts and types before a kernel runs. What is public goes to the kernels;
the one secret, the scalar of `mult`, goes to libsodium or to an `Evaluator`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Protocol

import numpy as np

from concordat.errors import ConfigError, ProtocolError
from concordat.oprf import group
from concordat.oprf.engine import Column, Later
from concordat.oprf.fast import lanes, msm
from concordat.oprf.fast.curve import KEPT_WORDS, POINT_WORDS
from concordat.oprf.fast.selftest import difference

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from concordat.oprf.engine import Engine

    Decode = Callable[[bytes], NDArray[np.uint64]]

MAX_ROWS: Final = 2**16 - 1
_SCALAR_BITS: Final = 253
_BITS: Final = range(3, 12)
_LARGEST_COEFFICIENT: Final = 2**62


class Evaluator(Protocol):
    """Multiplies a column by a custodian's key, without a branch or an address that depends on it."""

    @property
    def name(self) -> str:
        """Say in a word what multiplies."""
        ...

    def mult(self, scalar: bytes, points: NDArray[np.uint64]) -> bytes:
        """Return scalar times each point, encoded (n·32 bytes).

        Args:
            scalar: 32 bytes, little-endian, 1 to order - 1; secret.
            points: (n, 15), n at most 65 535, C order: y + x, y - x, 2dxy of each point (Z = 1) by five limbs of
                51 bits, each below the prime.
        """
        ...


class Libsodium:
    """Stands where no evaluator is."""

    name = "libsodium"


_NONE: Final = Libsodium()


class Fast:
    """Compiled sums over public points; keys stay with libsodium or the evaluator."""

    def __init__(self, load_evaluator: Callable[[Decode], Evaluator | None] = lambda _: None) -> None:
        # Only a custodian has a key, so no other process loads what multiplies by one.
        self._evaluator = Later(lambda: load_evaluator(decoded) or _NONE)

    @property
    def name(self) -> str:
        """Say what multiplies."""
        return f"numba, and {(self._evaluator.now() or _NONE).name} for keys"

    def decode(self, packed: bytes, what: str) -> Column:
        """Decode a column received from outside.

        Raises:
            ProtocolError: as `group.decode_elements`, in the same words.
        """
        data = bytes(packed)
        rows = group.count(data)
        if len(data) % group.ELEMENT_BYTES or rows > MAX_ROWS:
            return Column(group.decode_elements(data, what))
        kept, row = _decoded(data)
        if row >= 0:
            group.decode_elements(data, what)
            raise ProtocolError(f"{what}: element {row} is no canonical encoding")
        return Column(data, kept)

    def weighted_sums(self, scalars: bytes, *columns: Column) -> tuple[bytes, ...]:
        """Return for each column the sum of scalar times element.

        Raises:
            ProtocolError: a scalar is zero.
        """
        rows = group.count(scalars)
        if not 0 < rows <= MAX_ROWS or len(scalars) % group.SCALAR_BYTES:
            raise ValueError(f"{len(scalars)} bytes of scalars are no batch")
        if any(len(column.packed) != len(scalars) for column in columns):
            raise ValueError("one scalar for each element")
        words = _words(scalars)
        if (words[:, 3] >> np.uint64(_SCALAR_BITS - 192)).any():
            raise ValueError("a scalar is not below the order")
        if not words.any(axis=1).all():
            raise ProtocolError("a scalar is zero")
        bits = window_bits(rows)
        digits = np.empty((-(-(_SCALAR_BITS + 1) // bits), rows), np.int16)
        msm.recode(words, bits, digits)
        return tuple(self._sum(digits, bits, column) for column in columns)

    def _sum(self, digits: NDArray[np.int16], bits: int, column: Column) -> bytes:
        buckets = np.empty((2 ** (bits - 1) + 1, POINT_WORDS), np.uint64)
        out = np.empty((1, 4), np.uint64)
        msm.weighted_sum(digits, bits, self._points(column), buckets, out)
        return _bytes(out)

    def small_combination(self, coefficients: Sequence[int], columns: Sequence[Column]) -> bytes:
        """Return, row by row, the sum of coefficient times element."""
        if not columns or len(coefficients) != len(columns) or len({len(column.packed) for column in columns}) != 1:
            raise ValueError("one coefficient and one equally long column each")
        if any(abs(c) >= _LARGEST_COEFFICIENT for c in coefficients):
            raise ValueError("a coefficient is not small")
        points = np.stack([self._points(column) for column in columns])
        out = np.empty((points.shape[1], 4), np.uint64)
        msm.combine(np.array(_steps(coefficients), np.int64), points, out)
        return _bytes(out)

    def mult(self, scalar: bytes, column: Column) -> bytes:
        """Multiply each element by one secret scalar.

        Raises:
            ProtocolError: the scalar is zero modulo the order.
        """
        self._evaluator.start()
        found = self._evaluator.now() or _NONE
        if isinstance(found, Libsodium) or not group.is_scalar_column([scalar]):
            return group.mult(scalar, column.packed)
        return found.mult(scalar, self._points(column))

    def wait(self) -> None:
        """Wait until it is known what multiplies by keys."""
        self._evaluator.wait()

    def _points(self, column: Column) -> NDArray[np.uint64]:
        points = column.points
        if points is None:
            points = self.decode(column.packed, "elements").points
        fits = isinstance(points, np.ndarray) and points.dtype == np.uint64 and points.flags.c_contiguous
        if not fits or points.shape != (len(column), KEPT_WORDS):
            raise ValueError("these points are not of this engine")
        found: NDArray[np.uint64] = points
        return found


def _decoded(data: bytes) -> tuple[NDArray[np.uint64], int]:
    """Decode whole elements; return their points, and -1 or the first row that is refused."""
    words = _words(data)
    kept = np.empty((len(words), KEPT_WORDS), np.uint64)
    return kept, int(msm.decode_all(words, kept))


def decoded(packed: bytes) -> NDArray[np.uint64]:
    """Return the points of a column that is known to decode.

    Raises:
        ProtocolError: it does not.
    """
    kept, row = _decoded(packed)
    if row >= 0:
        raise ProtocolError(f"element {row} is no canonical encoding")
    return kept


def window_bits(rows: int) -> int:
    """Return the width of a digit that takes the fewest multiplications: rows go into buckets, buckets into sums."""
    return min(_BITS, key=lambda bits: -(-254 // bits) * (7 * rows + 18 * 2 ** (bits - 1)))


def _steps(coefficients: Sequence[int]) -> list[int]:
    """Return one chain of doublings for all coefficients, as `msm.combine` takes it."""
    steps: list[int] = []
    for place in reversed(range(max(abs(c).bit_length() for c in coefficients))):
        if steps:
            steps.append(0)
        steps += [k if c > 0 else -k for k, c in enumerate(coefficients, 1) if abs(c) >> place & 1]
    return steps


def _words(data: bytes) -> NDArray[np.uint64]:
    return np.frombuffer(data, "<u8").astype(np.uint64).reshape(-1, 4)


def _bytes(words: NDArray[np.uint64]) -> bytes:
    return words.astype("<u8").tobytes()


def load() -> Engine:
    """Return the engine, compared with libsodium.

    Raises:
        ConfigError: the engine gave something else than libsodium.
    """
    return checked(Fast(lanes.load))


def checked(engine: Engine) -> Engine:
    """Return an engine that gives what libsodium gives.

    Raises:
        ConfigError: it does not.
    """
    what = difference(engine)
    if what is not None:
        raise ConfigError(f"compiled code differs from libsodium in {what}")
    return engine
