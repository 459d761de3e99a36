"""The hub's own numbers (docs/telemetry.md).

No party's name is a label, and no questions, answers or hits are counted (I11). How long the ledger's writes take is
also how many there are: like processor time it shows the hub's operator that somebody works, never who.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from concordat import telemetry

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

    from opentelemetry.metrics import Meter

    from concordat.api.operator import SweepProgress
    from gateway.session import Channel

LEDGER_WRITE: Final = telemetry.duration(
    "concordat.ledger.write.duration", "How long one transaction of the ledger took to be durable."
)


class HubMetrics:
    """Instruments of one hub; its loop sets them once a tick, as others' threads must not read its state."""

    def __init__(self) -> None:
        meter = telemetry.meter()
        self._attached = meter.create_gauge("concordat.nodes.attached", description="Nodes that can be asked.")
        self._sessions = meter.create_gauge("concordat.sessions", description="Streams of nodes that are open.")
        self._queued = meter.create_gauge(
            "concordat.queue.size", unit="By", description="Bytes that wait to be sent to nodes, questions apart."
        )
        self._ticks = meter.create_counter("concordat.ticks", description="Ticks that have ended.")
        self._planes = meter.create_gauge(
            "concordat.planes.size", unit="By", description="Memory of the routing filter."
        )
        self._slots = meter.create_gauge("concordat.planes.log2_slots", description="Its slots are 2 to this power.")
        self._certificates = meter.create_counter("concordat.certificates", description="Certificates issued.")

    def tick(self, channels: Iterable[Channel], *, attached: int, ticks: int, certificates: int) -> None:
        """Say how things are, and how many ticks ended and certificates left since this was said."""
        waiting = [channel.waiting_bytes for channel in channels]
        self._attached.set(attached)
        self._sessions.set(len(waiting))
        self._queued.set(sum(waiting))
        self._ticks.add(ticks)
        self._certificates.add(certificates)

    def planes(self, size: int, log2_slots: int) -> None:
        """Say how large the routing filter is: by the largest plane of all, whose party nobody is told."""
        self._planes.set(size)
        self._slots.set(log2_slots)


class SweepMetrics:
    """Instruments of all running sweeps together."""

    def __init__(self, meter: Meter | None = None) -> None:
        meter = meter or telemetry.meter()
        self._running = meter.create_gauge("concordat.sweeps", description="Sweeps that run.")
        self._done = meter.create_gauge("concordat.sweeps.windows.done", description="Windows that all have answered.")
        self._windows = meter.create_gauge("concordat.sweeps.windows", description="Windows in all.")
        self._owing = meter.create_gauge("concordat.sweeps.owing", description="Participants that are waited for.")
        self._dropped = meter.create_gauge("concordat.sweeps.dropped", description="Participants that were left out.")

    def show(self, sweeps: Collection[SweepProgress]) -> None:
        """Say how things are."""
        parties = [party for sweep in sweeps for party in sweep.parties]
        self._running.set(len(sweeps))
        self._done.set(sum(sweep.windows_done for sweep in sweeps))
        self._windows.set(sum(sweep.windows for sweep in sweeps))
        self._owing.set(sum(party.owes for party in parties))
        self._dropped.set(sum(bool(party.code) for party in parties))
