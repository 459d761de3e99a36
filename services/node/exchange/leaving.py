"""What a node says beside its checks: withdrawals, receipts and feedback, until it is certain that the hub has them.

A withdrawal is repeated until the party's own list of notices says that it is buried (3.8). Receipts and feedback have
no answer: they are said again at each attach, and count as arrived once the hub has acknowledged a snapshot that left
after them, since it takes frames in their order and ends the session where it cannot store one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from concordat.clock import MS
from concordat.protocol.withdrawal import MAX_REFERENCES, sign_withdraw
from concordat.wire.v1 import check_pb2
from concordat.wire.v1 import session_pb2 as wire
from services.node.store import feedback, withdrawals

if TYPE_CHECKING:
    from concordat.clock import Clock
    from services.node.exchange.identity import Identity
    from services.node.store.store import Store

FRAMES_AT_ONCE: Final = 64


class Leaving:
    """Keeps what was said in this session."""

    def __init__(self, identity: Identity, store: Store, *, clock: Clock) -> None:
        self._identity = identity
        self._store = store
        self._clock = clock
        self._said: set[bytes] = set()
        self._before_snapshot: set[bytes] = set()

    def use_identity(self, identity: Identity) -> None:
        """Sign under another identity and manifest from now on."""
        self._identity = identity

    def detach(self) -> None:
        """Forget the session: whatever is not certain is said again in the next one."""
        self._said.clear()
        self._before_snapshot.clear()

    def work(self) -> list[wire.NodeFrame]:
        """Return what is to be said and was not said in this session."""
        with self._store.read() as db:
            if not withdrawals.anything_to_say(db):
                return []
            references = withdrawals.unburied(db, MAX_REFERENCES)
            receipts = withdrawals.unsent_receipts(db)
            sayings = feedback.unsent_feedback(db)
        frames: list[wire.NodeFrame] = []
        fresh = [one for one in references if one not in self._said]
        if fresh:
            self._said.update(fresh)
            identity = self._identity
            withdraw = sign_withdraw(
                fresh,
                federation=identity.manifest.federation,
                party=identity.name,
                issued_at_ms=int(self._clock.now() * MS),
                key=identity.signing_key,
            )
            frames.append(wire.NodeFrame(withdraw=withdraw))
        frames += [wire.NodeFrame(receipt=check_pb2.Receipt.FromString(one)) for one in self._fresh(receipts)]
        frames += [wire.NodeFrame(feedback=check_pb2.Feedback.FromString(one)) for one in self._fresh(sayings)]
        return frames

    def _fresh(self, messages: list[bytes]) -> list[bytes]:
        fresh = [one for one in messages if one not in self._said][:FRAMES_AT_ONCE]
        self._said.update(fresh)
        return fresh

    def snapshot_leaves(self) -> None:
        """Remember what was said before a snapshot."""
        self._before_snapshot = set(self._said)

    def snapshot_installed(self) -> None:
        """Note that the hub has taken whatever was said before the snapshot."""
        arrived, self._before_snapshot = self._before_snapshot, set()
        if arrived:
            with self._store.write() as db:
                withdrawals.receipts_arrived(db, arrived)
                feedback.feedback_arrived(db, arrived)
