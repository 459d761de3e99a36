"""3.3: what a file holds is stored once, row by row, kept where it cannot be read, and linked where it is known."""

from __future__ import annotations

import socket
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from concordat.canon import Kind
from concordat.clock import SystemClock
from concordat.errors import InputError
from services.node import submit as submitting
from services.node.record import RowDefaults
from services.node.store.records import record_views
from services.node.store.store import Store
from tests.unit.custodian.running import CASE

if TYPE_CHECKING:
    from pathlib import Path

    from concordat.identity.home import Home
    from services.node.submit import SubmitProgress, Submitter

CSV = """kind,identifier,region,thb,csa
phone,+44 7700 900123,,suspected,
phone,06 10 00 00 01,,,
whatsapp,https://wa.me/447700900123,,,confirmed
email,not an address,,,
spaceship,Enterprise,,,
email,someone@mail.example,,,
"""
MANY = 1234


def write(folder: Path, text: str, name: str = "list.csv") -> Path:
    path = folder / name
    path.write_text(text)
    return path


def many(folder: Path) -> Path:
    lines = [f"email,person{number}@mail.example" for number in range(MANY)]
    lines[700] = "email,nonsense"
    return write(folder, "kind,identifier\n" + "\n".join(lines) + "\n")


def state(store: Store) -> dict[str, list[tuple[object, ...]]]:
    """Return all that matters of a store and is not drawn at random."""
    with store.read() as db:
        return {
            # Ids of records are drawn anew each time.
            "record": [row[:1] + row[2:] for row in db.execute("SELECT * FROM record ORDER BY id")],
            "value": db.execute("SELECT id, namespace, rules_version, canonical, grade, kept FROM value").fetchall(),
            "link": db.execute("SELECT * FROM record_value ORDER BY 1, 2").fetchall(),
            "to_tokenise": db.execute("SELECT * FROM to_tokenise").fetchall(),
            "to_check": db.execute("SELECT * FROM to_check").fetchall(),
            "complete": db.execute("SELECT complete FROM file").fetchall(),
        }


def references(store: Store) -> dict[str, bytes]:
    with store.read() as db:
        return dict(db.execute("SELECT canonical || grade, reference FROM value"))


def test_rows_are_accepted_or_kept_as_refused_with_line_and_code(submitter: Submitter, tmp_path: Path) -> None:
    report = submitter.submit(write(tmp_path, CSV))
    assert (report.counts.accepted, report.counts.refused) == (4, 2)
    assert [(one.line, one.code) for one in report.refused] == [(5, "unreadable_email"), (6, "unknown_kind")]
    assert all("address" not in one.reason or "not an address" not in one.reason for one in report.refused)
    with submitter.store.read() as db:
        refused = record_views(db, refused_only=True)
    assert (refused[0].line, refused[0].typed) == (5, "not an address")


def test_a_region_that_was_assumed_is_shown(submitter: Submitter, tmp_path: Path) -> None:
    report = submitter.submit(write(tmp_path, CSV))
    assert report.counts.region_assumed == 1
    with submitter.store.read() as db:
        assumed = [one for one in record_views(db) if one.region_assumed]
    assert [(one.line, one.region) for one in assumed] == [(3, "NL")]


def test_the_same_thing_typed_twice_is_one_value_of_two_records(submitter: Submitter, tmp_path: Path) -> None:
    submitter.submit(write(tmp_path, CSV))
    with submitter.store.read() as db:
        rows = db.execute(
            "SELECT r.line, r.trafficking, r.abuse FROM value v JOIN record_value rv ON rv.value_id = v.id"
            " JOIN record r ON r.id = rv.record_id WHERE v.canonical = '+447700900123' AND v.grade = 1 ORDER BY r.line"
        ).fetchall()
    assert rows == [(2, 1, 0), (4, 0, 2)]


def test_a_file_submitted_again_changes_nothing(submitter: Submitter, tmp_path: Path) -> None:
    path = write(tmp_path, CSV)
    first = submitter.submit(path)
    before, drawn = state(submitter.store), references(submitter.store)
    second = submitter.submit(path)
    assert (first.again, second.again) == (False, True)
    assert second.counts == first.counts
    assert (state(submitter.store), references(submitter.store)) == (before, drawn)


@pytest.mark.parametrize("rows_before_the_kill", [500, 1000, MANY])
def test_a_submit_that_was_killed_goes_on_behind_the_last_row(
    submitter: Submitter, tmp_path: Path, rows_before_the_kill: int
) -> None:
    class KilledError(Exception):
        """Stands for the end of the process between two transactions."""

    def kill(done: SubmitProgress) -> None:
        if done.rows >= rows_before_the_kill:
            raise KilledError

    path = many(tmp_path)
    with Store.open(tmp_path / "undisturbed.sqlite") as other:
        expected = replace(submitter, store=other).submit(path)
        undisturbed = state(other)
    with pytest.raises(KilledError):
        submitter.submit(path, progress=kill)
    report = submitter.submit(path)
    assert state(submitter.store) == undisturbed
    assert report.counts == expected.counts
    assert [(one.line, one.code) for one in report.refused] == [(702, "unreadable_email")]


