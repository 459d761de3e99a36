"""Why a search may be made: the justification that every tokenisation, check, sweep and query carries (I5).

It holds everything that regulation (EU) 2024/982, article 33, asks for. Its hash with a fresh salt goes into signed
requests and logs; the justification itself stays with the party. A node's case profile is one with more in it.

Example:
    >>> justification = load_justification(Path("case.toml"), Justification, today=date(2026, 11, 24))
    >>> digest = justification.justification_hash(salt)
"""

from __future__ import annotations

import hashlib
import json
import re
import tomllib
from datetime import date, datetime
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Final, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, StringConstraints, ValidationError

from concordat.errors import InputError
from concordat.tokens import length_prefixed
from concordat.vocabulary import Aim, Offence, Purpose, SubjectCategory, Word, parse_word, words

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


def word_field(vocabulary: type[Word]) -> Callable[[Any], Word]:
    """Return a reader of one closed word, for a pydantic field."""

    def read(value: Any) -> Word:
        found = parse_word(vocabulary, value) if isinstance(value, str) else None
        if found is None:
            raise ValueError(f"write one of: {words(vocabulary)}")
        return found

    return read


def _date(value: Any) -> date:
    if isinstance(value, date) and not isinstance(value, datetime):
        return value
    try:
        return date.fromisoformat(value)
    except (TypeError, ValueError) as error:
        raise ValueError("write a date such as 2026-11-24") from error


Day = Annotated[date, BeforeValidator(_date)]


class Step(StrEnum):
    """What is asked for with a justification."""

    EVALUATE = "evaluate"
    CHECK = "check"
    QUERY = "query"
    CHARTER = "charter"


def justification_salt(key: SigningKey, step: Step, name: bytes) -> bytes:
    """Return the salt of one request's justification hash, 16 bytes.

    Only the party can make it, and can make it again to open the hash in an audit; nothing is stored.

    Args:
        key: The party's.
        step: What is asked for.
        name: What names the request in the other side's log.
    """
    signed = key.sign(SALT_DOMAIN, length_prefixed(step.encode(), name))
    return hashlib.sha256(signed).digest()[:SALT_BYTES_AT_LEAST]


def opening_salts(key: SigningKey, name: bytes) -> list[bytes]:
    """Return the salts that the hash of a named request may have been made with, one a step."""
    return [justification_salt(key, step, name) for step in Step]


def read_name(request: str) -> bytes:
    """Return what names a request in another side's log: an id in hexadecimal, or an operation's id as it is."""
    try:
        return bytes.fromhex(request)
    except ValueError:
        return request.encode()


def read_digest(digest: str) -> bytes:
    """Return a justification hash that was typed.

    Raises:
        InputError: It is not hexadecimal.
    """
    try:
        return bytes.fromhex(digest)
    except ValueError as error:
        raise InputError("the justification hash is hexadecimal") from error


