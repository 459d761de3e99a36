"""How a kernel is compiled and kept on disk."""

from __future__ import annotations

import hashlib
import threading
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numba
from numba.core.caching import FunctionCache

from concordat.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Callable

_F = TypeVar("_F", bound="Callable[..., Any]")


def kernel(signature: str = "") -> Callable[[_F], _F]:
    """Return a decorator that compiles a function to machine code which runs without the interpreter's lock.

    Args:
        signature: compiles at once, for these types only; without one, at the first call.

    The code is kept in NUMBA_CACHE_DIR, beside the module, or in the user's cache, and is forgotten when any source of
    this package changes; where nothing can be written it is compiled anew in each process. Nothing checks bounds: who
    calls a kernel has checked all lengths and types.

    Raises:
        ConfigError: the process is about to end and nobody needs it.
    """
    if not threading.main_thread().is_alive():
        # The interpreter waits for the thread that compiles before it ends.
        raise ConfigError("the process ends")
    njit: Any = numba.njit

    def compiled(function: _F) -> _F:
        made: Any = njit(nogil=True, error_model="numpy")(function)
        try:
            made._cache = _Cache(function)  # type: ignore[no-untyped-call]  # noqa: SLF001 - there is no public way
        except RuntimeError as e:
            if "cannot cache" not in str(e):
                raise
        if signature:
            made.compile(signature)
            made.disable_compile()
        kept: _F = made
        return kept

    return compiled


class _Cache(FunctionCache):
    """Numba's own, which looks only at the file of a function, and not at those of what is compiled into it."""

    def _index_key(self, sig: Any, codegen: Any) -> Any:
        return (*super()._index_key(sig, codegen), _sources())  # type: ignore[no-untyped-call]


@cache
def _sources() -> str:
    """Return a hash over all sources of this package."""
    whole = hashlib.sha256()
    for file in sorted(Path(__file__).parent.glob("*.py")):
        whole.update(hashlib.sha256(file.read_bytes()).digest())
    return whole.hexdigest()
