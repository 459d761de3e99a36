"""Whoever breaks the protocol is dropped by name, and the counts of the others are those of their own sets."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

import numpy as np
import pytest

from concordat.protocol.set_root import set_root
from concordat.protocol.sweep_frames import ANSWER, ESCAPE, packed, unpacked
from concordat.wire.v1 import sweep_pb2 as wire
from gateway.sweep.effects import Send, SweepSettings
from tests.unit.sweep.sweep_world import Entry, World, answer_of, entry, name, oracle, rows_of

if TYPE_CHECKING:
    from collections.abc import Callable

Change: TypeAlias = "Callable[[wire.SweepUp], list[wire.SweepUp]]"
CHEAT, ANN, BEN, CIA = name("CHEAT"), name("ANN"), name("BEN"), name("CIA")


def holdings() -> dict[str, list[Entry]]:
    return {
        ANN: [entry(value, 1) for value in range(30)],
        BEN: [entry(value, 1 | 1 << 4) for value in range(10, 40)],
        CIA: [entry(value, 1 | 1 << 6) for value in range(20, 50)],
        CHEAT: [entry(value, 1 | 2 << 4) for value in range(45)],
    }


def honest() -> dict[str, list[Entry]]:
    return {party: entries for party, entries in holdings().items() if party != CHEAT}


def _is(frame: wire.SweepUp, kind: str) -> bool:
    """Tell whether a frame is of a kind; candidates count where there are at least two of them."""
    if kind != "candidates":
        return frame.WhichOneof("frame") == kind
    answer = answer_of(frame)
    return answer is not None and len(answer.rows) >= 2 * ANSWER.itemsize


def on(kind: str, change: Change, nth: int = 0) -> Callable[[], Change]:
    """Change the nth frame of a kind."""

    def fresh() -> Change:
        seen = [0]

        def tamper(frame: wire.SweepUp) -> list[wire.SweepUp]:
            if not _is(frame, kind):
                return [frame]
            seen[0] += 1
            return change(frame) if seen[0] == nth + 1 else [frame]

        return tamper

    return fresh


def stalled(kind: str, nth: int = 0) -> Callable[[], Change]:
    """Send nothing from the nth frame of a kind on."""

    def fresh() -> Change:
        seen = [0]

        def tamper(frame: wire.SweepUp) -> list[wire.SweepUp]:
            seen[0] += _is(frame, kind)
            return [frame] if seen[0] <= nth else []

        return tamper

    return fresh


def edited(edit: Callable[[wire.SweepUp], None]) -> Change:
    def change(frame: wire.SweepUp) -> list[wire.SweepUp]:
        edit(frame)
        return [frame]

    return change


def _words(change: Callable[[np.ndarray[tuple[int], np.dtype[np.uint16]]], object]) -> Change:
    """Change the words of a window, in place, or into those that `change` returns."""

    def edit(frame: wire.SweepUp) -> None:
        words = unpacked(frame.window.deltas).copy()
        assert len(words) > 1
        other = change(words)
        frame.window.deltas = packed(words if other is None else np.array(other, np.uint16))

    return edited(edit)


def _double(words: np.ndarray[tuple[int], np.dtype[np.uint16]]) -> None:
    words[-1] = 0


def _swap(words: np.ndarray[tuple[int], np.dtype[np.uint16]]) -> None:
    words[-1] ^= 1


def _shorter(words: np.ndarray[tuple[int], np.dtype[np.uint16]]) -> list[int]:
    """Leave out the last token, and the escapes that led to it."""
    left = words.tolist()[:-1]
    while left and left[-1] == ESCAPE:
        left.pop()
    return left


def _shift_window(frame: wire.SweepUp) -> None:
    frame.window.window += 1


def _cut(frame: wire.SweepUp) -> None:
    frame.window.deltas = frame.window.deltas[:-1]


# A window has 2^29 prefixes: as many escapes as lead to its end, and one more.
_BEYOND_SPAN = [ESCAPE] * ((1 << 29) // ESCAPE + 1) + [0]


def _join(**fields: object) -> Callable[[wire.SweepUp], None]:
    def edit(frame: wire.SweepUp) -> None:
        for key, value in fields.items():
            setattr(frame.join, key, value)

    return edit


def _rows(change: Callable[[np.ndarray[tuple[int], np.dtype[np.void]]], object]) -> Change:
    """Change the rows of an answer, in place, or into those that `change` returns."""

    def edit(frame: wire.SweepUp) -> None:
        answer = answer_of(frame)
        assert answer is not None
        rows = np.frombuffer(answer.rows, ANSWER).copy()
        other = change(rows)
        answer.rows = (rows if other is None else np.asarray(other)).tobytes()

    return edited(edit)


def _set(column: str, value: object) -> Change:
    def change(rows: np.ndarray[tuple[int], np.dtype[np.void]]) -> None:
        rows[column] = value

    return _rows(change)


def _another_row(rows: np.ndarray[tuple[int], np.dtype[np.void]]) -> None:
    rows["high"] ^= 1 << 40


def _token_twice(rows: np.ndarray[tuple[int], np.dtype[np.void]]) -> object:
    rows["high"][1], rows["low"][1] = rows["high"][0], rows["low"][0]
    return rows


def _half_a_row(frame: wire.SweepUp) -> None:
    answer = answer_of(frame)
    assert answer is not None
    answer.rows = answer.rows[:-1]


def _unasked_candidates(frame: wire.SweepUp) -> None:
    answer = answer_of(frame)
    assert answer is not None
    answer.window += 1


def _candidates_again(frame: wire.SweepUp) -> list[wire.SweepUp]:
    return [frame, wire.SweepUp(candidates=answer_of(frame))]


def _pairs(kind: str, **fields: object) -> Callable[[wire.SweepUp], None]:
    def edit(frame: wire.SweepUp) -> None:
        for key, value in fields.items():
            setattr(getattr(frame, kind), key, value)

    return edit


def _own_peer(frame: wire.SweepUp) -> None:
    frame.pair_proofs.peer = CHEAT


def _pair_twice(frame: wire.SweepUp) -> None:
    frame.pair_proofs.pairs = frame.pair_proofs.pairs[:8] * (len(frame.pair_proofs.pairs) // 8)


def _strange_pair(frame: wire.SweepUp) -> None:
    pairs = frame.pair_proofs.pairs
    frame.pair_proofs.pairs = pairs[:-8] + (1 << 40).to_bytes(8, "little")


def _others_pair(frame: wire.SweepUp) -> None:
    """Pair 0 is between the first two participants, of whom the cheat is none."""
    frame.pair_proofs.pairs = bytes(8) + frame.pair_proofs.pairs[8:]


def _verdict_two(frame: wire.SweepUp) -> None:
    frame.pair_verdicts.verdicts = b"\x02" * len(frame.pair_verdicts.verdicts)


def _decision(frame: wire.SweepUp) -> None:
    frame.pair_proofs.decisions = b"\x07" * len(frame.pair_proofs.decisions)


def _add_window(frame: wire.SweepUp) -> list[wire.SweepUp]:
    return [frame, wire.SweepUp(window=wire.SweepWindow(window=0))]


def _twice(frame: wire.SweepUp) -> list[wire.SweepUp]:
    return [frame, frame]


def _beyond(frame: wire.SweepUp) -> list[wire.SweepUp]:
    return [frame, *(wire.SweepUp(window=wire.SweepWindow(window=number)) for number in range(1, 20))]


VIOLATION, STALL, TOO_LARGE = "dropped:protocol_violation", "dropped:deadline", "dropped:too_large"
CASES = {
    "a token twice": (on("window", _words(_double)), VIOLATION),
    "a token outside its window": (on("window", _words(lambda _: _BEYOND_SPAN)), VIOLATION),
    "an escape that leads to no token": (on("window", _words(lambda words: [*words.tolist(), ESCAPE])), VIOLATION),
    "a window number too high": (on("window", edited(_shift_window)), VIOLATION),
    "a window twice": (on("window", _twice), VIOLATION),
    "windows beyond the credit": (on("window", _beyond), VIOLATION),
    "half a word": (on("window", edited(_cut)), VIOLATION),
    "another token than was committed": (on("window", _words(_swap), nth=2), VIOLATION),
    "one token fewer than declared": (on("window", _words(_shorter), nth=3), VIOLATION),
    "a window that is too full": (on("window", _words(lambda _: [60_000] * 1200)), TOO_LARGE),
    "more words than a window can have": (on("window", _words(lambda _: [60_000] * 20_000)), TOO_LARGE),
    "tokens that gather in one place": (on("window", _words(lambda _: [0] * 100)), VIOLATION),
    "a window that never comes": (stalled("window", nth=5), STALL),
    "a join of another sweep": (on("join", edited(_join(sweep_id=bytes(16)))), VIOLATION),
    "a join of another operation": (on("join", edited(_join(operation="other"))), VIOLATION),
    "counts that do not add up": (on("join", edited(_join(size=44))), VIOLATION),
    "a set over the limit": (on("join", edited(_join(size=1 << 40))), TOO_LARGE),
    "a root that is none": (on("join", edited(_join(set_root=b"x"))), VIOLATION),
    "a salt that is none": (on("join", edited(_join(salt=b""))), VIOLATION),
    "a root of another set": (on("join", edited(_join(set_root=bytes(32)))), VIOLATION),
    "a class that does not exist": (on("join", edited(_join(classes=b"\xff"))), VIOLATION),
    "a class outside the charter": (on("join", edited(_join(classes=bytes([7])))), VIOLATION),
    "class bytes twice": (on("join", edited(_join(classes=b"\x01\x01", counts=bytes(16)))), VIOLATION),
    "a join twice": (on("join", _twice), VIOLATION),
    "no join first": (on("join", lambda _: [wire.SweepUp(window=wire.SweepWindow())]), VIOLATION),
    "an empty frame": (on("window", lambda _: [wire.SweepUp()]), VIOLATION),
    "candidates of a class that was not declared": (on("candidates", _set("class", 1)), VIOLATION),
    "candidates of a class that does not exist": (on("candidates", _set("class", 255)), VIOLATION),
    "too few candidates": (on("candidates", _rows(lambda rows: rows[:-1])), VIOLATION),
    "too many candidates": (on("candidates", _rows(lambda rows: np.append(rows, rows[-1:]))), VIOLATION),
    "half a candidate": (on("candidates", edited(_half_a_row)), VIOLATION),
    "candidates out of order": (on("candidates", _rows(lambda rows: rows[::-1])), VIOLATION),
    "candidates of other rows": (on("candidates", _rows(_another_row)), VIOLATION),
    "one token for two rows": (on("candidates", _rows(_token_twice)), VIOLATION),
    "one reference for two values": (on("candidates", _set("reference", 0)), VIOLATION),
    "candidates of another window": (on("candidates", edited(_unasked_candidates)), VIOLATION),
    "candidates twice": (on("candidates", _candidates_again, nth=1), VIOLATION),
    "candidates that never come": (stalled("candidates", nth=1), STALL),
    "a window after the last": (on("pair_proofs", _add_window), VIOLATION),
    "proofs to an unknown peer": (on("pair_proofs", edited(_pairs("pair_proofs", peer=name("XX")))), VIOLATION),
    "proofs to oneself": (on("pair_proofs", edited(_own_peer)), VIOLATION),
    "a pair twice in a frame": (on("pair_proofs", edited(_pair_twice)), VIOLATION),
    "a pair that does not exist": (on("pair_proofs", edited(_strange_pair)), VIOLATION),
    "a pair between others": (on("pair_proofs", edited(_others_pair)), VIOLATION),
    "an unknown decision": (on("pair_proofs", edited(_decision)), VIOLATION),
    "proofs twice": (on("pair_proofs", _twice), VIOLATION),
    "no pairs in a proof frame": (on("pair_proofs", edited(_pairs("pair_proofs", pairs=b""))), VIOLATION),
    "too few proofs": (on("pair_proofs", edited(_pairs("pair_proofs", macs=b""))), VIOLATION),
    "proofs that never come": (stalled("pair_proofs"), STALL),
    "verdicts that are none": (on("pair_verdicts", edited(_verdict_two)), VIOLATION),
    "verdicts of an unknown peer": (on("pair_verdicts", edited(_pairs("pair_verdicts", peer="nobody"))), VIOLATION),
    "verdicts twice": (on("pair_verdicts", _twice), VIOLATION),
    "too few verdicts": (on("pair_verdicts", edited(_pairs("pair_verdicts", verdicts=b""))), VIOLATION),
    "verdicts that never come": (stalled("pair_verdicts"), STALL),
}


@pytest.mark.parametrize("case", CASES)
def test_a_cheat_is_dropped_and_the_others_are_counted_right(case: str) -> None:
    tamper, state = CASES[case]
    world = World(holdings(), settings=SweepSettings(window_tokens=8), tamper={CHEAT: tamper()}, seed=3).run()
    truth = oracle(honest())
    assert {CHEAT: state, ANN: "included", BEN: "included", CIA: "included"} == world.states
    assert truth.counts == world.counts
    assert truth.edges == {edge for edge in world.edges if CHEAT not in edge}
    assert world.conclusion is not None
    assert truth.shared == world.conclusion.result.shared_values
    assert world.done[CHEAT].dropped == state.removeprefix("dropped:")


@pytest.mark.parametrize(
    "change",
    [
        _set("low", 7),
        _set("confirm", 0),
        _set("class", 1 | 2 << 4),
    ],
)
def test_a_lie_about_own_values_that_nobody_can_see_changes_no_other_value(change: Change) -> None:
    """Low bits of a token and the confirm are the holder's word: a false one makes another value, of its own."""
    world = World(holdings(), settings=SweepSettings(window_tokens=8), tamper={CHEAT: on("candidates", change)()})
    world.run()
    truth = oracle(honest())
    assert truth.edges == {edge for edge in world.edges if CHEAT not in edge}
    assert world.edges <= oracle(holdings()).edges
    assert world.states[ANN] == "included"


