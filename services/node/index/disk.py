"""What the disk says, as an error that callers wait out."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from concordat.errors import UnavailableError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@contextmanager
def translated(path: Path) -> Iterator[None]:
    """Turn what the disk says of a path into an error of the tree.

    Raises:
        UnavailableError: It is full, or the path cannot be written.
    """
    try:
        yield
    except OSError as error:
        raise UnavailableError(f"{path}: cannot be written ({error.strerror})") from error
