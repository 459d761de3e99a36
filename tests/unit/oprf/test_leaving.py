"""A process that was told to end does not wait for its compiler, and what it said before is not lost."""

from __future__ import annotations

import subprocess
import sys

PROGRAM = """
import logging, sys, threading, time
from concordat.leaving import COMPILING, leave
logging.basicConfig(stream=sys.stderr)
threading.Thread(target=time.sleep, args=({seconds},), name={name}).start()
print("said")
logging.warning("logged")
leave(3)
"""


def ended(name: str, seconds: float) -> subprocess.CompletedProcess[str]:
    program = PROGRAM.format(name=name, seconds=seconds)
    return subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False, timeout=60)


def test_it_does_not_wait_for_a_thread_that_compiles() -> None:
    done = ended("COMPILING", 600)
    assert (done.returncode, done.stdout) == (3, "said\n")
    assert "logged" in done.stderr


def test_it_waits_for_any_other() -> None:
    done = ended("'work'", 0.2)
    assert (done.returncode, done.stdout) == (3, "said\n")


def test_the_command_line_ends_so_and_both_loaders_are_such_threads() -> None:
    program = """
import threading, time
from concordat import cli
from concordat.leaving import COMPILING
from concordat.oprf.engine import Selector
from services.custodian.warming import warm_up
Selector(lambda: time.sleep(600), warm_rows=0).current(1000)
assert [one.name for one in threading.enumerate()].count(COMPILING) == 1
warm_up(print, load=lambda: time.sleep(600))
assert [one.name for one in threading.enumerate()].count(COMPILING) == 2
cli.main(["--version"])
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout
