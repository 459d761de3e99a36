"""What a process has used: CPU seconds, and memory in MB of 10^6 bytes, as Linux says it of this one or another."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final, Literal, TypeAlias

MB: Final = 1_000_000
_TICKS_A_SECOND: Final = os.sysconf("SC_CLK_TCK")
_OWN, _CHILDREN = slice(11, 13), slice(13, 15)

Process: TypeAlias = int | Literal["self"]


def cpu_s(process: Process = "self") -> float:
    """Return the CPU seconds of a process, its own and the system's in its name."""
    return sum(_stat(process)[_OWN]) / _TICKS_A_SECOND


def ended_children_cpu_s(process: Process = "self") -> float:
    """Return the CPU seconds of the children whose end a process has seen."""
    return sum(_stat(process)[_CHILDREN]) / _TICKS_A_SECOND


def rss_mb(process: Process = "self") -> float:
    """Return the resident memory of a process now."""
    return _memory_mb(process, "VmRSS:")


def peak_mb(process: Process = "self") -> float:
    """Return the highest resident memory of a process. Not ru_maxrss: that begins with what the parent had."""
    return _memory_mb(process, "VmHWM:")


def _memory_mb(process: Process, name: str) -> float:
    lines = Path(f"/proc/{process}/status").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(name)) * 1024 / MB


def _stat(process: Process) -> list[int]:
    # After the name in parentheses, which may hold blanks; the first of what is left is a letter.
    text = Path(f"/proc/{process}/stat").read_text(encoding="ascii").rpartition(")")[2]
    return [0, *(int(one) for one in text.split()[1:])]
