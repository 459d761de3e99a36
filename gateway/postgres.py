"""PostgreSQL as the ledger's database: where it is, who we are there, and what is demanded of it.

    engine = open_postgres(Postgres("postgresql+pg8000://hub@db.example/ledger", password_file=..., tls_ca=...))

The password stands in a file and the URL holds none, so that no settings file, argument or message shows it. TLS with a
known authority is required, but for a server on this machine. A server that acknowledges what it has not made durable
is refused (I9). What is lost on the way is an error of SQLAlchemy like all others, and the next use connects anew.
"""

from __future__ import annotations

import ipaddress
import socket
import ssl
import stat
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import Engine, create_engine, make_url
from sqlalchemy.dialects import registry
from sqlalchemy.dialects.postgresql.pg8000 import PGDialect_pg8000
from sqlalchemy.exc import ArgumentError

from concordat.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from sqlalchemy import URL

SCHEME: Final = "postgresql+pg8000"
TIMEOUT_S: Final = 10.0
_FAMILY, _DRIVER = "postgresql", "concordat"
_SOCKET: Final = "unix_sock"
_MAX_PASSWORD: Final = 4096
# A replica that hangs in a transaction must not hold up the others; each ends before the socket's own limit.
_LOCK_MS, _STATEMENT_MS, _IDLE_MS = 4_000, 8_000, 10_000
_PREPARE: Final = f"""
SET SESSION CHARACTERISTICS AS TRANSACTION ISOLATION LEVEL SERIALIZABLE;
SET lock_timeout = {_LOCK_MS};
SET statement_timeout = {_STATEMENT_MS};
SET idle_in_transaction_session_timeout = {_IDLE_MS};
SELECT set_config('synchronous_commit',
    CASE current_setting('synchronous_commit') WHEN 'remote_apply' THEN 'remote_apply' ELSE 'on' END, false)
"""
_ASK: Final = """
SELECT current_setting('fsync'), current_setting('full_page_writes'), current_setting('synchronous_commit'),
    current_setting('server_encoding')
"""
# Classes of SQLSTATE in which the connection is gone or the server is going.
_LOST: Final = ("08", "57P")

_STATES: Final = {
    "28P01": "the server knows no such user, or another password",
    "28000": "the server does not let this user in from here",
    "3D000": "the server has no such database",
    "42501": "the user lacks a right in the database",
    "53300": "the server has too many connections",
    "55P03": "another transaction holds the lock",
}
_KINDS: Final[dict[type[BaseException], str]] = {
    ssl.SSLCertVerificationError: "the server's certificate is not one of ledger_tls_ca for its name",
    ConnectionRefusedError: "nobody answers at its address",
    socket.gaierror: "its host name is unknown",
    TimeoutError: "it does not answer in time",
}


@dataclass(frozen=True, slots=True)
class Postgres:
    """A PostgreSQL server, a database on it, and how to be let in."""

    url: str
    password_file: Path | None = None
    tls_ca: Path | None = None
    timeout_s: float = TIMEOUT_S


def require_url(text: str) -> URL:
    """Return the URL of a PostgreSQL without a password in it.

    Raises:
        ConfigError: Another database, no user or database name, a password, or an unknown option; nothing of the URL
            is repeated, as it may hold a password.
    """
    try:
        url = make_url(text)
    except (ArgumentError, ValueError):
        raise ConfigError("the ledger's URL cannot be read") from None
    if url.drivername != SCHEME:
        raise ConfigError(f"the ledger's URL must begin with {SCHEME}://")
    if url.password is not None or "password" in url.query:
        raise ConfigError(
            "the ledger's URL holds a password, which every log and process list would show:"
            " write it into a file of mode 0600 and name that as ledger_password_file"
        )
    unknown = set(url.query) - {_SOCKET}
    if unknown or not isinstance(url.query.get(_SOCKET, ""), str):
        raise ConfigError(f"the ledger's URL has an unknown option; there is only {_SOCKET}")
    if not url.username or not url.database or not (url.host or _SOCKET in url.query):
        raise ConfigError(f"the ledger's URL lacks a part; it reads {SCHEME}://USER@HOST:PORT/DATABASE")
    return url


def open_postgres(where: Postgres) -> Engine:
    """Return an engine; nothing is connected yet.

    Raises:
        ConfigError: The URL, the password file or the certificate cannot be used, or TLS is missing.
    """
    url = require_url(where.url)
    arguments: dict[str, Any] = {"timeout": where.timeout_s, "application_name": "concordat-gateway"}
    arguments["ssl_context"] = _tls(url, where.tls_ca)
    if where.password_file is not None:
        arguments["password"] = _password(where.password_file)
    return create_engine(
        url.set(drivername=f"{_FAMILY}+{_DRIVER}"),
        connect_args=arguments,
        pool_pre_ping=True,
        # A writer, a reader, operations: threads of this process, not callers from outside.
        pool_size=4,
        pool_timeout=where.timeout_s,
        hide_parameters=True,
    )


