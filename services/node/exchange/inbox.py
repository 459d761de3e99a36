"""Notices: verified before anything shows, and stored in one transaction with their cursor (3.4 step 4).

An asker believes the holder's MAC, a holder believes its own witness of the ask, a participant of a sweep its own
verdict on the pair; nobody believes the hub. What is not proven goes back as a signed refusal that names the party.
"""

from __future__ import annotations

import logging
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from concordat.clock import MS
from concordat.errors import ConcordatError, IdentityError, ProtocolError
from concordat.identity.names import SpiffeId
from concordat.protocol import macs
from concordat.protocol.certificate import NEVER_ASKED, WRONG_ANSWER_MAC, sign_refusal
from concordat.protocol.check import parse_header
from concordat.protocol.feedback import accept_feedback
from concordat.protocol.withdrawal import accept_receipt, read_body, require_time, sign_receipt
from concordat.tokens import REFERENCE_BYTES
from concordat.vocabulary import WithdrawReason
from concordat.wire.v1 import check_pb2 as wire
from services.node.events import EdgeVoided, EdgeWithdrawn, FeedbackHeard, PartyRefused, Told
from services.node.store import checks, feedback, withdrawals
from services.node.store import inbox as store_inbox
from services.node.store.feedback import FeedbackRow
from services.node.store.rows import PairRow, ToldRow
from services.node.store.withdrawals import ReceiptRow

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Callable, Iterable

    from concordat.clock import Clock
    from services.node.events import Event, EventSink
    from services.node.exchange.asker import Asker
    from services.node.exchange.identity import Identity
    from services.node.store.rows import SentCheck
    from services.node.store.store import Store

EDGE_ID_BYTES: Final = 16
# Far above what anybody reaches, and within what a store can hold.
MAX_CURSOR: Final = 1 << 48
HANDLE: Final = re.compile(r"[A-Za-z0-9-]{1,64}")
UNKNOWN_WITHDRAWAL: Final = "withdrawal_unknown_here"
_GRADES: Final = {wire.GRADE_STRONG: "strong", wire.GRADE_WEAK: "weak"}
_LOG: Final = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class _Reopening:
    """A value that is to be asked about again, and of whom."""

    reference: bytes
    other: str


