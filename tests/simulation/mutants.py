"""Programs with one rule taken out each: every one must be found, and by the seeds that mutants.json names.

They are subclasses and switches, put in place of the real part when the world is made.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import select

from gateway import ledger_schema as schema
from gateway.edges import EdgeCandidate
from gateway.ledger import Ledger
from gateway.rules import Rules
from services.node.exchange.asker import Asker
from services.node.store.store import Store
from tests.simulation.simulation import Mutant

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gateway.ledger import Committed, LedgerWrite
    from services.node.store.rows import Hit, PublishBatch

LATER: Final = 12
LAG: Final = 6


class HastyStore(Store):
    """Asks about values before it has published them (3.3): what is numbered counts as published, and leaves later."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._late: deque[PublishBatch] = deque()
        self._waits = 0

    def take_unpublished(self, epoch: int, limit: int) -> PublishBatch | None:
        """Number a batch and hold it back."""
        batch = super().take_unpublished(epoch, limit)
        if batch is not None:
            self.acknowledge_published(batch.sequence)
            self._late.append(batch)
            self._waits = LATER
            return None
        self._waits -= 1
        return self._late.popleft() if self._late and self._waits < 0 else None


class LaggingStore(Store):
    """Answers from an index that lags behind, and says that it does not (3.4 (2))."""

    _through = 0
    _asked = 0

    def lookup(self, tokens: bytes, epoch: int) -> list[Hit]:
        """Look in what the index held some questions ago."""
        self._asked += 1
        if self._asked % LAG == 0:
            self._through = self.sequence()
        hits = super().lookup(tokens, epoch)
        with self.read() as db:
            fresh = {
                one
                for (one,) in db.execute(
                    "SELECT value_id FROM token WHERE epoch = ? AND sequence > ?", (epoch, self._through)
                )
            }
        return [hit for hit in hits if hit.value_id not in fresh]


class ForgetfulAsker(Asker):
    """Clears a holder from the pending set that did not answer in time, be it there or away (3.5)."""

    def _land(self, check_id: bytes, pending: dict[str, str], *, covered: set[str]) -> None:
        batch_id = self._flights[check_id].batch_id
        cleared = {holder for holder, state in pending.items() if state != "outside"}
        self._store.cover(batch_id, cleared)
        left = {holder: state for holder, state in pending.items() if holder not in cleared}
        super()._land(check_id, left, covered=covered | cleared)


class MatchLedger(Ledger):
    """Keys what was told by the match and not by (reference, other party): the third holder is news to nobody (C14)."""

    def write(self, writes: Sequence[LedgerWrite]) -> Committed:
        """Write, and leave out who was told of the match already."""
        return super().write([self._once(one) if isinstance(one, EdgeCandidate) else one for one in writes])

    def _once(self, one: EdgeCandidate) -> EdgeCandidate:
        changes = {"told_a": one.told_a and not self._knows(one.party_a, one.reference_a)}
        changes["told_b"] = one.told_b and not self._knows(one.party_b, one.reference_b)
        return type(one)(**{name: getattr(one, name) for name in one.__dataclass_fields__} | changes)

    def _knows(self, party: str, reference: bytes) -> bool:
        told = schema.told.c
        with self._reader.begin() as connection:
            query = select(told.edge_id).where(told.recipient == party, told.reference == reference)
            return connection.execute(query).first() is not None


MUTANTS: Final = (
    Mutant("check before publish", store=HastyStore),
    Mutant("acknowledge before commit", unacknowledged=True),
    Mutant("plane replaced instead of merged", rules=Rules(merge_deltas_into_snapshot=False)),
    Mutant("pending cleared on time-out", parts={"asker": ForgetfulAsker}, steps=1200),
    Mutant("told keyed by match", ledger=MatchLedger),
    Mutant("answer from a lagging index", store=LaggingStore),
)
"""The six of issue 4."""
