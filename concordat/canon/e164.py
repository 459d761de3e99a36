"""Phone, fax and messenger numbers: E.164 with a plus, extension dropped.

A number with a plus (or 00) is read as it is. Any other is read in one region: that of the row, file or case, else the
node's own, which is then noted as assumed. If it is no valid number there but is one with a plus in front, it is taken
as a number that lost its plus. What no plan accepts is kept as digits behind the calling code, with a note.

Weak values: the number itself, so that guesses of others meet it; the same digits in each other region that origin and
destination name, where valid there; for Argentina the number without its mobile 9.

Some plans (Germany, Austria, Italy) accept almost any digits. So a long number without the region's trunk prefix that
is valid with a plus too is taken as one that lost its plus, unless it is a mobile number in the region, which is what
a spreadsheet leaves of 0151…; the reading not taken is a weak value.

Numbering plans that changed without a new subscriber are folded into the present form (Mexico's mobile 1, Brazil's
ninth digit), because messengers still show the old one: the same line must meet.
"""

from __future__ import annotations

import functools
import re
from typing import Final, NamedTuple

import phonenumbers

from concordat.canon.model import Context, Namespace, Reading, strong_first
from concordat.canon.text import MAX_DIGITS
from concordat.errors import InputError

MAX_CANDIDATE_REGIONS: Final = 5
MIN_DIGITS: Final = 3
MIN_DIGITS_WITH_CODE: Final = 11
MIN_DIGITS_UNKNOWN_CODE: Final = 6
MIN_DIGITS_WHOLE: Final = 9
_CACHED_PARSES: Final = 65_536

# Codes that the EU and people use where ISO 3166 says something else.
_REGION_ALIASES: Final = {"UK": "GB", "EL": "GR", "KS": "XK"}

_ZERO_LOOKALIKES: Final = "OoОоΟο"  # noqa: RUF001 - Latin, Cyrillic and Greek letters typed for a zero
_ONE_LOOKALIKES: Final = "IlІі|"  # noqa: RUF001 - Latin and Cyrillic letters and the bar typed for a one
_AS_DIGITS: Final = str.maketrans(dict.fromkeys(_ZERO_LOOKALIKES, "0") | dict.fromkeys(_ONE_LOOKALIKES, "1"))
_EXTENSION: Final = re.compile(
    r"(?:;ext=|[\s,;]*(?:\bextension|\bextn?|\bint|\bposte|\banexo|(?<=[\d\s])x"
    r"|\bдоб|\bвн)[\s.:]*|\s*#|(?<=\d{7})[,;]+)\d{1,7}#?$",  # noqa: RUF001 - extensions as Russian writes them
    re.IGNORECASE,
)
# What people write beside a number: any label with a mark behind it, known words, and names behind a whole number.
_LABEL: Final = re.compile(
    r"^[^\d+(]{1,40}[:.=]\s*(?=[\d+(])|^[^\d+(]{1,40}(?=\+)|^[^\d+(]{1,40}\s(?=00\s?[1-9])|^\s*="
)
_PLUS_WORD: Final = re.compile(r"^\s*plus\s*(?=\d)", re.IGNORECASE)
_TRAILING_WORDS: Final = re.compile(r"(?<=\d)\s+(?:[-\u2013,;/]\s*)?[^\W\d_](?:[^\W\d_]|[\s.\-'])*$")
_MIN_DIGITS_BEFORE_WORDS: Final = 9
_WORDS: Final = re.compile(
    r"[(\[/|,-]?\s*\b(?:tel(?:efon|efono|ephone|efoon)?|(?:tele)?phone|mob(?:ile|il)?|cell|handy|gsm|(?:tele)?fax|number|numero"
    r"|whats\s?app|viber|signal|telegram|sms)\b\s*[.:]*\s*[)\]/|]?",
    re.IGNORECASE,
)
_SPREADSHEET: Final = re.compile(r"^(\+?\d{6,15})\.0$")
# What a spreadsheet makes of a long number; read only where no digit was rounded away.
_EXPONENT: Final = re.compile(r"^(\d)[.,](\d{8,14})E\+?(\d{1,2})$", re.IGNORECASE)
_BETWEEN_NUMBERS: Final = re.compile(
    r"\s*[/;,|&]\s*|\s+(?:-|or|and|oder|und|ou|et|o|e|y|i|a|și|sau|и|или)\s+|(?<=\d)\s*(?=\+\d)"
)
_VANITY: Final = re.compile(r"[A-Za-z]{3,}")
_PLUS_ZEROS: Final = re.compile(r"^\++\s*(?:\(?0{2}\)?\s*)?")
# (what the number was, what the same line is now); applied only where the old form is not valid and the new one is.
_MIGRATIONS: Final = (
    (re.compile(r"^\+521(\d{10})$"), r"+52\1"),
    (re.compile(r"^\+55(\d\d)([6-9]\d{7})$"), r"+55\g<1>9\2"),
)
_AR_MOBILE: Final = re.compile(r"^\+549(\d{10})$")


class _Parsed(NamedTuple):
    e164: str
    valid: bool
    possible: bool
    region: str | None


