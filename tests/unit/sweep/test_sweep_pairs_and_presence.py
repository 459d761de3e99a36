"""Edges open only where both holders have verified each other; who is not there is named."""

from __future__ import annotations

import pytest

from concordat.errors import ProtocolError
from concordat.protocol.macs import pair_mac
from concordat.wire.v1 import sweep_pb2 as wire
from gateway.sweep.effects import SweepSettings
from services.node.sweep import SweepParty
from tests.unit.sweep.sweep_world import OPERATION, SALT, SWEEP_ID, World, entry, name, oracle, rows_of

ANN, BEN, CIA = name("ANN"), name("BEN"), name("CIA")


def three(**options: object) -> World:
    held = {ANN: [entry(1), entry(2)], BEN: [entry(1), entry(3)], CIA: [entry(1), entry(2)]}
    return World(held, **options)  # type: ignore[arg-type] # forwarded as they are


def without(world: World, *parties: str) -> set[tuple[str, bytes, str, bytes]]:
    return {edge for edge in oracle(world.holdings).edges if not set(parties) <= set(edge)}


def test_a_wrong_proof_opens_no_edge_and_harms_no_other() -> None:
    def forge(frame: wire.SweepUp) -> list[wire.SweepUp]:
        if frame.WhichOneof("frame") == "pair_proofs" and frame.pair_proofs.peer == CIA:
            frame.pair_proofs.macs = bytes(len(frame.pair_proofs.macs))
        return [frame]

    world = three(tamper={ANN: forge}).run()
    assert without(world, ANN, CIA) == world.edges
    assert [pair for pair in world.verified[CIA] if pair.peer == ANN] == []
    assert oracle(world.holdings).counts == world.counts


def test_a_proof_sent_back_to_its_maker_opens_no_edge() -> None:
    """Sender and addressee are in the MAC, so that who cannot make one gains nothing from the other's."""
    world = three()
    stolen: dict[str, wire.PairProofs] = {}

    def keep(frame: wire.SweepUp) -> list[wire.SweepUp]:
        if frame.WhichOneof("frame") == "pair_proofs":
            stolen[frame.pair_proofs.peer] = frame.pair_proofs
        return [frame]

    def echo(frame: wire.SweepUp) -> list[wire.SweepUp]:
        if frame.WhichOneof("frame") == "pair_proofs" and frame.pair_proofs.peer == ANN:
            frame.pair_proofs.macs = stolen[BEN].macs
        return [frame]

    world.tamper = {ANN: keep, BEN: echo}
    world.run()
    assert without(world, ANN, BEN) == world.edges


def test_a_decision_changed_on_the_way_does_not_fit() -> None:
    def change(frame: wire.SweepUp) -> list[wire.SweepUp]:
        if frame.WhichOneof("frame") == "pair_proofs":
            frame.pair_proofs.decisions = b"\x01" * len(frame.pair_proofs.decisions)
        return [frame]

    world = three(tamper={BEN: change}).run()
    assert without(world, ANN, BEN) & without(world, BEN, CIA) == world.edges


def test_a_bad_verdict_of_one_side_is_enough() -> None:
    def deny(frame: wire.SweepUp) -> list[wire.SweepUp]:
        if frame.WhichOneof("frame") == "pair_verdicts" and frame.pair_verdicts.peer == ANN:
            frame.pair_verdicts.verdicts = bytes(len(frame.pair_verdicts.verdicts))
        return [frame]

    world = three(tamper={BEN: deny}).run()
    assert without(world, ANN, BEN) == world.edges


def test_missing_verdicts_open_no_edge() -> None:
    def silent(frame: wire.SweepUp) -> list[wire.SweepUp]:
        return [] if frame.WhichOneof("frame") == "pair_verdicts" else [frame]

    world = three(tamper={BEN: silent}).run()
    assert without(world, ANN, BEN) & without(world, BEN, CIA) == world.edges
    assert world.states[BEN] == "dropped:deadline"


def test_a_pair_verified_on_both_sides_opens_although_one_is_dropped_afterwards() -> None:
    def late(frame: wire.SweepUp) -> list[wire.SweepUp]:
        stop = frame.WhichOneof("frame") == "pair_verdicts" and frame.pair_verdicts.peer == CIA
        return [] if stop else [frame]

    world = three(tamper={BEN: late}).run()
    assert world.states[BEN] == "dropped:deadline"
    assert without(world, BEN, CIA) == world.edges


def test_a_live_edge_is_not_asked_again() -> None:
    world = three(live=lambda pair: pair.parties == (ANN, BEN)).run()
    assert without(world, ANN, BEN) == world.edges
    assert {pair.peer for pair in world.verified[BEN]} == {CIA}
    assert oracle(world.holdings).counts == world.counts


