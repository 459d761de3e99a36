"""A custodian's own log: one JSON line per charged or repeated request, appended before it is evaluated.

    {"time": "...", "requester": "spiffe://...", "class": "strong", "count": 1000, "request": "9f...", ...}

It holds what an auditor needs to ask the requester for the reason (I5): who, how much, which request, and the hash of
its justification. Elements are blinded and stay out all the same.
"""

from __future__ import annotations

import json
import os
import sys
from contextlib import suppress
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from concordat.errors import ConfigError, UnavailableError

if TYPE_CHECKING:
    from pathlib import Path

    from services.custodian.quotas import Request

FILE_NAME: Final = "custodian.log"


class Journal:
    """The open log; a line is one append, so threads need no turn."""

    def __init__(self, path: Path) -> None:
        try:
            flags = os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW
            self._file = os.open(path, flags, 0o600)
        except OSError as error:
            raise ConfigError(f"{path}: the log cannot be opened ({error.strerror})") from error
        # A line that a crash or a full disk has cut must not swallow the next one.
        size = os.fstat(self._file).st_size
        self._lost = False
        self._torn = size > 0 and os.pread(self._file, 1, size - 1) != b"\n"

    @property
    def used(self) -> bool:
        """Tell whether anything was ever noted."""
        return os.fstat(self._file).st_size > 0

    def close(self) -> None:
        """Close the file."""
        os.close(self._file)

    def write(self, request: Request, *, repeat: bool, at: float) -> None:
        """Append a request, and let the disk begin with it; `flush` waits for it.

        Raises:
            UnavailableError: The line cannot be written; then nothing may be evaluated.
        """
        line = {
            "time": datetime.fromtimestamp(at, UTC).isoformat(timespec="milliseconds"),
            "requester": request.requester,
            "class": request.key_class,
            "count": request.count,
            "request": request.request_id.hex(),
            "justification": request.justification_hash.hex(),
            "repeat": repeat,
        }
        if request.exercise:
            line["exercise"] = request.exercise
        data = b"\n" * self._torn + json.dumps(line).encode() + b"\n"
        try:
            written = os.write(self._file, data)
            self._torn = written != len(data)
        except OSError as error:
            raise UnavailableError("the custodian's log cannot be written; nothing is evaluated") from error
        if written != len(data):
            raise UnavailableError("the custodian's log cannot be written in full; nothing is evaluated")
        if sys.platform == "linux":
            with suppress(OSError):
                # Linux then begins to write at once what is not on disk yet.
                os.posix_fadvise(self._file, 0, 0, os.POSIX_FADV_DONTNEED)

    def flush(self) -> None:
        """Wait until what was appended is on disk.

        Raises:
            UnavailableError: It does not get there; then nothing may be evaluated.
        """
        try:
            os.fdatasync(self._file)
        except OSError as error:
            self._lost = True
            raise UnavailableError("the custodian's log cannot be written; nothing is evaluated") from error
        if self._lost:
            # The kernel tells of a failed write once, and may have dropped the page: whoever else waited for it would
            # hear that all is well.
            raise UnavailableError(
                "the custodian's log could not be written before; nothing is evaluated until a restart"
            )
