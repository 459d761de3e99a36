"""What was decided survives a store that is put back from a copy (I9); a journal that was changed is not believed."""

from __future__ import annotations

import json
import shutil
from typing import TYPE_CHECKING, Any

import pytest

from concordat.errors import ConfigError
from concordat.vocabulary import Visibility, WithdrawReason
from services.node.daemon import catch_up
from services.node.journal import FILE_NAME, Entry
from services.node.policy import Policy
from services.node.store.store import Store

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.unit.policy.conftest import Desk

FILE = "kind,identifier\nemail,one@mail.example\nemail,two@mail.example\n"


def _write_and_die(desk: Desk, entry: Entry) -> None:
    with desk.journal().changing(desk.store) as change:
        change.add([entry])
        raise RuntimeError("killed")


def silent(policy: Policy) -> Policy:
    return policy.model_copy(update={"visibility": Visibility.SILENT})


def path_of(desk: Desk) -> Path:
    return desk.home.path / FILE_NAME


def copy_store(desk: Desk) -> Path:
    """Copy the store as a backup does."""
    copy = desk.home.path.parent / "backup.sqlite"
    with desk.store.read() as db:
        copy.write_bytes(db.serialize())
    return copy


def put_back(desk: Desk, copy: Path) -> Store:
    desk.store.close()
    for ending in ("", "-wal", "-shm"):
        (desk.home.path / f"store.sqlite{ending}").unlink(missing_ok=True)
    shutil.copy(copy, desk.home.path / "store.sqlite")
    (desk.home.path / "store.sqlite").chmod(0o600)
    desk.store = Store.open(desk.home.path / "store.sqlite", clock=desk.clock)
    return desk.store


def test_decisions_are_replayed_before_a_restored_store_is_used(desk: Desk) -> None:
    desk.submit(FILE)
    copy = copy_store(desk)
    first, second = desk.every()
    desk.decisions().change([first], silent, officer="officer-1")
    desk.decisions().withdraw([second], officer="officer-1", reason=WithdrawReason.WITHDRAWN)
    store = put_back(desk, copy)
    before = store.incarnation()
    assert desk.policies()[0].visibility is Visibility.VISIBLE
    catch_up(desk.home.path, store, desk.clock)
    assert desk.policies()[0].visibility is Visibility.SILENT
    assert desk.count("SELECT count(*) FROM record WHERE status = 'withdrawn'") == 1
    assert store.incarnation() != before, "a store that had forgotten something is another one"


def test_a_store_that_has_applied_all_stays_what_it_is(desk: Desk) -> None:
    desk.submit(FILE)
    desk.decisions().change(desk.every(), silent, officer="officer-1")
    before = desk.store.incarnation()
    catch_up(desk.home.path, desk.store, desk.clock)
    assert desk.store.incarnation() == before


def test_a_decision_that_reached_the_journal_only_is_applied_at_the_next_start(desk: Desk) -> None:
    """The process was killed between the two disks."""
    desk.submit(FILE)
    (first, _) = desk.every()
    entry = Entry(what="policy", uid=first.uid.hex(), at_ms=1, officer="o", policy=silent(Policy.of(first.policy)))
    with pytest.raises(RuntimeError, match="killed"):
        _write_and_die(desk, entry)
    assert desk.policies()[0].visibility is Visibility.VISIBLE
    assert desk.journal().replay(desk.store) == 1
    assert desk.policies()[0].visibility is Visibility.SILENT
    assert desk.journal().replay(desk.store) == 0


def test_a_torn_last_line_was_never_decided(desk: Desk) -> None:
    desk.submit(FILE)
    desk.decisions().change(desk.every(), silent, officer="officer-1")
    whole = path_of(desk).read_bytes()
    path_of(desk).write_bytes(whole + b'{"number":3,"prev')
    assert desk.journal().replay(desk.store) == 0
    assert path_of(desk).read_bytes() == whole


def _changed(lines: list[str]) -> list[str]:
    return [lines[0].replace("silent", "visible"), *lines[1:]]


def _swapped(lines: list[str]) -> list[str]:
    return [lines[1], lines[0]]


def _cut(lines: list[str]) -> list[str]:
    return lines[:1]


def _foreign(lines: list[str]) -> list[str]:
    return [*lines, json.dumps({"number": 3})]


@pytest.mark.parametrize(
    ("damage", "says"),
    [(_changed, "line 2"), (_swapped, "line 1"), (_cut, "put its newest copy back"), (_foreign, "line 3")],
)
def test_a_journal_that_was_changed_or_shortened_stops_the_node(
    desk: Desk, damage: Callable[[list[str]], list[str]], says: str
) -> None:
    desk.submit(FILE)
    for one in desk.every():
        desk.decisions().change([one], silent, officer="officer-1")
    lines = path_of(desk).read_text().splitlines()
    path_of(desk).write_text("".join(f"{line}\n" for line in damage(lines)))
    with pytest.raises(ConfigError, match=says):
        catch_up(desk.home.path, desk.store, desk.clock)


def test_the_journal_names_no_identifier_and_is_its_owner_s(desk: Desk) -> None:
    desk.submit(FILE)
    desk.decisions().change(desk.every(), silent, officer="officer-1")
    desk.decisions().withdraw(desk.every(), officer="officer-1", reason=WithdrawReason.CORRECTED)
    text = path_of(desk).read_text()
    assert "mail" not in text
    assert path_of(desk).stat().st_mode & 0o777 == 0o600
    entries: list[dict[str, Any]] = [json.loads(line)["entry"] for line in text.splitlines()]
    assert [one["what"] for one in entries] == ["policy", "policy", "withdraw", "withdraw"]


def test_a_decision_before_the_start_does_not_hide_that_the_store_is_an_older_copy(desk: Desk) -> None:
    """I9: the node draws a new incarnation though nothing is left to be applied."""
    desk.submit(FILE)
    copy = copy_store(desk)
    first, second = desk.every()
    desk.decisions().change([first], silent, officer="officer-1")
    store = put_back(desk, copy)
    desk.decisions().change([second], silent, officer="officer-1")
    before = store.incarnation()
    catch_up(desk.home.path, store, desk.clock)
    assert store.incarnation() != before
    again = store.incarnation()
    catch_up(desk.home.path, store, desk.clock)
    assert store.incarnation() == again
    assert [one.visibility for one in desk.policies()] == [Visibility.SILENT, Visibility.SILENT]
