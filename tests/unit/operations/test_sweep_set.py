"""The sweep set of a node holds each visible value of the operation once, with its gravest class (LB-24)."""

from __future__ import annotations

import dataclasses
from datetime import date
from typing import TYPE_CHECKING, Any

import pytest

from concordat.errors import UnavailableError
from concordat.protocol.macs import confirm_macs
from concordat.protocol.report import class_byte
from concordat.tokens import MaskKey
from concordat.vocabulary import Visibility
from services.node.policy import SILENT, Policy
from services.node.store.store import Store
from services.node.store.sweep_set import SetQuery, SweepSet, read_sweep_set, require_tokens, still_in_set
from services.node.store.values import WEAK
from services.node.sweep_rows import SweepColumns
from tests.unit.operations.charters import KEY
from tests.unit.operations.held import EPOCH, Held, refuse, submit, tokenise

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

RULES = {"e164": 1, "platform": 1, "url": 1}
TODAY = date(2027, 1, 15)


@pytest.fixture
def node(tmp_path: Path) -> Iterator[Store]:
    with Store.open(tmp_path / "store.sqlite") as opened:
        yield opened


def query(operation: str = "op", **changes: Any) -> SetQuery:
    plain = SetQuery(
        operation=operation, tells_all=lambda _policy: True, today=TODAY, epoch=EPOCH, rules_versions=RULES
    )
    return dataclasses.replace(plain, **changes)


def read(store: Store, operation: str = "op", **changes: Any) -> SweepSet:
    with store.read() as db:
        return read_sweep_set(db, query(operation, **changes))


def test_a_value_of_several_records_counts_once_with_the_gravest_class(node: Store) -> None:
    submit(node, "op", [Held("platform", "a.example", 1, 0), Held("platform", "a.example", 0, 2)])
    submit(node, "op", [Held("platform", "a.example", 0, 0)])
    tokenise(node)
    assert read(node).classes == bytes([class_byte("platform", 1, 2)])


def test_records_of_other_operations_do_not_count_nor_weigh(node: Store) -> None:
    submit(node, "op", [Held("platform", "a.example", 0, 0)])
    submit(node, "other", [Held("platform", "a.example", 2, 0), Held("e164", "+447700900001")])
    submit(node, "", [Held("e164", "+447700900002")])
    tokenise(node)
    assert read(node).classes == bytes([class_byte("platform", 0, 0)])


def test_weak_refused_look_once_and_unnamed_namespaces_stay_out(node: Store) -> None:
    submit(node, "op", [Held("platform", "a.example", grade=WEAK), Held("iban", "XX00")])
    submit(node, "op", [Held("e164", "+447700900003")], look_once=True)
    submit(node, "op", [Held("e164", "+447700900004", rules_version=2)])
    refuse(node, "op")
    tokenise(node)
    assert read(node).classes == bytes([class_byte("url", 0, 0)])


def test_a_value_looked_up_once_in_this_operation_and_kept_in_another_stays_out(node: Store) -> None:
    submit(node, "op", [Held("e164", "+447700900003")], look_once=True)
    submit(node, "other", [Held("e164", "+447700900003")])
    tokenise(node)
    assert read(node).classes == b""
    assert read(node, "other").classes == bytes([class_byte("e164", 0, 0)])


def test_a_set_whose_values_wait_for_tokens_is_not_given(node: Store) -> None:
    submit(node, "op", [Held("e164", "+447700900001"), Held("e164", "+447700900002")])
    with pytest.raises(UnavailableError, match="2 values"):
        read(node)


def cannot_be_read(store: Store) -> None:
    with pytest.raises(UnavailableError):
        read(store)


def waits(store: Store, operation: str = "op", **changes: Any) -> bool:
    with store.read() as db:
        try:
            require_tokens(db, query(operation, **changes))
        except UnavailableError:
            return True
    return False


def test_that_a_token_is_missing_is_known_before_anything_is_read(node: Store) -> None:
    submit(node, "op", [Held("e164", "+447700900001")])
    assert waits(node)
    tokenise(node)
    assert not waits(node)
    # None of these is in the set, with a token or without.
    submit(node, "other", [Held("e164", "+447700900002")])
    submit(node, "op", [Held("e164", "+447700900003")], look_once=True)
    submit(node, "op", [Held("e164", "+447700900004", rules_version=2), Held("iban", "XX00")])
    submit(node, "op", [Held("e164", "+447700900005")], domain="op")
    assert waits(node, "other")
    assert not waits(node)
    assert read(node).classes == bytes([class_byte("e164", 0, 0)])
    submit(node, "op", [Held("url", "https://c.example")])
    assert waits(node)
    assert not waits(node, tells_all=lambda _policy: False)
    assert not waits(node, epoch=EPOCH + 1)


def test_to_find_that_out_the_set_is_not_read(node: Store) -> None:
    submit(node, "op", [Held("e164", f"+4477009{number:05}") for number in range(2_000)])
    tokenise(node)
    submit(node, "op", [Held("e164", "+447700800000")])
    assert 20 * steps_of(node, waits) < steps_of(node, cannot_be_read)


def steps_of(store: Store, work: Callable[[Store], object]) -> int:
    """Return how many hundred steps SQLite's machine takes."""
    steps = 0

    def step() -> None:
        nonlocal steps
        steps += 1

    with store.read() as db:
        db.set_progress_handler(step, 100)
    try:
        work(store)
    finally:
        with store.read() as db:
            db.set_progress_handler(None, 0)
    return steps