def test_a_set_with_one_token_twice_is_refused_by_name() -> None:
    held = holdings() | {CHEAT: [*holdings()[CHEAT], holdings()[CHEAT][3]]}
    world = World(held, settings=SweepSettings(window_tokens=8), seed=4).run()
    assert world.states[CHEAT] == VIOLATION
    assert oracle(honest()).counts == world.counts


@pytest.mark.parametrize("kind", ["window", "candidates", "pair_proofs", "pair_verdicts"])
def test_a_frame_before_its_phase_drops_its_sender(kind: str) -> None:
    early = wire.SweepUp()
    getattr(early, kind).SetInParent()
    tamper = on("join", lambda frame: [frame, early])()
    # The join of a party that owes nothing is followed at once by a frame that nobody asked for.
    world = World(holdings(), tamper={CHEAT: tamper}, seed=5).run()
    assert world.states[CHEAT] == VIOLATION
    assert oracle(honest()).counts == world.counts


def test_the_declared_set_is_the_one_that_is_compared() -> None:
    """A set whose root fits passes: the check of the root is no check that always fails."""
    rows = rows_of(CHEAT, holdings()[CHEAT])
    tamper = on("join", edited(_join(set_root=set_root(rows.high))))()
    assert World(holdings(), tamper={CHEAT: tamper}).run().states[CHEAT] == "included"


