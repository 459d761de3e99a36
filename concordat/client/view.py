"""How a check and the agreement look to people, and to programs as JSON."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

from rich.box import SIMPLE_HEAD
from rich.table import Table
from rich.text import Text

from concordat.client.results import Cover, Verdict, hits_text, missing_text, names_text
from concordat.identity.manifest import KeyClass, PartyClass

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from rich.console import Console

    from concordat.client.files import Listed
    from concordat.client.results import Checked, Outcome
    from concordat.identity.home import Home

# Hits first, then what is to be repaired, then what needs no reader's time.
_ORDER: Final = (
    Verdict.HIT,
    Verdict.NOT_ASKED,
    Verdict.UNREADABLE,
    Verdict.NOT_COVERED,
    Verdict.NOT_ALLOWED,
    Verdict.NO_HIT,
)
WIDE: Final = 120
_STYLES: Final = {
    Verdict.HIT: "bold green",
    Verdict.NO_HIT: "",
    Verdict.NOT_COVERED: "yellow",
    Verdict.NOT_ALLOWED: "yellow",
    Verdict.UNREADABLE: "red",
    Verdict.NOT_ASKED: "red",
}


def show_outcome(out: Console, listed: Sequence[Listed], outcome: Outcome) -> None:
    """Print the results, hits first, and of whom they speak (I6)."""
    out.print(_table(listed, outcome, out.width))
    counts = [(len(outcome.of(one)), one) for one in _ORDER]
    _say(out, ", ".join(f"{number} {verdict.value.replace('_', ' ')}" for number, verdict in counts if number))
    _say(out, coverage_text(outcome))
    if outcome.trouble is not None:
        _say(out, f"Some were not asked: {outcome.trouble}", style="red")
    if outcome.requests:
        _say(out, f"request {', '.join(outcome.requests)}")


def coverage_text(outcome: Outcome) -> str:
    """Return of whom the results speak, and of whom they do not."""
    if not outcome.coverage:
        return "Nobody was asked."
    covered = [one for one in outcome.coverage if one.cover is Cover.COVERED]
    missing = missing_text(one for one in outcome.coverage if one.cover is not Cover.COVERED)
    if not covered:
        return f"Nobody was covered for all of them; {missing}"
    minute = datetime.fromtimestamp(60 * min(one.data_minute for one in covered), UTC)
    parties = "1 party" if len(covered) == 1 else f"{len(covered)} parties"
    said = f"Covered: {parties} ({names_text(one.party for one in covered)}), data of {minute:%Y-%m-%d %H:%M} UTC"
    return f"{said}; {missing}" if missing else said


def outcome_dict(listed: Sequence[Listed], outcome: Outcome) -> dict[str, Any]:
    """Return a check as JSON has it."""
    return {
        "results": [_result_dict(row, one) for row, one in zip(listed, outcome, strict=True)],
        "coverage": [
            {"party": one.party, "state": one.cover.value, "data_minute": one.data_minute} for one in outcome.coverage
        ],
        "requests": list(outcome.requests),
        "quota_left": outcome.quota_left,
        "trouble": outcome.trouble,
    }


def agreement_dict(home: Home) -> dict[str, Any]:
    """Return what the manifest lets this partner do."""
    manifest = home.manifest
    gateway = next((one for one in manifest.gateways if one.api_address is not None), None)
    return {
        "partner": str(home.identity),
        "federation": manifest.federation,
        "manifest": manifest.version,
        "manifest_hash": manifest.hash.hex(),
        "expires": datetime.fromtimestamp(manifest.expires, UTC).isoformat(),
        "gateway": None if gateway is None else gateway.api_address,
        "rights": {
            purpose: list(namespaces)
            for purpose, namespaces in manifest.partner_rights.get(home.identity.name, {}).items()
        },
        "answering": [one.name for one in manifest.nodes if manifest.may_ask(PartyClass.PARTNER, one.name)],
        "outside": [one.name for one in manifest.nodes if not manifest.may_ask(PartyClass.PARTNER, one.name)],
        "quota_a_day": manifest.budget(PartyClass.PARTNER, KeyClass.STRONG),
    }


def show_agreement(out: Console, agreement: Mapping[str, Any]) -> None:
    """Print what the manifest lets this partner do."""
    _say(out, f"{agreement['partner']}, manifest {agreement['manifest']}, in force until {agreement['expires'][:10]}")
    for purpose, namespaces in agreement["rights"].items():
        _say(out, f"  for {purpose}: {', '.join(namespaces) or 'nothing'}")
    if not agreement["rights"]:
        _say(out, "  no row of the agreement lets this partner ask for anything", style="yellow")
    _say(out, f"  identifiers a day: {agreement['quota_a_day']:,}")
    _say(out, f"  answer partners: {names_text(agreement['answering']) or 'nobody'}")
    _say(out, f"  outside the agreement: {names_text(agreement['outside']) or 'nobody'}")


def _table(listed: Sequence[Listed], outcome: Outcome, width: int) -> Table:
    """Return one row an item; where there is little room, what it was read as stands below what was typed."""
    named, wide = any(one.client_ref for one in outcome), width >= WIDE
    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    table.add_column("line", justify="right", no_wrap=True)
    for title in (*(("your reference",) if named else ()), "identifier", *(("read as",) if wide else ()), "result"):
        table.add_column(title, overflow="fold")
    rows = sorted(zip(listed, outcome, strict=True), key=lambda row: (_ORDER.index(row[1].result), row[0].line))
    for row, one in rows:
        reference = (one.client_ref or "",) if named else ()
        read_as = one.read_as or ""
        if wide:
            cells: tuple[str, ...] = (one.item.text, read_as)
        else:
            cells = (one.item.text if read_as in ("", one.item.text) else f"{one.item.text}\n=\u00a0{read_as}",)
        table.add_row(
            *map(Text, (str(row.line), *reference, *cells)), Text(_result_text(one, outcome), style=_STYLES[one.result])
        )
    return table


def _result_text(one: Checked, outcome: Outcome) -> str:
    """Return a result for its row; the coverage that all rows share stands once, below the table."""
    shared = one.coverage == outcome.coverage
    if one.result is Verdict.HIT and shared:
        return hits_text(one.hits)
    return f"no hit at {len(one.covered)} covered" if one.result is Verdict.NO_HIT and shared else one.sentence()


def _result_dict(row: Listed, one: Checked) -> dict[str, Any]:
    return {
        "line": row.line,
        "identifier": one.item.text,
        "client_ref": one.client_ref,
        "kind": one.kind,
        "read_as": one.read_as,
        "result": one.result.value,
        "hits": [{"party": hit.party, "class": hit.party_class, "handle": hit.handle} for hit in one.hits],
        "complete": one.complete,
        "covered": list(one.covered),
        "not_covered": [{"party": cover.party, "why": cover.cover.value} for cover in one.not_covered],
        "request": one.request,
        "reason": one.reason,
    }


def _say(out: Console, text: str, *, style: str = "") -> None:
    # Never folded: a terminal does that, and a log or pipe keeps the line whole.
    out.print(Text(text, style=style), soft_wrap=True)
