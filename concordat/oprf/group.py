"""The prime-order group ristretto255 (RFC 9496) over libsodium, by columns of packed bytes.

The only module that touches pysodium. It calls the C functions through pointers into whole columns, because the
wrapper's buffer per call costs more than the checks it makes; each function here checks all lengths before it takes
a pointer.

Rules:
    * What came from outside goes through `decode_elements` or `decode_scalar` first. libsodium 1.0.18 takes an
      encoding with bit 255 set for the same element, and 32 zero bytes (the identity) for a valid one; both are
      refused here, so that an element has exactly one encoding (RFC 9497, section 2.1, DeserializeElement).
    * A custodian's key and its nonces are multiplied by libsodium, which is written to run in constant time; Python's
      integers are not. `invert_scalars` uses Python's integers and is for blinds only. Beside it, only
      `concordat.oprf.fast.lanes` is given a key.
"""

from __future__ import annotations

import ctypes
from itertools import accumulate
from typing import TYPE_CHECKING, Any, Final

from concordat.errors import ConfigError, ProtocolError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

ELEMENT_BYTES: Final = 32
SCALAR_BYTES: Final = 32
UNIFORM_BYTES: Final = 64
ORDER: Final = 2**252 + 27742317777372353535851937790883648493
IDENTITY: Final = bytes(ELEMENT_BYTES)
ZERO: Final = bytes(SCALAR_BYTES)


def _load() -> Callable[[str, int], Any]:
    """Return a function that binds a C function of libsodium by name and number of pointers.

    Raises:
        ConfigError: libsodium, or its ristretto255 functions, are not on this machine.
    """
    try:
        import pysodium  # noqa: PLC0415 - the import itself looks for the C library and fails without it

        library = pysodium.sodium
        _ = library["crypto_scalarmult_ristretto255"]
    except (ImportError, OSError, ValueError, AttributeError) as e:
        raise ConfigError(
            "libsodium 1.0.18 or later with ristretto255 is missing: install libsodium23 (Debian, Ubuntu), "
            "libsodium (Fedora, Homebrew)"
        ) from e
    if library.sodium_init() < 0:
        raise ConfigError("libsodium is there but does not start")

    def bind(name: str, pointers: int) -> Any:
        # An item of the library, unlike its attribute, is a new object: the types set here change nothing elsewhere.
        function = library[name]
        function.argtypes = (ctypes.c_void_p,) * pointers
        function.restype = ctypes.c_int
        return function

    return bind


_bind = _load()
_mult = _bind("crypto_scalarmult_ristretto255", 3)
_mult_base = _bind("crypto_scalarmult_ristretto255_base", 2)
_add = _bind("crypto_core_ristretto255_add", 3)
_sub = _bind("crypto_core_ristretto255_sub", 3)
_is_valid = _bind("crypto_core_ristretto255_is_valid_point", 1)
_from_hash = _bind("crypto_core_ristretto255_from_hash", 2)
_scalar_reduce = _bind("crypto_core_ristretto255_scalar_reduce", 2)
_scalar_add = _bind("crypto_core_ristretto255_scalar_add", 3)
_scalar_sub = _bind("crypto_core_ristretto255_scalar_sub", 3)
_scalar_mul = _bind("crypto_core_ristretto255_scalar_mul", 3)


def _column(data: bytes, width: int) -> tuple[int, int]:
    """Return the address and the number of bytes of a column; the caller keeps `data` alive."""
    if len(data) % width:
        raise ValueError(f"a column of {len(data)} bytes is no multiple of {width}")
    address = ctypes.cast(ctypes.c_char_p(data), ctypes.c_void_p).value
    return address or 0, len(data)


def _single(data: bytes, width: int = ELEMENT_BYTES) -> bytes:
    if len(data) != width:
        raise ValueError(f"{len(data)} bytes where {width} are needed")
    return bytes(data)


def _buffer(size: int) -> tuple[Any, int]:
    buffer = (ctypes.c_char * size)()
    return buffer, ctypes.addressof(buffer)


def count(packed: bytes) -> int:
    """Return how many elements or scalars a column holds."""
    return len(packed) // ELEMENT_BYTES


def split(packed: bytes, width: int = ELEMENT_BYTES) -> list[bytes]:
    """Cut a column into its pieces."""
    return [packed[i : i + width] for i in range(0, len(packed), width)]


def decode_elements(packed: bytes, what: str) -> bytes:
    """Return a column received from outside, after every element has passed the strict decoding.

    Args:
        packed: n·32 bytes.
        what: names the column in the error, such as "blinded elements".

    Raises:
        ProtocolError: a length is wrong, or an element is the identity, has bit 255 set or is not canonical.
    """
    if len(packed) % ELEMENT_BYTES:
        raise ProtocolError(f"{what}: {len(packed)} bytes are no whole number of elements")
    data = bytes(packed)
    address, size = _column(data, ELEMENT_BYTES)
    tops = data[ELEMENT_BYTES - 1 :: ELEMENT_BYTES]
    if max(tops, default=0) >= 128:
        first = next(i for i, top in enumerate(tops) if top >= 128)
        raise ProtocolError(f"{what}: element {first} has bit 255 set")
    for offset in range(0, size, ELEMENT_BYTES):
        if _is_valid(address + offset) != 1:
            raise ProtocolError(f"{what}: element {offset // ELEMENT_BYTES} is no canonical encoding")
    elements = split(data)
    if IDENTITY in elements:
        raise ProtocolError(f"{what}: element {elements.index(IDENTITY)} is the identity")
    return data


def decode_element(encoded: bytes, what: str) -> bytes:
    """Return one element received from outside, strictly decoded.

    Raises:
        ProtocolError: as `decode_elements`, or it is not exactly one element.
    """
    if len(encoded) != ELEMENT_BYTES:
        raise ProtocolError(f"{what}: {len(encoded)} bytes where one element has {ELEMENT_BYTES}")
    return decode_elements(encoded, what)


def decode_scalar(encoded: bytes, what: str) -> bytes:
    """Return one scalar received from outside: 32 bytes, little-endian, below the order.

    libsodium masks bit 255 and reduces, so an unchecked scalar would have several encodings and a proof, several
    forms. Zero is a scalar; who must not have it refuses it.

    Raises:
        ProtocolError: the length is wrong or the value is not below the order.
    """
    if len(encoded) != SCALAR_BYTES:
        raise ProtocolError(f"{what}: {len(encoded)} bytes where a scalar has {SCALAR_BYTES}")
    if int.from_bytes(encoded, "little") >= ORDER:
        raise ProtocolError(f"{what}: the scalar is not below the group order")
    return bytes(encoded)


def mult(scalar: bytes, elements: bytes) -> bytes:
    """Multiply each element of a column by the same scalar.

    Raises:
        ProtocolError: an element does not decode, or a product is the identity.
    """
    key = _single(scalar)
    k, _ = _column(key, SCALAR_BYTES)
    e, size = _column(elements, ELEMENT_BYTES)
    out, o = _buffer(size)
    for i in range(0, size, ELEMENT_BYTES):
        if _mult(o + i, k, e + i):
            raise _no_product(i)
    return bytes(out.raw)


def mult_each(scalars: bytes, elements: bytes) -> bytes:
    """Multiply each element by the scalar of its own row.

    Raises:
        ProtocolError: an element does not decode, or a product is the identity.
    """
    s, size = _column(scalars, SCALAR_BYTES)
    e, same = _column(elements, ELEMENT_BYTES)
    if size != same:
        raise ValueError(f"{size} bytes of scalars for {same} bytes of elements")
    out, o = _buffer(size)
    for i in range(0, size, ELEMENT_BYTES):
        if _mult(o + i, s + i, e + i):
            raise _no_product(i)
    return bytes(out.raw)


def _no_product(offset: int) -> ProtocolError:
    return ProtocolError(f"element {offset // ELEMENT_BYTES} has no product other than the identity")


def mult_base(scalar: bytes) -> bytes:
    """Multiply the generator.

    Raises:
        ProtocolError: the scalar is zero modulo the order.
    """
    out, o = _buffer(ELEMENT_BYTES)
    if _mult_base(o, _single(scalar)):
        raise ProtocolError("the zero scalar has no public element")
    return bytes(out.raw)


def weighted_sum(scalars: bytes, elements: bytes) -> bytes:
    """Add up scalar times element over all rows of two equal columns (at least one row).

    Raises:
        ProtocolError: an element does not decode, or a product is the identity.
    """
    s, size = _column(scalars, SCALAR_BYTES)
    e, same = _column(elements, ELEMENT_BYTES)
    if size != same or not size:
        raise ValueError(f"{size} bytes of scalars for {same} bytes of elements")
    total, t = _buffer(ELEMENT_BYTES)
    _, p = keep = _buffer(ELEMENT_BYTES)
    for i in range(0, size, ELEMENT_BYTES):
        # A fresh buffer is the identity, which libsodium adds like any element.
        if _mult(p, s + i, e + i) or _add(t, t, p):
            raise _no_product(i)
    del keep
    return bytes(total.raw)


def add(left: bytes, right: bytes) -> bytes:
    """Add two elements; the identity may take part and may come out.

    Raises:
        ProtocolError: one of them does not decode.
    """
    out, o = _buffer(ELEMENT_BYTES)
    if _add(o, _single(left), _single(right)):
        raise ProtocolError("one of two summands is no element")
    return bytes(out.raw)


def small_combination(coefficients: Sequence[int], columns: Sequence[bytes]) -> bytes:
    """Combine equal columns with small integers: row by row, the sum of coefficient times element.

    One chain of doublings for all columns (Straus); digits are binary or non-adjacent, whichever needs fewer calls.
    Time depends on the coefficients, which are public.

    Raises:
        ProtocolError: an element does not decode.
    """
    start, steps = _chain(tuple(coefficients))
    if len(coefficients) != len(columns) or len({len(column) for column in columns}) != 1:
        raise ValueError("one coefficient and one equally long column each")
    addresses = [_column(column, ELEMENT_BYTES)[0] for column in columns]
    size = len(columns[0])
    out, o = _buffer(size)
    if start is not None:
        out.raw = columns[start]
    for i in range(0, size, ELEMENT_BYTES):
        row = o + i
        for operation, column in steps:
            # Column -1 is the accumulator itself: a doubling.
            if operation(row, row, row if column < 0 else addresses[column] + i):
                raise ProtocolError(f"row {i // ELEMENT_BYTES} of a combination holds no element")
    return bytes(out.raw)


