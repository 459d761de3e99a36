"""The node's exchange with one gateway, without I/O: frames in, frames out, in order (docs/protocol.md 3.2 to 3.5).

    core = NodeCore(identity, store, clock=clock, random_bytes=secrets.token_bytes, rng=rng, emit=emit)
    send(core.hello())
    for frame in session:
        send(core.step([frame], work=False))

A core belongs to one thread at a time.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import concordat
from concordat.canon import RULES_VERSIONS
from concordat.errors import ConcordatError, ProtocolError, RefusedError, UnavailableError
from concordat.wire.v1 import session_pb2 as wire
from concordat.wire.v1.check_pb2 import NoticeAck
from services.node.events import Attached
from services.node.exchange.answerer import Answerer
from services.node.exchange.asker import Asker
from services.node.exchange.inbox import Inbox
from services.node.exchange.leaving import Leaving
from services.node.exchange.publisher import Publisher
from services.node.exchange.ticks import Ticks

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from random import Random

    from concordat.clock import Clock
    from services.node.events import Event, EventSink
    from services.node.exchange.identity import Identity
    from services.node.store.store import Store
    from services.node.traces import CaseTraces

# A whole plane may be on its way over a slow line.
ACKNOWLEDGEMENT_S: Final = 120.0
# After these there may be something to publish or to ask.
_WORK_AFTER: Final = frozenset(
    {"welcome", "snapshot_installed", "published", "check_refused", "certificate", "presence", "plane_shape"}
)


class NodeCore:
    """One session after the other with one gateway."""

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
        self._identity = identity
        self._store = store
        self._clock = clock
        self._awaited: tuple[int, float] | None = None
        """What the gateway owes an acknowledgement for, and since when."""
        self._tell = emit
        self._held: list[Event] | None = None
        emit = self._emit
        self._answerer = Answerer(identity.spiffe, identity.manifest, store, clock=clock)
        self._ticks = Ticks(self._answerer, store, own=str(identity.spiffe))
        self._asker = Asker(identity, store, clock=clock, random_bytes=random_bytes, rng=rng, emit=emit, traces=traces)
        self._inbox = Inbox(identity, store, asker=self._asker, clock=clock, emit=emit, random_bytes=random_bytes)
        self._publisher = Publisher(identity, store)
        self._leaving = Leaving(identity, store, clock=clock)
        self._welcome: wire.Welcome | None = None
        self._presence: tuple[str, ...] = ()
        self._operations: list[wire.OperationEvent] = []
        self._receivers: dict[str, Callable[[wire.HubFrame], list[wire.NodeFrame]]] = {
            "welcome": self._on_welcome,
            "snapshot_installed": self._on_snapshot_installed,
            "published": self._on_published,
            "check_received": lambda _: [],
            "check_refused": self._on_check_refused,
            "question": self._on_question,
            "barrier": lambda frame: self._ticks.barrier(frame.barrier),
            "certificate": self._on_certificate,
            "notice": self._on_notice,
            "presence": self._on_presence,
            "operation_event": self._on_operation_event,
            "plane_shape": self._on_plane_shape,
        }

    def use_identity(self, identity: Identity) -> None:
        """Go on under another manifest; call it between sessions."""
        self._identity = identity
        self._answerer.use_manifest(identity.manifest)
        self._asker.use_identity(identity)
        self._inbox.use_identity(identity)
        self._publisher.use_identity(identity)
        self._leaving.use_identity(identity)

    def hello(self) -> wire.NodeFrame:
        """Return the first frame of a session."""
        manifest = self._identity.manifest
        return wire.NodeFrame(
            hello=wire.Hello(
                federation=manifest.federation,
                manifest_hash=manifest.hash,
                incarnation=self._store.incarnation(),
                # How this program reads, and not what the manifest asks for: that is what the gateway compares.
                rules_versions={
                    one.value: version
                    for one, version in RULES_VERSIONS.items()
                    if one.value in manifest.rules_versions
                },
                epochs=manifest.live_epochs,
                notice_cursor=self._store.notice_cursor(),
                ledger_incarnation=self._store.ledger_incarnation(),
                software=concordat.__version__,
                published_sequence=self._store.published_through(),
                takes_several=True,
                tokens=self._publisher.tokens(),
            )
        )

    def receive(self, frame: wire.HubFrame) -> list[wire.NodeFrame]:
        """Take one frame and return what it is answered with; whatever that asserts is durable.

        Raises:
            ProtocolError: The gateway broke the protocol; the session must end.
            RefusedError: The gateway holds another manifest; the session must end.
            IdentityError: A certificate is signed by nobody who may; the session must end.
        """
        kind = frame.WhichOneof("frame")
        if kind is None or (self._welcome is None) != (kind == "welcome"):
            raise ProtocolError("a session starts with one welcome, and every frame has content")
        return self._receivers[kind](frame)

    @staticmethod
    def wants_work(frame: wire.HubFrame) -> bool:
        """Tell whether `work` is to be called after this frame."""
        return frame.WhichOneof("frame") in _WORK_AFTER

    def step(self, frames: Sequence[wire.HubFrame], *, work: bool) -> list[wire.NodeFrame]:
        """Take frames, and look for work where `work` or a frame says so, with one wait for the disk for all of it.

        Raises:
            ProtocolError: As `receive`; what the frames before it wrote is kept, and its answers are not sent.
            UnavailableError: The store cannot be used; a new session starts from what is on disk.
        """
        answers: list[wire.NodeFrame] = []
        failure: ConcordatError | None = None
        self._held = []
        try:
            with self._store.group():
                try:
                    for frame in frames:
                        answers += self.receive(frame)
                    if work or any(self.wants_work(frame) for frame in frames):
                        answers += self.work()
                except UnavailableError:
                    # The store failed, and SQLite may have taken back what went before in this group.
                    raise
                except ConcordatError as error:
                    failure = error
        except BaseException:
            # Nothing was kept: what was answered in memory must not be answered from memory again.
            self._held = None
            self._answerer.forget()
            raise
        held, self._held = self._held, None
        for event in held:
            self._tell(event)
        if failure is not None:
            raise failure
        return _with_last_ack(answers)

    def work(self) -> list[wire.NodeFrame]:
        """Return what is to be published and asked now; call it when something changed, and once a second."""
        if self._welcome is None:
            return []
        self._require_acknowledgement()
        frames, published = self._leaving.work(), self._publisher.work()
        if any(frame.HasField("snapshot_begin") for frame in published):
            self._leaving.snapshot_leaves()
        frames += published
        if self._publisher.installed:
            frames += [wire.NodeFrame(check=check) for check in self._asker.work()]
        return frames

    def _require_acknowledgement(self) -> None:
        # A gateway that lost it would keep this node from publishing and asking for as long as the session lasts.
        awaited, now = self._publisher.awaited, self._clock.monotonic()
        if awaited is None or self._awaited is None or self._awaited[0] != awaited:
            self._awaited = None if awaited is None else (awaited, now)
        elif now - self._awaited[1] > ACKNOWLEDGEMENT_S:
            raise UnavailableError("the gateway does not acknowledge what was published", code="deadline")

    @property
    def attached(self) -> bool:
        """Tell whether the session is up and the plane complete."""
        return self._publisher.installed

    @property
    def has_more(self) -> bool:
        """Tell whether `work` is to be called again at once, for the rest of a snapshot."""
        return self._publisher.has_more

    def next_at(self) -> float | None:
        """Return the monotonic time at which `work` has something to do without an event, or None."""
        return self._asker.next_at() if self._publisher.installed else None

    def operations(self) -> list[wire.OperationEvent]:
        """Return the events of operations that came since the last call."""
        events, self._operations = self._operations, []
        return events

    def detach(self) -> None:
        """End the session: what is pending stays so."""
        self._welcome = None
        self._awaited = None
        self._publisher.detach()
        self._asker.detach()
        self._ticks.detach()
        self._leaving.detach()

    def _emit(self, event: Event) -> None:
        """Tell an event once what it speaks of is on disk."""
        if self._held is None:
            self._tell(event)
        else:
            self._held.append(event)

    def _on_welcome(self, frame: wire.HubFrame) -> list[wire.NodeFrame]:
        welcome = frame.welcome
        if welcome.manifest_hash != self._identity.manifest.hash:
            raise RefusedError("the gateway holds another manifest", code="stale_manifest")
        if welcome.gateway not in {gateway.id for gateway in self._identity.manifest.gateways}:
            raise ProtocolError("the welcome is of a gateway that the manifest does not name")
        if self._publisher.attach(welcome):
            # The process that ran on the other copy may still be there: this one is another from now on (I9).
            self._store.renew_incarnation()
            # No `UnavailableError`, with which nothing of this step would be kept.
            raise RefusedError("this store was restored; it attaches again in a new incarnation", code="store_restored")
        # Before the first notice: a ledger that was restored numbers its notices anew, and may have lost matches (C10).
        self._store.follow_ledger(welcome.ledger_incarnation, self._identity.holders)
        self._inbox.attach()
        self._welcome = welcome
        self._presence = tuple(welcome.presence.attached)
        self._begin_once_caught_up()
        return [wire.NodeFrame(refusal=refusal) for refusal in self._inbox.refusals()]

    def _begin_once_caught_up(self) -> None:
        """Publish, and so be asked, only after every notice that was there when the session began (3.2 (3), I9).

        A store that was restored learns from them what it had been told, and what it had withdrawn.
        """
        assert self._welcome is not None
        if not self._publisher.begun and self._inbox.cursor >= self._welcome.notice_cursor:
            self._publisher.begin()

    def _on_snapshot_installed(self, frame: wire.HubFrame) -> list[wire.NodeFrame]:
        assert self._welcome is not None
        first = self._publisher.snapshot_installed(frame.snapshot_installed.sequence)
        self._leaving.snapshot_installed()
        if not first:
            return []
        self._asker.attach(self._presence, max_items=self._welcome.max_items)
        self._emit(Attached(self._welcome.gateway))
        return []

    def _on_published(self, frame: wire.HubFrame) -> list[wire.NodeFrame]:
        self._publisher.published(frame.published.sequence)
        return []

    def _on_check_refused(self, frame: wire.HubFrame) -> list[wire.NodeFrame]:
        self._asker.check_refused(frame.check_refused)
        return []

    def _on_question(self, frame: wire.HubFrame) -> list[wire.NodeFrame]:
        return [wire.NodeFrame(answer=self._ticks.question(frame.question))]

    def _on_certificate(self, frame: wire.HubFrame) -> list[wire.NodeFrame]:
        self._asker.certificate(frame.certificate)
        return []

    def _on_notice(self, frame: wire.HubFrame) -> list[wire.NodeFrame]:
        refusal = self._inbox.receive(frame.notice)
        frames = [] if refusal is None else [wire.NodeFrame(refusal=refusal)]
        if frame.notice.HasField("withdrawn"):
            # The receipt leaves with the acknowledgement.
            frames += self._leaving.work()
        self._begin_once_caught_up()
        return [*frames, wire.NodeFrame(notice_ack=NoticeAck(cursor=self._inbox.cursor))]

    def _on_presence(self, frame: wire.HubFrame) -> list[wire.NodeFrame]:
        self._presence = tuple(frame.presence.attached)
        if self._publisher.installed:
            self._asker.presence(self._presence)
        return []

    def _on_plane_shape(self, frame: wire.HubFrame) -> list[wire.NodeFrame]:
        self._publisher.reshape(frame.plane_shape.log2_slots)
        return []

    def _on_operation_event(self, frame: wire.HubFrame) -> list[wire.NodeFrame]:
        self._operations.append(frame.operation_event)
        return []


def _with_last_ack(frames: list[wire.NodeFrame]) -> list[wire.NodeFrame]:
    """Leave out all acknowledgements of notices but the last, which covers them."""
    acks = [at for at, frame in enumerate(frames) if frame.HasField("notice_ack")]
    superseded = set(acks[:-1])
    return [frame for at, frame in enumerate(frames) if at not in superseded]
