"""The hub keeps no token after the certificate (I2): nothing that it can reach holds the bytes."""

from __future__ import annotations

import gc
import types
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from tests.unit.gateway.world import token

if TYPE_CHECKING:
    from tests.unit.gateway.world import World


def reachable(*roots: object) -> list[object]:
    """Return every object that can be reached, but types, modules and functions."""
    seen: dict[int, object] = {}
    stack = list(roots)
    while stack:
        item = stack.pop()
        if id(item) in seen or isinstance(item, type | types.ModuleType | types.FunctionType):
            continue
        seen[id(item)] = item
        stack.extend(gc.get_referents(item))
    return list(seen.values())


def contents(item: object) -> bytes:
    """Return the bytes that an object itself holds."""
    if isinstance(item, bytes | bytearray | memoryview):
        return bytes(item)
    if isinstance(item, np.ndarray):
        return item.tobytes()
    serialise = getattr(item, "SerializeToString", None)
    return serialise() if callable(serialise) and not isinstance(item, type) else b""


def holds(world: World, value: str) -> bool:
    """Tell whether the exchange, or a frame that waits to be sent, holds a value's token."""
    hub = world.hubs[0]
    waiting = [link.inbox for link in hub.links.values()]
    return any(token(value) in contents(item) for item in reachable(hub.exchange, waiting))


def test_tokens_are_gone_with_the_certificate(world: World) -> None:
    world.attached("DE", "x")
    nl = world.attached("NL", "x")
    nl.check("x")
    assert holds(world, "x"), "the search finds what is there"
    world.settle()
    assert holds(world, "x")
    world.window()
    assert world.hubs[0].exchange.in_flight == 0
    assert not holds(world, "x")


def test_a_question_that_a_stuck_node_never_took_is_gone_too(world: World) -> None:
    de, nl = world.attached("DE", "x"), world.attached("NL", "x")
    de.link.deaf = True
    nl.check("x")
    world.settle()
    assert any(frame.HasField("question") for _, frame in de.link.inbox)
    assert holds(world, "x")
    world.window()
    assert not holds(world, "x")


def test_a_check_that_was_refused_leaves_nothing(world: World) -> None:
    nl = world.attached("NL", "x")
    nl.check("x", purpose="")
    world.settle()
    assert not holds(world, "x")


def test_the_ledger_s_file_holds_no_token(world: World) -> None:
    de, nl = world.attached("DE", "x"), world.attached("NL", "x")
    nl.check("x")
    world.window()
    database = world.ledger._engine.url.database
    assert database is not None
    stored = b"".join(Path(database + suffix).read_bytes() for suffix in ("", "-wal"))
    assert nl.values["x"] in stored, "the search finds what is there"
    assert de.values["x"] in stored
    assert token("x") not in stored
