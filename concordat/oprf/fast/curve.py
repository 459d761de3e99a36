"""Points of ristretto255 (RFC 9496), for public values: time and addresses depend on them.

A point in the making has extended coordinates (X, Y, Z, T), four elements of the field. A point that is kept has
Z = 1 and is (y + x, y - x, 2dxy), 15 words in a row, which makes adding it cheap. The formulas are complete: equal,
opposite and neutral points are no special cases.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np

from concordat.oprf.fast.compiler import kernel
from concordat.oprf.fast.field import (
    ONE,
    SQRT_M1,
    ZERO,
    D,
    P,
    absolute,
    add,
    canonical,
    inverse_root,
    is_negative,
    is_zero,
    limbs,
    mul,
    sq,
    sub,
)

if TYPE_CHECKING:
    from concordat.oprf.fast.field import Element

    Point = tuple[Element, Element, Element, Element]
    Kept = tuple[Element, Element, Element]

KEPT_WORDS: Final = 15
POINT_WORDS: Final = 20
NEUTRAL: Final = (ZERO, ONE, ONE, ZERO)


def _root(square: int) -> int:
    """Return the root that is not negative; p is 5 modulo 8."""
    root = pow(square, (P + 3) // 8, P)
    if root * root % P != square % P:
        root = root * pow(2, (P - 1) // 4, P) % P
    return root if root % 2 == 0 else P - root


_D: Final = limbs(D)
_2D: Final = limbs(2 * D % P)
_INVERSE_ROOT_A_MINUS_D: Final = limbs(_root(pow(-1 - D, -1, P)))
_0: Final = np.uint64(0)
_63: Final = np.uint64(63)
_LOW: Final = np.uint64(2**51 - 1)
_SHIFTS: Final = tuple(map(np.uint64, range(64)))


@kernel()
def load(words: Any, row: int, start: int) -> Element:
    """Read an element from a row of words."""
    return (
        words[row, start],
        words[row, start + 1],
        words[row, start + 2],
        words[row, start + 3],
        words[row, start + 4],
    )


@kernel()
def store(words: Any, row: int, start: int, x: Element) -> None:
    """Write an element into a row of words."""
    for i in range(5):
        words[row, start + i] = x[i]


@kernel()
def load_point(words: Any, row: int) -> Point:
    """Read a point in the making."""
    return load(words, row, 0), load(words, row, 5), load(words, row, 10), load(words, row, 15)


@kernel()
def store_point(words: Any, row: int, p: Point) -> None:
    """Write a point in the making."""
    store(words, row, 0, p[0])
    store(words, row, 5, p[1])
    store(words, row, 10, p[2])
    store(words, row, 15, p[3])


@kernel()
def load_kept(words: Any, row: int, negative: bool) -> Kept:  # noqa: FBT001 - a kernel takes positions only
    """Read a kept point or its opposite."""
    if negative:
        return load(words, row, 5), load(words, row, 0), sub(ZERO, load(words, row, 10))
    return load(words, row, 0), load(words, row, 5), load(words, row, 10)


@kernel()
def double(p: Point) -> Point:
    """Double a point."""
    x, y, z, _ = p
    a, b, c = sq(x), sq(y), sq(z)
    # All four with the opposite sign, which the products lose; so all limbs stay below 2^54.
    h = add(a, b)
    e = sub(h, sq(add(x, y)))
    g = sub(a, b)
    f = add(add(c, c), g)
    return mul(e, f), mul(g, h), mul(f, g), mul(e, h)


@kernel()
def add_kept(p: Point, q: Kept) -> Point:
    """Add a kept point."""
    x, y, z, t = p
    plus, minus, product = q
    a, b, c, d = mul(sub(y, x), minus), mul(add(y, x), plus), mul(t, product), add(z, z)
    e, f, g, h = sub(b, a), sub(d, c), add(d, c), add(b, a)
    return mul(e, f), mul(g, h), mul(f, g), mul(e, h)


@kernel()
def add_points(p: Point, q: Point) -> Point:
    """Add two points in the making."""
    product = mul(mul(p[3], _2D), q[3])
    z = mul(p[2], q[2])
    a, b, d = mul(sub(p[1], p[0]), sub(q[1], q[0])), mul(add(p[1], p[0]), add(q[1], q[0])), add(z, z)
    e, f, g, h = sub(b, a), sub(d, product), add(d, product), add(b, a)
    return mul(e, f), mul(g, h), mul(f, g), mul(e, h)


@kernel()
def from_words(words: Any, row: int) -> Element:
    """Read an element from four words of 64 bits, little-endian; bit 255 is left out."""
    a, b, c, d = words[row, 0], words[row, 1], words[row, 2], words[row, 3]
    return (
        a & _LOW,
        (a >> _SHIFTS[51] | b << _SHIFTS[13]) & _LOW,
        (b >> _SHIFTS[38] | c << _SHIFTS[26]) & _LOW,
        (c >> _SHIFTS[25] | d << _SHIFTS[39]) & _LOW,
        (d >> _SHIFTS[12]) & _LOW,
    )


@kernel()
def to_words(words: Any, row: int, x: Element) -> None:
    """Write the representative of an element as four words of 64 bits."""
    a, b, c, d, e = canonical(x)
    words[row, 0] = a | b << _SHIFTS[51]
    words[row, 1] = b >> _SHIFTS[13] | c << _SHIFTS[38]
    words[row, 2] = c >> _SHIFTS[26] | d << _SHIFTS[25]
    words[row, 3] = d >> _SHIFTS[39] | e << _SHIFTS[12]


@kernel()
def decode(words: Any, row: int, kept: Any) -> bool:
    """Decode one element strictly (RFC 9496, section 4.3.1; the identity refused too) and keep its point."""
    s = from_words(words, row)
    least = canonical(s)
    if words[row, 3] >> _63 != _0 or least != s or is_negative(s) or is_zero(s):
        return False
    ss = sq(s)
    u1, u2 = sub(ONE, ss), add(ONE, ss)
    u2_squared = sq(u2)
    v = sub(sub(ZERO, mul(_D, sq(u1))), u2_squared)
    square, inverse = inverse_root(mul(v, u2_squared))
    x_part = mul(inverse, u2)
    x = absolute(mul(add(s, s), x_part))
    y = mul(u1, mul(mul(inverse, x_part), v))
    t = mul(x, y)
    if not square or is_negative(t) or is_zero(y):
        return False
    store(kept, row, 0, canonical(add(y, x)))
    store(kept, row, 5, canonical(sub(y, x)))
    store(kept, row, 10, canonical(mul(_2D, t)))
    return True


@kernel()
def encode(p: Point, words: Any, row: int) -> None:
    """Encode a point (RFC 9496, section 4.3.2)."""
    x, y, z, t = p
    u1, u2 = mul(add(z, y), sub(z, y)), mul(x, y)
    _, inverse = inverse_root(mul(u1, sq(u2)))
    part1, part2 = mul(inverse, u1), mul(inverse, u2)
    z_inverse = mul(mul(part1, part2), t)
    if is_negative(mul(t, z_inverse)):
        x, y = mul(y, SQRT_M1), mul(x, SQRT_M1)
        part2 = mul(part1, _INVERSE_ROOT_A_MINUS_D)
    if is_negative(mul(x, z_inverse)):
        y = sub(ZERO, y)
    to_words(words, row, absolute(mul(part2, sub(z, y))))
