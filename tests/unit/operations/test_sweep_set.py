"""The sweep set of a node holds each strong, kept value of the operation once, with its gravest class."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from concordat.errors import UnavailableError
from concordat.protocol.report import class_byte
from concordat.tokens import MaskKey
from services.node.store.store import Store
from services.node.store.sweep_set import SweepSet, read_sweep_set
from services.node.store.values import WEAK
from services.node.sweep import SweepRows
from tests.unit.operations.charters import KEY
from tests.unit.operations.held import EPOCH, Held, refuse, submit, tokenise

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

RULES = {"e164": 1, "platform": 1, "url": 1}


@pytest.fixture
def node(tmp_path: Path) -> Iterator[Store]:
    with Store.open(tmp_path / "store.sqlite") as opened:
        yield opened


def read(store: Store, operation: str = "op") -> SweepSet:
    with store.read() as db:
        return read_sweep_set(db, operation, epoch=EPOCH, rules_versions=RULES)


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


def test_an_operation_without_records_has_an_empty_set(node: Store) -> None:
    assert read(node, "nothing") == SweepSet(b"", b"", b"", b"")


def test_rows_ascend_by_sweep_token_and_stay_together(node: Store) -> None:
    submit(node, "op", [Held("e164", f"+4477009{number:05}", number % 3) for number in range(50)])
    tokenise(node)
    held = read(node)
    rows = SweepRows.of(held, MaskKey(KEY))
    tokens = MaskKey(KEY).apply(held.labels)
    unsorted = {
        tokens[16 * at : 16 * at + 16]: (
            held.secrets[32 * at : 32 * at + 32],
            held.references[16 * at : 16 * at + 16],
            held.classes[at],
        )
        for at in range(50)
    }
    found = [rows.tokens[16 * at : 16 * at + 16] for at in range(50)]
    assert sorted(unsorted) == found
    for at, token in enumerate(found):
        entry = (rows.secrets[32 * at : 32 * at + 32], rows.references[16 * at : 16 * at + 16], rows.classes[at])
        assert unsorted[token] == entry


def test_representations_show_no_secret() -> None:
    held = SweepSet(b"l" * 16, b"s" * 32, b"r" * 16, b"\x01")
    assert "ssss" not in repr(held)
    assert "ssss" not in repr(SweepRows.of(held, MaskKey(KEY)))
