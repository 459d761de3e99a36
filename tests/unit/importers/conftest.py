"""A file on disk from bytes or text, opened as the node opens it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from services.node.importers import ImportedFile, RowDefaults, open_file

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


@pytest.fixture
def imported(tmp_path: Path) -> Callable[..., ImportedFile]:
    """Write content under a name and open it; further arguments go to `open_file`."""

    def write_and_open(content: bytes | str, name: str = "list.csv", **arguments: Any) -> ImportedFile:
        path = tmp_path / name
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        arguments.setdefault("defaults", RowDefaults())
        return open_file(path, **arguments)

    return write_and_open
