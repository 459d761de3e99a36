"""From what a partner typed to the one strong value that it asks about."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from concordat.canon import Context, Kind, read
from concordat.canon.guessing import read_guessed
from concordat.errors import InputError
from concordat.vocabulary import parse_region

if TYPE_CHECKING:
    from concordat.canon import Reading


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
    if any("\ud800" <= character <= "\udfff" for character in item.text):
        raise InputError("the identifier holds half a character, which no file can")
    # No home region: a partner belongs to no country, so that nothing is assumed of a number.
    context = Context(home_region="", region=_region(item.region or region))
    try:
        if item.kind is None:
            return read_guessed(item.text, context)
        kind = Kind.parse(item.kind)
        return kind, read(kind, item.text, context)
    except InputError as error:
        if error.code != "unknown_region":
            raise
        raise InputError(
            "a national number needs its country, such as RO: its own region (column region), or --region for all",
            code=error.code,
        ) from error


def _region(text: str | None) -> str | None:
    if text is None:
        return None
    found = parse_region(text)
    if found is None:
        raise InputError("a region is a two-letter country code such as RO")
    return found
