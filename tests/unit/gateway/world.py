"""A small world around the sans-IO exchange: hubs with a real ledger, nodes that know the protocol, a clock by hand.

Frames wait in inboxes until the world is settled, so that a test can put any event between any two. Tokens and secrets
are made from names, in place of the OPRF.
"""

from __future__ import annotations

import hashlib
import itertools
import sqlite3
from collections import Counter
from contextlib import closing
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from concordat.clock import ManualClock
from concordat.errors import UnavailableError
from concordat.planes import bitmap, pack_slots, slots_of
from concordat.protocol.certificate import WRONG_ANSWER_MAC, accept_certificate, sign_refusal
from concordat.protocol.check import SignedHeader, audience_hash, parse_header, sign_header
from concordat.protocol.feedback import sign_feedback
from concordat.protocol.macs import ASKER_TOLD, HOLDER_TOLD, answer_mac, ask_macs
from concordat.protocol.withdrawal import accept_receipt, sign_receipt, sign_withdraw
from concordat.tokens import column
from concordat.wire.v1 import check_pb2, session_pb2
from gateway.effects import Answered, Close, Effect, Forget, Note, ReadNotices, ReadSequences, Send, Write
from gateway.exchange import Exchange, Signer

if TYPE_CHECKING:
    from collections.abc import Callable

    from concordat.identity.keys import SigningKey
    from concordat.identity.manifest import Manifest
    from gateway.ledger import Ledger
    from gateway.planes import RoutingTable
    from gateway.query import QueryOutcome
    from gateway.rules import Limits, Rules

START = 1_800_000_000.0
BOTH = ASKER_TOLD | HOLDER_TOLD


def token(value: str) -> bytes:
    """Return the token of a value."""
    return hashlib.sha256(b"token" + value.encode()).digest()[:16]


def secret(value: str) -> bytes:
    """Return the match secret of a value."""
    return hashlib.sha256(b"secret" + value.encode()).digest()


@dataclass(frozen=True)
class Federation:
    """What a test needs of a federation: the manifest and the parties' signing keys by short name."""

    manifest: Manifest
    keys: dict[str, SigningKey]

    def id(self, name: str) -> str:
        """Return the SPIFFE id of a node."""
        return self.manifest.party(name).id


@dataclass
class Hub:
    """An exchange, and the hands that carry its effects out."""

    exchange: Exchange
    ledger: Ledger
    ledger_up: bool = True
    hold_writes: bool = False
    hold_reads: bool = False
    held: list[Effect] = field(default_factory=list)
    shown: int = 0
    """Transactions after which the operator's view is read again."""
    notes: list[Note] = field(default_factory=list)
    links: dict[int, Link] = field(default_factory=dict)
    outcomes: dict[int, QueryOutcome] = field(default_factory=dict)

    def carry_out(self) -> bool:
        """Carry out what the exchange wants; return whether there was anything."""
        effects = self.exchange.effects()
        if not self.hold_writes and not self.hold_reads and self.held:
            effects, self.held = self.held + effects, []
        for effect in effects:
            self._carry_out(effect)
        busy = self.exchange.busy
        self.exchange.work()
        return bool(effects) or busy

    def _carry_out(self, effect: Effect) -> None:
        if (self.hold_writes and isinstance(effect, Write)) or (self.hold_reads and isinstance(effect, ReadSequences)):
            self.held.append(effect)
        elif isinstance(effect, Send):
            self.links[effect.session].inbox.append((effect.tick, effect.frame))
        elif isinstance(effect, Write):
            self._write(effect)
        elif isinstance(effect, ReadSequences):
            state = self.ledger.tick_state()
            self.exchange.sequences_read(effect.tick, state.sequences, state=state)
        elif isinstance(effect, ReadNotices):
            self.exchange.notices_read(
                effect.session,
                sequence=self.ledger.sequence_of(effect.party),
                notices=self.ledger.notices_above(effect.party, effect.above, limit=effect.limit),
                highest=self.ledger.last_cursor(effect.party),
            )
        elif isinstance(effect, Forget):
            for link in self.links.values():
                link.inbox = [(tick, frame) for tick, frame in link.inbox if not 0 < tick <= effect.tick]
        elif isinstance(effect, Close):
            self.links[effect.session].closed = effect.code
        elif isinstance(effect, Answered):
            self.outcomes[effect.query] = effect.outcome
        else:
            self.notes.append(effect)

    def _write(self, effect: Write) -> None:
        if not self.ledger_up:
            self.exchange.failed([effect.number])
            return
        try:
            committed = self.ledger.write(effect.writes)
        except UnavailableError:
            self.exchange.failed([effect.number])
            return
        self.shown += committed.visible
        self.exchange.committed([effect.number], committed)