class Justification(BaseModel):
    """Why a search may be made."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    reference: Text
    """Reference of the case in the authority's own file system."""
    authority: Text
    """Authority that leads the case."""
    officer: Text
    """Pseudonym of the officer who answers for the search; the authority can resolve it."""
    purpose: Annotated[Purpose, BeforeValidator(word_field(Purpose))]
    offence: Annotated[Offence, BeforeValidator(word_field(Offence))] | None = None
    """Offence; may be left out only when the purpose is a missing person or human remains."""
    offence_code: Text | None = None
    """Article of the national law, as the authority writes it."""
    subject_category: Annotated[SubjectCategory, BeforeValidator(word_field(SubjectCategory))]
    aim: Annotated[Aim, BeforeValidator(word_field(Aim))]
    valid_until: Day
    """Last day on which the case justifies searches."""
    TITLE: ClassVar[str] = "Justification"
    """How messages call the file."""
    MADE_BY: ClassVar[str] = "concordat partner justification FILE"
    """The command that writes a template of the file."""
    NOT_HASHED: ClassVar[frozenset[str]] = frozenset()
    """Fields of a subclass that are no part of the justification."""

    def __repr__(self) -> str:
        # Case, officer and offence belong into no log and no traceback.
        return f"{type(self).__name__}(valid_until={self.valid_until.isoformat()})"

    def justification_bytes(self) -> bytes:
        """Return the justification as canonical JSON: sorted keys, no blanks, UTF-8, fields without value left out."""
        fields = self.model_dump(mode="json", exclude=set(self.NOT_HASHED), exclude_none=True)
        return json.dumps(fields, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()

    def justification_hash(self, salt: bytes) -> bytes:
        """Return the 32 bytes that stand for the justification in requests and logs.

        `salt` is fresh for each request, so that equal justifications do not show as equal; at least 16 bytes.
        """
        if len(salt) < SALT_BYTES_AT_LEAST:
            raise ValueError(f"a salt has at least {SALT_BYTES_AT_LEAST} bytes")
        return hashlib.sha256(JUSTIFICATION_DOMAIN + length_prefixed(salt) + self.justification_bytes()).digest()


_NO_OFFENCE_NEEDED: Final = frozenset({Purpose.MISSING_PERSON, Purpose.HUMAN_REMAINS})
J = TypeVar("J", bound=Justification)


def load_justification(path: Path, model: type[J], *, today: date) -> J:
    """Return the justification in a TOML file, valid on `today`.

    Raises:
        InputError: `justification_missing` where a field of the justification is missing, `expired` where the case is
            over, else `bad_input`; every message names the field and says what to write.
    """
    return parse_justification(_read(path, model), model, today=today)


def parse_justification(text: str, model: type[J], *, today: date) -> J:
    """Return the justification that the text of a TOML file holds; see `load_justification`."""
    try:
        fields = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        # Of the parser's message only the place is shown: the rest may quote what stands in the file.
        place = _PLACE.search(str(error))
        where = f" at line {place[1]}" if place else ""
        raise InputError(f"The {model.TITLE.lower()} is no TOML{where}; compare it with a new template.") from error
    try:
        found = model.model_validate(fields)
    except ValidationError as error:
        raise _explained(error, model) from error
    require_valid(found, today=today)
    return found


def _read(path: Path, model: type[Justification]) -> str:
    title = model.TITLE.lower()
    try:
        with path.open("rb") as handle:
            data = handle.read(CASE_FILE_BYTES + 1)
        if len(data) > CASE_FILE_BYTES:
            raise InputError(f"The {title} has more than {CASE_FILE_BYTES} bytes.", code="too_large")
        return data.decode("utf-8-sig").replace("\r\n", "\n")
    except OSError as error:
        why = "there is no such file" if isinstance(error, FileNotFoundError) else f"cannot be read ({error.strerror})"
        raise InputError(f"{path}: {why}; a {title} is made with: {model.MADE_BY}") from error
    except UnicodeDecodeError as error:
        raise InputError(f"The {title} is not UTF-8; save it as UTF-8.") from error


def write_template(file: Path, text: str) -> None:
    """Write a new template, and overwrite nothing.

    Raises:
        InputError: The file is there already, or cannot be written.
    """
    try:
        with file.open("x", encoding="utf-8") as handle:
            handle.write(text)
    except FileExistsError as error:
        raise InputError(f"{file}: is there already and was not overwritten") from error
    except OSError as error:
        raise InputError(f"{file}: cannot be written ({error.strerror})") from error


def require_valid(found: Justification, *, today: date) -> None:
    """Refuse a justification that justifies nothing today.

    Raises:
        InputError: `expired`, or `justification_missing` where its purpose needs an offence.
    """
    if found.offence is None and found.purpose not in _NO_OFFENCE_NEEDED:
        message = f"{found.TITLE}, field 'offence': is missing; write one of: {words(Offence)}."
        raise InputError(message, code="justification_missing")
    if found.valid_until < today:
        message = f"{found.TITLE}, field 'valid_until': the case is over; prolong it there, if it was prolonged."
        raise InputError(message, code="expired")


def _explained(error: ValidationError, model: type[Justification]) -> InputError:
    """Return the first thing that is wrong, by field and with what to do; never with the value."""
    first = min(error.errors(include_url=False, include_input=False), key=lambda item: item["type"] != "missing")
    name = ".".join(str(part) for part in first["loc"]) or "the file"
    if first["type"] == "missing":
        message = f"{model.TITLE}, field '{name}': is missing; write it as the template shows."
        return InputError(message, code="justification_missing")
    if first["type"] == "extra_forbidden":
        known = ", ".join(model.model_fields)
        return InputError(f"{model.TITLE}: a field is unknown; the fields are {known}.")
    hint = str(first.get("ctx", {}).get("error", first["msg"]))
    return InputError(f"{model.TITLE}, field '{name}': {hint}.")
