"""A node's folder, opened for one command."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from concordat.errors import ConfigError
from concordat.identity.home import Home, load_home
from concordat.identity.names import Role
from services.node.store.store import FILE_NAME, Store

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from concordat.clock import Clock


@contextmanager
def opened_node(folder: Path, clock: Clock) -> Iterator[tuple[Home, Store]]:
    """Yield a node's identity and store.

    Raises:
        ConfigError: There is no such folder, or it is another party's.
    """
    if not folder.is_dir():
        raise ConfigError(f"{folder}: there is no such folder; `concordat federation init` makes one for each party")
    loaded = load_home(folder, clock=clock)
    if loaded.identity.role is not Role.NODE:
        raise ConfigError(f"{folder}: is the folder of {loaded.identity}, not of a node")
    with Store.open(folder / FILE_NAME) as store:
        yield loaded, store
