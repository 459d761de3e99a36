"""One secret scalar times a column of elements, eight at a time.

65 signed digits of radix 16; for each, four doublings and one addition of a point that is found by reading the whole
table of nine and is negated by masks. In the source, no branch and no address depends on the scalar; what the
compiler makes of it was not inspected, so it is not called constant time.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from concordat.oprf.fast.compiler import kernel
from concordat.oprf.fast.lane_field import LANES, LIMBS, vadd, vchoose, vmul, vscan, vsquare, vsub
from concordat.oprf.fast.lane_group import (
    DIGITS,
    INVERSE_D,
    ONE,
    PICK,
    RECODED,
    TABLE,
    TWICE_D,
    ZERO,
    A,
    B,
    C,
    E,
    F,
    G,
    H,
    S,
    T,
    U,
    X,
    Y,
    Z,
    encode,
)


@kernel()
def _cache(file: Any, row: int) -> None:
    """Write X, Y, Z, T as a point to add: Y + X, Y - X, 2Z, 2dT."""
    vadd(file, row, Y, X)
    vsub(file, row + 1, Y, X)
    vadd(file, row + 2, Z, Z)
    vmul(file, row + 3, T, TWICE_D)


@kernel()
def _add(file: Any, row: int) -> None:
    """Add a cached point to X, Y, Z, T; T of the sum is left to be made of E and H."""
    vsub(file, A, Y, X)
    vmul(file, A, A, row + 1)
    vadd(file, B, Y, X)
    vmul(file, B, B, row)
    vmul(file, C, T, row + 3)
    vmul(file, U, Z, row + 2)
    vsub(file, E, B, A)
    vsub(file, F, U, C)
    vadd(file, G, U, C)
    vadd(file, H, B, A)
    vmul(file, X, E, F)
    vmul(file, Y, G, H)
    vmul(file, Z, F, G)


@kernel()
def _double(file: Any) -> None:
    """Double X, Y, Z; T is left to be made of E and H."""
    vsquare(file, A, X)
    vsquare(file, B, Y)
    vsquare(file, C, Z)
    vadd(file, C, C, C)
    vadd(file, H, A, B)
    vadd(file, E, X, Y)
    vsquare(file, E, E)
    vsub(file, E, H, E)
    vsub(file, G, A, B)
    vadd(file, F, C, G)
    vmul(file, X, E, F)
    vmul(file, Y, G, H)
    vmul(file, Z, F, G)


@kernel()
def _pick(file: Any, digit: int) -> None:
    """Copy the table's point for a digit, negated where its sign says so, reading the whole table."""
    number, sign = RECODED + 2 * digit, RECODED + 2 * digit + 1
    for k in range(4):
        vscan(file, PICK + k, number, TABLE + k)
    vadd(file, U, PICK, ZERO)
    vchoose(file, PICK, sign, PICK + 1, PICK)
    vchoose(file, PICK + 1, sign, U, PICK + 1)
    vsub(file, U, ZERO, PICK + 3)
    vchoose(file, PICK + 3, sign, U, PICK + 3)


@kernel()
def _multiply(file: Any) -> None:
    """Multiply X, Y, Z, T by the scalar whose digits stand in the file."""
    vadd(file, TABLE, ONE, ZERO)
    vadd(file, TABLE + 1, ONE, ZERO)
    vadd(file, TABLE + 2, ONE, ONE)
    vadd(file, TABLE + 3, ZERO, ZERO)
    _cache(file, TABLE + 4)
    for i in range(2, 9):
        _add(file, TABLE + 4)
        vmul(file, T, E, H)
        _cache(file, TABLE + 4 * i)
    vadd(file, X, ZERO, ZERO)
    vadd(file, Y, ONE, ZERO)
    vadd(file, Z, ONE, ZERO)
    vadd(file, T, ZERO, ZERO)
    _pick(file, DIGITS - 1)
    _add(file, PICK)
    for i in range(DIGITS - 1):
        for _ in range(4):
            _double(file)
        vmul(file, T, E, H)
        _pick(file, DIGITS - 2 - i)
        _add(file, PICK)
    vmul(file, T, E, H)


@kernel()
def _recode(file: Any, scalar: Any) -> None:
    """Write the digits of a secret scalar, -8 to 8, as rows of numbers and sign masks, by arithmetic alone.

    Bit 255 is left out, as libsodium does.
    """
    carry = np.int64(0)
    for i in range(DIGITS):
        nibble = np.int64(0)
        if i < DIGITS - 1:
            nibble = (np.int64(scalar[i >> 1]) >> (4 * (i & 1))) & 15
        if i == DIGITS - 2:
            nibble &= 7
        value = nibble + carry
        carry = (value + 8) >> 4
        value -= carry << 4
        sign = value >> 63
        number = (value ^ sign) - sign
        for lane in range(LANES):
            file[RECODED + 2 * i, 0, lane] = np.uint64(number)
            file[RECODED + 2 * i + 1, 0, lane] = np.uint64(sign)


@kernel()
def _load(file: Any, points: Any, row: int, lane: int) -> None:
    """Put a public point into a lane of three rows: y + x, y - x, 2dxy."""
    for limb in range(LIMBS):
        file[A, limb, lane] = points[row, limb]
        file[B, limb, lane] = points[row, LIMBS + limb]
        file[C, limb, lane] = points[row, 2 * LIMBS + limb]


@kernel()
def _start(file: Any) -> None:
    """Make X, Y, Z, T of what was loaded, with Z = 2."""
    vsub(file, X, A, B)
    vadd(file, Y, A, B)
    vadd(file, Z, ONE, ONE)
    vmul(file, T, C, INVERSE_D)


@kernel()
def _store(file: Any, words: Any, row: int, lane: int) -> None:
    """Write a lane of row S, canonical, as the words of 32 bytes."""
    a, b, c, d, e = file[S, 0, lane], file[S, 1, lane], file[S, 2, lane], file[S, 3, lane], file[S, 4, lane]
    words[row, 0] = a | b << np.uint64(51)
    words[row, 1] = b >> np.uint64(13) | c << np.uint64(38)
    words[row, 2] = c >> np.uint64(26) | d << np.uint64(25)
    words[row, 3] = d >> np.uint64(39) | e << np.uint64(12)


@kernel()
def multiply_column(file: Any, scalar: Any, points: Any, products: Any) -> None:
    """Multiply each point by a secret scalar, encode it, and leave nothing but constants in the register file.

    Args:
        file: as `lane_group.new_file` gives it; no other call may use it meanwhile.
        scalar: (32,) bytes; bit 255 does not count.
        points: (n, 15), n at least 1: y + x, y - x, 2dxy by five limbs below 2^51 + 2^11.
        products: (n, 4), receives 32 bytes a row as little-endian words.
    """
    rows = len(points)
    _recode(file, scalar)
    for first in range(0, rows, LANES):
        for lane in range(LANES):
            # Lanes that are left over take the last point once more.
            _load(file, points, min(first + lane, rows - 1), lane)
        _start(file)
        _multiply(file)
        encode(file)
        for lane in range(min(LANES, rows - first)):
            _store(file, products, first + lane, lane)
    # Digits, table and products; registers and the stack are not wiped.
    file[S:] = 0
