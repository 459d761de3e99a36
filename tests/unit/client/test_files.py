from __future__ import annotations

import csv
import io
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from concordat.canon.guessing import guess
from concordat.client.client import MAX_ITEMS
from concordat.client.files import COLUMNS, MAX_BYTES, MAX_LINE_CHARS, Listed, read_list
from concordat.client.reading import Item, read_item
from concordat.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Callable

LINE = st.text(st.characters(codec="utf-8", exclude_characters="\r\n\0"), min_size=1, max_size=60).filter(
    lambda text: text.strip() and "identifier" not in text.casefold() and not text.startswith("\ufeff")
)
CELL = st.text(st.characters(codec="utf-8", exclude_characters="\r\0"), max_size=40)


@given(st.lists(LINE, min_size=1, max_size=20), st.sampled_from(["\n", "\r\n", "\r"]), st.booleans())
def test_every_line_is_an_identifier_with_its_number(lines: list[str], end: str, mark: bool) -> None:
    content = ("\ufeff" if mark else "") + end.join(lines)
    assert read_list(content.encode()) == [Listed(n, Item(line.strip())) for n, line in enumerate(lines, 1)]


@given(
    st.lists(st.tuples(LINE, CELL, CELL, CELL), min_size=1, max_size=20),
    st.sampled_from([",", ";", "\t"]),
    st.permutations(COLUMNS),
    st.sampled_from(["\n", "\r\n"]),
)
def test_a_table_is_read_whatever_the_order_of_its_columns(
    rows: list[tuple[str, str, str, str]], delimiter: str, order: list[str], end: str
) -> None:
    out = io.StringIO()
    writer = csv.writer(out, delimiter=delimiter, lineterminator=end)
    writer.writerow([name.upper() for name in order])
    for row in rows:
        by_name = dict(zip(COLUMNS, row, strict=True))
        writer.writerow([by_name[name] for name in order])

    found = read_list(out.getvalue().encode())

    wanted = [(row[0].strip(), *(cell.replace("\r\n", "\n").strip() or None for cell in row[1:])) for row in rows]
    assert [(one.item.text, one.item.kind, one.item.region, one.item.client_ref) for one in found] == wanted
    lines = out.getvalue().replace("\r\n", "\n").split("\n")
    assert all(one.item.text[:1] in "".join(lines[one.line - 1 :]) for one in found)


def _refusal(action: Callable[[], object]) -> str:
    """Return the message with which something is refused, empty where it is taken."""
    try:
        action()
    except InputError as error:
        return error.message
    return ""


@given(st.binary(max_size=300))
def test_any_bytes_are_a_list_or_an_input_error(content: bytes) -> None:
    assert _refusal(lambda: read_list(content)).isprintable()


@pytest.mark.parametrize("content", [b"a;b\n", b"x.example/a,b\ny.example/c,d\n", b"a,b\nplain@mail.example\n"])
def test_a_line_with_a_comma_is_not_yet_a_table(content: bytes) -> None:
    assert len(read_list(content)) == content.count(b"\n")


@given(st.text(st.characters(), max_size=200))
def test_any_text_is_read_or_refused_without_showing_it(text: str) -> None:
    message = _refusal(lambda: read_item(Item(text), region=None))
    assert message.isprintable()
    assert len(text) <= 12 or text not in message


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "no identifiers"),
        (b"\n \n", "no identifiers"),
        (b"identifier,kind\n", "no identifiers"),
        (b"a@b.example\ncaf\xe9@b.example\n", "line 2: is not UTF-8"),
        (b"a@b.example\nx\0y\n", "line 2: has a NUL"),
        (b"\nidentifier,kind,phone number\n+40721123456,phone,x\n", "line 2: column 3 is unknown"),
        (b"name;number\nJane;+40721123456\nJoe;0721\n", "line 1: looks like the header.*named 'identifier'"),
        (b"identifier,kind,kind\n1,2,3\n", "column 2 is unknown or stands twice"),
        (b'identifier;client_ref\n"a\nb";1\n+40721123456;"open\n', "line 4: the quotes"),
        (b"identifier,kind\na@b.example,email,x\n", "line 2: has more cells"),
        (b"identifier,client_ref\na@b.example," + b"x" * 201, "line 2: the client_ref"),
        (b"a@b.example\n" + b"x" * (MAX_LINE_CHARS + 1), "line 2: has more than"),
        (b"a@b.example\n" * (MAX_ITEMS + 1), f"line {MAX_ITEMS + 1}: a list has at most"),
        (b"x" * (MAX_BYTES + 1), "more than 16 MiB"),
    ],
)
def test_what_is_wrong_with_a_list_is_said_with_its_line(content: bytes, message: str) -> None:
    with pytest.raises(InputError, match=message) as found:
        read_list(content)
    assert "b.example" not in str(found.value)
    assert "40721123456" not in str(found.value)


@pytest.mark.parametrize(
    ("typed", "region", "canonical"),
    [
        ("+40 721 123 456", None, "+40721123456"),
        ("0721 123 456", "RO", "+40721123456"),
        ("40721123456", None, "+40721123456"),
        ("tel:+40721123456", None, "+40721123456"),
        ("wa.me/40721123456", None, "+40721123456"),
        ("t.me/example", None, "telegram.org:handle:example"),
        ("instagram: lena.k", None, "instagram.com:handle:lena.k"),
        ("@lena", None, ":handle:lena"),
        ("Lena.K+x@googlemail.com", None, "lenak@gmail.com"),
        ("https://ads.example/p/1", None, "ads.example/p/1"),
        ("forum.example", None, "forum.example"),
        ("DE89 3704 0044 0532 0130 00", None, "DE89370400440532013000"),
    ],
)
def test_a_kind_that_is_clear_is_guessed(typed: str, region: str | None, canonical: str) -> None:
    assert read_item(Item(typed), region=region)[1].values[0].canonical == canonical


@pytest.mark.parametrize("typed", ["Jane Doe", "lena", "123456", "n/a", "Jane Doe facebook.com/jane"])
def test_a_kind_that_is_not_clear_is_asked_for(typed: str) -> None:
    with pytest.raises(InputError) as found:
        guess(typed)
    assert found.value.code == "unknown_kind"


@pytest.mark.parametrize("typed", ["2024-11-24", "1234567"])
def test_digits_that_are_no_number_are_one_only_where_somebody_says_so(typed: str) -> None:
    with pytest.raises(InputError) as found:
        read_item(Item(typed), region="RO")
    assert found.value.code == "unknown_kind"
    assert read_item(Item(typed, kind="phone"), region="RO")[0] == "phone"
