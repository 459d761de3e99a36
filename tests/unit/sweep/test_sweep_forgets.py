"""I1, I2: nothing secret leaves a participant, and the hub keeps no token once its window is merged."""

from __future__ import annotations

import gc
from types import BuiltinFunctionType, FunctionType, ModuleType
from typing import TYPE_CHECKING

import numpy as np
from google.protobuf.message import Message

from gateway.sweep.effects import SweepSettings
from gateway.sweep.hub import Phase, SweepHub
from tests.unit.sweep.sweep_world import World, entry, name

if TYPE_CHECKING:
    from concordat.wire.v1 import sweep_pb2 as wire

ANN, BEN = name("ANN"), name("BEN")
_CODE = (type, ModuleType, FunctionType, BuiltinFunctionType)


def held_bytes(root: SweepHub) -> bytes:
    """Return all bytes and arrays that can be reached from the hub, in the byte order of the wire."""
    seen, queue, found = set[int](), [root.__dict__], []
    while queue:
        one: object = queue.pop()
        if id(one) in seen or isinstance(one, _CODE):
            continue
        seen.add(id(one))
        if isinstance(one, bytes):
            found.append(one)
        elif isinstance(one, Message):
            found.append(one.SerializeToString())
        elif isinstance(one, np.ndarray):
            found.append(one.tobytes())
            # A column of words holds tokens in the machine's order of bytes.
            found.append(one.byteswap().tobytes())
        queue += gc.get_referents(one)
    # Tables of counters are empty for the most part.
    return b"|".join(found).replace(bytes(64), b"\0")


def world() -> World:
    held = {party: [entry(value) for value in range(at, 12 + at)] for at, party in enumerate((ANN, BEN))}
    return World(held, settings=SweepSettings(window_tokens=4))


def traces(of: World) -> list[bytes]:
    """Return what a column may hold of the tokens: halves, and what was streamed of them as it was and decoded."""
    tokens = [one.token for entries in of.holdings.values() for one in entries]
    halves = [half for token in tokens for half in (token[:8], token[8:])]
    # There are four windows: two bits of a prefix number the window.
    offsets = [(int.from_bytes(token[:4]) & ((1 << 30) - 1)).to_bytes(4, "little") for token in tokens]
    return halves + offsets


def test_the_hub_keeps_no_token_after_the_windows() -> None:
    one = world()
    seen_before, seen_after = set[bytes](), set[bytes]()
    for party, state in one.parties.items():
        one._post(party, state.join())
    while one.hub.phase is not Phase.OVER:
        party = next(party for party, frames in one.up.items() if frames)
        one.apply(one.hub.receive(party, one.up[party].popleft(), 0.0))
        memory = held_bytes(one.hub)
        found = {trace for trace in traces(one) if trace in memory}
        if one.hub.phase is Phase.STREAMING:
            seen_before |= found
        else:
            seen_after |= found
    # The search finds what is there while a window is held, so that it proves something when nothing is.
    assert {len(trace) for trace in seen_before} == {4, 8}
    assert seen_after == set()


def test_the_journal_holds_no_token_and_no_proof_of_a_value() -> None:
    one = world().run()
    kept = one.hub.journal._file.read(0, one.hub.journal._file.size)
    entries = [each for held in one.holdings.values() for each in held]
    assert any(each.reference(ANN) in kept for each in one.holdings[ANN])
    assert not [trace for trace in traces(one) if trace in kept]
    confirms = [bytes(row["confirm"]) for party in one.parties.values() for row in party._rows.answer]
    assert not [secret for secret in [*confirms, *(each.secret for each in entries)] if secret[:8] in kept]


def test_no_match_secret_leaves_a_participant() -> None:
    one = world()
    sent: list[bytes] = []

    def listen(frame: wire.SweepUp) -> list[wire.SweepUp]:
        sent.append(frame.SerializeToString())
        return [frame]

    one.tamper = dict.fromkeys(one.parties, listen)
    one.run()
    traffic = b"|".join(sent)
    entries = [each for held in one.holdings.values() for each in held]
    shared = [each for each in entries if all(each in held for held in one.holdings.values())]
    assert shared
    assert all(each.token in traffic for each in shared)
    assert not any(each.secret in traffic for each in entries)
