"""A sweep in memory: the real hub and real participants, frames carried between them in a seeded order."""

from __future__ import annotations

import hashlib
import random
from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from concordat.protocol.report import gravest
from gateway.sweep.effects import (
    Abandoned,
    Conclude,
    Effect,
    GiveParts,
    HandOver,
    LookUp,
    OpenEdges,
    Run,
    Send,
    SweepSettings,
)
from gateway.sweep.hub import Phase, SweepHub
from gateway.sweep.journal import Journal
from services.node.sweep import SweepParty
from services.node.sweep_rows import SweepColumns

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from concordat.wire.v1 import sweep_pb2 as wire
    from gateway.sweep.checkpoint import SweepFolder, SweepState
    from gateway.sweep.effects import Part
    from gateway.sweep.pairs import Pair, ProvenPair
    from services.node.store.rows import PairRow

SWEEP_ID = bytes(range(16))
SALT = bytes(range(32))
OPERATION = "action-day"
NAMESPACES = ("account", "e164", "email", "platform", "url")


def name(short: str) -> str:
    return f"spiffe://concordat.example/node/{short}"


def digest(*parts: object) -> bytes:
    return hashlib.sha256(repr(parts).encode()).digest()


@dataclass(frozen=True)
class Entry:
    """One value at one holder; values are equal where token and secret are."""

    token: bytes
    secret: bytes
    class_byte: int

    def reference(self, party: str) -> bytes:
        return digest("reference", party, self.token, self.secret)[:16]


def entry(value: int, class_byte: int = 1, *, secret: int | None = None) -> Entry:
    """Return an entry with a pseudorandom token; another secret for the same token makes it another value."""
    known = digest("secret", value, secret)
    return Entry(digest("token", value)[:16], known, class_byte)


def answer_of(frame: wire.SweepUp) -> wire.SweepCandidates | None:
    """Return the candidates that a frame carries, by themselves or with the window that they gave credit for."""
    if frame.WhichOneof("frame") == "candidates":
        return frame.candidates
    if frame.WhichOneof("frame") == "window" and frame.window.HasField("candidates"):
        return frame.window.candidates
    return None


def rows_of(party: str, entries: Iterable[Entry]) -> SweepColumns:
    ordered = list(entries)
    return SweepColumns.sorted_by_token(
        b"".join(one.token for one in ordered),
        b"".join(one.secret for one in ordered),
        b"".join(one.reference(party) for one in ordered),
        bytes(one.class_byte for one in ordered),
        sweep_id=SWEEP_ID,
    )


