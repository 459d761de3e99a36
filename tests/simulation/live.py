"""Real node cores and stores, the real hub core and ledger; frames are carried and time is moved by hand."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from concordat.errors import ConcordatError
from concordat.wire.v1 import check_pb2
from services.node.policy import DEFAULT
from tests.unit.gateway.world import Hub, Link, Node, World

if TYPE_CHECKING:
    from concordat.wire.v1 import session_pb2
    from services.node.policy import Policy
    from tests.unit.exchange import parties
    from tests.unit.exchange.parties import Party

STEP_S = 0.25


@dataclass
class RealNode(Node):
    """A node of the world whose core and store are the ones that run in production."""

    party: Party = field(kw_only=True)
    held_kinds: frozenset[str] = frozenset()
    """Kinds of frames that are on their way and do not arrive yet."""
    held: list[tuple[Link, session_pb2.NodeFrame]] = field(default_factory=list)

    def dial(self, hub: Hub) -> Link:
        """Open a session and say hello; whatever the last one was about to bring is lost with it."""
        self.held.clear()
        self.party.core.detach()
        link = Link(self, hub, hub.exchange.open(self.id))
        hub.links[link.session] = link
        self.links.append(link)
        self.carry(link, [self.party.core.hello()])
        return link

    def take(self, link: Link, frame: session_pb2.HubFrame) -> None:
        """Hand a frame to the core and carry what it says."""
        if link is not self.link:
            return
        link.seen.append(frame)
        try:
            answers = self.party.core.step([frame], work=False)
        except ConcordatError as error:
            link.closed = error.code
            link.hub.exchange.detach(link.session)
            return
        self.carry(link, answers)

    def poke(self) -> None:
        """Let the core look for work, as its process does once a second and whenever somebody submits."""
        if not self.links:
            return
        link = self.link
        if link.closed is None and not link.deaf:
            self.carry(link, self.party.core.step([], work=True))

    def carry(self, link: Link, frames: list[session_pb2.NodeFrame]) -> None:
        """Bring frames to the hub, but those that are held up."""
        for frame in frames:
            if frame.WhichOneof("frame") in self.held_kinds:
                self.held.append((link, frame))
            else:
                link.hub.exchange.frame(link.session, frame)

    def let_go(self) -> None:
        """Let what is held up arrive."""
        self.held_kinds = frozenset()
        held, self.held = self.held, []
        for link, frame in held:
            link.hub.exchange.frame(link.session, frame)

    def kill(self) -> None:
        """End the process as kill -9 does, and start it again without a session; the hub does not notice by itself."""
        self.held.clear()
        self.held_kinds = frozenset()
        if self.links:
            self.link.deaf = True
        self.party.restart()

    def submit(self, *values: str, policy: Policy = DEFAULT, operation: str = "", look_once: bool = False) -> None:
        """Submit values and wake the node."""
        self.party.submit(*values, policy=policy, operation=operation, look_once=look_once)
        self.poke()

    def times_told_of(self, value: str, other: RealNode) -> int:
        """Return how often this node was told that another holds a value."""
        with self.party.store.read() as db:
            row = db.execute("SELECT reference FROM value WHERE canonical = ?", (value,)).fetchone() or (b"",)
            notices = [check_pb2.Notice.FromString(one).told for (one,) in db.execute("SELECT content FROM notice")]
        # Notices are counted, as a node shows one match once however often the hub tells it.
        void = {one.edge_id for one in self.party.store.all_told() if one.state != "shown"}
        told = [one for one in notices if (one.own_reference, one.other) == (row[0], other.id)]
        return sum(one.edge_id not in void for one in told)


@dataclass
class Live:
    """A world and its nodes by name."""

    world: World
    federation: parties.Federation
    nodes: dict[str, RealNode]

    @property
    def hub(self) -> Hub:
        """Return the hub that runs now."""
        return self.world.hubs[-1]

    def attach(self, *names: str) -> None:
        """Let nodes dial, and wait until they are attached."""
        for name in names:
            self.nodes[name].dial(self.hub)
        self.run(0)

    def run(self, seconds: float) -> None:
        """Let time pass; every node looks for work four times a second."""
        for _ in range(max(1, round(seconds / STEP_S))):
            self.world.settle()
            for node in self.nodes.values():
                node.poke()
            self.world.settle()
            if seconds:
                self.world.advance(STEP_S)

    def restart_hub(self) -> None:
        """Kill the hub and start it on the same ledger; every session is gone."""
        self.world.stop(self.hub)
        self.world.hub()

    def heal(self, seconds: float = 20) -> None:
        """End every fault: what is held up arrives, whoever has no session dials; then let time pass."""
        for node in self.nodes.values():
            node.let_go()
            if not node.links or node.link.closed is not None or node.link.deaf or node.link.hub is not self.hub:
                node.dial(self.hub)
        self.run(seconds)

    def told(self, value: str) -> dict[tuple[str, str], int]:
        """Return how often each holder of a value was told of each other holder."""
        holders = self.holders(value)
        return {
            (one, two): self.nodes[one].times_told_of(value, self.nodes[two])
            for one in holders
            for two in holders
            if one != two
        }

    def holders(self, value: str) -> list[str]:
        """Return who holds a value."""
        return [name for name, node in self.nodes.items() if self._holds(node, value)]

    @staticmethod
    def _holds(node: RealNode, value: str) -> bool:
        with node.party.store.read() as db:
            return db.execute("SELECT 1 FROM value WHERE canonical = ?", (value,)).fetchone() is not None
