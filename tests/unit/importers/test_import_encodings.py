"""The encoding of a file is found the same way every time, and named."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from concordat.errors import InputError
from services.node.importers import ImportedFile, Row
from services.node.importers.encoding import by_mark, by_nul_pairs, legacy

if TYPE_CHECKING:
    from collections.abc import Callable

    Imported = Callable[..., ImportedFile]

HEADER = "kind;identifier;notes\n"


@pytest.mark.parametrize(
    ("encoding", "typed", "notes"),
    [
        ("cp1250", "Ionuţ", "văzut lângă gară"),
        ("cp1250", "łukasz", "zażółć gęślą jaźń"),
        ("cp1250", "tomáš", "viděn u nádraží, říkal že přijde"),
        ("cp1251", "Мария", "работи"),
        ("cp1251", "Олег", "їде додому"),
        ("cp1252", "müller", "große Straße, Zeugin hörte"),
        ("cp1252", "rené", "vu à l\u2019hôtel « x », chambre 5, prix 50 €"),
        ("cp1253", "Μαρία", "στην Αθήνα"),
        ("cp1254", "\u0131ş\u0131k", "güzel şehir"),
        ("cp1257", "Žydrė", "ėjo į namus, ąžuolas šalia"),
        ("iso8859-2", "śląsk", "łódź ąę"),
        ("iso8859-5", "Мария", "работает"),
        ("iso8859-15", "rené", "le cœur, 50 €"),
        ("koi8-r", "Мария", "работает за границей"),
        ("utf-8", "Мария", "naïve façade"),
        ("utf-16", "Мария", "x"),
        ("utf-16-le", "maria", "x"),
        ("utf-16-be", "maria", "x"),
        ("utf-32", "Мария", "x"),
        ("utf-8-sig", "José", "x"),
    ],
)
def test_a_text_in_an_encoding_is_read_back_as_typed(imported: Imported, encoding: str, typed: str, notes: str) -> None:
    file = imported(f"{HEADER}username;{typed};{notes}\n".encode(encoding))
    (row,) = file
    assert isinstance(row, Row)
    assert (typed, notes) == (row.typed, row.notes)
    assert encoding == file.facts.encoding


def test_valid_utf8_wins_over_every_legacy_encoding(imported: Imported) -> None:
    # In cp1252 these bytes are letters too.
    assert imported(f"{HEADER}username;Ã¤Ã¶;\n").facts.encoding == "utf-8"


def test_plain_ascii_is_named_utf8(imported: Imported) -> None:
    assert imported(f"{HEADER}phone;07700 900123;\n").facts.encoding == "utf-8"


def test_an_encoding_that_is_named_overrules_what_would_be_found(imported: Imported) -> None:
    content = f"{HEADER}username;josé;\n".encode()
    (row,) = imported(content, encoding="cp1252")
    assert isinstance(row, Row)
    assert row.typed == "jos\xc3\xa9"


@pytest.mark.parametrize("name", ["klingon", "rot13", "base64", "idna", "unicode_escape", "utf-7", "\0", "x" * 500])
def test_an_encoding_that_is_none_is_refused(imported: Imported, name: str) -> None:
    with pytest.raises(InputError) as caught:
        imported(f"{HEADER}phone;1;\n", encoding=name)
    assert caught.value.code == "encoding_unknown"


def test_a_few_bytes_with_a_nul_are_not_taken_for_utf16(imported: Imported) -> None:
    assert imported(b'""\0\r\n').facts.encoding == "utf-8"


def test_german_in_an_encoding_of_central_europe_is_named_cp1252_as_the_bytes_are_the_same() -> None:
    assert "äöüß".encode("cp1250") == "äöüß".encode("cp1252")
    assert legacy("äöüß".encode("cp1250")) == "cp1252"


def test_a_bullet_alone_does_not_make_an_encoding_unknown() -> None:
    assert legacy("+44\u20227700\u2022900101".encode("cp1250")) == "cp1252"


@given(st.binary(max_size=400))
@settings(max_examples=150, deadline=None)
def test_naming_an_encoding_never_fails_and_always_decides_alike(sample: bytes) -> None:
    answers = {(by_mark(sample), by_nul_pairs(sample), legacy(sample)) for _ in range(2)}
    assert len(answers) == 1