def test_all_but_one_dropped_ends_without_a_report() -> None:
    tamper = on("window", _words(_double))
    held = {ANN: honest()[ANN], CHEAT: holdings()[CHEAT]}
    world = World(held, tamper={CHEAT: tamper()}).run()
    assert world.conclusion is None
    assert world.abandoned is not None
    assert world.done[ANN].report_version == 0
    assert world.done[ANN].dropped == "unavailable"


@pytest.mark.parametrize(("every_s", "state"), [(9, STALL), (2, "included")])
def test_whoever_is_in_time_with_each_frame_and_slow_with_all_is_dropped_and_nobody_else(
    every_s: int, state: str
) -> None:
    settings = SweepSettings(window_tokens=1, inactivity_s=10, total_s=20, step_s=5)
    world = World(holdings(), settings=settings)
    held: list[wire.SweepUp] = []
    due = [0.0]

    def hold(frame: wire.SweepUp) -> list[wire.SweepUp]:
        held.append(frame)
        return []

    def drip(world: World, _step: int) -> None:
        if held and world.now >= due[0] and CHEAT in world.up:
            world.up[CHEAT].append(held.pop(0))
            due[0] = world.now + every_s

    world.tamper[CHEAT] = hold
    for party, one in world.parties.items():
        world._post(party, one.join())
    world.carry(drip)
    assert world.now > settings.total_s
    assert world.states == {CHEAT: state, **dict.fromkeys(honest(), "included")}
    assert oracle(holdings() if state == "included" else honest()).counts == world.counts


def test_the_log_can_say_how_far_a_sweep_has_come_and_on_whom_it_waits() -> None:
    world = World(holdings(), settings=SweepSettings(window_tokens=16))
    world.tamper[CHEAT] = stalled("window", nth=1)()
    said: list[str] = [world.hub.progress]
    for party, one in world.parties.items():
        world._post(party, one.join())
    world.carry(lambda world, _step: said.append(world.hub.progress))
    assert said[0] == f"0 of 4 that are attached have joined; waits for {', '.join(sorted(world.parties))}"
    assert any(line.endswith(f" of 4 windows; waits for {CHEAT}") for line in said)
    assert any(line.startswith("0 % of the pairs; waits for ") for line in said)


def test_whoever_was_dropped_is_turned_away_when_it_comes_again() -> None:
    for early in (True, False):
        world = World(holdings())
        bad = wire.SweepUp(join=wire.SweepJoin(operation="other"))
        world.apply(world.hub.receive(CHEAT, bad, 0.0))
        if not early:
            world.run()
        good = world.parties[CHEAT].join()
        (answer,) = world.hub.receive(CHEAT, good, 0.0)
        assert isinstance(answer, Send)
        assert (answer.last, answer.frame.done.dropped) == (True, "protocol_violation")
