"""Compiled code gives libsodium's bytes for all public values, and is told apart from code that does not."""

from __future__ import annotations

import random
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest

pytest.importorskip("numba", reason="the extra 'fast' is not installed")

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from concordat.errors import BadProofError, ConfigError, ProtocolError
from concordat.oprf import client, group, server, threshold
from concordat.oprf.engine import REFERENCE, Column, Engine, Reference
from concordat.oprf.fast import batch, field, msm
from concordat.oprf.fast.compiler import kernel
from concordat.oprf.fast.selftest import difference, edge_scalars, edge_strings

if TYPE_CHECKING:
    from collections.abc import Sequence

P = field.P
RANDOM = random.Random(7)
ELEMENTS = group.from_hash(RANDOM.randbytes(group.UNIFORM_BYTES * 40))
FAST = batch.Fast()


def packed(numbers: Sequence[int]) -> bytes:
    return b"".join(map(group.scalar_from_int, numbers))


def accepted(engine: Engine, element: bytes) -> bool:
    try:
        engine.decode(element, "e")
    except ProtocolError:
        return False
    return True


# --- decoding ------------------------------------------------------------------------------------------------------


def many_strings() -> list[bytes]:
    """Return strings at all edges, random ones, and valid ones with each bit flipped."""
    strings = edge_strings(ELEMENTS)
    strings += [n.to_bytes(32, "little") for k in range(400) for n in (k, 2**255 + k)]
    strings += [(P - 400 + k).to_bytes(32, "little") for k in range(419)]
    strings += [(2**256 - 1 - k).to_bytes(32, "little") for k in range(40)]
    strings += [RANDOM.randbytes(32) for _ in range(4000)]
    for element in group.split(ELEMENTS)[:12]:
        number = int.from_bytes(element, "little")
        strings += [(number ^ 1 << bit).to_bytes(32, "little") for bit in range(256)]
    return strings


def test_decoding_refuses_what_the_strict_reference_refuses_and_nothing_else() -> None:
    strings = many_strings()
    verdicts = [accepted(FAST, one) for one in strings]
    assert verdicts == [accepted(REFERENCE, one) for one in strings]
    assert 500 < sum(verdicts) < len(strings) - 500


def test_no_string_with_bit_255_and_no_identity_decodes() -> None:
    """Libsodium 1.0.18 alone takes both."""
    for element in group.split(ELEMENTS):
        assert not accepted(FAST, element[:31] + bytes([element[31] | 128]))
    assert not accepted(FAST, bytes(32))
    assert not accepted(FAST, bytes(31) + b"\x80")


@pytest.mark.parametrize("row", [0, 17, 39])
@pytest.mark.parametrize("wrong", [bytes(32), b"\xff" * 32, (3).to_bytes(32, "little"), P.to_bytes(32, "little")])
def test_a_refusal_is_in_the_words_of_the_reference(row: int, wrong: bytes) -> None:
    column = ELEMENTS[: 32 * row] + wrong + ELEMENTS[32 * row + 32 :]
    said = []
    for engine in (FAST, REFERENCE):
        with pytest.raises(ProtocolError) as caught:
            engine.decode(column, "blinded elements")
        said.append(caught.value.message)
    assert said[0] == said[1]
    assert f"element {row} " in said[0]


@pytest.mark.parametrize("size", [1, 31, 33, 63])
def test_a_column_cut_in_an_element_does_not_reach_a_kernel(size: int) -> None:
    with pytest.raises(ProtocolError, match="whole number"):
        FAST.decode(ELEMENTS[:size], "column")


def test_kept_points_are_canonical_and_on_the_curve() -> None:
    """This is what an evaluator is promised."""
    for row in batch.decoded(ELEMENTS):
        plus, minus, product = (sum(int(limb) << 51 * i for i, limb in enumerate(row[k : k + 5])) for k in (0, 5, 10))
        assert max(map(int, row)) < 2**51
        assert max(plus, minus, product) < P
        half = pow(2, -1, P)
        x, y = (plus - minus) * half % P, (plus + minus) * half % P
        assert (y * y - x * x - 1 - field.D * x * x * y * y) % P == 0
        assert product == 2 * field.D * x * y % P


# --- the field -----------------------------------------------------------------------------------------------------

elements = st.tuples(*[st.integers(0, 2**54 - 1) | st.sampled_from([0, 1, 2**51 - 1, 2**51 - 19, 2**54 - 1])] * 5)


@kernel()
def _field(x: field.Element, y: field.Element) -> tuple[field.Element, ...]:
    return field.mul(x, y), field.sq(x), field.canonical(x)


