"""What people decide of records that are there: who may be told from now on, and what is withdrawn (3.5, 3.8).

Each decision is a line of the policy journal before the store has it. Narrowing counts for every answer after it; what
is widened is published and asked about anew. A second person has to approve what would tell somebody outside the Union
of a victim or witness (LB-26).
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Final

from concordat.canon import Context, Grade, read
from concordat.clock import MS
from concordat.errors import InputError, RefusedError
from concordat.protocol.charter import MAX_OFFICER, OPERATION_ID, folded_officer, same_officer
from concordat.vocabulary import Role, WithdrawReason
from services.node.handling import known_names
from services.node.journal import FILE_NAME, Entry, Journal, epochs_of
from services.node.policy import Policy, keeps_approval, needs_second_person, told_parties, widens
from services.node.store import policies, withdrawals
from services.node.submit import wake

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Callable, Sequence

    from concordat.canon import Kind
    from concordat.clock import Clock
    from concordat.identity.home import Home
    from concordat.identity.manifest import Party
    from services.node.store.policies import RecordRow
    from services.node.store.store import Store

SECOND_PERSON: Final = "second_person"


@dataclass(frozen=True, slots=True, kw_only=True)
class Selection:
    """Which records a decision is about; at least one condition."""

    file_name: str | None = None
    line: int | None = None
    case_reference: str | None = None
    typed: str | None = field(default=None, repr=False)
    kind: Kind | None = None
    region: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Changed:
    """What becomes, or would become, of one record."""

    record: RecordRow
    before: Policy
    after: Policy
    told_before: tuple[str, ...]
    told_after: tuple[str, ...]
    proposal: int | None = None
    """Number under which it waits for a second person; 0 in a preview; None where it needs none."""


@dataclass(frozen=True, slots=True)
class Decisions:
    """Makes decisions at one node."""

    home: Home
    store: Store
    clock: Clock

    def find(self, chosen: Selection) -> list[RecordRow]:
        """Return the live records of a selection.

        Raises:
            InputError: No condition is given, the value cannot be read, or no live record fits.
        """
        if chosen == Selection():
            raise InputError("say which records: a file, a case, a line of a file, or a value as it was typed")
        canonical: list[tuple[str, str]] = []
        if chosen.typed is not None:
            if chosen.kind is None:
                raise InputError("say what kind of identifier the value is, such as phone")
            own = self.home.manifest.party_by_id(self.home.identity)
            reading = read(chosen.kind, chosen.typed, Context(home_region=own.region or "", region=chosen.region))
            strong = (one for one in reading.values if one.grade is Grade.STRONG)
            canonical = [(one.namespace.value, one.canonical) for one in strong]
        with self.store.read() as db:
            found = policies.find_records(
                db,
                file_name=chosen.file_name,
                case_reference=chosen.case_reference,
                line=chosen.line,
                canonical=canonical,
            )
        if not found:
            raise InputError("no record of this node fits, or all that fit are withdrawn", code="no_such_record")
        return found

    def preview(self, rows: Sequence[RecordRow], edit: Callable[[Policy], Policy]) -> list[Changed]:
        """Return what `change` would do."""
        return [self._changed(row, edit(Policy.of(row.policy))) for row in rows]

    def change(self, rows: Sequence[RecordRow], edit: Callable[[Policy], Policy], *, officer: str) -> list[Changed]:
        """Give records another policy; return what became of each.

        Raises:
            InputError: The new policy names nobody that the federation knows, or the officer's name is none.
            ConfigError: The policy journal was changed.
            UnavailableError: Journal or store cannot be written; nothing was decided.
        """
        require_officer(officer)
        done = self.preview(rows, edit)
        at_ms = int(self.clock.now() * MS)
        now = [one for one in done if one.proposal is None and one.after != one.before]
        with Journal(self.home.path / FILE_NAME).changing(self.store) as change:
            change.add([_entry(one.record.uid, one.after, officer, at_ms) for one in now])
            epochs = epochs_of(change.db) or self.home.manifest.live_epochs
            for one in now:
                ask = widens(one.before, one.after, own=self._own, manifest=self.home.manifest)
                policies.set_policy(change.db, one.record.uid, one.after.content(), epochs=epochs, ask=ask)
                # Whatever waited was proposed of the policy before.
                policies.drop_proposals_of(change.db, one.record.uid)
            numbered = [one if one.proposal is None else self._propose(change.db, one, officer, at_ms) for one in done]
        wake(self.home.path)
        return numbered

    def approve(self, proposal_id: int, *, officer: str) -> None:
        """Approve a change as the second person.

        Raises:
            InputError: No such change waits, or the officer's name is none.
            RefusedError: The same officer asked for it, in any way of writing the name.
        """
        require_officer(officer)
        with Journal(self.home.path / FILE_NAME).changing(self.store) as change:
            found = next((one for one in policies.proposals(change.db) if one.id == proposal_id), None)
            if found is None:
                raise InputError("no change of this number waits; see `concordat node handling proposals`")
            if same_officer(found.officer, officer):
                raise RefusedError("a change is approved by another officer than the one who asked", code=SECOND_PERSON)
            policy = Policy.of(found.policy).model_copy(update={"approved_by": officer})
            change.add([_entry(found.uid, policy, found.officer, int(self.clock.now() * MS))])
            epochs = epochs_of(change.db) or self.home.manifest.live_epochs
            policies.set_policy(change.db, found.uid, policy.content(), epochs=epochs, ask=True)
            policies.drop_proposals_of(change.db, found.uid)
        wake(self.home.path)

    def withdraw(self, rows: Sequence[RecordRow], *, officer: str, reason: WithdrawReason) -> int:
        """Withdraw records; return how many values went with them (3.8; LB-22).

        Raises:
            InputError: The officer's name is none.
            ConfigError: The policy journal was changed.
            UnavailableError: Journal or store cannot be written; nothing was withdrawn.
        """
        require_officer(officer)
        at_ms = int(self.clock.now() * MS)
        entries = [
            Entry(what="withdraw", uid=row.uid.hex(), at_ms=at_ms, officer=officer, reason=reason) for row in rows
        ]
        with Journal(self.home.path / FILE_NAME).changing(self.store) as change:
            change.add(entries)
            ids, epochs = [row.id for row in rows], epochs_of(change.db)
            gone = withdrawals.withdraw_records(change.db, ids, reason=reason, at_ms=at_ms, epochs=epochs)
        wake(self.home.path)
        return gone

    @property
    def _own(self) -> Party:
        return self.home.manifest.party_by_id(self.home.identity)

    def _changed(self, row: RecordRow, after: Policy) -> Changed:
        manifest = self.home.manifest
        known = known_names(manifest)
        if not {*(after.tell or ()), *after.not_tell} <= known:
            raise InputError(
                "tell or not-tell: a name is no party of the federation, and no class", code="party_unknown"
            )
        if not all(OPERATION_ID.fullmatch(one) for one in after.operations):
            # They leave with each question, as a condition.
            raise InputError("operations: a name is no operation's id", code="operation_unknown")
        before = Policy.of(row.policy)
        # An approval is of one policy, and of no other that somebody makes of it, unless that only narrows it.
        kept = keeps_approval(before, after, own=self._own, manifest=manifest)
        after = after.model_copy(update={"approved_by": before.approved_by if kept else ""})
        needs = needs_second_person(after, Role(row.role), own=self._own, manifest=manifest)
        return Changed(
            record=row,
            before=before,
            after=after,
            told_before=tuple(told_parties(before, own=self._own, manifest=manifest)),
            told_after=tuple(told_parties(after, own=self._own, manifest=manifest)),
            proposal=0 if needs and after != before else None,
        )

    @staticmethod
    def _propose(db: sqlite3.Connection, one: Changed, officer: str, at_ms: int) -> Changed:
        number = policies.add_proposal(db, one.record.uid, one.after.content(), officer=officer, at_ms=at_ms)
        return replace(one, proposal=number)


def _entry(uid: bytes, policy: Policy, officer: str, at_ms: int) -> Entry:
    return Entry(what="policy", uid=uid.hex(), at_ms=at_ms, officer=officer, policy=policy)


def require_officer(officer: str) -> None:
    """Refuse a pseudonym that nobody could tell from another, or that names nobody.

    Raises:
        InputError: It is empty, too long, or has characters that do not show.
    """
    if len(officer) > MAX_OFFICER or not officer.isprintable() or not folded_officer(officer):
        raise InputError("name the officer who decides by a pseudonym that can be read, such as officer-17")
