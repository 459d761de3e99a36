"""Read the nodes' stores: is all work done, and what was each party told?"""

from __future__ import annotations

import time
from contextlib import ExitStack
from typing import TYPE_CHECKING, Final, NamedTuple, Self

from concordat.errors import UnavailableError
from concordat.identity.names import SpiffeId
from concordat.wire.v1 import check_pb2 as wire
from demo.score import ToldEdge
from services.node.store.store import FILE_NAME, Store

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from pathlib import Path

    from demo.files import PartyFile

POLL_S: Final = 0.1
# Counting takes longer with more values; the nodes need the processor more.
REST: Final = 20


class Left(NamedTuple):
    """What is still to be done at all nodes."""

    tokens: int
    """To be made."""
    publishing: int
    """Nodes that have something to publish."""
    checks: int
    """Values to be asked about."""
    pending: int
    """Holders that have not covered a batch of questions, one for each batch."""


class Stores:
    """The open stores of all nodes, for a while."""

    def __init__(self, homes: Mapping[str, Path]) -> None:
        self._homes = homes
        self._stack = ExitStack()
        self._stores: dict[str, Store] = {}

    def __enter__(self) -> Self:
        self._stores = {
            name: self._stack.enter_context(Store.open(home / FILE_NAME)) for name, home in self._homes.items()
        }
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def __getitem__(self, party: str) -> Store:
        return self._stores[party]

    def left(self) -> Left:
        """Return how much is still to be done."""
        found = [_left(store) for store in self._stores.values()]
        return Left(*(sum(column) for column in zip(*found, strict=True)))

    def wait_done(self, timeout_s: float, tell: Callable[[Left], None] = lambda _left: None) -> None:
        """Wait until nothing is left.

        Raises:
            UnavailableError: Something is left in the end; what the nodes say of it is in the message.
        """
        deadline = time.monotonic() + timeout_s
        while True:
            began = time.monotonic()
            left = self.left()
            tell(left)
            if not any(left):
                return
            if time.monotonic() > deadline:
                reasons = {f"{name}: {c.text}" for name, store in self._stores.items() for c in store.conditions()}
                what = ", ".join(f"{number} {name}" for name, number in left._asdict().items() if number)
                raise UnavailableError(f"left after {timeout_s:.0f} s: {what}. {'; '.join(sorted(reasons))}")
            time.sleep(max(POLL_S, REST * (time.monotonic() - began)))

    def told(self) -> list[ToldEdge]:
        """Return one edge for every notice that a party shows, so that a doubled notice is seen twice."""
        return [edge for name, store in self._stores.items() for edge in _told(name, store)]

    def lines_of(self, files: Iterable[PartyFile]) -> dict[tuple[str, bytes], list[str]]:
        """Return (party, reference) -> ids of the scenario's lines that this value was read from."""
        found: dict[tuple[str, bytes], list[str]] = {}
        for file in files:
            with self._stores[file.party].read() as db:
                rows = db.execute(
                    "SELECT value.reference, record.item FROM value"
                    " JOIN record_value ON record_value.value_id = value.id"
                    " JOIN record ON record.id = record_value.record_id"
                    " JOIN file ON file.id = record.file_id WHERE file.name = ?",
                    (file.path.name,),
                )
                for reference, item in rows:
                    found.setdefault((file.party, reference), []).append(file.line_ids[item - 1])
        return found


def _left(store: Store) -> Left:
    with store.read() as db:
        (to_check,) = db.execute("SELECT count(*) FROM to_check").fetchone()
    published = store.all_published()
    return Left(store.untokenised_count(), int(not published), int(to_check), len(store.pending_batches()))


def _told(party: str, store: Store) -> list[ToldEdge]:
    shown = {told.edge_id for told in store.all_told() if told.state == "shown"}
    with store.read() as db:
        notices = [wire.Notice.FromString(content) for (content,) in db.execute("SELECT content FROM notice")]
    return [
        ToldEdge(party, n.told.own_reference, SpiffeId.parse(n.told.other).name, n.told.other_reference)
        for n in notices
        if n.HasField("told") and n.told.edge_id in shown
    ]
