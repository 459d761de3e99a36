"""Server-sent events (WHATWG HTML, 9.2), read from chunks that are cut anywhere."""

from __future__ import annotations

import codecs
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from concordat.errors import ProtocolError

if TYPE_CHECKING:
    from collections.abc import Iterator

MAX_EVENT_CHARS: Final = 1 << 20
MAX_ID_CHARS: Final = 200


@dataclass(frozen=True, slots=True)
class ServerEvent:
    """One event."""

    event: str
    data: str
    id: str


class EventReader:
    """Puts events together; holds the id to go on from after a reconnect."""

    def __init__(self, last_id: str = "") -> None:
        self.last_id = last_id
        self.retry_s: float | None = None
        """What the server wishes as first pause before a reconnect."""
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._rest = ""
        self._after_return = False
        self._begun = False
        self._event, self._data, self._size = "", list[str](), 0

    def feed(self, chunk: bytes) -> Iterator[ServerEvent]:
        """Take the next bytes and return the events that are whole.

        Raises:
            ProtocolError: An event is over the limit.
        """
        text = self._decoder.decode(chunk)
        if text and not self._begun:
            self._begun, text = True, text.removeprefix("\ufeff")
        if text and self._after_return:
            text = text.removeprefix("\n")
            self._after_return = False
        if text.endswith("\r"):
            # The line has ended; a line feed that follows in the next chunk belongs to it.
            self._after_return = True
        lines = (self._rest + text).replace("\r\n", "\n").replace("\r", "\n").split("\n")
        self._rest = lines.pop()
        for line in lines:
            found = self._line(line)
            if found is not None:
                yield found
        if len(self._rest) + self._size > MAX_EVENT_CHARS:
            raise ProtocolError(f"an event has more than {MAX_EVENT_CHARS} characters", code="too_large")

    def _line(self, line: str) -> ServerEvent | None:
        if not line:
            return self._dispatch()
        name, _, value = line.partition(":")
        value = value.removeprefix(" ")
        self._size += len(line)
        if self._size > MAX_EVENT_CHARS:
            raise ProtocolError(f"an event has more than {MAX_EVENT_CHARS} characters", code="too_large")
        if name == "data":
            self._data.append(value)
        elif name == "event":
            self._event = value
        elif name == "id" and _is_id(value):
            self.last_id = value
        elif name == "retry" and value.isascii() and value.isdigit() and len(value) <= 9:
            self.retry_s = int(value) / 1000
        return None

    def _dispatch(self) -> ServerEvent | None:
        event, data = self._event or "message", self._data
        self._event, self._data, self._size = "", [], 0
        return ServerEvent(event, "\n".join(data), self.last_id) if data else None


def _is_id(value: str) -> bool:
    """Tell an id that may go back in a header."""
    return len(value) <= MAX_ID_CHARS and value.isascii() and value.isprintable()
