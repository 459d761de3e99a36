"""How the after-action report looks to people, at nodes and partners alike (docs/report.md)."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

from rich.console import Group
from rich.table import Table
from rich.text import Text

from concordat.identity.names import short

if TYPE_CHECKING:
    from collections.abc import Mapping

    from rich.console import RenderableType

_ROWS: Final = (
    ("people_usernames", "People and usernames checked"),
    ("platforms", "Platforms checked"),
    ("platforms_suspected", "  suspected of trafficking"),
    ("platforms_identified", "  identified as engaged in it"),
    ("platforms_csa", "  linked to child sexual abuse"),
    ("communication_devices", "Communication devices checked (phones, apps, e-mails, faxes)"),
)
_WHY: Final = {
    "absent": "absent",
    "dropped:deadline": "left out: did not answer in time",
    "dropped:unavailable": "left out: its connection broke",
    "dropped:too_large": "left out: sent more than allowed",
    "dropped:protocol_violation": "left out: broke the protocol",
}
_CHANGES: Final = {"set": "its set is another", "state": "took part otherwise"}
_ROUNDED: Final = (
    "Rounded: this charter is nearly that of an earlier operation. Each number is that operation's, moved in steps of"
    " 5; changes of fewer than 5 to 9 are not shown."
)


def render_report(report: Mapping[str, Any]) -> RenderableType:
    """Return a report as people read it: totals, what is listed uncounted, and who is in it."""
    included = [one for one in report["participants"] if one["state"] == "included"]
    missing = [one for one in report["participants"] if one["state"] != "included"]
    parts: list[RenderableType] = []
    if report.get("exercise"):
        parts.append(Text("EXERCISE: no value in this report is real", style="bold"))
    parts.append(_totals(report))
    if report.get("rounded"):
        parts.append(Text(_ROUNDED))
    uncounted = {name: report["per_namespace"][name] for name in report["uncounted"]}
    if uncounted:
        listed = ", ".join(f"{name} {number}" for name, number in sorted(uncounted.items()))
        parts.append(Text(f"Also compared, in no row above: {listed}"))
    parts.append(Text(f"Values that two or more participants hold: {report['matches']}"))
    parts.append(Text(f"Coverage: {len(included)} of {len(report['participants'])} participants are in these counts"))
    parts += [Text(f"  not in them: {short(one['party'])} ({_WHY.get(one['state'], one['state'])})") for one in missing]
    return Group(*parts, *_difference(report.get("difference")))


def _difference(changes: Mapping[str, Any] | None) -> list[RenderableType]:
    """Return what changed against the version before: numbers, and whose set, but not how a set did."""
    if changes is None:
        return []
    moved = [f"{label.strip()} {changes['totals'][key]:+d}" for key, label in _ROWS if key in changes["totals"]]
    if changes["matches"]:
        moved.append(f"held by two or more {changes['matches']:+d}")
    parts = [Text(f"Against version {changes['from']}: {'; '.join(moved) or 'the same numbers'}")]
    parts += [
        Text(f"  {short(one['party'])}: {_CHANGES.get(one['change'], one['change'])}")
        for one in changes["participants"]
    ]
    return list(parts)


def _totals(report: Mapping[str, Any]) -> Table:
    title = Text(f"After-action report: {report['title']} ({report['operation']})", style="bold")
    table = Table(
        title=title,
        title_justify="left",
        caption=f"version {report.get('version', 1)}, frozen {_time(report['frozen_at'])}",
        caption_justify="left",
    )
    table.add_column("distinct values over all participants")
    table.add_column("number", justify="right")
    for key, label in _ROWS:
        table.add_row(label, str(report["totals"][key]))
    return table


def _time(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M UTC")
