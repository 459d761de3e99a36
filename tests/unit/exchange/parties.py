"""Nodes for tests: a real store, a core, a clock by hand; tokens and secrets are made from names, not by an OPRF."""

from __future__ import annotations

import hashlib
import itertools
import random
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from typing import TYPE_CHECKING

from concordat.protocol.check import EVERYONE, SignedHeader, audience_hash, sign_header
from concordat.protocol.macs import ask_proofs, masked_tags
from concordat.wire.v1 import check_pb2
from services.node.case import parse_case, template
from services.node.exchange.core import NodeCore
from services.node.exchange.identity import Identity
from services.node.policy import DEFAULT
from services.node.record import FileFacts
from services.node.store import cases, meta, policies, records
from services.node.store.adding import add_records
from services.node.store.store import Store
from services.node.store.values import STRONG, Asking, CanonicalValue

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Callable, Iterable, Sequence
    from pathlib import Path

    from concordat.clock import ManualClock
    from concordat.identity.keys import SigningKey
    from concordat.identity.manifest import Manifest
    from services.node.case import CaseProfile
    from services.node.events import Event
    from services.node.policy import Policy

START = datetime(2026, 11, 24, 12, tzinfo=UTC).timestamp()
SALT = b"s" * 16
OWN_LINES = 1_000_000
"""Records for which a test names no line stand alone in lines above this one."""
TEMPLATE_CASE = parse_case(template(date(2026, 12, 31)), today=date(2026, 11, 24))


def token(value: str, epoch: int = 1) -> bytes:
    return hashlib.sha256(f"token{epoch}{value}".encode()).digest()[:16]


def label(value: str) -> bytes:
    return hashlib.sha256(f"label{value}".encode()).digest()[:16]


def secret(value: str, epoch: int = 1) -> bytes:
    return hashlib.sha256(f"secret{epoch}{value}".encode()).digest()


def published_through(store: Store) -> int:
    """Return the highest sequence number that was acknowledged."""
    with store.read() as db:
        return meta.get_int(db, meta.PUBLISHED_THROUGH)


def put_record(
    db: sqlite3.Connection,
    values: Sequence[CanonicalValue],
    asking: Asking,
    *,
    random_bytes: Callable[[int], bytes],
    policy: Policy = DEFAULT,
    line: int | None = None,
) -> None:
    """Store one record of values; it stands alone in its line, unless a line is given."""
    name = f"{asking.case_id} {asking.operation}"
    digest = hashlib.sha256(name.encode()).hexdigest()
    facts = FileFacts(name=name, sha256=digest, size_bytes=1, format="csv", encoding="utf-8")
    file = records.begin_file(db, facts, case_id=asking.case_id, operation=asking.operation, at=START)
    item = file.items + 1
    record = records.NewRecord(
        item=item,
        line=line or OWN_LINES + item,
        typed=values[0].canonical,
        kind="phone",
        policy=policy.content(),
        values=tuple(values),
    )
    add_records(db, file.id, [record], asking=asking, random_bytes=random_bytes)


def put_values(
    store: Store,
    values: list[CanonicalValue],
    asking: Asking,
    *,
    case: CaseProfile,
    at: float,
    random_bytes: Callable[[int], bytes],
    policy: Policy = DEFAULT,
) -> None:
    """Store values of a case and their tokens at once, as submit and a tokeniser would one after the other."""
    with store.group():
        with store.write() as db:
            placed = asking._replace(case_id=cases.put_case(db, case, at))
            for value in values:
                put_record(db, [value], placed, random_bytes=random_bytes, policy=policy)
        make_tokens(store, asking.epochs)


def make_tokens(store: Store, epochs: Iterable[int]) -> None:
    """Give all values their tokens, as a tokeniser would."""
    for epoch, key_class in itertools.product(epochs, ("strong", "weak")):
        while (batch := store.untokenised(epoch, key_class, 500)) is not None:
            rows = [
                (row.value_id, label(row.canonical), secret(row.canonical, epoch), token(row.canonical, epoch))
                for row in batch.rows
            ]
            store.store_tokens(batch, rows)


@dataclass(frozen=True)
class Federation:
    """The manifest, and the parties' signing keys by short name."""

    manifest: Manifest
    keys: dict[str, SigningKey]

    def id(self, name: str) -> str:
        return self.manifest.party(name).id

    def identity(self, name: str) -> Identity:
        return Identity(self.manifest.party(name).spiffe, self.keys[name], self.manifest)


