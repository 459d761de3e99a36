"""A process of ours that can be asked which live objects of its interpreter hold given tokens, and shows its spans.

    python -m tests.e2e.watched_process FOLDER gateway run --home HOME --json

It is `concordat`, with spans written to FOLDER/spans as a collector would get them, and one thread, which answers
questions laid into FOLDER: `ask` holds packed tokens, `answer` gets the number of objects looked at and the places of
the tokens found; `plant` holds bytes that the process shall keep, to show that the search finds what is there. Looked
at is whatever can be reached from tracked objects, modules and running frames, waiting coroutines and messages among
them; memory that was given back is not.
"""

from __future__ import annotations

import gc
import json
import sys
import threading
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from google.protobuf.message import Message
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import ConsoleSpanExporter, SimpleSpanProcessor

from concordat.cli import main
from concordat.tokens import TOKEN_BYTES, column
from tests.e2e.canaries import Canary, Scanner

POLL_S: Final = 0.05
SPANS: Final = "spans"
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
    places = sorted({one.canary for one in scanner.find("objects", held)})
    (folder / "answer.part").write_text(json.dumps({"objects": number, "found": places}))
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


@dataclass(frozen=True, slots=True)
class Answer:
    """What a watched process said: objects looked at, tokens found in them, and planted bytes found in them."""

    objects: int
    tokens: int
    planted: int


def ask(folder: Path, tokens: list[bytes], planted: list[bytes], timeout_s: float = 60) -> Answer:
    """Ask a watched process; called by the test, in its own process."""
    _lay(folder / "ask", b"".join(tokens + planted))
    deadline = time.monotonic() + timeout_s
    while not (folder / "answer").exists():
        if time.monotonic() > deadline:
            raise TimeoutError("the process does not answer about its objects")
        time.sleep(POLL_S)
    said = json.loads((folder / "answer").read_text())
    among = sum(place < len(tokens) for place in said["found"])
    return Answer(said["objects"], among, len(said["found"]) - among)


def plant(folder: Path, content: bytes) -> None:
    """Let a watched process keep bytes in an object."""
    _lay(folder / "plant", content)
    while (folder / "plant").exists():
        time.sleep(POLL_S)


def _lay(path: Path, content: bytes) -> None:
    part = path.with_suffix(".part")
    part.write_bytes(content)
    part.rename(path)


def _show_spans(folder: Path) -> None:
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(ConsoleSpanExporter(out=(folder / SPANS).open("a"))))
    trace.set_tracer_provider(provider)


if __name__ == "__main__":
    _show_spans(Path(sys.argv[1]))
    threading.Thread(target=_watch, args=(Path(sys.argv[1]),), daemon=True, name="watch").start()
    main(sys.argv[2:])
