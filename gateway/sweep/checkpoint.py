"""What a gateway keeps of a running sweep, so that it goes on at the next window after a restart (3.6 (4)).

A folder a sweep: the journal of its confirmed rows, and the state of the hub as of the last window that is in the
journal, replaced as a whole. No token is in either (I2). But the journal says who shares a value with whom, also where
no edge opens; the roots of sparse windows could be guessed at, and the salt of a commitment is its participant's. So
both are sealed under a key that only this gateway has.

    folder = SweepFolder(path, key)
    folder.save(state)              # durable when it returns
    state = folder.load()           # None: the sweep had not begun
"""

from __future__ import annotations

import hashlib
import os
import re
import secrets
import shutil
from typing import IO, TYPE_CHECKING, Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from pydantic import Base64Bytes, BaseModel, ConfigDict, Field, ValidationError

from concordat.errors import ConfigError
from gateway.sweep.sealed import SealedFile

if TYPE_CHECKING:
    from collections.abc import Callable, Collection
    from pathlib import Path

    from concordat.identity.keys import SigningKey

KEY_DOMAIN: Final = "sweep-state"
STATE_NAME: Final = "state"
JOURNAL_NAME: Final = "journal"
SWEEP_ID_BYTES: Final = 16
_NONCE_BYTES: Final = 12
_IS_SWEEP: Final = re.compile(r"[0-9a-f]{32}")


class _Strict(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class MemberState(_Strict):
    """A participant: what it declared, and how far its set had come.

    Attributes:
        roots: Of the windows before the next, 32 bytes each.
        rows: Of those windows.
        left: Declared counts less the candidates of those windows.
    """

    party: str
    size: int = Field(ge=0)
    counts: dict[int, int]
    set_root: Base64Bytes
    salt: Base64Bytes
    roots: Base64Bytes
    rows: int = Field(ge=0)
    left: dict[int, int]


class SweepState(_Strict):
    """A sweep as of the last window whose rows are in the journal.

    Attributes:
        first: The first window; not 0 in a part of a sweep.
        end: In a part, the window behind its last.
        window: The next window.
        journal_rows: Rows in the journal that count; what stands behind them belongs to windows that come again.
        block: Of those, the first row whose pairs have not been made; None before all windows are in.
        pairs: Pairs that were made.
        participants: In a part, those of the charter in order.
        namespaces: In a part, those of the charter.
        shards: Addresses of the shards to which the parts were given, in the order of the windows.
    """

    sweep_id: Base64Bytes
    operation: str
    prefix_bits: int
    window_bits: int
    credits: int = Field(ge=1)
    first: int = Field(default=0, ge=0)
    end: int | None = Field(default=None, ge=1)
    window: int = Field(ge=0)
    journal_rows: int = Field(ge=0)
    block: int | None = Field(default=None, ge=0)
    pairs: int = Field(default=0, ge=0)
    members: tuple[MemberState, ...]
    dropped: dict[str, str]
    participants: tuple[str, ...] = ()
    namespaces: tuple[str, ...] = ()
    shards: tuple[str, ...] = ()


class SweepFolder:
    """The files of one running sweep."""

    def __init__(self, path: Path, key: bytes, *, random_bytes: Callable[[int], bytes] = secrets.token_bytes) -> None:
        """Make the folder where there is none.

        Args:
            path: Of the folder.
            key: 32 bytes, of this gateway and this sweep.
            random_bytes: Source of nonces.

        Raises:
            ConfigError: It cannot be made, or not be written.
        """
        self._path = path
        self._key = key
        self._cipher = AESGCM(key)
        self._random_bytes = random_bytes
        try:
            path.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._open().close()
        except OSError as error:
            raise ConfigError(f"{path}: a running sweep cannot be kept here: {error.strerror}") from error

    def journal(self, *, fresh: bool = False) -> SealedFile:
        """Open the journal's file, as it is or empty."""
        file = self._open()
        if fresh:
            file.truncate()
        # Those of parts are under the same key.
        return SealedFile(file, self._key, self._path.name.encode(), random_bytes=self._random_bytes)

    def _open(self) -> IO[bytes]:
        return os.fdopen(os.open(self._path / JOURNAL_NAME, os.O_RDWR | os.O_CREAT, 0o600), "r+b")

    def save(self, state: SweepState, name: str = STATE_NAME) -> None:
        """Replace the state, or another of that name, durably and as a whole."""
        nonce = self._random_bytes(_NONCE_BYTES)
        sealed = nonce + self._cipher.encrypt(nonce, state.model_dump_json().encode(), self._bound(name))
        fresh = self._path / f"{name}.new"
        with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
            file.write(sealed)
            file.flush()
            os.fsync(file.fileno())
        fresh.replace(self._path / name)
        folder = os.open(self._path, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)

    def load(self, name: str = STATE_NAME) -> SweepState | None:
        """Return the state; None where none was saved.

        Raises:
            ConfigError: The file is not what this gateway wrote.
        """
        try:
            sealed = (self._path / name).read_bytes()
        except FileNotFoundError:
            return None
        except OSError as error:
            raise ConfigError(f"{self._path}: the state of a sweep cannot be read: {error.strerror}") from error
        try:
            content = self._cipher.decrypt(sealed[:_NONCE_BYTES], sealed[_NONCE_BYTES:], self._bound(name))
            return SweepState.model_validate_json(content)
        except (InvalidTag, ValueError, ValidationError) as error:
            raise ConfigError(f"{self._path}: is no state of a sweep that this gateway wrote") from error

    def _bound(self, name: str) -> bytes:
        """Return what a state is sealed with: those of parts, orders and the journals are under the same key."""
        return f"{name}/{self._path.name}".encode()

    def part(self, number: int) -> SweepFolder:
        """Return the folder of what a shard has handed over.

        Raises:
            ConfigError: It cannot be made, or not be written.
        """
        return SweepFolder(self._path / f"part-{number}", self._key, random_bytes=self._random_bytes)

    def remove(self) -> None:
        """Delete all of it: the sweep is over."""
        shutil.rmtree(self._path, ignore_errors=True)


def folder_of(sweeps: Path, sweep_id: bytes, key: SigningKey) -> SweepFolder:
    """Return the folder of a sweep, sealed under a key that follows from its holder's signing key.

    Raises:
        ConfigError: It cannot be made, or not be written.
    """
    # Deterministic, so that a process that is started again has the same; nobody else can make it.
    sealing = hashlib.sha256(key.sign(KEY_DOMAIN, sweep_id)).digest()
    return SweepFolder(sweeps / sweep_id.hex(), sealing)


def kept_sweeps(folder: Path) -> list[bytes]:
    """Return the ids of the sweeps in a folder of sweeps."""
    found = folder.iterdir() if folder.is_dir() else ()
    return sorted(bytes.fromhex(path.name) for path in found if _IS_SWEEP.fullmatch(path.name))


def remove_ended(folder: Path, running: Collection[bytes]) -> list[str]:
    """Delete what a killed gateway has left of sweeps that do not run any more; return their ids.

    Args:
        folder: Of all sweeps of one gateway; what is in it under other names than theirs stays.
        running: Ids of the sweeps that go on.
    """
    kept = {sweep_id.hex() for sweep_id in running}
    found = [path for path in folder.iterdir() if _IS_SWEEP.fullmatch(path.name)] if folder.is_dir() else []
    ended = sorted(path for path in found if path.name not in kept)
    for path in ended:
        shutil.rmtree(path, ignore_errors=True)
    return [path.name for path in ended]
