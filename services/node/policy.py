"""Who may be told of a record: its policy, and what follows from it for each other party (docs/protocol.md 3.4).

The provider decides (Europol Reg. 19(2) and 20(2); LB-09, LB-24), and its decision works alike in every order: as a
holder that is asked, as an asker whose question finds something, and in a sweep. Purpose and operation are those of
the party that would be told (LB-23).

    policy = Policy(tell=("eu_state", "IJM"), purposes=(Purpose.INVESTIGATION,))
    may_tell(policy, party, own=own, manifest=manifest, about=About(purpose="investigation", operation=""))
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Final, NamedTuple

from pydantic import BaseModel, ConfigDict, Field

from concordat.identity.manifest import PartyClass
from concordat.vocabulary import Handling, Purpose, Role, Tlp, Visibility

if TYPE_CHECKING:
    from concordat.identity.manifest import Manifest, Party

MAX_NAMES: Final = 128
PROTECTED_ROLES: Final = frozenset({Role.VICTIM, Role.POTENTIAL_VICTIM, Role.WITNESS})
"""Roles whose records are silent by default, and outside the Union are told of with a second person only."""
OUTSIDE_UNION: Final = frozenset({PartyClass.THIRD_COUNTRY, PartyClass.INTERNATIONAL_ORGANISATION, PartyClass.PARTNER})
_NAMED_ONLY: Final = frozenset({Tlp.RED})


class About(NamedTuple):
    """What a party's record or question is about: the purpose of its case, and its operation or '' for none."""

    purpose: str
    operation: str


class Policy(BaseModel):
    """Who may be told of a record."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    visibility: Visibility = Visibility.VISIBLE
    handling: Handling = Handling.H0
    tlp: Tlp = Tlp.AMBER
    tell: tuple[str, ...] | None = Field(default=None, max_length=MAX_NAMES)
    """Short names of parties, and classes; None stands for the classes of this node's row of the opt-in table."""
    not_tell: tuple[str, ...] = Field(default=(), max_length=MAX_NAMES)
    """Names and classes that may not be told, whatever `tell` says."""
    purposes: tuple[Purpose, ...] = ()
    """Purposes of the party that would be told; empty means any."""
    operations: tuple[str, ...] = Field(default=(), max_length=MAX_NAMES)
    """Operations of the party that would be told; empty means any, and standing work."""
    approved_by: str = Field(default="", max_length=200)
    """Pseudonym of the second person, where one was needed; empty else. Two policies that differ in it differ."""

    def content(self) -> str:
        """Return canonical JSON: equal policies have equal content."""
        fields = self.model_dump(mode="json", exclude_none=True)
        for name in ("tell", "not_tell", "purposes", "operations"):
            if name in fields:
                fields[name] = sorted(set(fields[name]))
        return json.dumps(fields, sort_keys=True, separators=(",", ":"), ensure_ascii=False)

    @classmethod
    def of(cls, content: str) -> Policy:
        """Read what `content` wrote."""
        return cls.model_validate_json(content)

    @property
    def compared(self) -> bool:
        """Tell whether the record is compared with others at all."""
        return self.visibility is not Visibility.LOCAL_ONLY


LOCAL_ONLY: Final = Policy(visibility=Visibility.LOCAL_ONLY)
SILENT: Final = Policy(visibility=Visibility.SILENT)
DEFAULT: Final = Policy()


def may_tell(policy: Policy, party: Party, *, own: Party, manifest: Manifest, about: About) -> bool:
    """Tell whether a party may be told of a record of this node's.

    Args:
        policy: Of the record.
        party: Who would be told.
        own: This node's own row of the manifest.
        manifest: In force.
        about: Purpose and operation of the party's own record or question.
    """
    if not reaches(policy, party, own=own, manifest=manifest):
        return False
    if policy.purposes and about.purpose not in policy.purposes:
        return False
    return not policy.operations or about.operation in policy.operations


def reaches(policy: Policy, party: Party, *, own: Party, manifest: Manifest) -> bool:
    """Tell whether a party may be told for some purpose and operation."""
    if policy.visibility is not Visibility.VISIBLE or party.id == own.id or not manifest.agreed(own, party):
        return False
    fits = {party.name, party.party_class.value}
    if fits & set(policy.not_tell):
        return False
    if policy.tlp in _NAMED_ONLY or policy.handling is Handling.H3:
        # A class names nobody.
        return party.name in (policy.tell or ())
    tell = manifest.opt_in.get(own.name, ()) if policy.tell is None else policy.tell
    return bool(fits & set(tell))


def widens(before: Policy, after: Policy, *, own: Party, manifest: Manifest) -> bool:
    """Tell whether a change lets anybody be told who might not be before, or compares what was compared with nobody.

    Then values are published and asked about anew (3.5, C6); a change that only narrows needs neither.
    """
    if after.compared and not before.compared:
        return True
    looser = not _within(after.purposes, before.purposes) or not _within(after.operations, before.operations)
    for party in manifest.parties:
        now = reaches(after, party, own=own, manifest=manifest)
        if now and (looser or not reaches(before, party, own=own, manifest=manifest)):
            return True
    return False


def _within(after: tuple[str, ...], before: tuple[str, ...]) -> bool:
    """Tell whether every word that `after` lets through `before` let through; no words let everything through."""
    return not before or (bool(after) and set(after) <= set(before))


def told_parties(policy: Policy, *, own: Party, manifest: Manifest) -> list[str]:
    """Return the short names of all parties that may be told for some purpose, ascending."""
    return sorted(one.name for one in manifest.parties if reaches(policy, one, own=own, manifest=manifest))


def needs_second_person(policy: Policy, role: Role, *, own: Party, manifest: Manifest) -> bool:
    """Tell whether a policy would tell somebody outside the Union of a victim or witness without an approval."""
    return role in PROTECTED_ROLES and not policy.approved_by and bool(_outside(policy, own=own, manifest=manifest))


def keeps_approval(before: Policy, after: Policy, *, own: Party, manifest: Manifest) -> bool:
    """Tell whether what was approved covers a change: it tells nobody more outside the Union, and of nothing more.

    Narrowing must not wait for a second person while the wider policy stays in force.
    """
    fewer = _outside(after, own=own, manifest=manifest) <= _outside(before, own=own, manifest=manifest)
    return fewer and _within(after.purposes, before.purposes) and _within(after.operations, before.operations)


def _outside(policy: Policy, *, own: Party, manifest: Manifest) -> frozenset[str]:
    """Return the classes and parties outside the Union that a policy lets be told, whoever is agreed today.

    The opt-in table may let more be compared later, and nobody looks at the policies again then.
    """
    if policy.visibility is not Visibility.VISIBLE:
        return frozenset()
    classes = {one.value for one in OUTSIDE_UNION} - set(policy.not_tell)
    parties = {
        one.name: one.party_class.value
        for one in manifest.parties
        if one.id != own.id and one.party_class.value in classes and one.name not in policy.not_tell
    }
    if policy.tlp in _NAMED_ONLY or policy.handling is Handling.H3:
        return frozenset(parties.keys() & set(policy.tell or ()))
    tell = classes if policy.tell is None else set(policy.tell)
    return frozenset((classes & tell) | {name for name, of_class in parties.items() if {name, of_class} & tell})
