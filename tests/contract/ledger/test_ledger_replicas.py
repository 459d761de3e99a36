"""Two gateways that write to one ledger at the same time, and connections that are cut in the middle (C5, C8, I9)."""

from __future__ import annotations

import itertools
import random
import threading
import time
from collections import Counter, defaultdict
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import event

from concordat.errors import UnavailableError
from concordat.wire.v1 import check_pb2
from gateway.ledger import Committed, EdgeCandidate, Ledger, LedgerNotice, LedgerWrite, PublishedSequence
from tests.contract.ledger.test_ledger_contract import pair

if TYPE_CHECKING:
    from collections.abc import Callable

    from sqlalchemy import Engine

    from tests.postgres import Server

PARTIES = "ABCDE"
GROUPS = 20
DEADLINE_S = 120.0
CUTS = 20
Told = Counter[tuple[str, bytes, str]]


@pytest.fixture
def open_ledger(open_database: Callable[[], Engine]) -> Callable[[], Ledger]:
    """Open the same ledger each time, with ids of its own for each replica."""
    replicas = itertools.count(1)

    def make() -> Ledger:
        draw = random.Random(next(replicas))
        return Ledger(open_database(), now_ms=lambda: 0, random_bytes=draw.randbytes)

    return make


def orders(seed: int, values: int) -> list[list[EdgeCandidate]]:
    """Return groups of answers about a few values, each pair of parties at least once, in a random order."""
    draw = random.Random(seed)
    pairs = [
        pair(f"{one}:{number}", f"{two}:{number}")
        for number in range(values)
        for one, two in itertools.permutations(PARTIES, 2)
    ]
    draw.shuffle(pairs)
    size = -(-len(pairs) // GROUPS)
    return [pairs[start : start + size] for start in range(0, len(pairs), size)]


def lists(ledger: Ledger) -> dict[str, list[LedgerNotice]]:
    return {party: ledger.notices_above(party, 0, limit=100_000) for party in PARTIES}


def tellings(notices: dict[str, list[LedgerNotice]]) -> Told:
    read = [(party, check_pb2.Notice.FromString(one.content).told) for party in notices for one in notices[party]]
    return Counter((party, told.own_reference, told.other) for party, told in read)


def assert_whole(ledger: Ledger, values: int) -> None:
    """Every list is without gap or double, everybody was told once of each other, and live edges are unique (I3)."""
    found = lists(ledger)
    for party, notices in found.items():
        assert [one.cursor for one in notices] == list(range(1, len(notices) + 1)), party
    told = tellings(found)
    assert set(told.values()) == {1}
    assert len(told) == values * len(PARTIES) * (len(PARTIES) - 1)
    assert ledger.figures()["edges_live"] == values * len(PARTIES) * (len(PARTIES) - 1) // 2


def run(*work: Callable[[], None]) -> None:
    """Run each in a thread of its own, all from the same moment, and raise what one raised."""
    start = threading.Barrier(len(work))

    def begin(one: Callable[[], None]) -> None:
        start.wait(DEADLINE_S)
        one()

    with ThreadPoolExecutor(len(work)) as threads:
        for done in [threads.submit(begin, one) for one in work]:
            done.result(DEADLINE_S)


def test_two_replicas_that_write_at_once_leave_no_gap_and_tell_once(open_ledger: Callable[[], Ledger]) -> None:
    """C5, C8: positions ascend, and what each commit returned is the lists, no more and no less."""
    replicas = [open_ledger(), open_ledger()]
    committed: dict[int, list[Committed]] = defaultdict(list)

    def write(number: int) -> None:
        for count, group in enumerate(orders(seed=number, values=3), start=1):
            committed[number].append(replicas[number].write([*group, PublishedSequence("A", 2 * count + number)]))

    run(lambda: write(0), lambda: write(1))
    assert_whole(replicas[0], values=3)
    assert replicas[0].sequence_of("A") == replicas[1].sequence_of("A") == 2 * GROUPS + 1
    positions = [[one.position for one in committed[number]] for number in (0, 1)]
    assert all(own == sorted(set(own)) for own in positions)
    assert sorted(positions[0] + positions[1]) == list(range(1, 2 * GROUPS + 1))
    returned = sorted(
        (one.recipient, one.cursor, one.content) for group in committed.values() for c in group for one in c.notices
    )
    held = sorted((one.recipient, one.cursor, one.content) for own in lists(replicas[1]).values() for one in own)
    assert returned == held


def test_a_reader_never_sees_a_cursor_before_those_below_it(open_ledger: Callable[[], Ledger]) -> None:
    """C8: a replica that reads a list while another appends to it misses nothing when it goes on from where it was."""
    writers, reader = [open_ledger(), open_ledger()], open_ledger()
    seen: list[int] = []
    done = threading.Event()

    def write(number: int) -> None:
        for group in orders(seed=number, values=2):
            writers[number].write(group)

    def read() -> None:
        while True:
            last = done.is_set()
            seen.extend(one.cursor for one in reader.notices_above("A", len(seen), limit=7))
            if last and not reader.notices_above("A", len(seen), limit=1):
                return

    def both() -> None:
        try:
            run(lambda: write(0), lambda: write(1))
        finally:
            done.set()

    run(read, both)
    assert seen == list(range(1, 2 * (len(PARTIES) - 1) + 1))


def until_taken(ledger: Ledger, group: list[EdgeCandidate]) -> None:
    """Repeat a group as the gateway's writer does, for it cannot know what became of it."""
    deadline = time.monotonic() + DEADLINE_S
    while True:
        try:
            ledger.write(group)
        except UnavailableError:
            assert time.monotonic() < deadline
        else:
            return


@pytest.fixture
def cut(postgres: Server, open_database: Callable[[], Engine]) -> Callable[[], int]:
    """End all connections to the ledger, as often as asked."""
    name = str(open_database().url.database)
    return lambda: postgres.cut(name)


@pytest.mark.parametrize("backend", ["postgresql"], indirect=True)
def test_connections_that_are_cut_at_any_moment_lose_and_double_nothing(
    open_database: Callable[[], Engine], cut: Callable[[], int]
) -> None:
    """I9: two replicas write, and before any statement the server may end the connections of both."""
    engines = [open_database(), open_database()]
    draw = random.Random(7)
    replicas = [Ledger(engine, now_ms=lambda: 0, random_bytes=draw.randbytes) for engine in engines]
    ended: list[int] = []

    def maybe_cut(*_: object) -> None:
        if len(ended) < CUTS and draw.random() < 0.08:
            ended.append(cut())

    def write(number: int) -> None:
        event.listen(engines[number], "before_cursor_execute", maybe_cut)
        for group in orders(seed=number, values=3):
            until_taken(replicas[number], group)

    run(lambda: write(0), lambda: write(1))
    assert sum(ended) >= CUTS // 2
    assert_whole(replicas[0], values=3)


@pytest.mark.parametrize("backend", ["postgresql"], indirect=True)
@pytest.mark.parametrize("moment", ["before the commit", "after the commit"])
def test_a_commit_whose_outcome_is_unknown_is_repeated_without_a_second_notice(
    open_database: Callable[[], Engine], cut: Callable[[], int], moment: str
) -> None:
    """I9: the connection ends around the commit; repeated, the group brings what is missing and nothing twice."""
    engine, other = open_database(), open_database()
    draw = random.Random(1)
    ledger = Ledger(engine, now_ms=lambda: 0, random_bytes=draw.randbytes)
    group: list[LedgerWrite] = [pair("A:x", "B:x"), PublishedSequence("A", 3)]
    original = engine.dialect.do_commit
    armed = [True]

    def commit(connection: Any) -> None:
        if armed.pop() if armed else False:
            if moment == "before the commit":
                cut()
            else:
                original(connection)
                # The server's word is lost on its way.
                raise engine.dialect.loaded_dbapi.InterfaceError("network error")
        original(connection)

    engine.dialect.do_commit = commit  # type: ignore[method-assign, assignment]
    with pytest.raises(UnavailableError):
        ledger.write(group)
    repeated = ledger.write(group)
    assert len(repeated.notices) == (2 if moment == "before the commit" else 0)
    found = Ledger(other, now_ms=lambda: 0, random_bytes=draw.randbytes)
    assert {party: [one.cursor for one in own] for party, own in lists(found).items() if own} == {"A": [1], "B": [1]}
    assert found.sequence_of("A") == 3
    assert found.figures()["edges_live"] == 1


@pytest.mark.parametrize("backend", ["postgresql"], indirect=True)
def test_a_transaction_that_the_database_aborts_as_a_conflict_is_repeated_whole(
    open_database: Callable[[], Engine],
) -> None:
    engine = open_database()
    draw = random.Random(1)
    ledger = Ledger(engine, now_ms=lambda: 0, random_bytes=draw.randbytes)
    states = ["40001", "40P01"]

    @event.listens_for(engine, "before_cursor_execute")
    def abort(connection: object, cursor: object, statement: str, *_: object) -> None:
        if states and statement.lstrip().startswith("INSERT INTO notice"):
            sql = f"DO $$ BEGIN RAISE EXCEPTION 'made up' USING ERRCODE = '{states.pop()}'; END $$"
            cursor.execute(sql)  # type: ignore[attr-defined]

    assert len(ledger.open_edges([pair("A:x", "B:x")])) == 2
    assert states == []
    assert [one.cursor for one in ledger.notices_above("A", 0, limit=9)] == [1]
    assert ledger.figures()["edges_live"] == 1
