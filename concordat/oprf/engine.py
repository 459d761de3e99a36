"""Which code multiplies: libsodium, or compiled code for public values where numba is installed (ADR 0010).

    engine = current(rows)                       # for one batch; never waits
    column = engine.decode(received, "evaluated elements")
    m, z = engine.weighted_sums(weights, blinded, column)

`REFERENCE` is libsodium through `group`. The fast engine is loaded once a process, compared with the reference over
edge cases and dropped for the life of the process on any difference or failure. Proofs and outputs are the same bytes.

What an engine is given is public, with one exception: the scalar of `mult` is a custodian's key, so an engine either
passes it to libsodium or has no branch and no address that depends on it.
"""

from __future__ import annotations

import importlib.util
import logging
import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, Generic, Protocol, TypeVar

from concordat.errors import ConcordatError
from concordat.leaving import COMPILING
from concordat.oprf import group

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

MIN_ROWS: Final = 16  # below, a batch costs as much in the fast engine as in libsodium
WARM_ROWS: Final = 16_384  # a process that makes fewer does not pay for loading a compiler

T = TypeVar("T")

_log = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False, slots=True)
class Column:
    """Elements that passed the strict decoding.

    Attributes:
        packed: n·32 bytes.
        points: what the engine that decoded them keeps of them, for itself; None where it keeps nothing.
    """

    packed: bytes
    points: Any = field(default=None, repr=False)

    def __len__(self) -> int:
        return group.count(self.packed)


class Engine(Protocol):
    """The operations of a batch that one engine does faster than another. Each takes any engine's columns."""

    @property
    def name(self) -> str:
        """Say in a word or two what multiplies."""
        ...

    def decode(self, packed: bytes, what: str) -> Column:
        """Decode a column received from outside, as strictly as `group.decode_elements`.

        Raises:
            ProtocolError: a length is wrong, or an element is the identity, has bit 255 set or is not canonical.
        """
        ...

    def weighted_sums(self, scalars: bytes, *columns: Column) -> tuple[bytes, ...]:
        """Return for each column the sum of scalar times element over its rows; scalars are public, below the order.

        Raises:
            ProtocolError: a scalar is zero.
        """
        ...

    def small_combination(self, coefficients: Sequence[int], columns: Sequence[Column]) -> bytes:
        """Return, row by row, the sum of coefficient times element (n·32 bytes); coefficients are small and public."""
        ...

    def mult(self, scalar: bytes, column: Column) -> bytes:
        """Multiply each element by one scalar, which is secret (n·32 bytes).

        Raises:
            ProtocolError: the scalar is zero modulo the order.
        """
        ...

    def wait(self) -> None:
        """Wait for what is still loading in a thread; for benches and tests."""
        ...


class Reference:
    """libsodium, one call a row."""

    name = "libsodium"

    def decode(self, packed: bytes, what: str) -> Column:
        """Decode a column received from outside.

        Raises:
            ProtocolError: as `group.decode_elements`.
        """
        return Column(group.decode_elements(packed, what))

    def weighted_sums(self, scalars: bytes, *columns: Column) -> tuple[bytes, ...]:
        """Return for each column the sum of scalar times element.

        Raises:
            ProtocolError: a scalar is zero.
        """
        return tuple(group.weighted_sum(scalars, column.packed) for column in columns)

    def small_combination(self, coefficients: Sequence[int], columns: Sequence[Column]) -> bytes:
        """Return, row by row, the sum of coefficient times element."""
        return group.small_combination(coefficients, [column.packed for column in columns])

    def mult(self, scalar: bytes, column: Column) -> bytes:
        """Multiply each element by one secret scalar.

        Raises:
            ProtocolError: the scalar is zero modulo the order.
        """
        return group.mult(scalar, column.packed)

    def wait(self) -> None:
        """Return at once."""


REFERENCE: Final = Reference()


def _installed() -> bool:
    return importlib.util.find_spec("numba") is not None


def _load() -> Engine | None:
    if not _installed():
        return None
    from concordat.oprf.fast.batch import load  # noqa: PLC0415 - importing numba takes 90 MB

    return load()


class Later(Generic[T]):
    """Something that takes seconds to load and that nobody has to wait for; loaded once, in a thread."""

    def __init__(self, load: Callable[[], T]) -> None:
        self._load = load
        self._value: T | None = None
        self._started = False
        self._starting, self._loading = threading.Lock(), threading.Lock()

    def now(self) -> T | None:
        """Return it where it is there already."""
        return self._value

    def start(self) -> None:
        """Begin to load, once."""
        with self._starting:
            started, self._started = self._started, True
        if not started:
            threading.Thread(target=self.wait, name=COMPILING).start()

    def wait(self) -> T:
        """Load it here and now, or wait until it is loaded."""
        with self._loading:
            if self._value is None:
                self._started = True
                self._value = self._load()
            return self._value


class Selector:
    """Chooses once between the reference and the fast engine, and keeps to it."""

    def __init__(self, load: Callable[[], Engine | None] = _load, *, warm_rows: int = WARM_ROWS) -> None:
        self._load = load
        self._warm_rows = warm_rows
        self._rows = 0
        self._chosen: Later[Engine] = Later(self._loaded)

    @property
    def name(self) -> str:
        """Return what large batches run on now."""
        return (self._chosen.now() or REFERENCE).name

    def current(self, rows: int) -> Engine:
        """Return the engine for a batch.

        Never waits: while the fast engine is loading, and before the process has seen `warm_rows` rows, it is the
        reference.
        """
        if rows < MIN_ROWS:
            return REFERENCE
        found = self._chosen.now()
        if found is None:
            # Two threads may lose a count to each other, which makes the start a batch later.
            self._rows += rows
            if self._rows >= self._warm_rows:
                self._chosen.start()
        return found or REFERENCE

    def warm_up(self) -> Engine:
        """Load the fast engine where there is one, and return what was chosen; some seconds on an empty cache."""
        return self._chosen.wait()

    def _loaded(self) -> Engine:
        try:
            found = self._load()
        except Exception as e:  # noqa: BLE001 - whatever is wrong with an extra, the work goes on without it
            what = e.message if isinstance(e, ConcordatError) else "it does not start"
            # A process that ends breaks its loading off, which is nobody's trouble.
            if threading.main_thread().is_alive():
                _log.warning("no compiled code for tokens, libsodium does it all: %s", what, exc_info=True)
            return REFERENCE
        if found is not None:
            _log.info("from now on tokens are computed by %s", found.name)
        return found or REFERENCE


_selector: Final = Selector()


def current(rows: int) -> Engine:
    """Return this process's engine for a batch of so many rows; never waits."""
    return _selector.current(rows)


def warm_up() -> Engine:
    """Load this process's fast engine now, where there is one, and return what was chosen."""
    return _selector.warm_up()


def in_use() -> str:
    """Return the name of what this process's large batches run on now."""
    return _selector.name
