"""ristretto255 in eight lanes: the register file's rows, encoding (RFC 9496, section 4.3.2).

Points are in extended coordinates of the curve with a = -1. Nothing here branches on a value or takes an address
from one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np

from concordat.oprf.fast.compiler import kernel
from concordat.oprf.fast.lane_field import (
    P,
    constant_row,
    register_file,
    vadd,
    vcanonical,
    vchoose,
    vequal,
    vmul,
    vodd,
    vor,
    vsquare,
    vsub,
)

if TYPE_CHECKING:
    from numpy.typing import NDArray

DIGITS: Final = 65  # signed, radix 16, of a scalar below 2^256

_D: Final = -121665 * pow(121666, -1, P) % P
_ROOT: Final = pow(2, (P - 1) // 4, P)
_SQRT_OF_MINUS_1: Final = _ROOT if _ROOT % 2 == 0 else P - _ROOT
# 1 / sqrt(-1 - d), the even one (RFC 9496, section 4.1).
_INVSQRT: Final = 54469307008909316920995813868745141605393597292927456921205312896311721017578

# Rows of the register file. The constants are public and outlive a batch; what stands behind them does not.
ZERO, ONE, _MINUS_1, TWICE_D, INVERSE_D, _SQRT_M1, _MINUS_SQRT_M1, _INVSQRT_A_MINUS_D = range(8)
S, X, Y, Z, T = range(8, 13)
A, B, C, E, F, G, H, U = range(13, 21)
_INVERSE, _MASK, _MASK_2, _V, _P1, _P2, _P3 = range(21, 28)
PICK: Final = 28  # 4 rows
TABLE: Final = 32  # 9 times 4 rows
RECODED: Final = 68  # number and sign of each digit, a row each, so that one load brings all lanes
ROWS: Final = RECODED + 2 * DIGITS

_CONSTANTS: Final = np.stack(
    [constant_row(v) for v in (0, 1, -1, 2 * _D, pow(_D, -1, P), _SQRT_OF_MINUS_1, -_SQRT_OF_MINUS_1, _INVSQRT)]
)


def new_file() -> NDArray[np.uint64]:
    """Return a register file with the constants in it."""
    file = register_file(ROWS)
    file[: len(_CONSTANTS)] = _CONSTANTS
    return file


@kernel()
def _squares(file: Any, out: int, x: int, times: int) -> None:
    vsquare(file, out, x)
    for _ in range(times - 1):
        vsquare(file, out, out)


@kernel()
def _power_5_8(file: Any, out: int, x: int) -> None:
    """Raise x to (p - 5) / 8 = 2^252 - 3."""
    a, b, c = _P1, _P2, _P3
    vsquare(file, a, x)  # 2
    _squares(file, b, a, 2)  # 8
    vmul(file, b, b, x)  # 9
    vmul(file, a, a, b)  # 11
    vsquare(file, a, a)  # 22
    vmul(file, a, a, b)  # 2^5 - 1
    _squares(file, b, a, 5)
    vmul(file, a, a, b)  # 2^10 - 1
    _squares(file, b, a, 10)
    vmul(file, b, b, a)  # 2^20 - 1
    _squares(file, c, b, 20)
    vmul(file, b, c, b)  # 2^40 - 1
    _squares(file, b, b, 10)
    vmul(file, a, b, a)  # 2^50 - 1
    _squares(file, b, a, 50)
    vmul(file, b, b, a)  # 2^100 - 1
    _squares(file, c, b, 100)
    vmul(file, b, c, b)  # 2^200 - 1
    _squares(file, b, b, 50)
    vmul(file, a, b, a)  # 2^250 - 1
    _squares(file, a, a, 2)
    vmul(file, out, a, x)


@kernel()
def _inverse_root(file: Any, out: int, v: int) -> None:
    """Set `out` to the even root of 1 / v, or of i / v, or to zero (RFC 9496, section 4.2, SQRT_RATIO_M1)."""
    vsquare(file, _V, v)
    vmul(file, out, _V, v)  # v^3
    vsquare(file, _V, out)
    vmul(file, _V, _V, v)  # v^7
    _power_5_8(file, _V, _V)
    vmul(file, out, out, _V)
    vsquare(file, _V, out)
    vmul(file, _V, _V, v)
    vequal(file, _MASK, _V, _MINUS_1)
    vequal(file, _MASK_2, _V, _MINUS_SQRT_M1)
    vor(file, _MASK, _MASK, _MASK_2)
    vmul(file, _V, out, _SQRT_M1)
    vchoose(file, out, _MASK, _V, out)
    _magnitude(file, out, out)


@kernel()
def _magnitude(file: Any, out: int, x: int) -> None:
    """Set `out` to x or -x, whichever is even."""
    vodd(file, _MASK_2, x)
    vsub(file, _V, ZERO, x)
    vchoose(file, out, _MASK_2, _V, x)


@kernel()
def encode(file: Any) -> None:
    """Encode X, Y, Z, T to row S, canonical and even."""
    vadd(file, A, Z, Y)
    vsub(file, B, Z, Y)
    vmul(file, A, A, B)  # u1
    vmul(file, B, X, Y)  # u2
    vsquare(file, C, B)
    vmul(file, C, C, A)
    _inverse_root(file, _INVERSE, C)
    vmul(file, A, A, _INVERSE)  # den1
    vmul(file, B, B, _INVERSE)  # den2
    vmul(file, C, A, B)
    vmul(file, C, C, T)  # 1 / Z
    vmul(file, E, X, _SQRT_M1)
    vmul(file, F, Y, _SQRT_M1)
    vmul(file, G, A, _INVSQRT_A_MINUS_D)
    vmul(file, H, T, C)
    vodd(file, _MASK, H)
    vchoose(file, X, _MASK, F, X)
    vchoose(file, Y, _MASK, E, Y)
    vchoose(file, B, _MASK, G, B)
    vmul(file, H, X, C)
    vodd(file, _MASK, H)
    vsub(file, E, ZERO, Y)
    vchoose(file, Y, _MASK, E, Y)
    vsub(file, H, Z, Y)
    vmul(file, H, H, B)
    _magnitude(file, H, H)
    vcanonical(file, S, H)
