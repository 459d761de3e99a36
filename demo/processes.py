"""Real processes of a federation on loopback: started, listened to, stopped, or killed to see what survives."""

from __future__ import annotations

import contextlib
import json
import signal
import socket
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, Final

from concordat.errors import UnavailableError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

READY_S: Final = 60
STOP_S: Final = 10
LOG_TAIL_LINES: Final = 15

Event = dict[str, Any]


def free_ports(number: int) -> list[int]:
    """Return ports of loopback that were free a moment ago, all different."""
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(number)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]


class Process:
    """One `concordat` process; its JSON lines on stdout are events, its stderr goes to a log file."""

    def __init__(
        self, name: str, arguments: Sequence[str], *, log: Path, on_event: Callable[[str, Event], None]
    ) -> None:
        self.name = name
        self._arguments = [sys.executable, "-m", "concordat", *arguments]
        self._log = log
        self._on_event = on_event
        self._ready = threading.Event()
        self._child: subprocess.Popen[str] | None = None

    @property
    def pid(self) -> int | None:
        """Return the process id while it runs."""
        return self._child.pid if self._child is not None and self._child.poll() is None else None

    def start(self) -> None:
        """Start the process; `wait_ready` waits until it says that it serves."""
        self._ready.clear()
        # In another thread, whose end is awaited in any case: a signal that ends this program raises in the main one,
        # and a child that was just being made there would be lost.
        with ThreadPoolExecutor(1) as pool:
            child = pool.submit(self._spawn).result()
        threading.Thread(target=self._listen, args=(child,), daemon=True, name=f"events of {self.name}").start()

    def _spawn(self) -> subprocess.Popen[str]:
        with self._log.open("ab") as log:
            self._child = subprocess.Popen(  # noqa: S603 - our own program, arguments made here
                self._arguments, stdout=subprocess.PIPE, stderr=log, stdin=subprocess.DEVNULL, text=True
            )
        return self._child

    def _listen(self, child: subprocess.Popen[str]) -> None:
        assert child.stdout is not None
        with child.stdout as lines:
            for line in lines:
                try:
                    event = json.loads(line)
                except ValueError:
                    # No event: kept where whoever looks for what a process said will look.
                    with self._log.open("a") as log:
                        log.write(line)
                    continue
                if isinstance(event, dict):
                    if event.get("ready"):
                        self._ready.set()
                    self._on_event(self.name, event)

    def wait_ready(self, timeout_s: float = READY_S) -> None:
        """Wait for the ready line.

        Raises:
            UnavailableError: The process ended or said nothing; the tail of its log is in the message.
        """
        waited = 0.0
        while not self._ready.wait(0.05):
            waited += 0.05
            if self._child is None or self._child.poll() is not None or waited > timeout_s:
                raise UnavailableError(f"{self.name} did not start:\n{self.log_tail()}")

    def log_tail(self) -> str:
        """Return the last lines of the process's log."""
        text = self._log.read_text(errors="replace") if self._log.exists() else ""
        return "\n".join(text.splitlines()[-LOG_TAIL_LINES:])

    def stop(self) -> None:
        """Ask the process to end, and end it if it does not."""
        if self._child is not None and self._child.poll() is None:
            self._child.terminate()

    def join(self) -> int | None:
        """Wait for the end of a process that was asked to stop; return its exit code."""
        if self._child is None:
            return None
        try:
            return self._child.wait(STOP_S)
        except subprocess.TimeoutExpired:
            self._child.kill()
            return self._child.wait()

    def kill(self) -> None:
        """End the process as a power cut would."""
        if self._child is not None:
            self._child.send_signal(signal.SIGKILL)
            self._child.wait()
