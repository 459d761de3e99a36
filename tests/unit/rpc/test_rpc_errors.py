"""Errors leave a server as code and public sentence, from every kind of handler, and come back as what they were."""

from __future__ import annotations

import asyncio
import json
import logging
import sys
from typing import TYPE_CHECKING

import grpc
import grpc.aio
import pytest

from concordat.errors import (
    CATALOGUE,
    BadProofError,
    ConcordatError,
    ConfigError,
    IdentityError,
    InputError,
    ProtocolError,
    RefusedError,
    UnavailableError,
)
from concordat.rpc.client import call, messages, translate, translated
from concordat.telemetry import JsonFormatter
from tests.unit.rpc.echo import BOTH, DOWN, KINDS, SECRET, UNARY, Echo, dialled, serving

if TYPE_CHECKING:
    from collections.abc import AsyncIterable, AsyncIterator

    from tests.unit.rpc.conftest import Parties


def _everything(error: grpc.aio.AioRpcError) -> str:
    return repr((error.details(), error.trailing_metadata(), error.initial_metadata(), error.debug_error_string()))


@pytest.mark.parametrize("method", KINDS)
async def test_an_error_of_ours_crosses_as_its_row_of_the_catalogue(parties: Parties, echo: Echo, method: str) -> None:
    async with (
        serving(parties.custodian, echo) as server,
        dialled(server, home=parties.node, to=parties.custodian.identity) as calls,
    ):
        error = await calls.failure(method, b"0:refused")
    assert error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert error.details() == "The quota of this period is used up."
    assert dict(error.trailing_metadata() or ()) == {"concordat-error": "quota_exhausted"}
    assert SECRET not in _everything(error)
    back = translate(error, "custodian 1")
    assert (type(back), back.code) == (RefusedError, "quota_exhausted")
    assert back.message == "custodian 1: The quota of this period is used up."


@pytest.mark.parametrize("method", [DOWN, BOTH])
@pytest.mark.parametrize("before", [0, 3])
async def test_a_stream_delivers_what_came_before_its_error(
    parties: Parties, echo: Echo, method: str, before: int
) -> None:
    received: list[bytes] = []

    async def receive(stream: AsyncIterable[bytes]) -> None:
        async for message in messages(stream, party="custodian 1"):
            received.append(message)  # noqa: PERF401 -- a comprehension would lose what came before the error

    async with (
        serving(parties.custodian, echo) as server,
        dialled(server, home=parties.node, to=parties.custodian.identity) as calls,
    ):
        stream = calls.down(b"%d:refused" % before) if method == DOWN else calls.both(_endless(b"%d:refused" % before))
        with pytest.raises(RefusedError) as caught:
            await receive(stream)
    assert received == [str(number).encode() for number in range(before)]
    assert caught.value.code == "quota_exhausted"


