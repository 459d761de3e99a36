"""An operation from charter to report in a twin world: the real store, hub core and participants."""

from __future__ import annotations

import hashlib
from collections import deque
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from concordat.protocol.charter import CHARTER_DOMAIN, seal_key
from concordat.tokens import MASK_KEY_BYTES, MaskKey
from concordat.wire.v1 import operations_pb2
from gateway.report import build_report, sign_report
from gateway.sweep.effects import Conclude, Effect, LookUp, OpenEdges, Run, Send, SweepSettings
from gateway.sweep.hub import Phase, SweepHub
from services.node.policy import About, Policy, may_tell
from services.node.store.sweep_set import SetQuery, read_sweep_set
from services.node.sweep import SweepParty
from services.node.sweep_rows import SweepColumns
from tests.twoworlds.twin import SILENT
from tests.unit.exchange import parties

if TYPE_CHECKING:
    from concordat.wire.v1 import sweep_pb2
    from gateway.operations_store import OperationStore
    from tests.simulation.live import RealNode
    from tests.twoworlds.twin import Twin

OPERATION = "action-day"
PARTICIPANTS = ("DE", "NL", "RO")
KEY = bytes(range(MASK_KEY_BYTES))


def propose(twin: Twin, store: OperationStore) -> None:
    """Let NL open the operation and all participants sign it; IJM is named as a reader."""
    federation, now = twin.federation, int(twin.clock.now())
    charter = operations_pb2.Charter(
        federation=federation.manifest.federation,
        manifest_hash=federation.manifest.hash,
        operation=OPERATION,
        title="Action day",
        opener=federation.id("NL"),
        participants=sorted(federation.id(name) for name in PARTICIPANTS),
        purpose="investigation",
        namespaces=["e164"],
        starts_at=now - 60,
        ends_at=now + 86_400,
        operation_key_hash=hashlib.sha256(KEY).digest(),
        epoch=1,
        justification_hash=bytes(32),
        readers=[federation.id("IJM")],
    )
    raw = charter.SerializeToString(deterministic=True)
    opener = federation.keys["NL"]
    keys = [seal_key(KEY, raw, one, manifest=federation.manifest, opener=opener) for one in charter.participants]
    store.propose(charter.opener, raw, opener.sign(CHARTER_DOMAIN, raw), keys)
    for name in PARTICIPANTS:
        store.countersign(federation.id(name), OPERATION, federation.keys[name].sign(CHARTER_DOMAIN, raw))


@dataclass
class Sweep:
    """One sweep of the operation, to its report."""

    twin: Twin
    store: OperationStore
    shows_all: bool = False
    """A planted leak: silent records stream and are counted."""
    up: deque[tuple[str, sweep_pb2.SweepUp]] = field(default_factory=deque)
    now: float = 0.0

    def __post_init__(self) -> None:
        self.nodes = {self.twin.nodes[name].id: self.twin.nodes[name] for name in PARTICIPANTS}
        sweep_id = self.twin.random.randbytes(16)
        self.operation = self.store.start_sweep(self.twin.federation.id("NL"), OPERATION, sweep_id)
        self.parties = {one: self._party(node) for one, node in self.nodes.items()}
        self.hub = SweepHub(
            self.operation.sweep_id,
            OPERATION,
            tuple(sorted(self.nodes)),
            attached=frozenset(self.nodes),
            namespaces=("e164",),
            settings=SweepSettings(window_tokens=4),
            now=0.0,
        )

    def run(self) -> None:
        """Carry frames until the report is frozen."""
        self.up += [(one, party.join()) for one, party in self.parties.items()]
        while self.hub.phase is not Phase.OVER:
            if self.up:
                self._apply(self.hub.receive(*self.up.popleft(), self.now))
            else:
                self.now += 1.0
                self._apply(self.hub.tick(self.now))

    def _party(self, node: RealNode) -> SweepParty:
        manifest, charter = self.twin.federation.manifest, self.operation.charter
        own, about = manifest.party_by_id(node.id), About(charter.purpose, OPERATION)
        others = [manifest.party_by_id(one) for one in charter.participants if one != node.id]

        def tells_all(policy: Policy) -> bool:
            said = [may_tell(policy, one, own=own, manifest=manifest, about=about) for one in others]
            return self.shows_all or all(said)

        today = datetime.fromtimestamp(self.twin.clock.now(), UTC).date()
        query = SetQuery(operation=OPERATION, tells_all=tells_all, today=today, epoch=1, rules_versions={"e164": 1})
        with node.party.store.read() as db:
            rows = SweepColumns.of(read_sweep_set(db, query), MaskKey(KEY), self.operation.sweep_id)
        named, salt = self.operation.charter.participants, parties.SALT * 2
        return SweepParty(
            node.id, self.operation.sweep_id, operation=OPERATION, participants=named, rows=rows, salt=salt
        )

    def _apply(self, effects: list[Effect]) -> None:
        for effect in effects:
            if isinstance(effect, Send):
                self._deliver(effect)
            elif isinstance(effect, Run):
                self._apply(self.hub.ran(effect.job.run(), self.now))
            elif isinstance(effect, OpenEdges):
                self._open(effect)
                self._apply(self.hub.edges_open(self.now))
            elif isinstance(effect, Conclude):
                self._conclude(effect)
            elif isinstance(effect, LookUp):
                sides = [tuple(zip(pair.parties, pair.references, strict=True)) for pair in effect.pairs]
                known = self.twin.hub.ledger.live_edges([(side[0], side[1]) for side in sides])
                self._apply(self.hub.live_known([one is not None for one in known], self.now))

    def _deliver(self, send: Send) -> None:
        node = self.nodes[send.party]
        if node.name != SILENT:
            self.twin.surfaces.put(f"sweep frames to {node.name}", send.frame.SerializeToString(deterministic=True))
        if send.last:
            return
        step = self.parties[send.party].receive(send.frame)
        node.party.store.verified_pairs(step.verified)
        self.up += [(send.party, frame) for frame in step.frames]

    def _open(self, found: OpenEdges) -> None:
        twin = self.twin
        written = twin.hub.ledger.write([one.edge(self.operation.sweep_id) for one in found.edges])
        twin.hub.shown += written.visible
        twin.hub.exchange.deliver(written)

    def _conclude(self, found: Conclude) -> None:
        twin = self.twin
        gateway, key = twin.federation.manifest.gateways[0].id, twin.federation.keys["gateway"]
        basis, frozen_at = self.store.basis(OPERATION), int(twin.clock.now())
        report = build_report(self.operation, found.result, basis, gateway=gateway, key=key, frozen_at=frozen_at)
        version = self.store.freeze(OPERATION, self.operation.sweep_id, report, sign_report(report, key))
        self._apply(self.hub.frozen(version))
        twin.surfaces.put("the report", report)
