"""Loading the fast engine while libsodium already serves."""

from __future__ import annotations

import logging
import threading
from typing import TYPE_CHECKING

from concordat.leaving import COMPILING
from concordat.oprf import engine

if TYPE_CHECKING:
    from collections.abc import Callable

_log = logging.getLogger(__name__)


def warm_up(
    on_loaded: Callable[[str], None], *, load: Callable[[], engine.Engine] = engine.warm_up
) -> threading.Thread:
    """Load what multiplies large batches in a thread of its own, and say what it is.

    Until then, and where there is nothing to load or what was loaded is wrong, libsodium multiplies. A process that is
    to end before the thread does leaves as concordat.leaving has it.

    Args:
        on_loaded: told the engine's name, in that thread.
        load: returns this process's engine.
    """

    def run() -> None:
        found = load()
        found.wait()
        _log.info("large batches are evaluated by: %s", found.name)
        on_loaded(found.name)

    thread = threading.Thread(target=run, name=COMPILING)
    thread.start()
    return thread
