"""The asker's side of a live check (docs/protocol.md 3.3 step 3, 3.4 steps 1, 6 and 7, 3.5).

Batches and their pending rows are stored before a check leaves; only a signed certificate that says 'covered', for a
holder that this check asked and whose answers were not refused, deletes a row. Whatever else happens to a check leaves
its rows as they are.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from google.protobuf.message import DecodeError
from opentelemetry.trace import SpanKind

from concordat import telemetry
from concordat.clock import MS
from concordat.errors import ProtocolError, RefusedError, UnavailableError
from concordat.justification import Step, justification_salt
from concordat.protocol.certificate import accept_certificate
from concordat.protocol.check import (
    CHECK_ID_BYTES,
    MAX_ITEMS,
    SignedHeader,
    audience_hash,
    parse_header,
    sign_header,
)
from concordat.protocol.macs import ask_proofs, masked_tags
from concordat.tokens import REFERENCE_BYTES, column
from concordat.wire.v1 import check_pb2 as wire
from services.node.events import CaseEnded, CheckFailed
from services.node.exchange.room import Room
from services.node.exchange.sayings import Said, Sayings
from services.node.exchange.wakeups import Due, Wakeups
from services.node.store import checks
from services.node.traces import CaseTraces

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable
    from random import Random

    from opentelemetry.trace import Span

    from concordat.clock import Clock
    from services.node.events import EventSink
    from services.node.exchange.identity import Identity
    from services.node.store.rows import Batch
    from services.node.store.store import Store

MAX_CHECKS: Final = 64
BATCHES_AT_ONCE: Final = 4
CERTIFICATE_WAIT_S: Final = 30.0
CONDITION: Final = "asking"
CROWDED: Final = (
    "many parties do not answer in time now: less is asked at a time until they do, and whoever was late is asked again"
)
SALT_BYTES: Final = 16
_STATES: Final = {
    wire.HOLDER_STATE_TIMED_OUT: "timed_out",
    wire.HOLDER_STATE_OFFLINE: "offline",
    wire.HOLDER_STATE_OUTSIDE: "outside",
}
_BUSY: Final = "busy"
# The node holds an older manifest than the gateway: only a new session with the newer one helps.
_STALE: Final = frozenset({"stale_manifest", "stale_epoch"})


@dataclass(slots=True)
class _Flight:
    batch_id: int
    header: SignedHeader
    holders: frozenset[str]
    sent_at: float
    span: Span
    """Of the asker; it goes on at the gateway and ends with the certificate."""
    refused: set[str] = field(default_factory=set)


class Asker:
    """Forms batches, asks, and keeps the pending set by what certificates say."""

    def __init__(
        self,
        identity: Identity,
        store: Store,
        *,
        clock: Clock,
        random_bytes: Callable[[int], bytes],
        rng: Random,
        emit: EventSink,
        traces: CaseTraces | None = None,
    ) -> None:
        self._traces = traces or CaseTraces(clock)
        self._identity = identity
        self._store = store
        self._clock = clock
        self._random_bytes = random_bytes
        self._rng = rng
        self._emit = emit
        self._wakeups = Wakeups()
        self._flights: dict[bytes, _Flight] = {}
        self._max_items = MAX_ITEMS
        self._room = Room(BATCHES_AT_ONCE * MAX_ITEMS, rng)
        self._said = Sayings(identity, store)
        self._said_crowd: str | None = None
        """None before anything was said: what an ended process said may still stand there."""

    def use_identity(self, identity: Identity) -> None:
        """Ask under another manifest from now on; what was outside the agreement is asked again."""
        self._identity = identity
        self._said = Sayings(identity, self._store)
        self._wakeups.new_manifest()

    def attach(self, presence: Iterable[str], *, max_items: int) -> None:
        """Start when the node itself is attached; checks of an earlier session are over without a certificate."""
        self.detach()
        self._max_items = max(1, min(max_items, MAX_ITEMS))
        self._room.attach(BATCHES_AT_ONCE * self._max_items)
        self._say_crowd()
        manifest = self._identity.manifest
        self._store.move_to_epoch(manifest.epochs.current, manifest.live_epochs)
        self._wakeups.attach(self._store.pending_batches(), presence)

    def detach(self) -> None:
        """Forget checks under way: their pending rows stay."""
        for flight in self._flights.values():
            telemetry.failed(flight.span, UnavailableError("the session ended"))
            flight.span.end()
        self._flights.clear()

    def presence(self, attached: Iterable[str]) -> None:
        """Wake what waits for a holder that has come."""
        here = frozenset(attached)
        self._wakeups.presence(here)
        self._room.presence(here)
        self._say_crowd()

    def next_at(self) -> float | None:
        """Return the monotonic time of the next turn, or None where only an event can bring one."""
        turns = [
            self._wakeups.next_at(),
            self._room.opens_at(self._clock.monotonic()) if self._wakeups.any_ready else None,
        ]
        return min((turn for turn in turns if turn is not None), default=None)

    def work(self) -> list[wire.Check]:
        """Form batches of what is ready and return the checks that are due, as many as may be under way."""
        self._drop_lost()
        # Only the current epoch: in an overlap the store holds tokens under both, and holders look in both.
        epoch = self._identity.manifest.epochs.current
        for batch_id in self._store.form_batches(epoch, self._max_items, sorted(self._identity.holders), self._rng):
            self._wakeups.add(batch_id, self._identity.holders)
        leaving: list[wire.Check] = []
        now = self._clock.monotonic()
        self._wakeups.wake(now)
        while self._room.is_open(now) and len(self._flights) < MAX_CHECKS:
            due = self._wakeups.next()
            if due is None:
                break
            check = self._ask(due)
            if check is not None:
                leaving.append(check)
        return leaving

    def certificate(self, certificate: wire.Certificate) -> None:
        """Keep a certificate and clear whoever it says is covered.

        Raises:
            ProtocolError: Unreadable, or about no check of this node.
            IdentityError: Signed by nobody who may.
        """
        check_id = _check_id(certificate)
        sent = self._store.sent_check(check_id)
        if sent is None:
            raise ProtocolError("the certificate is about no check of this node")
        header = parse_header(sent.header, b"")
        body = accept_certificate(certificate, header=header, manifest=self._identity.manifest)
        flight = self._flights.get(check_id)
        if flight is None:
            # Its session or its time is over, and with it the memory of refused answers: it clears nothing.
            self._store.store_certificate(check_id, certificate.SerializeToString())
            return
        states = {one.holder: one.state for one in body.holders if one.holder in flight.holders}
        # Whoever looks once does not wait for an agreement (3.3).
        done = {wire.HOLDER_STATE_COVERED} | ({wire.HOLDER_STATE_OUTSIDE} if header.fields.look_once else set())
        covered = {holder for holder, state in states.items() if state in done and holder not in flight.refused}
        pending = {
            holder: _STATES.get(states.get(holder, wire.HOLDER_STATE_TIMED_OUT), "timed_out")
            for holder in flight.holders - covered
        }
        with self._store.write() as db:
            checks.store_certificate(db, check_id, certificate.SerializeToString())
            checks.cover(db, flight.batch_id, covered)
            for holder, state in pending.items():
                checks.set_pending_state(db, flight.batch_id, holder, state=state, attempts=None)
        self._judge(
            flight,
            in_time=[holder for holder, state in states.items() if state == wire.HOLDER_STATE_COVERED],
            late=[holder for holder, state in states.items() if state == wire.HOLDER_STATE_TIMED_OUT],
        )
        self._land(check_id, pending, covered=covered)

    def check_refused(self, refused: wire.CheckRefused) -> None:
        """Keep a check that was not taken pending, to be repeated later.

        Raises:
            RefusedError: The gateway holds a newer manifest.
        """
        flight = self._flights.get(refused.check_id)
        if flight is not None:
            self._emit(CheckFailed(refused.code))
            telemetry.failed(flight.span, RefusedError("the gateway took no check", code=refused.code))
            if refused.code == _BUSY:
                self._judge(flight, late=self._wakeups.those_here(flight.holders))
            self._land(refused.check_id, dict.fromkeys(flight.holders, "timed_out"), covered=set())
        if refused.code in _STALE:
            raise RefusedError("the gateway holds another manifest", code=refused.code)

    def answer_refused(self, batch_id: int, other: str) -> None:
        """Note that an edge with a party is void, so that no check that is under way clears it for this batch.

        The hub may have dropped an answer to that check as told already, just before it took the refusal.
        """
        flight = next((one for one in self._flights.values() if one.batch_id == batch_id), None)
        if flight is not None and other in flight.holders:
            flight.refused.add(other)
        else:
            self._wakeups.settle(batch_id, other, state="timed_out", now=self._clock.monotonic())

    def _ask(self, due: Due) -> wire.Check | None:
        holders = due.holders & self._identity.holders
        try:
            batch = self._store.batch(due.batch_id)
        except LookupError:
            return None
        if not holders or batch.epoch not in self._identity.manifest.live_epochs:
            return None
        if batch.case.valid_until < datetime.fromtimestamp(self._clock.now(), UTC).date():
            # The end of the case ends the pending set (3.5).
            self._store.cover(due.batch_id, due.holders)
            self._emit(CaseEnded(due.batch_id))
            return None
        most = min(self._room.piece, self._max_items)
        if batch.count > most:
            batch = self._first_of(batch, most, due.holders)
        said = self._said.of(batch)
        if said.over:
            # No audience set is left for these: they go out as a batch of their own.
            self._wakeups.give_back(Due(self._split(batch.id, said.over), due.holders))
        if not said.batch.count:
            return None
        return self._check(said, holders)

    def _first_of(self, batch: Batch, most: int, holders: frozenset[str]) -> Batch:
        """Return the first values of a batch as a batch of their own; the rest stays due."""
        packed = batch.references[: most * REFERENCE_BYTES]
        first = self._split(batch.id, column(packed, REFERENCE_BYTES))
        self._wakeups.give_back(Due(batch.id, holders))
        return self._store.batch(first)

    def _split(self, batch_id: int, references: Iterable[bytes]) -> int:
        new_id = self._store.split_batch(batch_id, references)
        self._wakeups.split(batch_id, new_id)
        return new_id

    def _check(self, said: Said, holders: frozenset[str]) -> wire.Check:
        batch, audience_salt = said.batch, self._random_bytes(SALT_BYTES)
        header = self._header(batch, audience_hash(audience_salt, said.sets))
        self._store.record_sent(
            header.fields.check_id, batch.id, header.raw, header.hash, header.fields.issued_at_ms / MS
        )
        parent = telemetry.incoming(self._traces.of(batch.case_id))
        span = telemetry.tracer().start_span("check", context=parent, kind=SpanKind.CLIENT)
        self._flights[header.fields.check_id] = _Flight(batch.id, header, holders, self._clock.monotonic(), span)
        self._room.leave(batch.count)
        self._wakeups.underway(batch.id)
        macs, pads = ask_proofs(batch.secrets, header.hash, batch.tokens, batch.references, said.audiences)
        items = wire.CheckItems(
            tokens=batch.tokens,
            references=batch.references,
            ask_macs=macs,
            grades=batch.grades,
            audiences=said.audiences,
            group_tags=masked_tags(said.tags, pads),
        )
        return wire.Check(
            header=header.raw,
            signature=header.signature,
            items=items,
            audience_salt=audience_salt,
            audience_sets=said.sets,
            only_holders=[] if holders == self._identity.holders else sorted(holders),
            traceparent=telemetry.traceparent(span),
        )

    def _header(self, batch: Batch, audience: bytes) -> SignedHeader:
        manifest = self._identity.manifest
        check_id = self._random_bytes(CHECK_ID_BYTES)
        now_ms = int(self._clock.now() * MS)
        salt = justification_salt(self._identity.signing_key, Step.CHECK, check_id)
        fields = wire.CheckHeader(
            federation=manifest.federation,
            manifest_hash=manifest.hash,
            asker=self._identity.name,
            check_id=check_id,
            operation=batch.operation,
            purpose=batch.purpose,
            justification_hash=batch.case.justification_hash(salt),
            count=batch.count,
            issued_at_ms=now_ms,
            expires_at_ms=now_ms + manifest.max_header_age_s * MS,
            epoch=batch.epoch,
            audience_hash=audience,
            look_once=batch.look_once,
            exercise=batch.exercise,
        )
        return sign_header(fields, self._identity.signing_key)

    def _land(self, check_id: bytes, pending: dict[str, str], *, covered: set[str]) -> None:
        flight = self._flights.pop(check_id)
        flight.span.end()
        self._room.land(flight.header.fields.count)
        self._wakeups.finished(flight.batch_id)
        for holder in covered:
            self._wakeups.covered(flight.batch_id, holder)
        now, crowded = self._clock.monotonic(), self._room.crowded
        for holder, state in pending.items():
            self._wakeups.settle(flight.batch_id, holder, state=state, now=now, crowded=crowded)

    def _judge(self, flight: _Flight, *, in_time: Collection[str] = (), late: Collection[str] = ()) -> None:
        self._room.judge(in_time=in_time, late=late, sent_at=flight.sent_at, now=self._clock.monotonic())
        self._say_crowd()

    def _say_crowd(self) -> None:
        """Keep for `status`, and for who waits for a submit, why less is asked at a time than there is to ask."""
        text = CROWDED if self._room.crowded else ""
        if text != self._said_crowd:
            self._said_crowd = text
            self._store.set_condition(CONDITION, text, self._clock.now())

    def _drop_lost(self) -> None:
        """End checks whose certificate is long overdue."""
        late = self._clock.monotonic() - CERTIFICATE_WAIT_S
        for check_id, flight in [one for one in self._flights.items() if one[1].sent_at < late]:
            self._emit(CheckFailed("deadline"))
            telemetry.failed(flight.span, UnavailableError("no certificate came", code="deadline"))
            self._judge(flight, late=self._wakeups.those_here(flight.holders))
            self._land(check_id, dict.fromkeys(flight.holders, "timed_out"), covered=set())


def _check_id(certificate: wire.Certificate) -> bytes:
    try:
        return wire.CertificateBody.FromString(certificate.body).check_id
    except DecodeError as error:
        raise ProtocolError("the certificate cannot be read") from error
