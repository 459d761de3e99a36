"""From what a line and a case say to a record's policy: the defaults by role, and what takes a second person.

A record of a victim or witness is silent to all but the parties named in its case, is told of outside the Union only
once a second person has approved it, and is kept for the shortest time (LED 6 and 31, recital 26 for what is told of
persons who are not suspects; Pruem II 60, LB-26; LB-24).
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, timedelta
from typing import TYPE_CHECKING, Final

from concordat.errors import InputError
from concordat.identity.manifest import PartyClass
from concordat.vocabulary import Visibility
from services.node.policy import DEFAULT, OUTSIDE_UNION, PROTECTED_ROLES, Policy, needs_second_person
from services.node.record import NO_SHARING, Sharing

if TYPE_CHECKING:
    from collections.abc import Iterable

    from concordat.identity.manifest import Manifest, Party
    from services.node.case import CaseProfile
    from services.node.record import Row

PROTECTED_DAYS: Final = 90
"""Days for which a record of a protected role is kept at most."""
UNKNOWN_PARTY: Final = "party_unknown"


@dataclass(frozen=True, slots=True)
class Handled:
    """How a record is handled from now on; `proposed` waits for a second person, None where nothing does."""

    policy: Policy
    keep_until: date
    proposed: Policy | None = None


class Desk:
    """Decides for the records of one case at one node."""

    def __init__(self, case: CaseProfile, *, own: Party, manifest: Manifest, today: date) -> None:
        """Take a case.

        Raises:
            InputError: The case names a party or class that the manifest does not; the field is named.
        """
        self._case = case
        self.own = own
        self._manifest = manifest
        self._today = today
        self._known = known_names(manifest)
        defaults = case.defaults
        for field, names in (
            ("named_parties", case.named_parties),
            ("defaults.tell", defaults.tell),
            ("defaults.not_tell", defaults.not_tell),
        ):
            self._require_known(field, names or (), f"{case.TITLE}, field '{field}'")

    def handle(self, row: Row) -> Handled:
        """Return how a record is handled.

        Raises:
            InputError: The line names a party or class that the manifest does not.
        """
        for field, names in (("tell", row.sharing.tell), ("not_tell", row.sharing.not_tell)):
            self._require_known(field, names or (), f"field '{field}'")
        said = row.sharing.over(self._by_role(row)).over(self._case.defaults.sharing())
        policy = _policy(row, said)
        keep_until = self._keep_until(row)
        if not needs_second_person(policy, row.role, own=self.own, manifest=self._manifest):
            return Handled(policy, keep_until)
        return Handled(without_outside(policy), keep_until, proposed=policy)

    def _by_role(self, row: Row) -> Sharing:
        if row.role not in PROTECTED_ROLES or self._case.defaults.tell is not None:
            return NO_SHARING
        return Sharing(tell=self._case.named_parties)

    def _keep_until(self, row: Row) -> date:
        ends = [self._case.valid_until]
        if row.keep_until is not None:
            ends.append(row.keep_until)
        if row.role in PROTECTED_ROLES:
            ends.append(self._today + timedelta(days=PROTECTED_DAYS))
        return min(ends)

    def _require_known(self, field: str, names: Iterable[str], where: str) -> None:
        del field
        if any(one not in self._known for one in names):
            classes = ", ".join(sorted(one.value for one in PartyClass))
            message = f"{where}: a name is no party of the federation and no class; the classes are {classes}"
            raise InputError(message, code=UNKNOWN_PARTY)


def _policy(row: Row, said: Sharing) -> Policy:
    return Policy(
        visibility=said.visibility or Visibility.VISIBLE,
        handling=row.handling,
        tlp=said.tlp or DEFAULT.tlp,
        tell=said.tell,
        not_tell=said.not_tell or (),
        purposes=said.purposes or (),
        operations=said.operations or (),
    )


def without_outside(policy: Policy) -> Policy:
    """Return a policy that tells nobody outside the Union, until a second person has approved more."""
    outside = (one.value for one in OUTSIDE_UNION)
    return policy.model_copy(update={"not_tell": tuple(sorted({*policy.not_tell, *outside}))})


def known_names(manifest: Manifest) -> frozenset[str]:
    """Return every word that stands for parties: short names and classes."""
    return frozenset({party.name for party in manifest.parties} | {one.value for one in PartyClass})
