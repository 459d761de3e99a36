"""Eight lanes give the bytes of libsodium, leave nothing behind, and stand aside where they do not."""

from __future__ import annotations

import json
import logging
import random
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

pytest.importorskip("numba", reason="the extra 'fast' is not installed")

import numpy as np

from concordat.errors import ProtocolError
from concordat.oprf import client, group, server, threshold
from concordat.oprf.engine import REFERENCE
from concordat.oprf.fast import batch, lane_field, lane_group, lanes
from concordat.oprf.fast.compiler import kernel
from concordat.oprf.fast.lane_mult import multiply_column

if TYPE_CHECKING:
    from collections.abc import Callable

VECTORS = json.loads((Path(__file__).parents[2] / "vectors" / "oprf" / "rfc9497.json").read_text())["modes"]["VOPRF"]
ROWS = 17
ELEMENTS = group.from_hash(random.Random(1).randbytes(group.UNIFORM_BYTES * ROWS))
LOGGER = "concordat.oprf.fast.lanes"

on_ifma = pytest.mark.skipif(not lanes.supported(), reason="this processor has no AVX-512 IFMA")


def edge_scalars() -> list[bytes]:
    """Return 526 scalars at which digits carry: ends of the range, powers of two and their neighbours, runs."""
    numbers = [1, group.ORDER - 1, *(2**i for i in range(1, 253)), *(2**i - 1 for i in range(2, 253))]
    numbers += [int(digit * 62, 16) for digit in "123456789abcdef"]
    numbers += [int(pair * 31, 16) for pair in ("78", "87", "08", "80", "7f", "f8")]
    assert len(numbers) == 526
    return [group.scalar_from_int(number) for number in numbers]


@pytest.fixture(scope="module")
def fast() -> batch.Fast:
    engine = batch.Fast(lanes.load)
    engine.wait()
    assert "lanes" in engine.name
    return engine


@on_ifma
def test_edge_scalars_give_the_bytes_of_libsodium() -> None:
    mine, points = lanes.Lanes(), batch.decoded(ELEMENTS[: 9 * 32])
    for scalar in edge_scalars():
        assert mine.mult(scalar, points) == group.mult(scalar, ELEMENTS[: 9 * 32])


@on_ifma
@pytest.mark.parametrize("rows", range(1, ROWS + 1))
def test_every_number_of_lanes_left_over_gives_every_row_once(rows: int) -> None:
    scalar = group.random_scalars(1, random.Random(rows).randbytes)
    elements = ELEMENTS[: 32 * rows]
    assert lanes.Lanes().mult(scalar, batch.decoded(elements)) == group.mult(scalar, elements)


@on_ifma
def test_drawn_scalars_and_elements_give_the_bytes_of_libsodium() -> None:
    draw = random.Random(2)
    for _ in range(8):
        scalar = group.random_scalars(1, draw.randbytes)
        elements = group.from_hash(draw.randbytes(group.UNIFORM_BYTES * 40))
        assert lanes.Lanes().mult(scalar, batch.decoded(elements)) == group.mult(scalar, elements)


@on_ifma
def test_bit_255_of_a_scalar_does_not_count_as_with_libsodium() -> None:
    for low in (5, 2**255 - 1):
        scalar = (2**255 | low).to_bytes(32, "little")
        assert lanes.Lanes().mult(scalar, batch.decoded(ELEMENTS)) == group.mult(scalar, ELEMENTS)


@on_ifma
@pytest.mark.parametrize("multiple", [0, 1])
def test_a_scalar_of_zero_is_refused(multiple: int) -> None:
    zero = (multiple * group.ORDER).to_bytes(32, "little")
    with pytest.raises(ProtocolError, match="element 0 has no product"):
        group.mult(zero, ELEMENTS)
    with pytest.raises(ProtocolError, match="element 0 has no product"):
        lanes.Lanes().mult(zero, batch.decoded(ELEMENTS))


@on_ifma
def test_nothing_of_key_elements_and_products_stays_in_the_register_file() -> None:
    seen: list[np.ndarray[Any, Any]] = []

    def watched(file: Any, *others: Any) -> None:
        seen.append(file)
        multiply_column(file, *others)

    lanes.Lanes(watched).mult(group.ORDER.to_bytes(32, "little")[:31] + b"\x01", batch.decoded(ELEMENTS))
    (file,) = seen
    assert np.array_equal(file, lane_group.new_file())
    assert not file[lane_group.S :].any()


