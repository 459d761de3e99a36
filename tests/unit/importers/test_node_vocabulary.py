"""Words are read whatever their case and gaps, and values that hold identifiers never show them."""

from __future__ import annotations

from enum import StrEnum

import pytest

from concordat import vocabulary
from concordat.canon import Kind
from concordat.vocabulary import (
    REGIONS,
    InformationEvaluation,
    PlatformCategory,
    Role,
    parse_region,
    parse_word,
    words,
)
from services.node.record import FileFacts, Refusal, Row, RowDefaults

VOCABULARIES = [
    value
    for value in vars(vocabulary).values()
    if isinstance(value, type) and issubclass(value, StrEnum) and value is not StrEnum
]


@pytest.mark.parametrize("words_of", VOCABULARIES)
def test_every_word_is_read_as_itself_in_any_case_and_with_any_gaps(words_of: type[StrEnum]) -> None:
    for word in words_of:
        for spelt in (
            word.value,
            word.value.upper(),
            f" {word.value.replace('_', ' ')} ",
            word.value.replace("_", "-"),
        ):
            assert parse_word(words_of, spelt) is word


@pytest.mark.parametrize("text", ["", " ", "suspects", "Verdächtiger", "sus pect", "x" * 3000])
def test_a_word_that_is_not_listed_is_none(text: str) -> None:
    assert parse_word(Role, text) is None


def test_the_words_are_listed_for_messages() -> None:
    assert words(InformationEvaluation) == "1, 2, 3, 4"
    assert "review_forum" in words(PlatformCategory)


def test_regions_are_iso_codes_and_those_that_the_union_writes_otherwise() -> None:
    assert len(REGIONS) == 250
    assert (parse_region(" nl "), parse_region("UK"), parse_region("el"), parse_region("XK")) == (
        "NL",
        "GB",
        "GR",
        "XK",
    )
    assert [parse_region(text) for text in ("", "ZZ", "NLD", "Romania", "N L")] == [None] * 5


def test_no_representation_shows_what_was_typed() -> None:
    secret = "07700 900123"
    shown = [
        Row(line=1, typed=secret, kind=Kind.PHONE, platform=secret, notes=secret, client_ref=secret),
        Refusal(line=1, code="unknown_kind", reason="the kind is not known", typed=secret),
        RowDefaults(platform=secret),
        FileFacts(name="list.csv", sha256="00", size_bytes=1, format="csv", encoding="utf-8"),
    ]
    assert secret not in repr(shown)
