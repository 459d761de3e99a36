"""How a process ends: without waiting for a compiler, which nobody can stop and nobody needs any more (ADR 0010).

An interpreter that ends waits for its threads, and one that is compiling may take half a minute on a busy machine:
longer than a supervisor's grace, who then kills what was long since closed.
"""

from __future__ import annotations

import logging
import os
import sys
import threading
from typing import Final, NoReturn

COMPILING: Final = "compiling"
"""Name of a thread that does nothing but load compiled code."""


def leave(code: int) -> NoReturn:
    """End this process; all that it has is closed.

    Args:
        code: Its exit code.
    """
    if any(thread.name == COMPILING for thread in threading.enumerate()):
        logging.shutdown()
        sys.stdout.flush()
        sys.stderr.flush()
        # To end as usual, without the thread, would break off the compiler while its library is taken apart.
        os._exit(code)
    sys.exit(code)