def test_a_transaction_that_fails_leaves_none_of_its_rows(submitter: Submitter, tmp_path: Path) -> None:
    drawn = iter([bytes([number]) * 16 for number in range(3)])

    def fail_at_the_fourth(_size: int) -> bytes:
        reference = next(drawn, None)
        if reference is None:
            raise OSError("no randomness")
        return reference

    broken = replace(submitter, random_bytes=fail_at_the_fourth)
    with pytest.raises(OSError, match="no randomness"):
        broken.submit(write(tmp_path, CSV))
    assert state(submitter.store)["record"] == []
    assert submitter.submit(write(tmp_path, CSV)).counts.accepted == 4


def test_what_is_already_known_is_linked_to_the_new_case(submitter: Submitter, tmp_path: Path) -> None:
    submitter.submit(write(tmp_path, CSV))
    drawn = references(submitter.store)
    other = replace(submitter, case=CASE.model_copy(update={"reference": "THB-2026-0002"}))
    report = other.submit(write(tmp_path, "kind,identifier\nfax,0044 7700 900123\nphone,+447700900999\n", "two.csv"))
    assert (report.counts.accepted, report.counts.already_known) == (2, 1)
    assert references(submitter.store).items() >= drawn.items()
    with submitter.store.read() as db:
        linked = {one.case_reference for one in record_views(db) if one.typed and "900123" in one.typed}
    assert linked == {"THB-2026-0001", "THB-2026-0002"}


def test_the_same_file_for_another_operation_is_another_file(submitter: Submitter, tmp_path: Path) -> None:
    path = write(tmp_path, CSV)
    submitter.submit(path)
    again = replace(submitter, operation="op-1").submit(path)
    assert (again.again, again.counts.already_known) == (False, 4)


def test_a_value_that_was_looked_at_once_keeps_its_reference_when_it_is_kept(
    submitter: Submitter, tmp_path: Path
) -> None:
    path = write(tmp_path, "kind,identifier\nemail,someone@mail.example\n")
    replace(submitter, look_once=True).submit(path)
    drawn = references(submitter.store)
    assert {row[-1] for row in state(submitter.store)["value"]} == {0}
    report = submitter.submit(path)
    assert not report.again
    assert references(submitter.store) == drawn
    assert {row[-1] for row in state(submitter.store)["value"]} == {1}
    assert [row[4] for row in state(submitter.store)["to_check"]] == [0]


def test_what_is_typed_at_a_prompt_is_stored_like_a_file(submitter: Submitter) -> None:
    report = submitter.submit_values(["0610000001", "nonsense"], Kind.PHONE)
    assert (report.counts.accepted, report.counts.refused, report.counts.region_assumed) == (1, 1, 1)
    assert submitter.submit_values(["0610000001", "nonsense"], Kind.PHONE).again
    german = submitter.submit_values(["0610000001"], Kind.PHONE, defaults=RowDefaults(region="DE"))
    assert (german.counts.accepted, german.counts.region_assumed) == (1, 0)


def test_what_is_typed_is_stored_whole_in_one_transaction_or_not_at_all(submitter: Submitter) -> None:
    def fail(_size: int) -> bytes:
        raise OSError("no randomness")

    with pytest.raises(OSError, match="no randomness"):
        replace(submitter, random_bytes=fail).submit_values(["0610000001"], Kind.PHONE)
    with submitter.store.read() as db:
        before = db.execute("SELECT (SELECT count(*) FROM file), (SELECT count(*) FROM case_profile)").fetchone()
    assert before == (0, 0)
    assert not submitter.submit_values(["0610000001"], Kind.PHONE).again
    assert state(submitter.store)["complete"] == [(1,)]


def test_the_node_hears_whether_there_is_more_to_do_than_tokens(submitter: Submitter) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as node:
        node.bind(str(submitter.home.path / submitting.WAKE_SOCKET))
        node.settimeout(10)
        submitter.submit_values(["0610000001", "0610000002"], Kind.PHONE)
        assert node.recv(64) == submitting.TOKENS_FIRST
        # A value that is there has its token perhaps: its question, or who is told of it, may be due at once.
        submitter.submit_values(["0610000003", "0610000002"], Kind.PHONE)
        assert node.recv(64) == submitting.ANY_WORK
        submitter.submit_values(["0610000001", "0610000002"], Kind.PHONE)
        assert node.recv(64) == submitting.ANY_WORK


def test_a_file_that_cannot_be_taken_is_refused_as_a_whole(submitter: Submitter, tmp_path: Path) -> None:
    with pytest.raises(InputError) as caught:
        submitter.submit(tmp_path / "missing.csv")
    assert caught.value.code == "file_missing"


def test_stores_of_several_nodes_are_filled_at_the_same_time(home: Home, tmp_path: Path) -> None:
    path = many(tmp_path)

    def fill(number: int) -> int:
        with Store.open(tmp_path / f"{number}.sqlite") as own:
            return submitting.submit(home, own, path, clock=SystemClock(), case=CASE).counts.accepted

    with ThreadPoolExecutor(4) as threads:
        assert list(threads.map(fill, range(4))) == [MANY - 1] * 4
