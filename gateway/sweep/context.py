"""What all sweeps of a gateway share: operations, ledger, identity, settings, and where sweeps are kept."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from concordat.errors import ConfigError
from gateway.sweep.checkpoint import folder_of, remove_ended
from gateway.sweep.effects import SweepSettings

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence
    from pathlib import Path

    import grpc.aio

    from concordat.clock import Clock
    from concordat.identity.keys import SigningKey
    from concordat.wire.v1.session_pb2 import OperationEvent
    from gateway.edges import EdgeCandidate
    from gateway.operations_store import OperationStore
    from gateway.sweep.checkpoint import SweepFolder

    End = tuple[str, bytes]

_log = logging.getLogger(__name__)


class EdgeLedger(Protocol):
    """What a sweep needs of the ledger."""

    async def live_edges(self, pairs: Sequence[tuple[End, End]]) -> Sequence[bytes | None]:
        """Return the live edge of each pair of (party, reference), or None."""
        ...

    async def open_edges(self, candidates: Sequence[EdgeCandidate]) -> None:
        """Open edges; they are durable and their notices on the way when it returns."""
        ...


@dataclass(frozen=True, slots=True)
class SweepContext:
    """What all sweeps of a gateway share.

    Attributes:
        store: Operations.
        ledger: Edges.
        attached: Returns the parties that are attached now.
        send_event: Sends an event to a party where it is attached.
        identity: SPIFFE id of this gateway.
        key: Signs reports.
        clock: Wall clock and durations.
        settings: Limits.
        folder: Where running sweeps are kept, so that they go on after a restart; None keeps them in memory.
        dial: Opens a channel to a shard, on which only this gateway's own identity is taken for an answer.
    """

    store: OperationStore
    ledger: EdgeLedger
    attached: Callable[[], Collection[str]]
    send_event: Callable[[str, OperationEvent], None]
    identity: str
    key: SigningKey
    clock: Clock
    settings: SweepSettings = field(default_factory=SweepSettings)
    folder: Path | None = None
    dial: Callable[[str], grpc.aio.Channel] | None = None

    def keep(self, sweep_id: bytes) -> SweepFolder | None:
        """Return the folder of a sweep; None where it is not kept, or cannot be."""
        if self.folder is None:
            return None
        try:
            return folder_of(self.folder, sweep_id, self.key)
        except ConfigError as error:
            _log.warning("a sweep will not survive a restart: %s", error.message)
            return None

    def dial_shard(self, address: str) -> grpc.aio.Channel:
        """Open a channel to a shard.

        Raises:
            ConfigError: This gateway has no way to.
        """
        if self.dial is None:
            raise ConfigError("a sweep with shards, and no way to dial them")
        return self.dial(address)

    def tidy(self, running: Collection[bytes]) -> None:
        """Delete what a killed gateway has left of sweeps that do not run any more."""
        try:
            for ended in [] if self.folder is None else remove_ended(self.folder, running):
                _log.warning("sweep %s has ended; what was left of it on disk is deleted", ended)
        except OSError as error:
            _log.warning("the folder of sweeps cannot be read: %s", error.strerror)

    def is_kept(self, sweep_id: bytes) -> bool:
        """Tell whether a sweep was under way when a gateway stopped."""
        return self.folder is not None and (self.folder / sweep_id.hex()).is_dir()
