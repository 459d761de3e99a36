"""How far a sweep is, in words: the same on the operator's page and at the gateway's command line."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from concordat.api.operator import SweepPhase, SweepStanding

if TYPE_CHECKING:
    from collections.abc import Iterable

    from concordat.api.operator import SweepParty, SweepProgress

MOST_NAMES: Final = 8


def sweep_facts(sweep: SweepProgress) -> list[str]:
    """Return what is to be said of a running sweep, one sentence each."""
    facts = [f"Sweep: {_where(sweep)}"]
    if waits := _names(_waited_for(one) for one in sweep.parties if one.owes):
        facts.append(f"It waits for {waits}")
    if sweep.shards_away:
        numbers = _names(str(one) for one in sweep.shards_away)
        facts.append(f"It waits for shards that do not answer: {numbers} (concordat gateway sweep-shard)")
    if away := _names(one.name for one in sweep.parties if one.standing is SweepStanding.AWAY and not one.owes):
        facts.append(f"Its line broke, and it may come back: {away}")
    if dropped := _names(f"{one.name} [{one.code}]" for one in sweep.parties if one.code):
        facts.append(f"Left out: {dropped}")
    if absent := _names(one.name for one in sweep.parties if one.standing is SweepStanding.ABSENT):
        facts.append(f"Not attached when it began: {absent}")
    if sweep.phase is not SweepPhase.JOINING:
        rows = f"about {sweep.rows_about:,}" if sweep.rows_about else "few"
        facts.append(f"Rows of shared values so far: {rows}")
    return facts


def _where(sweep: SweepProgress) -> str:
    joined = sum(one.standing in (SweepStanding.JOINED, SweepStanding.AWAY) for one in sweep.parties)
    return {
        SweepPhase.JOINING: f"{joined} of {len(sweep.parties)} participants have joined",
        SweepPhase.WINDOWS: f"{sweep.windows_done} of {sweep.windows} windows are done",
        SweepPhase.PAIRS: f"holders prove themselves to each other, {sweep.pairs_percent} % done",
        SweepPhase.COUNTING: "its report is made",
    }[sweep.phase]


def _waited_for(one: SweepParty) -> str:
    if one.standing is SweepStanding.PREPARING:
        percent = "" if one.prepared_percent is None else f", {one.prepared_percent} %"
        return f"{one.name} (prepares its set{percent})"
    return f"{one.name} (its line broke)" if one.standing is SweepStanding.AWAY else one.name


def _names(found: Iterable[str]) -> str:
    names = list(found)
    shown = ", ".join(names[:MOST_NAMES])
    return shown if len(names) <= MOST_NAMES else f"{shown} and {len(names) - MOST_NAMES} more"
