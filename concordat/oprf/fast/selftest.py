"""Compares an engine with libsodium over public values at the edges, before it is used; some milliseconds.

A compiler gives other code on another processor, so this runs in each process and not only where it was tested.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from concordat.errors import ProtocolError
from concordat.oprf import group
from concordat.oprf.engine import REFERENCE, Column

if TYPE_CHECKING:
    from collections.abc import Sequence

    from concordat.oprf.engine import Engine

_P: Final = 2**255 - 19
_ROWS: Final = 24
_COMBINATIONS: Final = ((1,), (4, -2), (3, -1), (2, -1), (240, -360, 144), (1, -1), (-1,), (0, 5))


def difference(engine: Engine) -> str | None:
    """Return what an engine does otherwise than libsodium, or None."""
    elements = group.from_hash(bytes((37 * i + (i >> 6)) % 256 for i in range(group.UNIFORM_BYTES * _ROWS)))
    checks = {"decoding": _decodes, "sums": _sums, "combinations": _combines, "products": _multiplies}
    return next((what for what, check in checks.items() if not check(engine, elements)), None)


def edge_strings(elements: bytes) -> list[bytes]:
    """Return strings on both sides of what decodes: around 0, the prime, 2^255 and 2^256, flipped and negated."""
    numbers = [*range(40), *(_P + k for k in range(-40, 19)), *(2**255 + k for k in range(-19, 20))]
    numbers += [2**256 - k for k in range(1, 20)]
    for k, element in enumerate(group.split(elements)):
        number = int.from_bytes(element, "little")
        numbers += [number, number ^ 1 << (11 * k % 256), number | 1 << 255, _P - number]
    return [(number % 2**256).to_bytes(32, "little") for number in numbers]


def _decodes(engine: Engine, elements: bytes) -> bool:
    return engine.decode(elements, "e").packed == elements and all(
        _accepts(engine, one) == _accepts(REFERENCE, one) for one in edge_strings(elements)
    )


def _accepts(engine: Engine, element: bytes) -> bool:
    try:
        engine.decode(element, "e")
    except ProtocolError:
        return False
    return True


def edge_scalars() -> list[int]:
    """Return scalars that carry everywhere, nowhere and at the ends."""
    halves = [int(digits * 62, 16) for digits in ("8", "7", "f", "80", "01")]
    return [
        1,
        2,
        group.ORDER - 1,
        group.ORDER - 2,
        2**252,
        2**252 - 1,
        *(h % group.ORDER for h in halves),
        *(2**k for k in range(3, 252, 19)),
    ]


def _sums(engine: Engine, elements: bytes) -> bool:
    column = engine.decode(elements, "e")
    one = Column(elements[: group.ELEMENT_BYTES] * _ROWS)
    numbers = edge_scalars()
    for start in range(0, len(numbers), 4):
        scalars = _packed((numbers[start:] + numbers)[:_ROWS])
        if engine.weighted_sums(scalars, column, one) != REFERENCE.weighted_sums(scalars, column, one):
            return False
    # Equal points in one bucket, and a sum that is the identity.
    cancelling = _packed([5, group.ORDER - 5] * (_ROWS // 2))
    return engine.weighted_sums(cancelling, one) == (group.IDENTITY,)


def _combines(engine: Engine, elements: bytes) -> bool:
    size = 6 * group.ELEMENT_BYTES
    columns = [Column(elements[i * size : (i + 1) * size]) for i in range(3)]
    columns[1] = Column(columns[0].packed[: size // 2] + columns[1].packed[size // 2 :])
    return all(
        engine.small_combination(few, columns[: len(few)]) == REFERENCE.small_combination(few, columns[: len(few)])
        for few in _COMBINATIONS
    )


def _multiplies(engine: Engine, elements: bytes) -> bool:
    scalar, column = group.scalar_from_int(group.ORDER // 3), Column(elements)
    return engine.mult(scalar, column) == REFERENCE.mult(scalar, column)


def _packed(numbers: Sequence[int]) -> bytes:
    return b"".join(map(group.scalar_from_int, numbers))
