"""One process at a time on a folder.

    with only_process(home / "node.lock", taken="another node process runs on this folder; stop it first"):
        ...

The system lets go of the lock when the process ends, however it ends.
"""

from __future__ import annotations

import fcntl
import os
from contextlib import contextmanager
from typing import TYPE_CHECKING

from concordat.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@contextmanager
def only_process(lock: Path, *, taken: str) -> Iterator[None]:
    """Hold a lock file of mode 0600, whose folder is there.

    Args:
        lock: The file; it stays.
        taken: What to say where another process holds it, and what to do then.

    Raises:
        ConfigError: Another process holds it, or the folder cannot be written.
    """
    try:
        descriptor = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise ConfigError(f"{lock}: cannot be opened ({error.strerror})") from error
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise ConfigError(f"{lock}: {taken}") from error
        yield
    finally:
        os.close(descriptor)
