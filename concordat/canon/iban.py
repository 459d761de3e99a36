"""IBAN: compact, upper case. A wrong checksum is kept and noted: a typing error is evidence too."""

from __future__ import annotations

import re
from typing import Final

from concordat.canon.model import Namespace, Reading, strong_first
from concordat.canon.text import unwrap
from concordat.errors import InputError

_BEGINNING: Final = re.compile(r"[A-Z]{2}[0-9O]{2}")
_MIN_CHARS: Final = 12
_SHAPE: Final = re.compile(r"[A-Z]{2}[0-9A-Z]{2}[0-9A-Z]{8,30}")
# The code of the bank, which is written beside it.
_BANK_CODE: Final = re.compile(r"\s*[,;/(]?\s*\b(?:BIC|SWIFT)\b.*$", re.IGNORECASE)
_LABEL: Final = re.compile(r"^(?:IBAN)\s*(?:NR|NO|NUMBER)?[.:#]*\s*", re.IGNORECASE)


def read_iban(text: str) -> Reading:
    """Read a cleaned text as an IBAN.

    Raises:
        InputError: `unreadable_iban`, when it has not the shape of one: country, two check digits, 8 to 30 more.
    """
    bare = _BANK_CODE.sub("", unwrap(text)).strip(" ()[]<>,;")
    compact = re.sub(r"[\s.\-_/:‐-―]", "", _LABEL.sub("", bare)).upper()  # noqa: RUF001 - typographic dashes
    notes: list[str] = []
    if not _BEGINNING.match(compact):
        # A label in front: the country and check digits must follow somewhere, and the checksum must hold.
        inner = [compact[at:] for at in range(1, len(compact) - _MIN_CHARS)]
        compact = next((text for text in inner if _SHAPE.fullmatch(text) and _checks(text)), compact)
    if not _SHAPE.fullmatch(compact) or not any(char.isdigit() for char in compact[4:]):
        raise InputError("there is no IBAN here", code="unreadable_iban")
    fixed = _letters_as_digits(compact)
    if fixed != compact:
        compact = fixed
        notes.append("letter_as_zero")
    notes.extend(_doubts(compact))
    return Reading(values=strong_first((Namespace.IBAN, compact)), notes=tuple(notes))


def _letters_as_digits(compact: str) -> str:
    """Take the letter O for a zero where the checksum fails with it and holds without."""
    if "O" in compact[2:] and not _checks(compact):
        changed = compact[:2] + compact[2:].replace("O", "0")
        if _checks(changed):
            return changed
    return compact


def _checks(compact: str) -> bool:
    """Tell whether the checksum of ISO 7064 (mod 97, 10) holds."""
    turned = compact[4:] + compact[:4]
    return compact[2:4].isdigit() and int("".join(str(int(char, 36)) for char in turned)) % 97 == 1


def _doubts(compact: str) -> list[str]:
    if not _checks(compact):
        return ["checksum_failed"]
    from stdnum import exceptions, iban  # noqa: PLC0415 - heavy: loaded with the first IBAN

    try:
        iban.validate(compact, check_country=False)
    except exceptions.ValidationError:
        # The lengths and shapes that the registry gives for the country.
        return ["not_valid"]
    return []
