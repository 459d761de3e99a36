"""A gateway process that can be asked which live objects of its interpreter hold given tokens.

    python -m tests.e2e.watched_gateway FOLDER gateway run --home HOME --json

It is `concordat` and one thread, which answers questions laid into FOLDER: `ask` holds packed tokens, `answer` gets the
number of objects looked at and of tokens found; `plant` holds bytes that the process shall keep, to show that the search
finds what is there. Looked at is whatever can be reached from tracked objects, modules and running frames, coroutines
that wait and messages among them; memory that was given back is not, and is not wiped.
"""

from __future__ import annotations

import gc
import json
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import Final

import numpy as np
from google.protobuf.message import Message

from concordat.cli import main
from concordat.tokens import TOKEN_BYTES, column
from tests.e2e.canaries import Canary, Scanner

POLL_S: Final = 0.05
_PLANTED: Final[list[object]] = []


class _Keeper:
    """Holds bytes as a part of the hub might: in an attribute, behind two containers."""

    __slots__ = ("kept",)

    def __init__(self, kept: bytes) -> None:
        self.kept = {"columns": [kept]}


def reachable() -> list[object]:
    """Return every object that the interpreter can reach."""
    stack: list[object] = [*gc.get_objects(), *sys._current_frames().values(), *sys.modules.values()]
    seen: dict[int, object] = {}
    # This search is reached by itself, and would not end as it grows.
    own = {id(seen), id(stack), id(sys._getframe())}
    while stack:
        item = stack.pop()
        if id(item) not in seen and id(item) not in own:
            seen[id(item)] = item
            stack.extend(gc.get_referents(item))
    return list(seen.values())


def contents(item: object) -> bytes:
    """Return the bytes that an object itself holds."""
    if isinstance(item, bytes | bytearray):
        return bytes(item)
    if isinstance(item, str):
        return item.encode(errors="surrogatepass") if len(item) >= TOKEN_BYTES else b""
    if isinstance(item, np.ndarray):
        # Not its own method: that of a masked constant fails.
        return b"" if item.dtype.hasobject else np.ndarray.tobytes(item)
    # A view that was released, and a class that is no message, say so by an error.
    with suppress(ValueError, TypeError):
        if isinstance(item, memoryview):
            return item.tobytes()
        if isinstance(item, Message):
            return item.SerializePartialToString()
    return b""


def _answer(folder: Path) -> None:
    objects = reachable()
    held = bytes(TOKEN_BYTES).join(found for item in objects if len(found := contents(item)) >= TOKEN_BYTES)
    number = len(objects)
    del objects
    # Only now: before, the search would find its own tokens.
    tokens = column((folder / "ask").read_bytes(), TOKEN_BYTES)
    scanner = Scanner(Canary(place, "token", token) for place, token in enumerate(tokens))
    found = {one.canary for one in scanner.find("objects", held)}
    (folder / "answer.part").write_text(json.dumps({"objects": number, "found": len(found)}))
    (folder / "ask").unlink()
    (folder / "answer.part").rename(folder / "answer")


def _watch(folder: Path) -> None:
    while True:
        if (folder / "plant").exists():
            _PLANTED[:] = [_Keeper((folder / "plant").read_bytes())]
            (folder / "plant").unlink()
        if (folder / "ask").exists():
            _answer(folder)
        time.sleep(POLL_S)


def ask(folder: Path, tokens: bytes, timeout_s: float = 30) -> dict[str, int]:
    """Ask a watched gateway; called by the test, in its own process."""
    (folder / "answer").unlink(missing_ok=True)
    _lay(folder / "ask", tokens)
    deadline = time.monotonic() + timeout_s
    while not (folder / "answer").exists():
        if time.monotonic() > deadline:
            raise TimeoutError("the gateway does not answer about its objects")
        time.sleep(POLL_S)
    found: dict[str, int] = json.loads((folder / "answer").read_text())
    return found


def plant(folder: Path, content: bytes) -> None:
    """Let a watched gateway keep bytes in an object."""
    _lay(folder / "plant", content)
    while (folder / "plant").exists():
        time.sleep(POLL_S)


def _lay(path: Path, content: bytes) -> None:
    part = path.with_suffix(".part")
    part.write_bytes(content)
    part.rename(path)


if __name__ == "__main__":
    threading.Thread(target=_watch, args=(Path(sys.argv[1]),), daemon=True, name="watch").start()
    main(sys.argv[2:])
