"""What the page shows at one moment: texts and classes by slot, and three lists.

The template and the script get the same `Page`: the template when the page is opened, the script with each event. A
slot is a text with a class for its colour; nothing in it is markup.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict, dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final

from concordat.api.operator import OperationPhase
from concordat.api.sweep_words import sweep_facts
from concordat.protocol.report import ROW_OF_NAMESPACE
from services.console.scale import Scale

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from datetime import tzinfo

    from concordat.api.operator import NodeState, OperationState, OperatorState
    from services.console.feed import Moment

OTHERS: Final = "others"
TILES: Final = {
    "people_usernames": "People and usernames",
    "communication_devices": "Communication devices",
    "platforms": "Platforms",
    OTHERS: "Other identifiers",
}
REPORT_ROWS: Final = {
    "people_usernames": "People and usernames checked",
    "communication_devices": "Communication devices checked",
    "platforms": "Platforms checked",
    "platforms_suspected": "Platforms suspected of trafficking",
    "platforms_identified": "Platforms identified as engaged in it",
    "platforms_csa": "Platforms linked to child sexual abuse",
}
EXERCISE: Final = (
    "EXERCISE: what is marked so is a rehearsal. It is in no number of matches on this page, counts for no"
    " investigation, and is wiped at its end."
)
PHASES: Final = {
    OperationPhase.PROPOSED: "Waiting for signatures",
    OperationPhase.ACTIVE: "In progress",
    OperationPhase.SWEEPING: "Sweep running",
    OperationPhase.REPORTED: "Report frozen",
}
NOTHING: Final = "\N{EN DASH}"
NO_MATCH: Final = "No match yet; the table fills by itself."


@dataclass(frozen=True, slots=True)
class Slot:
    """One text on the page."""

    text: str
    kind: str = ""
    """Class for its colour."""


GONE: Final = Slot("absent", "bad")


@dataclass(frozen=True, slots=True)
class Operation:
    """One operation as a card shows it."""

    title: str
    code: str
    phase: str
    kind: str
    exercise: bool
    facts: tuple[str, ...]
    totals: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Page:
    """The page at one moment."""

    live: bool
    shape: str
    """What the rows and columns are; with another one the page is loaded anew."""
    slots: dict[str, Slot] = field(default_factory=dict)
    operations: tuple[Operation, ...] = ()
    partners: tuple[tuple[str, str], ...] = ()
    news: tuple[tuple[int, str, str], ...] = ()

    def as_json(self) -> dict[str, Any]:
        """Return it as the script reads it."""
        found = asdict(self)
        found["slots"] = {name: [slot.text, slot.kind] for name, slot in self.slots.items()}
        return found


@dataclass(frozen=True, slots=True)
class Frame:
    """Names of the rows and columns, which stay while numbers come and go."""

    federation: str
    gateway: str
    nodes: tuple[str, ...]
    custodians: tuple[str, ...]

    @classmethod
    def of(cls, state: OperatorState | None) -> Frame:
        """Return the names of a state; none before the gateway's first word."""
        if state is None:
            return cls("", "", (), ())
        return cls(
            state.federation,
            state.gateway,
            tuple(node.name for node in state.nodes),
            tuple(one.name for one in state.custodians),
        )

    @property
    def shape(self) -> str:
        """Return all names as one text."""
        return " ".join((self.federation, self.gateway, "|", *self.nodes, "|", *self.custodians))


class Clockwork:
    """Writes times as the page shows them."""

    def __init__(self, zone: tzinfo) -> None:
        self._zone = zone

    def time(self, at: float) -> str:
        """Return hours, minutes and seconds."""
        return datetime.fromtimestamp(at, self._zone).strftime("%H:%M:%S")

    def since(self, at: int | None, now: float) -> str:
        """Return hours and minutes of a change, with the day where it is not today's."""
        if at is None:
            return ""
        then, today = datetime.fromtimestamp(at, self._zone), datetime.fromtimestamp(now, self._zone).date()
        return then.strftime("since %H:%M" if then.date() == today else "since %d %b, %H:%M")

    def day(self, at: int) -> str:
        """Return a date."""
        return datetime.fromtimestamp(at, self._zone).strftime("%d %b %Y")

    def zone(self, at: float) -> str:
        """Return the name of the zone."""
        return datetime.fromtimestamp(at, self._zone).strftime("%Z")


def build_page(moment: Moment, frame: Frame, clockwork: Clockwork) -> Page:
    """Return the page; without a state there is no number on it."""
    news = tuple((one.number, clockwork.time(one.at), one.text) for one in moment.news)
    heard = Slot(clockwork.time(moment.heard_at))
    state = moment.state
    if state is None:
        slots = {name: Slot(NOTHING) for name in slot_names(frame)} | {"heard": heard}
        slots |= {f"legend.{number}": Slot(NOTHING) for number in range(1, 6)}
        since = f"The gateway does not answer since {heard.text}. Numbers are hidden until it does."
        slots |= {"away": Slot(since), "exercise": Slot(""), "table.none": Slot("")}
        return Page(live=False, shape=frame.shape, slots=slots, news=news)
    slots = {"heard": heard, "away": Slot("")}
    slots |= _tiles(state) | _standings(state, clockwork, moment.heard_at) | _table(state, frame) | _current(state)
    partners = tuple((one.partner, _hits(one.counts)) for one in state.partners)
    operations = tuple(_operation(one, clockwork) for one in state.operations)
    return Page(True, frame.shape, slots, operations, partners, news)