def test_verified_pairs_name_both_references() -> None:
    world = three().run()
    found = {(pair.own_reference, pair.peer, pair.peer_reference) for pair in world.verified[ANN]}
    expected = {(one[1], one[2], one[3]) for one in oracle(world.holdings).edges if one[0] == ANN}
    assert expected == found


def test_an_absent_participant_is_named_and_not_waited_for() -> None:
    world = three(attached=frozenset({ANN, BEN})).run()
    assert world.states == {ANN: "included", BEN: "included", CIA: "absent"}
    assert world.now == 0.0
    assert oracle({party: world.holdings[party] for party in (ANN, BEN)}).counts == world.counts


def test_an_attached_participant_that_does_not_join_is_waited_for_ten_seconds() -> None:
    world = three(tamper={CIA: lambda _frame: []}).run()
    assert world.states[CIA] == "absent"
    assert world.now == 10.0


def test_whoever_joins_after_the_plan_is_turned_away_and_absent() -> None:
    world = three(attached=frozenset({ANN, BEN}))
    late = SweepParty(
        CIA, SWEEP_ID, operation=OPERATION, participants=world.participants, rows=rows_of(CIA, []), salt=SALT
    )
    for party in (ANN, BEN):
        world.apply(world.hub.receive(party, world.parties[party].join(), 0.0))
    world.apply(world.hub.receive(CIA, late.join(), 0.0))
    assert world.done[CIA].dropped == "deadline"


def test_a_stranger_cannot_join() -> None:
    world = three()
    world.apply(world.hub.receive(name("XX"), world.parties[ANN].join(), 0.0))
    assert world.done[name("XX")].dropped == "protocol_violation"


def test_a_stream_that_ends_before_the_plan_may_come_back() -> None:
    world = three()
    world.apply(world.hub.receive(ANN, world.parties[ANN].join(), 0.0))
    world.apply(world.hub.gone(ANN, 0.0))
    world.run()
    assert set(world.states.values()) == {"included"}


def test_a_stream_that_ends_in_the_middle_is_dropped() -> None:
    world = three()
    for party in (ANN, BEN, CIA):
        world.apply(world.hub.receive(party, world.parties[party].join(), 0.0))
    world.apply(world.hub.gone(CIA, 0.0))
    world.carry()
    assert world.states[CIA] == "dropped:unavailable"
    assert oracle({party: world.holdings[party] for party in (ANN, BEN)}).counts == world.counts


def test_fewer_than_two_end_without_a_report() -> None:
    world = three(attached=frozenset({ANN})).run()
    assert world.abandoned is not None
    assert world.conclusion is None
    assert world.now == 10.0


def _plan(window_bits: int = 0, prefix_bits: int = 32, first: int = 0) -> wire.SweepPlan:
    return wire.SweepPlan(window_bits=window_bits, prefix_bits=prefix_bits, below=1, first=first)


def planned(bits: int = 0) -> SweepParty:
    party = SweepParty(
        ANN, SWEEP_ID, operation=OPERATION, participants=[ANN, BEN], rows=rows_of(ANN, [entry(1), entry(2)]), salt=SALT
    )
    party.receive(wire.SweepDown(plan=_plan(bits)))
    return party


ORDERED = sorted([entry(1), entry(2)], key=lambda one: one.token)


def _want(*positions: int, window: int = 0) -> wire.SweepDown:
    packed = b"".join(position.to_bytes(4, "little") for position in positions)
    return wire.SweepDown(want=wire.SweepWant(window=window, positions=packed, below=1))


def _listed(row: int = 0, peer: str = BEN, number: int = 0, reference: bytes | None = None) -> wire.SweepDown:
    own = ORDERED[row].reference(ANN) if reference is None else reference
    return wire.SweepDown(
        pairs=wire.PairList(
            peer=peer,
            pairs=number.to_bytes(8, "little"),
            own_references=own,
            peer_references=bytes(16),
            own_rows=row.to_bytes(8, "little"),
        )
    )


def _edited(frame: wire.SweepDown, **fields: bytes) -> wire.SweepDown:
    for key, value in fields.items():
        setattr(frame.pairs, key, value)
    return frame