def read_phone(text: str, context: Context, *, international: bool = False) -> Reading:
    """Read a cleaned number; `international` says that it comes from a link, where the plus is understood.

    Raises:
        InputError: `unreadable_phone`, without enough digits or with too many; `unknown_region`, when a national
            number would need a region and the one given does not exist.
    """
    notes: list[str] = []
    number = _strip(text, notes)
    if international and not number.startswith(("+", "0")):
        number = "+" + number
    plain, parsed = _with_calling_code(number, notes)
    if parsed is not None:
        return _reading(parsed, context=context, notes=notes)
    return _national(plain, context, notes)


def _refuse_several(number: str) -> None:
    """Refuse two whole numbers in one cell: whatever were made of them, one would be lost."""
    if sum(_digits(part) >= MIN_DIGITS_WHOLE for part in _BETWEEN_NUMBERS.split(number)) > 1:
        raise InputError("there are several numbers here; write each on a line of its own", code="several")


def _strip(text: str, notes: list[str]) -> str:
    number = _WORDS.sub(" ", _LABEL.sub("", _PLUS_WORD.sub("+", text).replace("~", " "))).strip()
    number = _SPREADSHEET.sub(r"\1", _without_exponent(number))
    wordless = _TRAILING_WORDS.sub("", number)
    if wordless != number and _digits(wordless) >= _MIN_DIGITS_BEFORE_WORDS:
        number = wordless
        notes.append("words_dropped")
    number = re.sub(r"^\(\s*\+\s*(\d+)\s*\)", r"+\1", number)
    _refuse_several(number)
    shorter = _EXTENSION.sub("", number)
    if shorter != number and sum(char.isdigit() for char in shorter) >= 5:
        number = shorter
        notes.append("extension_dropped")
    letters = [char for char in number if char.isalpha()]
    if letters and all(char in _ZERO_LOOKALIKES + _ONE_LOOKALIKES for char in letters):
        number = number.translate(_AS_DIGITS)
        notes.append("letter_as_zero" if all(char in _ZERO_LOOKALIKES for char in letters) else "letter_as_digit")
    elif letters:
        if _digits(number) < MIN_DIGITS or "".join(_VANITY.findall(number)) != "".join(letters):
            raise InputError("the number has letters that no dial has", code="unreadable_phone")
        notes.append("vanity_letters")
    digits = sum(char.isalnum() for char in number)
    if not MIN_DIGITS <= digits <= MAX_DIGITS + 3:
        raise InputError("the number has too few or too many digits", code="unreadable_phone")
    if _PLUS_ZEROS.match(number):
        number = "+" + _PLUS_ZEROS.sub("", number)
    return number


def _without_exponent(number: str) -> str:
    found = _EXPONENT.match(number)
    return found.group(1) + found.group(2) if found and len(found.group(2)) == int(found.group(3)) else number


def _with_calling_code(number: str, notes: list[str]) -> tuple[str, _Parsed | None]:
    """Read a number that says its calling code; None when it does not say one that exists."""
    if number.startswith("+"):
        parsed = _parse(number, None)
        if parsed is None and not number.startswith("+0"):
            notes.append("calling_code_unknown")
            parsed = _plain_form(number, "")
        return number.lstrip("+"), parsed
    if re.match(r"^\(?00\)?\s*[1-9]", number):
        parsed = _parse("+" + re.sub(r"^\(?00\)?\s*", "", number), None)
        if parsed is not None and (parsed.valid or parsed.possible):
            return number, parsed
    return number, None


def _national(number: str, context: Context, notes: list[str]) -> Reading:
    region = known_region(context.region or context.home_region)
    if region is None and not context.region and not context.home_region:
        # Nobody's own region: an organisation. What is whole with a plus in front needs none.
        worldwide = _with_plus(number, "", None)
        if worldwide is not None and (
            worldwide.valid or (worldwide.possible and _digits(number) >= MIN_DIGITS_WITH_CODE)
        ):
            return _reading(worldwide, context=context, notes=[*notes, "plus_added"])
    if region is None:
        raise InputError("a national number needs a region that exists", code="unknown_region")
    parsed = _old_trunk(_parse(number, region), number, region)
    lost_plus = _with_plus(number, region, parsed)
    if lost_plus is not None and _prefers_plus(number, parsed, lost_plus):
        notes.append("plus_added")
        other = (parsed.e164,) if parsed is not None and parsed.valid else ()
        return _reading(lost_plus, context=context, notes=notes, weak=other)
    if parsed is None:
        parsed = _plain_form(number, region)
    assumed = not context.region
    if assumed:
        notes.append("region_assumed")
    weak = _candidates(number, region, context, notes)
    if lost_plus is not None and lost_plus.valid:
        weak = (*weak, lost_plus.e164)
    home = parsed._replace(region=parsed.region if parsed.valid and parsed.region else region)
    return _reading(home, context=context, notes=notes, weak=weak, assumed=assumed)


# The trunk prefix of the Soviet plan, where the present plan has another and people still write the old one.
_SOVIET_PLANS: Final = frozenset("UA MD GE AM AZ KG TJ UZ TM".split())


