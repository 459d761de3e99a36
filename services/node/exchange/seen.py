"""What a holder remembers of the checks that it was asked, until they expire (docs/protocol.md 3.4 step 2).

Without this memory a hub could put any number of items under one recorded header, or the same item twice. It is bounded
per asker and in all. Over a bound the checks that end first are forgotten, the asker's own before others': to refuse
would time this party out for everybody, and show an asker that fills its part who is asked about what follows (I11).
"""

from __future__ import annotations

import heapq
from typing import TYPE_CHECKING, Final, NamedTuple

from concordat.clock import MS
from concordat.errors import ProtocolError
from concordat.protocol.check import CHECK_COST
from concordat.protocol.macs import MAC_BYTES
from concordat.tokens import REFERENCE_BYTES, TOKEN_BYTES

if TYPE_CHECKING:
    from concordat.protocol.check import SignedHeader
    from concordat.wire.v1 import check_pb2 as wire

# About 70 bytes an item.
MAX_ITEMS: Final = 1_500_000
MAX_ITEMS_OF_ASKER: Final = 500_000


class Item(NamedTuple):
    """The answer to one item."""

    position: int
    reference: bytes
    decision: int
    mac: bytes
    namespace: int


class SeenCheck:
    """The items of one check that have come so far, and the answers that were given."""

    def __init__(self, header: SignedHeader) -> None:
        self.header_hash = header.hash
        self.asker = header.fields.asker
        self.expires_at_ms = header.fields.expires_at_ms
        self.answers: dict[int, Item] = {}
        self.cost = CHECK_COST
        # Nearly every check comes in one question; its columns are kept as they came, and taken apart for a second.
        self._first: tuple[list[int], bytes, bytes, bytes] | None = None
        self._items: dict[int, bytes] = {}

    def admit(self, positions: list[int], items: wire.CheckItems) -> tuple[list[int], int]:
        """Take the items of a question; return the places of those without an answer, and how many items are new.

        A position stands for one item for ever, so that no more than the header's count of items can be asked. An item
        that came before without a hit is looked up again: the index may have grown since.

        Raises:
            ProtocolError: Another item under a position that was used before.
        """
        if self._first is None and not self._items:
            self._first = (positions, items.tokens, items.references, items.ask_macs)
            return list(range(len(positions))), len(positions)
        if self._first is not None:
            self._items = dict(_rows(*self._first))
            self._first = None
        rows = _rows(positions, items.tokens, items.references, items.ask_macs)
        if any(self._items.get(position, row) != row for position, row in rows):
            raise ProtocolError("more items than the header's count: a position stands for two")
        before = len(self._items)
        self._items.update(rows)
        fresh = [at for at, position in enumerate(positions) if position not in self.answers]
        return fresh, len(self._items) - before


class SeenChecks:
    """All checks that have not expired, by asker and check id."""

    def __init__(self, *, max_items: int = MAX_ITEMS, max_items_of_asker: int = MAX_ITEMS_OF_ASKER) -> None:
        self._max_items = max_items
        self._max_items_of_asker = max_items_of_asker
        self._checks: dict[tuple[str, bytes], SeenCheck] = {}
        self._by_expiry: dict[str, list[tuple[int, bytes]]] = {}
        self._total = 0
        self._of_asker: dict[str, int] = {}

    def admit(
        self, header: SignedHeader, positions: list[int], items: wire.CheckItems, *, now: float
    ) -> tuple[SeenCheck, list[int]]:
        """Take a question under an accepted header; return the check's memory and the places that have no answer yet.

        Raises:
            ProtocolError: The asker signed another header under this check id, or an item is over the count.
        """
        self._expire(int(now * MS))
        asker, check_id = key = (header.fields.asker, header.fields.check_id)
        self._make_room(asker, len(positions) + CHECK_COST)
        check = self._checks.get(key)
        if check is not None and check.header_hash != header.hash:
            raise ProtocolError("the check id was used with another header")
        if check is None:
            check = self._checks[key] = SeenCheck(header)
            heapq.heappush(self._by_expiry.setdefault(asker, []), (check.expires_at_ms, check_id))
            self._count(asker, CHECK_COST)
        fresh, new = check.admit(positions, items)
        check.cost += new
        self._count(asker, new)
        return check, fresh

    def __len__(self) -> int:
        return len(self._checks)

    @property
    def items(self) -> int:
        """Return what all live checks cost, in items."""
        return self._total

    def _expire(self, now_ms: int) -> None:
        # Each on its own time: the hub lets an id be used again once its header has expired.
        for asker, ends in list(self._by_expiry.items()):
            while ends and ends[0][0] <= now_ms:
                self._forget_first(asker)

    def _make_room(self, asker: str, cost: int) -> None:
        while self._of_asker.get(asker, 0) + cost > self._max_items_of_asker and asker in self._by_expiry:
            self._forget_first(asker)
        while self._total + cost > self._max_items and self._of_asker:
            self._forget_first(max(self._of_asker, key=lambda one: self._of_asker[one]))

    def _forget_first(self, asker: str) -> None:
        ends = self._by_expiry[asker]
        _, check_id = heapq.heappop(ends)
        if not ends:
            del self._by_expiry[asker]
        self._count(asker, -self._checks.pop((asker, check_id)).cost)

    def _count(self, asker: str, cost: int) -> None:
        self._total += cost
        left = self._of_asker.get(asker, 0) + cost
        if left:
            self._of_asker[asker] = left
        else:
            self._of_asker.pop(asker, None)


def _rows(positions: list[int], tokens: bytes, references: bytes, ask_macs: bytes) -> list[tuple[int, bytes]]:
    return [
        (
            position,
            tokens[at * TOKEN_BYTES : (at + 1) * TOKEN_BYTES]
            + references[at * REFERENCE_BYTES : (at + 1) * REFERENCE_BYTES]
            + ask_macs[at * MAC_BYTES : (at + 1) * MAC_BYTES],
        )
        for at, position in enumerate(positions)
    ]
