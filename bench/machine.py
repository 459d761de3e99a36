"""The machine that a bench runs on: what it is, whether it is quiet, and whether it has room."""

from __future__ import annotations

import os
import platform
import shutil
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from concordat.errors import ConfigError

GIB: Final = 1 << 30
# Above this part of the cores something else is at work, and wall times are not ours.
QUIET: Final = 0.25


@dataclass(frozen=True, slots=True)
class Needs:
    """Bytes that a bench needs free, on disk and in memory."""

    disk: int = 0
    memory: int = 0

    def __or__(self, other: Needs) -> Needs:
        """Return what two benches need that share their data and run one after the other."""
        return Needs(max(self.disk, other.disk), max(self.memory, other.memory))

    def __str__(self) -> str:
        return f"{self.disk / GIB:.1f} GiB of disk and {self.memory / GIB:.1f} GiB of memory"


@dataclass(frozen=True, slots=True)
class Machine:
    """Facts to print beside figures."""

    processor: str
    cores: int
    memory_gib: float
    load: float
    python: str
    date: str

    @classmethod
    def here(cls) -> Machine:
        """Look at this machine."""
        return cls(
            processor=_field("/proc/cpuinfo", "model name") or platform.processor() or platform.machine(),
            cores=len(os.sched_getaffinity(0)),
            memory_gib=round(_kib("MemTotal") / (1 << 20), 1),
            load=round(os.getloadavg()[0], 2),
            python=platform.python_version(),
            date=datetime.now(UTC).date().isoformat(),
        )

    @property
    def quiet(self) -> bool:
        """Tell whether nothing else seems to be at work."""
        return self.load <= QUIET * self.cores

    def facts(self) -> dict[str, Any]:
        """Return what goes beside each row."""
        return {
            "processor": self.processor,
            "cores": self.cores,
            "load_at_start": self.load,
            "python": self.python,
            "date": self.date,
        }

    def __str__(self) -> str:
        return (
            f"{self.processor}, {self.cores} cores, {self.memory_gib} GiB, load {self.load}, "
            f"Python {self.python}, {self.date}"
        )


def free() -> int:
    """Return the bytes of memory that can be had without swapping."""
    return _kib("MemAvailable") << 10


def require_room(needs: Needs, folder: Path, *, there: int = 0) -> None:
    """Refuse to begin where the disk or the memory would run full.

    Args:
        needs: What the run needs.
        folder: Where its data go; it need not exist yet.
        there: Bytes of the data that lie there already.

    Raises:
        ConfigError: There is less; says how much is needed and how much there is.
    """
    above = next(one for one in (folder, *folder.absolute().parents) if one.exists())
    disk, memory = shutil.disk_usage(above).free + there, free()
    if disk < needs.disk or memory < needs.memory:
        raise ConfigError(f"this needs {needs} free, and there are {Needs(disk, memory)}")


def _kib(name: str) -> int:
    found = _field("/proc/meminfo", name)
    return int(found.split()[0]) if found else 0


def _field(path: str, name: str) -> str:
    try:
        lines = Path(path).read_text(encoding="utf-8").splitlines()
    except OSError:
        return ""
    return next((line.partition(":")[2].strip() for line in lines if line.partition(":")[0].strip() == name), "")
