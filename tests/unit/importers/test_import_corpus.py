"""Every file of the corpus gives the rows, and the refusals with code and line, that are expected of it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from concordat.errors import InputError
from services.node.importers import FileCode, LineCode, Refusal, Row, RowDefaults, open_file

CORPUS = Path(__file__).parents[2] / "corpus"
EXPECTED: dict[str, dict[str, Any]] = json.loads((CORPUS / "expected.json").read_text())


@pytest.mark.parametrize("name", sorted(EXPECTED))
def test_a_file_of_the_corpus_is_read_as_expected(name: str) -> None:
    expected = EXPECTED[name]
    if "file_error" in expected:
        with pytest.raises(InputError) as caught:
            list(open_file(CORPUS / name, defaults=RowDefaults()))
        assert expected["file_error"] == caught.value.code
        return
    file = open_file(CORPUS / name, defaults=RowDefaults())
    items = list(file)
    rows = [[item.line, item.kind.value] for item in items if isinstance(item, Row)]
    refusals = [
        {"line": item.line, "code": item.code, "field": item.field} for item in items if isinstance(item, Refusal)
    ]
    facts = {"format": file.facts.format, "encoding": file.facts.encoding, "delimiter": file.facts.delimiter}
    assert expected == {**facts, "rows": rows, "refusals": refusals}


def test_every_file_of_the_corpus_is_expected() -> None:
    files = {path.name for path in CORPUS.iterdir()} - {"expected.json", "README.md", ".gitattributes"}
    assert set(EXPECTED) == files


def test_no_reason_holds_what_was_typed() -> None:
    for name, expected in EXPECTED.items():
        if "file_error" in expected:
            continue
        for item in open_file(CORPUS / name, defaults=RowDefaults()):
            if isinstance(item, Refusal) and item.typed:
                assert item.typed not in item.reason
                assert not any(part in item.reason for part in ("07700", "example.com", "maria", "X0000001"))
                assert item.typed not in repr(item)


def test_a_file_reads_alike_twice() -> None:
    for name, expected in EXPECTED.items():
        if "file_error" not in expected:
            file = open_file(CORPUS / name, defaults=RowDefaults())
            assert list(file) == list(file)


# Reached only by files too large for the corpus, or by options: see the other tests of this folder.
ELSEWHERE = {
    LineCode.LINE_TOO_LONG.value,
    FileCode.FILE_CHANGED.value,
    FileCode.FILE_MISSING.value,
    FileCode.FILE_TOO_LARGE.value,
    FileCode.FILE_UNREADABLE.value,
    FileCode.NOT_A_FILE.value,
    FileCode.OBJECTS_TOO_MANY.value,
    FileCode.ROWS_TOO_MANY.value,
}


def test_every_code_has_a_file_of_the_corpus_or_a_test_of_its_own() -> None:
    seen = {expected["file_error"] for expected in EXPECTED.values() if "file_error" in expected}
    seen |= {refusal["code"] for expected in EXPECTED.values() for refusal in expected.get("refusals", ())}
    codes = {code.value for code in (*LineCode, *FileCode)}
    assert codes - ELSEWHERE == seen
