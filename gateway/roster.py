"""Sessions of nodes: attach, notices, presence (3.2, and 3.4 (3) where notices go out)."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from concordat.clock import MS
from concordat.errors import IdentityError, ProtocolError, RefusedError, UnavailableError
from concordat.wire.v1 import check_pb2, session_pb2
from gateway.effects import Close, Note, ReadNotices
from gateway.ledger import Incarnated, LedgerNotice

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    import numpy as np
    from numpy.typing import NDArray

    from concordat.identity.manifest import Manifest
    from gateway.effects import Outbox
    from gateway.plane_builder import PlaneBuilder
    from gateway.planes import RoutingTable
    from gateway.rules import Limits, Rules

ID_BYTES: Final = 16
MAX_SEQUENCE: Final = (1 << 63) - 1
_PAGE: Final = 512


@dataclass(slots=True)
class Shared:
    """What all parts of the exchange share; only which ledger it is may change."""

    manifest: Manifest
    table: RoutingTable
    out: Outbox
    rules: Rules
    limits: Limits
    identity: str
    ledger_incarnation: bytes
    exercises: Mapping[str, frozenset[str]] = field(default_factory=dict)
    """Participants of each exercise that runs; nobody else asks or is asked for it."""


@dataclass(slots=True)
class Session:
    """One attached stream of one party."""

    number: int
    party: str
    opened_at: float
    epochs: frozenset[int] = frozenset()
    incarnation: bytes = b""
    """Of the store behind it."""
    greeted: bool = False
    welcomed: bool = False
    reading: bool = False
    behind: bool = False
    """The ledger held more notices than were sent."""
    complete: bool = False
    """The whole plane is live and its sequence is durable."""
    sequence: int = 0
    """Sequence of the live plane."""
    tokens: int = 0
    """As the node declared, for the shape of its plane."""
    least_log2: int = 0
    """Shape of the plane that the welcome named."""
    log2_slots: int = 0
    """Shape that was named last."""
    plane_log2: int = 0
    """Shape of the snapshot that is live, 0 for none."""
    builder: PlaneBuilder | None = None
    sent_cursor: int = 0
    acked_cursor: int = 0
    due_cursor: int = 0
    """Highest notice of the list when the party was welcomed: below it, it has not caught up (I9)."""
    ready: bool = False
    """Complete and caught up: the party may be asked."""
    frames: int = 0
    unanswered: deque[tuple[int, float]] = field(default_factory=deque)
    """Barriers without a reply: tick and the time at which it was sent."""


@dataclass(slots=True)
class Roster:
    """All sessions; at most one a party counts."""

    shared: Shared
    tick: int = 0
    turns: int = 0
    """How often a party was attached or ceased to be."""
    data_minutes: dict[str, int] = field(default_factory=dict)
    _sessions: dict[int, Session] = field(default_factory=dict)
    _current: dict[str, Session] = field(default_factory=dict)
    _latest: dict[str, int] = field(default_factory=dict)
    _next: int = 1

    def open(self, party: str, now: float) -> Session:
        """Take a stream that a node has opened.

        Raises:
            IdentityError: The manifest names no such node.
            UnavailableError: The party has too many streams already.
        """
        if party not in self.shared.table.parties:
            raise IdentityError("the manifest names no such node")
        if sum(1 for one in self._sessions.values() if one.party == party) >= self.shared.limits.sessions:
            raise UnavailableError("the party has too many streams", code="busy")
        session = Session(self._next, party, now)
        self._next += 1
        self._sessions[session.number] = session
        return session

    def get(self, number: int) -> Session | None:
        """Return a session that has not ended."""
        return self._sessions.get(number)

    def current(self, party: str) -> Session | None:
        """Return the session that counts for a party."""
        return self._current.get(party)

    def sessions(self) -> list[Session]:
        """Return the sessions that count and are welcomed."""
        return [session for session in self._current.values() if session.welcomed]

    def attached(self, session: Session) -> bool:
        """Tell whether a session's party may be asked, and so be covered."""
        # 3.4 (6), C1: a session without its complete plane covers nothing.
        return session.welcomed and (session.ready or not self.shared.rules.require_complete_plane)

    def attached_parties(self) -> list[str]:
        """Return the parties that `Presence` names, ascending."""
        return sorted(session.party for session in self._current.values() if session.welcomed and session.ready)

    def mask(self, epoch: int) -> NDArray[np.uint64]:
        """Return the bits of the parties that can be asked about tokens of an epoch, one mask."""
        here = (one for one in self._current.values() if self.attached(one) and epoch in one.epochs)
        return self.shared.table.mask(session.party for session in here)

    def greet(self, session: Session, hello: session_pb2.Hello, ended: Callable[[Session], None]) -> None:
        """Take a hello; once the ledger knows the store's incarnation, the session counts.

        Args:
            session: That says hello.
            hello: As received.
            ended: Told of the session that is replaced.

        Raises:
            RefusedError: Another federation, manifest, rules version or epoch.
            ProtocolError: A second hello, or one that cannot be right.
        """
        # Step 3.2 (1): one hello a session, one session a party.
        if session.greeted:
            raise ProtocolError("a session says hello once")
        self._accept(hello)
        session.greeted, session.epochs, session.incarnation = True, frozenset(hello.epochs), hello.incarnation
        session.tokens = hello.tokens

        def known(*, durable: bool) -> None:
            if self._sessions.get(session.number) is not session:
                # It ended, or was refused as superseded.
                return
            if not durable:
                self.close(session)
                return
            replaced = self._replace(session)
            # A ledger that was restored numbers its notices anew (C10).
            same = not hello.ledger_incarnation or hello.ledger_incarnation == self.shared.ledger_incarnation
            session.sent_cursor = session.acked_cursor = hello.notice_cursor if same else 0
            if replaced is not None:
                ended(replaced)
            self._read(session)

        knows = (hello.ledger_incarnation, hello.notice_cursor, hello.published_sequence)
        self.shared.out.write([Incarnated(session.party, hello.incarnation, *knows)], known)

    def _replace(self, session: Session) -> Session | None:
        replaced = self._current.get(session.party)
        if replaced is not None:
            self.shared.out.put(Close(replaced.number, "session_replaced"))
            self.end(replaced)
        self._current[session.party] = session
        return replaced

    def of_incarnation(self, party: str, incarnation: bytes) -> list[Session]:
        """Return a party's sessions, also those that wait to count, of one incarnation."""
        mine = [one for one in self._sessions.values() if one.party == party and one.greeted]
        return [session for session in mine if session.incarnation == incarnation]

    def outdated(self, incarnations: Mapping[str, bytes]) -> list[Session]:
        """Return the sessions that count and whose store was replaced by one that the ledger knows (I9)."""
        if not self.shared.rules.fence_incarnations:
            return []
        return [one for one in self.sessions() if incarnations.get(one.party, one.incarnation) != one.incarnation]

    def follow_ledger(self, incarnation: bytes) -> list[Session]:
        """Go on with another ledger; return the sessions that began with the one before."""
        self.shared.ledger_incarnation = incarnation
        # Its lists are shorter than what was sent of the ones before.
        self._latest.clear()
        return list(self._current.values())

    def _accept(self, hello: session_pb2.Hello) -> None:
        manifest = self.shared.manifest
        if hello.federation != manifest.federation:
            raise RefusedError("hello: another federation")
        if hello.manifest_hash != manifest.hash:
            raise RefusedError("hello: another manifest", code="stale_manifest")
        for namespace, version in hello.rules_versions.items():
            window = manifest.rules_versions.get(namespace)
            if window is None or version not in window.in_force:
                raise RefusedError("hello: rules versions that are not in force", code="stale_rules")
        if not hello.epochs or not set(hello.epochs) <= set(manifest.live_epochs):
            raise RefusedError("hello: an epoch that is not in force", code="stale_epoch")
        if len(hello.incarnation) != ID_BYTES or len(hello.ledger_incarnation) not in (0, ID_BYTES):
            raise ProtocolError("hello: an incarnation has not 16 bytes")
        require_sequence(max(hello.notice_cursor, hello.published_sequence))

    def read(self, session: Session, *, sequence: int, notices: list[LedgerNotice], highest: int, now_ms: int) -> None:
        """Take what the ledger holds for a session: greet the node, then send its notices in order."""
        session.reading = False
        if not session.welcomed:
            # Step 3.2 (2): welcome first, then every notice above the cursor.
            session.welcomed, session.due_cursor = True, highest
            # Whatever plane a former session left is not known to be whole.
            self.shared.table.touch(session.party)
            table = self.shared.table
            table.grow(table.shape_for(session.tokens))
            session.least_log2 = session.log2_slots = table.shape_for(session.tokens)
            self.shared.out.send(session.number, welcome=self._welcome(session, sequence, highest, now_ms))
        for notice in notices:
            self._send_notice(session, notice)
        session.behind = len(notices) == _PAGE or bool(notices and notices[-1].cursor > session.sent_cursor)
        if session.behind or self._latest.get(session.party, 0) > session.sent_cursor:
            self._read(session)

    def _welcome(self, session: Session, sequence: int, highest: int, now_ms: int) -> session_pb2.Welcome:
        return session_pb2.Welcome(
            gateway=self.shared.identity,
            manifest_hash=self.shared.manifest.hash,
            ledger_incarnation=self.shared.ledger_incarnation,
            ledger_position=now_ms,
            ledger_sequence=sequence,
            plane_log2_slots=session.log2_slots,
            plane_hashes=self.shared.table.hashes,
            max_items=self.shared.limits.max_items,
            presence=session_pb2.Presence(attached=self.attached_parties()),
            tick=self.tick,
            notice_cursor=highest,
            takes_several=True,
        )

    def deliver(self, notices: Iterable[LedgerNotice]) -> None:
        """Send notices that have just become durable to those who are here."""
        for notice in notices:
            self._latest[notice.recipient] = max(notice.cursor, self._latest.get(notice.recipient, 0))
            session = self._current.get(notice.recipient)
            if session is not None and session.welcomed and not session.reading:
                if notice.cursor == session.sent_cursor + 1:
                    self._send_notice(session, notice)
                elif notice.cursor > session.sent_cursor:
                    self._read(session)

    def read_again(self) -> None:
        """Read the lists of all who are here, as notices may stand in them that were never handed to `deliver`."""
        for session in self.sessions():
            self._read(session)

    def acknowledge(self, session: Session, cursor: int) -> None:
        """Note what is durable at the node, and send on what waited for it.

        Raises:
            ProtocolError: A cursor that was never sent.
        """
        if cursor > session.sent_cursor:
            raise ProtocolError("a notice was acknowledged that was not sent")
        session.acked_cursor = max(session.acked_cursor, cursor)
        self.attach(session)
        if session.behind or self._latest.get(session.party, 0) > session.sent_cursor:
            self._read(session)

    def _send_notice(self, session: Session, notice: LedgerNotice) -> None:
        # A gap would be a lost match; what does not fit the window is read again after the next acknowledgement.
        if notice.cursor == session.sent_cursor + 1 and self._window(session) > 0:
            self.shared.out.send(session.number, notice=check_pb2.Notice.FromString(notice.content))
            session.sent_cursor = notice.cursor

    def _window(self, session: Session) -> int:
        return self.shared.limits.unacknowledged_notices - (session.sent_cursor - session.acked_cursor)

    def _read(self, session: Session) -> None:
        if not session.reading and (self._window(session) > 0 or not session.welcomed):
            session.reading = True
            self.shared.out.put(ReadNotices(session.number, session.party, session.sent_cursor, _PAGE))

    def attach(self, session: Session) -> None:
        """Let a party be asked once its plane is whole and it has taken what its list had for it (I9)."""
        caught_up = session.acked_cursor >= session.due_cursor or not self.shared.rules.catch_up_before_answers
        if session.complete and caught_up and not session.ready:
            session.ready = True
            self.shared.table.touch(session.party)
            self.announce()

    def alive(self, session: Session, *, durable: bool) -> bool:
        """Tell whether a session still counts after a write of it; end it where the write may be lost."""
        if self._current.get(session.party) is not session:
            return False
        if not durable:
            # The node cannot know whether its sequence was stored; a new attach settles it.
            self.close(session)
        return durable

    def close(self, session: Session) -> None:
        """End a session because the ledger took no write of it: what its node repeats at each attach comes again."""
        self.shared.out.put(Close(session.number, "unavailable"))
        self.end(session)

    def end(self, session: Session) -> bool:
        """Take a session out; return whether it was the one that counts."""
        self._sessions.pop(session.number, None)
        session.builder = None
        if self._current.get(session.party) is not session:
            return False
        del self._current[session.party]
        # Items that were routed to this session are routed again to the next one.
        self.shared.table.touch(session.party)
        if session.ready:
            self.announce()
        return True

    def announce(self) -> None:
        """Send who is attached to every session (3.2 (4))."""
        self.turns += 1
        presence = session_pb2.Presence(attached=self.attached_parties())
        for session in self.sessions():
            self.shared.out.send(session.number, presence=presence)

    def absent(self, now: float) -> list[Session]:
        """Return the sessions that left too many barriers without a reply (3.4 (6)), or never said hello."""
        limits = self.shared.limits
        window_s = self.shared.manifest.window_ms / MS
        late = []
        for session in self.sessions():
            over = sum(1 for _, sent in session.unanswered if now >= sent + window_s)
            oldest = session.unanswered[0][1] if session.unanswered else now
            if over >= limits.absent_after_barriers or now - oldest >= limits.absent_after_s:
                self.shared.out.put(Note("a party left its barriers without a reply and is absent", session.party))
                late.append(session)
        silent = [one for one in self._sessions.values() if not one.greeted]
        return late + [session for session in silent if now - session.opened_at >= limits.absent_after_s]


def require_sequence(sequence: int) -> None:
    """Check a sequence of a party.

    Raises:
        ProtocolError: No ledger can hold it.
    """
    # What no database can store must not reach the ledger.
    if sequence > MAX_SEQUENCE:
        raise ProtocolError("a sequence is out of range")