def _tls(url: URL, authority: Path | None) -> ssl.SSLContext | bool:
    if authority is not None:
        if _SOCKET in url.query:
            raise ConfigError("ledger_tls_ca makes no sense on a socket of this machine")
        try:
            return ssl.create_default_context(cafile=authority)
        except (OSError, ssl.SSLError) as error:
            raise ConfigError(f"{authority}: no certificates in PEM that can be read") from error
    if _SOCKET not in url.query and not _of_this_machine(url.host or ""):
        raise ConfigError(
            "the ledger's server is another machine, which is reached with TLS only:"
            " name the file of its certificate authority as ledger_tls_ca"
        )
    return False


def _of_this_machine(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _password(path: Path) -> str:
    try:
        mode = path.stat().st_mode
        text = path.read_bytes()[: _MAX_PASSWORD + 1]
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read ({error.strerror})") from error
    if mode & (stat.S_IRWXG | stat.S_IRWXO):
        raise ConfigError(f"{path}: open to other users; a password file has mode 0600")
    try:
        password = text.decode().removesuffix("\n").removesuffix("\r")
    except UnicodeDecodeError:
        raise ConfigError(f"{path}: no text in UTF-8") from None
    if not password or len(text) > _MAX_PASSWORD or "\n" in password:
        raise ConfigError(f"{path}: holds no password, or more than one line")
    return password


def require_server(connection: Any) -> None:
    """Set what every connection needs, and refuse a server that may lose what it took (I9).

    Raises:
        ConfigError: It runs without fsync or full_page_writes, or its encoding is not UTF8.
    """
    cursor = connection.cursor()
    try:
        cursor.execute(_PREPARE)
        cursor.execute(_ASK)
        fsync, pages, commit, encoding = cursor.fetchone()
    finally:
        cursor.close()
    connection.commit()
    if fsync != "on" or pages != "on" or commit not in ("on", "remote_apply"):
        raise ConfigError("the ledger's server runs without fsync or full_page_writes: what it took may be lost")
    if encoding != "UTF8":
        raise ConfigError("the ledger's database has another encoding than UTF8")


class Dialect(PGDialect_pg8000):
    """SQLAlchemy's dialect for pg8000, which lets some lost connections through as bare OSError."""

    driver = _DRIVER
    supports_statement_cache = True
    # pg8000 sends a row at a time otherwise: as many round trips as rows.
    use_insertmanyvalues_wo_returning = True

    def is_disconnect(self, e: Any, connection: Any, cursor: Any) -> bool:
        """Tell whether the connection is of no more use."""
        del connection, cursor
        return isinstance(e, self.loaded_dbapi.InterfaceError) or sqlstate(e).startswith(_LOST)

    def connect(self, *arguments: Any, **named: Any) -> Any:
        """Connect, and refuse a server that does not keep what it takes."""
        connection = self._translated(super().connect, *arguments, **named)
        try:
            self._translated(require_server, connection)
        except BaseException:
            self.do_close(connection)
            raise
        return connection

    def do_close(self, dbapi_connection: Any) -> None:
        """Close; one that is lost is closed already."""
        with suppress(self.loaded_dbapi.InterfaceError, OSError):
            dbapi_connection.close()

    def do_ping(self, dbapi_connection: Any) -> bool:
        """Ask whether the server is there."""
        return bool(self._translated(super().do_ping, dbapi_connection))

    def do_commit(self, dbapi_connection: Any) -> None:
        """Commit."""
        self._translated(super().do_commit, dbapi_connection)

    def do_rollback(self, dbapi_connection: Any) -> None:
        """Roll back."""
        self._translated(super().do_rollback, dbapi_connection)

    def do_execute(self, cursor: Any, statement: Any, parameters: Any, context: Any = None) -> None:
        """Execute with parameters."""
        self._translated(super().do_execute, cursor, statement, parameters, context)

    def do_execute_no_params(self, cursor: Any, statement: Any, context: Any = None) -> None:
        """Execute as it stands."""
        self._translated(super().do_execute_no_params, cursor, statement, context)

    def _translated(self, call: Callable[..., Any], *arguments: Any, **named: Any) -> Any:
        try:
            return call(*arguments, **named)
        except OSError as error:
            raise self.loaded_dbapi.InterfaceError("network error") from error


def reason(error: BaseException) -> str:
    """Return why a server was not reached, in our own words, or nothing."""
    causes = [error]
    while (cause := causes[-1].__cause__) is not None:
        causes.append(cause)
    for cause in causes:
        for kind, words in _KINDS.items():
            if isinstance(cause, kind):
                return words
        if sqlstate(cause) in _STATES:
            return _STATES[sqlstate(cause)]
        if "Server refuses SSL" in cause.args:
            return "the server speaks no TLS"
    return ""


def sqlstate(error: BaseException | None) -> str:
    """Return the five characters by which PostgreSQL names an error, or nothing."""
    # pg8000 gives the fields of the server's message as one mapping.
    fields = error.args[0] if error is not None and error.args else None
    return str(fields.get("C", "")) if isinstance(fields, dict) else ""


registry.register(f"{_FAMILY}.{_DRIVER}", __name__, Dialect.__name__)
