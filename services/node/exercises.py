"""The end of exercises: the node wipes what it held for them, before it answers anything and once an hour (3.6 (8)).

Exercises are how parties try the whole before they connect, with invented data (Pruem II, art. 75; LB-28).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from services.node.held import ended_exercises, ended_operations, forget_key
from services.node.index.keeper import FOLDER
from services.node.index.operation_run import forget_sets
from services.node.store.exercises import wipe_exercise

if TYPE_CHECKING:
    from concordat.clock import Clock
    from concordat.identity.home import Home
    from services.node.store.store import Store


def wipe_ended(home: Home, store: Store, *, clock: Clock) -> int:
    """Wipe every exercise that is over, and the sweep sets of all that is; return how many values went.

    Args:
        home: The node's folder, which holds the charters.
        store: The node's store.
        clock: Tells whether they are over.

    Raises:
        UnavailableError: The store cannot be written.
    """
    number = 0
    forget_sets(home.path / FOLDER, ended_operations(home.path, now=clock.now() - home.manifest.max_skew_s))
    # Others' clocks may be behind: what they still ask until then is answered.
    for operation in ended_exercises(home.path, now=clock.now() - home.manifest.max_skew_s):
        with store.write() as db:
            number += wipe_exercise(db, operation)
        forget_key(home.path, operation)
    return number
