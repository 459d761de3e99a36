"""What a gateway makes of shards that begin again and again or hand over half, and of what it kept before (3.7)."""

from __future__ import annotations

from base64 import b64encode
from contextlib import asynccontextmanager
from itertools import groupby
from typing import TYPE_CHECKING, Any, Final

import grpc
import grpc.aio
import numpy as np
import pytest
from typing_extensions import override

from concordat.clock import SystemClock
from concordat.errors import ConfigError, UnavailableError
from concordat.wire.v1 import shard_pb2 as wire
from concordat.wire.v1.shard_pb2_grpc import ShardServiceServicer, add_ShardServiceServicer_to_server
from gateway.sweep.checkpoint import JOURNAL_NAME, MemberState, SweepFolder, SweepState
from gateway.sweep.effects import GiveParts, Part, Share
from gateway.sweep.groups import ROW
from gateway.sweep.shards import ShardCalls

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

    from gateway.sweep.journal import Journal
    from gateway.sweep.shards import SharedProgress

# More than a record of the journal has, so that some are on disk before the break.
ROWS: Final = 50_000
CALLS: Final = 2


def state_of(*parties: str, **more: Any) -> SweepState:
    return SweepState(
        sweep_id=b64encode(bytes(16)),
        operation="op",
        prefix_bits=24,
        window_bits=0,
        credits=2,
        end=1,
        participants=("a", "b", "c"),
        members=tuple(member(party) for party in parties),
        dropped={},
        **{"window": 0, "journal_rows": 0, **more},
    )


def member(party: str) -> MemberState:
    held = b64encode(bytes(32))
    return MemberState(party=party, size=0, counts={}, set_root=held, salt=held, roots=held, rows=0, left={})


class Shard(ShardServiceServicer):
    """Hands over its rows, but breaks off before the last so many times."""

    def __init__(self, breaks: int) -> None:
        self.breaks, self.calls = breaks, 0

    @override
    async def TakePart(
        self, requests: AsyncIterator[wire.TakePartRequest], context: Any
    ) -> AsyncIterator[wire.PartNews]:
        self.calls += 1
        yield wire.PartNews(begun=wire.PartBegun())
        state = state_of("a", "b", window=1, journal_rows=2 * ROWS)
        yield wire.PartNews(state=state.model_dump_json().encode())
        for half in range(2):
            if half and self.calls <= self.breaks:
                await context.abort(grpc.StatusCode.UNAVAILABLE)
            yield wire.PartNews(rows=np.zeros(ROWS, ROW).tobytes())

    @override
    async def EndParts(self, request: wire.EndPartsRequest, context: Any) -> wire.EndPartsResponse:
        return wire.EndPartsResponse()


@asynccontextmanager
async def serving(shard: Shard) -> AsyncIterator[str]:
    server = grpc.aio.server()
    add_ShardServiceServicer_to_server(shard, server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        yield f"127.0.0.1:{port}"
    finally:
        await server.stop(0)


async def fetched(
    shard: Shard,
    order: SweepState,
    folder: SweepFolder,
    progress: Callable[[SharedProgress], None] = lambda _: None,
) -> tuple[list[SweepState], list[Journal]]:
    async with serving(shard) as address:
        give = GiveParts((Share(address, Part(0, 1)),), (order,))
        calls = ShardCalls(
            give, grpc.aio.insecure_channel, folder, patience_s=60.0, clock=SystemClock(), most_calls=CALLS
        )
        return await calls.run(lambda: None, progress)


async def test_a_shard_that_begins_and_breaks_off_for_ever_is_given_up(tmp_path: Path) -> None:
    shard = Shard(breaks=1 << 30)
    with pytest.raises(UnavailableError):
        await fetched(shard, state_of("a", "b"), SweepFolder(tmp_path / "s", bytes(32)))
    assert shard.calls == CALLS


async def test_a_shard_that_does_not_answer_is_known_until_it_does(tmp_path: Path) -> None:
    seen: list[SharedProgress] = []
    await fetched(Shard(breaks=1), state_of("a", "b"), SweepFolder(tmp_path / "s", bytes(32)), seen.append)
    assert [away for away, _ in groupby(one.away for one in seen)] == [(0,), (), (0,), ()]
    assert seen[-1].done == 1


async def test_rows_that_are_handed_over_once_more_are_on_disk_once(tmp_path: Path) -> None:
    _, (journal,) = await fetched(Shard(breaks=1), state_of("a", "b"), SweepFolder(tmp_path / "s", bytes(32)))
    assert journal.rows == 2 * ROWS
    assert (tmp_path / "s" / "part-0" / JOURNAL_NAME).stat().st_size < 2.5 * ROWS * ROW.itemsize


@pytest.mark.parametrize(("joined", "asked"), [(("a", "b"), 0), (("a", "b", "c"), 1)])
async def test_a_part_kept_from_before_is_taken_only_for_the_same_participants(
    tmp_path: Path, joined: tuple[str, ...], asked: int
) -> None:
    """Where a sweep began anew, who had not joined before must not be named as one that lied."""
    folder = SweepFolder(tmp_path / "s", bytes(32))
    for journal in (await fetched(Shard(breaks=0), state_of("a", "b"), folder))[1]:
        journal.close()
    again = Shard(breaks=0)
    order = state_of(*joined)
    if asked:
        with pytest.raises(Exception, match="another part than it was given"):
            await fetched(again, order, folder)
    else:
        await fetched(again, order, folder)
    assert again.calls == asked


@pytest.mark.parametrize("other", ["order", "part-0/state"])
def test_no_other_file_of_a_sweep_passes_for_its_state(tmp_path: Path, other: str) -> None:
    folder = SweepFolder(tmp_path / "s", bytes(32))
    folder.save(state_of("a", "b"), "order")
    folder.part(0).save(state_of("a", "b"))
    (tmp_path / "s" / "state").write_bytes((tmp_path / "s" / other).read_bytes())
    with pytest.raises(ConfigError, match="no state"):
        folder.load()
    assert folder.load("order") == folder.part(0).load() == state_of("a", "b")
