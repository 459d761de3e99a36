"""Reading without a kind: it is guessed where a text can be one thing only, and asked for everywhere else.

Example:
    >>> guess("t.me/example")
    <Kind.URL: 'url'>
    >>> guess("Jane Doe")
    Traceback (most recent call last):
    concordat.errors.InputError: the kind is not clear; give it, such as username, telegram or phone
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from concordat.canon.account import site_of_name
from concordat.canon.email import looks_like_mail
from concordat.canon.iban import read_iban
from concordat.canon.links import parse_link, phone_in
from concordat.canon.model import MAX_TYPED_CHARS, Kind
from concordat.canon.reading import read
from concordat.canon.text import clean, looks_like_number, unwrap
from concordat.errors import InputError

if TYPE_CHECKING:
    from concordat.canon.model import Context, Reading

_UNCLEAR: Final = "the kind is not clear; give it, such as username, telegram or phone"
_NO_NUMBER: Final = frozenset({"not_valid", "not_possible"})
_IBAN: Final = re.compile(r"[A-Za-z]{2}\d{2}(?:[ -]?[A-Za-z0-9]){11,30}", re.ASCII)
_HANDLE: Final = re.compile(r"@[^\s@/:]{2,64}")
_BESIDE_PLATFORM: Final = re.compile(r"([^:/@]{1,40}?)\s*:\s*@?[^/\s].*")


def read_guessed(typed: str, context: Context) -> tuple[Kind, Reading]:
    """Return the kind that a text is guessed to be of, and its reading.

    Raises:
        InputError: As `guess` and `read`.
    """
    kind = guess(typed)
    reading = read(kind, typed, context)
    if kind is Kind.PHONE and not _NO_NUMBER.isdisjoint(reading.notes):
        # A date or an account's id: what no numbering plan knows is a number only when somebody says so.
        raise InputError(_UNCLEAR, code="unknown_kind")
    return kind, reading


def guess(typed: str) -> Kind:
    """Return the kind of a text that can be one thing only.

    Raises:
        InputError: `empty` or `too_long`; `unknown_kind` where it could be several.
    """
    if len(typed) > MAX_TYPED_CHARS:
        raise InputError(f"the identifier has more than {MAX_TYPED_CHARS} characters", code="too_long")
    text = unwrap(clean(typed))
    if not text:
        raise InputError("the identifier is empty", code="empty")
    if looks_like_mail(text) or text.lower().startswith("mailto:"):
        return Kind.EMAIL
    if phone_in(text) is not None or looks_like_number(text):
        return Kind.PHONE
    if _IBAN.fullmatch(text) and _is_iban(text):
        return Kind.IBAN
    if " " not in text and parse_link(text) is not None:
        return Kind.URL
    beside = _BESIDE_PLATFORM.fullmatch(text)
    if _HANDLE.fullmatch(text) or (beside is not None and site_of_name(beside[1]) is not None):
        return Kind.USERNAME
    raise InputError(_UNCLEAR, code="unknown_kind")


def _is_iban(text: str) -> bool:
    try:
        return "checksum_failed" not in read_iban(text).notes
    except InputError:
        return False