def _old_trunk(parsed: _Parsed | None, number: str, region: str) -> _Parsed | None:
    if region not in _SOVIET_PLANS or (parsed is not None and parsed.valid) or not re.match(r"^\(?8\)?", number):
        return parsed
    without = _parse(re.sub(r"^\(?8\)?[\s\-]*", "", number), region)
    return without if without is not None and without.valid else parsed


def _with_plus(number: str, region: str, national: _Parsed | None) -> _Parsed | None:
    """Return the number as if it had lost its plus, where that is worth a thought."""
    if number.startswith(("0", "(0")):
        return None
    if national is not None and national.valid:
        trunk = _trunk_prefix(region)
        if (trunk and number.startswith(trunk)) or _digits(number) < MIN_DIGITS_WITH_CODE:
            return None
    return _parse("+" + number, None)


def _prefers_plus(number: str, national: _Parsed | None, plus: _Parsed) -> bool:
    """Choose between the reading in the region and that with a plus."""
    if plus.valid:
        return national is None or not national.valid or national.e164 == plus.e164 or not _is_mobile(national.e164)
    if not plus.possible or (national is not None and national.valid):
        return False
    return national is None or not national.possible or _digits(number) >= MIN_DIGITS_WITH_CODE


def _digits(number: str) -> int:
    return sum(char.isdigit() for char in number)


@functools.cache
def _trunk_prefix(region: str) -> str:
    metadata = phonenumbers.PhoneMetadata.metadata_for_region(region)
    return (metadata.national_prefix or "") if metadata else ""


def _is_mobile(e164: str) -> bool:
    kind = phonenumbers.number_type(phonenumbers.parse(e164))
    return kind in {phonenumbers.PhoneNumberType.MOBILE, phonenumbers.PhoneNumberType.FIXED_LINE_OR_MOBILE}


def _plain_form(number: str, region: str) -> _Parsed:
    """Keep the digits of a number that no plan reads, behind the calling code of the region, if one is given."""
    digits = "".join(char for char in number if char.isdigit())
    if not (MIN_DIGITS if region else MIN_DIGITS_UNKNOWN_CODE) <= len(digits) <= MAX_DIGITS:
        raise InputError("the number has too few or too many digits", code="unreadable_phone")
    code = phonenumbers.country_code_for_region(region) if region else ""
    return _Parsed(f"+{code}{digits}", valid=False, possible=False, region=region or None)


def _candidates(number: str, region: str, context: Context, notes: list[str]) -> tuple[str, ...]:
    """Return the number as each other region of the record would read it, where it is valid there."""
    named = dict.fromkeys(known_region(name) for name in (*context.origin, *context.destination))
    if None in named:
        notes.append("unknown_region_ignored")
    others = [name for name in named if name is not None and name != region][:MAX_CANDIDATE_REGIONS]
    readings = (_parse(number, other) for other in others)
    return tuple(reading.e164 for reading in readings if reading is not None and reading.valid)


def _migrated(parsed: _Parsed, notes: list[str]) -> _Parsed:
    if parsed.valid:
        return parsed
    for was, becomes in _MIGRATIONS:
        if was.match(parsed.e164):
            now = _parse(was.sub(becomes, parsed.e164), None)
            if now is not None and now.valid:
                notes.append("migrated")
                return now
    return parsed


def _reading(
    parsed: _Parsed, *, context: Context, notes: list[str], weak: tuple[str, ...] = (), assumed: bool = False
) -> Reading:
    parsed = _migrated(parsed, notes)
    if not parsed.valid:
        notes.append("not_valid" if parsed.possible else "not_possible")
    also = (parsed.e164, *weak, _AR_MOBILE.sub(r"+54\1", parsed.e164))
    return Reading(
        values=strong_first((Namespace.E164, parsed.e164), tuple((Namespace.E164, text) for text in also)),
        region=parsed.region or context.region,
        region_assumed=assumed,
        notes=tuple(dict.fromkeys(notes)),
    )


def known_region(name: str) -> str | None:
    """Return the ISO 3166 alpha-2 code that a name stands for, or None when numbers are not known for it."""
    code = name.strip().upper()
    code = _REGION_ALIASES.get(code, code)
    return code if code in phonenumbers.SUPPORTED_REGIONS else None


@functools.lru_cache(maxsize=_CACHED_PARSES)
def _parse(number: str, region: str | None) -> _Parsed | None:
    try:
        parsed = phonenumbers.parse(number, region)
    except phonenumbers.NumberParseException:
        return None
    text = phonenumbers.format_number(parsed, phonenumbers.PhoneNumberFormat.E164)
    valid = phonenumbers.is_valid_number(parsed)
    return _Parsed(
        e164=text,
        valid=valid,
        possible=valid or phonenumbers.is_possible_number(parsed),
        region=_region_of(parsed, valid=valid),
    )


def _region_of(parsed: phonenumbers.PhoneNumber, *, valid: bool) -> str | None:
    code = parsed.country_code or 0
    region = phonenumbers.region_code_for_number(parsed) if valid else phonenumbers.region_code_for_country_code(code)
    return region if region and region.isalpha() else None
