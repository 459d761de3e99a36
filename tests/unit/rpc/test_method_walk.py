"""I8, deny by default: every method of the wire by every class of caller, at the shell of each server.

What comes out is compared with the table as docs/protocol.md prints it, read from the page's text. A method of the
proto without a row fails here until somebody gives it one, and is refused to everybody meanwhile.
"""

from __future__ import annotations

from contextlib import asynccontextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

import grpc
import grpc.aio
import pytest

from concordat.identity.names import Role, SpiffeId
from concordat.rpc import methods as table
from concordat.rpc.auth import HEALTH_METHODS
from concordat.rpc.client import channel
from concordat.rpc.method_page import page, written_into
from concordat.rpc.methods import METHODS, Condition, Method, grpc_table
from concordat.rpc.server import ServerSettings, build_server
from tests.unit.identity import small_federation
from tests.unit.identity.small_federation import FEDERATION, under
from tests.unit.rpc.methods_of_the_wire import PAGE, in_the_page, methods

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from concordat.identity.home import Home
    from concordat.rpc.server import BoundServer

SETTINGS: Final = ServerSettings(address="127.0.0.1:0", deadline_s=20, drain_s=0)
# The class of a caller: its role, or a name that the manifest does not have.
CLASSES: Final = (*Role, "stranger")
# What the library's health service offers besides, and nobody is to call: refused for want of a row, as the walk sees.
NO_ROW: Final = {"/grpc.health.v1.Health/List"}
SERVERS: Final = {Role.GATEWAY: "gateway/g1", Role.CUSTODIAN: "custodian/c1"}


def _add(server: grpc.aio.Server) -> None:
    """Serve every method of the wire, so that nothing but the table can refuse a call."""

    async def unary(_request: bytes, _context: Any) -> bytes:
        return b""

    async def stream(_requests: AsyncIterator[bytes], _context: Any) -> AsyncIterator[bytes]:
        yield b""

    services: dict[str, dict[str, Any]] = {}
    for name, one in methods().items():
        if name not in HEALTH_METHODS:
            assert one.client_streaming == one.server_streaming, "a kind of method that this walk does not serve yet"
            made = (
                grpc.stream_stream_rpc_method_handler if one.client_streaming else grpc.unary_unary_rpc_method_handler
            )
            services.setdefault(name.split("/")[1], {})[one.name] = made(stream if one.client_streaming else unary)
    for service, handlers in services.items():
        server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service, handlers),))


async def _code(opened: grpc.aio.Channel, name: str) -> str:
    """Call a method with an empty message; return "reached", or the code of the refusal."""
    one = methods()[name]
    both: grpc.aio.StreamStreamMultiCallable[bytes, bytes] = opened.stream_stream(name)
    down: grpc.aio.UnaryStreamMultiCallable[bytes, bytes] = opened.unary_stream(name)
    unary: grpc.aio.UnaryUnaryMultiCallable[bytes, bytes] = opened.unary_unary(name)
    try:
        if one.server_streaming:
            async for _ in both(_empty(), timeout=10) if one.client_streaming else down(b"", timeout=10):
                break
        else:
            await unary(b"", timeout=10)
    except grpc.aio.AioRpcError as error:
        return str(dict(error.trailing_metadata() or ()).get("concordat-error"))
    return "reached"


async def _empty() -> AsyncIterator[bytes]:
    yield b""


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return small_federation.make(tmp_path_factory.mktemp("walk") / "federation")


@asynccontextmanager
async def _shell(home: Home, role: Role) -> AsyncIterator[BoundServer]:
    def known(party: SpiffeId) -> bool:
        return party.name != "stranger"

    server = build_server(SETTINGS, home=home, table=grpc_table(role), known=known, add=_add)
    await server.start()
    try:
        yield server
    finally:
        await server.stop(0)


@pytest.mark.parametrize("role", SERVERS)
async def test_i8_every_method_lets_in_whom_the_page_names_and_refuses_all_others(folders: Path, role: Role) -> None:
    authority = small_federation.authority()
    home = under(small_federation.home(folders, SERVERS[role]), authority)
    expected, found = {}, {}
    said = in_the_page()
    async with _shell(home, role) as server:
        for caller in CLASSES:
            name = SpiffeId(FEDERATION, Role.NODE if caller == "stranger" else Role(caller), caller)
            async with channel(
                f"127.0.0.1:{server.port}", home=under(home, authority, spiffe=name), server=home.identity
            ) as to:
                for method in methods():
                    found[method, caller] = await _code(to, method)
                    let_in = caller in said.get((role, method), ())
                    refusal = "bad_identity" if caller == "stranger" else "refused"
                    expected[method, caller] = "reached" if let_in else refusal
    assert found == expected
    assert set(found.values()) == {"reached", "refused", "bad_identity"}


def test_i8_every_method_of_the_proto_has_a_row_and_every_row_a_method() -> None:
    assert {one.name for one in METHODS if one.is_grpc} | NO_ROW == set(methods())
    assert not {one.name for one in METHODS} & NO_ROW


def test_the_page_has_the_table_as_it_is() -> None:
    text = PAGE.read_text()
    assert page() in text, "run scripts/method-table"
    assert written_into(text) == text


def test_every_condition_is_in_use() -> None:
    assert {condition for one in METHODS for condition in one.may.values()} == set(Condition)


def test_a_scope_is_of_one_set_of_roles() -> None:
    """Else a token for one route would open another whose row does not name its bearer."""
    rows: dict[str, set[frozenset[Role]]] = {}
    for one in METHODS:
        if one.scope is not None:
            rows.setdefault(one.scope, set()).add(frozenset(one.may))
    assert rows
    assert all(len(roles) == 1 for roles in rows.values())
    assert {scope for role in Role for scope in table.scopes_of(role)} == set(rows)


def test_a_row_that_says_nothing_of_who_may_call_cannot_be_written() -> None:
    gateway = frozenset({Role.GATEWAY})
    with pytest.raises(ValueError, match="scope"):
        Method("GET /v1/new", gateway, {Role.NODE: Condition.NONE})
    with pytest.raises(ValueError, match="without a name"):
        Method("/concordat.wire.v1.New/Call", gateway, {}, anyone=True)
    with pytest.raises(ValueError, match="has a row"):
        table.scope_of_route("GET", "/v1/new")
    with pytest.raises(ValueError, match="each mark once"):
        written_into("no marks")
    assert replace(METHODS[0], may={}).may == {}
