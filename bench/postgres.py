"""The central table in PostgreSQL: a server of the bench's own, loaded by binary COPY, asked once.

    found = ask(folder)        # tokens, rows, seconds

Tokens are of the type uuid, which is 16 bytes and compared as such. The server is on the loopback, in a temporary
folder, without durability, and with memory enough to sort without files where the machine has it.
"""

from __future__ import annotations

import importlib
import os
import pwd
import shutil
import socket
import subprocess
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from bench.processes import cpu_s, ended_children_cpu_s, peak_mb
from concordat.errors import UnavailableError

if TYPE_CHECKING:
    from collections.abc import Iterator

# A path of every Debian: its packages install it there and nowhere into PATH.
BIN: Final = Path(os.environ.get("CONCORDAT_POSTGRES_BIN", "/usr/lib/postgresql/15/bin"))
SETTINGS: Final = {
    "listen_addresses": "127.0.0.1",
    "unix_socket_directories": "",
    "shared_buffers": "2GB",
    "work_mem": "2GB",
    "maintenance_work_mem": "1GB",
    "max_wal_size": "8GB",
    "fsync": "off",
    "synchronous_commit": "off",
    "max_parallel_workers_per_gather": "2",
}
TIMEOUT_S: Final = 600
OWNER: Final = "postgres"
QUESTION: Final = (
    "SELECT count(*), sum(n)::bigint FROM"
    " (SELECT count(*) AS n FROM central GROUP BY token HAVING count(DISTINCT source) > 1) AS shared"
)
_HEADER: Final = b"PGCOPY\n\xff\r\n\0" + bytes(8)
_ROW: Final = np.dtype(
    [("fields", ">i2"), ("token_size", ">i4"), ("token", ">u8", 2), ("source_size", ">i4"), ("source", ">i2")]
)


def ask(folder: Path) -> dict[str, Any]:
    """Return tokens and rows of what two or more sources hold, and how long the question took.

    Raises:
        UnavailableError: PostgreSQL or its driver is not installed, or the server does not start.
    """
    try:
        pg8000: Any = importlib.import_module("pg8000.native")
    except ImportError as error:
        raise UnavailableError("its driver pg8000 is not installed") from error
    with _server() as (data, port):
        table = data.parent / "central.copy"
        _write_copy(folder, table)
        connection = pg8000.Connection("concordat", host="127.0.0.1", port=port, database="postgres", timeout=TIMEOUT_S)
        began = time.perf_counter()
        connection.run("CREATE UNLOGGED TABLE central (token uuid NOT NULL, source smallint NOT NULL)")
        connection.run(f"COPY central FROM '{table}' WITH (FORMAT binary)")
        table.unlink()
        connection.run("VACUUM ANALYZE central")
        loaded = time.perf_counter()
        backend = int(connection.run("SELECT pg_backend_pid()")[0][0])
        cpu = _cpu_s(backend, data)
        asked = time.perf_counter()
        tokens, rows = connection.run(QUESTION)[0]
        seconds = time.perf_counter() - asked
        details = {
            "load_s": loaded - began,
            "cpu_s": _cpu_s(backend, data) - cpu,
            "rss_mb": peak_mb(backend),
            "version": connection.run("SHOW server_version")[0][0],
        }
        connection.close()
    return {"tokens": int(tokens), "rows": int(rows), "seconds": seconds, "details": details}


def _write_copy(folder: Path, path: Path) -> None:
    with path.open("wb") as out:
        out.write(_HEADER)
        for number, source in enumerate(sorted(folder.glob("[0-9][0-9]"))):
            high, low = np.load(source / "high.npy"), np.load(source / "low.npy")
            rows = np.empty(len(high), _ROW)
            rows["fields"], rows["token_size"], rows["source_size"], rows["source"] = 2, 16, 2, number
            rows["token"][:, 0], rows["token"][:, 1] = high, low
            rows.tofile(out)
        out.write(b"\xff\xff")
    _give_away(path)


@contextmanager
def _server() -> Iterator[tuple[Path, int]]:
    if not (BIN / "initdb").exists():
        raise UnavailableError("it is not installed")
    # Its own user must be able to stand in the folder, which a folder of the bench's data need not allow.
    folder = Path(tempfile.mkdtemp(prefix="concordat-bench-postgres-"))
    data, port = folder / "data", _free_port()
    try:
        _give_away(folder)
        _control("initdb", "-D", data, "--username=concordat", "--auth=trust", "--encoding=UTF8", "--locale=C")
        options = " ".join(f"-c {name}='{value}'" for name, value in {**SETTINGS, "port": port}.items())
        _control("pg_ctl", "-D", data, "-l", data / "server.log", "-w", "-t", "60", "-o", options, "start")
        try:
            yield data, port
        finally:
            _control("pg_ctl", "-D", data, "-m", "immediate", "-w", "stop")
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _control(program: str, *arguments: object) -> None:
    command = [str(BIN / program), *map(str, arguments)]
    # PostgreSQL refuses to run as root.
    as_owner = ["runuser", "-u", OWNER, "--", *command] if os.getuid() == 0 else command
    nowhere = subprocess.DEVNULL
    done = subprocess.run(as_owner, cwd="/", check=False, stdout=nowhere, stderr=nowhere, timeout=120)
    if done.returncode:
        raise UnavailableError(f"{program} failed")


def _give_away(path: Path) -> None:
    if os.getuid() == 0:
        owner = pwd.getpwnam(OWNER)
        os.chown(path, owner.pw_uid, owner.pw_gid)


def _free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


def _cpu_s(backend: int, data: Path) -> float:
    """Return CPU seconds of a backend, and of the parallel workers that the server has seen end."""
    server = int((data / "postmaster.pid").read_text(encoding="ascii").split()[0])
    return cpu_s(backend) + ended_children_cpu_s(server)
