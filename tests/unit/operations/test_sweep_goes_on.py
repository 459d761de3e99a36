"""A sweep goes on over real streams after its gateway was stopped in the middle, or a node's stream broke (I9)."""

from __future__ import annotations

import asyncio
import logging
import socket
from typing import TYPE_CHECKING

from concordat.wire.v1 import sweep_pb2
from concordat.wire.v1.sweep_pb2_grpc import SweepServiceStub
from gateway.sweep.effects import SweepSettings
from services.node import operations
from services.node.held import load_operation
from services.node.joining import join_sweep, set_query, set_salt
from services.node.store.sweep_set import read_sweep_set
from services.node.sweep import SweepParty
from services.node.sweep_rows import SweepColumns
from tests.unit.operations.test_operation_flow import PARTICIPANTS, TODAY, agree, dialled, running, stores

if TYPE_CHECKING:
    from pathlib import Path

    import grpc.aio
    import pytest

    from services.node.store.store import Store
    from tests.unit.operations.test_operation_flow import Homes, Hub

__all__ = ["stores"]
SMALL = SweepSettings(window_tokens=1, save_s=0.0, away_s=20.0)


def party_of(homes: Homes, held_by: dict[str, Store], name: str, sweep_id: bytes) -> SweepParty:
    home, held = homes[name], load_operation(homes[name].path, "action-day")
    with held_by[name].read() as db:
        found = read_sweep_set(db, set_query(home, held.charter, today=TODAY))
    return SweepParty(
        str(home.identity),
        sweep_id,
        operation="action-day",
        participants=held.charter.participants,
        rows=SweepColumns.of(found, held.key, sweep_id),
        salt=set_salt(home, held),
    )


async def stop_in_the_middle(hub: Hub, party: SweepParty, channel: grpc.aio.Channel) -> None:
    """Stream the windows in credit, answer the first want, and nothing more."""
    stream = SweepServiceStub(channel).Sweep()
    await stream.write(party.join())
    for frame in party.receive(await stream.read()).frames:  # type: ignore[arg-type] # a frame
        await stream.write(frame)
    (answer, *_) = party.receive(await stream.read()).frames  # type: ignore[arg-type] # a frame
    candidates = answer.window.candidates if answer.HasField("window") else answer.candidates
    await stream.write(sweep_pb2.SweepUp(candidates=candidates))
    async with asyncio.timeout(20):
        while hub.runner._running["action-day"].windows[0] < 1:  # noqa: ASYNC110 -- the sweep tells nobody
            await asyncio.sleep(0.01)
    stream.cancel()


async def test_a_gateway_that_was_stopped_in_a_sweep_ends_it_after_its_start(
    homes: Homes,
    stores: dict[str, Store],
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO, "gateway.sweep")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    folder = tmp_path / "sweeps"
    async with running(homes, tmp_path, SMALL, port=port, folder=folder) as hub:
        channels_of = dialled(hub, homes, *PARTICIPANTS)
        channels = await channels_of.__aenter__()
        await agree(homes, channels)
        sweep_id = await operations.start_sweep(channels[0], "action-day")
        others = [
            asyncio.create_task(join_sweep(homes[name], one, stores[name], "action-day", sweep_id, today=TODAY))
            for name, one in zip(PARTICIPANTS[:2], channels[:2], strict=True)
        ]
        await stop_in_the_middle(hub, party_of(homes, stores, PARTICIPANTS[2], sweep_id), channels[2])
    assert [one.name for one in folder.iterdir()] == [sweep_id.hex()]
    async with running(homes, tmp_path, SMALL, port=port, folder=folder) as hub:
        assert hub.runner.running("action-day") == sweep_id
        assert hub.runner._running["action-day"].windows[0] == 1
        last = join_sweep(
            homes[PARTICIPANTS[2]], channels[2], stores[PARTICIPANTS[2]], "action-day", sweep_id, today=TODAY
        )
        done = await asyncio.gather(*others, last)
        report = await operations.fetch_report(homes["CZ"], channels[2], "action-day")
        notices = [
            len(hub.ledger.ledger.notices_above(str(homes[name].identity), 0, limit=10)) for name in PARTICIPANTS
        ]
        await channels_of.__aexit__(None, None, None)
    assert [(one.dropped, one.report_version) for one in done] == [("", 1)] * 3
    assert report["per_namespace"] == {"account": 1, "e164": 1, "email": 1, "platform": 2, "url": 1}
    assert report["matches"] == 2
    assert notices == [3, 3, 2]
    assert list(folder.iterdir()) == []
    lines = [
        one.getMessage().replace(sweep_id.hex(), "ID") for one in caplog.records if one.name.startswith("gateway.")
    ]
    assert lines[0] == "sweep ID of action-day begins"
    assert lines[1].startswith("sweep ID goes on: 1 of ")
    assert lines[-1] == "sweep ID has ended: version 1 of the report is frozen"


async def test_a_second_stream_of_a_participant_takes_the_place_of_the_first(
    homes: Homes,
    stores: dict[str, Store],
    tmp_path: Path,
) -> None:
    """The gateway may not have noticed that the first line is dead."""
    async with running(homes, tmp_path, SMALL) as hub, dialled(hub, homes, *PARTICIPANTS) as channels:
        await agree(homes, channels)
        sweep_id = await operations.start_sweep(channels[0], "action-day")
        dead = SweepServiceStub(channels[2]).Sweep()
        await dead.write(party_of(homes, stores, PARTICIPANTS[2], sweep_id).join())
        others = [
            asyncio.create_task(join_sweep(homes[name], one, stores[name], "action-day", sweep_id, today=TODAY))
            for name, one in zip(PARTICIPANTS[:2], channels[:2], strict=True)
        ]
        await dead.read()
        last = join_sweep(homes["CZ"], channels[2], stores["CZ"], "action-day", sweep_id, today=TODAY)
        done = await asyncio.gather(*others, last)
        dead.cancel()
    assert [(one.dropped, one.report_version) for one in done] == [("", 1)] * 3


async def test_what_a_killed_gateway_left_of_a_sweep_that_has_ended_is_deleted_at_the_next_start(
    homes: Homes, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """As where it is killed between the report and the deletion: who shares what must not lie there for ever (I2)."""
    folder, ended = tmp_path / "sweeps", "ab" * 16
    for name in (ended, "notes"):
        (folder / name).mkdir(parents=True)
        (folder / name / "journal").write_bytes(b"rows")
    async with running(homes, tmp_path, SMALL, folder=folder):
        assert [one.name for one in folder.iterdir()] == ["notes"]
    assert f"sweep {ended} has ended; what was left of it on disk is deleted" in caplog.messages


async def test_a_folder_that_cannot_be_used_stops_no_gateway_and_no_sweep(
    homes: Homes, stores: dict[str, Store], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Such as one in whose place there is a file."""
    folder = tmp_path / "sweeps"
    async with running(homes, tmp_path, SMALL, folder=folder) as hub, dialled(hub, homes, *PARTICIPANTS) as channels:
        await agree(homes, channels)
        folder.write_text("a file")
        sweep_id = await operations.start_sweep(channels[0], "action-day")
        joining = [
            join_sweep(homes[name], one, stores[name], "action-day", sweep_id, today=TODAY)
            for name, one in zip(PARTICIPANTS, channels, strict=True)
        ]
        done = await asyncio.gather(*joining)
    assert [one.report_version for one in done] == [1] * 3
    assert any(line.startswith("a sweep will not survive a restart: ") for line in caplog.messages)
