"""The routing filter: a plane of each party, in tables that grow while they are used (3.2, docs/adr/0011).

A token may be held by a party only if all its slots have the party's bit. Bits are only ever added in place; a plane
with fewer bits replaces the live one slot by slot, merged with every delta that came meanwhile. So the filter has false
positives and never a false negative (C4). It lives in memory only.

    table = RoutingTable(parties, log2_slots=21, hashes=4)
    table.grow(table.shape_for(10_000_000))
    table.install("spiffe://example/node/NL", bits)
    while table.busy:
        table.work()                     # a step of a few milliseconds, between other work
    masks = table.route(tokens)          # shape (tokens, words)
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from concordat.errors import ConfigError, ProtocolError
from concordat.planes import (
    MAX_LOG2_SLOTS,
    MIN_LOG2_SLOTS,
    false_positives,
    fitting_log2,
    require_shape,
    reshape_slots,
    set_bits,
    slots_of,
    unpack_slots,
)
from gateway.plane_columns import PARTIES_OF_TABLE, PlaneColumns, bytes_of_slot

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from numpy.typing import NDArray

MEMORY_BYTES: Final = 2 << 30
FALSE_POSITIVES: Final = 0.005
"""Aimed at for each party; where the memory does not allow it, there are more."""
RARELY: Final = 1e-5
"""Aimed at while the tables stay small: one token in two hundred is enough to ask everybody about each large check."""
_SMALL: Final = 32
"""Small tables take this part of the memory at most."""
_CROWDED: Final = 1.5 * FALSE_POSITIVES


@dataclass(slots=True)
class _Growth:
    """Larger tables that take what the live ones have."""

    columns: PlaneColumns
    at: int = 0


@dataclass(slots=True)
class _Install:
    """A whole plane that replaces the live one of its party."""

    number: int
    bits: NDArray[np.uint8]
    log2_slots: int
    done: Callable[[], None] | None
    at: int = 0


class RoutingTable:
    """The planes of any number of parties; `versions` counts the changes of each."""

    # Slots that one step writes: a few milliseconds.
    grown_at_once = 1 << 18
    installed_at_once = 1 << 21

    def __init__(
        self, parties: tuple[str, ...], *, log2_slots: int, hashes: int, memory_bytes: int = MEMORY_BYTES
    ) -> None:
        """Make empty planes.

        Args:
            parties: SPIFFE ids; their order gives each its bit.
            log2_slots: A plane has 2 to this power slots at least, unless the memory is too small.
            hashes: Slots that a token sets.
            memory_bytes: What the tables may take, also while they grow.

        Raises:
            ConfigError: No such shape.
        """
        require_shape(log2_slots, hashes)
        self.most_log2 = _most_log2(len(parties), memory_bytes)
        self.least_log2 = min(log2_slots, self.most_log2)
        self._small_log2 = _most_log2(len(parties), memory_bytes // _SMALL)
        self.hashes = hashes
        self.parties = parties
        self.words = -(-max(len(parties), 1) // PARTIES_OF_TABLE)
        self.versions = np.zeros(len(parties), dtype=np.int64)
        self._index = {party: number for number, party in enumerate(parties)}
        self._live = PlaneColumns(len(parties), self.least_log2)
        self._filled = np.zeros(len(parties))
        """Which part of each plane is set, about."""
        self._jobs: deque[_Growth | _Install] = deque()

    @property
    def log2_slots(self) -> int:
        """Return the shape of the live tables."""
        return self._live.log2_slots

    @property
    def target_log2(self) -> int:
        """Return the shape that the tables have once all growth that was begun is done."""
        growing = [job.columns.log2_slots for job in self._jobs if isinstance(job, _Growth)]
        return max([self.log2_slots, *growing])

    @property
    def nbytes(self) -> int:
        """Return the bytes of all tables, also of those that are being filled."""
        return self._live.nbytes + sum(job.columns.nbytes for job in self._jobs if isinstance(job, _Growth))

    @property
    def busy(self) -> bool:
        """Tell whether there is growth or a plane to go on with."""
        return bool(self._jobs)

    def index(self, party: str) -> int:
        """Return the number of a party's bit.

        Raises:
            ConfigError: The table was made without this party.
        """
        try:
            return self._index[party]
        except KeyError as error:
            raise ConfigError("the routing filter has no plane for this party") from error

    def bit(self, party: str) -> tuple[int, np.uint64]:
        """Return the word of a mask that has this party's bit, and the bit."""
        word, bit = divmod(self.index(party), PARTIES_OF_TABLE)
        return word, np.uint64(1 << bit)

    def mask(self, parties: Iterable[str]) -> NDArray[np.uint64]:
        """Return the bits of some parties, one mask."""
        mask = np.zeros(self.words, dtype=np.uint64)
        for party in parties:
            word, bit = self.bit(party)
            mask[word] |= bit
        return mask

    def named(self, mask: NDArray[np.uint64]) -> list[str]:
        """Return the parties whose bits one mask has, in their order."""
        if not mask.any():
            return []
        flags = np.unpackbits(mask.astype("<u8").view(np.uint8), bitorder="little")
        return [self.parties[number] for number in np.flatnonzero(flags)]

    def positions(self, masks: NDArray[np.uint64], party: str) -> NDArray[np.intp]:
        """Return which masks have a party's bit."""
        word, bit = self.bit(party)
        return np.flatnonzero(masks[:, word] & bit)

    def route(self, tokens: bytes) -> NDArray[np.uint64]:
        """Return the parties that may hold each of the packed tokens: masks, shape (tokens, words)."""
        return self._live.route(slots_of(tokens, self.log2_slots, self.hashes))

    def slots(self, packed: bytes, log2_slots: int) -> NDArray[np.uint32]:
        """Read a delta's slots.

        Raises:
            ProtocolError: No whole slots, or one outside the plane.
        """
        return unpack_slots(packed, log2_slots)

    def merge_delta(self, party: str, slots: NDArray[np.uint32], log2_slots: int | None = None) -> None:
        """Set slots in a party's live plane, and wherever it is about to be replaced.

        Args:
            party: Whose plane.
            slots: Of a plane of any shape.
            log2_slots: That shape; the live one by default.
        """
        number, shape = self.index(party), self.log2_slots if log2_slots is None else log2_slots
        self._filled[number] += self._live.add(number, slots, shape)
        for job in self._jobs:
            if isinstance(job, _Growth):
                # What is still to be copied brings it along; new memory that is touched here and there takes long.
                job.columns.add(number, slots, shape, below=job.at)
            elif job.number == number:
                set_bits(job.bits, reshape_slots(slots, shape, job.log2_slots))
        self.touch(party)

    def install(self, party: str, bits: NDArray[np.uint8], done: Callable[[], None] | None = None) -> None:
        """Begin to replace a party's live plane by a whole bitmap; a small one is live at once.

        Until then the live plane is partly the new one. Whatever was published is in both, so that no match is lost.

        Args:
            party: Whose plane.
            bits: Of no more slots than the tables have, or will have; it is changed by deltas that come meanwhile.
            done: Called once all of it is live.

        Raises:
            ProtocolError: It has a shape that no tables have.
        """
        log2_slots = (bits.size << 3).bit_length() - 1
        if bits.size & (bits.size - 1) or not MIN_LOG2_SLOTS <= log2_slots <= self.target_log2:
            raise ProtocolError("a plane has another shape than the tables")
        number = self.index(party)
        # A whole plane that waits behind others gives way to this one, or a party could fill the memory with them.
        self._jobs = deque(
            job for at, job in enumerate(self._jobs) if not at or isinstance(job, _Growth) or job.number != number
        )
        self._jobs.append(_Install(number, bits, log2_slots, done))
        if len(self._jobs) == 1:
            self.work()

    def grow(self, log2_slots: int) -> None:
        """Begin to make the tables larger; beyond what the memory allows they stay as they are."""
        if not self.target_log2 < log2_slots <= self.most_log2:
            return
        try:
            columns = PlaneColumns(len(self.parties), log2_slots)
        except MemoryError:
            # False positives are better than no hub.
            self.most_log2 = self.target_log2
            return
        self._jobs.append(_Growth(columns))
        if len(self._jobs) == 1:
            self.work()

    def work(self) -> None:
        """Go on with growth and whole planes, for a few milliseconds."""
        if not self._jobs:
            return
        job = self._jobs[0]
        if isinstance(job, _Growth):
            self._grow_on(job)
        else:
            self._install_on(job)

    def finish(self) -> None:
        """Go on until nothing is left to do."""
        while self.busy:
            self.work()

    def _grow_on(self, job: _Growth) -> None:
        end = min(job.at + self.grown_at_once, job.columns.size)
        step = min(self.grown_at_once, self._live.size)
        for start in range(job.at, end, step):
            job.columns.copy(self._live, start, step)
        job.at = end
        if end == job.columns.size:
            # A repeated table says the same of every token: nothing is to be routed again.
            self._live = job.columns
            self._jobs.popleft()

    def _install_on(self, job: _Install) -> None:
        end = min(job.at + self.installed_at_once, self._live.size)
        step = min(self.installed_at_once, job.bits.size << 3, self._live.size)
        for start in range(job.at, end, step):
            self._live.replace(job.number, job.bits, start, step)
        job.at = end
        if end == self._live.size:
            self._jobs.popleft()
            self._filled[job.number] = _part_set(job.bits)
            self.touch(self.parties[job.number])
            if job.done is not None:
                job.done()

    def touch(self, party: str) -> None:
        """Count a change, so that items routed before it are routed again before the barrier."""
        self.versions[self.index(party)] += 1

    def shape_for(self, tokens: int) -> int:
        """Return the shape of a plane of so many tokens, as far as the memory allows."""
        needed = fitting_log2(tokens, self.hashes, FALSE_POSITIVES)
        wished = min(fitting_log2(tokens, self.hashes, RARELY), self._small_log2)
        return min(self.most_log2, max(self.least_log2, needed, wished))

    def false_positives(self, party: str) -> float:
        """Return which part of foreign tokens the party is asked in vain, about."""
        return false_positives(float(self._filled[self.index(party)]), self.hashes)

    def crowded(self, party: str) -> bool:
        """Tell whether a party's plane says 'maybe' clearly more often than is aimed at."""
        return self.false_positives(party) > _CROWDED


def _most_log2(parties: int, memory_bytes: int) -> int:
    # While tables grow, the ones before them, at most half as large, are there too.
    slots = memory_bytes * 2 // (3 * bytes_of_slot(parties))
    return min(MAX_LOG2_SLOTS, max(MIN_LOG2_SLOTS, slots.bit_length() - 1))


def _part_set(bits: NDArray[np.uint8]) -> float:
    words = bits.view(np.uint64) if bits.size % 8 == 0 else bits
    return int(np.bitwise_count(words).sum(dtype=np.int64)) / (bits.size << 3)
