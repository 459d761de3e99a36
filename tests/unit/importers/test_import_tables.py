"""A table is understood as officers write it: delimiter, header, plain lists, and what spreadsheets do to cells."""

from __future__ import annotations

import hashlib
from datetime import date
from typing import TYPE_CHECKING

import pytest

from concordat.canon import Kind
from concordat.vocabulary import (
    Assessment,
    Exploitation,
    Handling,
    InformationEvaluation,
    PlatformCategory,
    Role,
    SourceEvaluation,
    Use,
)
from services.node.importers import ImportedFile, LineCode, Refusal, Row, RowDefaults, delimiter_name
from services.node.importers.csv_records import split_cells
from services.node.importers.fields import Field, field_named, kind_named
from services.node.importers.refusals import _REASONS
from services.node.record import Assessments, RecordContext

if TYPE_CHECKING:
    from collections.abc import Callable

    Imported = Callable[..., ImportedFile]

ALL_FIELDS = (
    "kind;identifier;region;platform;platform_category;exploitation;use;at_risk_group;origin;destination;role;"
    "source_evaluation;information_evaluation;observed_from;observed_to;keep_until;thb;csa;handling;notes;client_ref\n"
    "username; @Maria_Example ;nl;Instagram;Social medium;sexual;advertising;minors;RO, BG;NL;potential victim;"
    "b;2;2026-01-02;03.01.2026;2027-01-01;Suspected;checked;h2;seen twice;A-17\n"
)


def test_every_field_of_a_row_is_read(imported: Imported) -> None:
    (row,) = imported(ALL_FIELDS)
    expected = Row(
        line=2,
        typed=" @Maria_Example ",
        kind=Kind.USERNAME,
        region="NL",
        platform="Instagram",
        context=RecordContext(
            platform_category=PlatformCategory.SOCIAL_MEDIUM,
            exploitation=Exploitation.SEXUAL,
            use=Use.ADVERTISING,
            at_risk_group="minors",
            origin=("RO", "BG"),
            destination=("NL",),
        ),
        role=Role.POTENTIAL_VICTIM,
        source_evaluation=SourceEvaluation.B,
        information_evaluation=InformationEvaluation.TWO,
        observed_from=date(2026, 1, 2),
        observed_to=date(2026, 1, 3),
        keep_until=date(2027, 1, 1),
        assessment=Assessments(thb=Assessment.SUSPECTED, csa=Assessment.CHECKED),
        handling=Handling.H2,
        notes="seen twice",
        client_ref="A-17",
    )
    assert expected == row


def test_what_a_row_leaves_out_comes_from_the_defaults(imported: Imported) -> None:
    defaults = RowDefaults(
        kind=Kind.PHONE,
        region="RO",
        platform="forum.example",
        role=Role.WITNESS,
        source_evaluation=SourceEvaluation.A,
        information_evaluation=InformationEvaluation.ONE,
        keep_until=date(2027, 1, 1),
        handling=Handling.H3,
    )
    (row,) = imported("0721 123 456\n", defaults=defaults)
    assert row == Row(
        line=1,
        typed="0721 123 456",
        kind=Kind.PHONE,
        region="RO",
        platform="forum.example",
        role=Role.WITNESS,
        source_evaluation=SourceEvaluation.A,
        information_evaluation=InformationEvaluation.ONE,
        keep_until=date(2027, 1, 1),
        handling=Handling.H3,
    )


def test_the_facts_name_the_file_and_how_it_was_understood(imported: Imported) -> None:
    content = b"Kind\tValue\tShoe size\t07700 900999\nphone\t07700 900123\t42\tx\n"
    facts = imported(content, "Liste.CSV").facts
    assert facts.name == "Liste.CSV"
    assert hashlib.sha256(content).hexdigest() == facts.sha256
    assert len(content) == facts.size_bytes
    assert (facts.format, facts.delimiter, delimiter_name(facts.delimiter)) == ("csv", "\t", "tab")
    assert facts.header == ("kind", "identifier", "", "")
    # A column whose name could be an identifier is named by its place.
    assert facts.unknown_columns == ("Shoe size", "number 4")


