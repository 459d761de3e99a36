"""Withdrawals, receipts and feedback at the hub: verified, then left to the ledger (3.8). Nothing answers them.

What a withdrawal did stands in the withdrawing party's own list, and receipts and feedback reach whom they concern as
notices, or nobody: whoever sends one cannot tell which (I11).
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from concordat.errors import ProtocolError
from concordat.protocol.feedback import accept_feedback
from concordat.protocol.withdrawal import accept_receipt, accept_withdraw
from gateway.effects import Note
from gateway.ledger import FeedbackGiven, ReceiptTaken, Tombstone

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from concordat.wire.v1 import check_pb2 as wire
    from gateway.ledger import LedgerWrite
    from gateway.roster import Session, Shared


@dataclass(slots=True)
class Withdrawals:
    """What parties take back, and say of what they were told."""

    shared: Shared
    end: Callable[[Session], None]
    """Ends a session of which the ledger took no write."""
    _writing: Counter[str] = field(default_factory=Counter)

    def withdraw(self, session: Session, withdraw: wire.Withdraw) -> None:
        """Bury references of the session's party.

        Raises:
            IdentityError: Of another party, or badly signed.
            RefusedError: Of another federation.
            ProtocolError: Unreadable, or too many at once.
        """
        # Step 3.8 (2): the tombstones, what becomes void by them and who hears of it are one transaction.
        references = accept_withdraw(withdraw, party=session.party, manifest=self.shared.manifest)
        self._write(session, [Tombstone(session.party, reference) for reference in references])
        self.shared.out.put(Note("a party withdraws values", session.party, warning=False))

    def receipt(self, session: Session, receipt: wire.Receipt) -> None:
        """Take the receipt of a withdrawal; the ledger knows whether it is owed.

        Raises:
            IdentityError: Of another party, or badly signed.
            ProtocolError: Unreadable, or too many at once.
        """
        # Step 3.8 (4).
        body = accept_receipt(receipt, signer=session.party, manifest=self.shared.manifest)
        message = receipt.SerializeToString(deterministic=True)
        self._write(session, [ReceiptTaken(session.party, body.withdrawer, body.reference, body.edge_id, message)])

    def feedback(self, session: Session, feedback: wire.Feedback) -> None:
        """Take feedback on an edge; the ledger knows whether anybody may hear of it.

        Raises:
            IdentityError: Of another party, or badly signed.
            ProtocolError: Unreadable, an unknown reason, or too much at once.
        """
        body = accept_feedback(feedback, signer=session.party, manifest=self.shared.manifest)
        message = feedback.SerializeToString(deterministic=True)
        self._write(session, [FeedbackGiven(session.party, body.other, body.edge_id, message)])

    def _write(self, session: Session, writes: Sequence[LedgerWrite]) -> None:
        party = session.party
        if self._writing[party] + len(writes) > self.shared.limits.withdrawals_in_flight:
            raise ProtocolError("more withdrawals, receipts and feedback at once than the hub takes", code="busy")
        self._writing[party] += len(writes)

        def done(*, durable: bool) -> None:
            self._writing[party] -= len(writes)
            if not durable:
                # What its node repeats at each attach comes again.
                self.shared.out.put(Note("a withdrawal, receipt or feedback could not be stored", party))
                self.end(session)

        self.shared.out.write(writes, done)
