"""The asker of the leak test: a check a tick, of a value that is held in silence or by nobody, and its certificate."""

from __future__ import annotations

import asyncio
import random
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

import numpy as np

from concordat.clock import SystemClock
from concordat.protocol import several
from concordat.rpc.client import channel
from concordat.wire.v1 import check_pb2, session_pb2
from concordat.wire.v1.session_pb2_grpc import SessionServiceStub
from tests.leaktest.federation import ASKER, TICK_MS, WINDOW_MS, held, home_of, nobodys
from tests.unit.exchange.parties import SALT, AskerByHand, Federation, Item

if TYPE_CHECKING:
    from collections.abc import AsyncIterable, AsyncIterator, Callable
    from pathlib import Path

    import numpy.typing as npt

    from tests.leaktest.statistic import Sample

_AROUND: Final = 20
LIFE_MS: Final = 200_000


@dataclass
class Measured:
    """What came of each check: whether its value is held in silence, when, in which tick, and who was covered."""

    held: list[bool] = field(default_factory=list)
    at_ms: list[float] = field(default_factory=list)
    tick: list[int] = field(default_factory=list)
    covered: list[bool] = field(default_factory=list)

    def offsets(self) -> tuple[Sample, Sample]:
        """Return how long after the end of its window each certificate came, without and with a silent holder.

        Windows end every tick; where exactly is taken from the checks around, so that a machine that drifts or
        pauses moves both alike.
        """
        at = np.array(self.at_ms) - np.array(self.tick, dtype=np.float64) * TICK_MS
        base = np.array([np.median(at[max(0, one - _AROUND) : one + _AROUND + 1]) for one in range(len(at))])
        is_held = np.array(self.held)
        found: npt.NDArray[np.float64] = at - base
        return found[~is_held], found[is_held]

    def uncovered(self) -> tuple[Sample, Sample]:
        """Return 1 for each check that did not cover the holder and 0 for the others, without and with."""
        missed, is_held = 1.0 - np.array(self.covered, dtype=np.float64), np.array(self.held)
        return missed[~is_held], missed[is_held]


async def measure(
    directory: Path, address: str, checks: int, *, seed: int, progress: Callable[[int], None]
) -> Measured:
    """Ask about `checks` values, one a tick, at a random moment of it."""
    home, clock, rng = home_of(directory, ASKER), SystemClock(), random.Random(seed)
    federation = Federation(home.manifest, {ASKER: home.signing_key})
    asker = AskerByHand(ASKER, federation, clock)  # type: ignore[arg-type]  # a clock is a clock
    outgoing: asyncio.Queue[session_pb2.NodeFrame] = asyncio.Queue()
    hello = session_pb2.Hello(
        federation=home.manifest.federation,
        manifest_hash=home.manifest.hash,
        incarnation=rng.randbytes(16),
        rules_versions={name: window.current for name, window in home.manifest.rules_versions.items()},
        epochs=list(home.manifest.live_epochs),
        takes_several=True,
    )
    outgoing.put_nowait(session_pb2.NodeFrame(hello=hello))
    measured, asked, begun = Measured(), dict[bytes, bool](), asyncio.Event()
    async with channel(address, home=home, server=home.manifest.gateways[0].spiffe) as to:
        stream = SessionServiceStub(to).Attach(_queued(outgoing))
        reading = asyncio.create_task(_read(stream, outgoing, measured, asked, begun))
        await begun.wait()
        for number in range(checks):
            is_held = rng.random() < 0.5
            check = _check(asker, held(number) if is_held else nobodys(number), rng)
            asked[check_pb2.CheckHeader.FromString(check.header).check_id] = is_held
            outgoing.put_nowait(session_pb2.NodeFrame(check=check))
            await asyncio.sleep(rng.uniform(0.5, 1.5) * TICK_MS / 1000)
            progress(number + 1)
        async with asyncio.timeout(30):
            while len(measured.held) < checks:  # noqa: ASYNC110 -- the last certificates are on their way
                await asyncio.sleep(WINDOW_MS / 1000)
        reading.cancel()
        await asyncio.gather(reading, return_exceptions=True)
    return measured


async def _read(
    stream: AsyncIterable[session_pb2.HubFrame],
    outgoing: asyncio.Queue[session_pb2.NodeFrame],
    measured: Measured,
    asked: dict[bytes, bool],
    begun: asyncio.Event,
) -> None:
    async for message in stream:
        at_ms = time.monotonic() * 1000
        for frame in several.frames_of(message):
            _take(frame, at_ms, outgoing, measured, asked, begun)


def _take(
    frame: session_pb2.HubFrame,
    at_ms: float,
    outgoing: asyncio.Queue[session_pb2.NodeFrame],
    measured: Measured,
    asked: dict[bytes, bool],
    begun: asyncio.Event,
) -> None:
    kind = frame.WhichOneof("frame")
    if kind == "certificate":
        body = check_pb2.CertificateBody.FromString(frame.certificate.body)
        measured.held.append(asked[body.check_id])
        measured.at_ms.append(at_ms)
        measured.tick.append(body.tick)
        measured.covered.append(body.holders[0].state == check_pb2.HOLDER_STATE_COVERED)
    elif kind == "barrier":
        reply = session_pb2.BarrierReply(tick=frame.barrier.tick, index_sequence=0, all_published=True)
        outgoing.put_nowait(session_pb2.NodeFrame(barrier_reply=reply))
    elif kind == "check_refused":
        raise AssertionError(frame.check_refused.code)
    elif kind == "welcome":
        begun.set()


def _check(asker: AskerByHand, value: str, rng: random.Random) -> check_pb2.Check:
    expires = int(asker.clock.now() * 1000) + LIFE_MS
    header = asker.header(1, check_id=rng.randbytes(16), expires_at_ms=expires)
    question = asker.question(header, [Item(value, rng.randbytes(16))])
    return check_pb2.Check(
        header=header.raw,
        signature=header.signature,
        items=question.items,
        audience_salt=SALT,
        audience_sets=question.audience_sets,
    )


async def _queued(frames: asyncio.Queue[session_pb2.NodeFrame]) -> AsyncIterator[session_pb2.NodeFrame]:
    while True:
        yield await frames.get()
