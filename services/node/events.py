"""What the running node tells the person or program that started it: one line an event, without any identifier."""

from __future__ import annotations

import json
import sys
import threading
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Final, TextIO

if TYPE_CHECKING:
    from collections.abc import Sequence


@dataclass(frozen=True, slots=True)
class Attached:
    """The session is up and the plane complete."""

    gateway: str


@dataclass(frozen=True, slots=True)
class Detached:
    """The session ended; `code` is one of the catalogue's."""

    code: str
    reason: str


@dataclass(frozen=True, slots=True)
class Waiting:
    """Work waits, for instance for custodians; an empty reason says that it goes on."""

    what: str
    reason: str


@dataclass(frozen=True, slots=True)
class Told:
    """A match shows: its handle, the other party, namespace and grade, and nothing of what matched."""

    handle: str
    other: str
    namespace: str
    grade: str
    asked: bool
    look_once: bool
    common: str = ""
    """Why the value is a common one, which is no news (`concordat.canon.common_values`); empty for any other."""
    exercise: str = ""
    """The exercise that it is of; empty for a real one."""


@dataclass(frozen=True, slots=True)
class PartyRefused:
    """An edge was refused, and the party whose proof was wrong or missing is named."""

    other: str
    reason: str


@dataclass(frozen=True, slots=True)
class EdgeVoided:
    """An edge that was shown is void."""

    other: str


@dataclass(frozen=True, slots=True)
class EdgeWithdrawn:
    """The other side of a match has withdrawn its value; what it disclosed is to be corrected or deleted (LB-22)."""

    other: str


@dataclass(frozen=True, slots=True)
class FeedbackHeard:
    """The other side of a match says that it is none, with a word of `concordat.vocabulary.FalseHit`."""

    other: str
    reason: str


@dataclass(frozen=True, slots=True)
class CheckFailed:
    """The gateway did not take a check, or gave no certificate; its values stay pending."""

    code: str


@dataclass(frozen=True, slots=True)
class CaseEnded:
    """The case behind a batch is over, and nobody is asked about it any more."""

    batch: int


@dataclass(frozen=True, slots=True)
class SweepDone:
    """This node's part in a sweep is done; an empty code means that all went well."""

    operation: str
    code: str


Event = (
    Attached
    | Detached
    | Waiting
    | Told
    | PartyRefused
    | EdgeVoided
    | EdgeWithdrawn
    | FeedbackHeard
    | CheckFailed
    | CaseEnded
    | SweepDone
)

_NAMES: Final[dict[type, str]] = {
    Attached: "attached",
    Detached: "detached",
    Waiting: "waiting",
    Told: "told",
    PartyRefused: "party_refused",
    EdgeVoided: "edge_voided",
    EdgeWithdrawn: "edge_withdrawn",
    FeedbackHeard: "feedback_heard",
    CheckFailed: "check_failed",
    CaseEnded: "case_ended",
    SweepDone: "sweep_done",
}


_SENTENCES: Final[dict[type, str]] = {
    Attached: "attached to {gateway}",
    Detached: "detached ({code}): {reason}",
    PartyRefused: "refused an edge of {other}: {reason}",
    EdgeVoided: "a match with {other} is void",
    EdgeWithdrawn: "{other} has withdrawn its side of a match",
    FeedbackHeard: "{other} says that a match is none: {reason}",
    CheckFailed: "a check failed ({code}) and will be repeated",
    CaseEnded: "batch {batch}: its case is over; nobody is asked about it any more",
}


# Takes events of one node, from any thread.
EventSink = Callable[[Event], object]


class EventWriter:
    """Writes the events of all nodes of a process, as JSON lines or as text for people."""

    def __init__(self, *, json_output: bool, stream: TextIO | None = None) -> None:
        self._json = json_output
        self._stream = sys.stdout if stream is None else stream
        self._turn = threading.Lock()

    def sink(self, node: str) -> EventSink:
        """Return where one node's events go; `node` is its short name."""

        def take(event: Event) -> None:
            self._write(as_json(node, event) if self._json else f"{node}: {as_text(event)}")

        return take

    def ready(self, nodes: Sequence[str]) -> None:
        """Say that all nodes of this process run."""
        line = json.dumps({"ready": True, "nodes": list(nodes)}) if self._json else f"running: {', '.join(nodes)}"
        self._write(line)

    def _write(self, line: str) -> None:
        with self._turn:
            print(line, file=self._stream, flush=True)


def as_json(node: str, event: Event) -> str:
    """Return an event as one line of JSON."""
    return json.dumps({"event": _NAMES[type(event)], "node": node, **asdict(event)}, ensure_ascii=False)


def as_text(event: Event) -> str:
    """Return an event as a sentence."""
    match event:
        case Told(exercise=exercise) if exercise:
            return f"EXERCISE {exercise}: {as_text(replace(event, exercise=''))}"
        case Told(handle, other, namespace, common=common) if common:
            return f"{handle}, {namespace}, {common}: {other} has it too"
        case Told(handle, other, namespace, grade, _, look_once):
            return f"match {handle} with {other}: {namespace}, {grade}{', looked once' if look_once else ''}"
        case Waiting(what, reason):
            return f"{what}: waiting, {reason}" if reason else f"{what}: goes on"
        case SweepDone(operation, code):
            return f"sweep of operation {operation} {f'failed ({code})' if code else 'done'}"
        case _:
            return _SENTENCES[type(event)].format(**asdict(event))