def _chain(coefficients: tuple[int, ...]) -> tuple[int | None, list[tuple[Any, int]]]:
    """Return the shorter of two chains: the column to start from, and steps (add or sub, column); column -1 doubles.

    Where no coefficient of the highest place is positive, the start is None: the identity.
    """
    chains = []
    for digits_of in (_binary, _non_adjacent):
        digits = [digits_of(c) for c in coefficients]
        steps: list[tuple[Any, int]] = []
        for place in reversed(range(max(map(len, digits)))):
            if steps:
                steps.append((_add, -1))
            here = [(of[place], column) for column, of in enumerate(digits) if place < len(of) and of[place]]
            steps += [(_add if digit > 0 else _sub, column) for digit, column in sorted(here, reverse=True)]
        first, column = steps[0]
        chains.append((column, steps[1:]) if first is _add else (None, steps))
    return min(chains, key=lambda chain: len(chain[1]))


def _binary(value: int) -> list[int]:
    sign = -1 if value < 0 else 1
    return [sign * int(bit) for bit in reversed(f"{abs(value):b}")]


def _non_adjacent(value: int) -> list[int]:
    digits = []
    while value:
        digit = 2 - value % 4 if value % 2 else 0
        digits.append(digit)
        value = (value - digit) // 2
    return digits or [0]


def from_hash(uniform: bytes) -> bytes:
    """Map each 64 uniform bytes of a column to an element (RFC 9496, section 4.3.4)."""
    u, size = _column(uniform, UNIFORM_BYTES)
    out, o = _buffer(size // 2)
    for i in range(size // UNIFORM_BYTES):
        _from_hash(o + i * ELEMENT_BYTES, u + i * UNIFORM_BYTES)
    return bytes(out.raw)


def reduce_scalars(wide: bytes) -> bytes:
    """Reduce each 64 bytes of a column, little-endian, modulo the order."""
    w, size = _column(wide, UNIFORM_BYTES)
    out, o = _buffer(size // 2)
    for i in range(size // UNIFORM_BYTES):
        _scalar_reduce(o + i * SCALAR_BYTES, w + i * UNIFORM_BYTES)
    return bytes(out.raw)


def random_scalars(rows: int, random: Callable[[int], bytes]) -> bytes:
    """Draw scalars of 1 to order - 1 (RFC 9497, section 2.1, RandomScalar), 64 random bytes each.

    Raises:
        ConfigError: the random source gives a wrong length or a zero, which chance does not.
    """
    wide = random(rows * UNIFORM_BYTES)
    if len(wide) != rows * UNIFORM_BYTES:
        raise ConfigError("the random source gave a wrong number of bytes")
    scalars = reduce_scalars(wide)
    if ZERO in split(scalars):
        raise ConfigError("the random source gave a zero scalar")
    return scalars


def scalar_add(left: bytes, right: bytes) -> bytes:
    """Return left + right modulo the order."""
    return _scalar(_scalar_add, left, right)


def scalar_sub(left: bytes, right: bytes) -> bytes:
    """Return left - right modulo the order."""
    return _scalar(_scalar_sub, left, right)


def scalar_mul(left: bytes, right: bytes) -> bytes:
    """Return left times right modulo the order."""
    return _scalar(_scalar_mul, left, right)


def _scalar(operation: Any, left: bytes, right: bytes) -> bytes:
    out, o = _buffer(SCALAR_BYTES)
    operation(o, _single(left), _single(right))
    return bytes(out.raw)


def scalar_from_int(value: int) -> bytes:
    """Return an integer, of either sign, modulo the order as a scalar."""
    return (value % ORDER).to_bytes(SCALAR_BYTES, "little")


def invert_scalars(packed: bytes, factor: int = 1) -> bytes:
    """Return factor / scalar for each non-zero scalar of a column, with one inversion in all (Montgomery's trick).

    In Python's integers, hence not in constant time: for a client's blinds, never for a key.
    """
    scalars = [int.from_bytes(s, "little") for s in split(packed)]
    before = list(accumulate(scalars, lambda a, b: a * b % ORDER, initial=1))
    inverse = pow(before[-1], -1, ORDER)
    out: list[bytes] = []
    for scalar, product in zip(reversed(scalars), reversed(before[:-1]), strict=True):
        out.append((inverse * product * factor % ORDER).to_bytes(SCALAR_BYTES, "little"))
        inverse = inverse * scalar % ORDER
    out.reverse()
    return b"".join(out)


def is_scalar_column(packed: Iterable[bytes]) -> bool:
    """Say whether all pieces are non-zero scalars below the order."""
    return all(len(s) == SCALAR_BYTES and 0 < int.from_bytes(s, "little") < ORDER for s in packed)
