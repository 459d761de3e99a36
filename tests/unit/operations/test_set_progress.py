"""While a large set is made people can read how far it is, and nothing of it stays once it is over (3.6 (3))."""

from __future__ import annotations

from services.node.index.operation_run import PROVED, READ
from services.node.joining import SAY_EVERY_S, Steps


class Heard:
    """What was said and reported, at a time that the test sets."""

    def __init__(self) -> None:
        self.now = 0.0
        self.said: list[str] = []
        self.ready: list[tuple[int, int]] = []
        self.steps = Steps(self.said.append, lambda done, total: self.ready.append((done, total)), lambda: self.now)


def test_it_is_said_from_time_to_time_and_taken_back_at_the_end() -> None:
    heard = Heard()
    for done in (1000, 2000, 3000):
        heard.now += SAY_EVERY_S / 2
        heard.steps(READ, done, 9000)
    heard.steps.end()
    rest = "records are read; the sweep begins when all parties are ready"
    assert heard.said == [f"1,000 of 9,000 {rest}", f"3,000 of 9,000 {rest}", ""]


def test_a_set_that_was_there_already_writes_nothing() -> None:
    heard = Heard()
    heard.steps.end()
    assert heard.said == []


def test_a_thread_that_goes_on_after_the_end_says_nothing_more() -> None:
    heard = Heard()
    heard.steps.end()
    heard.now += 2 * SAY_EVERY_S
    heard.steps(PROVED, 5, 9)
    assert heard.said == []


def test_i11_of_rows_that_are_only_read_the_gateway_hears_no_number() -> None:
    """Silent records are among them; those of the set are declared in any case."""
    heard = Heard()
    heard.steps(READ, 9, 12)
    heard.steps(PROVED, 4, 9)
    assert heard.ready == [(0, 0), (4, 9)]