@on_ifma
def test_two_keys_at_once_do_not_meet() -> None:
    keys = group.split(group.random_scalars(8, random.Random(3).randbytes))
    points, mine = batch.decoded(ELEMENTS * 8), lanes.Lanes()
    with ThreadPoolExecutor(2) as pool:
        found = list(pool.map(lambda key: mine.mult(key, points), keys))
    assert found == [group.mult(key, ELEMENTS) * 8 for key in keys]


def test_other_shapes_than_a_scalar_and_points_do_not_reach_the_kernel() -> None:
    def never(*_: Any) -> None:
        pytest.fail("the kernel was called")

    points = np.zeros((4, 15), np.uint64)
    wrong = [points[:, :14], points.astype(np.int64), points[::2], points[0], np.asfortranarray(points)]
    for scalar, column in [(bytes(31), points), (bytes(33), points), *((bytes(32), w) for w in wrong)]:
        with pytest.raises(ValueError, match="scalar"):
            lanes.Lanes(never).mult(scalar, column)
    assert lanes.Lanes(never).mult(bytes(32), points[:0]) == b""


# --- as the custodian's engine -------------------------------------------------------------------------------------


@on_ifma
@pytest.mark.parametrize("case", VECTORS["cases"], ids=lambda case: f"batch of {len(case['inputs'])}")
def test_the_vectors_of_the_rfc_come_out_to_the_last_byte_of_the_proof(fast: batch.Fast, case: dict[str, Any]) -> None:
    _, (share,) = threshold.unsafe_deal(1, 1, secret=bytes.fromhex(VECTORS["secret_key"]))
    blinded, evaluated = (b"".join(map(bytes.fromhex, case[k])) for k in ("blinded_elements", "evaluation_elements"))
    nonce = bytes.fromhex(case["proof_nonce"])
    found = server.evaluate(share, blinded, random=lambda _: nonce + bytes(32), engine=fast)
    assert (found.elements, found.proof) == (evaluated, bytes.fromhex(case["proof"]))


@on_ifma
def test_an_evaluation_is_that_of_libsodium_to_the_last_byte_and_verifies(fast: batch.Fast) -> None:
    key, shares = threshold.unsafe_deal(2, 3)
    blinded = client.blind([f"input {i}".encode() for i in range(50)])
    for share in shares:
        found, expected = (
            server.evaluate(share, blinded.elements, random=random.Random(5).randbytes, engine=engine)
            for engine in (fast, REFERENCE)
        )
        assert found == expected
        client.verify(blinded.elements, found, key.public_shares[share.index])


@on_ifma
@pytest.mark.parametrize("row", [0, 7, 8, 16])
def test_what_is_no_element_is_refused_in_the_words_of_libsodium(fast: batch.Fast, row: int) -> None:
    _, (share,) = threshold.unsafe_deal(1, 1)
    prime = 2**255 - 19
    good = ELEMENTS[32 * row : 32 * row + 32]
    wrong = [bytes(32), good[:31] + bytes([good[31] | 128]), b"\xff" * 32]
    wrong += [n.to_bytes(32, "little") for n in (1, prime, prime + 2, 4 * 10**9 + 6)]
    wrong += [(prime - int.from_bytes(good, "little")).to_bytes(32, "little")]
    for one in wrong:
        column = ELEMENTS[: 32 * row] + one + ELEMENTS[32 * row + 32 :]
        said = []
        for engine in (fast, REFERENCE):
            with pytest.raises(ProtocolError, match=f"element {row}") as caught:
                server.evaluate(share, column, engine=engine)
            said.append(caught.value.message)
        assert said[0] == said[1]


# --- standing aside ------------------------------------------------------------------------------------------------


