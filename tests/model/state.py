"""What the model remembers: nodes, gateways, one ledger, and what people were promised. All of it immutable.

One value x (and a second one, y, that only moves sequences), so a record is a reference and a policy. References,
sequences and incarnations are small numbers. `Belief` and `published` are the checker's own and no party reads them.
"""

from __future__ import annotations

from typing import Any, Literal, NamedTuple, TypeVar

T = TypeVar("T")
VISIBLE, SILENT, LOCAL = "visible", "silent", "local only"
NEW, AWAY, OUTSIDE, LATE = "new", "offline", "outside", "timed out"
COVERED = "covered"
PARTIES = "ABCD"
UNPUBLISHED = -1
"""Number of a token that goes into no batch, as a node that breaks a rule leaves it."""
Names = frozenset[str]
Key = tuple[int, ...]
"""Recipient, its reference, the other party."""


class Disk(NamedTuple):
    """A node's store, as of its last commit."""

    reference: int = 0
    policy: str = VISIBLE
    kept: bool = True
    tokens: frozenset[tuple[str, int]] = frozenset()
    """Name of a token and the number of the batch in which it is published; 0 for none yet."""
    sequence: int = 0
    through: int = 0
    """Acknowledged by all attached gateways."""
    to_check: bool = False
    batch: int = 0
    """Which batch of questions is pending; a widened policy makes a new one."""
    pending: frozenset[tuple[int, str]] = frozenset()
    epoch: int = 0
    cursor: int = 0
    ledger: int = 0
    incarnation: int = 0
    shown: tuple[tuple[int, int, int], ...] = ()
    """Own reference, other party, its reference; sorted."""
    witness: frozenset[tuple[int, int, int]] = frozenset()
    asked: frozenset[int] = frozenset()
    """Own references about which a check was sent, so that answers can be verified."""
    refusals: frozenset[tuple[int, int, int]] = frozenset()
    unburied: frozenset[int] = frozenset()


class Link(NamedTuple):
    """A node's side of a session."""

    due: int
    """Notices in its list when it was welcomed."""
    base: int = 0
    """Sequence of the snapshot."""
    acknowledged: int = 0
    stage: int = 0
    """0 welcomed, 1 the snapshot is on its way, 2 it is installed."""


class Node(NamedTuple):
    """A node: process and disk."""

    disk: Disk = Disk()
    up: bool = True
    links: tuple[Link | None, ...] = ()
    backup: Disk | None = None
    journal: str = ""
    """The policy as the journal has it, which no restore of the store takes back."""
    gone: frozenset[int] = frozenset()
    """Own references whose withdrawal is in the journal."""
    replayed: bool = True
    uncommitted: tuple[tuple[str, Any], ...] = ()
    """What a node that breaks a rule asserts before it is on disk."""
    lagging: tuple[int, Names] | None = None
    """Sequence and names of an index that is behind the disk."""
    twin: Disk | None = None
    """The disk of an old process that still runs beside a restored one."""


class Plane(NamedTuple):
    """One party's bits at one gateway."""

    complete: bool = False
    sequence: int = 0
    names: Names = frozenset()


class Build(NamedTuple):
    """A snapshot on its way, and the deltas since."""

    sequence: int
    names: Names
    deltas: Names = frozenset()


class Hit(NamedTuple):
    """A holder's answer that is not in the ledger yet."""

    holder: int
    reference: int
    asker_told: bool
    holder_told: bool
    told: frozenset[Key] | None = None
    """Where the ledger is read in one step and written in another: what was read."""


class Flight(NamedTuple):
    """A check in its tick."""

    reference: int
    batch: int
    name: str
    holders: frozenset[int]
    audience: bool
    kept: bool
    outside: bool
    """The opt-in table did not let them be compared when it was asked."""
    known: tuple[int, ...]
    """The ledger's sequences before the check arrived."""
    routed: frozenset[int] = frozenset()
    answered: frozenset[int] = frozenset()
    empty: frozenset[int] = frozenset()
    """Holders whose look-up found nothing."""
    broken: frozenset[int] = frozenset()
    """Holders whose session ended since."""
    hits: tuple[Hit, ...] = ()
    barrier: bool = False
    required: tuple[int, ...] = ()
    ready: frozenset[int] = frozenset()
    replied: frozenset[int] = frozenset()
    refused: frozenset[int] = frozenset()
    owed: frozenset[tuple[Key, int]] = frozenset()
    """Keys that must be told if the party beside them is said to be covered."""


class Gateway(NamedTuple):
    """A gateway's memory: all of it is lost in a crash."""

    sessions: tuple[int, ...]
    """0 none, 1 live, 2 half-open, 3 an old process."""
    planes: tuple[Plane, ...]
    builds: tuple[Build | None, ...]
    flights: tuple[Flight | None, ...]


Kind = Literal["told", "voided", "withdrawn", "own withdrawal"]


class Notice(NamedTuple):
    """One entry of a recipient's list."""

    kind: Kind
    reference: int
    other: int = 0
    other_reference: int = 0
    asked: bool = False


class Ledger(NamedTuple):
    """Shared, durable, linearisable."""

    incarnation: int
    sequences: tuple[int, ...]
    stores: tuple[int, ...]
    """The incarnation of each party that may attach."""
    lists: tuple[tuple[Notice, ...], ...]
    edges: frozenset[tuple[tuple[int, int], tuple[int, int]]] = frozenset()
    told: frozenset[Key] = frozenset()
    dead: frozenset[tuple[int, int]] = frozenset()


class Belief(NamedTuple):
    """What a party's people were told about their own record."""

    holds: str = ""
    """"", "held" or "withdrawn"."""
    policy: str = VISIBLE


class State(NamedTuple):
    """Everything."""

    nodes: tuple[Node, ...]
    gateways: tuple[Gateway, ...]
    ledger: Ledger
    events: tuple[int, ...]
    """Numbers of the configuration's events that may still happen."""
    beliefs: tuple[Belief, ...]
    published: tuple[int, ...]
    """Highest sequence of each party that any gateway or the ledger ever took."""
    epoch: int = 0
    agreed: bool = True
    references: int = 0
    cut: frozenset[tuple[int, int]] = frozenset()
    copy: Ledger | None = None
    fault: str = ""
    """Why the last step must not have happened."""


def put(items: tuple[T, ...], at: int, value: T) -> tuple[T, ...]:
    """Return a tuple with one item replaced."""
    return (*items[:at], value, *items[at + 1 :])


def with_node(state: State, party: int, **changes: Any) -> State:
    """Return the state with some of a node replaced."""
    return state._replace(nodes=put(state.nodes, party, state.nodes[party]._replace(**changes)))


def with_disk(state: State, party: int, **changes: Any) -> State:
    """Return the state after a commit of a node."""
    return with_node(state, party, disk=state.nodes[party].disk._replace(**changes))


def with_gateway(state: State, at: int, **changes: Any) -> State:
    """Return the state with some of a gateway replaced."""
    return state._replace(gateways=put(state.gateways, at, state.gateways[at]._replace(**changes)))


def with_flight(state: State, at: int, asker: int, flight: Flight | None) -> State:
    """Return the state with a check replaced."""
    return with_gateway(state, at, flights=put(state.gateways[at].flights, asker, flight))
