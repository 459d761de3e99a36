"""The case profile: a TOML file that says why a search may be made, and what its records have by default.

No identifier is tokenised without it (I5). Its justification is hashed with a fresh salt; the hash goes into signed
requests and logs, the profile itself stays at the node.

Example:
    >>> case = load_case(Path("case.toml"), today=date(2026, 11, 24))
    >>> digest = case.justification_hash(salt)
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Final

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, StringConstraints

from concordat.errors import InputError
from concordat.justification import Day, Justification, load_justification, parse_justification, word_field
from concordat.vocabulary import (
    Handling,
    InformationEvaluation,
    Offence,
    Purpose,
    SourceEvaluation,
    SubjectCategory,
    Tlp,
    Visibility,
    parse_region,
    words,
)
from services.node.policy import MAX_NAMES
from services.node.record import RowDefaults, Sharing

if TYPE_CHECKING:
    from datetime import date
    from pathlib import Path


def _region(value: Any) -> str:
    found = parse_region(value) if isinstance(value, str) else None
    if found is None:
        raise ValueError("write a two-letter country code such as NL")
    return found


Region = Annotated[str, BeforeValidator(_region)]


Names = Annotated[
    tuple[Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9._-]{1,64}$")], ...], Field(max_length=MAX_NAMES)
]


class CaseDefaults(BaseModel):
    """What a record of the case has where neither its row nor the command line says it."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    region: Region | None = None
    """Country in which national phone numbers are read."""
    keep_until: Day | None = None
    """Day after which a record is to be deleted; the end of the case where it is not given."""
    handling: Annotated[Handling, BeforeValidator(word_field(Handling))] = Handling.H0
    source_evaluation: Annotated[SourceEvaluation, BeforeValidator(word_field(SourceEvaluation))] = SourceEvaluation.X
    information_evaluation: Annotated[InformationEvaluation, BeforeValidator(word_field(InformationEvaluation))] = (
        InformationEvaluation.FOUR
    )
    visibility: Annotated[Visibility, BeforeValidator(word_field(Visibility))] | None = None
    """Visible, silent or local only; visible where it is not given."""
    tlp: Annotated[Tlp, BeforeValidator(word_field(Tlp))] | None = None
    tell: Names | None = None
    """Parties and classes that may be told; the classes of this node's row of the opt-in table without it."""
    not_tell: Names | None = None
    purposes: tuple[Annotated[Purpose, BeforeValidator(word_field(Purpose))], ...] | None = None
    """Purposes of the party that would be told; any without it."""
    operations: Names | None = None

    def sharing(self) -> Sharing:
        """Return who may be told, as a record takes it over."""
        return Sharing(self.visibility, self.tlp, self.tell, self.not_tell, self.purposes, self.operations)


class CaseProfile(Justification):
    """A justification, and what the records of its case have by default."""

    TITLE: ClassVar[str] = "Case profile"
    MADE_BY: ClassVar[str] = "concordat node case new FILE"
    NOT_HASHED: ClassVar[frozenset[str]] = frozenset({"defaults", "named_parties"})

    named_parties: Names = ()
    """Parties named in the case: they alone may be told of its victims and witnesses by default."""
    defaults: CaseDefaults = Field(default_factory=CaseDefaults)

    def left_from_template(self) -> tuple[str, ...]:
        """Return the names of the fields that still hold what a new template holds."""
        return tuple(name for name, example in _EXAMPLES.items() if getattr(self, name) == example)

    def row_defaults(self) -> RowDefaults:
        """Return what rows of a file submitted to this case have where the file says nothing."""
        return RowDefaults(
            region=self.defaults.region,
            keep_until=self.defaults.keep_until or self.valid_until,
            handling=self.defaults.handling,
            source_evaluation=self.defaults.source_evaluation,
            information_evaluation=self.defaults.information_evaluation,
        )


def load_case(path: Path, *, today: date) -> CaseProfile:
    """Return the case profile in a TOML file, valid on `today`.

    Raises:
        InputError: As `load_justification`, or `expired` for records that are to be deleted on a day that is past.
    """
    return _checked(load_justification(path, CaseProfile, today=today), today)


def parse_case(text: str, *, today: date) -> CaseProfile:
    """Return the case profile that the text of a TOML file holds; see `load_case`."""
    return _checked(parse_justification(text, CaseProfile, today=today), today)


def _checked(case: CaseProfile, today: date) -> CaseProfile:
    keep_until = case.defaults.keep_until
    if keep_until is not None and keep_until < today:
        message = "Case profile, field 'defaults.keep_until': the day is past; write a later one or leave it out."
        raise InputError(message, code="expired")
    return case


# What stands in a new template; whoever leaves it there has no justification of their own.
_EXAMPLES: Final = {"reference": "THB-2026-0001", "authority": "Example Police, Unit 1", "officer": "officer-17"}
_TEMPLATE: Final = """\
# Case profile of Concordat. It says why a search may be made; without it nothing leaves the node.
# Only a hash of it, with a fresh salt, goes out; the file stays here. Replace every value by that of your case.

# Reference of the case in your own file system.
reference = "{reference}"

# Authority that leads the case, and the pseudonym of the officer who answers for the search.
authority = "{authority}"
officer = "{officer}"

# Why: {purposes}
purpose = "investigation"

# What: {offences}
# May be left out only for a missing person or human remains.
offence = "trafficking_in_human_beings"

# Article of your national law, if you want it on record.
# offence_code = "Section 1"

# About whom: {subjects}
subject_category = "suspect_or_convicted"

# What the search shall bring: identify (who is it) or more_data (more on somebody who is known).
aim = "identify"

# Last day of the case. After it nothing is asked any more. (This version deletes no record by itself.)
valid_until = {valid_until}

# Parties named in the case: they alone are told of its victims and witnesses, if no line says otherwise.
# named_parties = ["DE"]

# What a record has where its line in the file does not say it. All of these may be left out.
[defaults]
# Country in which national phone numbers are read; without it, that of your node.
# region = "NL"
# Day after which records are to be deleted; without it, the last day of the case.
# keep_until = {valid_until}
# H0 combat crime only, H1 not in court, H2 no dissemination, H3 other restrictions (only parties that `tell` names).
handling = "H0"
# Who may be told of a record: visible (who may be told is), silent (you are told, others are not), local_only.
# visibility = "visible"
# Parties and classes that may be told; without it, the classes that your node has opted in for.
# tell = ["eu_state", "IJM"]
# not_tell = ["third_country"]
# Of TLP red records only parties are told that `tell` names: red, amber_strict, amber, green, clear.
# tlp = "amber"
# Only who has one of these purposes is told, or takes part in one of these operations.
# purposes = ["investigation"]
# operations = ["EMPACT-2026"]
# Source: A reliable, B mostly, C mostly not, X cannot be assessed.
# Information: 1 certain, 2 known to the source, 3 hearsay but corroborated, 4 cannot be assessed.
source_evaluation = "X"
information_evaluation = "4"
"""


def template(valid_until: date) -> str:
    """Return the text of a new case profile that explains itself and that `load_case` takes."""
    return _TEMPLATE.format(
        **_EXAMPLES,
        purposes=words(Purpose),
        offences=words(Offence),
        subjects=words(SubjectCategory),
        valid_until=valid_until.isoformat(),
    )