def test_an_operation_without_records_has_an_empty_set(node: Store) -> None:
    assert read(node, "nothing") == SweepSet(b"", b"", b"", b"")


def test_rows_ascend_by_sweep_token_and_stay_together(node: Store) -> None:
    submit(node, "op", [Held("e164", f"+4477009{number:05}", number % 3) for number in range(50)])
    tokenise(node)
    held = read(node)
    rows = SweepColumns.of(held, MaskKey(KEY), bytes(16))
    tokens = MaskKey(KEY).apply(held.labels)
    unsorted = {
        tokens[16 * at : 16 * at + 16]: (
            held.secrets[32 * at : 32 * at + 32],
            held.references[16 * at : 16 * at + 16],
            held.classes[at],
        )
        for at in range(50)
    }
    found = [rows.answer[at : at + 1].tobytes()[:16] for at in range(50)]
    assert sorted(unsorted) == found
    for at, (token, answer) in enumerate(zip(found, rows.answer, strict=True)):
        assert rows.high[at] == answer["high"]
        assert unsorted[token] == (rows.secret[at].tobytes(), answer["reference"].tobytes(), answer["class"])
        assert answer["confirm"].tobytes() == confirm_macs(rows.secret[at].tobytes(), bytes(16))


def test_representations_show_no_secret() -> None:
    held = SweepSet(b"l" * 16, b"s" * 32, b"r" * 16, b"\x01")
    assert "ssss" not in repr(held)
    assert "ssss" not in repr(SweepColumns.of(held, MaskKey(KEY), bytes(16)))


def set_policy(store: Store, canonical: str, policy: Policy, *, assessed: int | None = None) -> None:
    """Give the records of a value a policy, or those of them that have an assessment."""
    with store.write() as db:
        db.execute("INSERT OR IGNORE INTO policy (content) VALUES (?)", (policy.content(),))
        db.execute(
            "UPDATE record SET policy_id = (SELECT id FROM policy WHERE content = :content) WHERE id IN"
            " (SELECT record_id FROM record_value JOIN value ON value.id = value_id WHERE canonical = :canonical)"
            " AND (:assessed IS NULL OR trafficking = :assessed)",
            {"content": policy.content(), "canonical": canonical, "assessed": assessed},
        )


def not_silent(policy: Policy) -> bool:
    return policy.visibility is Visibility.VISIBLE


@pytest.mark.parametrize("visibility", [Visibility.SILENT, Visibility.LOCAL_ONLY])
def test_what_all_may_not_be_told_of_changes_nothing_in_the_set(node: Store, visibility: Visibility) -> None:
    """I11: with a hidden record or without it, the set, its size and its classes are the same."""
    submit(node, "op", [Held("e164", "+447700900001"), Held("platform", "a.example", 0)])
    tokenise(node)
    without = read(node, tells_all=not_silent)
    submit(node, "op", [Held("e164", "+447700900009"), Held("platform", "a.example", 2, 2)])
    set_policy(node, "+447700900009", Policy(visibility=visibility))
    set_policy(node, "a.example", Policy(visibility=visibility), assessed=2)
    tokenise(node)
    assert read(node, tells_all=not_silent) == without
    assert len(read(node).classes) == 3, "the hidden value was there to be left out"


def test_a_hidden_value_without_a_token_keeps_no_sweep_waiting(node: Store) -> None:
    """I11: whether a silent value has its token yet does not show in when a node joins."""
    submit(node, "op", [Held("e164", "+447700900001")])
    tokenise(node)
    submit(node, "op", [Held("e164", "+447700900009")])
    set_policy(node, "+447700900009", SILENT)
    assert len(read(node, tells_all=not_silent).classes) == 1


@pytest.mark.parametrize("status", ["withdrawn", "refused"])
def test_withdrawn_records_do_not_stream(node: Store, status: str) -> None:
    submit(node, "op", [Held("e164", "+447700900001")])
    tokenise(node)
    with node.write() as db:
        db.execute("UPDATE record SET status = ?", (status,))
    assert read(node).classes == b""


def test_records_past_their_last_day_do_not_stream(node: Store) -> None:
    submit(node, "op", [Held("e164", "+447700900001")])
    tokenise(node)
    with node.write() as db:
        db.execute("UPDATE record SET keep_until = '2027-01-14'")
    assert read(node).classes == b""
    assert len(read(node, today=date(2027, 1, 14)).classes) == 1


def test_a_set_of_an_exercise_has_no_real_record_and_a_real_one_none_of_an_exercise(node: Store) -> None:
    submit(node, "op", [Held("e164", "+447700900001")])
    tokenise(node)
    assert read(node, domain="op").classes == b""
    with node.write() as db:
        db.execute("UPDATE file SET domain = 'op'")
    assert read(node, domain="op").classes == b""
    with node.write() as db:
        db.execute("UPDATE value SET domain = 'op'")
    assert len(read(node, domain="op").classes) == 1
    assert read(node).classes == b""


def test_a_policy_that_is_narrowed_takes_its_value_out_at_once(node: Store) -> None:
    submit(node, "op", [Held("e164", "+447700900001"), Held("e164", "+447700900002")])
    tokenise(node)
    held = read(node, tells_all=not_silent)
    references = [held.references[:16], held.references[16:]]

    def still(reference: bytes) -> bool:
        with node.read() as db:
            return still_in_set(db, query(tells_all=not_silent), [reference])

    assert [still(one) for one in references] == [True, True]
    set_policy(node, "+447700900001", SILENT)
    assert sorted(still(one) for one in references) == [False, True]
