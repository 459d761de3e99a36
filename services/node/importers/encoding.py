"""Name the encoding of a text, the same way every time.

Rules, in this order:

1. A byte order mark decides.
2. NUL bytes on one side of the byte pairs mean UTF-16 without a mark.
3. Valid UTF-8 is UTF-8; so is a text in which more lines hold valid than broken UTF-8 (broken lines are refused later).
4. Else the legacy encoding in whose languages the letters make most sense; on equal scores the earlier in the table.

General detectors guess from byte frequencies and go wrong on the few letters that a list of identifiers has, so (4)
looks at alphabets: a text in cp1251 read as cp1252 gives letters that no one language has side by side.

Limits: (4) looks at no more than 500 different words that have a byte above ASCII.
"""

from __future__ import annotations

import codecs
import re
import unicodedata
from itertools import pairwise
from typing import Final

FOREIGN_WORDS: Final = 500
_PAIRS_AT_LEAST: Final = 8
_FOREIGN_WORD: Final = re.compile(rb"[A-Za-z]{0,32}[\x80-\xff][A-Za-z\x80-\xff]{0,32}")

# UTF-32 comes first: its little-endian mark begins with that of UTF-16.
_MARKS: Final = (
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)

_ICELANDIC: Final = "áðéíóúýþæö"
# The Icelandic thorn shares its byte with the Romanian t with cedilla, which files here have far more often.
_RARE_WEIGHT: Final = 0.9

_LATIN_WEST: Final = (
    "äöüß",  # German
    "àâæçèéêëîïôœùûüÿ",  # French
    "áéíñóúüªº¿¡",  # Spanish
    "ãáâàçéêíóôõúü",  # Portuguese
    "àèéìîòóù",  # Italian
    "åäöéæø",  # Swedish, Danish, Norwegian, Finnish
    "éèëïóöüáíĳ",  # Dutch
    _ICELANDIC,
)
_LATIN_CENTRAL: Final = (
    "ąćęłńóśźż",  # Polish
    "áčďéěíňóřšťúůýž",  # Czech
    "áäčďéíĺľňóôŕšťúýž",  # Slovak
    "áéíóöőúüű",  # Hungarian
    "ăâîşţ",  # Romanian: these encodings have the cedilla letters only
    "čćđšž",  # Croatian, Slovene, Serbian in Latin letters
)
_CYRILLIC: Final = (
    "абвгдеёжзийклмнопрстуфхцчшщъыьэюя",  # Russian
    "абвгґдеєжзиіїйклмнопрстуфхцчшщьюя",  # Ukrainian
    "абвгдежзийклмнопрстуфхцчшщъьюя",  # Bulgarian
    "абвгдђежзијклљмнњопрстћуфхцчџшѓѕќ",  # Serbian, Macedonian
)
_GREEK: Final = ("αβγδεζηθικλμνξοπρσςτυφχψωάέήίόύώϊϋΐΰ",)
_TURKISH: Final = ("çğıöşüâî",)
_BALTIC: Final = ("ąčęėįšųūž", "āčēģīķļņšūž", "äöüõšž")

_LEGACY: Final = (
    ("cp1252", _LATIN_WEST),
    ("cp1250", _LATIN_CENTRAL),
    ("cp1251", _CYRILLIC),
    ("cp1253", _GREEK),
    ("cp1254", _TURKISH),
    ("cp1257", _BALTIC),
    ("iso8859-2", _LATIN_CENTRAL),
    ("iso8859-7", _GREEK),
    ("iso8859-5", _CYRILLIC),
    ("iso8859-13", _BALTIC),
    ("iso8859-15", _LATIN_WEST),
    ("koi8-r", _CYRILLIC[:1]),
)

# Quotation marks, dashes, currency and the like, by code point since many look like others.
_PUNCTUATION: Final = frozenset(
    "«»„…€£°§№·©®™¤±\u201c\u201d\u2018\u2019\u201a\u2013\u2014\u2022\u2039\u203a\xb4\xd7\xa0\xad"
)
_WORD: Final = re.compile(r"[^\W\d_]+")


def by_mark(head: bytes) -> str | None:
    """Return the encoding that the byte order mark at the beginning of `head` names, or None without one."""
    return next((name for mark, name in _MARKS if head.startswith(mark)), None)


def by_nul_pairs(head: bytes) -> str | None:
    """Return UTF-16 with its byte order when NULs stand on one side of the byte pairs of `head` only, else None."""
    even, odd = head[0::2].count(0), head[1::2].count(0)
    pairs = len(head) // 2
    # A stray NUL in a few bytes proves nothing.
    if pairs < _PAIRS_AT_LEAST:
        return None
    if odd > pairs * 0.4 and even < odd * 0.05:
        return "utf-16-le"
    if even > pairs * 0.4 and odd < even * 0.05:
        return "utf-16-be"
    return None


def foreign_words(line: bytes) -> list[bytes]:
    """Return the words of `line` that have a byte above ASCII, as bytes: what `legacy` needs to see."""
    return _FOREIGN_WORD.findall(line)


def legacy(sample: bytes) -> str | None:
    """Return the one-byte encoding in which `sample` makes most sense, or None where it makes no sense in any."""
    seen = b"\n".join(list(dict.fromkeys(foreign_words(sample)))[:FOREIGN_WORDS])
    best_name, best_score = None, 0.0
    for name, alphabets in _LEGACY:
        score = _score(seen, name, alphabets)
        if score > best_score:
            best_name, best_score = name, score
    return best_name


def _score(sample: bytes, encoding: str, alphabets: tuple[str, ...]) -> float:
    """Return how well `sample` reads in `encoding`: above zero where known letters outweigh what makes no sense."""
    text = sample.decode(encoding, errors="replace")
    score = 0.0
    for character in text:
        if character > "\x7f" and not character.isalpha():
            score += 0.1 if character in _PUNCTUATION else -4.0
    for word in _WORD.findall(text):
        if not word.isascii():
            score += max(_word_score(word, alphabet) for alphabet in alphabets) - 2.0 * _broken(word)
    return score


def _word_score(word: str, alphabet: str) -> float:
    """Return the letters of `word` outside ASCII that `alphabet` has, less twice those that it has not."""
    # A dotted capital I becomes two characters in lower case.
    folded = ["\u0131" if character == "\u0130" else character.lower() for character in word if character > "\x7f"]
    fits = sum(character in alphabet for character in folded)
    weight = _RARE_WEIGHT if alphabet == _ICELANDIC else 1.0
    return weight * fits - 2.0 * (len(folded) - fits)


def _broken(word: str) -> bool:
    """Return whether `word` mixes scripts or has a capital after a small letter: signs of a wrong reading."""
    if len({unicodedata.name(character, "UNKNOWN").split(" ", 1)[0] for character in word}) > 1:
        return True
    return any(left.islower() and right.isupper() and not (left + right).isascii() for left, right in pairwise(word))
