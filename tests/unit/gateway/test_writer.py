"""Group commit: one transaction at a time, and all that waits shares the next."""

from __future__ import annotations

import asyncio
import threading
from typing import TYPE_CHECKING

import pytest

from concordat.errors import UnavailableError
from gateway.ledger import Committed, Ledger, LedgerWrite, PublishedSequence
from gateway.transactions import DatabaseAwayError
from gateway.writer import LedgerWriter

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence


class SlowLedger(Ledger):
    """Writes when it is let, and cannot take sequence 13; its database may be away for some calls."""

    def __init__(self) -> None:
        self.groups: list[list[int]] = []
        self.gate = threading.Event()
        self.entered = threading.Event()
        self.away = 0
        self.calls = 0

    def write(self, writes: Sequence[LedgerWrite]) -> Committed:
        """Note the group once the gate is open."""
        self.entered.set()
        assert self.gate.wait(10)
        self.calls += 1
        if self.away:
            self.away -= 1
            raise DatabaseAwayError("the ledger did not take a group of writes")
        numbers = [write.sequence for write in writes if isinstance(write, PublishedSequence)]
        if 13 in numbers:
            raise ValueError("a fault that nobody foresaw")
        self.groups.append(numbers)
        return Committed(len(self.groups))


class Heard:
    """What the writer tells the exchange."""

    def __init__(self) -> None:
        self.durable: list[int] = []
        self.failed: list[int] = []
        self.doubts = 0

    def on_committed(self, numbers: Sequence[int], _committed: Committed) -> None:
        self.durable += numbers

    def on_failed(self, numbers: Sequence[int]) -> None:
        self.failed += numbers
        self.doubts += not numbers


def sequence(number: int) -> tuple[PublishedSequence]:
    return (PublishedSequence("A", number),)


@pytest.fixture
async def slow() -> AsyncIterator[tuple[LedgerWriter, SlowLedger, Heard]]:
    ledger, heard = SlowLedger(), Heard()
    writer = LedgerWriter(ledger, on_committed=heard.on_committed, on_failed=heard.on_failed)
    writer.start()
    yield writer, ledger, heard
    ledger.gate.set()
    await writer.stop()


async def test_what_comes_during_a_commit_shares_the_next(slow: tuple[LedgerWriter, SlowLedger, Heard]) -> None:
    writer, ledger, heard = slow
    writer.submit(1, sequence(1))
    await asyncio.to_thread(ledger.entered.wait, 10)
    for number in (2, 3, 4):
        writer.submit(number, sequence(number))
    ledger.gate.set()
    await writer.write(sequence(5))
    assert ledger.groups == [[1], [2, 3, 4, 5]]
    assert heard.durable == [1, 2, 3, 4]


async def test_one_write_that_cannot_be_taken_does_not_take_the_others_with_it(
    slow: tuple[LedgerWriter, SlowLedger, Heard],
) -> None:
    writer, ledger, heard = slow
    writer.submit(1, sequence(1))
    await asyncio.to_thread(ledger.entered.wait, 10)
    writer.submit(2, sequence(2))
    writer.submit(3, sequence(13))
    ledger.gate.set()
    with pytest.raises(UnavailableError):
        await writer.write(sequence(13))
    await writer.write(sequence(4))
    assert ledger.groups == [[1], [2], [4]]
    assert (heard.durable, heard.failed) == ([1, 2], [3])


async def test_a_group_is_repeated_together_where_its_database_was_away(
    slow: tuple[LedgerWriter, SlowLedger, Heard],
) -> None:
    """The exchange hears of the doubt, as notices may be durable that no commit returned."""
    writer, ledger, heard = slow
    writer.submit(1, sequence(1))
    await asyncio.to_thread(ledger.entered.wait, 10)
    ledger.away = 1
    ledger.gate.set()
    writer.submit(2, sequence(2))
    await writer.write(sequence(3))
    assert ledger.groups == [[1], [2, 3]]
    assert (heard.durable, heard.failed, heard.doubts) == ([1, 2], [], 1)


async def test_where_the_database_stays_away_all_fail_after_two_calls(
    slow: tuple[LedgerWriter, SlowLedger, Heard],
) -> None:
    """Each by itself would wait for its own time-out, and the hub would cover nobody for as long as that."""
    writer, ledger, heard = slow
    writer.submit(1, sequence(1))
    await asyncio.to_thread(ledger.entered.wait, 10)
    for number in range(2, 50):
        writer.submit(number, sequence(number))
    ledger.away = 4
    ledger.gate.set()
    with pytest.raises(UnavailableError):
        await writer.write(sequence(50))
    assert ledger.calls == 4
    assert (heard.durable, heard.failed) == ([], list(range(1, 50)))
    await writer.write(sequence(51))
    assert ledger.groups == [[51]]


async def test_what_nobody_waits_for_goes_with_what_comes_next_or_by_itself(
    slow: tuple[LedgerWriter, SlowLedger, Heard],
) -> None:
    writer, ledger, heard = slow
    ledger.gate.set()
    writer.submit(1, sequence(1), urgent=False)
    await writer.write(sequence(2))
    assert ledger.groups == [[1, 2]]
    writer.submit(3, sequence(3), urgent=False)
    while heard.durable != [1, 3]:  # noqa: ASYNC110 -- what is waited for has no event
        await asyncio.sleep(0.001)
    assert ledger.groups == [[1, 2], [3]]


async def test_a_hub_that_fails_on_a_result_does_not_stop_the_writer(
    slow: tuple[LedgerWriter, SlowLedger, Heard],
) -> None:
    writer, ledger, heard = slow
    ledger.gate.set()

    def fail(_numbers: Sequence[int], _committed: Committed) -> None:
        raise LookupError

    writer._on_committed = fail
    await writer.write(sequence(1))
    writer._on_committed = heard.on_committed
    await writer.write(sequence(2))
    assert ledger.groups == [[1], [2]]


async def test_what_waits_is_written_before_the_writer_stops(slow: tuple[LedgerWriter, SlowLedger, Heard]) -> None:
    writer, ledger, heard = slow
    writer.submit(1, sequence(1))
    writer.submit(2, sequence(2))
    ledger.gate.set()
    await writer.stop()
    assert heard.durable == [1, 2]
    with pytest.raises(UnavailableError):
        writer.submit(3, sequence(3))
