"""One-time login links: 32 random bytes that whoever may read the console's folder makes for one login.

On disk is one file a link, named by the SHA-256 of its key and holding its end; a key cannot be found out from it.
Taking the file away is the use of the link, so that of two who come with one key, one gets in.
"""

from __future__ import annotations

import hashlib
from contextlib import suppress
from typing import TYPE_CHECKING, Final

from concordat.base64url import encode
from concordat.errors import ConfigError, RefusedError
from concordat.identity.files import read_private, write_private

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from concordat.clock import Clock

FOLDER: Final = "links"
KEY_BYTES: Final = 32
KEY_CHARS: Final = 43
MAX_LINKS: Final = 16
MINUTE_S: Final = 60


class LoginLinks:
    """The links of a console's folder; any process of its user may make and use them."""

    def __init__(self, home: Path, *, clock: Clock, random_bytes: Callable[[int], bytes], minutes: int) -> None:
        self._folder = home / FOLDER
        self._clock = clock
        self._random_bytes = random_bytes
        self._minutes = minutes

    def make(self) -> str:
        """Return the key of a new link.

        Raises:
            ConfigError: The folder cannot be written.
            RefusedError: Too many links wait for their use.
        """
        try:
            self._folder.mkdir(mode=0o700, exist_ok=True)
        except OSError as error:
            raise ConfigError(f"{self._folder}: cannot be made ({error.strerror})") from error
        if self._tidy() >= MAX_LINKS:
            raise RefusedError(f"{MAX_LINKS} login links wait for their use; let them run out", code="busy")
        key = encode(self._random_bytes(KEY_BYTES))
        write_private(self._path(key), b"%d\n" % int(self._clock.now() + self._minutes * MINUTE_S))
        return key

    def use(self, key: str) -> None:
        """Use up a link.

        Raises:
            RefusedError: There is no such link, it was used, or it has run out.
        """
        refused = RefusedError("the login link was used, has run out or never was one")
        if len(key) != KEY_CHARS:
            raise refused
        path = self._path(key)
        try:
            ends_at = self._ends_at(path)
            path.unlink()
        except (ConfigError, OSError) as error:
            raise refused from error
        if self._clock.now() >= ends_at:
            raise refused

    def _path(self, key: str) -> Path:
        return self._folder / hashlib.sha256(key.encode()).hexdigest()

    @staticmethod
    def _ends_at(path: Path) -> int:
        text = read_private(path)
        return int(text) if text.strip().isdigit() else 0

    def _tidy(self) -> int:
        """Take away what has run out; return how many are left."""
        left = 0
        for path in list(self._folder.iterdir()):
            with suppress(ConfigError, OSError):
                if self._clock.now() < self._ends_at(path):
                    left += 1
                else:
                    path.unlink(missing_ok=True)
        return left
