"""Kernels over whole columns: decode, sum up, combine. Their callers check lengths and types; nothing here does.

Arrays: `words` (n, 4) uint64, encodings as little-endian words; `kept` (n, 15) uint64, points; `digits` (windows, n)
int16; `buckets` (2^(c-1) + 1, 20) uint64.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from concordat.oprf.fast.compiler import kernel
from concordat.oprf.fast.curve import (
    NEUTRAL,
    add_kept,
    add_points,
    decode,
    double,
    encode,
    load_kept,
    load_point,
    store_point,
)


@kernel("int64(uint64[:, ::1], uint64[:, ::1])")
def decode_all(words: Any, kept: Any) -> int:
    """Decode all rows and return -1, or the first row that is no strict encoding."""
    for row in range(words.shape[0]):
        if not decode(words, row, kept):
            return row
    return -1


@kernel("void(uint64[:, ::1], int64, int16[:, ::1])")
def recode(scalars: Any, bits: int, digits: Any) -> None:
    """Cut scalars below 2^253 into signed digits of so many bits, the lowest in the first row."""
    one, mask = np.uint64(1), np.uint64((1 << bits) - 1)
    half, whole = 1 << (bits - 1), 1 << bits
    for column in range(scalars.shape[0]):
        carry = 0
        for window in range(digits.shape[0]):
            start = window * bits
            word, shift = start >> 6, np.uint64(start & 63)
            value = scalars[column, word] >> shift if word < 4 else np.uint64(0)
            if (start & 63) + bits > 64 and word < 3:
                # In two steps, as a shift by 64 is none.
                value |= (scalars[column, word + 1] << (np.uint64(63) - shift)) << one
            digit = np.int64(value & mask) + carry
            carry = 1 if digit > half else 0
            digits[window, column] = digit - whole if carry else digit


@kernel("void(int16[:, ::1], int64, uint64[:, ::1], uint64[:, ::1], uint64[:, ::1])")
def weighted_sum(digits: Any, bits: int, kept: Any, buckets: Any, out: Any) -> None:
    """Sum up all points, each times its scalar (Pippenger), and encode the sum."""
    total = NEUTRAL
    top = 1 << (bits - 1)
    for window in range(digits.shape[0] - 1, -1, -1):
        for _ in range(bits):
            total = double(total)
        for bucket in range(top + 1):
            store_point(buckets, bucket, NEUTRAL)
        for row in range(digits.shape[1]):
            digit = digits[window, row]
            if digit != 0:
                bucket = abs(int(digit))
                point = load_kept(kept, row, bool(digit < 0))
                store_point(buckets, bucket, add_kept(load_point(buckets, bucket), point))
        running, here = NEUTRAL, NEUTRAL
        for bucket in range(top, 0, -1):
            running = add_points(running, load_point(buckets, bucket))
            here = add_points(here, running)
        total = add_points(total, here)
    encode(total, out, 0)


@kernel("void(int64[::1], uint64[:, :, ::1], uint64[:, ::1])")
def combine(steps: Any, columns: Any, out: Any) -> None:
    """Combine columns of points row by row, by steps: 0 doubles, k adds column k - 1, -k subtracts it."""
    for row in range(out.shape[0]):
        total = NEUTRAL
        for step in steps:
            total = double(total) if step == 0 else add_kept(total, load_kept(columns[abs(step) - 1], row, step < 0))
        encode(total, out, row)
