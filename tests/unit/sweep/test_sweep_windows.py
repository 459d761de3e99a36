"""Each rule of a window holds by itself, whatever another rule would catch later."""

from __future__ import annotations

import numpy as np
import pytest

from concordat.errors import ProtocolError
from concordat.protocol.set_root import set_root, window_root
from concordat.protocol.sweep_frames import ESCAPE, Cut
from concordat.wire.v1 import sweep_pb2 as wire
from gateway.sweep.declaration import Declaration, Progress
from gateway.sweep.groups import Candidates, Wanted
from gateway.sweep.jobs import MergeJob, Workbench
from tests.unit.sweep.sweep_world import NAMESPACES

CUT = Cut(32, 1)
BORDER = 1 << 63


def declared(*high: int, size: int | None = None) -> Declaration:
    counts = np.zeros(256, np.int64)
    counts[1] = len(high)
    root = set_root(np.array(sorted(high), np.uint64))
    return Declaration(len(high) if size is None else size, counts, root, bytes(32))


def sent(progress: Progress, *windows: list[int], below: int = 2) -> None:
    """Let the windows of some first words pass through the checks of a participant's progress."""
    for number, high in enumerate(windows):
        progress.receive(wire.SweepWindow(window=number, deltas=bytes(2 * len(high))), below)
        offsets = np.array([(one >> 32) - number * CUT.span for one in high], np.int64)
        progress.merged(len(high), window_root(offsets, prefix_bits=32, window=number, window_bits=1))


def test_windows_as_committed_are_taken() -> None:
    low, high = [0, 1 << 40, BORDER - 1], [BORDER, (1 << 64) - 1]
    progress = Progress(declared(*low, *high), CUT)
    sent(progress, low, high)
    assert (progress.next, progress.rows) == (2, 5)


def test_another_set_than_was_committed_is_refused() -> None:
    progress = Progress(declared(5 << 32, BORDER), CUT)
    with pytest.raises(ProtocolError, match="not the one"):
        sent(progress, [6 << 32], [BORDER])


@pytest.mark.parametrize("size", [1, 3])
def test_the_size_holds_even_where_the_root_fits(size: int) -> None:
    progress = Progress(declared(5 << 32, BORDER, size=size), CUT)
    with pytest.raises(ProtocolError):
        sent(progress, [5 << 32], [BORDER])


def test_a_window_beyond_the_credit_is_refused() -> None:
    with pytest.raises(ProtocolError, match="credit"):
        sent(Progress(declared(0, BORDER), CUT), [0], [BORDER], below=1)


def test_a_window_beyond_the_last_is_refused() -> None:
    with pytest.raises(ProtocolError, match="credit"):
        Progress(declared(0), Cut(32, 0)).receive(wire.SweepWindow(window=1), 8)
    one = Progress(declared(0), Cut(32, 0))
    one.receive(wire.SweepWindow(window=0), 8)
    with pytest.raises(ProtocolError, match="credit"):
        one.receive(wire.SweepWindow(window=1), 8)


@pytest.mark.parametrize("window", [1, 7])
def test_a_window_out_of_order_is_refused(window: int) -> None:
    with pytest.raises(ProtocolError, match="order"):
        Progress(declared(0), CUT).receive(wire.SweepWindow(window=window), 8)


def test_a_window_twice_is_refused() -> None:
    progress = Progress(declared(0), CUT)
    progress.receive(wire.SweepWindow(window=0), 2)
    with pytest.raises(ProtocolError, match="order"):
        progress.receive(wire.SweepWindow(window=0), 2)


def test_a_window_that_no_declared_set_fills_so_is_refused_before_it_is_kept() -> None:
    progress = Progress(declared(0), CUT)
    fits = 2 * CUT.most_words(progress.limit)
    progress.receive(wire.SweepWindow(window=0, deltas=bytes(fits)), 2)
    with pytest.raises(ProtocolError) as refusal:
        progress.receive(wire.SweepWindow(window=1, deltas=bytes(fits + 2)), 2)
    assert refusal.value.code == "too_large"


def test_a_window_that_no_pseudorandom_set_fills_so_is_refused() -> None:
    progress = Progress(declared(*range(5000)), Cut(32, 3))
    with pytest.raises(ProtocolError) as refusal:
        progress.merged(progress.limit + 1, bytes(32))
    assert refusal.value.code == "too_large"


def test_more_rows_of_a_class_than_declared_are_refused() -> None:
    progress = Progress(declared(0, 1), CUT)
    progress.charge(np.array([1, 1], np.uint8))
    with pytest.raises(ProtocolError, match="class"):
        progress.charge(np.array([1], np.uint8))


