"""Whoever breaks the protocol is dropped by name, and the counts of the others are those of their own sets."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

import pytest

from concordat.protocol.set_root import set_root
from concordat.wire.v1 import sweep_pb2 as wire
from gateway.sweep.effects import Send, SweepSettings
from tests.unit.sweep.sweep_world import Entry, World, entry, name, oracle

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


_tokens = [one[0] for one in sorted((one.token, one) for one in holdings()[CHEAT])]


def on(kind: str, change: Change, nth: int = 0) -> Callable[[], Change]:
    """Change the nth frame of a kind."""

    def fresh() -> Change:
        seen = [0]

        def tamper(frame: wire.SweepUp) -> list[wire.SweepUp]:
            if frame.WhichOneof("frame") != kind:
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
            seen[0] += frame.WhichOneof("frame") == kind
            return [frame] if seen[0] <= nth else []

        return tamper

    return fresh


def edited(edit: Callable[[wire.SweepUp], None]) -> Change:
    def change(frame: wire.SweepUp) -> list[wire.SweepUp]:
        edit(frame)
        return [frame]

    return change


def _reverse(frame: wire.SweepUp) -> None:
    tokens = frame.window.tokens
    assert len(tokens) > 16
    frame.window.tokens = b"".join(tokens[at : at + 16] for at in range(len(tokens) - 16, -1, -16))


def _double(frame: wire.SweepUp) -> None:
    frame.window.tokens = frame.window.tokens[:16] * 2 + frame.window.tokens[32:]


def _swap(frame: wire.SweepUp) -> None:
    frame.window.tokens = frame.window.tokens[:-1] + bytes([frame.window.tokens[-1] ^ 1])


def _out_of_range(frame: wire.SweepUp) -> None:
    frame.window.tokens = frame.window.tokens[:-16] + b"\xff" * 16


def _shift_window(frame: wire.SweepUp) -> None:
    frame.window.window += 1


def _cut(frame: wire.SweepUp) -> None:
    frame.window.tokens = frame.window.tokens[:-3]


def _shorter(frame: wire.SweepUp) -> None:
    frame.window.tokens = frame.window.tokens[:-16]


def _longer(frame: wire.SweepUp) -> None:
    frame.window.tokens = b"".join(number.to_bytes(16, "big") for number in range(4000))


def _join(**fields: object) -> Callable[[wire.SweepUp], None]:
    def edit(frame: wire.SweepUp) -> None:
        for key, value in fields.items():
            setattr(frame.join, key, value)

    return edit


def _undeclared_class(frame: wire.SweepUp) -> None:
    frame.candidates.classes = bytes([1]) * len(frame.candidates.classes)


def _fewer_candidates(frame: wire.SweepUp) -> None:
    frame.candidates.classes = frame.candidates.classes[:-1]


def _more_candidates(frame: wire.SweepUp) -> None:
    frame.candidates.classes += frame.candidates.classes[:1]
    frame.candidates.confirms += frame.candidates.confirms[:32]
    frame.candidates.references += frame.candidates.references[:16]


def _one_reference(frame: wire.SweepUp) -> None:
    frame.candidates.references = bytes(16) * len(frame.candidates.classes)


def _unasked_candidates(frame: wire.SweepUp) -> None:
    frame.candidates.window += 1


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
    "descending tokens": (on("window", edited(_reverse)), VIOLATION),
    "a token twice": (on("window", edited(_double)), VIOLATION),
    "a token outside its window": (on("window", edited(_out_of_range)), VIOLATION),
    "a window number too high": (on("window", edited(_shift_window)), VIOLATION),
    "a window twice": (on("window", _twice), VIOLATION),
    "windows beyond the credit": (on("window", _beyond), VIOLATION),
    "half a token": (on("window", edited(_cut)), VIOLATION),
    "another token than was committed": (on("window", edited(_swap), nth=2), VIOLATION),
    "one token fewer than declared": (on("window", edited(_shorter), nth=3), VIOLATION),
    "a window that is too full": (on("window", edited(_longer)), TOO_LARGE),
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
    "candidates of a class that was not declared": (on("candidates", edited(_undeclared_class)), VIOLATION),
    "too few candidates": (on("candidates", edited(_fewer_candidates)), VIOLATION),
    "too many candidates": (on("candidates", edited(_more_candidates)), VIOLATION),
    "one reference for two values": (on("candidates", edited(_one_reference)), VIOLATION),
    "candidates of another window": (on("candidates", edited(_unasked_candidates)), VIOLATION),
    "candidates twice": (on("candidates", _twice, nth=1), VIOLATION),
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
    tamper = on("join", edited(_join(set_root=set_root(b"".join(_tokens)))))()
    assert World(holdings(), tamper={CHEAT: tamper}).run().states[CHEAT] == "included"


def test_all_but_one_dropped_ends_without_a_report() -> None:
    tamper = on("window", edited(_double))
    held = {ANN: honest()[ANN], CHEAT: holdings()[CHEAT]}
    world = World(held, tamper={CHEAT: tamper()}).run()
    assert world.conclusion is None
    assert world.abandoned is not None
    assert world.done[ANN].report_version == 0
    assert world.done[ANN].dropped == "unavailable"


def test_whoever_owes_a_frame_when_the_sweep_has_taken_too_long_is_dropped() -> None:
    world = World(holdings(), settings=SweepSettings(window_tokens=1, inactivity_s=1e9, total_s=20))
    world.tamper[CHEAT] = stalled("window", nth=3)()
    world.run()
    assert world.states[CHEAT] == STALL
    assert oracle(honest()).counts == world.counts


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