@settings(max_examples=300, deadline=None)
@given(elements, elements)
def test_products_squares_and_representatives_are_those_of_the_integers(x: tuple[int, ...], y: tuple[int, ...]) -> None:
    a, b = (sum(limb << 51 * i for i, limb in enumerate(limbs)) for limbs in (x, y))
    words = [tuple(map(np.uint64, limbs)) for limbs in (x, y)]
    product, square, least = _field(*words)  # type: ignore[arg-type]  # five words each
    for found, expected in ((product, a * b), (square, a * a), (least, a)):
        assert sum(int(limb) << 51 * i for i, limb in enumerate(found)) % P == expected % P
    assert max(map(int, (*product, *square))) < 2**51 + 2**13
    assert sum(int(limb) << 51 * i for i, limb in enumerate(least)) == a % P


# --- sums ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("rows", [1, 2, 3, 16, 40, 300])
def test_a_sum_is_libsodiums_for_any_number_of_rows(rows: int) -> None:
    column = Column((ELEMENTS * 8)[: 32 * rows])
    numbers = [RANDOM.randrange(1, group.ORDER) for _ in range(rows)]
    scalars = packed(numbers)
    assert FAST.weighted_sums(scalars, column, column) == REFERENCE.weighted_sums(scalars, column) * 2


def test_edge_scalars_alone_and_together() -> None:
    numbers = edge_scalars()
    numbers += [2**k for k in range(253)] + [2**k - 1 for k in range(1, 253)]
    for start in range(0, len(numbers), 40):
        scalars = packed((numbers[start:] + numbers)[:40])
        column = FAST.decode(ELEMENTS, "e")
        assert FAST.weighted_sums(scalars, column) == REFERENCE.weighted_sums(scalars, column)
    for number in edge_scalars():
        one = Column(ELEMENTS[:32])
        assert FAST.weighted_sums(packed([number]), one) == REFERENCE.weighted_sums(packed([number]), one)