def join(classes: bytes, *counts: int, size: int | None = None) -> wire.SweepJoin:
    column = b"".join(number.to_bytes(8, "little") for number in counts)
    total = sum(counts) if size is None else size
    return wire.SweepJoin(size=total, classes=classes, counts=column, set_root=bytes(32), salt=bytes(32))


@pytest.mark.parametrize(
    "bad",
    [
        join(b"\x07", 3),
        join(b"\x31", 3),
        join(b"\x02\x01", 1, 1),
        join(b"\x01\x01", 1, 1),
        join(b"\x01", 1, 1),
        join(b"\x01\x02", 1, 0),
        join(b"\x01", 2, size=3),
        join(b"\x01\x02\x03", (1 << 63), (1 << 63), 5, size=5),
        join(b"\x01", 101),
    ],
)
def test_a_join_whose_fields_contradict_each_other_is_refused(bad: wire.SweepJoin) -> None:
    with pytest.raises(ProtocolError):
        Declaration.read(bad, namespaces=NAMESPACES, max_size=100)


def test_a_join_is_read_as_declared() -> None:
    one = Declaration.read(join(b"\x01\x14", 2, 3), namespaces=NAMESPACES, max_size=100)
    assert {int(byte): int(one.counts[byte]) for byte in np.flatnonzero(one.counts)} == {1: 2, 0x14: 3}


@pytest.mark.parametrize("change", [{"size": 2}, {"set_root": b"r" * 32}, {"salt": b"s" * 32}, {"classes": b"\x02"}])
def test_a_join_again_of_another_set_is_not_the_same(change: dict[str, object]) -> None:
    first, second = join(b"\x01", 3), join(b"\x01", 3)
    for key, value in change.items():
        setattr(second, key, value)
    if "size" in change:
        second.counts = (2).to_bytes(8, "little")
    one, other = (Declaration.read(each, namespaces=NAMESPACES, max_size=100) for each in (first, second))
    assert one.same(one)
    assert not one.same(other)


# Of one window: what a participant answers is held to what was asked.


def answer(*tokens: int, cut: int = 0) -> wire.SweepCandidates:
    rows = b"".join(token.to_bytes(16, "big") + bytes(32) + b"\x01" for token in tokens)
    return wire.SweepCandidates(window=0, rows=rows[: len(rows) - cut])


FIRST, SECOND = 1 << 96, 2 << 96 | 5
WANTED = Wanted(np.array([3, 4]), np.array([1, 2]), 100)


def test_candidates_as_wanted_are_read() -> None:
    read = Candidates.read(answer(FIRST, SECOND), WANTED, CUT)
    assert (read.high.tolist(), read.low.tolist(), read.rows.tolist()) == ([1 << 32, 2 << 32], [0, 5], [103, 104])


@pytest.mark.parametrize(
    "bad",
    [
        answer(FIRST),
        answer(FIRST, SECOND, SECOND + 1),
        answer(SECOND, FIRST),
        answer(FIRST, 3 << 96),
        answer(FIRST, SECOND, cut=1),
        answer(FIRST, SECOND, SECOND + 1, cut=48),
    ],
)
def test_candidates_of_other_rows_or_too_many_are_refused(bad: wire.SweepCandidates) -> None:
    with pytest.raises(ProtocolError):
        Candidates.read(bad, WANTED, CUT)


@pytest.mark.parametrize(
    ("first", "second"), [(FIRST + 1, FIRST + 1), (FIRST + 2, FIRST + 1), (FIRST + (1 << 64), FIRST + 9)]
)
def test_one_token_twice_or_out_of_order_is_refused(first: int, second: int) -> None:
    """The prefixes fit: they are equal."""
    wanted = Wanted(np.array([3, 4]), np.array([1, 1]), 0)
    with pytest.raises(ProtocolError, match="twice"):
        Candidates.read(answer(first, second), wanted, CUT)


def merge(*frames: bytes) -> set[int]:
    """Return who is refused for its frame."""
    return set(MergeJob(0, CUT, dict(enumerate(frames)), Workbench()).run().refused)


def words(*numbers: int) -> bytes:
    return np.array(numbers, "<u2").tobytes()


def test_frames_that_break_a_rule_are_refused_and_the_others_merged() -> None:
    beyond = words(*[ESCAPE] * (CUT.span // ESCAPE + 1), 0)
    skewed = words(*[0] * 80)
    assert merge(words(1, 2), b"\x01", words(1, ESCAPE), beyond, skewed, b"") == {1, 2, 3, 4}


def test_the_last_prefix_of_a_window_is_in_it() -> None:
    last = CUT.span - 1
    assert merge(words(*[ESCAPE] * (last // ESCAPE), last % ESCAPE), words(0)) == set()
    assert merge(words(*[ESCAPE] * (last // ESCAPE), last % ESCAPE + 1), words(0)) == {0}
