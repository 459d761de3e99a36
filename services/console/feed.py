"""The console's ear at the gateway: the newest state, what was new in it, and whether the gateway still answers.

    feed = Feed(ApiSession(home, clock=clock), clock=clock)
    feed.start()
    with feed.listen() as listener:
        await listener.next(2.0)
        feed.moment()

A state is shown only while the gateway says that it holds: after some seconds without a word there are no numbers.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from contextlib import aclosing, contextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Protocol

from pydantic import ValidationError

from concordat.api.operator import ALIVE_EVENT, STATE_EVENT, OperatorState
from concordat.errors import ConcordatError, ProtocolError, UnavailableError
from concordat.tasks import cancelled
from services.console.news import news_between

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterator

    from concordat.client.sse import ServerEvent
    from concordat.clock import Clock

EVENTS_PATH: Final = "/v1/operator/events"
SILENCE_S: Final = 6.0
"""Three heartbeats of the gateway."""
LOOK_S: Final = 0.5
RETRY_S: Final = 5.0
MAX_NEWS: Final = 50

_log = logging.getLogger(__name__)


class OperatorSource(Protocol):
    """Where the events come from: `concordat.client.session.ApiSession`."""

    def events(
        self, path: str, *, on_trouble: Callable[[ConcordatError], None] | None = None
    ) -> AsyncIterator[ServerEvent]:
        """Read an event stream for ever, over reconnects."""
        ...


@dataclass(frozen=True, slots=True)
class News:
    """One line of the list of events."""

    number: int
    at: float
    text: str


@dataclass(frozen=True, slots=True)
class Moment:
    """What the console knows now."""

    state: OperatorState | None
    """None while the gateway does not answer."""
    heard_at: float
    """Unix time of its last word, or of the console's start."""
    news: tuple[News, ...]
    """Newest first."""


class Feed:
    """Reads the stream of one gateway for all pages."""

    def __init__(
        self,
        source: OperatorSource,
        *,
        clock: Clock,
        most: int,
        silence_s: float = SILENCE_S,
        sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
    ) -> None:
        """Prepare; nothing is read before `start`.

        Args:
            source: Of the events.
            clock: Of this process.
            most: Listeners at once.
            silence_s: A gateway that says nothing for so long does not answer.
            sleep: Waits for some seconds.
        """
        self._source = source
        self._clock = clock
        self._most = most
        self._silence_s = silence_s
        self._sleep = sleep
        self._state: OperatorState | None = None
        self._live = False
        self._heard_at = clock.now()
        self._heard_monotonic = clock.monotonic()
        self._troubles = 0
        self._news: deque[News] = deque(maxlen=MAX_NEWS)
        self._numbers = 0
        self._listeners: list[Listener] = []
        self._tasks: list[asyncio.Task[None]] = []

    def start(self) -> None:
        """Begin to read."""
        self._tasks = [asyncio.create_task(self._read()), asyncio.create_task(self._watch())]

    async def stop(self) -> None:
        """End, and end all listeners; a second time does nothing."""
        for listener in self._listeners:
            listener.over = True
            listener.fresh.set()
        tasks, self._tasks = self._tasks, []
        await cancelled(tasks)

    def moment(self) -> Moment:
        """Return what is known now."""
        return Moment(self._state if self._live else None, self._heard_at, tuple(reversed(self._news)))

    @contextmanager
    def listen(self) -> Iterator[Listener]:
        """Give a listener, told of what is new.

        Raises:
            UnavailableError: With code `busy`, where too many listen.
        """
        if len(self._listeners) >= self._most:
            raise UnavailableError("too many pages follow the gateway", code="busy")
        listener = Listener()
        self._listeners.append(listener)
        try:
            yield listener
        finally:
            self._listeners.remove(listener)

    async def _read(self) -> None:
        while True:
            try:
                async with aclosing(self._source.events(EVENTS_PATH, on_trouble=self._trouble)) as events:  # type: ignore[type-var]  # an async generator
                    async for event in events:
                        self._take(event)
            except ConcordatError as error:
                _log.warning("the operator API: %s", error.message, extra={"code": error.code})
            except Exception:  # noqa: BLE001 -- a console that has gone deaf would say so for ever
                _log.exception("reading the operator API failed")
            self._silent()
            await self._sleep(RETRY_S)

    def _take(self, event: ServerEvent) -> None:
        if event.event == STATE_EVENT:
            try:
                self._show(OperatorState.model_validate_json(event.data))
            except ValidationError as error:
                raise ProtocolError("the gateway's state cannot be read") from error
        elif event.event != ALIVE_EVENT:
            return
        self._troubles = 0
        self._heard_at, self._heard_monotonic = self._clock.now(), self._clock.monotonic()
        if not self._live and self._state is not None:
            self._live = True
            self._tell()

    def _show(self, state: OperatorState) -> None:
        if self._state is not None:
            for text in news_between(self._state, state):
                self._numbers += 1
                self._news.append(News(self._numbers, self._clock.now(), text))
        self._state = state
        self._tell()

    def _trouble(self, error: ConcordatError) -> None:
        self._troubles += 1
        # The stream ends with each access token; only who cannot come back at once has lost the gateway.
        if self._troubles > 1:
            if self._live:
                _log.warning("the gateway does not answer: %s", error.message, extra={"code": error.code})
            self._silent()

    async def _watch(self) -> None:
        while True:
            await self._sleep(LOOK_S)
            if self._live and self._clock.monotonic() - self._heard_monotonic > self._silence_s:
                _log.warning("the gateway says nothing any more")
                self._silent()

    def _silent(self) -> None:
        if self._live:
            self._live = False
            self._tell()

    def _tell(self) -> None:
        for listener in self._listeners:
            listener.fresh.set()


class Listener:
    """One page's place at the feed."""

    def __init__(self) -> None:
        self.over = False
        self.fresh = asyncio.Event()
        self.fresh.set()

    async def next(self, timeout_s: float) -> bool:
        """Wait until there is something new, at first at once; return False when the time is over.

        Raises:
            UnavailableError: The console stops.
        """
        with suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                await self.fresh.wait()
        if self.over:
            raise UnavailableError("the console stops", code="stopping")
        if not self.fresh.is_set():
            return False
        self.fresh.clear()
        return True
