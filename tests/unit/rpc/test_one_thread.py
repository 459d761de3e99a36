"""Work in one thread: in order, with its results and errors, and nothing that was given is left undone at the end."""

from __future__ import annotations

import asyncio
import gc
import threading
import weakref
from contextlib import suppress
from functools import partial

import pytest

from concordat.errors import UnavailableError
from concordat.one_thread import OneThread


async def test_work_is_done_in_order_in_one_other_thread() -> None:
    thread, seen = OneThread("test"), list[tuple[int, int]]()

    def work(number: int) -> int:
        seen.append((number, threading.get_ident()))
        return number * 2

    results = await asyncio.gather(*(thread.do(partial(work, number)) for number in range(50)))
    thread.stop()
    assert results == [number * 2 for number in range(50)]
    assert [number for number, _ in seen] == list(range(50))
    (ident,) = {ident for _, ident in seen}
    assert ident != threading.get_ident()


class OddError(BaseException):
    """What no `except Exception` catches."""


@pytest.mark.parametrize("kind", [ValueError, OddError])
async def test_what_work_raises_reaches_its_caller_and_the_thread_goes_on(kind: type[BaseException]) -> None:
    thread = OneThread("test")

    def fail() -> None:
        raise kind("bad")

    with pytest.raises(kind, match="bad"):
        await thread.do(fail)
    assert await thread.do(lambda: 7) == 7
    thread.stop()


async def test_a_caller_that_is_cancelled_takes_its_work_along_if_it_has_not_begun() -> None:
    thread, begun, go_on, done = OneThread("test"), threading.Event(), threading.Event(), list[str]()

    def first() -> None:
        begun.set()
        go_on.wait(10)
        done.append("first")

    one = asyncio.create_task(thread.do(first))
    await asyncio.to_thread(begun.wait, 10)
    two = asyncio.create_task(thread.do(lambda: done.append("second")))
    await asyncio.sleep(0)
    one.cancel()
    two.cancel()
    await asyncio.gather(one, two, return_exceptions=True)
    go_on.set()
    await thread.do(lambda: done.append("third"))
    thread.stop()
    # What had begun went on to its end.
    assert done == ["first", "third"]


async def test_stopping_waits_for_what_was_given_and_takes_nothing_more() -> None:
    thread, go_on, done = OneThread("test"), threading.Event(), list[int]()

    def work(number: int) -> None:
        go_on.wait(10)
        done.append(number)

    given = [asyncio.create_task(thread.do(partial(work, number))) for number in range(3)]
    await asyncio.sleep(0)
    go_on.set()
    thread.stop()
    thread.stop()
    assert done == [0, 1, 2]
    await asyncio.gather(*given)
    with pytest.raises(UnavailableError) as caught:
        await thread.do(lambda: 1)
    assert caught.value.code == "stopping"


def test_a_loop_that_has_ended_is_waited_for_by_nobody() -> None:
    thread, begun, go_on = OneThread("test"), threading.Event(), threading.Event()

    def work() -> None:
        begun.set()
        go_on.wait(10)

    async def leave() -> None:
        task = asyncio.create_task(thread.do(work))
        await asyncio.to_thread(begun.wait, 10)
        task.cancel()

    asyncio.run(leave())
    go_on.set()
    thread.stop()


async def test_a_thread_that_never_had_work_stops_at_once() -> None:
    OneThread("test").stop()


class Much:
    """What work holds."""


async def test_nothing_of_work_that_failed_is_kept() -> None:
    thread, much = OneThread("test"), Much()
    kept = weakref.ref(much)

    def fail(_much: Much = much) -> None:
        raise ValueError

    del much
    gc.disable()
    try:
        with suppress(ValueError):
            await thread.do(fail)
        del fail
        thread.stop()
        # The loop lets go of its last call with the next one.
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert kept() is None
    finally:
        gc.enable()
