"""Shards for a sweep of the bench: processes of the hub's identity that share its windows (docs/protocol.md 3.7)."""

from __future__ import annotations

import asyncio
import multiprocessing
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

import uvloop

from bench.processes import cpu_s, peak_mb
from concordat.clock import SystemClock
from concordat.identity.home import load_home
from concordat.rpc.server import ServerSettings
from gateway.memory import share_heaps
from gateway.sweep.shard_server import open_shard

if TYPE_CHECKING:
    from collections.abc import Iterator
    from multiprocessing.connection import Connection
    from pathlib import Path

    from gateway.sweep.effects import SweepSettings

START_S: Final = 60.0
_SPAWN: Final = multiprocessing.get_context("spawn")


@contextmanager
def shards(root: Path, count: int, settings: SweepSettings, spent: list[dict[str, float]]) -> Iterator[tuple[str, ...]]:
    """Run so many shards; give their addresses, and note in the end what each has spent."""
    ends = [_SPAWN.Pipe() for _ in range(count)]
    children = [
        _SPAWN.Process(target=_shard, args=(root, number, settings, down)) for number, (_, down) in enumerate(ends)
    ]
    for child, (_, down) in zip(children, ends, strict=True):
        child.start()
        down.close()
    try:
        yield tuple(f"localhost:{_told(up)}" for up, _ in ends)
        for up, _ in ends:
            up.send(None)
            spent.append(_told(up))
    finally:
        for child, (up, _) in zip(children, ends, strict=True):
            up.close()
            child.join(START_S)


def _told(up: Connection) -> dict[str, float]:
    if not up.poll(START_S):
        raise TimeoutError("a shard of the bench fell silent")
    found: dict[str, float] = up.recv()
    return found


def _shard(root: Path, number: int, settings: SweepSettings, down: Connection) -> None:
    share_heaps()
    uvloop.run(_serve(root, number, settings, down))


async def _serve(root: Path, number: int, settings: SweepSettings, down: Connection) -> None:
    home = load_home(next((root / "gateway").iterdir()), clock=SystemClock())
    served = ServerSettings(address="127.0.0.1:0", drain_s=0)
    async with open_shard(home, root / f"shard-{number}", served, settings, clock=SystemClock()) as (server, _):
        await server.start()
        began_cpu_s = cpu_s()
        down.send(server.port)
        try:
            await asyncio.to_thread(down.recv)
        except EOFError:
            return
        finally:
            await server.stop(0)
    down.send({"cpu_s": cpu_s() - began_cpu_s, "rss_mb": peak_mb()})
