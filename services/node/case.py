"""The case profile: a TOML file that says why a search may be made, and what its records have by default.

No identifier is tokenised without it (I5). Its justification (everything that regulation (EU) 2024/982, article 33,
asks for) is hashed with a fresh salt; the hash goes into signed requests and logs, the profile itself stays at the
node.

Example:
    >>> case = load_case(Path("case.toml"), today=date(2026, 11, 24))
    >>> digest = case.justification_hash(salt)
"""

from __future__ import annotations

import hashlib
import json
import re
import tomllib
from datetime import date, datetime
from typing import TYPE_CHECKING, Annotated, Any, Final

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, StringConstraints, ValidationError

from concordat.errors import InputError
from concordat.tokens import length_prefixed
from services.node.record import RowDefaults
from services.node.vocabulary import (
    Aim,
    Handling,
    InformationEvaluation,
    Offence,
    Purpose,
    SourceEvaluation,
    SubjectCategory,
    Word,
    parse_region,
    parse_word,
    words,
)

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from concordat.identity.keys import SigningKey

JUSTIFICATION_DOMAIN: Final = b"concordat/v1/justification\0"
SALT_BYTES_AT_LEAST: Final = 16
SALT_DOMAIN: Final = "justification-salt"
CASE_FILE_BYTES: Final = 64 * 1024
_PLACE: Final = re.compile(r"at line (\d+)")

Text = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=200)]


def _word(vocabulary: type[Word]) -> Callable[[Any], Word]:
    def read(value: Any) -> Word:
        found = parse_word(vocabulary, value) if isinstance(value, str) else None
        if found is None:
            raise ValueError(f"write one of: {words(vocabulary)}")
        return found

    return read


def _region(value: Any) -> str:
    found = parse_region(value) if isinstance(value, str) else None
    if found is None:
        raise ValueError("write a two-letter country code such as NL")
    return found


def _date(value: Any) -> date:
    if isinstance(value, date) and not isinstance(value, datetime):
        return value
    try:
        return date.fromisoformat(value)
    except (TypeError, ValueError) as error:
        raise ValueError("write a date such as 2026-11-24") from error


Region = Annotated[str, BeforeValidator(_region)]
Day = Annotated[date, BeforeValidator(_date)]