@pytest.mark.parametrize("bits", range(2, 15))
def test_every_width_of_digits_gives_the_same_sum(bits: int) -> None:
    scalars = packed((edge_scalars() * 2)[:40])
    windows = -(-254 // bits)
    digits = np.empty((windows, 40), np.int16)
    msm.recode(np.frombuffer(scalars, "<u8").astype(np.uint64).reshape(-1, 4), bits, digits)
    assert abs(digits.astype(int)).max() <= 2 ** (bits - 1)
    for column, number in enumerate((edge_scalars() * 2)[:40]):
        assert sum(int(digit) << bits * k for k, digit in enumerate(digits[:, column])) == number
    out = np.empty((1, 4), np.uint64)
    msm.weighted_sum(digits, bits, batch.decoded(ELEMENTS), np.empty((2 ** (bits - 1) + 1, 20), np.uint64), out)
    assert (out.astype("<u8").tobytes(),) == REFERENCE.weighted_sums(scalars, Column(ELEMENTS))


def test_equal_opposite_and_cancelling_terms_sum_up() -> None:
    element = ELEMENTS[:32]
    negative = group.small_combination([-1], [element])
    same, both = Column(element * 40), Column((element + negative) * 20)
    for numbers in ([7] * 40, [7, 9] * 20, [1, group.ORDER - 1] * 20):
        scalars = packed(numbers)
        for column in (same, both):
            assert FAST.weighted_sums(scalars, column) == REFERENCE.weighted_sums(scalars, column)
    assert FAST.weighted_sums(packed([7] * 40), both) == (group.IDENTITY,)


def test_what_does_not_fit_does_not_reach_a_kernel() -> None:
    column, scalars = FAST.decode(ELEMENTS, "e"), packed([3] * 40)
    with pytest.raises(ValueError, match="no batch"):
        FAST.weighted_sums(b"", Column(b""))
    with pytest.raises(ValueError, match="no batch"):
        FAST.weighted_sums(scalars[:-1], column)
    with pytest.raises(ValueError, match="no batch"):
        FAST.weighted_sums(packed([3]) * 65536, Column(ELEMENTS[:32] * 65536))
    with pytest.raises(ValueError, match="each element"):
        FAST.weighted_sums(scalars[:-32], column)
    with pytest.raises(ValueError, match="not below"):
        FAST.weighted_sums(scalars[:-1] + b"\x20", column)
    for engine in (FAST, REFERENCE):
        with pytest.raises(ProtocolError):
            engine.weighted_sums(scalars[:-32] + bytes(32), column)
    for foreign in (np.zeros((39, 15), np.uint64), np.zeros((40, 15), np.int64), np.zeros((15, 40), np.uint64).T, "x"):
        with pytest.raises(ValueError, match="not of this engine"):
            FAST.weighted_sums(scalars, Column(ELEMENTS, foreign))
    for coefficients, columns in (([], []), ([1], [column, column]), ([1, 1], [column, Column(ELEMENTS[:32])])):
        with pytest.raises(ValueError, match="equally long"):
            FAST.small_combination(coefficients, columns)
    with pytest.raises(ValueError, match="not small"):
        FAST.small_combination([2**62], [column])


# --- combinations --------------------------------------------------------------------------------------------------

small = st.integers(-(2**40), 2**40) | st.integers(-9, 9)


@settings(max_examples=100, deadline=None)
@given(
    st.lists(st.tuples(small, st.integers(0, 3)), min_size=1, max_size=5).filter(lambda rows: any(c for c, _ in rows))
)
def test_small_combinations_are_libsodiums_through_the_identity_too(rows: list[tuple[int, int]]) -> None:
    columns = [Column(ELEMENTS[64 * k : 64 * k + 96]) for _, k in rows]
    coefficients = [c for c, _ in rows]
    assert FAST.small_combination(coefficients, columns) == REFERENCE.small_combination(coefficients, columns)


def test_nothing_times_elements_is_the_identity() -> None:
    assert FAST.small_combination([0, 0], [Column(ELEMENTS), Column(ELEMENTS)]) == bytes(len(ELEMENTS))


# --- whole batches -------------------------------------------------------------------------------------------------


def test_one_wrong_element_in_300_is_found_and_proofs_hold_across_engines(fast: Engine) -> None:
    inputs = [b"%d" % i for i in range(300)]
    key, shares = threshold.unsafe_deal(2, 3)
    blinded = client.blind(inputs)
    mine, theirs = (server.evaluate(shares[0], blinded.elements, engine=e) for e in (fast, REFERENCE))
    assert mine.elements == theirs.elements
    assert client.verify(blinded, mine, shares[0].public, engine=REFERENCE).elements == mine.elements
    assert client.verify(blinded, theirs, shares[0].public, engine=fast).elements == mine.elements
    for row in (0, 150, 299):
        wrong = group.add(mine.elements[32 * row : 32 * row + 32], ELEMENTS[:32])
        column = mine.elements[: 32 * row] + wrong + mine.elements[32 * row + 32 :]
        with pytest.raises(BadProofError, match="custodian 1: the proof does not hold"):
            client.verify(blinded, server.Evaluation(1, column, mine.proof), shares[0].public, engine=fast)
    other = server.evaluate(shares[2], blinded.elements, engine=fast)
    outputs = {client.finalize(inputs, blinded, [mine, other], key, engine=e) for e in (fast, REFERENCE)}
    assert len(outputs) == 1


def test_a_secret_scalar_without_an_evaluator_goes_to_libsodium() -> None:
    column = FAST.decode(ELEMENTS, "e")
    assert FAST.mult(packed([5]), column) == group.mult(packed([5]), ELEMENTS)
    with pytest.raises(ProtocolError, match="identity"):
        FAST.mult(bytes(32), column)
    FAST.wait()
    assert "libsodium for keys" in FAST.name
    assert FAST.mult(packed([5]), column) == group.mult(packed([5]), ELEMENTS)


def test_threads_share_no_memory() -> None:
    columns = [FAST.decode(ELEMENTS[32 * k :] + ELEMENTS[: 32 * k], "e") for k in range(8)]
    scalars = packed([RANDOM.randrange(1, group.ORDER) for _ in range(40)])
    expected = [FAST.weighted_sums(scalars, column) for column in columns]
    with ThreadPoolExecutor(8) as pool:
        for _ in range(5):
            assert list(pool.map(lambda column: FAST.weighted_sums(scalars, column), columns)) == expected


# --- the comparison before use -------------------------------------------------------------------------------------


class Lax(Reference):
    def decode(self, packed: bytes, what: str) -> Column:
        """Take bit 255 for nothing, as libsodium 1.0.18 does."""
        return super().decode(bytes([*packed[:31], packed[31] & 127]) + packed[32:], what)


class Narrow(Reference):
    def weighted_sums(self, scalars: bytes, *columns: Column) -> tuple[bytes, ...]:
        """Lose a carry at one place."""
        cut = b"".join(s[:16] + bytes([s[16] & 0xFE]) + s[17:] for s in group.split(scalars))
        return super().weighted_sums(cut, *columns)


class Unsigned(Reference):
    def small_combination(self, coefficients: Sequence[int], columns: Sequence[Column]) -> bytes:
        return super().small_combination([abs(c) for c in coefficients], columns)


class Swapped(Reference):
    def mult(self, scalar: bytes, column: Column) -> bytes:
        return super().mult(scalar, column)[::-1]


def test_the_comparison_passes_what_is_right(engine: Engine) -> None:
    assert difference(engine) is None
    assert batch.checked(engine) is engine


@pytest.mark.parametrize(
    ("wrong", "what"), [(Lax(), "decoding"), (Narrow(), "sums"), (Unsigned(), "combinations"), (Swapped(), "products")]
)
def test_the_comparison_finds_what_is_wrong(wrong: Engine, what: str) -> None:
    assert difference(wrong) == what
    with pytest.raises(ConfigError, match=f"differs from libsodium in {what}"):
        batch.checked(wrong)


def test_a_kernel_without_a_place_for_its_code_is_compiled_all_the_same() -> None:
    names: dict[str, object] = {}
    exec("def no_file(x):\n    return x + 1\n", names)
    made = kernel("int64(int64)")(names["no_file"])  # type: ignore[type-var]  # it is a function
    assert made(1) == 2  # type: ignore[operator]