@dataclass
class Party:
    """A node with its store; `restart` throws away whatever is not on disk."""

    name: str
    federation: Federation
    folder: Path
    clock: ManualClock
    events: list[Event] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.rng = random.Random(self.name)
        self.path = self.folder / f"{self.name}.sqlite"
        self.store = self._open()
        self.core = self._core()

    @property
    def id(self) -> str:
        return self.federation.id(self.name)

    def _open(self) -> Store:
        return Store.open(self.path, random_bytes=self.rng.randbytes, clock=self.clock)

    def _core(self) -> NodeCore:
        return NodeCore(
            self.federation.identity(self.name),
            self.store,
            clock=self.clock,
            random_bytes=self.rng.randbytes,
            rng=self.rng,
            emit=self.events.append,
        )

    def restart(self) -> None:
        self.store.close()
        self.store = self._open()
        self.core = self._core()

    def submit(
        self,
        *values: str,
        look_once: bool = False,
        grade: int = STRONG,
        namespace: str = "e164",
        policy: Policy = DEFAULT,
        operation: str = "",
    ) -> None:
        """Store values with all that is to be done for them, and tokenise them."""
        epochs = self.federation.manifest.live_epochs
        asking = Asking(0, "investigation", operation, look_once, epochs)
        rows = [CanonicalValue(namespace, 1, value, grade) for value in values]
        put_values(
            self.store,
            rows,
            asking,
            case=TEMPLATE_CASE,
            at=self.clock.now(),
            random_bytes=self.rng.randbytes,
            policy=policy,
        )

    def submit_line(self, line: int, *rows: Sequence[CanonicalValue], policy: Policy = DEFAULT) -> None:
        """Store the records of one line, each with its values, strong and weak."""
        epochs = self.federation.manifest.live_epochs
        with self.store.group():
            with self.store.write() as db:
                case_id = cases.put_case(db, TEMPLATE_CASE, self.clock.now())
                asking = Asking(case_id, "investigation", "", False, epochs)
                for values in rows:
                    put_record(db, values, asking, random_bytes=self.rng.randbytes, policy=policy, line=line)
            make_tokens(self.store, epochs)

    def handle(self, value: str, policy: Policy, *, ask: bool = True) -> None:
        """Give all records of a value another policy, and have it asked about again where that is wider."""
        epochs = self.federation.manifest.live_epochs
        with self.store.write() as db:
            uids = db.execute(
                "SELECT r.uid FROM record r JOIN record_value rv ON rv.record_id = r.id"
                " JOIN value v ON v.id = rv.value_id WHERE v.canonical = ?",
                (value,),
            ).fetchall()
            for (uid,) in uids:
                policies.set_policy(db, uid, policy.content(), epochs=epochs, ask=ask)
        make_tokens(self.store, epochs)

    def publish(self) -> None:
        """Give all tokens their sequence, as if a gateway had acknowledged them."""
        for epoch in self.federation.manifest.live_epochs:
            while (batch := self.store.take_unpublished(epoch, 1000)) is not None:
                self.store.acknowledge_published(batch.sequence)

    def published_through(self) -> int:
        return published_through(self.store)

    def reference(self, value: str) -> bytes:
        (hit,) = self.store.lookup(token(value), 1)
        return hit.reference

    def pending(self) -> dict[tuple[int, str], str]:
        """Return the state of each pending (batch, short name of the holder)."""
        return {(row.batch_id, row.holder.rpartition("/")[2]): row.state for row in self.store.pending_batches()}


@dataclass(frozen=True)
class Item:
    """What an asker puts into a check."""

    value: str
    reference: bytes
    grade: int = check_pb2.GRADE_STRONG
    secret: bytes | None = None
    audience: int = 0
    tags: bytes = b"line-one"
    """Its group tags: of the line, and of a record that is its own unless the test says more."""

    @property
    def group_tags(self) -> bytes:
        """Return line tag and record tag."""
        return (self.tags + hashlib.sha256(self.reference).digest())[:16]


@dataclass
class AskerByHand:
    """A party that asks whatever a test wants, well signed or not."""

    name: str
    federation: Federation
    clock: ManualClock

    def header(self, count: int, *, key: SigningKey | None = None, **fields: object) -> SignedHeader:
        manifest = self.federation.manifest
        now_ms = int(self.clock.now() * 1000)
        content: dict[str, object] = {
            "federation": manifest.federation,
            "manifest_hash": manifest.hash,
            "asker": self.federation.id(self.name),
            "check_id": b"c" * 16,
            "purpose": "investigation",
            "justification_hash": b"j" * 32,
            "count": count,
            "issued_at_ms": now_ms,
            "expires_at_ms": now_ms + 60_000,
            "epoch": manifest.epochs.current,
            "audience_hash": audience_hash(SALT, EVERYONE),
        }
        fields_of_header = check_pb2.CheckHeader(**(content | fields))  # type: ignore[arg-type]  # by name, for brevity
        return sign_header(fields_of_header, key or self.federation.keys[self.name])

    @staticmethod
    def question(
        header: SignedHeader,
        items: list[Item],
        *,
        positions: list[int] | None = None,
        audience_sets: tuple[check_pb2.AudienceSet, ...] = EVERYONE,
    ) -> check_pb2.Question:
        tokens = b"".join(token(item.value) for item in items)
        references = b"".join(item.reference for item in items)
        secrets = b"".join(item.secret or secret(item.value) for item in items)
        places = range(len(items)) if positions is None else positions
        audiences = bytes(item.audience for item in items)
        proofs, pads = ask_proofs(secrets, header.hash, tokens, references, audiences)
        return check_pb2.Question(
            tick=1,
            header=header.raw,
            signature=header.signature,
            items=check_pb2.CheckItems(
                tokens=tokens,
                references=references,
                ask_macs=proofs,
                grades=bytes(item.grade for item in items),
                audiences=audiences,
                group_tags=masked_tags(b"".join(item.group_tags for item in items), pads),
            ),
            positions=b"".join(place.to_bytes(4, "little") for place in places),
            audience_salt=SALT,
            audience_sets=audience_sets,
        )
