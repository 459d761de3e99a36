"""The field of 2^255 - 19, for public values: time and addresses depend on them.

An element is five limbs of 64 bits, radix 2^51, in a tuple. `mul` and `sq` take limbs below 2^54 and give limbs below
2^51 + 2^13; `add` does not carry; `sub` takes a subtrahend of limbs below 2^53 - 76. `canonical` gives the one
representative below the prime. Products of 128 bits exist only inside of `mul` and `sq`, as numba has no such type.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, cast

import numpy as np
from llvmlite import ir  # type: ignore[import-untyped]  # it has no types
from numba.core import types
from numba.extending import intrinsic

from concordat.oprf.fast.compiler import kernel

if TYPE_CHECKING:
    from collections.abc import Callable

    Word = np.uint64
    Element = tuple[Word, Word, Word, Word, Word]

P: Final = 2**255 - 19
D: Final = -121665 * pow(121666, -1, P) % P
_SQRT_M1: Final = pow(2, (P - 1) // 4, P)
_MASK: Final = 2**51 - 1
_WORD: Final = ir.IntType(64)
_WIDE: Final = ir.IntType(128)
_ELEMENT: Final = cast("Any", types.UniTuple)(types.uint64, 5)


def limbs(value: int) -> Element:
    """Cut a number below 2^255 into limbs."""
    a, b, c, d, e = (np.uint64(value >> 51 * i & _MASK) for i in range(5))
    return a, b, c, d, e


SQRT_M1: Final = limbs(_SQRT_M1 if _SQRT_M1 % 2 == 0 else P - _SQRT_M1)
ONE: Final = limbs(1)
ZERO: Final = limbs(0)
_0, _1, _19, _51, _LOW = np.uint64(0), np.uint64(1), np.uint64(19), np.uint64(51), np.uint64(_MASK)
# Four times the prime, limb by limb, so that a difference stays positive.
_4P: Final = (4 * (_MASK - 18), 4 * _MASK, 4 * _MASK, 4 * _MASK, 4 * _MASK)


def _product(b: ir.IRBuilder, x: list[Any], y: list[Any]) -> list[Any]:
    """Return the columns of a product modulo 2^255 - 19: what passes 2^255 comes back 19 times."""
    wide_x = [b.zext(v, _WIDE) for v in x]
    wide_y = [b.zext(v, _WIDE) for v in y]
    over_y = [b.zext(b.mul(v, ir.Constant(_WORD, 19)), _WIDE) for v in y]
    columns = []
    for n in range(5):
        terms = [b.mul(wide_x[i], wide_y[n - i] if i <= n else over_y[n - i + 5]) for i in range(5)]
        columns.append(_sum(b, terms))
    return columns


def _square(b: ir.IRBuilder, x: list[Any]) -> list[Any]:
    """Return the columns of a square: as `_product`, with equal products taken once and doubled."""
    wide = [b.zext(v, _WIDE) for v in x]
    twice = [b.zext(b.shl(v, ir.Constant(_WORD, 1)), _WIDE) for v in x]
    over = [b.zext(b.mul(v, ir.Constant(_WORD, 19)), _WIDE) for v in x]
    columns = []
    for n in range(5):
        terms = []
        for i in range(5):
            j = (n - i) % 5
            if i <= j:
                other = wide[j] if i + j == n else over[j]
                terms.append(b.mul(wide[i] if i == j else twice[i], other))
        columns.append(_sum(b, terms))
    return columns


def _sum(b: ir.IRBuilder, terms: list[Any]) -> Any:
    total = terms[0]
    for term in terms[1:]:
        total = b.add(total, term)
    return total


def _carried(b: ir.IRBuilder, columns: list[Any]) -> list[Any]:
    low, out, carry = ir.Constant(_WORD, _MASK), [], None
    for column in columns:
        total = column if carry is None else b.add(column, carry)
        out.append(b.and_(b.trunc(total, _WORD), low))
        carry = b.lshr(total, ir.Constant(_WIDE, 51))
    out[0] = b.add(out[0], b.mul(b.trunc(carry, _WORD), ir.Constant(_WORD, 19)))
    out[1] = b.add(out[1], b.lshr(out[0], ir.Constant(_WORD, 51)))
    out[0] = b.and_(out[0], low)
    return out


def _unpacked(b: ir.IRBuilder, value: Any) -> list[Any]:
    return [b.extract_value(value, i) for i in range(5)]


def _packed(b: ir.IRBuilder, parts: list[Any]) -> Any:
    value = ir.Constant(ir.ArrayType(_WORD, 5), ir.Undefined)
    for i, part in enumerate(parts):
        value = b.insert_value(value, part, i)
    return value


# What a kernel calls has no typing context, which the annotations of numba cannot say.
_operation: Final = cast("Callable[[Callable[..., Any]], Callable[..., Element]]", intrinsic)


@_operation
def mul(typing_context: Any, x: Any, y: Any) -> Any:  # noqa: ARG001 - the signature of an intrinsic
    """Multiply two elements."""

    def generate(_: Any, builder: ir.IRBuilder, __: Any, arguments: Any) -> Any:
        left, right = (_unpacked(builder, value) for value in arguments)
        return _packed(builder, _carried(builder, _product(builder, left, right)))

    return _ELEMENT(_ELEMENT, _ELEMENT), generate


@_operation
def sq(typing_context: Any, x: Any) -> Any:  # noqa: ARG001 - the signature of an intrinsic
    """Square an element."""

    def generate(_: Any, builder: ir.IRBuilder, __: Any, arguments: Any) -> Any:
        return _packed(builder, _carried(builder, _square(builder, _unpacked(builder, arguments[0]))))

    return _ELEMENT(_ELEMENT), generate


@_operation
def add(typing_context: Any, x: Any, y: Any) -> Any:  # noqa: ARG001 - the signature of an intrinsic
    """Add two elements, limb by limb."""

    def generate(_: Any, builder: ir.IRBuilder, __: Any, arguments: Any) -> Any:
        left, right = (_unpacked(builder, value) for value in arguments)
        return _packed(builder, [builder.add(x, y) for x, y in zip(left, right, strict=True)])

    return _ELEMENT(_ELEMENT, _ELEMENT), generate


@_operation
def sub(typing_context: Any, x: Any, y: Any) -> Any:  # noqa: ARG001 - the signature of an intrinsic
    """Subtract an element, limb by limb, above four times the prime."""

    def generate(_: Any, builder: ir.IRBuilder, __: Any, arguments: Any) -> Any:
        left, right = (_unpacked(builder, value) for value in arguments)
        raised = [builder.add(x, ir.Constant(_WORD, p)) for x, p in zip(left, _4P, strict=True)]
        return _packed(builder, [builder.sub(x, y) for x, y in zip(raised, right, strict=True)])

    return _ELEMENT(_ELEMENT, _ELEMENT), generate


@kernel()
def canonical(x: Element) -> Element:
    """Return the representative below the prime; limbs up to 2^63 are welcome."""
    a, b, c, d, e = x
    for _ in range(2):
        b += a >> _51
        c += b >> _51
        d += c >> _51
        e += d >> _51
        a, b, c, d = a & _LOW, b & _LOW, c & _LOW, d & _LOW
        a += _19 * (e >> _51)
        e &= _LOW
    # Below 2^255 + 19 now, and not below the prime exactly if 19 more reach bit 255.
    over = (a + _19) >> _51
    over = (b + over) >> _51
    over = (c + over) >> _51
    over = (d + over) >> _51
    over = (e + over) >> _51
    a += _19 * over
    b += a >> _51
    c += b >> _51
    d += c >> _51
    e += d >> _51
    return a & _LOW, b & _LOW, c & _LOW, d & _LOW, e & _LOW


@kernel()
def is_zero(x: Element) -> bool:
    """Say whether an element is zero."""
    a, b, c, d, e = canonical(x)
    return bool((a | b | c | d | e) == _0)


@kernel()
def is_negative(x: Element) -> bool:
    """Say whether the representative is odd (RFC 9496, section 3.1)."""
    return bool((canonical(x)[0] & _1) == _1)


@kernel()
def absolute(x: Element) -> Element:
    """Return x or -x, whichever is not negative."""
    return sub(ZERO, x) if is_negative(x) else x


@kernel()
def _power_of_two(x: Element, times: int) -> Element:
    for _ in range(times):
        x = sq(x)
    return x


@kernel()
def _root_power(x: Element) -> Element:
    """Raise to (p - 5) / 8 = 2^252 - 3."""
    x2 = mul(sq(x), x)
    x4 = mul(_power_of_two(x2, 2), x2)
    x5 = mul(sq(x4), x)
    x10 = mul(_power_of_two(x5, 5), x5)
    x20 = mul(_power_of_two(x10, 10), x10)
    x40 = mul(_power_of_two(x20, 20), x20)
    x50 = mul(_power_of_two(x40, 10), x10)
    x100 = mul(_power_of_two(x50, 50), x50)
    x200 = mul(_power_of_two(x100, 100), x100)
    x250 = mul(_power_of_two(x200, 50), x50)
    return mul(_power_of_two(x250, 2), x)


@kernel()
def inverse_root(x: Element) -> tuple[bool, Element]:
    """Return whether x is a square other than zero, and the root of 1/x or of i/x (SQRT_RATIO_M1 of 1 and x)."""
    x3 = mul(sq(x), x)
    r = mul(x3, _root_power(mul(sq(x3), x)))
    check = mul(x, sq(r))
    square = is_zero(sub(check, ONE))
    flipped = is_zero(add(check, ONE))
    flipped_i = is_zero(add(check, SQRT_M1))
    if flipped or flipped_i:
        r = mul(SQRT_M1, r)
    return square or flipped, absolute(r)
