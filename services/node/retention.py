"""The end of records: whatever is past its last day, or that of its case, is withdrawn by the node itself (3.8; LB-21).

It runs before the node answers anything, and once an hour. Whoever was told hears of it as of any withdrawal.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from concordat.clock import MS
from concordat.vocabulary import WithdrawReason
from services.node.journal import epochs_of
from services.node.store import withdrawals

if TYPE_CHECKING:
    from concordat.clock import Clock
    from services.node.store.store import Store

EVERY_S: Final = 3600.0
_AT_ONCE: Final = 500


def withdraw_ended(store: Store, *, clock: Clock) -> int:
    """Withdraw every record that is at its end; return how many.

    Raises:
        UnavailableError: The store cannot be written.
    """
    now = clock.now()
    today = datetime.fromtimestamp(now, UTC).date().isoformat()
    number = 0
    while True:
        with store.write() as db:
            ended = withdrawals.records_ended(db, today, _AT_ONCE)
            withdrawals.withdraw_records(
                db,
                [record_id for record_id, _ in ended],
                reason=WithdrawReason.EXPIRED,
                at_ms=int(now * MS),
                epochs=epochs_of(db),
            )
        number += len(ended)
        if len(ended) < _AT_ONCE:
            return number
