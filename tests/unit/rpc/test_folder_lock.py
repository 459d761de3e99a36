"""One process at a time on a folder; a second one is told what to do."""

from __future__ import annotations

import stat
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from concordat.errors import ConfigError
from concordat.folder_lock import only_process

if TYPE_CHECKING:
    from pathlib import Path

HOLD = """
import sys
from pathlib import Path
from concordat.folder_lock import only_process
with only_process(Path(sys.argv[1]), taken=""):
    print("held", flush=True)
    sys.stdin.read()
"""


def test_a_second_holder_is_refused_and_the_next_one_is_not(tmp_path: Path) -> None:
    lock = tmp_path / "lock"
    with only_process(lock, taken=""):
        assert stat.S_IMODE(lock.stat().st_mode) == 0o600
        with pytest.raises(ConfigError, match="stop the other"), only_process(lock, taken="stop the other"):
            pass
    with only_process(lock, taken=""):
        pass


def test_a_killed_process_holds_nothing(tmp_path: Path) -> None:
    lock = tmp_path / "lock"
    command = [sys.executable, "-c", HOLD, str(lock)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "held\n"
        with pytest.raises(ConfigError, match="another"), only_process(lock, taken="another"):
            pass
        other.kill()
        other.wait()
        with only_process(lock, taken="another"):
            pass


def test_a_folder_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="missing"), only_process(tmp_path / "missing" / "lock", taken=""):
        pass