@dataclass
class Link:
    """One session of one node at one hub."""

    node: Node
    hub: Hub
    session: int
    inbox: list[tuple[int, session_pb2.HubFrame]] = field(default_factory=list)
    seen: list[session_pb2.HubFrame] = field(default_factory=list)
    closed: str | None = None
    deaf: bool = False
    """Half open: frames arrive and nobody takes them."""
    mute_barrier: bool = False

    def send(self, **content: object) -> None:
        """Send one frame to the hub."""
        self.hub.exchange.frame(self.session, session_pb2.NodeFrame(**content))  # type: ignore[arg-type]

    def kinds(self) -> list[str]:
        """Return the kinds of the frames that were taken, in order."""
        return [frame.WhichOneof("frame") or "" for frame in self.seen]


@dataclass
class Sent:
    """A check as its asker remembers it."""

    header: SignedHeader
    values: list[str]


@dataclass
class Node:
    """A node that keeps to the protocol unless a test makes it do otherwise."""

    name: str
    federation: Federation
    clock: ManualClock
    values: dict[str, bytes] = field(default_factory=dict)
    sequence: int = 0
    published: int = 0
    tokens: int = 0
    """As it declares."""
    log2_slots: int = 0
    """Shape of its plane, 0 for the manifest's."""
    """Acknowledged as durable."""
    index_sequence: int | None = None
    links: list[Link] = field(default_factory=list)
    sent: dict[bytes, Sent] = field(default_factory=dict)
    told: list[check_pb2.Told] = field(default_factory=list)
    refused: list[bytes] = field(default_factory=list)
    voided: list[bytes] = field(default_factory=list)
    withdrawn: list[check_pb2.Withdrawn] = field(default_factory=list)
    """Withdrawals of others, and the node's own as its list has them."""
    receipts: list[check_pb2.ReceiptBody] = field(default_factory=list)
    feedback: list[check_pb2.FeedbackFor] = field(default_factory=list)
    notices: list[check_pb2.Notice] = field(default_factory=list)
    """All of them, as they came."""
    catching_up: bool = False
    """Restored: it takes no notice yet, and so answers nothing."""
    deaf_to_notices: bool = False
    certificates: dict[bytes, check_pb2.CertificateBody] = field(default_factory=dict)
    cursor: int = 0
    incarnation: bytes = b"i" * 16
    ledger: bytes = b""
    """Incarnation of the ledger as last seen."""
    decision: int = BOTH
    bad_mac: bool = False
    gives_receipts: bool = True
    secret_of: Callable[[str], bytes] = secret
    _counter: itertools.count[int] = field(default_factory=lambda: itertools.count(1))

    @property
    def id(self) -> str:
        """Return the node's SPIFFE id."""
        return self.federation.id(self.name)

    @property
    def link(self) -> Link:
        """Return the newest link."""
        return self.links[-1]

    def dial(self, hub: Hub) -> Link:
        """Open a session and say hello."""
        link = Link(self, hub, hub.exchange.open(self.id))
        hub.links[link.session] = link
        self.links.append(link)
        link.send(hello=self.hello())
        return link

    def hello(self) -> session_pb2.Hello:
        """Return the first thing that the node says in a session."""
        manifest = self.federation.manifest
        return session_pb2.Hello(
            federation=manifest.federation,
            manifest_hash=manifest.hash,
            incarnation=self.incarnation,
            rules_versions={name: window.current for name, window in manifest.rules_versions.items()},
            epochs=list(manifest.live_epochs),
            notice_cursor=self.cursor,
            ledger_incarnation=self.ledger,
            published_sequence=self.published,
            tokens=self.tokens,
        )

    def keep(self, *values: str) -> list[str]:
        """Store values with a reference each."""
        for value in values:
            number = next(self._counter)
            self.values.setdefault(value, hashlib.sha256(f"{self.name}{number}{value}".encode()).digest()[:16])
        return list(values)

    def plane(self) -> bytes:
        """Return the bitmap of all values."""
        manifest = self.federation.manifest
        tokens = b"".join(token(value) for value in self.values)
        shape = self.log2_slots or manifest.plane_log2_slots
        return bitmap(slots_of(tokens, shape, manifest.plane_hashes), shape)

    def begin_snapshot(self, link: Link) -> bytes:
        """Take a snapshot of the index and announce it; return its bitmap."""
        manifest = self.federation.manifest
        link.send(
            snapshot_begin=session_pb2.SnapshotBegin(
                sequence=self.sequence,
                log2_slots=self.log2_slots or manifest.plane_log2_slots,
                hashes=manifest.plane_hashes,
            )
        )
        return self.plane()

    def finish_snapshot(self, link: Link, plane: bytes) -> None:
        """Send a snapshot's bytes and end it."""
        half = len(plane) // 2
        link.send(snapshot_chunk=session_pb2.SnapshotChunk(offset=0, bits=plane[:half]))
        link.send(snapshot_chunk=session_pb2.SnapshotChunk(offset=half, bits=plane[half:]))
        link.send(snapshot_end=session_pb2.SnapshotEnd(bitmap_hash=hashlib.sha256(plane).digest()))

    def snapshot(self, link: Link) -> None:
        """Send a whole snapshot."""
        self.finish_snapshot(link, self.begin_snapshot(link))

    def publish(self, *values: str, to: list[Link] | None = None) -> None:
        """Store values, then send their delta."""
        self.keep(*values)
        self.sequence += 1
        manifest = self.federation.manifest
        tokens = b"".join(token(value) for value in values)
        slots = pack_slots(slots_of(tokens, self.log2_slots or manifest.plane_log2_slots, manifest.plane_hashes))
        for link in [self.link] if to is None else to:
            link.send(publish=session_pb2.Publish(sequence=self.sequence, slots=slots))

    def check(self, *values: str, link: Link | None = None, only: list[str] | None = None, **fields: object) -> bytes:
        """Ask about values; return the check's id."""
        message = self.check_message(*values, only=only, **fields)
        (link or self.link).send(check=message)
        return parse_header(message.header, message.signature).fields.check_id

    def check_message(self, *values: str, only: list[str] | None = None, **fields: object) -> check_pb2.Check:
        """Make a signed check about values."""
        manifest = self.federation.manifest
        salt, sets = b"s" * 16, [check_pb2.AudienceSet(everyone=True)]
        now_ms = int(self.clock.now() * 1000)
        content: dict[str, object] = {
            "federation": manifest.federation,
            "manifest_hash": manifest.hash,
            "asker": self.id,
            "check_id": hashlib.sha256(f"{self.name}{next(self._counter)}".encode()).digest()[:16],
            "purpose": "thb",
            "justification_hash": b"j" * 32,
            "count": len(values),
            "issued_at_ms": now_ms,
            "expires_at_ms": now_ms + 180_000,
            "epoch": manifest.epochs.current,
            "audience_hash": audience_hash(salt, sets),
        }
        header = sign_header(
            check_pb2.CheckHeader(**(content | fields)),  # type: ignore[arg-type]
            self.federation.keys[self.name],
        )
        tokens = b"".join(token(value) for value in values)
        references = b"".join(self.values.get(value, b"?" * 16) for value in values)
        secrets = b"".join(self.secret_of(value) for value in values)
        self.sent[header.fields.check_id] = Sent(header, list(values))
        return check_pb2.Check(
            header=header.raw,
            signature=header.signature,
            items=check_pb2.CheckItems(
                tokens=tokens,
                references=references,
                ask_macs=ask_macs(secrets, header.hash, tokens, references),
                grades=bytes([check_pb2.GRADE_STRONG]) * len(values),
            ),
            audience_salt=salt,
            audience_sets=sets,
            only_holders=[self.federation.id(name) for name in only or []],
        )

    def take(self, link: Link, frame: session_pb2.HubFrame) -> None:
        """Do what the protocol says about a frame."""
        link.seen.append(frame)
        kind = frame.WhichOneof("frame")
        if kind == "welcome":
            self._welcomed(frame.welcome)
        elif kind in ("published", "snapshot_installed"):
            self.published = max(self.published, getattr(frame, kind).sequence)
        elif kind == "question":
            self._answer(link, frame.question)
        elif kind == "barrier" and not link.mute_barrier:
            held = self.sequence if self.index_sequence is None else self.index_sequence
            link.send(
                barrier_reply=session_pb2.BarrierReply(tick=frame.barrier.tick, index_sequence=held, all_published=True)
            )
        elif kind == "notice":
            self._notice(link, frame.notice)
        elif kind == "certificate":
            self._certificate(frame.certificate)

    def _welcomed(self, welcome: session_pb2.Welcome) -> None:
        self.sequence = max(self.sequence, welcome.ledger_sequence)
        if self.ledger not in (b"", welcome.ledger_incarnation):
            # C10: its list begins anew; what was told before may be told again, and shows once.
            self.cursor, self.told = 0, []
        self.ledger = welcome.ledger_incarnation

    def _answer(self, link: Link, question: check_pb2.Question) -> None:
        if self.catching_up:
            return
        header = parse_header(question.header, question.signature)
        held = {token(value): value for value in self.values}
        answer = check_pb2.Answer(check_id=header.fields.check_id)
        positions = np.frombuffer(question.positions, dtype="<u4").tolist()
        references = column(question.items.references, 16)
        macs = column(question.items.ask_macs, 32)
        for position, item, theirs, mac in zip(
            positions, column(question.items.tokens, 16), references, macs, strict=True
        ):
            value = held.get(item)
            if value is None or ask_macs(self.secret_of(value), header.hash, item, theirs) != mac:
                continue
            own = self.values[value]
            key = b"x" * 32 if self.bad_mac else self.secret_of(value)
            answer.positions += position.to_bytes(4, "little")
            answer.references += own
            answer.decisions += bytes([self.decision])
            answer.answer_macs += answer_mac(key, header.hash, self.id, (theirs, own), self.decision)
            answer.namespaces += bytes([1])
        if answer.positions:
            link.send(answer=answer)

    def _notice(self, link: Link, notice: check_pb2.Notice) -> None:
        if self.catching_up or self.deaf_to_notices:
            return
        assert notice.cursor == self.cursor + 1, "notices come in order and without gaps"
        self.cursor = notice.cursor
        self.notices.append(notice)
        link.send(notice_ack=check_pb2.NoticeAck(cursor=notice.cursor))
        kind = notice.WhichOneof("content")
        if kind == "voided":
            self.voided.append(notice.voided.edge_id)
        elif kind == "withdrawn":
            self._withdrawn(link, notice.withdrawn)
        elif kind == "receipt":
            receipt = notice.receipt.receipt
            signer = check_pb2.ReceiptBody.FromString(receipt.body).signer
            self.receipts.append(accept_receipt(receipt, signer=signer, manifest=self.federation.manifest))
        elif kind == "feedback":
            self.feedback.append(notice.feedback)
        elif kind == "told":
            self._told(link, notice.told)

    def _withdrawn(self, link: Link, withdrawn: check_pb2.Withdrawn) -> None:
        self.withdrawn.append(withdrawn)
        if withdrawn.party == self.id:
            # Also what a restored store does not know any more.
            self.values = {value: ref for value, ref in self.values.items() if ref != withdrawn.reference}
        elif self.gives_receipts:
            body = check_pb2.ReceiptBody(
                withdrawer=withdrawn.party, reference=withdrawn.reference, edge_id=withdrawn.edge_id, signer=self.id
            )
            link.send(receipt=sign_receipt(body, self.federation.keys[self.name]))

    def withdraw(self, *values: str, link: Link | None = None) -> list[bytes]:
        """Take values back; return their references."""
        references = [self.values.pop(value) for value in values]
        (link or self.link).send(withdraw=self.withdrawal(references))
        return references

    def withdrawal(self, references: list[bytes]) -> check_pb2.Withdraw:
        """Sign a withdrawal."""
        federation, key = self.federation.manifest.federation, self.federation.keys[self.name]
        return sign_withdraw(references, federation=federation, party=self.id, issued_at_ms=1, key=key)

    def say_false_hit(self, told: check_pb2.Told, reason: str = "other_person") -> None:
        """Give feedback on a told edge."""
        body = check_pb2.FeedbackBody(edge_id=told.edge_id, other=told.other, reason=reason, signer=self.id)
        self.link.send(feedback=sign_feedback(body, self.federation.keys[self.name]))

    def _told(self, link: Link, told: check_pb2.Told) -> None:
        if told.asked and not self._verified(told):
            self.refused.append(told.edge_id)
            self.refuse(link, told, WRONG_ANSWER_MAC)
            return
        self.told.append(told)

    def _verified(self, told: check_pb2.Told) -> bool:
        sent = self.sent[told.check_id]
        value = next(value for value, reference in self.values.items() if reference == told.own_reference)
        references = (told.own_reference, told.other_reference)
        return told.answer_mac == answer_mac(
            self.secret_of(value), sent.header.hash, told.other, references, told.decision
        )

    def refuse(self, link: Link, told: check_pb2.Told, reason: str) -> None:
        """Return a signed refusal of an edge."""
        body = check_pb2.RefusalBody(
            edge_id=told.edge_id, check_id=told.check_id, other=told.other, reason=reason, signer=self.id
        )
        link.send(refusal=sign_refusal(body, self.federation.keys[self.name]))

    def _certificate(self, certificate: check_pb2.Certificate) -> None:
        found = check_pb2.CertificateBody.FromString(certificate.body)
        sent = self.sent[found.check_id]
        body = accept_certificate(certificate, header=sent.header, manifest=self.federation.manifest)
        self.certificates[body.check_id] = body

    def states(self, check_id: bytes) -> dict[str, str]:
        """Return what a certificate says, by short name."""
        body = self.certificates[check_id]
        prefix = "HOLDER_STATE_"
        return {
            one.holder.rpartition("/")[2]: check_pb2.HolderState.Name(one.state).removeprefix(prefix).lower()
            for one in body.holders
        }

    def times_told(self, other: Node) -> Counter[bytes]:
        """Return how often this node was told of another, by its own reference."""
        return Counter(told.own_reference for told in self.told if told.other == other.id)


