"""How a kernel is compiled and kept on disk, and whether this machine lets new code be run at all."""

from __future__ import annotations

import ctypes
import mmap
from typing import TYPE_CHECKING, Any, TypeVar

import numba

if TYPE_CHECKING:
    from collections.abc import Callable

    from numba.core.types import Type

_F = TypeVar("_F", bound="Callable[..., Any]")


def kernel(signature: Type | str | None = None) -> Callable[[_F], _F]:
    """Return a decorator that compiles a function to machine code which runs without the interpreter's lock.

    Args:
        signature: compiles at once, for these types only; without one, at the first call.

    The code is kept in NUMBA_CACHE_DIR, beside the module, or in the user's cache; where nothing can be written it
    is compiled anew in each process. Nothing checks bounds: who calls a kernel has checked all lengths and types.
    """

    def compiled(function: _F) -> _F:
        options: dict[str, Any] = {"nogil": True, "error_model": "numpy", "boundscheck": False, "fastmath": False}
        arguments = () if signature is None else (signature,)
        try:
            made: Any = numba.njit(*arguments, cache=True, **options)(function)
        except RuntimeError:
            # Numba found no place for its files.
            made = numba.njit(*arguments, **options)(function)
        typed: _F = made
        return typed

    return compiled


def may_run_new_code() -> bool:
    """Say whether written memory may be made executable here.

    A hardened machine refuses, and the compiler's library would not say so: it ends the process.
    """
    with mmap.mmap(-1, mmap.PAGESIZE) as page:
        held = ctypes.c_char.from_buffer(page)
        mprotect = ctypes.CDLL(None, use_errno=True).mprotect
        mprotect.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int)
        allowed = mprotect(ctypes.addressof(held), mmap.PAGESIZE, mmap.PROT_READ | mmap.PROT_EXEC) == 0
        del held
    return allowed
