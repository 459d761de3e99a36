"""The fast engine is chosen only where it is there and right, nobody waits for it, and libsodium stands in for it."""

from __future__ import annotations

import logging
import subprocess
import sys
import threading

import pytest

from concordat.errors import ConfigError
from concordat.oprf import engine as engines
from concordat.oprf.engine import MIN_ROWS, REFERENCE, Engine, Reference, Selector

LOGGER = "concordat.oprf.engine"


class Other(Reference):
    name = "other"


def run(program: str, **more: str) -> str:
    """Run a program in another process, in which nothing is loaded yet."""
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False, env={"PATH": "/usr/bin", **more}
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_small_batch_takes_the_reference_and_loads_nothing() -> None:
    selector = Selector(lambda: pytest.fail("loaded"), warm_rows=0)
    assert selector.current(MIN_ROWS - 1) is REFERENCE
    assert selector.name == "libsodium"


def test_few_rows_in_all_load_nothing_and_more_do() -> None:
    loaded = threading.Event()

    def load() -> Engine:
        loaded.set()
        return Other()

    selector = Selector(load, warm_rows=100)
    assert selector.current(60) is REFERENCE
    assert not loaded.is_set()
    selector.current(60)
    assert loaded.wait(60)
    assert selector.warm_up() is selector.current(60)
    assert selector.name == "other"


def test_no_batch_waits_while_the_engine_loads() -> None:
    go_on, calls = threading.Event(), []

    def load() -> Engine:
        calls.append(1)
        assert go_on.wait(60)
        return Other()

    selector = Selector(load, warm_rows=0)
    assert all(selector.current(100) is REFERENCE for _ in range(5))
    go_on.set()
    chosen = selector.warm_up()
    assert chosen.name == "other"
    assert selector.current(100) is chosen
    assert selector.current(MIN_ROWS - 1) is REFERENCE
    assert calls == [1]


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (ConfigError("compiled code differs from libsodium in sums"), "differs from libsodium in sums"),
        (RuntimeError("what a compiler says"), "does not start"),
        (ImportError("llvmlite"), "does not start"),
    ],
)
def test_an_engine_that_does_not_load_is_said_once_and_libsodium_goes_on(
    error: Exception, said: str, caplog: pytest.LogCaptureFixture
) -> None:
    def load() -> Engine:
        raise error

    selector = Selector(load, warm_rows=0)
    with caplog.at_level(logging.WARNING, LOGGER):
        assert selector.warm_up() is selector.warm_up() is REFERENCE
        assert selector.current(100) is REFERENCE
    (record,) = [one for one in caplog.records if one.name == LOGGER]
    assert said in record.getMessage()
    assert "what a compiler says" not in record.getMessage()


def test_without_an_engine_nothing_is_said(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG, LOGGER):
        assert Selector(lambda: None).warm_up() is REFERENCE
    assert not [one for one in caplog.records if one.name == LOGGER]


def test_a_process_has_one_choice() -> None:
    """Small batches only: this process goes on with other tests."""
    assert engines.current(1) is REFERENCE
    assert engines.in_use()


WITHOUT_NUMBA = """
import sys
sys.modules["numba"] = sys.modules["llvmlite"] = None
import logging
logging.basicConfig(stream=sys.stdout)
from concordat.oprf import client, engine, server, threshold
key, shares = threshold.unsafe_deal(2, 3)
inputs = [b"%d" % i for i in range(24)]
assert engine.warm_up() is engine.REFERENCE
blinded = client.blind(inputs)
pairs = [[server.evaluate(s, blinded.elements) for s in two] for two in (shares[:2], shares[1:])]
print(engine.in_use(), len({client.finalize(inputs, blinded, two, key) for two in pairs}))
from concordat.errors import ConfigError
from concordat.oprf.cli import app
try:
    app(["bench", "--engine", "fast"], result_action="return_value", exit_on_error=False)
except ConfigError as e:
    print(e.message)
"""


def test_all_works_without_numba_and_nothing_is_said() -> None:
    works, refused = run(WITHOUT_NUMBA).splitlines()
    assert works == "libsodium 1"
    assert "'fast' is not installed" in refused


def test_what_is_imported_and_used_for_a_few_rows_loads_no_compiler() -> None:
    program = """
import sys
from concordat.oprf import client, server, threshold
key, shares = threshold.unsafe_deal(1, 1)
blinded = client.blind([b"x"] * 20)
client.finalize([b"x"] * 20, blinded, [server.evaluate(shares[0], blinded.elements)], key)
print([name for name in ("numba", "llvmlite", "numpy") if name in sys.modules])
"""
    assert run(program) == "[]\n"


HARDENED = """
import ctypes, sys, logging
refused = ctypes.CDLL(None).prctl(65, 1, 0, 0, 0)  # PR_SET_MDWE: memory gets no right to be executed any more
if refused:
    print("no such rule here")
    raise SystemExit
logging.basicConfig(stream=sys.stdout, format="%(message)s")
from concordat.oprf import engine
print(engine.warm_up().name)
"""


def test_a_process_that_may_run_no_new_code_keeps_to_libsodium(fast: Engine) -> None:
    said = run(HARDENED)
    if said.startswith("no such rule"):
        pytest.skip("this kernel cannot forbid new code to a process")
    first, *_, last = said.splitlines()
    assert (first, last) == ("no compiled code for tokens, libsodium does it all: it does not start", "libsodium")