class FromLibsodium:
    """A decoder and a kernel that give what libsodium gives, spoilt as a test wants it."""

    def __init__(self, spoil: Callable[[bytes, Any], None] = lambda _, __: None) -> None:
        self._spoil = spoil
        self._elements = b""

    def decode(self, elements: bytes) -> np.ndarray[Any, Any]:
        self._elements = elements
        return np.zeros((len(elements) // 32, 15), np.uint64)

    def kernel(self, _file: Any, scalar: Any, points: Any, products: Any) -> None:
        right = group.mult(scalar.tobytes(), self._elements[: 32 * len(points)])
        products[:] = np.frombuffer(right, np.uint64).reshape(-1, 4)
        self._spoil(scalar.tobytes(), products)


def one_bit_for_one_scalar(scalar: bytes, products: Any) -> None:
    products[-1, 3] ^= scalar == group.scalar_from_int(group.ORDER - 1)


def nothing_written(_: bytes, products: Any) -> None:
    products[:] = 0


def left_over_lanes_mixed_up(_: bytes, products: Any) -> None:
    if len(products) == 5:
        products[4] = products[3]


def no_code_for_this_processor(*_: Any) -> None:
    raise RuntimeError("no code for this processor")


@pytest.mark.parametrize(
    "spoil", [one_bit_for_one_scalar, nothing_written, left_over_lanes_mixed_up, no_code_for_this_processor]
)
def test_a_kernel_that_differs_from_libsodium_or_fails_is_not_used_and_said_once(
    spoil: Any, caplog: pytest.LogCaptureFixture
) -> None:
    broken = FromLibsodium(spoil)
    with caplog.at_level(logging.INFO, LOGGER):
        assert lanes.load(broken.decode, kernel=broken.kernel, able=lambda: True) is None
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert "libsodium evaluates" in caplog.text


def test_a_kernel_that_agrees_is_used(caplog: pytest.LogCaptureFixture) -> None:
    right = FromLibsodium()
    assert lanes.load(right.decode, kernel=right.kernel, able=lambda: True) is not None
    assert not caplog.records


def test_where_the_processor_lacks_the_instructions_nothing_is_compiled_or_said(
    caplog: pytest.LogCaptureFixture,
) -> None:
    def never(*_: Any) -> Any:
        pytest.fail("the kernel was called")

    assert lanes.load(never, kernel=never, able=lambda: False) is None
    assert not caplog.records


def test_without_lanes_keys_go_to_libsodium() -> None:
    engine = batch.Fast(lambda decode: lanes.load(decode, kernel=no_code_for_this_processor, able=lambda: True))
    engine.wait()
    assert "libsodium" in engine.name
    _, (share,) = threshold.unsafe_deal(1, 1)
    assert server.evaluate(share, ELEMENTS, engine=engine).elements == group.mult(share.secret, ELEMENTS)


# --- the field -----------------------------------------------------------------------------------------------------


@kernel()
def every_operation(file: Any) -> None:
    """Rows 0 and 1 are x and y."""
    lane_field.vmul(file, 2, 0, 1)
    lane_field.vsquare(file, 3, 0)
    lane_field.vadd(file, 4, 0, 1)
    lane_field.vsub(file, 5, 0, 1)
    lane_field.vcanonical(file, 6, 0)
    lane_field.vodd(file, 7, 0)
    lane_field.vequal(file, 8, 0, 1)
    lane_field.vchoose(file, 9, 8, 0, 2)


@on_ifma
def test_the_field_is_that_of_integers_up_to_the_largest_limbs() -> None:
    draw = random.Random(4)
    largest = 2**51 + 2**11 - 1
    edges = [0, 1, 18, 19, 2**50, 2**51 - 20, 2**51 - 19, 2**51 - 18, 2**51 - 1, 2**51, largest]

    def value(limbs: Any) -> int:
        return sum(int(limb) << 51 * i for i, limb in enumerate(limbs))

    file = lane_field.register_file(10)
    for turn in range(200):
        for x, lane in ((x, lane) for x in range(2) for lane in range(8)):
            file[x, :, lane] = [draw.choice([*edges, draw.randrange(largest)]) for _ in range(5)]
        # The prime and twice the prime, in the forms that a difference leaves them in.
        file[0, :, 0] = [2**51 - 19, *[2**51 - 1] * 4]
        file[1, :, 1] = file[0, :, 1] = [largest] * 5
        if turn % 2:
            file[:2, :, 2] = 0
        every_operation(file)
        for lane in range(8):
            rows = [value(file[r, :, lane]) for r in range(10)]
            x, y = rows[:2]
            prime = lane_field.P
            assert [r % prime for r in rows[2:6]] == [x * y % prime, x * x % prime, (x + y) % prime, (x - y) % prime]
            assert rows[6] == x % prime
            assert bool(file[7, 0, lane]) == bool(x % prime % 2)
            assert bool(file[8, 0, lane]) == ((x - y) % prime == 0)
            assert {int(file[m, 0, lane]) for m in (7, 8)} <= {0, 2**64 - 1}
            assert rows[9] % prime == (x if (x - y) % prime == 0 else x * y) % prime
            assert int(file[2:7, :, lane].max()) <= largest
