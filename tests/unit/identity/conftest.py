from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

import pytest

from tests.unit.identity import small_federation

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(scope="session")
def pristine(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return small_federation.make(tmp_path_factory.mktemp("identity") / "federation")


@pytest.fixture
def federation(pristine: Path, tmp_path: Path) -> Path:
    """A copy that a test may damage."""
    copy = tmp_path / "federation"
    shutil.copytree(pristine, copy)
    return copy
