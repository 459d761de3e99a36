"""The process of a shard: the gateway's own identity, and no more of a gateway than a part of its sweeps.

It serves the streams of participants, and parts to who shows the identity that this process has itself. It opens no
ledger, knows no operation, and holds no session.
"""

from __future__ import annotations

from contextlib import asynccontextmanager, contextmanager
from typing import TYPE_CHECKING, Final

from concordat.errors import ConfigError
from concordat.folder_lock import only_process
from concordat.identity.names import Role
from concordat.rpc.auth import AuthorisationTable
from concordat.rpc.methods import grpc_table
from concordat.rpc.server import BoundServer, ServerSettings, build_server
from concordat.wire.v1.shard_pb2_grpc import add_ShardServiceServicer_to_server
from concordat.wire.v1.sweep_pb2_grpc import add_SweepServiceServicer_to_server
from gateway.sweep.shard import ShardParts, ShardServicer
from gateway.sweep.streams import SweepServicer

if TYPE_CHECKING:
    import asyncio
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path

    import grpc.aio

    from concordat.clock import Clock
    from concordat.identity.home import Home
    from gateway.sweep.effects import SweepSettings

_SERVICE: Final = "/concordat.wire.v1."
_OWN: Final = (f"{_SERVICE}ShardService/TakePart", f"{_SERVICE}ShardService/EndParts")
_SWEEP: Final = f"{_SERVICE}SweepService/Sweep"


def shard_table(home: Home) -> AuthorisationTable:
    """Return who may call what at a shard of this gateway."""
    roles = grpc_table(Role.GATEWAY).roles
    return AuthorisationTable.of(
        {method: roles[method] for method in (*_OWN, _SWEEP)}, dict.fromkeys(_OWN, (home.identity.name,))
    )


@asynccontextmanager
async def open_shard(
    home: Home, folder: Path, settings: ServerSettings, sweep: SweepSettings, *, clock: Clock
) -> AsyncIterator[tuple[BoundServer, asyncio.Event]]:
    """Go on with the parts of a folder; give the server, not yet started, and what is set once a part is forgotten.

    Args:
        home: The gateway's folder, or one with the same identity.
        folder: Of the parts; of this shard alone.
        settings: Of the server.
        sweep: Limits, as the gateway has them.
        clock: The time.

    Raises:
        ConfigError: The folder is not a gateway's, its parts are another process's, or the address cannot be bound.
    """
    if home.identity.role is not Role.GATEWAY:
        raise ConfigError(f"{home.path}: is the folder of {home.identity}, not of a gateway")
    parts = ShardParts(home, folder, sweep, clock)

    def add(server: grpc.aio.Server) -> None:
        add_ShardServiceServicer_to_server(ShardServicer(parts, clock), server)
        add_SweepServiceServicer_to_server(SweepServicer(parts, sweep), server)

    server = build_server(settings, home=home, table=shard_table(home), known=home.manifest.knows, add=add)
    # Before the server starts: whoever comes again must find its part.
    with _alone(folder):
        parts.start()
        try:
            yield server, parts.over
        finally:
            await parts.stop()


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Let no second shard take the parts of this folder for its own."""
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(f"{folder}: cannot be made ({error.strerror})") from error
    # Beside it: what is in it are parts.
    lock = folder.with_name(f"{folder.name}.lock")
    with only_process(lock, taken="another shard runs on this folder; each has an index of its own"):
        yield
