"""Matches as their own party sees them: its own records, and of the other side the party and a handle, no more (I4)."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

from rich.table import Table
from rich.text import Text

if TYPE_CHECKING:
    from collections.abc import Iterable

    from services.node.store.rows import MatchRow

GRADES: Final = {1: "strong", 2: "weak"}


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
    }


def as_table(matches: Iterable[MatchRow]) -> Table:
    """Return matches as people read them, one row per own record and other party."""
    table = Table()
    table.add_column("own record", overflow="fold")
    table.add_column("other party")
    table.add_column("grade")
    # A handle that is cut is of no use.
    table.add_column("handle", no_wrap=True)
    table.add_column("told (UTC)", no_wrap=True)
    for match in matches:
        look = " (looks once)" if match.look_once and not match.asked else ""
        # What an officer typed is text, and never read as markup.
        table.add_row(
            Text(f"{match.typed} ({match.kind})\n{match.file_name}:{match.line}, {match.case_reference}"),
            Text(match.other.rpartition("/")[2] + look),
            GRADES.get(match.grade, "unknown"),
            Text(match.handle),
            _time(match.told_at_ms)[: len("2026-11-24 12:00")],
        )
    return table


def _time(milliseconds: int) -> str:
    return datetime.fromtimestamp(milliseconds / 1000, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