async def test_who_is_refused_is_named_in_the_servers_own_log(
    parties: Parties, echo: Echo, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level("INFO", logger="concordat.rpc.guard"):
        async with (
            serving(parties.custodian, echo) as server,
            dialled(server, home=parties.node, to=parties.custodian.identity) as calls,
        ):
            await calls.failure(KINDS[0], b"0:refused")
    (line,) = caplog.records
    assert getattr(line, "party") == str(parties.node.identity)  # noqa: B009 -- a field that only this log call adds
    assert "quota_exhausted" in line.getMessage()


@pytest.mark.parametrize("method", KINDS)
async def test_an_unexpected_exception_leaks_nothing(
    parties: Parties, echo: Echo, method: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with (
        serving(parties.custodian, echo) as server,
        dialled(server, home=parties.node, to=parties.custodian.identity) as calls,
    ):
        error = await calls.failure(method, b"0:foreign")
    assert (error.code(), error.details()) == (grpc.StatusCode.INTERNAL, "Internal error.")
    assert SECRET not in _everything(error)
    (record,) = [one for one in caplog.records if one.levelno == logging.ERROR]
    line = JsonFormatter("custodian-c1").format(record)
    assert SECRET not in line
    # What an engineer needs is there: the type and the place.
    assert "KeyError" in line
    assert "echo.py" in line


@pytest.mark.parametrize("method", KINDS)
async def test_a_code_outside_the_catalogue_becomes_internal(parties: Parties, echo: Echo, method: str) -> None:
    async with (
        serving(parties.custodian, echo) as server,
        dialled(server, home=parties.node, to=parties.custodian.identity) as calls,
    ):
        error = await calls.failure(method, b"0:unlisted")
    assert (error.code(), error.details()) == (grpc.StatusCode.INTERNAL, "Internal error.")
    assert SECRET not in _everything(error)


@pytest.mark.parametrize("method", KINDS)
async def test_only_a_detail_flagged_as_public_crosses(parties: Parties, echo: Echo, method: str) -> None:
    async with (
        serving(parties.custodian, echo) as server,
        dialled(server, home=parties.node, to=parties.custodian.identity) as calls,
    ):
        error = await calls.failure(method, b"0:detail")
    assert "local text" not in _everything(error)
    back = translate(error, "custodian 1")
    assert (back.code, back.public_detail) == ("stale_epoch", "epoch 7")


async def test_call_gives_the_reply_or_the_translated_error(parties: Parties, echo: Echo) -> None:
    async with (
        serving(parties.custodian, echo) as server,
        dialled(server, home=parties.node, to=parties.custodian.identity) as calls,
    ):
        assert await call(calls.unary, b"0:ok", party="custodian 1", timeout_s=10) == b"ok"
        with pytest.raises(RefusedError, match="custodian 1"):
            await call(calls.unary, b"0:refused", party="custodian 1", timeout_s=10)
        with pytest.raises(UnavailableError, match="custodian 1") as late:
            await call(calls.unary, b"0:slow", party="custodian 1", timeout_s=0.2)
    assert late.value.code == "deadline"
    async with dialled(server, home=parties.node, to=parties.custodian.identity) as calls:
        with pytest.raises(UnavailableError, match="custodian 1") as gone:
            await call(calls.unary, b"0:ok", party="custodian 1", timeout_s=10)
    assert gone.value.code == "unavailable"


async def test_reading_and_writing_a_session_that_failed_is_translated_too(parties: Parties, echo: Echo) -> None:
    async with (
        serving(parties.custodian, echo) as server,
        dialled(server, home=parties.node, to=parties.custodian.identity) as calls,
    ):
        session = calls.both(timeout=10)
        await session.write(b"1:refused")
        with translated("custodian 1"):
            assert await session.read() == b"0"
        with pytest.raises(RefusedError, match="custodian 1"), translated("custodian 1"):
            await session.read()
        with pytest.raises((RefusedError, UnavailableError), match="custodian 1"), translated("custodian 1"):
            await session.write(b"0:ok")


@pytest.mark.parametrize("code", sorted(CATALOGUE))
def test_every_code_of_the_catalogue_comes_back_as_the_class_that_raises_it(code: str) -> None:
    entry = CATALOGUE[code]
    error = grpc.aio.AioRpcError(
        grpc.StatusCode[entry.status],
        initial_metadata=grpc.aio.Metadata(),
        trailing_metadata=grpc.aio.Metadata(("concordat-error", code)),
        details=entry.public,
    )
    classes = (InputError, ConfigError, IdentityError, RefusedError, ProtocolError, UnavailableError, BadProofError)
    raisers = {one for one in classes if one.code == code}
    back = translate(error, "NL")
    assert back.code == code
    assert not raisers or type(back) in raisers
    if entry.status in {"UNAVAILABLE", "DEADLINE_EXCEEDED"}:
        assert isinstance(back, UnavailableError)


def test_a_peer_cannot_put_text_of_its_own_into_our_errors() -> None:
    error = grpc.aio.AioRpcError(
        grpc.StatusCode.PERMISSION_DENIED,
        initial_metadata=grpc.aio.Metadata(),
        trailing_metadata=grpc.aio.Metadata(("concordat-error", "made_up")),
        details=f"look here: {SECRET}",
    )
    assert translate(error, "NL").message == "NL does not permit this"
    assert isinstance(translate(error, "NL"), RefusedError)


@pytest.mark.parametrize("detail", ["\x1b[2J", "a\nb", "d" * 401, "", "\u202e"])
def test_a_detail_that_a_server_of_ours_would_not_send_is_not_shown(detail: str) -> None:
    error = grpc.aio.AioRpcError(
        grpc.StatusCode.RESOURCE_EXHAUSTED,
        initial_metadata=grpc.aio.Metadata(),
        trailing_metadata=grpc.aio.Metadata(("concordat-error", "quota_exhausted"), ("concordat-detail", detail)),
    )
    back = translate(error, "c1")
    assert back.message == "c1: The quota of this period is used up."
    assert back.public_detail is None


def test_a_log_line_holds_the_text_of_our_errors_and_never_that_of_foreign_ones() -> None:
    try:
        try:
            int(SECRET)
        except ValueError as foreign:
            raise InputError("line 3 is no number") from foreign
    except ConcordatError:
        record = logging.getLogger("test").makeRecord("test", logging.ERROR, "f", 1, "failed", (), sys.exc_info())
    line = JsonFormatter("node-NL").format(record)
    assert SECRET not in line
    chain = json.loads(line)["error"]
    assert [one["type"] for one in chain] == ["concordat.errors.InputError", "builtins.ValueError"]
    assert chain[0]["message"] == "line 3 is no number"
    assert UNARY not in line


async def _endless(first: bytes) -> AsyncIterator[bytes]:
    yield first
    await asyncio.Event().wait()
