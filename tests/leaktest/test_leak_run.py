"""The leak test itself runs: its parties speak the protocol as it is. What it finds takes minutes: `make leak-test`."""

from __future__ import annotations

import subprocess
import sys

import pytest

CHECKS = 40


@pytest.mark.full
def test_every_check_of_a_short_run_gets_its_certificate() -> None:
    ran = subprocess.run(
        [sys.executable, "-m", "tests.leaktest", "--leaky", "0", "--checks", str(CHECKS)],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert f"{CHECKS} of {CHECKS} checks" in ran.stdout + ran.stderr, ran.stderr
