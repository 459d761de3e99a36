"""Matches as their own party sees them: its own records, and of the other side the party and a handle, no more (I4)."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

from rich.table import Table
from rich.text import Text

from services.node.coverage import named
from services.node.match_groups import CORRECT_WITHIN_H

if TYPE_CHECKING:
    from collections.abc import Iterable

    from services.node.match_groups import Group
    from services.node.store.rows import MatchRow

GRADES: Final = {1: "strong", 2: "weak"}
_STRONG: Final = 1


def as_dict(match: MatchRow) -> dict[str, Any]:
    """Return a match as JSON has it."""
    return {
        "handle": match.handle,
        "other": match.other,
        "namespace": match.namespace,
        "grade": GRADES.get(match.grade, "unknown"),
        "told_at": _time(match.told_at_ms),
        "asked": match.asked,
        "other_looks_once": match.look_once and not match.asked,
        "typed": match.typed,
        "kind": match.kind,
        "file": match.file_name,
        "line": match.line,
        "case": match.case_reference,
        "operation": match.operation,
        "exercise": match.exercise,
    }


def as_table(matches: Iterable[MatchRow]) -> Table:
    """Return matches as people read them: a row per thing that matches, with the own records and the other parties."""
    table = Table()
    table.add_column("own records", overflow="fold")
    table.add_column("matches with (told, UTC)", no_wrap=True)
    # A handle that is cut is of no use.
    table.add_column("handle", no_wrap=True)
    groups: dict[str, list[MatchRow]] = {}
    for match in matches:
        groups.setdefault(match.handle, []).append(match)
    for handle, rows in groups.items():
        own, others = dict.fromkeys(map(_own, rows)), dict.fromkeys(map(_other, rows))
        # What an officer typed is text, and never read as markup.
        table.add_row(Text("\n".join(own)), Text("\n".join(others)), Text(handle), end_section=True)
    return table


def _own(match: MatchRow) -> str:
    operation = f", {match.operation}" if match.operation else ""
    operation += " (EXERCISE)" if match.exercise else ""
    return f"{match.typed} ({match.kind})\n  {match.file_name}:{match.line}, {match.case_reference}{operation}"


def _other(match: MatchRow) -> str:
    grade = "" if match.grade == _STRONG else f" {GRADES.get(match.grade, 'unknown')}"
    look = "\n  looked once" if match.look_once and not match.asked else ""
    return f"{named(match.other):<9}{grade} {_time(match.told_at_ms)[: len('2026-11-24 12:00')]}{look}"


def _time(milliseconds: int) -> str:
    return datetime.fromtimestamp(milliseconds / 1000, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


def group_as_dict(group: Group) -> dict[str, Any]:
    """Return a match of all its parties as JSON has it."""
    return {
        "handle": group.handle,
        "namespace": group.namespace,
        "label": group.label,
        "size": group.size,
        "grade": group.grade,
        "state": group.state,
        "updated_at": _time(group.updated_at_ms),
        "common": group.common,
        "exercise": group.exercise,
        "timeline": [
            {"at": _time(turn.at_ms), "what": turn.what, "other": turn.other, "reason": turn.reason}
            for turn in group.timeline
        ],
    }


def common_table(groups: Iterable[Group]) -> Table | None:
    """Return the matches of common values, counted by why they are common; None where there are none."""
    counted: dict[tuple[str, str], int] = {}
    for group in groups:
        if group.common is not None:
            key = group.common, group.namespace
            counted[key] = counted.get(key, 0) + 1
    if not counted:
        return None
    table = Table(title="common values, counted only (--all lists them)", title_justify="left")
    for title in ("why", "namespace", "matches"):
        table.add_column(title)
    for (why, namespace), number in sorted(counted.items()):
        table.add_row(why, namespace, str(number))
    return table


def news_lines(groups: Iterable[Group]) -> list[str]:
    """Return a sentence for each match that was taken back or doubted, latest first."""
    lines: list[str] = []
    for group in groups:
        for turn in reversed(group.timeline):
            at = _time(turn.at_ms)
            if turn.what == "withdrawn":
                until = _time(turn.at_ms + CORRECT_WITHIN_H * 3_600_000)
                lines.append(
                    f"{group.handle}: {turn.other} withdrew on {at}; correct or delete what it gave by {until}"
                )
            elif turn.what == "own_withdrawn":
                lines.append(f"{group.handle}: withdrawn here on {at}; {turn.other} was told of the match")
            elif turn.what == "false_hit":
                lines.append(f"{group.handle}: {turn.other} says that it is a false hit ({turn.reason}), {at}")
            elif turn.what == "own_false_hit":
                lines.append(f"{group.handle}: said here to be a false hit with {turn.other} ({turn.reason}), {at}")
    return lines