@dataclass
class World:
    """Hubs that share a ledger, nodes, and one clock."""

    federation: Federation
    ledger: Ledger
    clock: ManualClock = field(default_factory=lambda: ManualClock(START))
    rules: Rules | None = None
    limits: Limits | None = None
    hubs: list[Hub] = field(default_factory=list)
    nodes: list[Node] = field(default_factory=list)

    def hub(self, *, table: RoutingTable | None = None) -> Hub:
        """Start a hub; a second one is a replica, or the first after a restart."""
        manifest = self.federation.manifest
        gateway = manifest.gateways[0]
        exchange = Exchange(
            manifest,
            signer=Signer(gateway.id, self.federation.keys["gateway"]),
            ledger_incarnation=self.ledger.incarnation,
            clock=self.clock,
            rules=self.rules,
            limits=self.limits,
            table=table,
        )
        hub = Hub(exchange, self.ledger)
        self.hubs.append(hub)
        return hub

    def stop(self, hub: Hub) -> None:
        """Kill a hub: what it held in memory is gone, its sessions end."""
        self.hubs.remove(hub)
        for link in hub.links.values():
            link.closed = "unavailable"

    def back_up(self) -> sqlite3.Connection:
        """Keep a copy of the ledger."""
        copy = sqlite3.connect(":memory:")
        with closing(self._database()) as database:
            database.backup(copy)
        return copy

    def restore(self, copy: sqlite3.Connection) -> None:
        """Put the ledger back to a copy, as its operator would: with no hub running."""
        for hub in list(self.hubs):
            self.stop(hub)
        with closing(self._database()) as database:
            copy.backup(database)

    def _database(self) -> sqlite3.Connection:
        return sqlite3.connect(str(self.ledger._engine.url.database))

    def node(self, name: str) -> Node:
        """Make a node that is not attached."""
        node = Node(name, self.federation, self.clock)
        self.nodes.append(node)
        return node

    def attached(self, name: str, *values: str, hub: Hub | None = None) -> Node:
        """Make a node with stored values and attach it."""
        node = self.node(name)
        node.keep(*values)
        link = node.dial(hub or self.hubs[-1])
        self.settle()
        node.snapshot(link)
        self.settle()
        return node

    def settle(self) -> None:
        """Let everything happen that happens without time passing."""
        busy = True
        while busy:
            busy = any([hub.carry_out() for hub in self.hubs])  # noqa: C419 -- each hub, every round
            for link in [link for hub in self.hubs for link in hub.links.values()]:
                if not link.deaf and link.closed is None:
                    inbox, link.inbox = link.inbox, []
                    busy = busy or bool(inbox)
                    for _, frame in inbox:
                        link.node.take(link, frame)

    def advance(self, seconds: float) -> None:
        """Let time pass, and everything happen that is due."""
        end = self.clock.monotonic() + seconds
        self.settle()
        while True:
            due = min(hub.exchange.next_deadline() for hub in self.hubs)
            if due > end:
                break
            self.clock.advance(max(0.0, due - self.clock.monotonic()))
            for hub in self.hubs:
                if hub.exchange.next_deadline() <= self.clock.monotonic():
                    hub.exchange.timer()
            self.settle()
        self.clock.advance(max(0.0, end - self.clock.monotonic()))

    def window(self) -> None:
        """Let a whole tick and its window pass, so that every check so far has its certificate."""
        manifest = self.federation.manifest
        self.advance((manifest.tick_ms + manifest.window_ms) / 1000 + 0.001)


def told_once(one: Node, two: Node) -> bool:
    """Tell whether both nodes were told of each other, each once a value."""
    counts = [one.times_told(two), two.times_told(one)]
    return all(count and set(count.values()) == {1} for count in counts)
