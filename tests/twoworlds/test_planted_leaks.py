"""Each leak that is planted is found by the two worlds, on the surface where it would show."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from typing_extensions import override

from concordat.protocol.macs import ASKER_TOLD
from gateway.edges import EdgeCandidate
from gateway.ledger import Committed, Ledger
from services.node.policy import SILENT
from services.node.store.rows import WitnessRow
from tests.twoworlds.story import OTHER, Silence, X
from tests.twoworlds.test_two_worlds import different, holds

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from tests.twoworlds.story import Told

    Make = Callable[..., Told]


class TellingLedger(Ledger):
    """Writes every answer as an edge of which both are told, whatever the holder decided."""

    @override
    def write(self, writes: Sequence[Any]) -> Committed:
        told = [replace(one, told_a=True, told_b=True) if isinstance(one, EdgeCandidate) else one for one in writes]
        return super().write(told)


class RestlessLedger(Ledger):
    """Says of every edge that there may be something new to see."""

    @override
    def write(self, writes: Sequence[Any]) -> Committed:
        edges = any(isinstance(one, EdgeCandidate) and not one.told_a for one in writes)
        committed = super().write(writes)
        return replace(committed, visible=True) if edges else committed


class CountingLedger(Ledger):
    """Counts its transactions."""

    transactions = 0

    @override
    def write(self, writes: Sequence[Any]) -> Committed:
        self.transactions += 1
        return super().write(writes)


def found(make: Make, plant: Callable[[Told], None], kind: type[Ledger] = Ledger, *, when: str = "early") -> set[str]:
    """Tell the story in two worlds with the same leak; return the surfaces on which it shows."""
    worlds = []
    for value in (OTHER, X):
        world = make(kind)
        plant(world)
        world.tell(Silence(**{when: holds(value, SILENT)}))
        worlds.append(world)
    return set(different(worlds[0], worlds[1]))


def nothing(_world: Told) -> None: ...


def test_a_decision_that_is_written_as_an_edge(make_world: Make) -> None:
    assert {"frames to NL", "the operator's state", "the operator's stream", "the console's page"} <= found(
        make_world, nothing, TellingLedger
    )


def test_a_page_that_counts_edges_of_which_one_side_knows(make_world: Make) -> None:
    def plant(world: Told) -> None:
        world.readers.counts_all_edges = True

    assert {"the operator's state", "the console's page", "the API to console/console"} <= found(make_world, plant)


def test_a_view_that_is_read_again_for_a_silent_edge(make_world: Make) -> None:
    assert found(make_world, nothing, RestlessLedger) == {"readings of the operator's view"}


def test_a_position_that_counts_transactions(make_world: Make) -> None:
    def plant(world: Told) -> None:
        ledger = world.twin.world.ledger
        assert isinstance(ledger, CountingLedger)
        for node in world.twin.nodes.values():
            node.shows_transactions = lambda: ledger.transactions  # type: ignore[attr-defined]

    assert {"frames to FR", "frames to UA"} <= found(make_world, plant, CountingLedger)


def test_a_holder_that_is_timed_out_where_it_holds_something(make_world: Make) -> None:
    def plant(world: Told) -> None:
        world.twin.nodes["RO"].steals_barriers = True  # type: ignore[attr-defined]

    leaks = found(make_world, plant)
    assert {"frames to NL", "the API to partner/IJM"} <= leaks
    assert "the operator's state" not in leaks


def test_a_silent_record_in_the_figures(make_world: Make) -> None:
    def plant(world: Told) -> None:
        world.leaks_into_report = True

    leaks = found(make_world, plant)
    assert {"the report", "the API to partner/IJM", "the console's page"} <= leaks


def test_a_ledger_that_takes_longer_for_a_silent_edge(make_world: Make) -> None:
    """One millisecond more, and all that follows comes later."""

    def plant(world: Told) -> None:
        ledger, clock = world.twin.world.ledger, world.twin.clock
        write = ledger.write

        def slow(writes: Sequence[Any]) -> Committed:
            if any(isinstance(one, EdgeCandidate) and not one.told_a for one in writes):
                clock.advance(0.001)
            return write(writes)

        ledger.write = slow  # type: ignore[method-assign]

    assert {"frames to NL", "frames to DE"} <= found(make_world, plant)


def test_a_node_that_keeps_what_it_was_asked_discreetly(make_world: Make) -> None:
    """The asked node's disk is a surface as well: nothing that its officers may not see is to be on it."""

    def plant(world: Told) -> None:
        for name in ("NL", "DE"):
            party = world.twin.nodes[name].party
            answerer, store = party.core._answerer, party.store
            keep = answerer._keep

            def keeping(header: Any, found: Any, *, answered: Any, keep: Any = keep, store: Any = store) -> None:
                keep(header, found, answered=answered)
                fields = header.fields
                rows = [WitnessRow(one.hit.reference, fields.asker, one.theirs, fields.check_id) for one in answered]
                store.witness([row for row, one in zip(rows, answered, strict=True) if one.decision == ASKER_TOLD])

            answerer._keep = keeping  # type: ignore[method-assign]

    assert found(make_world, plant, when="late") == {"disk of NL", "disk of DE"}
