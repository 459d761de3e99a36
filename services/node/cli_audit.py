"""The commands `concordat node audit` and `concordat node justification`: proof for whoever has to answer for it."""

from __future__ import annotations

import json
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter
from rich.console import Console
from rich.table import Table
from rich.text import Text

from concordat.clock import MS, SystemClock
from concordat.errors import InputError
from concordat.identity.names import short
from concordat.justification import read_digest, read_name
from services.node.audit import (
    AnsweredCheck,
    AskedCheck,
    Coverage,
    Opened,
    answered_checks,
    asked_checks,
    open_justification,
)
from services.node.coverage import named
from services.node.opened import opened_node
from services.node.store.officers import officers
from services.node.story import part_of

AsJson = Annotated[bool, Parameter(name="--json", negative=(), help="Print one JSON object and nothing else.")]
HomeFolder = Annotated[Path, Parameter(help="The node's folder.")]


def audit(*, home: HomeFolder, as_json: AsJson = False) -> None:
    """Show every question that this node signed: when, for which case, and the certificate of who was covered.

    Below it stand the questions of others that found something here: who asked, and whether they looked once.

    Example: concordat node audit --home federation/node/NL
    """
    with opened_node(home, SystemClock()) as (loaded, store), store.read() as db:
        found = list(asked_checks(db, manifest=loaded.manifest, key=loaded.signing_key))
        answered = answered_checks(db)
    if as_json:
        checks, others = [_check_dict(one) for one in found], [_answered_dict(one) for one in answered]
        _print_json({"checks": checks, "of_others": others})
        return
    console = Console()
    console.print(_asked_table(found))
    if answered:
        console.print(_answered_table(answered))


def _asked_table(found: list[AskedCheck]) -> Table:
    table = Table()
    for title in ("asked (UTC), check", "case, reason", "coverage"):
        # A check's id is copied from here, so it stands on one line.
        table.add_column(title, overflow="fold", no_wrap=title.endswith("check"))
    for one in found:
        fields = one.header.fields
        reason = "hash opens" if one.opened else "HASH DOES NOT OPEN"
        number = "1 value" if fields.count == 1 else f"{fields.count} values"
        marks = f"{fields.operation or 'standing work'}, {number}, {reason}"
        table.add_row(
            Text(f"{_time(fields.issued_at_ms / MS)}\n{fields.check_id.hex()}"),
            Text(f"{one.reference} ({fields.purpose})\n{marks}"),
            Text(_in_words(one.coverage)),
            end_section=True,
        )
    return table


def _answered_table(answered: list[AnsweredCheck]) -> Table:
    table = Table()
    for title in ("told (UTC), check", "asked by", "own values that match"):
        # A check's id is copied from here, so it stands on one line.
        table.add_column(title, overflow="fold", no_wrap=title.endswith("check"))
    for one in answered:
        who = f"{named(one.asker)}{', looked once' if one.looked_once else ''}"
        table.add_row(Text(f"{_time(one.told_at_ms / MS)}\n{one.check_id.hex()}"), Text(who), Text(str(one.shown)))
    return table


def story(*, home: HomeFolder) -> None:
    """Print this node's part of a story as JSON: signed headers, certificates, notices; no identifier is in it.

    Put together with other parties' parts it can be checked offline: concordat audit story (docs/story.md).

    Example: concordat node story --home federation/node/NL > NL.json
    """
    with opened_node(home, SystemClock()) as (loaded, store), store.read() as db:
        sys.stdout.write(part_of(db, loaded.identity.name).model_dump_json() + "\n")


def justification(request: str, digest: str, /, *, home: HomeFolder, as_json: AsJson = False) -> None:
    """Open a justification hash that stands in the log of a custodian or the hub, or in a charter.

    Only the party that asked can: the salt follows from its key. The case it names answers for the request.

    Example: concordat node justification 941eba53...28c 863061aa...db1 --home federation/node/NL

    Parameters
    ----------
    request
        Id of the request or check in that log (hexadecimal), or an operation's id.
    digest
        The justification hash there, hexadecimal.
    """
    with opened_node(home, SystemClock()) as (loaded, store), store.read() as db:
        found = open_justification(db, key=loaded.signing_key, name=read_name(request), digest=read_digest(digest))
        kept = [] if found is None else officers(db, found.case.officer)
    if found is None:
        raise InputError("no case of this node has this justification for that request", code="justification_missing")
    if as_json:
        _print_json(_opened_dict(found) | {"officers": [one._asdict() for one in kept]})
        return
    console = Console()
    console.print(Text(f"case {found.case.reference}, {found.case.authority}, {found.case.officer}"), soft_wrap=True)
    for one in kept:
        console.print(Text(f"{one.pseudonym} is {one.name}, {one.unit}"), soft_wrap=True)
    console.print(Text(f"justification: {found.case.justification_bytes().decode()}"), soft_wrap=True)
    console.print(Text(f"salt: {found.salt.hex()}"), soft_wrap=True)


def _check_dict(check: AskedCheck) -> dict[str, Any]:
    fields = check.header.fields
    return {
        "check": fields.check_id.hex(),
        "asked_at": _time(fields.issued_at_ms / MS),
        "case": check.reference,
        "purpose": fields.purpose,
        "operation": fields.operation,
        "values": fields.count,
        "look_once": fields.look_once,
        "epoch": fields.epoch,
        "header_hash": check.header.hash.hex(),
        "justification_hash": fields.justification_hash.hex(),
        "justification": _opened_dict(check.opened) if check.opened else None,
        "certificate": _coverage_dict(check.coverage) if check.coverage else None,
    }


def _answered_dict(check: AnsweredCheck) -> dict[str, Any]:
    return {
        "check": check.check_id.hex(),
        "told_at": _time(check.told_at_ms / MS),
        "asked_by": check.asker,
        "looked_once": check.looked_once,
        "own_values": check.shown,
    }


def _opened_dict(opened: Opened) -> dict[str, Any]:
    return {
        "case": opened.case.reference,
        "justification": json.loads(opened.case.justification_bytes()),
        "salt": opened.salt.hex(),
    }


def _coverage_dict(coverage: Coverage) -> dict[str, Any]:
    return {
        "gateway": coverage.gateway,
        "issued_at": _time(coverage.issued_at_ms / MS),
        "signature": coverage.problem or "good",
        "partial": coverage.partial,
        "holders": {
            holder: {"state": state, "data_time": _time(at) if at else None}
            for holder, (state, at) in sorted(coverage.holders.items())
        },
    }


def _in_words(coverage: Coverage | None) -> str:
    if coverage is None:
        return "no certificate: nobody is covered by this check"
    states: dict[str, list[str]] = {}
    for holder, (state, _) in sorted(coverage.holders.items()):
        states.setdefault(state.replace("_", " "), []).append(short(holder))
    lines = [f"{state}: {', '.join(names)}" for state, names in sorted(states.items())]
    return "\n".join([*lines, *([f"PROVES NOTHING: {coverage.problem}"] if coverage.problem else [])])


def _time(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


def _print_json(value: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(value, ensure_ascii=False) + "\n")
