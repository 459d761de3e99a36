"""Following a submit: what the running node has done of it so far. Leaving early loses nothing."""

from __future__ import annotations

import socket
import time
from typing import TYPE_CHECKING, Final

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.text import Text

from services.node.store import overview
from services.node.submit import WAKE_SOCKET

if TYPE_CHECKING:
    from pathlib import Path

    from rich.console import Console

    from services.node.store.overview import FileProgress
    from services.node.store.store import Store

POLL_S: Final = 0.1
_REST: Final = 20
# Whoever waits wants to see it move, and to be let go soon after the end.
LONGEST_PAUSE_S: Final = 10.0
_WAITS: Final = frozenset({"asking", "session", "tokenise"})
# Longer than this without any step means that the node waits for others; it goes on by itself.
PATIENCE_S: Final = 30.0
# A long file is counted seldom; from the news of half a minute alone nothing could be said of the time left.
SPEED_OVER_S: Final = 600.0
_STEPS: Final = (("tokens", "tokenised"), ("published", "published"), ("asked", "asked"), ("answered", "settled"))


def is_running(home: Path) -> bool:
    """Tell whether a node process listens in this folder."""
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as probe:
            probe.connect(str(home / WAKE_SOCKET))
    except OSError:
        return False
    return True


def progress_of(store: Store, file_id: int, epoch: int) -> FileProgress:
    """Return how far a file has come."""
    with store.read() as db:
        return overview.file_progress(db, file_id, epoch=epoch)


def in_words(found: FileProgress) -> str:
    """Return how far a file has come as one line."""
    return ", ".join(f"{label} {getattr(found, field):,} of {found.values:,}" for label, field in _STEPS)


def follow(
    store: Store, file_id: int, *, epoch: int, console: Console, quiet: bool = False, patience_s: float = PATIENCE_S
) -> FileProgress:
    """Show progress until everything is asked and answered, nothing moves for a while, or Ctrl-C.

    While the node says what it waits for, as for custodians, this says it too and waits with it.

    Args:
        store: The node's store, which the running node writes.
        file_id: The file that was submitted.
        epoch: The epoch in force.
        console: Where the bars go.
        quiet: Show no progress, as with --json; why something waits is said all the same.
        patience_s: How long nothing may move without a reason given.
    """
    bar = Progress(
        TextColumn("{task.description:<10}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
        console=console,
        disable=quiet or not console.is_terminal,
        transient=True,
        speed_estimate_period=SPEED_OVER_S,
    )
    found = progress_of(store, file_id, epoch)
    moved, said, pause_s = time.monotonic(), "", POLL_S
    with bar:
        tasks = {field: bar.add_task(label, total=found.values) for label, field in _STEPS}
        try:
            while True:
                for field, task in tasks.items():
                    bar.update(task, completed=getattr(found, field), total=found.values)
                # How a sweep ended is none of a submit's reasons to wait.
                why = "; ".join(one.text for one in store.conditions() if one.name in _WAITS)
                if why and why != said:
                    hint = "" if said else "; Ctrl-C ends only the waiting here, nothing is lost"
                    bar.console.print(Text(f"{why}{hint}", style="yellow"), soft_wrap=True)
                if found.done or (not why and time.monotonic() - moved > patience_s):
                    break
                time.sleep(pause_s)
                began = time.monotonic()
                now = progress_of(store, file_id, epoch)
                # Counting a long file takes a while itself; the node needs the processor more.
                pause_s = min(LONGEST_PAUSE_S, max(POLL_S, _REST * (time.monotonic() - began)))
                moved = moved if now == found and not why else time.monotonic()
                found, said = now, why
        except KeyboardInterrupt:
            pass
    # The bars are gone by now, or there were none as in a log: what people cannot see any more is said in a line.
    if not quiet and not (found.done and console.is_terminal):
        console.print(Text(in_words(found)), soft_wrap=True)
    return found
