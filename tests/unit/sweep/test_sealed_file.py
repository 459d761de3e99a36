"""The journal of a sweep on disk: sealed, bound to its place, never harmed by a crash behind what was durable."""

from __future__ import annotations

import io
import os
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from concordat.errors import ConfigError
from gateway.sweep import sealed
from gateway.sweep.checkpoint import SweepFolder
from gateway.sweep.journal import Journal
from gateway.sweep.sealed import RECORD_BYTES, SealedFile
from tests.unit.sweep.sweep_world import SWEEP_ID
from tests.unit.sweep.test_sweep_resumes import ANN, BEN, HELD, started
from tests.unit.sweep.test_sweep_resumes import KEY as SWEEP_KEY

if TYPE_CHECKING:
    from pathlib import Path

KEY = bytes(range(32))


def opened(path: Path, *, key: bytes = KEY, what: bytes = b"one") -> SealedFile:
    return SealedFile(os.fdopen(os.open(path, os.O_RDWR | os.O_CREAT, 0o600), "r+b"), key, what)


def whole(file: SealedFile) -> bytes:
    return file.read(0, file.size)


def both(one: bytes, two: bytes) -> bytes:
    """Return what two begin with."""
    pairs = zip(one, two, strict=False)
    return one[: next((place for place, (a, b) in enumerate(pairs) if a != b), min(len(one), len(two)))]


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("write"), st.integers(0, 60), st.binary(max_size=70)),
        st.tuples(st.just("cut"), st.integers(0, 60), st.just(b"")),
        st.tuples(st.just("sync"), st.just(0), st.just(b"")),
        st.tuples(st.just("open"), st.just(0), st.just(b"")),
        st.tuples(st.just("crash"), st.integers(0, 40), st.just(b"")),
    ),
    max_size=25,
)


class Held(io.BytesIO):
    """A file that outlives its closing, as a disk does, and has no number for fsync."""

    def close(self) -> None:
        pass


@given(STEPS, st.integers(1, 16))
@settings(deadline=None)
def test_it_is_a_plain_file_to_whoever_has_the_key(steps: list[tuple[str, int, bytes]], record_bytes: int) -> None:
    """Held against bytes in memory, over cuts, restarts, and kills that tear what was not durable."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sealed, "RECORD_BYTES", record_bytes)
        patch.setattr(os, "fsync", lambda _: None)
        patch.setattr(Held, "fileno", lambda _: 0)
        disk = Held()
        file, expected, durable = SealedFile(disk, KEY, b"x"), b"", b""
        for step, number, content in steps:
            if step == "write":
                at = min(number, len(expected))
                file.write(at, content)
                expected = expected[:at] + content
            elif step == "cut":
                file.cut(min(number, len(expected)))
                expected = expected[:number]
            elif step == "sync":
                file.sync()
                # What was cut off and not written over comes back with the file; its user says how much counts.
                durable = expected
            elif step == "open":
                file.sync()
                file = SealedFile(disk, KEY, b"x")
                assert whole(file)[: len(expected)] == expected
                file.cut(len(expected))
                durable = expected
            else:
                disk.seek(0, io.SEEK_END)
                disk.write(os.urandom(number))
                file = SealedFile(disk, KEY, b"x")
                # Of what was durable and not written over since, nothing is lost.
                expected = durable = both(expected, durable)
                assert whole(file)[: len(expected)] == expected
                file.cut(len(expected))
            assert file.size == len(expected)
            assert whole(file) == expected
            assert file.read(number, 7) == expected[number : number + 7]


def test_on_disk_there_is_no_row_and_no_party(tmp_path: Path) -> None:
    world = started(tmp_path / "sweep")
    world.carry()
    world.hub.journal.sync()
    kept = b"".join(path.read_bytes() for path in (tmp_path / "sweep").iterdir())
    references = [one.reference(party) for party, held in HELD.items() for one in held]
    rows = Journal(SweepFolder(tmp_path / "sweep", SWEEP_KEY).journal())
    rows.cut(world.hub.journal.rows)
    shown = b"".join(block.tobytes() for block in rows.blocks())
    assert sum(reference in shown for reference in references) == 70, "the search finds what is there"
    assert not [reference for reference in references if reference[:8] in kept]
    assert not [text for text in (ANN.encode(), BEN.encode(), SWEEP_ID) if text in kept]


@pytest.mark.parametrize("place", [0, 8, 12, 24, 60, -1])
def test_a_byte_that_was_changed_is_found(tmp_path: Path, place: int) -> None:
    path = tmp_path / "file"
    file = opened(path)
    file.write(0, b"a" * 100)
    file.sync()
    raw = bytearray(path.read_bytes())
    raw[place] ^= 1
    path.write_bytes(raw)
    changed = opened(path)
    # Either the record does not count any more, or it cannot be opened.
    if changed.size == 100:
        with pytest.raises(ConfigError):
            whole(changed)
    assert changed.size in (0, 100)


def test_no_record_passes_in_another_place_or_file_or_under_another_key(tmp_path: Path) -> None:
    path = tmp_path / "file"
    file = opened(path)
    for at, content in ((0, b"a" * 50), (50, b"b" * 50)):
        file.write(at, content)
        file.sync()
    raw = path.read_bytes()
    half = len(raw) // 2
    path.write_bytes(raw[:half] + raw[:half])
    swapped = opened(path)
    with pytest.raises(ConfigError):
        whole(swapped)
    path.write_bytes(raw)
    for other in (opened(path, what=b"two"), opened(path, key=bytes(32))):
        with pytest.raises(ConfigError, match="not what this gateway wrote"):
            whole(other)
    assert whole(opened(path)) == b"a" * 50 + b"b" * 50


def test_large_contents_are_sealed_in_pieces_as_they_come(tmp_path: Path) -> None:
    file = opened(tmp_path / "file")
    content = os.urandom(3 * RECORD_BYTES + 17)
    file.write(0, content)
    assert len(file._tail) == 17
    assert file.read(RECORD_BYTES - 5, 10) == content[RECORD_BYTES - 5 : RECORD_BYTES + 5]
    file.sync()
    assert (tmp_path / "file").stat().st_size < len(content) + 5 * 40
    assert whole(opened(tmp_path / "file")) == content


def test_what_never_was_there_cannot_be_cut_to(tmp_path: Path) -> None:
    file = opened(tmp_path / "file")
    file.write(0, b"abc")
    with pytest.raises(ConfigError):
        file.cut(4)
