"""Files of a party's folder: secrets are 0600 and the owner's, writes are atomic and durable."""

from __future__ import annotations

import os
import stat
from contextlib import suppress
from typing import TYPE_CHECKING, Final

from concordat.errors import ConfigError

if TYPE_CHECKING:
    from pathlib import Path

MAX_BYTES: Final = 16 << 20


def read_private(path: Path) -> bytes:
    """Read a secret, checking the very file that is read.

    Raises:
        ConfigError: If it is missing, no plain file, someone else's, or open to anyone but its owner.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read ({error.strerror})") from error
    with os.fdopen(descriptor, "rb") as file:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise ConfigError(f"{path}: is not a plain file")
        if status.st_uid != os.geteuid():
            raise ConfigError(f"{path}: belongs to another user; the service's own user must own it")
        if stat.S_IMODE(status.st_mode) & 0o177:
            raise ConfigError(f"{path}: others can open this secret; run: chmod 600 {path}")
        return _limited(path, file.read(MAX_BYTES + 1))


def read_public(path: Path) -> bytes:
    """Read a file that is no secret.

    Raises:
        ConfigError: If it is missing or larger than 16 MiB.
    """
    try:
        with path.open("rb") as file:
            return _limited(path, file.read(MAX_BYTES + 1))
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read ({error.strerror})") from error


def read_pinned(path: Path) -> bytes:
    """Read a file that is no secret but on which all trust rests: nobody else may be able to change it.

    Raises:
        ConfigError: As `read_public`, or if its group or others may write it.
    """
    try:
        with path.open("rb") as file:
            if stat.S_IMODE(os.fstat(file.fileno()).st_mode) & 0o022:
                raise ConfigError(f"{path}: others can change what is pinned here; run: chmod 644 {path}")
            return _limited(path, file.read(MAX_BYTES + 1))
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read ({error.strerror})") from error


def write_private(path: Path, data: bytes) -> None:
    """Write a secret: 0600 from its first byte, all of it or nothing, on disk when this returns.

    Raises:
        ConfigError: If the folder cannot be written.
    """
    _write(path, data, 0o600)


def write_public(path: Path, data: bytes) -> None:
    """Write a file that is no secret, all of it or nothing, on disk when this returns.

    Raises:
        ConfigError: If the folder cannot be written.
    """
    _write(path, data, 0o644)


def _limited(path: Path, data: bytes) -> bytes:
    if len(data) > MAX_BYTES:
        raise ConfigError(f"{path}: larger than {MAX_BYTES} bytes")
    return data


def _write(path: Path, data: bytes, mode: int) -> None:
    draft = path.with_name(f".{path.name}.{os.getpid()}.draft")
    try:
        # A draft left by a killed process of the same id would fail O_EXCL for ever.
        draft.unlink(missing_ok=True)
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
        try:
            with os.fdopen(descriptor, "wb") as file:
                os.fchmod(descriptor, mode)
                file.write(data)
                file.flush()
                os.fsync(descriptor)
            draft.replace(path)
        except BaseException:
            with suppress(OSError):
                draft.unlink(missing_ok=True)
            raise
        _sync_folder(path.parent)
    except OSError as error:
        raise ConfigError(f"{path}: cannot be written ({error.strerror})") from error


def _sync_folder(folder: Path) -> None:
    # Without this a rename may be lost in a power cut although the file's bytes are on disk.
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
