"""The search for canaries is not blind: whatever is planted, in any encoding, at any place, is found."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Final

import pytest

from tests.e2e import canaries
from tests.e2e.canaries import Canary, Scanner
from tests.e2e.canary_plants import FOR_BYTES, FOR_NUMBERS, FOR_TEXT
from tests.e2e.tap import Frames

if TYPE_CHECKING:
    from collections.abc import Callable

NUMBER: Final = "+44 7700 900723"
TEXT: Final = "Käfig/кана́рейка?x=1&Y=2@kanarie.example"
LABEL: Final = bytes.fromhex("c0ffee00 0a0d2722 5c7f80ff 31323334")
SCANNER: Final = Scanner([Canary(1, "number", NUMBER), Canary(2, "text", TEXT), Canary(3, "label", LABEL)])
NOISE: Final = random.Random(7).randbytes(300_000)


def seen(content: bytes) -> set[int]:
    return {one.canary for one in SCANNER.find("a place", content)}


def planted(leak: bytes, at: int = 123_457) -> bytes:
    return NOISE[:at] + leak + NOISE[at:]


def test_nothing_is_found_where_nothing_is() -> None:
    assert seen(NOISE) == set()
    assert seen(b"") == set()
    assert seen(b"short") == set()


@pytest.mark.parametrize("write", FOR_TEXT.values(), ids=FOR_TEXT)
def test_a_text_is_found_in_every_encoding(write: Callable[[bytes], bytes]) -> None:
    assert seen(planted(write(TEXT.encode()))) == {2}


@pytest.mark.parametrize("write", FOR_NUMBERS.values(), ids=FOR_NUMBERS)
def test_a_number_is_found_by_its_digits_in_every_encoding(write: Callable[[bytes], bytes]) -> None:
    assert seen(planted(write(NUMBER.encode()))) == {1}


@pytest.mark.parametrize("write", FOR_BYTES.values(), ids=FOR_BYTES)
def test_bytes_are_found_in_every_encoding(write: Callable[[bytes], bytes]) -> None:
    assert seen(planted(write(LABEL))) == {3}


@pytest.mark.parametrize("offset", [*range(17), len(NOISE) - 5])
def test_a_canary_is_found_at_every_alignment_and_at_both_ends(offset: int) -> None:
    assert seen(planted(LABEL, offset)) == {3}
    assert seen(LABEL + NOISE) == {3}
    assert seen(NOISE + LABEL) == {3}


@pytest.mark.parametrize("shift", range(-len(LABEL) - 1, 2))
def test_a_canary_is_found_across_the_pieces_in_which_the_search_works(shift: int) -> None:
    content = bytes(canaries._CHUNK_BYTES + shift) + LABEL + bytes(100)
    assert seen(content) == {3}


def test_all_that_is_there_is_found_with_its_place() -> None:
    found = SCANNER.find("the log", NUMBER.encode() + LABEL + TEXT.encode() + LABEL)
    assert [(one.canary, one.encoding) for one in found] == [(1, "raw"), (3, "raw"), (2, "raw"), (3, "raw")]
    assert {one.place for one in found} == {"the log"}


def test_a_finding_does_not_show_the_secret() -> None:
    canary = Canary(2, "text", TEXT)
    assert TEXT not in f"{canary!r} {SCANNER.find('a place', TEXT.encode())!r}"


def test_a_key_that_is_named_by_its_hash_is_found_by_all_but_its_hash() -> None:
    scanner = Scanner([Canary(1, "mask key", LABEL, named_by_hash=True)])
    found = {name for name, write in FOR_BYTES.items() if scanner.find("a place", write(LABEL))}
    assert found == {name for name in FOR_BYTES if not name.startswith(canaries.HASHES)}


def _frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    return len(payload).to_bytes(3, "big") + bytes([kind, flags]) + stream.to_bytes(4, "big") + payload


def test_a_message_that_straddles_frames_of_interleaved_streams_is_put_together() -> None:
    message = b"\0" + len(TEXT.encode()).to_bytes(4, "big") + TEXT.encode()
    said = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + _frame(4, 0, 0, b"")
    said += _frame(1, 0, 1, b"a header of " + LABEL[:9]) + _frame(9, 4, 1, LABEL[9:])
    # Flag 8: padded; the first byte says by how much.
    said += _frame(0, 8, 1, b"\x03" + message[:20] + b"pad") + _frame(0, 0, 3, b"other") + _frame(0, 0, 1, message[20:])
    frames = Frames(preface=True)
    for at in range(len(said)):
        frames.feed(said[at : at + 1])
    assert seen(said) == set()
    assert seen(bytes(frames.data[1])) == {2}
    assert seen(bytes(frames.rest)) == {3}
    assert next(frames.messages()) == TEXT.encode()


def test_a_compressed_message_is_refused_since_nothing_would_be_found_in_it() -> None:
    frames = Frames(preface=False)
    frames.feed(_frame(0, 0, 1, b"\x01\0\0\0\x02zz"))
    with pytest.raises(AssertionError):
        list(frames.messages())