@pytest.mark.parametrize("delimiter", [";", ",", "\t", "|"])
@pytest.mark.parametrize("quote", ["", '"'])
def test_each_delimiter_is_found(imported: Imported, delimiter: str, quote: str) -> None:
    header = delimiter.join(f"{quote}{name}{quote}" for name in ("Kind", "Identifier", "Country"))
    file = imported(f"{header}\nphone{delimiter}07700 900123{delimiter}gb\n")
    assert delimiter == file.facts.delimiter
    (row,) = file
    assert isinstance(row, Row)
    assert row.region == "GB"


def test_a_delimiter_that_is_given_is_not_guessed(imported: Imported) -> None:
    (row,) = imported("identifier:kind\na;b:username\n", delimiter=":")
    assert isinstance(row, Row)
    assert row.typed == "a;b"


@pytest.mark.parametrize(
    ("header", "field"),
    [
        ("TYPE", Field.KIND),
        ("Kennung", Field.IDENTIFIER),
        ("First seen", Field.OBSERVED_FROM),
        ("first_seen", Field.OBSERVED_FROM),
        ("Land", Field.REGION),
        ("pays", Field.REGION),
        ("Țara", Field.REGION),
        ("примечание", Field.NOTES),
        ("handling-code", Field.HANDLING),
        ("Country of origin", Field.ORIGIN),
    ],
)
def test_a_header_is_read_in_the_words_of_officers(header: str, field: Field) -> None:
    assert field is field_named(header)


def test_no_alias_of_a_field_hides_the_name_of_another() -> None:
    assert {field: field_named(field.value) for field in Field} == {field: field for field in Field}


def test_a_plain_list_is_read_with_the_kind_that_is_given(imported: Imported) -> None:
    text = "https://shop.example/a?x=1,2;3\nhttps://shop.example/b\n"
    rows = list(imported(text, "list.txt", defaults=RowDefaults(kind=Kind.URL)))
    assert [row.typed for row in rows] == text.split()


def test_a_plain_list_without_a_kind_says_that_the_kind_is_missing(imported: Imported) -> None:
    (refusal,) = imported("07700 900123\n")
    assert isinstance(refusal, Refusal)
    assert (refusal.code, refusal.field, refusal.typed) == ("kind_missing", "kind", "07700 900123")


@pytest.mark.parametrize("text", ["phone;07700 900123\n", "07700 900123;phone\n"])
def test_pairs_are_read_in_either_order(imported: Imported, text: str) -> None:
    (row,) = imported(text)
    assert isinstance(row, Row)
    assert (row.kind, row.typed) == (Kind.PHONE, "07700 900123")


def test_a_line_of_data_whose_kind_is_a_column_name_is_no_header(imported: Imported) -> None:
    rows = list(imported("phone;07700 900123\nemail;a@example.com\n"))
    assert [row.line for row in rows] == [1, 2]


def test_columns_named_after_kinds_give_one_row_each_on_the_same_line(imported: Imported) -> None:
    rows = list(imported("Mobile;E-mail;Country\n07700 900123;a@example.com;GB\n"))
    assert all(isinstance(row, Row) for row in rows)
    assert [(row.line, row.typed) for row in rows] == [(2, "07700 900123"), (2, "a@example.com")]


@pytest.mark.parametrize(
    ("cell", "typed"),
    [
        ("'+447700900123", "+447700900123"),
        ("'07700900123", "07700900123"),
        ('"=""07700900123"""', "07700900123"),
        ("=+447700900123", "+447700900123"),
        ("'tis_maria", "'tis_maria"),
        ("+44 7700 900123", "+44 7700 900123"),
        ("4E10", "4E10"),
    ],
)
def test_what_a_spreadsheet_put_around_a_value_is_taken_off(imported: Imported, cell: str, typed: str) -> None:
    (row,) = imported(f"kind;identifier\nusername;{cell}\n")
    assert isinstance(row, Row)
    assert typed == row.typed


