"""3.4 (3), (4): a notice is kept once, in order, with what it told; what is shown stands beside own records only."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from concordat.errors import ProtocolError
from services.node.store.rows import ToldRow

if TYPE_CHECKING:
    from tests.unit.node_store.conftest import Desk

OTHER = "spiffe://test.example/node/DE"


def told(own_reference: bytes, *, edge: int = 1, state: str = "shown") -> ToldRow:
    return ToldRow(
        edge_id=bytes([edge]) * 16,
        own_reference=own_reference,
        other=OTHER,
        other_reference=b"r" * 16,
        handle=f"M-{edge}",
        grade=1,
        told_at_ms=1_000,
        asked=True,
        check_id=b"c" * 16,
        sweep_id=None,
        look_once=False,
        state=state,
    )


def test_a_notice_and_its_cursor_are_written_at_once_and_only_once(desk: Desk) -> None:
    desk.put("a@mail.example")
    row = told(desk.reference("a@mail.example"))
    assert desk.store.receive_notice(1, b"content", told=row, at=5.0)
    assert not desk.store.receive_notice(1, b"content", told=row, at=6.0)
    desk.reopen()
    assert desk.store.notice_cursor() == 1
    assert desk.store.told(row.edge_id) == [row]
    assert desk.store.all_told() == [row]


def test_a_gap_in_the_notices_is_refused_and_changes_nothing(desk: Desk) -> None:
    with pytest.raises(ProtocolError):
        desk.store.receive_notice(2, b"content", at=5.0)
    assert desk.store.notice_cursor() == 0


def test_a_match_shows_with_every_own_record_of_the_value(desk: Desk) -> None:
    desk.put("a@mail.example", "b@mail.example")
    desk.put("a@mail.example")
    desk.store.receive_notice(1, b"content", told=told(desk.reference("a@mail.example")), at=5.0)
    shown = desk.store.matches()
    assert [(one.typed, one.file_name, one.line, one.other, one.handle) for one in shown] == [
        ("a@mail.example", "1.csv", 1, OTHER, "M-1"),
        ("a@mail.example", "2.csv", 1, OTHER, "M-1"),
    ]


def test_the_matches_of_a_file_are_those_of_its_records(desk: Desk) -> None:
    first = desk.put("a@mail.example", "b@mail.example")
    again, other = desk.put("a@mail.example"), desk.put("c@mail.example")
    for edge, value in enumerate(("a@mail.example", "b@mail.example", "c@mail.example"), 1):
        desk.store.receive_notice(edge, b"content", told=told(desk.reference(value), edge=edge), at=5.0)
    desk.store.set_told_state(bytes([2]) * 16, "refused")
    assert [(one.handle, one.line) for one in desk.store.file_matches(first)] == [("M-1", 1)]
    for file in (first, again, other):
        assert desk.store.file_matches(file) == [one for one in desk.store.matches() if one.file_id == file]


def test_to_show_a_files_matches_the_others_are_not_looked_at(desk: Desk) -> None:
    """Beside a store that was told of ten times as much, it is the same work."""
    file = desk.put("a@mail.example")
    many = [f"{number}@mail.example" for number in range(220)]
    desk.put(*many)
    cursor = 0

    def steps_after(values: list[str]) -> int:
        nonlocal cursor
        for value in values:
            cursor += 1
            row = replace(told(desk.reference(value)), edge_id=cursor.to_bytes(16, "big"))
            desk.store.receive_notice(cursor, b"content", told=row, at=5.0)
        return steps_of(desk, file)

    few = steps_after(["a@mail.example", *many[:20]])
    assert few > 0
    assert steps_after(many[20:]) <= few + 1


def steps_of(desk: Desk, file: int) -> int:
    """Return how many steps SQLite's machine takes for a file's matches."""
    steps = 0

    def step() -> None:
        nonlocal steps
        steps += 1

    with desk.store.read() as db:
        db.set_progress_handler(step, 1)
    assert len(desk.store.file_matches(file)) == 1
    with desk.store.read() as db:
        db.set_progress_handler(None, 0)
    return steps


def test_two_values_answered_with_one_reference_hide_each_other_not(desk: Desk) -> None:
    desk.put("a@mail.example", "b@mail.example")
    for cursor, value in enumerate(("a@mail.example", "b@mail.example"), 1):
        desk.store.receive_notice(cursor, b"content", told=told(desk.reference(value)), at=5.0)
    assert sorted(one.typed for one in desk.store.matches()) == ["a@mail.example", "b@mail.example"]
    desk.store.receive_notice(3, b"content", voided=bytes([1]) * 16, at=5.0)
    assert desk.store.matches() == []


def test_what_was_refused_or_voided_does_not_show(desk: Desk) -> None:
    desk.put("a@mail.example")
    reference = desk.reference("a@mail.example")
    desk.store.receive_notice(1, b"1", told=told(reference, edge=1), at=5.0)
    desk.store.receive_notice(2, b"2", told=told(reference, edge=2, state="refused"), at=5.0)
    desk.store.receive_notice(3, b"3", told=told(reference, edge=3), at=5.0)
    desk.store.receive_notice(4, b"4", voided=bytes([1]) * 16, at=5.0)
    assert [one.handle for one in desk.store.matches()] == ["M-3"]
    desk.store.set_told_state(bytes([3]) * 16, "voided")
    assert desk.store.matches() == []
    with pytest.raises(ValueError, match="told"):
        desk.store.set_told_state(bytes([3]) * 16, "gone")
