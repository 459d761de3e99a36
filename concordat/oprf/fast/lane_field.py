"""The field of 2^255 - 19 in eight lanes at once, by the AVX-512 instructions IFMA (VPMADD52).

Values live in a register file, a numpy array of uint64 (rows, 5 limbs, 8 lanes), radix 2^51; each function here is
compiled into its caller and works on rows. The multiplier reads only 52 bits of a limb, so every row that one of
these functions writes has limbs below 2^51 + 2^11 and every row that it reads must have.

No function here branches on a value or takes an address from one: choices are made with masks, which are rows too
(limb 0: all ones or zero, by lane). What the compiler makes of it was not inspected, so it is not called constant
time.

Only for a machine that has the instructions (`concordat.oprf.fast.lanes.supported`): elsewhere compiling ends the
process.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, cast

import numpy as np
from llvmlite import ir  # type: ignore[import-untyped]  # it has no types
from numba.core import cgutils, types
from numba.extending import intrinsic

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    Vector = Any
    Element = list[Any]

LANES: Final = 8
LIMBS: Final = 5
RADIX: Final = 51
P: Final = 2**255 - 19

_WORD: Final = ir.IntType(64)
_VECTOR: Final = ir.VectorType(_WORD, LANES)
_LOW: Final = 2**RADIX - 1
_TWICE_P: Final = (2 * (_LOW - 18), *[2 * _LOW] * 4)


def register_file(rows: int) -> NDArray[np.uint64]:
    """Return a register file of zeros that starts at a cache line."""
    size = rows * LIMBS * LANES
    raw = np.zeros(size + LANES, np.uint64)
    skip = -(raw.ctypes.data // 8) % LANES
    return raw[skip : skip + size].reshape(rows, LIMBS, LANES)


def constant_row(value: int) -> NDArray[np.uint64]:
    """Return a public value as a row, the same in all lanes."""
    limbs = [value % P >> RADIX * i & _LOW for i in range(LIMBS)]
    return np.repeat(np.array(limbs, np.uint64)[:, None], LANES, axis=1)


# --- rows in and out of memory -------------------------------------------------------------------------------------


def _splat(value: int) -> ir.Constant:
    return ir.Constant(_VECTOR, [ir.Constant(_WORD, value)] * LANES)


def _row(b: ir.IRBuilder, file: Vector, row: Vector, limb: int) -> Vector:
    offset = b.add(b.mul(row, ir.Constant(_WORD, LIMBS * LANES)), ir.Constant(_WORD, limb * LANES))
    return b.bitcast(b.gep(file, [offset]), _VECTOR.as_pointer())


def _load(b: ir.IRBuilder, file: Vector, row: Vector) -> Element:
    return [b.load(_row(b, file, row, i), align=8) for i in range(LIMBS)]


def _load_mask(b: ir.IRBuilder, file: Vector, row: Vector) -> Vector:
    return b.load(_row(b, file, row, 0), align=8)


def _store(b: ir.IRBuilder, file: Vector, row: Vector, values: Element) -> None:
    for i, value in enumerate(values):
        b.store(value, _row(b, file, row, i), align=8)


# --- arithmetic on vectors -----------------------------------------------------------------------------------------


def _multiplier(b: ir.IRBuilder, half: str) -> Callable[[Vector, Vector, Vector], Vector]:
    """Return a function that adds the low or high 52 bits of a product to an accumulator."""
    kind = ir.FunctionType(_VECTOR, [_VECTOR] * 3)
    function: Any = cgutils.get_or_insert_function(  # type: ignore[no-untyped-call]
        b.module, kind, f"llvm.x86.avx512.vpmadd52{half}.uq.512"
    )
    return lambda accumulator, x, y: b.call(function, [accumulator, x, y])


def _times_19(b: ir.IRBuilder, x: Vector) -> Vector:
    return b.add(b.add(b.shl(x, _splat(4)), b.shl(x, _splat(1))), x)


def _carry(b: ir.IRBuilder, r: Element) -> Element:
    """Carry all limbs at once into their neighbours; limbs of up to 2^60 come out below 2^51 + 2^11."""
    c = [b.lshr(x, _splat(RADIX)) for x in r]
    low = [b.and_(x, _splat(_LOW)) for x in r]
    return [b.add(low[0], _times_19(b, c[4])), *[b.add(low[i], c[i - 1]) for i in range(1, LIMBS)]]


def _sweep(b: ir.IRBuilder, r: Element) -> tuple[Element, Vector]:
    """Carry limb after limb; return the limbs and what leaves the last."""
    out = []
    c = _splat(0)
    for x in r:
        total = b.add(x, c)
        out.append(b.and_(total, _splat(_LOW)))
        c = b.lshr(total, _splat(RADIX))
    return out, c


def _canonical(b: ir.IRBuilder, r: Element) -> Element:
    """Return the one representative below p."""
    r, c = _sweep(b, r)
    r = [b.add(r[0], _times_19(b, c)), *r[1:]]
    # Now below 2^255 + 19, less than twice p; it is p or more exactly if adding 19 leaves the last limb.
    _, q = _sweep(b, [b.add(r[0], _splat(19)), *r[1:]])
    return _sweep(b, [b.add(r[0], _times_19(b, q)), *r[1:]])[0]


def _fold(b: ir.IRBuilder, low: Element, high: Element) -> Element:
    """Join halves of nine columns and reduce: the high half of column k weighs two in column k + 1."""
    r = [low[0]]
    r += [b.add(low[k], b.shl(high[k - 1], _splat(1))) for k in range(1, 9)]
    r.append(b.shl(high[8], _splat(1)))
    return _carry(b, [b.add(r[k], _times_19(b, r[k + LIMBS])) for k in range(LIMBS)])


def _product(b: ir.IRBuilder, x: Element, y: Element) -> Element:
    halves = []
    for half in "lh":
        madd = _multiplier(b, half)
        columns: Element = [_splat(0)] * 9
        for i in range(LIMBS):
            for j in range(LIMBS):
                columns[i + j] = madd(columns[i + j], x[i], y[j])
        halves.append(columns)
    return _fold(b, *halves)


def _square(b: ir.IRBuilder, x: Element) -> Element:
    halves = []
    for half in "lh":
        madd = _multiplier(b, half)
        columns: Element = [_splat(0)] * 9
        for i in range(LIMBS):
            for j in range(i + 1, LIMBS):
                columns[i + j] = madd(columns[i + j], x[i], x[j])
        columns = [b.shl(column, _splat(1)) for column in columns]
        for i in range(LIMBS):
            columns[2 * i] = madd(columns[2 * i], x[i], x[i])
        halves.append(columns)
    return _fold(b, *halves)


def _difference(b: ir.IRBuilder, x: Element, y: Element) -> Element:
    return _carry(b, [b.sub(b.add(x[i], _splat(_TWICE_P[i])), y[i]) for i in range(LIMBS)])


def _choice(b: ir.IRBuilder, mask: Vector, x: Element, y: Element) -> Element:
    return [b.xor(y[i], b.and_(mask, b.xor(x[i], y[i]))) for i in range(LIMBS)]


# --- what numba functions call -------------------------------------------------------------------------------------


# Numba gives the first argument itself, which its types do not say.
_instruction: Final = cast("Callable[[Callable[..., Any]], Callable[..., None]]", intrinsic)


def _on_file(file: types.Type, rows: int, body: Any) -> tuple[Any, Callable[..., Any]]:
    """Return signature and code of a function of a register file and row numbers."""
    if not (isinstance(file, types.Array) and file.dtype == types.uint64 and file.ndim == 3 and file.layout == "C"):
        raise TypeError("a register file is a contiguous uint64 array (rows, 5, 8)")

    def generate(context: Any, builder: ir.IRBuilder, signature: Any, args: Any) -> Any:
        data = context.make_array(signature.args[0])(context, builder, args[0]).data
        body(builder, data, list(args[1:]))
        return context.get_dummy_value()

    return types.void(file, *[types.int64] * rows), generate


@_instruction
def vmul(_typing: Any, file: Any, out: Any, x: Any, y: Any) -> Any:
    """Set row `out` to x times y."""
    del out, x, y
    return _on_file(file, 3, lambda b, f, r: _store(b, f, r[0], _product(b, _load(b, f, r[1]), _load(b, f, r[2]))))


@_instruction
def vsquare(_typing: Any, file: Any, out: Any, x: Any) -> Any:
    """Set row `out` to the square of x."""
    del out, x
    return _on_file(file, 2, lambda b, f, r: _store(b, f, r[0], _square(b, _load(b, f, r[1]))))


@_instruction
def vadd(_typing: Any, file: Any, out: Any, x: Any, y: Any) -> Any:
    """Set row `out` to x + y."""
    del out, x, y

    def body(b: ir.IRBuilder, f: Vector, r: list[Vector]) -> None:
        pairs = zip(_load(b, f, r[1]), _load(b, f, r[2]), strict=True)
        _store(b, f, r[0], _carry(b, [b.add(x, y) for x, y in pairs]))

    return _on_file(file, 3, body)


@_instruction
def vsub(_typing: Any, file: Any, out: Any, x: Any, y: Any) -> Any:
    """Set row `out` to x - y."""
    del out, x, y
    return _on_file(file, 3, lambda b, f, r: _store(b, f, r[0], _difference(b, _load(b, f, r[1]), _load(b, f, r[2]))))


@_instruction
def vcanonical(_typing: Any, file: Any, out: Any, x: Any) -> Any:
    """Set row `out` to the representative of x below p."""
    del out, x
    return _on_file(file, 2, lambda b, f, r: _store(b, f, r[0], _canonical(b, _load(b, f, r[1]))))


@_instruction
def vodd(_typing: Any, file: Any, out: Any, x: Any) -> Any:
    """Set mask `out` where x is odd, which RFC 9496 calls negative."""
    del out, x

    def body(b: ir.IRBuilder, f: Vector, r: list[Vector]) -> None:
        first = _canonical(b, _load(b, f, r[1]))[0]
        b.store(b.sub(_splat(0), b.and_(first, _splat(1))), _row(b, f, r[0], 0), align=8)

    return _on_file(file, 2, body)


@_instruction
def vequal(_typing: Any, file: Any, out: Any, x: Any, y: Any) -> Any:
    """Set mask `out` where x = y."""
    del out, x, y

    def body(b: ir.IRBuilder, f: Vector, r: list[Vector]) -> None:
        limbs = _canonical(b, _difference(b, _load(b, f, r[1]), _load(b, f, r[2])))
        joined = limbs[0]
        for limb in limbs[1:]:
            joined = b.or_(joined, limb)
        # Limbs have 51 bits, so less one only zero has the top bit.
        b.store(b.ashr(b.sub(joined, _splat(1)), _splat(63)), _row(b, f, r[0], 0), align=8)

    return _on_file(file, 3, body)


@_instruction
def vor(_typing: Any, file: Any, out: Any, x: Any, y: Any) -> Any:
    """Set mask `out` where mask x or mask y is set."""
    del out, x, y

    def body(b: ir.IRBuilder, f: Vector, r: list[Vector]) -> None:
        b.store(b.or_(_load_mask(b, f, r[1]), _load_mask(b, f, r[2])), _row(b, f, r[0], 0), align=8)

    return _on_file(file, 3, body)


@_instruction
def vchoose(_typing: Any, file: Any, out: Any, mask: Any, x: Any, y: Any) -> Any:
    """Set row `out` to x where the mask is set, else to y."""
    del out, mask, x, y

    def body(b: ir.IRBuilder, f: Vector, r: list[Vector]) -> None:
        chosen = _choice(b, _load_mask(b, f, r[1]), _load(b, f, r[2]), _load(b, f, r[3]))
        _store(b, f, r[0], chosen)

    return _on_file(file, 4, body)


@_instruction
def vscan(_typing: Any, file: Any, out: Any, number: Any, first: Any) -> Any:
    """Set row `out` to row first + 4·number, reading all nine; the number, 0 to 8, stands in limb 0 of a row."""
    del out, number, first

    def body(b: ir.IRBuilder, f: Vector, r: list[Vector]) -> None:
        # Read as a vector, so that the compiler does not know that a number is the same in all lanes, and with
        # arithmetic masks, so that it makes no comparison that could become a branch.
        wanted = _load_mask(b, f, r[1])
        total: Element = [_splat(0)] * LIMBS
        for i in range(9):
            mask = b.ashr(b.sub(b.xor(wanted, _splat(i)), _splat(1)), _splat(63))
            row = _load(b, f, b.add(r[2], ir.Constant(_WORD, 4 * i)))
            total = [b.or_(total[k], b.and_(mask, row[k])) for k in range(LIMBS)]
        _store(b, f, r[0], total)

    return _on_file(file, 3, body)
