"""What was used once is refused, within bounds; nonces go with time and with the process."""

from __future__ import annotations

import pytest

from concordat.clock import ManualClock
from concordat.errors import RefusedError, UnavailableError
from gateway.api.nonces import WINDOW_S, Nonces
from gateway.api.replay import ReplayCache, ReplayCaches


def test_an_identifier_is_taken_once_until_it_expires() -> None:
    cache = ReplayCache(10)
    cache.take("a", until=100, now=50)
    with pytest.raises(RefusedError):
        cache.take("a", until=100, now=100)
    cache.take("b", until=200, now=101)
    assert len(cache) == 1


def test_a_full_cache_refuses_and_does_not_forget() -> None:
    cache = ReplayCache(2)
    cache.take("a", until=100, now=50)
    cache.take("b", until=100, now=50)
    with pytest.raises(UnavailableError) as refused:
        cache.take("c", until=100, now=50)
    assert refused.value.code == "busy"
    with pytest.raises(RefusedError):
        cache.take("a", until=100, now=50)
    cache.take("c", until=200, now=101)


def test_a_clock_that_is_set_back_brings_nothing_back() -> None:
    cache = ReplayCache(10)
    cache.take("a", until=100, now=50)
    cache.take("b", until=300, now=101)
    with pytest.raises(RefusedError):
        cache.take("a", until=100, now=50)


def test_one_caller_cannot_fill_the_cache_of_another() -> None:
    caches = ReplayCaches(1)
    caches.of("a").take("x", until=100, now=50)
    with pytest.raises(UnavailableError):
        caches.of("a").take("y", until=100, now=50)
    caches.of("b").take("x", until=100, now=50)


def test_a_nonce_is_taken_in_its_window_and_the_next() -> None:
    clock = ManualClock(1_800_000_000)
    nonces = Nonces(b"k" * 32, clock)
    nonce = nonces.current()
    assert nonces.accepts(nonce)
    clock.advance(WINDOW_S)
    assert nonces.accepts(nonce)
    assert nonces.current() != nonce
    clock.advance(WINDOW_S)
    assert not nonces.accepts(nonce)


def test_a_nonce_of_another_process_or_of_a_later_window_is_refused() -> None:
    clock, later = ManualClock(1_800_000_000), ManualClock(1_800_000_000)
    later.advance(2 * WINDOW_S)
    nonces = Nonces(b"k" * 32, clock)
    assert not nonces.accepts(Nonces(b"l" * 32, clock).current())
    assert not nonces.accepts(Nonces(b"k" * 32, later).current())
    assert not nonces.accepts("")
    assert not nonces.accepts("\ud800é")


def test_setting_the_wall_clock_back_brings_no_nonce_back() -> None:
    clock = ManualClock(1_800_000_000)
    nonces = Nonces(b"k" * 32, clock)
    nonce = nonces.current()
    clock.advance(2 * WINDOW_S)
    clock.set_wall(1_800_000_000)
    assert not nonces.accepts(nonce)
