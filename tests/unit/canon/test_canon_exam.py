"""The exam: identifiers as people type them meet where they are the same in life, and only there.

Most of it was written from life before its writer had seen any canonical form; it is a scenario as `concordat demo`
reads it. Forms were corrected against it, so it shows what must not regress, not how untried spellings fare.
"""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, Final

import pytest

from concordat.canon import Context, Kind, Reading, read
from concordat.errors import InputError
from demo.scenario import Line, load_scenario
from tests.unit.canon.canon_vectors import FOLDER

if TYPE_CHECKING:
    from concordat.canon import Value

EXAM: Final = load_scenario(FOLDER.parent / "scenarios" / "exam.json")
LINES: Final = {line.id: line for line in EXAM.lines}
REGION_CHARS: Final = 2


def _read(line: Line) -> Reading:
    home = EXAM.parties[line.party].region or (line.party if len(line.party) == REGION_CHARS else "")
    context = Context(
        home_region=home,
        region=line.region,
        origin=line.origin,
        destination=line.destination,
        platform=line.platform,
    )
    return read(Kind.parse(line.kind), line.typed, context)


@pytest.mark.parametrize("group", EXAM.match, ids=lambda group: group[0])
def test_lines_of_one_thing_have_one_strong_value(group: tuple[str, ...]) -> None:
    strong = defaultdict(list)
    for line_id in group:
        strong[_read(LINES[line_id]).values[0]].append(line_id)
    assert len(strong) == 1, dict(strong)


def test_lines_of_different_things_have_different_strong_values() -> None:
    """Every line is compared with every line, whether the exam names the pair or not."""
    things: dict[Value, set[str]] = defaultdict(set)
    for line_id, thing in EXAM.groups().items():
        try:
            things[_read(LINES[line_id]).values[0]].add(thing)
        except InputError as error:
            pytest.fail(f"{line_id}: {error.code}")
    assert {value: found for value, found in things.items() if len(found) > 1} == {}


def test_exam_is_large() -> None:
    assert len(EXAM.match) >= 200
    assert len(EXAM.differ) >= 130