@pytest.mark.parametrize(
    "frame",
    [
        wire.SweepDown(),
        wire.SweepDown(plan=_plan()),
        _want(2),
        _want(1, 0),
        _want(0, 0),
        _want(0, window=1),
        wire.SweepDown(want=wire.SweepWant(positions=bytes(3))),
        _listed(reference=ORDERED[1].reference(ANN)),
        _listed(reference=bytes(16)),
        _listed(peer=CIA),
        _listed(peer=ANN),
        _edited(_listed(), own_rows=(2).to_bytes(8, "little")),
        _edited(_listed(), own_rows=b""),
        _edited(_listed(), own_rows=bytes(7)),
        _edited(_listed(), peer_references=bytes(32)),
        _edited(_listed(), pairs=bytes(7)),
        wire.SweepDown(pair_proofs=wire.PairProofs(peer=BEN, pairs=bytes(8), macs=bytes(32), decisions=b"\x03")),
    ],
)
def test_a_participant_refuses_what_a_hub_may_not_ask(frame: wire.SweepDown) -> None:
    with pytest.raises(ProtocolError):
        planned().receive(frame)


@pytest.mark.parametrize("plan", [_plan(window_bits=40), _plan(prefix_bits=31), _plan(prefix_bits=64), _plan(first=2)])
def test_a_plan_that_no_cut_has_is_refused(plan: wire.SweepPlan) -> None:
    party = SweepParty(ANN, SWEEP_ID, operation=OPERATION, participants=[ANN], rows=rows_of(ANN, []), salt=SALT)
    with pytest.raises(ProtocolError):
        party.receive(wire.SweepDown(plan=plan))


def test_a_want_before_the_plan_is_refused() -> None:
    party = SweepParty(ANN, SWEEP_ID, operation=OPERATION, participants=[ANN], rows=rows_of(ANN, []), salt=SALT)
    with pytest.raises(ProtocolError):
        party.receive(_want())


def test_a_participant_answers_a_want_once_and_proves_a_pair_once() -> None:
    party = planned()
    assert len(party.receive(_want(0)).frames) == 1
    with pytest.raises(ProtocolError):
        party.receive(_want(1))
    (proof,) = party.receive(_listed()).frames
    expected = pair_mac(ORDERED[0].secret, SWEEP_ID, (ANN, BEN), (ORDERED[0].reference(ANN), bytes(16)), 3)
    assert expected == proof.pair_proofs.macs
    with pytest.raises(ProtocolError):
        party.receive(_listed(1))


def test_an_answer_is_of_the_wanted_rows_in_their_order() -> None:
    (frame,) = planned().receive(_want(0, 1)).frames
    assert [frame.candidates.rows[at : at + 16] for at in (0, 49)] == [one.token for one in ORDERED]


def test_a_participant_proves_to_participants_of_the_charter_only() -> None:
    party = planned()
    with pytest.raises(ProtocolError):
        party.receive(_listed(peer=CIA))
    assert len(party.receive(_listed()).frames) == 1


def test_a_participant_judges_a_proof_once() -> None:
    party = planned()
    party.receive(_listed())
    own = ORDERED[0].reference(ANN)
    mac = pair_mac(ORDERED[0].secret, SWEEP_ID, (BEN, ANN), (bytes(16), own), 3)
    proof = wire.SweepDown(pair_proofs=wire.PairProofs(peer=BEN, pairs=bytes(8), macs=mac, decisions=b"\x03"))
    step = party.receive(proof)
    assert [(pair.own_reference, pair.peer) for pair in step.verified] == [(own, BEN)]
    assert step.frames[0].pair_verdicts.verdicts == b"\x01"
    with pytest.raises(ProtocolError):
        party.receive(proof)


def test_windows_of_a_dropped_participant_are_forgotten_at_once() -> None:
    world = three()
    for party in (ANN, BEN, CIA):
        world.apply(world.hub.receive(party, world.parties[party].join(), 0.0))
    world.apply(world.hub.receive(CIA, world.up[CIA].popleft(), 0.0))
    assert [set(held) for held in world.hub.streaming._frames.values()] == [{2}]
    world.apply(world.hub._drop(CIA, "unavailable", ""))
    assert [set(held) for held in world.hub.streaming._frames.values()] == [set()]


def test_settings_have_the_limits_of_the_protocol() -> None:
    assert SweepSettings().join_s == 10.0
    assert SweepSettings().window_tokens == 160_000


def test_nobody_waits_for_a_participant_that_leaves() -> None:
    """A line that broke may come back; who says that it leaves does not, and is named as one that went."""

    def leave(frame: wire.SweepUp) -> list[wire.SweepUp]:
        proves = frame.WhichOneof("frame") == "pair_proofs"
        return [wire.SweepUp(leaving=wire.SweepLeaving())] if proves else [frame]

    world = three(tamper={BEN: leave}).run()
    assert world.states == {ANN: "included", BEN: "dropped:unavailable", CIA: "included"}
    assert world.now == 0.0
    assert world.edges == without(world, ANN, BEN) & without(world, BEN, CIA)