@pytest.mark.parametrize("cell", ["4,07211E+10", "4.07211E+10", "4E+10", "-4,1e+9"])
def test_a_number_that_a_spreadsheet_rounded_is_refused(imported: Imported, cell: str) -> None:
    (refusal,) = imported(f"kind;identifier\nphone;{cell}\n")
    assert isinstance(refusal, Refusal)
    assert (refusal.code, refusal.typed) == ("number_destroyed", cell)
    assert "as text" in refusal.reason


def test_a_cell_over_lines_keeps_the_numbers_of_the_lines_after_it(imported: Imported) -> None:
    file = imported('kind;identifier;notes\nphone;1;"a\r\nb\n\nc"\nphone;2;\n')
    rows = list(file)
    assert [row.line for row in rows] == [2, 6]
    assert isinstance(rows[0], Row)
    assert rows[0].notes == "a\nb\n\nc"
    assert file.tally.continued_lines == 3


def test_a_quote_that_never_closes_costs_its_own_line_only(imported: Imported) -> None:
    lines = [f"phone;07700 9{number:05d};" for number in range(500)]
    lines[100] = 'phone;"07700 900100;'
    file = imported("kind;identifier;notes\n" + "\n".join(lines) + "\n")
    refused = [item for item in file if isinstance(item, Refusal)]
    assert [(item.line, item.code, item.typed) for item in refused] == [(102, "quote_unbalanced", lines[100])]
    assert file.tally.rows == 499


def test_cells_are_split_as_rfc_4180_says() -> None:
    cells, _ = split_cells('a,"b,""c""",, "d" ,e"f', ",")
    assert cells == ["a", 'b,"c"', "", "d", 'e"f']


def test_every_kind_may_name_a_column_or_is_the_name_of_a_field() -> None:
    for kind in Kind:
        assert kind is kind_named(kind.value)


def test_every_line_code_has_a_reason() -> None:
    assert set(LineCode) == set(_REASONS)


def test_columns_may_repeat_a_kind_with_a_number(imported: Imported) -> None:
    rows = list(imported("Phone 1;Phone 2;Remarks\n07700 900123;07700 900124;x\n"))
    assert [(row.line, row.typed) for row in rows] == [(2, "07700 900123"), (2, "07700 900124")]


def test_beside_a_column_for_the_identifier_a_kind_names_no_other_identifier(imported: Imported) -> None:
    file = imported("kind;identifier;user;website\nphone;07700 900123;officer-17;forum.example\n")
    assert [row.typed for row in file] == ["07700 900123"]
    assert file.facts.unknown_columns == ("user", "website")


@pytest.mark.parametrize("name", ["Message", "User", "Login"])
def test_a_column_of_texts_or_of_officers_is_not_taken_for_identifiers(imported: Imported, name: str) -> None:
    file = imported(f"Phone;{name}\n07700 900123;see you tomorrow\n")
    assert [row.typed for row in file] == ["07700 900123"]
    assert file.facts.unknown_columns == (name,)


def test_a_line_that_cannot_be_read_is_never_hidden_in_a_cell(imported: Imported) -> None:
    text = 'kind;identifier;notes\nphone;1;"open\nphone;2;\0\nphone;3;"\n'
    found = [(item.line, getattr(item, "code", None)) for item in imported(text)]
    assert found == [(2, "quote_unbalanced"), (3, "nul_byte"), (4, "quote_unbalanced")]


@pytest.mark.parametrize("text", ["kind;identifier\n", "\n\n", "sep=;\n", "\ufeff", "sep=;\nkind;identifier"])
def test_a_table_without_rows_gives_none(imported: Imported, text: str) -> None:
    assert list(imported(text)) == []
