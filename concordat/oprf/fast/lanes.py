"""A custodian's key times a column, eight elements at a time, where the processor has AVX-512 IFMA (ADR 0010).

In its source the kernel has no branch and no address that depends on the key; the machine code was not inspected. It
is compared with libsodium before its first use.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any, Final

import llvmlite.binding  # type: ignore[import-untyped]  # it has no types
import numpy as np
from numba.core.registry import cpu_target

from concordat.errors import ProtocolError
from concordat.oprf import group
from concordat.oprf.fast.curve import KEPT_WORDS
from concordat.oprf.fast.lane_field import LANES
from concordat.oprf.fast.lane_group import new_file
from concordat.oprf.fast.lane_mult import multiply_column

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    # Register file, scalar (32), points (n, 15), products (n, 4): as `multiply_column`.
    Kernel = Callable[[Any, Any, Any, Any], None]
    Decode = Callable[[bytes], NDArray[np.uint64]]

INSTRUCTIONS: Final = "avx512ifma"

_log = logging.getLogger(__name__)


def supported() -> bool:
    """Say whether the processor has the instructions and the compiler makes code for it.

    To be asked before anything is compiled: without them the compiler ends the process.
    """
    try:
        there = llvmlite.binding.get_host_cpu_features().get(INSTRUCTIONS, False)
    except RuntimeError:
        return False
    # Settings of the compiler may name an older processor than this one.
    _, _, compiled_for = cpu_target.target_context.codegen().magic_tuple()
    return bool(there) and f"+{INSTRUCTIONS}" in compiled_for.split(",")


class Lanes:
    """Multiplies by a key; each call has memory of its own, and calls in several threads run at once."""

    name: Final = "8 lanes of AVX-512"

    def __init__(self, kernel: Kernel = multiply_column) -> None:
        self._kernel = kernel

    def mult(self, scalar: bytes, points: NDArray[np.uint64]) -> bytes:
        """Return scalar times each point, encoded (n·32 bytes).

        Args:
            scalar: 32 bytes, little-endian, secret; bit 255 does not count, as with libsodium.
            points: (n, 15), C order: y + x, y - x, 2dxy of each point by five limbs of 51 bits.

        Raises:
            ProtocolError: a product is the identity.
        """
        fits = points.ndim == 2 and points.shape[1] == KEPT_WORDS and points.dtype == np.uint64
        if len(scalar) != group.SCALAR_BYTES or not fits or not points.flags.c_contiguous:
            raise ValueError(f"{len(scalar)} bytes of a scalar, points of shape {points.shape}")
        if not len(points):
            return b""
        products = np.empty((len(points), 4), np.uint64)
        self._kernel(new_file(), np.frombuffer(scalar, np.uint8), points, products)
        others = products.any(axis=1)
        if not others.all():
            raise ProtocolError(f"element {int(np.argmin(others))} has no product other than the identity")
        return products.tobytes()


def load(decode: Decode, *, kernel: Kernel = multiply_column, able: Callable[[], bool] = supported) -> Lanes | None:
    """Return the kernel, compiled and compared with libsodium, or None where it is not to be used.

    Some seconds where the compiler's cache is empty. A difference or a failure is logged, once.

    Args:
        decode: makes points of a column of elements.
        kernel: what multiplies.
        able: says whether this machine can run it.
    """
    if not able():
        return None
    lanes = Lanes(kernel)
    try:
        right = _agrees(lanes, decode)
    except Exception:  # noqa: BLE001 - whatever is wrong with the compiler, the work goes on without it
        _log.warning("the kernel of eight lanes does not work here; libsodium evaluates", exc_info=True)
        return None
    if not right:
        _log.warning("the kernel of eight lanes differs from libsodium here; libsodium evaluates")
        return None
    return lanes


def _agrees(lanes: Lanes, decode: Decode) -> bool:
    """Compare with libsodium over scalars at the edges and drawn ones, and with every number of lanes left over."""
    rows = LANES + 1
    uniform = bytes((7 * i + (i >> 6)) % 256 for i in range(group.UNIFORM_BYTES * rows))
    elements = group.from_hash(uniform)
    points = decode(elements)
    numbers = (1, 2, 8, 2**252, group.ORDER // 2, group.ORDER - 1, int("8" * 63, 16), int("7" * 63, 16))
    scalars = [group.scalar_from_int(number) for number in numbers] + group.split(group.reduce_scalars(uniform[:256]))
    if any(lanes.mult(scalar, points) != group.mult(scalar, elements) for scalar in scalars):
        return False
    whole = group.mult(scalars[-1], elements)
    return all(lanes.mult(scalars[-1], points[:n]) == whole[: n * group.ELEMENT_BYTES] for n in range(1, rows))
