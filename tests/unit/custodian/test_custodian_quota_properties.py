"""I7, in any order of requests, repeats, restarts and threads: what is evaluated is charged and within the limit."""

from __future__ import annotations

import hashlib
import tempfile
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from concordat.errors import RefusedError
from services.custodian.quotas import QuotaStore, Request

NOW = 1_795_521_600.0
LIMIT = 50
_Step = tuple[str, str, int, int]
STEPS = st.lists(
    st.one_of(
        st.tuples(
            st.just("ask"),
            st.sampled_from(["strong", "weak", "strong/exercise"]),
            st.integers(1, 30),
            st.integers(0, 5),
        ),
        st.just(("restart", "", 0, 0)),
    ),
    max_size=25,
)


def request(budget: str, count: int, number: int) -> Request:
    key_class, _, exercise = budget.partition("/")
    return Request(
        requester="spiffe://test.example/node/NL",
        request_id=number.to_bytes(16, "big"),
        body_hash=hashlib.sha256(f"{budget} {count} {number}".encode()).digest(),
        key_class=key_class,
        count=count,
        justification_hash=bytes(32),
        expires_at_ms=int((NOW + 300) * 1000),
        exercise=exercise,
    )


@settings(max_examples=40, deadline=None)
@given(STEPS)
def test_whatever_is_asked_in_whatever_order(steps: list[_Step]) -> None:
    used: Counter[str] = Counter()
    known: dict[int, bytes] = {}
    with tempfile.TemporaryDirectory() as name:
        store = QuotaStore.open(Path(name), now=NOW)
        for what, budget, count, number in steps:
            if what == "restart":
                store.close()
                store = QuotaStore.open(Path(name), now=NOW)
                assert not store.restored
                continue
            asked = request(budget, count, number)
            if known.get(number, asked.body_hash) != asked.body_hash:
                expected = "request_reused"
            elif number in known:
                expected = "repeat"
            else:
                expected = "new" if used[budget] + count <= LIMIT else "quota_exhausted"
            try:
                found = "repeat" if store.charge(asked, limit=LIMIT, now=NOW).repeat else "new"
            except RefusedError as error:
                found = error.code
            assert found == expected
            if found == "new":
                known[number] = asked.body_hash
                used[budget] += count
            assert store.used(asked.requester, budget, now=NOW) == used[budget] <= LIMIT
        store.close()


def test_threads_that_charge_at_once_never_pass_the_limit(tmp_path: Path) -> None:
    store = QuotaStore.open(tmp_path, now=NOW)

    def charge(number: int) -> int:
        try:
            store.charge(request("strong", 1, number), limit=LIMIT, now=NOW)
        except RefusedError:
            return 0
        return 1

    with ThreadPoolExecutor(8) as threads:
        assert sum(threads.map(charge, range(2 * LIMIT))) == LIMIT
    assert store.used("spiffe://test.example/node/NL", "strong", now=NOW) == LIMIT
    store.close()
