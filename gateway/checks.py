"""Checks at the hub, from the question to the certificate (3.4). Time and the ledger's results come in as arguments."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

import numpy as np
from opentelemetry.trace import SpanKind

from concordat import telemetry
from concordat.clock import MS
from concordat.errors import ConcordatError, ProtocolError, RefusedError
from concordat.protocol.certificate import accept_refusal, sign_certificate
from concordat.protocol.check import accept_audience, accept_header, accept_items, accept_margin, parse_header
from concordat.wire.v1 import check_pb2 as wire
from concordat.wire.v1 import session_pb2
from gateway.answers import candidates
from gateway.effects import Answered, Forget, Note, ReadSequences
from gateway.ledger import LoggedCheck, VoidEdge
from gateway.query import Query, SpentQueries, accept_query, muted_positions
from gateway.tick import Asked, LiveCheck, Tick

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from numpy.typing import NDArray

    from concordat.identity.keys import SigningKey
    from concordat.protocol.check import SignedHeader
    from gateway.ledger import LedgerWrite
    from gateway.roster import Roster, Session, Shared

MAX_WORD: Final = 64


@dataclass(slots=True)
class Checks:
    """The running tick, the ticks whose window is open, and the checks in them."""

    shared: Shared
    roster: Roster
    key: SigningKey
    running: Tick
    closed: dict[int, Tick] = field(default_factory=dict)
    certified: int = 0
    """Certificates so far; those of exercises are in no count."""
    _by_id: dict[bytes, LiveCheck] = field(default_factory=dict)
    _bytes: Counter[str] = field(default_factory=Counter)
    _count: Counter[str] = field(default_factory=Counter)
    _sequences: Mapping[str, int] = field(default_factory=dict)
    _spent: SpentQueries = field(init=False)
    _queries: int = 0
    _concerned_by: dict[str, tuple[NDArray[np.uint64], frozenset[str], tuple[str, ...]]] = field(default_factory=dict)
    """What `_concerned` says of an asker, whom nothing but the manifest limits."""

    def __post_init__(self) -> None:
        self._spent = SpentQueries(
            max_items_of_asker=self.shared.limits.query_items_alive,
            linger_ms=self.shared.manifest.max_skew_s * MS // 2,
        )

    def __repr__(self) -> str:
        return f"Checks(in flight={len(self._by_id)}, tick={self.running.number})"

    @property
    def in_flight(self) -> int:
        """Return the number of checks whose tokens the hub still holds (I2)."""
        return len(self._by_id)

    def take(self, session: Session, message: wire.Check, *, now: float) -> None:
        """Take a check into the running tick and route it, or refuse it.

        Args:
            session: Of the asker.
            message: As received.
            now: Unix seconds.

        Raises:
            ProtocolError: The header cannot be read, so that there is no check to refuse.
        """
        header = parse_header(message.header, message.signature)
        check_id = header.fields.check_id
        try:
            check = self._accept(session.party, header, message, now=now)
        except ConcordatError as error:
            self.shared.out.put(Note(f"a check was refused: {error.message} [{error.code}]", session.party))
            self.shared.out.send(session.number, check_refused=wire.CheckRefused(check_id=check_id, code=error.code))
            return
        self.shared.out.send(session.number, check_received=wire.CheckReceived(check_id=check_id, tick=check.tick))

    def query(self, asker: str, message: wire.Check, *, namespaces: bytes, muted: frozenset[int], now: float) -> int:
        """Take a partner's query into the running tick; return the number under which its outcome comes.

        Args:
            asker: The partner that was authenticated.
            message: As signed by it.
            namespaces: Numbers that the partner declared, one byte an item.
            muted: Positions that are sent to nobody; those that the manifest does not allow are muted in any case.
            now: Unix seconds.

        Raises:
            IdentityError: The header is not the asker's own, or badly signed.
            RefusedError: A rule of the federation says no.
            ProtocolError: Not a well-formed query.
            UnavailableError: The partner has too many queries that are live.
        """
        # Step 3.9 (2): as any check, and then what a query must be.
        header = parse_header(message.header, message.signature)
        if header.fields.check_id in self._by_id:
            raise RefusedError("a check id that is in use", code="request_reused")
        self._judge(asker, header, message, now)
        manifest = self.shared.manifest
        accept_query(header, message, manifest=manifest, namespaces=namespaces, now=now)
        self._spent.admit(header, now=now)
        check = self._admit(header, message)
        self._queries += 1
        check.query = Query(self._queries, namespaces)
        closed = sorted(muted | muted_positions(header, namespaces, manifest=manifest))
        check.allowed = np.tile(check.allowed, (check.count, 1))
        check.allowed[[position for position in closed if position < check.count]] = 0
        self._enter(check)
        return check.query.number

    def _accept(self, asker: str, header: SignedHeader, message: wire.Check, *, now: float) -> LiveCheck:
        known = self._by_id.get(header.fields.check_id)
        if known is not None:
            if known.asker != asker or known.header.raw != header.raw:
                raise RefusedError("a check id that is in use", code="request_reused")
            return known
        self._judge(asker, header, message, now)
        check = self._admit(header, message)
        self._enter(check)
        return check

    def _judge(self, asker: str, header: SignedHeader, message: wire.Check, now: float) -> None:
        # Step 3.4 (1): nothing of a check is taken before its header, items and audience are accepted.
        size = message.ByteSize()
        limits = self.shared.limits
        if self._bytes[asker] + size > limits.bytes_in_flight or self._count[asker] >= limits.checks_in_flight:
            raise RefusedError("too much in flight", code="busy")
        manifest = self.shared.manifest
        accept_header(header, manifest=manifest, asker=asker, now=now)
        accept_margin(header.fields, manifest=manifest, now=now)
        if header.fields.count > limits.max_items:
            raise ProtocolError("a check has too many items", code="too_large")
        accept_items(message.items, count=header.fields.count, exact=True)
        accept_audience(header, message.audience_salt, list(message.audience_sets), message.items.audiences)
        if max(len(header.fields.purpose), len(header.fields.operation)) > MAX_WORD:
            raise ProtocolError("the check's purpose or operation is too long", code="too_large")
        if header.fields.exercise and asker not in self.shared.exercises.get(header.fields.operation, ()):
            raise RefusedError("no such exercise runs, or the asker takes no part in it", code="operation_unknown")
        named = {*message.only_holders, *(party for one in message.audience_sets for party in one.parties)}
        if not named <= set(self.shared.table.parties):
            raise RefusedError("the check names a holder that is no node")

    def _enter(self, check: LiveCheck) -> None:
        self._bytes[check.asker] += check.message.ByteSize()
        self._count[check.asker] += 1
        self._by_id[check.check_id] = check
        self.running.checks.append(check)
        # A query goes on in the span of its request, which is current. No question has a trace (I11).
        trace = telemetry.incoming(check.message.traceparent) if check.query is None else None
        check.span = telemetry.tracer().start_span("check", context=trace, kind=SpanKind.SERVER)
        # The log's row shares the transaction of the first answers, which would otherwise wait behind it.
        self._write(self.running, [_log_row(check.header)], urgent=False)
        self._ask(check)

    def _admit(self, header: SignedHeader, message: wire.Check) -> LiveCheck:
        """Decide from the published opt-in table, before any look-up, whom a check concerns."""
        operation = header.fields.operation if header.fields.exercise else None
        if message.only_holders or operation is not None:
            concerned = self._concerned(header.fields.asker, frozenset(message.only_holders), operation)
        else:
            # The same for all checks of an asker, as long as the manifest is in force.
            known = self._concerned_by.get(header.fields.asker)
            concerned = known or self._concerned(header.fields.asker, frozenset(), None)
            self._concerned_by[header.fields.asker] = concerned
        return LiveCheck(header, message, *concerned, self.running.number)

    def _concerned(
        self, asker: str, only: frozenset[str], exercise: str | None
    ) -> tuple[NDArray[np.uint64], frozenset[str], tuple[str, ...]]:
        """Return who may be asked (a mask), who is outside the agreement, and who is listed."""
        manifest = self.shared.manifest
        asking = manifest.party_by_id(asker)
        listed = [p for p in manifest.nodes if p.id != asker and (not only or p.id in only)]
        # A question is a transfer too, so both rows count (LB-26, docs/adr/0007).
        outside = frozenset(party.id for party in listed if not manifest.agreed(asking, party))
        asked = {party.id for party in listed if party.id not in outside}
        if exercise is not None:
            # Nobody else has values of it; whoever says so is not to be asked.
            asked &= self.shared.exercises[exercise]
        return self.shared.table.mask(asked), outside, tuple(sorted(party.id for party in listed))

    def _ask(self, check: LiveCheck) -> None:
        """Send each item to every party whose plane says 'maybe' and that it was not sent to."""
        table = self.shared.table
        check.versions = table.versions.copy()
        may = check.allowed & self.roster.mask(check.header.fields.epoch)
        fresh = table.route(check.message.items.tokens) & may & ~check.sent
        # Of most items nobody is asked, and of most that are left one party: one pass over these for all of them.
        at = np.flatnonzero(fresh.any(axis=1))
        if not at.size:
            return
        few = fresh[at]
        parties = table.named(np.bitwise_or.reduce(few, axis=0))
        positions = [at[table.positions(few, party)] for party in parties]
        for party, question in zip(parties, check.questions(positions), strict=True):
            session = self.roster.current(party)
            assert session is not None  # the mask has the bits of sessions only
            self.shared.out.send(session.number, tick=check.tick, question=question)
        check.sent[at] |= few

    def answer(self, session: Session, answer: wire.Answer) -> None:
        """Take a holder's hits: a candidate for an edge each.

        Raises:
            ProtocolError: Columns that do not fit, or an answer to what was not asked.
        """
        # Step 3.4 (2): an answer counts while the hub holds what was asked.
        check = self._by_id.get(answer.check_id)
        if check is None:
            # After the certificate: the holder was timed out, and the asker asks again.
            if answer.positions:
                self.shared.out.put(Note("an answer came after its certificate", session.party, warning=False))
            return
        tick = self._tick(check.tick)
        asked = tick.asked.get(session.party)
        if answer.refused:
            self.shared.out.put(Note(f"a holder refused a question [{answer.refused[:32]!r}]", session.party))
            self._withdraw(tick, session.party)
            return
        if asked is not None and asked.replied:
            # Its barrier said that all its answers had come.
            self.shared.out.put(Note("an answer came after its party's barrier reply", session.party))
            asked.withdrawn = True
        bit = self.shared.table.bit(session.party)
        found = list(candidates(check, answer, holder=session.party, bit=bit, out=self.shared.out))
        if found:
            self._write(tick, [candidate for _, candidate in found])
        if check.query is not None:
            check.query.take(found)

    def drop_dead(self, dead: Collection[tuple[str, bytes]]) -> None:
        """Take back the hits of queries whose edge was not opened because a reference in it was withdrawn (C12)."""
        for tick in (self.running, *self.closed.values()):
            for check in tick.checks:
                if check.query is not None:
                    check.query.drop_dead(dead)

    def fail(self) -> None:
        """Let no open tick cover anybody: what its edges were written to may have been put back since (C10)."""
        for tick in (self.running, *self.closed.values()):
            tick.failed = True

    def disown(self, holder: str, asker: str) -> None:
        """Take back the hits of a partner's open queries that came from a holder which has refused an edge with it.

        A node would be told that the edge is void, and ask again; a partner would keep a hit that its holder, restored
        since, knows nothing of. What was silent is in no hit, and changes nothing here (I11).
        """
        for tick in (self.running, *self.closed.values()):
            for check in tick.checks:
                if check.query is not None and check.asker == asker and check.query.drop_of(holder):
                    self._withdraw(tick, holder)

    @staticmethod
    def _withdraw(tick: Tick, party: str) -> None:
        # A holder that does not answer a question has covered nothing in this tick (I6).
        asked = tick.asked.get(party)
        if asked is not None:
            asked.withdrawn = True
        else:
            tick.withdrawn.add(party)

    def refuse_edge(self, session: Session, refusal: wire.Refusal) -> None:
        """Make an edge void whose recipient could not verify it.

        Raises:
            IdentityError: Not signed by the session's party.
            ProtocolError: Unreadable.
        """
        # Step 3.4 (4): a refusal is as good as its signature.
        body = accept_refusal(refusal, signer=session.party, manifest=self.shared.manifest)

        def done(*, durable: bool) -> None:
            if not durable:
                # At the next attach it comes before anything else. Left out, the edge would stay live, the next check
                # would tell nobody and be covered, and the refusal would void the edge when nobody asks any more.
                self.shared.out.put(Note("a refusal could not be stored", session.party))
                if self.roster.current(session.party) is session:
                    self.roster.close(session)
                    self.session_ended(session)

        self.shared.out.write([VoidEdge(body.edge_id, session.party, body.other, body.reason[:32])], done)

    def close_tick(self, following: Tick) -> None:
        """End the running tick and read the sequences for its barriers."""
        # 3.4 (5), C3: the ledger is read after the last check of the tick arrived.
        tick, self.running = self.running, following
        self.closed[tick.number] = tick
        self.shared.out.put(ReadSequences(tick.number))
        if not self.shared.rules.read_sequence_after_arrival:
            self._send_barriers(tick, self._sequences)

    def sequences_read(self, number: int, sequences: Mapping[str, int]) -> None:
        """Take the ledger's sequences, route again what changed, and send the barriers of a tick."""
        self._sequences = sequences
        tick = self.closed.get(number)
        if tick is not None and not tick.barriers_sent:
            self._send_barriers(tick, sequences)

    def _send_barriers(self, tick: Tick, sequences: Mapping[str, int]) -> None:
        rules = self.shared.rules
        for check in tick.checks:
            if rules.reroute_before_barrier and np.any(check.versions != self.shared.table.versions):
                self._ask(check)
        for session in self.roster.sessions():
            if not self.roster.attached(session):
                continue
            required = sequences.get(session.party, 0) if rules.compare_with_ledger else 0
            ready = session.sequence >= required
            asked = Asked(session.number, required, ready, session.epochs)
            asked.withdrawn = session.party in tick.withdrawn
            tick.asked[session.party] = asked
            session.unanswered.append((tick.number, tick.ends_at))
            self.shared.out.send(
                session.number, barrier=session_pb2.Barrier(tick=tick.number, required_sequence=required)
            )
        # A session without its plane is here, but covers nothing.
        tick.present = frozenset(session.party for session in self.roster.sessions())
        tick.barriers_sent = True

    def barrier_reply(self, session: Session, reply: session_pb2.BarrierReply, *, now: float, minute: int) -> None:
        """Note that a party has answered all questions of a tick.

        Args:
            session: That replies.
            reply: As received.
            now: Reading of the monotonic clock.
            minute: Unix minute.
        """
        while session.unanswered and session.unanswered[0][0] <= reply.tick:
            session.unanswered.popleft()
        tick = self.closed.get(reply.tick)
        asked = tick.asked.get(session.party) if tick is not None else None
        if tick is None or asked is None or now >= tick.window_ends_at or asked.session != session.number:
            return
        asked.replied = reply.index_sequence >= asked.required
        if reply.all_published:
            self.roster.data_minutes[session.party] = max(minute, self.roster.data_minutes.get(session.party, 0))

    def session_ended(self, session: Session) -> None:
        """Route the items that an ended session carried to its party's next one, where the barrier has not left."""
        if not self.shared.rules.same_session_answers:
            return
        word, bit = self.shared.table.bit(session.party)
        for tick in (self.running, *self.closed.values()):
            if not tick.barriers_sent:
                for check in tick.checks:
                    check.sent[:, word] &= ~bit

    def certify(self, tick: Tick, *, now: float) -> None:
        """Send the certificates of a tick whose window ends, and forget its tokens.

        Args:
            tick: Out of `closed`.
            now: Unix seconds of the window's end.
        """
        # Step 3.4 (6): hit or no hit, all certificates of a tick leave together.
        del self.closed[tick.number]
        for check in tick.checks:
            del self._by_id[check.check_id]
            self._bytes[check.asker] -= check.message.ByteSize()
            self._count[check.asker] -= 1
            self._answer_asker(tick, check, now)
            check.span.end()
        self.certified += sum(not check.header.fields.exercise for check in tick.checks)
        # I2: nothing of the tick stays, nor in a queue that a slow node did not take.
        tick.checks.clear()
        self.shared.out.put(Forget(tick.number))

    def _answer_asker(self, tick: Tick, check: LiveCheck, now: float) -> None:
        session = self.roster.current(check.asker)
        if check.query is not None:
            body = self._certificate(tick, check, now)
            outcome = check.query.outcome(sign_certificate(body, self.key), body, durable=tick.durable)
            self.shared.out.put(Answered(check.query.number, outcome))
        elif session is not None and session.welcomed:
            certificate = sign_certificate(self._certificate(tick, check, now), self.key)
            self.shared.out.send(session.number, certificate=certificate)

    def _certificate(self, tick: Tick, check: LiveCheck, now: float) -> wire.CertificateBody:
        manifest, wait = self.shared.manifest, self.shared.rules.wait_for_edges
        return wire.CertificateBody(
            federation=manifest.federation,
            manifest_hash=manifest.hash,
            gateway=self.shared.identity,
            check_id=check.check_id,
            header_hash=check.header.hash,
            tick=tick.number,
            epoch=check.header.fields.epoch,
            issued_at_ms=int(now * MS),
            ledger_incarnation=self.shared.ledger_incarnation,
            ledger_position=int(now * MS),
            holders=[
                wire.HolderCoverage(
                    holder=holder,
                    state=tick.state(check, holder, wait_for_edges=wait),
                    data_minute=self.roster.data_minutes.get(holder, 0),
                )
                for holder in check.listed
            ],
            partial=bool(check.message.only_holders),
        )

    def _tick(self, number: int) -> Tick:
        return self.running if number == self.running.number else self.closed[number]

    def _write(self, tick: Tick, writes: Sequence[LedgerWrite], *, urgent: bool = True) -> None:
        tick.writes_open += 1

        def done(*, durable: bool) -> None:
            tick.writes_open -= 1
            tick.failed = tick.failed or not durable

        self.shared.out.write(writes, done, urgent=urgent)


def _log_row(header: SignedHeader) -> LoggedCheck:
    fields = header.fields
    return LoggedCheck(
        fields.asker, fields.check_id, fields.purpose, fields.operation, fields.justification_hash, fields.count
    )
