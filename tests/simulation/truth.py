"""What is so, in plain Python beside the program: records, their policies, the agreement, and who is entitled when.

Time is the number of the event. A party is entitled to another's value while it holds the value too, the other's policy
lets it, and their agreement has both; the oracle of I3 asks whether that is so now, or was so since some event.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from services.node.policy import Policy

NODE_CLASS: Final = "eu_state"
PARTNER_CLASS: Final = "partner"
NEVER: Final = -1

Table = dict[str, frozenset[str]]
"""Holder -> classes that it agreed to be compared with."""


@dataclass
class Record:
    """One record of one node."""

    uid: bytes
    value: str
    policy: Policy
    look_once: bool
    purpose: str
    operation: str

    @property
    def compared(self) -> bool:
        """Tell whether anybody is asked, or answered, about it."""
        return self.policy.visibility.value != "local_only"


class Wish(NamedTuple):
    """A party that would be told, as a rule of its own or as a question."""

    name: str
    party_class: str
    purpose: str
    operation: str


class Key(NamedTuple):
    """Somebody who might be told, of whom, and of what."""

    recipient: str
    holder: str
    value: str


def allows(record: Record, holder: str, wish: Wish, table: Table) -> bool:
    """Tell whether a record's policy lets a party be told (the second statement of the rule, on purpose)."""
    policy = record.policy
    if policy.visibility.value != "visible" or not agreed(holder, wish, table):
        return False
    names = {wish.name, wish.party_class}
    if names & set(policy.not_tell):
        return False
    named = set(table.get(holder, ())) if policy.tell is None else set(policy.tell)
    if policy.tlp.value == "red" or policy.handling.value == "H3":
        named = set(policy.tell or ()) & {wish.name}
    if not names & named:
        return False
    if policy.purposes and wish.purpose not in {one.value for one in policy.purposes}:
        return False
    return not policy.operations or wish.operation in policy.operations


def agreed(holder: str, wish: Wish, table: Table) -> bool:
    """Tell whether two may be compared at all."""
    if wish.party_class not in table.get(holder, ()):
        return False
    return wish.party_class == PARTNER_CLASS or NODE_CLASS in table.get(wish.name, ())


@dataclass
class Truth:
    """All nodes' records."""

    names: tuple[str, ...]
    tables: list[Table]
    """Agreements that somebody holds; the last one is the newest."""
    now: int = 0
    records: dict[str, dict[bytes, Record]] = field(default_factory=dict)
    changed: dict[tuple[str, str], int] = field(default_factory=dict)
    """Node and value -> the last event that changed what it holds of it."""
    ghosts: set[tuple[str, str]] = field(default_factory=set)
    """Node and value of which a restore lost a record: whoever was told of that was told for good."""
    _last: dict[Key, int] = field(default_factory=dict)
    _entitled: set[Key] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.records = {name: {} for name in self.names}

    def put(self, name: str, record: Record) -> None:
        """Add a record."""
        self.records[name][record.uid] = record
        self.touch(name, [record.value])

    def touch(self, name: str, values: Iterable[str]) -> None:
        """Note that what a node holds of values is another now."""
        for value in values:
            self.changed[name, value] = self.now
        self.refresh()

    def withdraw(self, name: str, uid: bytes) -> None:
        """Take a record away."""
        record = self.records[name].pop(uid)
        self.touch(name, [record.value])

    def restore(self, name: str, held: Iterable[bytes]) -> None:
        """Keep of a node's records those that its backup holds."""
        kept = set(held)
        lost = [record for uid, record in self.records[name].items() if uid not in kept]
        self.ghosts.update((name, record.value) for record in lost)
        self.records[name] = {uid: record for uid, record in self.records[name].items() if uid in kept}
        self.disturb(name)

    def disturb(self, name: str) -> None:
        """Note that a node may have forgotten what it answered."""
        self.touch(name, {value for _, value in self.changed})

    def refresh(self) -> None:
        """Compute who is entitled now, after anything has changed."""
        values = {record.value for held in self.records.values() for record in held.values()}
        now = {
            Key(one, two, value)
            for one, two in itertools.permutations(self.names, 2)
            for value in values
            if any(self.entitled(one, two, value, table) for table in self.tables)
        }
        for key in self._entitled | now:
            self._last[key] = self.now
        self._entitled = now

    def entitled(self, recipient: str, holder: str, value: str, table: Table, *, kept: bool = False) -> bool:
        """Tell whether a node is to be told of another's value.

        Args:
            recipient: Holds it too.
            holder: Whose record it is.
            value: Canonical.
            table: The agreement.
            kept: Whether only records count that stay to be found.
        """
        theirs = self.live(holder, value, kept=kept)
        wishes = {
            Wish(recipient, NODE_CLASS, one.purpose, one.operation) for one in self.live(recipient, value, kept=kept)
        }
        return any(allows(record, holder, wish, table) for record in theirs for wish in wishes)

    def live(self, name: str, value: str, *, kept: bool = False) -> list[Record]:
        """Return the records of a value that are compared."""
        held = [one for one in self.records[name].values() if one.value == value and one.compared]
        return [one for one in held if not kept or not one.look_once]

    def lets(self, holder: str, value: str, wish: Wish, *, kept: bool = True) -> bool:
        """Tell whether a question finds something that may be told, by the newest agreement."""
        return any(allows(one, holder, wish, self.tables[-1]) for one in self.live(holder, value, kept=kept))

    def last_entitled(self, recipient: str, holder: str, value: str) -> int:
        """Return the last event at which a node was entitled; now, where it is."""
        key = Key(recipient, holder, value)
        return self.now if key in self._entitled else self._last.get(key, NEVER)

    def unchanged(self, name: str, value: str, since: int) -> bool:
        """Tell whether a node holds of a value what it held at an event."""
        return self.changed.get((name, value), NEVER) <= since

    def policies(self, name: str) -> Mapping[bytes, str]:
        """Return what a node's store must say."""
        return {uid: record.policy.content() for uid, record in self.records[name].items()}
