"""A file over a limit is refused with the limit named; a line over it costs one refusal and bounded memory."""

from __future__ import annotations

import json
import os
import tracemalloc
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from concordat.canon import Kind
from concordat.errors import InputError
from services.node.importers import ImportedFile, Limits, Refusal, Row, RowDefaults, open_file

if TYPE_CHECKING:
    from collections.abc import Callable

    Imported = Callable[..., ImportedFile]

MIB = 1024 * 1024
LONG_LINE_BYTES = 200 * MIB
GOOD = {"list.csv": b"phone;07700 900123\n", "list.jsonl": b'{"kind":"phone","identifier":"07700 900123"}\n'}


@pytest.mark.parametrize("name", sorted(GOOD))
def test_a_line_of_200_mb_is_one_refusal_in_bounded_memory_and_reading_goes_on(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    with path.open("wb") as handle:
        handle.write(b"kind;identifier\n" if name.endswith(".csv") else b"\n")
        handle.write(GOOD[name])
        for _ in range(LONG_LINE_BYTES // MIB):
            handle.write(b"x" * MIB)
        handle.write(b"\n")
        handle.write(GOOD[name])
    tracemalloc.start()
    try:
        items = list(open_file(path, defaults=RowDefaults()))
        peak_bytes = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
        path.unlink()
    assert [item.line for item in items] == [2, 3, 4]
    assert isinstance(items[0], Row)
    assert isinstance(items[2], Row)
    refusal = items[1]
    assert isinstance(refusal, Refusal)
    assert refusal.code == "line_too_long"
    assert refusal.typed == "x" * Limits().field_characters
    assert peak_bytes < 16 * MIB


@pytest.mark.parametrize(("length", "code"), [(100, None), (101, "line_too_long")])
def test_a_line_within_the_limit_is_read_and_one_byte_more_is_refused(
    imported: Imported, length: int, code: str | None
) -> None:
    (item,) = imported(b"x" * length, defaults=RowDefaults(kind=Kind.USERNAME), limits=Limits(line_bytes=100))
    assert code == (item.code if isinstance(item, Refusal) else None)


def test_the_length_of_a_line_counts_bytes_and_not_characters(imported: Imported) -> None:
    (item,) = imported("é" * 51, defaults=RowDefaults(kind=Kind.USERNAME), limits=Limits(line_bytes=100))
    assert isinstance(item, Refusal)
    assert item.code == "line_too_long"


def test_a_file_over_the_limit_is_refused_before_it_is_read(tmp_path: Path) -> None:
    path = tmp_path / "large.csv"
    with path.open("wb") as handle:
        handle.truncate(Limits().file_bytes + 1)
    with pytest.raises(InputError, match="536870912") as caught:
        open_file(path, defaults=RowDefaults())
    assert caught.value.code == "file_too_large"


def test_a_document_over_its_own_limit_is_refused(imported: Imported) -> None:
    event = json.dumps({"Event": {"Attribute": []}}, indent=1)
    with pytest.raises(InputError) as caught:
        imported(event, "event.json", limits=Limits(document_bytes=len(event) - 1))
    assert caught.value.code == "file_too_large"


def test_a_document_with_too_many_entries_is_refused(imported: Imported) -> None:
    event = {"Event": {"Attribute": [{"type": "url", "value": "https://shop.example"}] * 3}}
    with pytest.raises(InputError) as caught:
        imported(json.dumps(event), "event.json", limits=Limits(document_objects=2))
    assert caught.value.code == "objects_too_many"


def test_rows_over_the_limit_stop_the_file_after_the_rows_within_it(imported: Imported) -> None:
    items = iter(imported("1\n2\n3\n", defaults=RowDefaults(kind=Kind.PHONE), limits=Limits(rows=2)))
    assert [next(items).line, next(items).line] == [1, 2]
    with pytest.raises(InputError) as caught:
        next(items)
    assert caught.value.code == "rows_too_many"


def test_as_many_rows_as_the_limit_are_read(imported: Imported) -> None:
    assert len(list(imported("1\n2\n", defaults=RowDefaults(kind=Kind.PHONE), limits=Limits(rows=2)))) == 2


def test_what_is_no_file_is_refused_without_waiting_for_it(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe.csv"
    os.mkfifo(pipe)
    for path, code in ((tmp_path, "not_a_file"), (pipe, "not_a_file"), (tmp_path / "none.csv", "file_missing")):
        with pytest.raises(InputError) as caught:
            open_file(path, defaults=RowDefaults())
        assert code == caught.value.code
        assert str(tmp_path) not in caught.value.message


def test_a_path_that_cannot_be_is_refused() -> None:
    with pytest.raises(InputError) as caught:
        open_file(Path("x" * 5000), defaults=RowDefaults())
    assert caught.value.code == "file_unreadable"


def test_a_file_that_is_gone_when_it_is_read_is_refused(imported: Imported, tmp_path: Path) -> None:
    file = imported("kind;identifier\nphone;1\n")
    (tmp_path / "list.csv").unlink()
    with pytest.raises(InputError) as caught:
        list(file)
    assert caught.value.code == "file_unreadable"


def test_a_file_that_changed_since_its_hash_was_taken_is_refused(imported: Imported, tmp_path: Path) -> None:
    file = imported("kind;identifier\nphone;1\n")
    (tmp_path / "list.csv").write_text("kind;identifier\nphone;2\nphone;3\n")
    with pytest.raises(InputError) as caught:
        list(file)
    assert caught.value.code == "file_changed"


def test_a_file_that_changes_while_it_is_read_is_refused_at_its_end(imported: Imported, tmp_path: Path) -> None:
    items = iter(imported("kind;identifier\nphone;1\n"))
    next(items)
    with (tmp_path / "list.csv").open("a") as handle:
        handle.write("phone;2\n")
    with pytest.raises(InputError) as caught:
        list(items)
    assert caught.value.code == "file_changed"
