"""Two weak coincidences between two lines are a match, whoever came first; a lone one shows nowhere (2, 3.4, I11)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from services.node.policy import DEFAULT, SILENT, Policy
from services.node.store.values import STRONG, WEAK, CanonicalValue
from tests.unit.exchange import parties

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.simulation.live import Live

HOST, NAME, PHONE = "shop.example", "anna", "+447700900001"
ORDERS = pytest.mark.parametrize("order", [("NL", "DE"), ("DE", "NL")])


def value(canonical: str, grade: int = WEAK) -> CanonicalValue:
    return CanonicalValue("e164", 1, canonical, grade)


Lines = list[list[list[CanonicalValue]]]
"""Lines of records of values."""
TWO_WEAK: Lines = [[[value(HOST)], [value(NAME)]]]
WEAK_AND_STRONG: Lines = [[[value(HOST)], [value(PHONE, STRONG)]]]
ONE_RECORD: Lines = [[[value(HOST), value(NAME)]]]
TWO_LINES: Lines = [[[value(HOST)]], [[value(NAME)]]]


def submit(live: Live, name: str, lines: Lines, policy: Policy = DEFAULT) -> None:
    for number, rows in enumerate(lines, 1):
        live.nodes[name].party.submit_line(number, *rows, policy=policy)
    live.nodes[name].poke()


def told(live: Live, canonical: str) -> tuple[int, int]:
    nl, de = live.nodes["NL"], live.nodes["DE"]
    return nl.times_told_of(canonical, de), de.times_told_of(canonical, nl)


def meet(live: Live, order: tuple[str, str], lines: dict[str, Lines], **policies: Policy) -> None:
    live.attach("NL", "DE")
    for name in order:
        submit(live, name, lines[name], policies.get(name, DEFAULT))
        live.run(2)


@ORDERS
@pytest.mark.parametrize("lines", [TWO_WEAK, WEAK_AND_STRONG], ids=["two weak", "weak and strong"])
def test_both_are_told_once(make_live: Callable[..., Live], order: tuple[str, str], lines: Lines) -> None:
    live = make_live("NL", "DE")
    meet(live, order, {"NL": lines, "DE": lines})
    grades = {row.grade for node in live.nodes.values() for row in node.party.store.all_told()}
    for (row,) in lines[0]:
        assert told(live, row.canonical) == (1, 1)
    assert grades == {row.grade for (row,) in lines[0]}


@ORDERS
@pytest.mark.parametrize(
    ("nl", "de"),
    [(TWO_WEAK, [[[value(HOST)]]]), (TWO_WEAK, TWO_LINES), (TWO_WEAK, ONE_RECORD), (TWO_LINES, TWO_LINES)],
    ids=["one", "of two lines there", "of one record there", "of two lines on both sides"],
)
def test_what_is_no_second_one_tells_nobody(
    make_live: Callable[..., Live], order: tuple[str, str], nl: Lines, de: Lines
) -> None:
    live = make_live("NL", "DE")
    meet(live, order, {"NL": nl, "DE": de})
    assert (told(live, HOST), told(live, NAME)) == ((0, 0), (0, 0))
    assert live.hub.ledger.notices_above(live.nodes["NL"].id, 0, limit=10) == []
    assert live.hub.ledger.figures()["edges_live"] == 0


@ORDERS
def test_policy_decides_as_for_strong_ones(make_live: Callable[..., Live], order: tuple[str, str]) -> None:
    live = make_live("NL", "DE")
    meet(live, order, {"NL": TWO_WEAK, "DE": TWO_WEAK}, DE=SILENT)
    assert (told(live, HOST), told(live, NAME)) == ((0, 1), (0, 1))


def test_weak_values_wait_for_their_line(make_live: Callable[..., Live]) -> None:
    """NL's second value gets its token only after DE has asked: DE, as a holder, has to see both."""
    live = make_live("NL", "DE")
    live.attach("NL", "DE")
    nl = live.nodes["NL"]
    submit(live, "NL", TWO_WEAK)
    with nl.party.store.write() as db:
        token = db.execute("SELECT * FROM token t WHERE value_id = (SELECT max(value_id) FROM token)").fetchone()
        db.execute("DELETE FROM token WHERE value_id = ?", (token[1],))
    nl.party.restart()
    live.attach("NL")
    live.run(2)
    submit(live, "DE", TWO_WEAK)
    live.run(2)
    assert (told(live, HOST), told(live, NAME)) == ((0, 0), (0, 0))
    with nl.party.store.write() as db:
        db.execute("INSERT INTO token VALUES (?, ?, ?, ?, ?, NULL)", token[:5])
    live.run(3)
    assert (told(live, HOST), told(live, NAME)) == ((1, 1), (1, 1))


def test_tags_do_not_change_with_a_restart(make_live: Callable[..., Live]) -> None:
    """What DE keeps of NL's first question confirms what NL asks weeks later."""
    live = make_live("NL", "DE")
    live.attach("NL", "DE")
    submit(live, "DE", TWO_WEAK)
    live.run(2)
    submit(live, "NL", [[[value(HOST)]]])
    live.run(2)
    live.nodes["NL"].kill()
    live.attach("NL")
    assert told(live, NAME) == (0, 0)
    submit(live, "NL", [[[value(NAME)]]])
    live.run(2)
    assert told(live, NAME) == (1, 1)
    assert parties.published_through(live.nodes["NL"].party.store) == 2