class Inbox:
    """Takes notices in their order."""

    def __init__(
        self,
        identity: Identity,
        store: Store,
        *,
        asker: Asker,
        clock: Clock,
        emit: EventSink,
        random_bytes: Callable[[int], bytes],
    ) -> None:
        self._random_bytes = random_bytes
        self._identity = identity
        self._store = store
        self._asker = asker
        self._clock = clock
        self._emit = emit
        self.cursor = 0
        """Highest notice that was taken in this session or before it."""
        self._last_sent: SentCheck | None = None

    def use_identity(self, identity: Identity) -> None:
        """Sign under another identity and manifest from now on."""
        self._identity = identity

    def receive(self, notice: wire.Notice) -> wire.Refusal | None:
        """Verify and store a notice; return a refusal where it is not proven. Afterwards it may be acknowledged.

        Raises:
            ProtocolError: A notice before it is missing, or it says nothing that can be read.
        """
        if notice.cursor > MAX_CURSOR:
            raise ProtocolError("a notice has a number that no list reaches")
        # Of another kind of notice they are all 0.
        for at_ms in (notice.told.told_at_ms, notice.voided.voided_at_ms, notice.withdrawn.withdrawn_at_ms):
            require_time(at_ms)
        if notice.cursor <= self.cursor:
            return None
        refusal = self._take(notice)
        self.cursor = notice.cursor
        return refusal

    def _take(self, notice: wire.Notice) -> wire.Refusal | None:
        match notice.WhichOneof("content"):
            case "told":
                return self._told(notice)
            case "voided":
                self._voided(notice)
                return None
            case "withdrawn":
                self._withdrawn(notice)
                return None
            case "receipt":
                self._receipt(notice)
                return None
            case "feedback":
                self._feedback(notice)
                return None
            case "wiped":
                self._store.receive_notice(notice.cursor, notice.SerializeToString(), at=self._clock.now())
                return None
            case _:
                raise ProtocolError("a notice has no content")

    def attach(self) -> None:
        """Go on above the stored cursor; a ledger that was restored sends notices that were here before (C10)."""
        self.cursor = self._store.notice_cursor()

    def refusals(self) -> list[wire.Refusal]:
        """Return all refusals anew: one may have been lost with the session that was to carry it."""
        return [
            self._refusal(row, NEVER_ASKED if row.sweep_id or not row.asked else WRONG_ANSWER_MAC)
            for row in self._store.all_told()
            if row.state == "refused"
        ]

    def _told(self, notice: wire.Notice) -> wire.Refusal | None:
        told = notice.told
        if len(told.edge_id) != EDGE_ID_BYTES or {len(told.own_reference), len(told.other_reference)} != {
            REFERENCE_BYTES
        }:
            raise ProtocolError("a notice has an edge id or reference of another size")
        # People read both.
        if not HANDLE.fullmatch(told.handle) or not _is_name(told.other):
            raise ProtocolError("a notice has a handle or party that can be none")
        if self._store.is_withdrawn(told.own_reference):
            # Opened before the tombstone was there: whether it was proven cannot be told any more, and nobody is to
            # blame. The withdrawal ends it on the other side (3.8).
            row = _row(told, state="withdrawn")
            self._store.receive_notice(notice.cursor, notice.SerializeToString(), told=row, at=self._clock.now())
            return None
        reason = self._fault(told)
        row = _row(told, state="shown" if reason is None else "refused")
        if reason is None:
            known = self._store.is_shown(row.own_reference, row.other)
            self._store.receive_notice(notice.cursor, notice.SerializeToString(), told=row, at=self._clock.now())
            # A restored ledger tells anew, under another edge id, what this node was told before (C10).
            if not known:
                self._emit(self._event(row))
            return None
        # What is refused is stored with the pending row that it opens again, or a crash between would lose the value.
        self._store_reopening(notice, row, [self._reopening(row)])
        _LOG.warning("an edge was refused", extra={"party": row.other, "code": reason})
        self._store.add_incident(at=self._clock.now(), party=row.other, what=reason, evidence="{}")
        self._emit(PartyRefused(row.other, reason))
        return self._refusal(row, reason)

    def _voided(self, notice: wire.Notice) -> None:
        shown = [row for row in self._store.told(notice.voided.edge_id) if row.state == "shown"]
        # The other side had no proof of the ask (a restored node, say): the value is asked again.
        self._store_reopening(notice, None, [self._reopening(row) for row in shown])
        for row in shown:
            self._emit(EdgeVoided(row.other))

    def _withdrawn(self, notice: wire.Notice) -> None:
        """Take a withdrawal: an own one is buried by now, another's ends the match and owes a receipt (3.8; LB-22)."""
        gone, now_ms = notice.withdrawn, int(self._clock.now() * MS)
        if gone.party == self._identity.name and not gone.edge_id:
            epochs = self._identity.manifest.live_epochs
            with self._store.write() as db:
                self._keep(db, notice)
                unknown = withdrawals.bury(
                    db,
                    gone.reference,
                    at_ms=gone.withdrawn_at_ms,
                    reason=WithdrawReason.WITHDRAWN,
                    epochs=epochs,
                    random_bytes=self._random_bytes,
                )
            if unknown:
                _LOG.warning("the own list names a withdrawal that this store does not know")
                # Whoever answers for the records sees it; it may be a lost journal, or a gateway that lies.
                self._store.add_incident(at=now_ms / MS, party="gateway", what=UNKNOWN_WITHDRAWAL, evidence="{}")
            return
        shown = [
            row
            for row in self._store.told(gone.edge_id)
            if row.state == "shown" and (row.other, row.own_reference) == (gone.party, gone.own_reference)
        ]
        with self._store.write() as db:
            self._keep(db, notice)
            if shown:
                store_inbox.set_told_state(db, gone.edge_id, "withdrawn")
                withdrawals.put_receipt(db, self._own_receipt(gone, now_ms))
        for row in shown:
            self._emit(EdgeWithdrawn(row.other))

    def _own_receipt(self, gone: wire.Withdrawn, now_ms: int) -> ReceiptRow:
        body = wire.ReceiptBody(
            withdrawer=gone.party,
            reference=gone.reference,
            edge_id=gone.edge_id,
            signer=self._identity.name,
            taken_at_ms=now_ms,
        )
        message = sign_receipt(body, self._identity.signing_key).SerializeToString(deterministic=True)
        return ReceiptRow(gone.reference, gone.party, own=True, message=message, at_ms=now_ms)

    def _receipt(self, notice: wire.Notice) -> None:
        """Keep a told party's receipt of an own withdrawal; one that proves nothing is named."""
        receipt = notice.receipt.receipt
        try:
            signer = read_body(wire.ReceiptBody, receipt.body, "the receipt").signer
            body = accept_receipt(receipt, signer=signer, manifest=self._identity.manifest)
        except ConcordatError as error:
            self._leave(notice, "the gateway", error)
            return
        row = ReceiptRow(body.reference, signer, own=False, message=receipt.SerializeToString(), at_ms=body.taken_at_ms)
        with self._store.write() as db:
            self._keep(db, notice)
            if body.withdrawer == self._identity.name:
                withdrawals.put_receipt(db, row)

    def _feedback(self, notice: wire.Notice) -> None:
        """Keep what the other side of a told edge says of it; what it says of others it may not say here."""
        said = notice.feedback.feedback
        try:
            signer = read_body(wire.FeedbackBody, said.body, "the feedback").signer
            body = accept_feedback(said, signer=signer, manifest=self._identity.manifest)
        except ConcordatError as error:
            self._leave(notice, "the gateway", error)
            return
        own = notice.feedback.own_reference
        told = any(row.own_reference == own and row.other == signer for row in self._store.told(body.edge_id))
        row = FeedbackRow(body.edge_id, own, False, body.reason, "", body.given_at_ms, said.SerializeToString())
        with self._store.write() as db:
            self._keep(db, notice)
            fresh = told and body.other == self._identity.name and feedback.put_feedback(db, row)
        if fresh:
            self._emit(FeedbackHeard(signer, body.reason))

    def _leave(self, notice: wire.Notice, who: str, error: ConcordatError) -> None:
        _LOG.warning("a notice of %s proves nothing: %s", who, error.message, extra={"code": error.code})
        with self._store.write() as db:
            self._keep(db, notice)

    def _keep(self, db: sqlite3.Connection, notice: wire.Notice) -> None:
        store_inbox.receive_notice(
            db, notice.cursor, notice.SerializeToString(), told=None, voided=None, at=self._clock.now()
        )

    def _store_reopening(
        self, notice: wire.Notice, told: ToldRow | None, reopenings: Iterable[_Reopening | None]
    ) -> None:
        reopened: list[tuple[int, str]] = []
        with self._store.write() as db:
            store_inbox.receive_notice(
                db,
                notice.cursor,
                notice.SerializeToString(),
                told=told,
                voided=None if told is not None else notice.voided.edge_id,
                at=self._clock.now(),
            )
            for reopening in reopenings:
                batch_id = None if reopening is None else checks.batch_of(db, reopening.reference)
                if reopening is not None and batch_id is not None:
                    checks.reopen_pending(db, batch_id, reopening.other)
                    reopened.append((batch_id, reopening.other))
        for batch_id, other in reopened:
            self._asker.answer_refused(batch_id, other)

    def _fault(self, told: wire.Told) -> str | None:
        """Return why an edge is not proven, or None where it is."""
        own, other = told.own_reference, told.other_reference
        try:
            party = self._identity.manifest.party_by_id(told.other)
        except IdentityError:
            return NEVER_ASKED
        if party.spiffe == self._identity.spiffe:
            return NEVER_ASKED
        # A weak coincidence is a match only where a holder has confirmed it and proves that, and in no sweep.
        graded = told.grade in _GRADES and told.grade == self._store.grade_of(own)
        if not graded or (told.sweep_id and told.grade != wire.GRADE_STRONG):
            return NEVER_ASKED
        if told.sweep_id:
            pair = PairRow(own, told.other, other, told.sweep_id)
            return None if self._store.has_verified_pair(pair) else NEVER_ASKED
        if not told.asked:
            return None if self._store.has_witness(own, told.other, other) else NEVER_ASKED
        return None if self._answer_is_proven(told) else WRONG_ANSWER_MAC

    def _answer_is_proven(self, told: wire.Told) -> bool:
        sent = self._sent(told.check_id)
        if sent is None or not told.decision & macs.ASKER_TOLD or told.decision > macs.ASKER_TOLD | macs.HOLDER_TOLD:
            return False
        epoch = parse_header(sent.header, b"").fields.epoch
        secret = self._store.secret_of(told.own_reference, epoch)
        if secret is None:
            return False
        references = (told.own_reference, told.other_reference)
        expected = macs.answer_mac(secret, sent.header_hash, told.other, references, told.decision)
        return macs.equal(expected, told.answer_mac)

    def _sent(self, check_id: bytes) -> SentCheck | None:
        # Many notices in a row are about one check.
        if self._last_sent is None or self._last_sent.check_id != check_id:
            self._last_sent = self._store.sent_check(check_id)
        return self._last_sent

    def _reopening(self, row: ToldRow) -> _Reopening | None:
        # Whoever asked, and whatever batch it was: the value may be in another one since, and the other side may have
        # lost what it asked. The hub tells nobody twice.
        return _Reopening(row.own_reference, row.other) if row.other in self._identity.holders else None

    def _refusal(self, row: ToldRow, reason: str) -> wire.Refusal:
        body = wire.RefusalBody(
            edge_id=row.edge_id,
            check_id=row.check_id or b"",
            other=row.other,
            reason=reason,
            signer=self._identity.name,
        )
        return sign_refusal(body, self._identity.signing_key)

    def _event(self, row: ToldRow) -> Event:
        return Told(
            handle=row.handle,
            other=row.other,
            namespace=self._store.namespace_of(row.own_reference) or "",
            grade=_GRADES.get(wire.Grade.ValueType(row.grade), ""),
            asked=row.asked,
            look_once=row.look_once,
            common=self._store.common_reason(row.own_reference) or "",
            exercise=self._store.domain_of(row.own_reference) or "",
        )


def _row(told: wire.Told, *, state: str) -> ToldRow:
    return ToldRow(
        edge_id=told.edge_id,
        own_reference=told.own_reference,
        other=told.other,
        other_reference=told.other_reference,
        handle=told.handle,
        grade=told.grade,
        told_at_ms=told.told_at_ms,
        asked=told.asked,
        check_id=told.check_id or None,
        sweep_id=told.sweep_id or None,
        look_once=told.look_once,
        state=state,
    )


def _is_name(party: str) -> bool:
    try:
        SpiffeId.parse(party)
    except IdentityError:
        return False
    return True
