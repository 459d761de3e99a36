"""The command `concordat audit`: check offline what others show."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Annotated, Any, Final

from cyclopts import App, Parameter
from rich.console import Console
from rich.table import Table
from rich.text import Text

from concordat.errors import IdentityError, InputError
from concordat.identity.envelope import Envelope
from concordat.identity.signed_manifest import RootKeys, verify_manifest
from concordat.story.model import Claim, Story, load_story
from concordat.story.verify import RULES, Finding, Judged, judge, times_in_words, verify

app = App(name="audit", help="Check offline what parties show of their checks.")

_WORDS: Final = {
    "told": "{party} is told of {other}",
    "state": "for {party}, {other} is {state}",
    "withdrawn": "{party} hears that {other} withdrew",
    "receipt": "{party} has the receipt of {other}",
}


@app.command
def story(
    file: Path,
    /,
    *,
    roots: Path,
    as_json: Annotated[bool, Parameter(name="--json", negative=(), help="Print one JSON object.")] = False,
) -> int:
    """Check a story: signatures, order, coverage, who was told how often, and each claim of the teller.

    Nothing is asked of any service. Exit code 1 where a rule is broken or a claim does not hold.

    Example: concordat audit story story.json --roots federation/node/NL/root-keys.json

    Parameters
    ----------
    file
        What `concordat node story` of each party gave, put together (docs/story.md).
    roots
        The pinned root keys of the federation, as every party's folder has them.
    as_json
        For programs.
    """
    told = load_story(file)
    try:
        manifest = verify_manifest(Envelope.from_json(base64.b64decode(told.manifest)), RootKeys.load(roots))
    except ValueError as error:
        raise InputError(f"{file}: the manifest cannot be read") from error
    except IdentityError as error:
        raise IdentityError(f"{file}: {error.message}", code=error.code) from error
    findings, judged = verify(told, manifest), judge(told, manifest)
    good = not findings and all(one.holds for one in judged)
    if as_json:
        print(json.dumps(_as_dict(told, findings, judged, good=good), indent=1))
    else:
        _show(told, findings, judged)
    return 0 if good else 1


def _as_dict(told: Story, findings: list[Finding], judged: list[Judged], *, good: bool) -> dict[str, Any]:
    return {
        "holds": good,
        "parties": [part.party for part in told.parties],
        "checks": sum(len(part.checks) for part in told.parties),
        "notices": sum(len(part.notices) for part in told.parties),
        "findings": [{"rule": one.rule, "party": one.party, "text": one.text} for one in findings],
        "claims": [
            {**one.claim.model_dump(mode="json", exclude_none=True), "holds": one.holds, "seen": one.seen}
            for one in judged
        ],
    }


def _show(told: Story, findings: list[Finding], judged: list[Judged]) -> None:
    console = Console()
    rules = Table(title="rules", title_justify="left")
    rules.add_column("rule", justify="right")
    rules.add_column("what must hold", overflow="fold")
    rules.add_column("")
    for number, text in RULES.items():
        broken = [f"{one.party}: {one.text}" for one in findings if one.rule == number]
        rules.add_row(str(number), Text(text), Text("\n".join(broken) if broken else "holds"))
    console.print(rules)
    for number, act in enumerate(told.acts, 1):
        console.print(Text(f"{number}. {act.text}"), soft_wrap=True)
        for one in judged:
            if one.claim.act == number:
                mark = "  holds    " if one.holds else "  DOES NOT "
                console.print(Text(f"{mark}{_in_words(one.claim)}; seen: {one.seen}"), soft_wrap=True)


def _in_words(claim: Claim) -> str:
    words = _WORDS[claim.kind].format(party=claim.party, other=claim.other, state=claim.state)
    if claim.kind == "state":
        return words
    return f"{words} {times_in_words(claim.times)}"