@dataclass
class World:
    """Who holds what, and who cheats how."""

    holdings: Mapping[str, list[Entry]]
    settings: SweepSettings = field(default_factory=lambda: SweepSettings(window_tokens=4))
    participants: tuple[str, ...] = ()
    attached: frozenset[str] | None = None
    tamper: dict[str, Callable[[wire.SweepUp], list[wire.SweepUp]]] = field(default_factory=dict)
    live: Callable[[Pair], bool] = lambda _pair: False
    seed: int = 0
    folder: SweepFolder | None = None
    part: Part | None = None

    def __post_init__(self) -> None:
        self.participants = self.participants or tuple(sorted(self.holdings))
        attached = self.participants if self.attached is None else self.attached
        self.now = 0.0
        self.hub = self.new_hub()
        self.parties = {
            party: SweepParty(
                party,
                SWEEP_ID,
                operation=OPERATION,
                participants=self.participants,
                rows=rows_of(party, entries),
                salt=SALT,
            )
            for party, entries in self.holdings.items()
            if party in attached
        }
        self.random = random.Random(self.seed)
        self.up: dict[str, deque[wire.SweepUp]] = {party: deque() for party in self.parties}
        self.verified: dict[str, list[PairRow]] = {party: [] for party in self.parties}
        self.done: dict[str, wire.SweepDone] = {}
        self.looked_up: list[Pair] = []
        self.opened: list[ProvenPair] = []
        self.durable: set[Pair] = set()
        self.largest_hold = 0
        self.conclusion: Conclude | None = None
        self.abandoned: Abandoned | None = None
        self.handed: SweepState | None = None
        self.given: GiveParts | None = None

    def new_hub(self) -> SweepHub:
        attached = self.participants if self.attached is None else self.attached
        return SweepHub(
            SWEEP_ID,
            OPERATION,
            self.participants,
            attached=attached,
            namespaces=NAMESPACES,
            settings=self.settings,
            now=self.now,
            journal=None if self.folder is None else Journal(self.folder.journal()),
            folder=self.folder,
            part=self.part,
        )

    def restart(self) -> None:
        """Kill the gateway and start it again; all streams break, and whoever is not told of its end joins again."""
        assert self.folder is not None
        self.hub = self.new_hub()
        state = self.folder.load()
        self.up = {party: deque() for party in self.parties if party not in self.done}
        if state is not None:
            self.apply(self.hub.take_up(state))
        for party in sorted(self.up):
            self._post(party, self.parties[party].join())

    def reconnect(self, party: str) -> None:
        """Break a participant's stream; it joins again."""
        self.up[party].clear()
        self.apply(self.hub.gone(party, self.now))
        self._post(party, self.parties[party].join())

    def run(self) -> World:
        """Carry frames until nobody has one; then let time pass until the hub is over."""
        for party, state in self.parties.items():
            self._post(party, state.join())
        return self.carry()

    def carry(self, trouble: Callable[[World, int], None] = lambda _world, _step: None) -> World:
        """Do what `run` does, without the joins; `trouble` is called after each step."""
        step = 0
        while not self.over:
            ready = [party for party, frames in self.up.items() if frames]
            if ready:
                party = self.random.choice(sorted(ready))
                self.apply(self.hub.receive(party, self.up[party].popleft(), self.now))
            else:
                self.now += 1.0
                assert self.now < 10_000, "the sweep never ends"
                self.apply(self.hub.tick(self.now))
            step += 1
            if not self.over:
                trouble(self, step)
            self.largest_hold = max(self.largest_hold, len(self.hub.streaming._frames) + len(self.hub.streaming._open))
        return self

    def apply(self, effects: list[Effect]) -> None:
        for effect in effects:
            if isinstance(effect, Send):
                self._deliver(effect)
            elif isinstance(effect, LookUp):
                self.looked_up += effect.pairs
                live = [self.live(pair) or pair in self.durable for pair in effect.pairs]
                self.apply(self.hub.live_known(live, self.now))
            elif isinstance(effect, Run):
                self.apply(self.hub.ran(effect.job.run(), self.now))
            elif isinstance(effect, HandOver):
                self.handed = effect.state
            elif isinstance(effect, GiveParts):
                self.given = effect
            elif isinstance(effect, OpenEdges):
                self.opened += effect.edges
                self.durable |= {proven.pair for proven in effect.edges}
                self.apply(self.hub.edges_open(self.now))
            elif isinstance(effect, Conclude):
                assert self.conclusion is None
                self.conclusion = effect
                self.apply(self.hub.frozen(1))
            else:
                self.abandoned = effect

    def _deliver(self, send: Send) -> None:
        if send.last:
            assert send.party not in self.done, "two last words"
            self.done[send.party] = send.frame.done
            self.up.pop(send.party, None)
            return
        if send.party not in self.up:
            return
        step = self.parties[send.party].receive(send.frame)
        self.verified[send.party] += step.verified
        for frame in step.frames:
            self._post(send.party, frame)

    def _post(self, party: str, frame: wire.SweepUp) -> None:
        if party in self.up:
            change = self.tamper.get(party)
            self.up[party] += [frame] if change is None else change(frame)

    @property
    def over(self) -> bool:
        return self.hub.phase is Phase.OVER

    def _owes_something(self, party: str) -> bool:
        member = self.hub.members.present.get(party)
        return member is not None and self.hub.owes(member)

    @property
    def edges(self) -> set[tuple[str, bytes, str, bytes]]:
        assert self.conclusion is not None
        pairs = [proven.pair for proven in self.opened]
        found = {(one.parties[0], one.references[0], one.parties[1], one.references[1]) for one in pairs}
        assert len(found) == len(pairs), "a pair twice"
        return found

    @property
    def counts(self) -> dict[int, int]:
        assert self.conclusion is not None
        return dict(self.conclusion.result.counts)

    @property
    def states(self) -> dict[str, str]:
        assert self.conclusion is not None
        return {one.party: one.state for one in self.conclusion.result.participations}


@dataclass(frozen=True)
class Truth:
    """What sets say: distinct values a gravest class byte, shared values, pairs of holders."""

    counts: dict[int, int]
    shared: int
    edges: set[tuple[str, bytes, str, bytes]]


def oracle(holdings: Mapping[str, list[Entry]]) -> Truth:
    """Count with plain sets and dictionaries."""
    holders: dict[tuple[bytes, bytes], list[tuple[str, Entry]]] = {}
    for party in sorted(holdings):
        for one in holdings[party]:
            holders.setdefault((one.token, one.secret), []).append((party, one))
    counts: dict[int, int] = {}
    edges = set()
    for held in holders.values():
        byte = gravest([one.class_byte for _, one in held])
        counts[byte] = counts.get(byte, 0) + 1
        for at, (left, mine) in enumerate(held):
            for right, theirs in held[at + 1 :]:
                edges.add((left, mine.reference(left), right, theirs.reference(right)))
    return Truth(counts, sum(len(held) > 1 for held in holders.values()), edges)
