"""What a gateway that breaks the protocol cannot make a participant do."""

from __future__ import annotations

import pytest

from concordat.errors import ProtocolError
from concordat.wire.v1 import sweep_pb2 as wire
from services.node import sweep
from services.node.sweep import SweepParty
from tests.unit.sweep.sweep_world import OPERATION, SALT, SWEEP_ID, entry, name, rows_of

ANN, BEN = name("ANN"), name("BEN")


def party() -> SweepParty:
    rows = rows_of(ANN, [entry(value) for value in range(3)])
    return SweepParty(ANN, SWEEP_ID, operation=OPERATION, participants=(ANN, BEN), rows=rows, salt=SALT)


@pytest.mark.parametrize(("prefix", "window"), [(56, 0), (48, 0), (56, 12)])
def test_a_plan_whose_windows_are_all_escapes_is_refused_before_any_is_made(prefix: int, window: int) -> None:
    one = party()
    one.join()
    with pytest.raises(ProtocolError):
        one.receive(wire.SweepDown(plan=wire.SweepPlan(prefix_bits=prefix, window_bits=window, below=1)))


def test_pairs_without_end_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sweep, "MOST_PAIRS", 5)
    one = party()
    one.join()
    own = one._rows.answer["reference"][0].tobytes()

    def listed(number: int) -> wire.SweepDown:
        pairs, row = number.to_bytes(8, "little"), bytes(8)
        return wire.SweepDown(
            pairs=wire.PairList(peer=BEN, pairs=pairs, own_references=own, peer_references=bytes(16), own_rows=row)
        )

    for number in range(5):
        assert one.receive(listed(number)).frames
    with pytest.raises(ProtocolError, match="without end"):
        one.receive(listed(5))
