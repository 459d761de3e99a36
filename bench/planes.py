"""The routing filter: how long nodes and hub take for planes of many tokens, and what one look-up costs.

Rows: `build` a node's plane, `install` one at the hub, `route` 1 000 tokens against all planes, `grow` the tables to
twice as many slots with a delta amid it, and the memory of the standing planes. Tokens are random, as real ones are.
Times are CPU seconds of one thread, of look-ups wall seconds.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final

import numpy as np

from bench.machine import GIB, Needs
from bench.rows import Row, short
from concordat.planes import PlaneBits, fitting_log2, slots_of
from gateway.planes import FALSE_POSITIVES, RoutingTable

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bench.rows import Context

HASHES: Final = 4
ASKED: Final = 1000
_BLOCK: Final = 1 << 17
_ROUNDS: Final = 50
_FOREIGN: Final = 1_000_000


def needs(context: Context) -> Needs:
    """Return what it takes: the tables while they grow, and a plane that is made."""
    return Needs(memory=3 * GIB if context.large else GIB // 2)


def rows(context: Context) -> list[Row]:
    """Measure 26 parties: 1 million tokens each, or 10 million."""
    return measure(26, 10_000_000 if context.large else 1_000_000)


def measure(parties: int, tokens: int) -> list[Row]:
    """Measure so many parties with so many tokens each.

    Returns:
        Rows whose `exact` says that no token of any party was missed.
    """
    suffix = f"{parties}x{short(tokens)}"
    names = tuple(f"party {number}" for number in range(parties))
    shape = fitting_log2(tokens, HASHES, FALSE_POSITIVES)
    table = RoutingTable(names, log2_slots=21, hashes=HASHES, memory_bytes=1 << 40)
    table.grow(shape)
    table.finish()
    built, installed, longest = [], [], 0.0
    for number, name in enumerate(names):
        blocks = list(_blocks(number, tokens))
        began = time.thread_time()
        plane = _plane(blocks, shape)
        bits = np.frombuffer(plane.piece(0, plane.size), dtype=np.uint8).copy()
        built.append(time.thread_time() - began)
        began = time.thread_time()
        table.install(name, bits)
        longest = max(longest, _finish(table))
        installed.append(time.thread_time() - began)
    exact = _none_missed(table, tokens)
    false = [table.false_positives(name) for name in names]
    memory = {"bytes": table.nbytes, "log2_slots": shape, "bytes a token": table.nbytes / (parties * tokens)}
    seen = {"false positives a party": float(np.mean(_false(table))), "by fill": float(np.mean(false))}
    return [
        Row(
            name=f"planes-build-{suffix}",
            exact=exact,
            seconds=_median(built),
            details={"log2_slots": shape, "bytes": plane.size},
        ),
        Row(
            name=f"planes-install-{suffix}",
            exact=exact,
            seconds=_median(installed),
            details={"longest step s": longest},
        ),
        Row(name=f"planes-route-{suffix}", exact=exact, seconds=_route(table), details={"tokens": ASKED, **seen}),
        Row(name=f"planes-{suffix}", exact=exact, seconds=0.0, details=memory | seen),
        _grow(table, suffix, tokens),
    ]


def _grow(table: RoutingTable, suffix: str, tokens: int) -> Row:
    log2_slots = table.log2_slots
    late = _tokens(10**6, 4096)
    began = time.thread_time()
    table.grow(log2_slots + 1)
    table.work()
    delta = time.thread_time()
    table.merge_delta(table.parties[0], slots_of(late, log2_slots, HASHES), log2_slots)
    delta = time.thread_time() - delta
    peak = table.nbytes
    longest = _finish(table)
    took = time.thread_time() - began
    exact = _none_missed(table, tokens) and bool(table.positions(table.route(late), table.parties[0]).size == 4096)
    details = {"log2_slots": table.log2_slots, "bytes at most": peak, "longest step s": longest, "delta s": delta}
    return Row(name=f"planes-grow-{suffix}", exact=exact, seconds=took, details=details)


def _tokens(seed: int, count: int) -> bytes:
    return np.random.default_rng(seed).bytes(16 * count)


def _blocks(number: int, tokens: int) -> Iterator[bytes]:
    for start in range(0, tokens, _BLOCK):
        yield _tokens(number * 1000 + start // _BLOCK, min(_BLOCK, tokens - start))


def _plane(blocks: list[bytes], shape: int) -> PlaneBits:
    plane = PlaneBits(shape, HASHES)
    for block in blocks:
        plane.add(block)
    return plane


def _none_missed(table: RoutingTable, tokens: int) -> bool:
    """Ask every party for the first and the last block of what it has."""
    for number, party in enumerate(table.parties):
        for at in {0, (tokens - 1) // _BLOCK}:
            held = _tokens(number * 1000 + at, min(_BLOCK, tokens - at * _BLOCK))
            if table.positions(table.route(held), party).size != len(held) // 16:
                return False
    return True


def _false(table: RoutingTable) -> list[float]:
    masks = table.route(_tokens(10**9, _FOREIGN))
    return [table.positions(masks, party).size / _FOREIGN for party in table.parties]


def _route(table: RoutingTable) -> float:
    asked = [_tokens(10**7 + number, ASKED) for number in range(_ROUNDS)]
    took = []
    for tokens in asked:
        began = time.perf_counter()
        table.route(tokens)
        took.append(time.perf_counter() - began)
    return _median(took)


def _finish(table: RoutingTable) -> float:
    longest = 0.0
    while table.busy:
        began = time.thread_time()
        table.work()
        longest = max(longest, time.thread_time() - began)
    return longest


def _median(took: list[float]) -> float:
    return float(np.median(took))
