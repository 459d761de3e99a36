"""What a transaction of the ledger is going to tell, once it is durable."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from collections.abc import Iterable

    from concordat.wire.v1 import check_pb2 as wire
    from gateway.ledger_writes import LedgerWrite, VoidEdge

W = TypeVar("W")


class Grouped:
    """Writes by their kind, each in the order in which they came."""

    def __init__(self, writes: Iterable[LedgerWrite]) -> None:
        self._of: dict[type[Any], list[Any]] = {}
        for write in writes:
            self._of.setdefault(type(write), []).append(write)

    def __getitem__(self, kind: type[W]) -> list[W]:
        return self._of.get(kind, [])


@dataclass(slots=True)
class Draft:
    """What a transaction is going to append to recipients' lists, and what it found."""

    notices: list[tuple[str, wire.Notice, str]] = field(default_factory=list)
    """Recipient, content, and the operation of an exercise or nothing."""
    refused: list[VoidEdge] = field(default_factory=list)
    visible: bool = False
    dead: frozenset[tuple[str, bytes]] = frozenset()
    superseded: frozenset[tuple[str, bytes]] = frozenset()
    doubted: frozenset[tuple[str, bytes]] = frozenset()
    renewed_by: str = ""

    def tell(self, recipient: str, notice: wire.Notice, exercise: str = "") -> None:
        """Append to a recipient's list."""
        self.notices.append((recipient, notice, exercise))
