"""Cleaning of typed text, the same for every kind, and refanging of addresses.

Order of steps: NFKC; drop characters that do not show; digits of all scripts to ASCII; NFKC again, since dropping a
character can bring a letter and its accent together.
"""

from __future__ import annotations

import re
import unicodedata
from itertools import chain
from typing import Final

# Characters that show nothing although their category is not Cc or Cf: the rest of Unicode's
# Default_Ignorable_Code_Point (variation selectors, fillers, joiners) and the braille blank, popular as an empty name.
_BLANK: Final = frozenset(
    chain(
        (0x034F, 0x115F, 0x1160, 0x17B4, 0x17B5, 0x2065, 0x2800, 0x3164, 0xFFA0),
        range(0x180B, 0x1810),
        range(0xFE00, 0xFE10),
        range(0xFFF0, 0xFFF9),
        range(0xE0000, 0xE1000),
    )
)
# A lone surrogate (Cs) has no UTF-8 and so no token input.
_DROPPED_CATEGORIES: Final = frozenset(["Cc", "Cf", "Cs"])

MAX_DIGITS: Final = 17
"""Of a phone number."""

_BREAKS: Final = frozenset("\t\n\v\f\r\x85\u2028\u2029")

_IPV6: Final = re.compile(r"\[[0-9a-f:.]*:[0-9a-f:.]*\]", re.IGNORECASE)
_QUOTES: Final = "\"'`´‘’‚“”„«»‹›"  # noqa: RUF001 - these are the quotation marks that people paste
_DOT: Final = re.compile(
    r"\s*(?:\[\s*(?:\.|dot)\s*\]|\(\s*(?:\.|dot)\s*\)|\{\s*(?:\.|dot)\s*\}|<\s*dot\s*>"
    r"|[\[({]\s*(?:punto|punkt|ponto|point|точка)\s*[\])}])\s*",
    re.IGNORECASE,
)
_HALF_DOT: Final = re.compile(r"\[\.|\.\]|\\\.")
_AT: Final = re.compile(
    r"\s*(?:\[\s*(?:@|at)\s*\]|\(\s*(?:@|at)\s*\)|\{\s*(?:@|at)\s*\}|<\s*(?:@|at)\s*>"
    r"|[\[({]\s*(?:arroba|ät|chiocciola|małpa|собака)\s*[\])}])\s*",
    re.IGNORECASE,
)
_SCHEME: Final = re.compile(r"^(?:h(?:xx|\*\*|tt|__)p|meow)(s?)\s*(?:\[?:\]?)\s*(?:\[?//\]?|\\\\)", re.IGNORECASE)
_SCHEME_TYPO: Final = re.compile(r"^(https?)(?:;//|:/(?!/)|//|:\\\\)", re.IGNORECASE)
_BRACKET_COLON: Final = re.compile(r"\[(:|:?//|/)\]")
_WORD_AT: Final = re.compile(r"\s+(?:at|@)\s+|\s*@+\s*", re.IGNORECASE)
_WORD_DOT: Final = re.compile(
    r"\s+dot\s+|\s*[。｡]\s*|(?<=[^\s@])\s+\.\s*(?=[^\s@]+$)|(?<=[\w\-])\.\s+(?=[a-z]{2,6}$)", re.IGNORECASE
)


def clean(typed: str) -> str:
    """Return the text without what does not show, in NFKC, with ASCII digits and no space around."""
    if typed.isascii() and typed.isprintable():
        return typed.strip()
    shown = "".join(_plain(char) for char in unicodedata.normalize("NFKC", typed))
    return unicodedata.normalize("NFKC", shown).strip()


def _plain(char: str) -> str:
    if char in _BREAKS:
        return " "  # two lines in a cell are two words, never one
    if ord(char) in _BLANK or unicodedata.category(char) in _DROPPED_CATEGORIES:
        return ""
    digit = unicodedata.decimal(char, None)
    return char if digit is None else str(digit)


def unwrap(text: str) -> str:
    """Strip quotation marks, angle brackets and closing punctuation that came along from a sentence."""
    before = None
    while text != before:
        before = text
        text = text.strip(" " + _QUOTES).rstrip(",;")
        if text.startswith(("<", "(", "[")):
            text = text.rstrip(".")
        if text.startswith("<") and text.endswith(">"):
            text = text[1:-1]
        if text[:1] + text[-1:] in {"()", "[]"} and "." in text and not _IPV6.fullmatch(text):
            text = text[1:-1]
    return text


def fold(text: str) -> str:
    """Casefold to a fixed point of NFKC, so that folding again changes nothing."""
    if text.isascii():
        return text.lower()
    return clean(unicodedata.normalize("NFKC", text.casefold()).casefold())


def refang(text: str) -> str:
    """Undo the ways in which an address is made harmless: hxxp, [.], (dot), [at], [:]."""
    if "." in text and not re.search(r"[\[({\\;*<]|xxp|__p|meow|http(?!s?://)", text, re.IGNORECASE):
        return text.replace("。", ".")
    text = _AT.sub("@", _HALF_DOT.sub(".", _DOT.sub(".", text)))
    text = _BRACKET_COLON.sub(r"\1", text)
    text = _SCHEME.sub(r"http\1://", text)
    return _SCHEME_TYPO.sub(r"\1://", text).replace("。", ".")


def refang_mail(text: str) -> str:
    """Undo what `refang` does, and also ` at ` and ` dot ` as words, which only an e-mail address may hold."""
    return _WORD_DOT.sub(".", _WORD_AT.sub("@", refang(text)))


def looks_like_number(text: str) -> bool:
    """Tell whether a text reads as a phone number and nothing else: a plus or digits with separators, 7 to 17."""
    digits = sum(char.isdigit() for char in text)
    return 7 <= digits <= MAX_DIGITS and re.fullmatch(r"\+?[\d\s().\-/+]+", text) is not None
