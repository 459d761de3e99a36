"""Whatever bytes a file holds, it is refused as a whole or every line of it is accounted for."""

from __future__ import annotations

import tempfile
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from concordat.canon import Kind
from concordat.errors import InputError
from services.node.importers import ImportedFile, Limits, Refusal, Row, RowDefaults, open_file

EXAMPLES = 200
LIMITS = Limits(line_bytes=200, cell_lines=5, field_characters=100, nesting_levels=8)
# What makes a parser of tables stumble, rather than any bytes.
PIECES = st.sampled_from(
    [
        *('"', '""', ";", ",", "\t", "|", "\n", "\r\n", "\r", " ", "'", "=", "\0", "é", "\ufeff", "sep=;"),
        *("phone", "kind", "identifier", "notes", "07700 900123", "4,4E+11", "x" * 150),
        # Ends of line for some programs, and none here.
        *("\u2028", "\x85", "\x0b", "\x1c"),
    ]
)
TABLE = st.lists(PIECES, max_size=60).map("".join)
JSON_PIECES = st.sampled_from(
    [
        *('{"kind":"phone","identifier":"1"}', "{", "}", "[", "]", '"', ":", ",", "\n", "\r\n", " ", "\0"),
        *('"kind"', '"identifier"', '"Event"', '"type":"bundle"', "null", "NaN", "1e999", "\\u0000", "\\ud83d"),
        *("[" * 20, "9" * 150),
    ]
)


def read(content: bytes, name: str) -> ImportedFile | None:
    """Return the file read to its end, or None when it was refused as a whole."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, name)
        path.write_bytes(content)
        try:
            file = open_file(path, defaults=RowDefaults(kind=Kind.PHONE), limits=LIMITS)
            items = list(file)
        except InputError:
            return None
    lines = [item.line for item in items]
    assert lines == sorted(lines)
    assert file.tally.rows == sum(isinstance(item, Row) for item in items)
    assert file.tally.refusals == sum(isinstance(item, Refusal) for item in items)
    if file.facts.format in {"csv", "jsonl"}:
        begun = len(set(lines))
        tally = file.tally
        assert tally.lines == tally.blank_lines + tally.heading_lines + tally.continued_lines + begun
    return file


@given(st.binary(max_size=300), st.sampled_from(["a.csv", "a.txt", "a.json", "a.jsonl", "a"]))
@settings(max_examples=EXAMPLES, deadline=None)
def test_any_bytes_are_refused_or_read(content: bytes, name: str) -> None:
    read(content, name)


@given(TABLE)
@settings(max_examples=EXAMPLES, deadline=None)
def test_a_table_loses_no_line(text: str) -> None:
    file = read(text.encode(), "a.csv")
    if file is not None and file.facts.format == "csv" and file.facts.encoding.startswith("utf-8"):
        # A mark at the beginning is none of the text, and an end of line ends a line, it begins none.
        plain = text.removeprefix("\ufeff").replace("\r\n", "\n").replace("\r", "\n")
        assert plain.count("\n") + (not plain.endswith("\n")) - (not plain) == file.tally.lines


@given(TABLE, st.integers(min_value=0, max_value=6))
@settings(max_examples=EXAMPLES, deadline=None)
def test_one_bad_line_of_a_table_does_not_touch_good_ones(bad: str, position: int) -> None:
    lines = ["phone;07700 900123;fine"] * 6
    lines.insert(position, bad.replace("\n", "").replace("\r", ""))
    text = "\n".join(["kind;identifier;notes", *lines])
    file = read(text.encode(), "a.csv")
    assert file is not None
    assert file.tally.rows >= 6


@given(st.lists(JSON_PIECES, max_size=40).map("".join), st.sampled_from(["a.jsonl", "a.json"]))
@settings(max_examples=EXAMPLES, deadline=None)
def test_json_is_refused_or_read(text: str, name: str) -> None:
    read(text.encode(), name)


@given(st.lists(st.text(max_size=40).map(lambda text: "".join(text.split("\n"))), max_size=10))
@settings(max_examples=EXAMPLES, deadline=None)
def test_broken_lines_of_json_do_not_touch_good_ones(bad: list[str]) -> None:
    good = '{"kind":"phone","identifier":"07700 900123"}'
    text = "\n".join(piece for line in bad for piece in (line.replace("\r", ""), good))
    file = read(text.encode("utf-8", errors="replace"), "a.jsonl")
    if text:
        assert file is not None
        assert len(bad) == file.tally.rows