class CaseDefaults(BaseModel):
    """What a record of the case has where neither its row nor the command line says it."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    region: Region | None = None
    """Country in which national phone numbers are read."""
    keep_until: Day | None = None
    """Day after which a record is to be deleted; the end of the case where it is not given."""
    handling: Annotated[Handling, BeforeValidator(_word(Handling))] = Handling.H0
    source_evaluation: Annotated[SourceEvaluation, BeforeValidator(_word(SourceEvaluation))] = SourceEvaluation.X
    information_evaluation: Annotated[InformationEvaluation, BeforeValidator(_word(InformationEvaluation))] = (
        InformationEvaluation.FOUR
    )


def justification_salt(key: SigningKey, step: str, name: bytes) -> bytes:
    """Return the salt of one request's justification hash, 16 bytes.

    Only the party can make it, and can make it again to open the hash in an audit; nothing is stored.

    Args:
        key: The party's.
        step: What is asked for, such as `evaluate`.
        name: What names the request in the other side's log.
    """
    signed = key.sign(SALT_DOMAIN, length_prefixed(step.encode(), name))
    return hashlib.sha256(signed).digest()[:SALT_BYTES_AT_LEAST]


class CaseProfile(BaseModel):
    """Why a search may be made; the fields of `defaults` are no part of the justification."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    reference: Text
    """Reference of the case in the authority's own file system."""
    authority: Text
    """Authority that leads the case."""
    officer: Text
    """Pseudonym of the officer who answers for the search; the authority can resolve it."""
    purpose: Annotated[Purpose, BeforeValidator(_word(Purpose))]
    offence: Annotated[Offence, BeforeValidator(_word(Offence))] | None = None
    """Offence; may be left out only when the purpose is a missing person or human remains."""
    offence_code: Text | None = None
    """Article of the national law, as the authority writes it."""
    subject_category: Annotated[SubjectCategory, BeforeValidator(_word(SubjectCategory))]
    aim: Annotated[Aim, BeforeValidator(_word(Aim))]
    valid_until: Day
    """Last day on which the case justifies searches."""
    defaults: CaseDefaults = Field(default_factory=CaseDefaults)

    def __repr__(self) -> str:
        # Case, officer and offence belong into no log and no traceback.
        return f"CaseProfile(valid_until={self.valid_until.isoformat()})"

    def justification_bytes(self) -> bytes:
        """Return the justification as canonical JSON: sorted keys, no blanks, UTF-8, fields without value left out."""
        fields = self.model_dump(mode="json", exclude={"defaults"}, exclude_none=True)
        return json.dumps(fields, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()

    def justification_hash(self, salt: bytes) -> bytes:
        """Return the 32 bytes that stand for the justification in requests and logs.

        `salt` is fresh for each request, so that equal justifications do not show as equal; at least 16 bytes.
        """
        if len(salt) < SALT_BYTES_AT_LEAST:
            raise ValueError(f"a salt has at least {SALT_BYTES_AT_LEAST} bytes")
        return hashlib.sha256(JUSTIFICATION_DOMAIN + length_prefixed(salt) + self.justification_bytes()).digest()

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


_NO_OFFENCE_NEEDED: Final = frozenset({Purpose.MISSING_PERSON, Purpose.HUMAN_REMAINS})


def load_case(path: Path, *, today: date) -> CaseProfile:
    """Return the case profile in a TOML file, valid on `today`.

    Raises:
        InputError: `justification_missing` where a field of the justification is missing, `expired` where the case is
            over, else `bad_input`; every message names the field and says what to write.
    """
    return parse_case(_read(path), today=today)


def parse_case(text: str, *, today: date) -> CaseProfile:
    """Return the case profile that the text of a TOML file holds; see `load_case`."""
    try:
        fields = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        # Of the parser's message only the place is shown: the rest may quote what stands in the file.
        place = _PLACE.search(str(error))
        where = f" at line {place[1]}" if place else ""
        raise InputError(f"The case profile is no TOML{where}; compare it with a new template.") from error
    try:
        case = CaseProfile.model_validate(fields)
    except ValidationError as error:
        raise _explained(error) from error
    _check(case, today)
    return case


def _read(path: Path) -> str:
    try:
        with path.open("rb") as handle:
            data = handle.read(CASE_FILE_BYTES + 1)
        if len(data) > CASE_FILE_BYTES:
            raise InputError(f"The case profile has more than {CASE_FILE_BYTES} bytes.", code="too_large")
        return data.decode("utf-8-sig").replace("\r\n", "\n")
    except OSError as error:
        why = "there is no such file" if isinstance(error, FileNotFoundError) else f"cannot be read ({error.strerror})"
        hint = "a case profile is made with: concordat node case new FILE"
        raise InputError(f"{path}: {why}; {hint}") from error
    except UnicodeDecodeError as error:
        raise InputError("The case profile is not UTF-8; save it as UTF-8.") from error


def _check(case: CaseProfile, today: date) -> None:
    if case.offence is None and case.purpose not in _NO_OFFENCE_NEEDED:
        message = f"Case profile, field 'offence': is missing; write one of: {words(Offence)}."
        raise InputError(message, code="justification_missing")
    if case.valid_until < today:
        message = "Case profile, field 'valid_until': the case is over; prolong it there, if it was prolonged."
        raise InputError(message, code="expired")
    keep_until = case.defaults.keep_until
    if keep_until is not None and keep_until < today:
        message = "Case profile, field 'defaults.keep_until': the day is past; write a later one or leave it out."
        raise InputError(message, code="expired")


def _explained(error: ValidationError) -> InputError:
    """Return the first thing that is wrong, by field and with what to do; never with the value."""
    first = min(error.errors(include_url=False, include_input=False), key=lambda item: item["type"] != "missing")
    name = ".".join(str(part) for part in first["loc"]) or "the file"
    if first["type"] == "missing":
        message = f"Case profile, field '{name}': is missing; write it as the template shows."
        return InputError(message, code="justification_missing")
    if first["type"] == "extra_forbidden":
        known = ", ".join(CaseProfile.model_fields)
        return InputError(f"Case profile: a field is unknown; the fields are {known}.")
    hint = str(first.get("ctx", {}).get("error", first["msg"]))
    return InputError(f"Case profile, field '{name}': {hint}.")


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

# What a record has where its line in the file does not say it. All of these may be left out.
[defaults]
# Country in which national phone numbers are read; without it, that of your node.
# region = "NL"
# Day after which records are to be deleted; without it, the last day of the case.
# keep_until = {valid_until}
# H0 combat crime only, H1 not in court, H2 no dissemination, H3 other restrictions.
handling = "H0"
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