def slot_names(frame: Frame) -> Iterable[str]:
    """Return the names of all slots that hold a number or a state."""
    yield from ("now.title", "now.phase", "total")
    yield from (f"tile.{name}" for name in (*TILES, "nodes", "custodians"))
    yield from (f"note.{name}" for name in ("nodes", "custodians"))
    for kind, names in (("node", frame.nodes), ("custodian", frame.custodians)):
        yield from (f"{kind}.{name}" for name in names)
        yield from (f"{kind}.{name}.since" for name in names)
    yield from (f"sum.{name}" for name in frame.nodes)
    yield from (cell(one, other) for number, one in enumerate(frame.nodes) for other in frame.nodes[number + 1 :])


def cell(one: str, other: str) -> str:
    """Return the slot of a pair of nodes, whichever comes first."""
    return "|".join(sorted((one, other)))


def _tiles(state: OperatorState) -> dict[str, Slot]:
    rows = Counter[str]()
    for pair in state.matches:
        for namespace, number in pair.counts.items():
            rows[ROW_OF_NAMESPACE.get(namespace, OTHERS)] += number
    attached = sum(node.attached for node in state.nodes)
    serving = sum(one.serving is True for one in state.custodians)
    absent = [node.name for node in state.nodes if not node.attached]
    lost = [node.name for node in state.nodes if _standing(node) == GONE]
    slots = {f"tile.{name}": Slot(f"{rows[name]:,}") for name in TILES}
    slots["total"] = Slot(f"{rows.total():,}")
    kind = "bad" if lost else ("unseen" if absent else "good")
    slots["tile.nodes"] = Slot(f"{attached} of {len(state.nodes)}", kind)
    word = "absent" if lost else "not seen yet"
    slots["note.nodes"] = Slot(f"{word}: {_listed(absent)}" if absent else "all attached")
    enough = serving >= state.threshold
    slots["tile.custodians"] = Slot(
        f"{serving} of {len(state.custodians)}", "good" if serving == len(state.custodians) else "bad"
    )
    slots["note.custodians"] = Slot(
        f"{state.threshold} needed" if enough else f"{state.threshold} needed: new identifiers wait"
    )
    return slots


def _standing(node: NodeState) -> Slot:
    if node.attached:
        return Slot("attached", "good")
    # A node that never attached to this gateway is expected, not lost: a new federation is nothing to be alarmed at.
    return GONE if node.since is not None else Slot("absent", "unseen")


def _listed(names: list[str], most: int = 6) -> str:
    shown = ", ".join(names[:most])
    return shown if len(names) <= most else f"{shown} and {len(names) - most} more"


def _standings(state: OperatorState, clockwork: Clockwork, now: float) -> dict[str, Slot]:
    slots = {}
    for node in state.nodes:
        slots[f"node.{node.name}"] = _standing(node)
        slots[f"node.{node.name}.since"] = Slot(clockwork.since(node.since, now) or "not seen yet")
    for one in state.custodians:
        words = ("asked", "") if one.serving is None else (("serves", "good") if one.serving else ("silent", "bad"))
        slots[f"custodian.{one.name}"] = Slot(*words)
        slots[f"custodian.{one.name}.since"] = Slot(clockwork.since(one.since, now))
    return slots


def _table(state: OperatorState, frame: Frame) -> dict[str, Slot]:
    numbers = {cell(pair.one, pair.other): sum(pair.counts.values()) for pair in state.matches}
    sums = Counter[str]()
    for pair in state.matches:
        for name in (pair.one, pair.other):
            sums[name] += sum(pair.counts.values())
    scale = Scale(max(numbers.values(), default=0))
    none = Slot("" if any(numbers.values()) else NO_MATCH)
    slots = {f"sum.{name}": Slot(f"{sums[name]:,}") for name in frame.nodes} | {"table.none": none}
    for place, one in enumerate(frame.nodes):
        for other in frame.nodes[place + 1 :]:
            number = numbers.get(cell(one, other), 0)
            slots[cell(one, other)] = Slot(f"{number:,}", f"level-{scale.level(number)}")
    slots |= {f"legend.{number}": Slot(label) for number, label in enumerate(scale.labels(), 1)}
    return slots


def _current(state: OperatorState) -> dict[str, Slot]:
    now = state.operations[0] if state.operations else None
    if now is None:
        return {"now.title": Slot("No operation"), "now.phase": Slot(""), "exercise": Slot("")}
    exercise = any(one.exercise for one in state.operations)
    return {
        "now.title": Slot(now.title),
        "now.phase": Slot(PHASES[now.phase], now.phase.value),
        "exercise": Slot(EXERCISE if exercise else ""),
    }


def _hits(counts: Mapping[str, int]) -> str:
    number = sum(counts.values())
    return f"{number:,} {'hit' if number == 1 else 'hits'}"


def _operation(one: OperationState, clockwork: Clockwork) -> Operation:
    facts = [
        f"{one.signed} of {one.participants} participants have signed",
        f"{clockwork.day(one.starts_at)} to {clockwork.day(one.ends_at)}",
    ]
    if one.sweep is not None:
        facts += sweep_facts(one.sweep)
    totals: tuple[tuple[str, str], ...] = ()
    if one.report is not None:
        facts.append(f"frozen at {clockwork.time(one.report.frozen_at)}, {clockwork.day(one.report.frozen_at)}")
        facts.append(f"{one.report.included} of {one.participants} participants are in the counts")
        rows = ((label, one.report.totals.get(name, 0)) for name, label in REPORT_ROWS.items())
        totals = tuple((label, f"{number:,}") for label, number in rows)
        totals += (("Values that two or more hold", f"{one.report.matches:,}"),)
    return Operation(one.title, one.operation, PHASES[one.phase], one.phase.value, one.exercise, tuple(facts), totals)
