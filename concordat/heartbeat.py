"""A sign of life for processes that nobody can call: the time of a file in the party's folder.

A node dials out and has no port; what watches it looks at this file instead. The file is empty.
"""

from __future__ import annotations

import time
from contextlib import suppress
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from pathlib import Path

FILE_NAME: Final = "heartbeat"
# A beat comes each second; a disk that is busy may hold some of them back.
FRESH_S: Final = 30.0


def beat(home: Path) -> None:
    """Say that the process of this folder still works; a folder that cannot be written keeps its old beat."""
    with suppress(OSError):
        (home / FILE_NAME).touch(mode=0o600)


def is_beating(home: Path, *, fresh_s: float = FRESH_S) -> bool:
    """Tell whether the last beat is recent."""
    try:
        last = (home / FILE_NAME).stat().st_mtime
    except OSError:
        return False
    # The file's time is the machine's, so it is held against the machine's clock and no injected one.
    return abs(time.time() - last) <= fresh_s
