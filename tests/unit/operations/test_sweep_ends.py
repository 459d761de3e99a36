"""Every sweep that a node takes part in has an end that its people hear of (3.6)."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import pytest

from concordat.errors import ConfigError, UnavailableError
from concordat.wire.v1 import sweep_pb2
from concordat.wire.v1.session_pb2 import OperationEvent
from services.node.events import SweepDone
from services.node.held import NotSignedError, charter_path, load_operation
from services.node.sweeping import MAX_SWEEPS, Sweeps

if TYPE_CHECKING:
    from pathlib import Path

SWEEP = OperationEvent(operation="op-1", kind=OperationEvent.KIND_SWEEP, sweep_id=b"s" * 16)


@dataclass
class Told:
    """What the node said, and keeps."""

    end: sweep_pb2.SweepDone | Exception = field(default_factory=sweep_pb2.SweepDone)
    events: list[object] = field(default_factory=list)
    kept: dict[str, str] = field(default_factory=dict)
    joined: int = 0
    go_on: asyncio.Event = field(default_factory=asyncio.Event)
    is_kept: asyncio.Event = field(default_factory=asyncio.Event)
    loop: asyncio.AbstractEventLoop = field(default_factory=asyncio.get_running_loop)

    async def join(self, _operation: str, _sweep_id: bytes) -> sweep_pb2.SweepDone:
        self.joined += 1
        await self.go_on.wait()
        if isinstance(self.end, Exception):
            raise self.end
        return self.end

    def sweeps(self) -> Sweeps:
        return Sweeps(self.join, emit=self.events.append, keep=self.keep)

    def keep(self, name: str, text: str) -> None:
        self.kept[name] = text
        self.loop.call_soon_threadsafe(self.is_kept.set)

    async def until_kept(self) -> None:
        self.go_on.set()
        async with asyncio.timeout(5):
            await self.is_kept.wait()


@pytest.mark.parametrize(
    ("end", "code"),
    [
        (sweep_pb2.SweepDone(report_version=1), ""),
        (sweep_pb2.SweepDone(dropped="deadline"), "deadline"),
        (sweep_pb2.SweepDone(dropped="\x1b[2J"), "internal"),
        (UnavailableError("gone", code="unavailable"), "unavailable"),
        (ConfigError("the key file is too open"), "bad_config"),
        (RuntimeError("unforeseen"), "internal"),
    ],
)
async def test_the_event_and_status_tell_how_a_sweep_ended(end: sweep_pb2.SweepDone | Exception, code: str) -> None:
    told = Told(end)
    sweeps = told.sweeps()
    sweeps.on_event(SWEEP)
    await told.until_kept()
    assert told.events == [SweepDone("op-1", code)]
    assert (code in told.kept["sweep of op-1"]) if code else told.kept == {"sweep of op-1": ""}


async def test_a_sweep_that_is_announced_again_is_joined_once() -> None:
    told = Told()
    sweeps = told.sweeps()
    sweeps.on_event(SWEEP)
    sweeps.on_event(SWEEP)
    await told.until_kept()
    assert told.joined == 1


async def test_a_gateway_cannot_make_a_node_take_part_in_any_number_of_sweeps() -> None:
    told = Told()
    sweeps = told.sweeps()
    for number in range(3 * MAX_SWEEPS):
        sweeps.on_event(
            OperationEvent(operation="op-1", kind=OperationEvent.KIND_SWEEP, sweep_id=number.to_bytes(16, "big"))
        )
    await asyncio.sleep(0)
    assert told.joined == MAX_SWEEPS
    await sweeps.close()
    assert told.events == []


async def test_nothing_is_kept_of_operations_that_this_node_has_not_signed() -> None:
    told = Told(NotSignedError("no such file"))
    sweeps = told.sweeps()
    sweeps.on_event(SWEEP)
    told.go_on.set()
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert told.events == [SweepDone("op-1", "bad_config")]
    assert told.kept == {}


def test_a_charter_that_cannot_be_read_is_not_taken_for_one_that_was_never_signed(tmp_path: Path) -> None:
    with pytest.raises(NotSignedError):
        load_operation(tmp_path, "op-1")
    path = charter_path(tmp_path, "op-1")
    path.parent.mkdir(exist_ok=True)
    path.symlink_to(path)
    with pytest.raises(ConfigError) as caught:
        load_operation(tmp_path, "op-1")
    assert not isinstance(caught.value, NotSignedError)


async def test_what_can_be_no_operation_is_not_repeated_to_anybody() -> None:
    told = Told()
    told.sweeps().on_event(OperationEvent(operation="\x1b[2J", kind=OperationEvent.KIND_SWEEP, sweep_id=b"s" * 16))
    await asyncio.sleep(0)
    assert (told.joined, told.events) == (0, [])
