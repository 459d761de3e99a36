"""A sweep between the real nodes of a simulation, through the real hub core, into the ledger of their live checks."""

from __future__ import annotations

from collections import deque
from datetime import date
from typing import TYPE_CHECKING

from concordat.tokens import MASK_KEY_BYTES, MaskKey
from gateway.sweep.effects import Conclude, Effect, LookUp, OpenEdges, Run, Send, SweepSettings
from gateway.sweep.hub import Phase, SweepHub
from services.node.policy import About, Policy, may_tell
from services.node.store.sweep_set import SetQuery, read_sweep_set
from services.node.sweep import SweepParty
from services.node.sweep_rows import SweepColumns
from tests.unit.exchange import parties

if TYPE_CHECKING:
    from collections.abc import Iterable

    from concordat.wire.v1 import sweep_pb2
    from gateway.sweep.pairs import ProvenPair
    from tests.simulation.live import Live, RealNode

OPERATION = "action-day"
SWEEP_ID = bytes(range(16))
KEY = MaskKey(bytes(MASK_KEY_BYTES))


def sweep(live: Live, *names: str) -> None:
    """Sweep what the nodes hold for the operation; edges and notices are in the ledger afterwards."""
    proven = _Sweep(live, names).run()
    candidates = [one.edge(SWEEP_ID) for one in proven]
    live.hub.exchange.committed([], live.hub.ledger.write(candidates))
    live.run(0)


def sweep_party(live: Live, node: RealNode, participants: Iterable[str]) -> SweepParty:
    """Return a node's side of the sweep, with the records that all others may be told of."""
    manifest = live.federation.manifest
    own, about = manifest.party_by_id(node.id), About("investigation", OPERATION)
    others = [manifest.party_by_id(one) for one in participants if one != node.id]

    def tells_all(policy: Policy) -> bool:
        return all(may_tell(policy, one, own=own, manifest=manifest, about=about) for one in others)

    query = SetQuery(
        operation=OPERATION, tells_all=tells_all, today=date(2026, 11, 24), epoch=1, rules_versions={"e164": 1}
    )
    with node.party.store.read() as db:
        rows = SweepColumns.of(read_sweep_set(db, query), KEY, SWEEP_ID)
    return SweepParty(
        node.id, SWEEP_ID, operation=OPERATION, participants=list(participants), rows=rows, salt=parties.SALT * 2
    )


class _Sweep:
    def __init__(self, live: Live, names: Iterable[str]) -> None:
        self._nodes = {live.nodes[name].id: live.nodes[name] for name in names}
        self._parties = {one: sweep_party(live, node, self._nodes) for one, node in self._nodes.items()}
        self._hub = SweepHub(
            SWEEP_ID,
            OPERATION,
            tuple(sorted(self._nodes)),
            attached=frozenset(self._nodes),
            namespaces=("e164",),
            settings=SweepSettings(window_tokens=4),
            now=0.0,
        )
        self._up: deque[tuple[str, sweep_pb2.SweepUp]] = deque()
        self._ledger = live.hub.ledger
        self._edges: list[ProvenPair] = []
        self._now = 0.0

    def run(self) -> list[ProvenPair]:
        self._up += [(one, party.join()) for one, party in self._parties.items()]
        while self._hub.phase is not Phase.OVER:
            if self._up:
                self._apply(self._hub.receive(*self._up.popleft(), self._now))
            else:
                self._now += 1.0
                self._apply(self._hub.tick(self._now))
        return self._edges

    def _apply(self, effects: list[Effect]) -> None:
        for effect in effects:
            if isinstance(effect, Send):
                if not effect.last:
                    self._deliver(effect)
            elif isinstance(effect, Run):
                self._apply(self._hub.ran(effect.job.run(), self._now))
            elif isinstance(effect, OpenEdges):
                self._edges += effect.edges
                self._apply(self._hub.edges_open(self._now))
            elif isinstance(effect, Conclude):
                self._apply(self._hub.frozen(1))
            elif isinstance(effect, LookUp):
                sides = [tuple(zip(pair.parties, pair.references, strict=True)) for pair in effect.pairs]
                known = self._ledger.live_edges([(side[0], side[1]) for side in sides])
                self._apply(self._hub.live_known([one is not None for one in known], self._now))

    def _deliver(self, send: Send) -> None:
        step = self._parties[send.party].receive(send.frame)
        self._nodes[send.party].party.store.verified_pairs(step.verified)
        self._up += [(send.party, frame) for frame in step.frames]
