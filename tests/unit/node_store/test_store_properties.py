"""I9: whatever the order of submits, tokens, publishing and crashes, each kept value is published and asked once."""

from __future__ import annotations

import random
import tempfile
from collections import Counter
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from concordat.clock import ManualClock
from tests.unit.node_store.conftest import NOON, Desk, token

HOLDERS = ["spiffe://test.example/node/DE"]
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("put"), st.sets(st.integers(0, 9), min_size=1, max_size=4)),
        st.sampled_from([(one, frozenset[int]()) for one in ("tokenise", "take", "acknowledge", "form", "crash")]),
    ),
    max_size=30,
)


def value(number: int) -> str:
    return f"{number}@m.example"


@settings(max_examples=40, deadline=None)
@given(STEPS)
def test_whatever_happens_in_whatever_order(steps: list[tuple[str, frozenset[int]]]) -> None:
    kept: set[str] = set()
    taken: dict[int, bytes] = {}
    with tempfile.TemporaryDirectory() as name:
        desk = Desk(Path(name) / "store.sqlite", ManualClock(NOON))

        def take() -> int | None:
            batch = desk.store.take_unpublished(1, 3)
            if batch is None:
                return None
            assert taken.setdefault(batch.sequence, batch.tokens) == batch.tokens
            return batch.sequence

        for what, numbers in [
            *steps,
            ("tokenise", frozenset()),
            *[("acknowledge", frozenset())] * 10,
            ("form", frozenset()),
        ]:
            match what:
                case "put":
                    desk.put(*(value(one) for one in sorted(numbers)))
                    kept |= {value(one) for one in numbers}
                case "tokenise":
                    desk.tokenise()
                case "take":
                    take()
                case "acknowledge" if (sequence := take()) is not None:
                    desk.store.acknowledge_published(sequence)
                case "form":
                    desk.store.form_batches(1, 3, HOLDERS, random.Random(1))
                case "crash":
                    desk.reopen()
        assert desk.store.all_published()
        published = Counter(packed[at : at + 16] for packed in taken.values() for at in range(0, len(packed), 16))
        assert published == Counter(map(token, kept))
        ids = [row.batch_id for row in desk.store.pending_batches()]
        asked = b"".join(desk.store.batch(one).tokens for one in ids)
        assert sorted(asked[at : at + 16] for at in range(0, len(asked), 16)) == sorted(map(token, kept))
        desk.store.close()
