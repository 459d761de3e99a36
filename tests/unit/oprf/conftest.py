"""Both engines, so that what is true of libsodium is asked of compiled code too."""

from __future__ import annotations

import importlib.util
from typing import TYPE_CHECKING

import pytest

from concordat.oprf.engine import REFERENCE

if TYPE_CHECKING:
    from concordat.oprf.engine import Engine


@pytest.fixture(scope="session")
def fast() -> Engine:
    """Return the engine of the extra `fast`, loaded once; the compiler keeps its code between runs."""
    if importlib.util.find_spec("numba") is None:
        pytest.skip("the extra 'fast' is not installed")
    from concordat.oprf.fast.batch import load  # noqa: PLC0415 - numba may be missing

    engine = load()
    engine.wait()
    return engine


@pytest.fixture(params=["reference", "fast"])
def engine(request: pytest.FixtureRequest) -> Engine:
    if request.param == "reference":
        return REFERENCE
    found: Engine = request.getfixturevalue("fast")
    return found
