"""A sweep's rows from files are those that are made in memory; they are used again while nothing changed (3.6 (2))."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from concordat.errors import UnavailableError
from concordat.tokens import MaskKey
from services.node.index import confirming, operation_run
from services.node.index.operation_run import READ, build_operation_run, forget_sets, set_path
from services.node.index.run import Run
from services.node.policy import SILENT
from services.node.store.policies import set_policy
from services.node.store.store import Store
from services.node.store.sweep_set import read_sweep_set
from services.node.sweep_rows import SweepColumns
from tests.unit.operations.charters import KEY
from tests.unit.operations.held import EPOCH, Held, submit, tokenise
from tests.unit.operations.test_sweep_set import TODAY, query

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

SWEEP = b"sweep id of 16 b"


@pytest.fixture
def node(tmp_path: Path) -> Iterator[Store]:
    with Store.open(tmp_path / "store.sqlite") as opened:
        yield opened


def fill(store: Store, number: int = 60) -> None:
    submit(store, "op", [Held("e164", f"+4477009{one:05}", one % 3) for one in range(number)])
    submit(store, "op", [Held("platform", "a.example", 1, 0), Held("e164", "+447700900001", 0, 2)])
    submit(store, "other", [Held("e164", "+447700900009", 2, 2)])
    submit(store, "", [Held("url", "https://b.example")])
    tokenise(store)


class Joining:
    """Joins sweeps of one operation, and hears whether its set was made anew."""

    def __init__(self, store: Store, folder: Path) -> None:
        self.store, self.folder, self.heard = store, folder, list[tuple[str, int, int]]()

    def rows(self, sweep_id: bytes = SWEEP, **changes: Any) -> SweepColumns:
        self.heard = []
        hear = lambda *said: self.heard.append(said)  # noqa: E731 -- one line
        return build_operation_run(self.store, query(**changes), MaskKey(KEY), sweep_id, self.folder, hear)

    @property
    def made_anew(self) -> bool:
        return any(phase == READ for phase, *_ in self.heard)

    def in_memory(self, sweep_id: bytes = SWEEP, **changes: Any) -> SweepColumns:
        with self.store.read() as db:
            return SweepColumns.of(read_sweep_set(db, query(**changes)), MaskKey(KEY), sweep_id)


@pytest.fixture
def joining(node: Store, tmp_path: Path) -> Joining:
    return Joining(node, tmp_path / "index")


def same(left: SweepColumns, right: SweepColumns) -> bool:
    pairs = ((left.high, right.high), (left.answer, right.answer), (left.secret, right.secret))
    return all(np.array_equal(one, other) for one, other in pairs)


def test_rows_from_files_are_those_made_in_memory(joining: Joining) -> None:
    fill(joining.store)
    rows = joining.rows()
    assert len(rows) == 61
    assert same(rows, joining.in_memory())
    assert joining.heard[-1][1:] == (61, 61)
    assert {path.stat().st_mode & 0o777 for path in joining.folder.iterdir()} == {0o600}
    assert same(joining.rows(operation="other"), joining.in_memory(operation="other"))
    assert len(joining.rows(operation="nothing")) == 0


def test_many_shares_and_workers_give_the_same_rows(joining: Joining, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("services.node.index.spill.SHARE_ROWS", 20)
    monkeypatch.setattr("services.node.store.sweep_set._STREAMED", 50)
    monkeypatch.setattr(confirming, "ALONE_ROWS", 1)
    fill(joining.store, 300)
    assert same(joining.rows(), joining.in_memory())


def test_the_next_sweep_uses_the_set_again_under_macs_of_its_own(joining: Joining) -> None:
    fill(joining.store)
    first = joining.rows()
    assert joining.made_anew
    second = joining.rows(b"another sweep id")
    assert not joining.made_anew
    assert same(second, joining.in_memory(b"another sweep id"))
    assert not same(first, second)


def test_the_set_is_made_anew_after_anything_that_changes_it(joining: Joining) -> None:
    fill(joining.store)
    joining.rows()
    changes = (
        "UPDATE record SET trafficking = 2 WHERE id = 1",
        "UPDATE record SET keep_until = '2027-01-01' WHERE id = 2",
        "UPDATE record SET look_once = 1 WHERE id = 3",
        "UPDATE record SET status = 'withdrawn' WHERE id = 4",
        "UPDATE value SET reference = randomblob(16) WHERE id = 5",
        "UPDATE case_profile SET valid_until = '2039-01-01'",
    )
    for change in changes:
        with joining.store.write() as db:
            db.execute(change)
        rows = joining.rows()
        assert joining.made_anew, change
        assert same(rows, joining.in_memory()), change
    with joining.store.write() as db:
        uid = db.execute("SELECT uid FROM record WHERE id = 6").fetchone()[0]
        set_policy(db, uid, SILENT.content(), epochs=(EPOCH,), ask=False)
    joining.rows()
    assert joining.made_anew
    submit(joining.store, "op", [Held("url", "https://c.example")])
    tokenise(joining.store)
    assert same(joining.rows(), joining.in_memory())


def test_the_set_is_made_anew_for_another_day_policy_epoch_or_incarnation(joining: Joining) -> None:
    fill(joining.store)
    joining.rows()
    joining.rows(today=TODAY + timedelta(days=1))
    assert joining.made_anew
    assert len(joining.rows(tells_all=lambda _policy: False)) == 0
    assert len(joining.rows(rules_versions={"e164": 1})) == 60
    joining.rows()
    joining.store.renew_incarnation()
    joining.rows()
    assert joining.made_anew


def test_a_change_of_other_records_leaves_the_set(joining: Joining) -> None:
    fill(joining.store)
    joining.rows()
    submit(joining.store, "other", [Held("url", "https://c.example")])
    submit(joining.store, "", [Held("url", "https://d.example")])
    joining.rows()
    assert not joining.made_anew


def test_a_damaged_set_is_made_anew(joining: Joining) -> None:
    fill(joining.store)
    joining.rows()
    path = set_path(joining.folder, "op")
    whole = bytearray(path.read_bytes())
    whole[4100] ^= 1
    path.write_bytes(whole)
    assert same(joining.rows(), joining.in_memory())
    assert joining.made_anew


def test_a_set_whose_values_wait_for_tokens_is_not_given_and_leaves_nothing(joining: Joining) -> None:
    submit(joining.store, "op", [Held("e164", "+447700900001")])
    with pytest.raises(UnavailableError, match="1 values"):
        joining.rows()
    assert list(joining.folder.iterdir()) == []


def test_what_is_over_leaves_no_file(joining: Joining) -> None:
    fill(joining.store)
    joining.rows()
    forget_sets(joining.folder, ["op", "never"])
    assert list(joining.folder.iterdir()) == []


def test_the_file_holds_no_label(joining: Joining) -> None:
    fill(joining.store)
    joining.rows()
    with joining.store.read() as db:
        labels = [row[0] for row in db.execute("SELECT label FROM token")]
    held = b"".join(path.read_bytes() for path in joining.folder.iterdir())
    assert not [label for label in labels if label in held or label[::-1] in held]
    assert Run.open(set_path(joining.folder, "op"), operation_run.KIND).rows == 61
