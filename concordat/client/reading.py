"""From what a partner typed to the one strong value that it asks about; the kind is guessed only where it is clear.

read_item(Item("t.me/example"), region=None)          # Value(account, ...)
read_item(Item("Jane Doe"), region=None)              # InputError: unknown_kind
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from concordat.canon import Context, Kind, read
from concordat.canon.account import site_of_name
from concordat.canon.e164 import looks_like_number
from concordat.canon.email import looks_like_mail
from concordat.canon.iban import read_iban
from concordat.canon.links import parse_link, phone_in
from concordat.canon.model import MAX_TYPED_CHARS
from concordat.canon.text import clean, unwrap
from concordat.errors import InputError
from concordat.vocabulary import parse_region

if TYPE_CHECKING:
    from concordat.canon import Reading

_UNCLEAR: Final = "the kind is not clear; give it, such as username, telegram or phone"
_NO_NUMBER: Final = frozenset({"not_valid", "not_possible"})
_IBAN: Final = re.compile(r"[A-Za-z]{2}\d{2}(?:[ -]?[A-Za-z0-9]){11,30}", re.ASCII)
_HANDLE: Final = re.compile(r"@[^\s@/:]{2,64}")
_BESIDE_PLATFORM: Final = re.compile(r"([^:/@]{1,40}?)\s*:\s*@?[^/\s].*")


@dataclass(frozen=True, slots=True)
class Item:
    """One identifier to ask about.

    Attributes:
        text: As typed.
        kind: What it is, such as `phone` or `email`; guessed where it is None.
        region: Country of a national phone number, two letters.
        client_ref: What the caller calls it; it comes back with the result and goes nowhere else.
    """

    text: str = field(repr=False)
    kind: Kind | str | None = None
    region: str | None = None
    client_ref: str | None = field(default=None, repr=False)


def read_item(item: Item, *, region: str | None) -> tuple[Kind, Reading]:
    """Return the kind of an item and its reading, whose first value is the strong one.

    Args:
        item: The item.
        region: Of national numbers, where the item does not say it.

    Raises:
        InputError: It cannot be read; the message says what to change and never holds what was typed.
    """
    if len(item.text) > MAX_TYPED_CHARS:
        raise InputError(f"the identifier has more than {MAX_TYPED_CHARS} characters", code="too_long")
    if any("\ud800" <= character <= "\udfff" for character in item.text):
        raise InputError("the identifier holds half a character, which no file can", code="bad_input")
    guessed = item.kind is None
    kind = guess(item.text) if item.kind is None else Kind.parse(item.kind)
    # No home region: a partner belongs to no country, so that nothing is assumed of a number.
    context = Context(home_region="", region=_region(item.region or region))
    try:
        reading = read(kind, item.text, context)
    except InputError as error:
        if error.code != "unknown_region":
            raise
        raise InputError("a national number needs its country; give a region such as RO", code=error.code) from error
    if guessed and kind is Kind.PHONE and not _NO_NUMBER.isdisjoint(reading.notes):
        # A date or an account's id: digits of which no number can be made are asked about only when somebody says so.
        raise InputError(_UNCLEAR, code="unknown_kind")
    return kind, reading


def guess(typed: str) -> Kind:
    """Return the kind of a text that can be one thing only.

    Raises:
        InputError: `empty`, or `unknown_kind` where it could be several.
    """
    text = unwrap(clean(typed))
    if not text:
        raise InputError("the identifier is empty", code="empty")
    if looks_like_mail(text) or text.lower().startswith("mailto:"):
        return Kind.EMAIL
    if phone_in(text) is not None or looks_like_number(text):
        return Kind.PHONE
    if _IBAN.fullmatch(text) and _is_iban(text):
        return Kind.IBAN
    link = parse_link(text)
    if link is not None and " " not in text:
        return Kind.URL
    beside = _BESIDE_PLATFORM.fullmatch(text)
    if _HANDLE.fullmatch(text) or (beside is not None and site_of_name(beside[1]) is not None):
        return Kind.USERNAME
    raise InputError(_UNCLEAR, code="unknown_kind")


def _is_iban(text: str) -> bool:
    try:
        return "checksum" not in " ".join(read_iban(text).notes)
    except InputError:
        return False


def _region(text: str | None) -> str | None:
    if text is None:
        return None
    found = parse_region(text)
    if found is None:
        raise InputError("a region is a two-letter country code such as RO", code="unknown_region")
    return found
