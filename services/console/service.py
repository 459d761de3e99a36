"""From a folder to a running console: the feed from the gateway, logins and pages behind one port."""

from __future__ import annotations

import secrets
import ssl
from typing import TYPE_CHECKING
from urllib.parse import urlencode, urlsplit

from concordat.client.session import ApiSession, SessionLimits
from concordat.web import bind, tls_of
from services.console.app import build_app
from services.console.config import is_loopback, is_unspecified
from services.console.feed import Feed
from services.console.links import LoginLinks
from services.console.login import LOGIN_PATH, Door
from services.console.page import Clockwork
from services.console.server import serve
from services.console.sessions import Sessions

if TYPE_CHECKING:
    from collections.abc import Callable

    from concordat.clock import Clock
    from concordat.identity.home import Home
    from services.console.config import ConsoleSettings

# A gateway that hangs must be dialled again soon: an operator waits.
_LIMITS = SessionLimits(silence_s=10.0, longest_pause_s=2.0)


async def run_console(
    home: Home, settings: ConsoleSettings, *, clock: Clock, on_ready: Callable[[str, str | None], None]
) -> None:
    """Serve until a signal.

    Args:
        home: The console's.
        settings: Checked.
        clock: Of this process.
        on_ready: Told the origin and, where the settings want one, a login link once pages are served.

    Raises:
        ConfigError: The address cannot be bound, there is no certificate, or the manifest names no API.
    """
    files = home.path / (settings.certificate or "tls.crt"), home.path / (settings.certificate_key or "tls.key")
    tls = tls_of(*files, at_least=ssl.TLSVersion.TLSv1_2) if settings.tls else None
    sockets = bind(settings.address)
    port: int = sockets[0].getsockname()[1]
    try:
        origin = settings.origin_at(port)
        links = LoginLinks(home.path, clock=clock, random_bytes=secrets.token_bytes, minutes=settings.link_minutes)
        sessions = Sessions(
            clock=clock, random_bytes=secrets.token_bytes, hours=settings.session_hours, most=settings.max_sessions
        )
        origins = origins_of(settings, origin, port)
        door = Door(links, sessions, origins=origins, secure=settings.tls)
        async with ApiSession(home, clock=clock, limits=_LIMITS) as session:
            feed = Feed(session, clock=clock, most=settings.max_streams)
            hosts = [urlsplit(one).netloc.lower() for one in origins]
            app = build_app(feed, door, Clockwork(settings.zone()), hosts=hosts)
            feed.start()

            def ready() -> None:
                on_ready(origin, link_of(origin, links.make()) if settings.link_at_start else None)

            try:
                await serve(app, sockets, tls, on_ready=ready, on_stop=feed.stop)
            finally:
                await feed.stop()
    finally:
        for one in sockets:
            one.close()


def link_of(origin: str, key: str) -> str:
    """Return a login link."""
    return f"{origin}{LOGIN_PATH}?{urlencode({'key': key})}"


def origins_of(settings: ConsoleSettings, origin: str, port: int) -> list[str]:
    """Return every origin under which browsers of this machine, or as the settings say, may call the console."""
    found = [origin]
    if settings.origin is None and (is_loopback(settings.host) or is_unspecified(settings.host)):
        scheme = origin.partition("://")[0]
        found += [f"{scheme}://{host}:{port}" for host in ("localhost", "127.0.0.1", "[::1]")]
    return list(dict.fromkeys(found))
