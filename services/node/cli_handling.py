"""The commands `concordat node handling`, `withdraw`, `feedback`, `officer` and `restored`: what people decide."""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, Final

from cyclopts import App, Group, Parameter
from rich.console import Console
from rich.table import Table
from rich.text import Text

from concordat.canon import Kind
from concordat.clock import MS, SystemClock
from concordat.errors import InputError
from concordat.vocabulary import FalseHit, Handling, Purpose, Tlp, Visibility, WithdrawReason, Word, parse_word, words
from services.node.daemon import only_daemon
from services.node.decisions import Changed, Decisions, Selection
from services.node.falsehits import say_false_hit
from services.node.opened import opened_node
from services.node.policy import Policy
from services.node.store import officers as officer_rows
from services.node.store import policies
from services.node.store.officers import Officer

_CLOCK: Final = SystemClock()
_WHICH: Final = Group("Which records", sort_key=1)
_WHAT: Final = Group("How they are handled", sort_key=2)

app = App(name="handling", help="Show and change who may be told of records.")
officer_app = App(
    name="officer", help="Keep whom the pseudonyms of this node's officers stand for; it never leaves the node."
)

AsJson = Annotated[bool, Parameter(name="--json", negative=(), help="Print one JSON object and nothing else.")]
HomeFolder = Annotated[Path, Parameter(help="The node's folder.")]
Yes = Annotated[bool, Parameter(negative=(), help="Do it; without this, only show what would become of it.")]
OfficerName = Annotated[str, Parameter(help="Pseudonym of the officer who decides.")]
FileName = Annotated[str | None, Parameter(name="--file", group=_WHICH, help="Name of the file they came with.")]
Line = Annotated[int | None, Parameter(group=_WHICH, help="Line in that file.")]
CaseReference = Annotated[str | None, Parameter(name="--case", group=_WHICH, help="Reference of their case.")]
Typed = Annotated[str | None, Parameter(group=_WHICH, help="An identifier, in any way of writing it.")]
KindName = Annotated[str | None, Parameter(name="--kind", group=_WHICH, help="Its kind, such as phone.")]
Region = Annotated[str | None, Parameter(group=_WHICH, help="Country of a national phone number, such as NL.")]
Names = Annotated[str | None, Parameter(group=_WHAT)]


@Parameter(name="*")
@dataclass(frozen=True, slots=True)
class Which:
    """Which records a command is about."""

    file: FileName = None
    line: Line = None
    case: CaseReference = None
    typed: Typed = None
    kind: KindName = None
    region: Region = None

    def selection(self) -> Selection:
        """Return it as decisions take it."""
        return Selection(
            file_name=self.file,
            line=self.line,
            case_reference=self.case,
            typed=self.typed,
            kind=None if self.kind is None else Kind.parse(self.kind),
            region=self.region,
        )


_ALL: Final = Which()
_PREVIEW: Final = "would change"


@app.command
def show(
    *,
    home: HomeFolder,
    which: Which = _ALL,
    as_json: AsJson = False,
) -> None:
    """Show how records are handled and who may be told of them now.

    Example: concordat node handling show --case THB-2026-0001 --home federation/node/NL
    """
    with opened_node(home, _CLOCK) as (loaded, store):
        decisions = Decisions(loaded, store, _CLOCK)
        rows = decisions.find(which.selection())
        found = decisions.preview(rows, lambda policy: policy)
    _print(found, as_json=as_json, word="shown")


@app.command(name="set")
def set_(
    *,
    home: HomeFolder,
    officer: OfficerName,
    which: Which = _ALL,
    visibility: Names = None,
    code: Names = None,
    tlp: Names = None,
    tell: Names = None,
    not_tell: Names = None,
    purposes: Names = None,
    operations: Names = None,
    yes: Yes = False,
    as_json: AsJson = False,
) -> None:
    """Change who may be told of records; what is not given stays.

    Narrowing counts for every answer from now on; it takes nothing back that somebody was told. Widening has the
    records asked about anew, and whoever may be told now hears of matches that were silent before. Before you act on a
    match of which the other side was not told, remember that acting may show it.

    Example: concordat node handling set --file list.csv --not-tell UA --officer officer-17 --home federation/node/NL

    Parameters
    ----------
    visibility
        visible, silent (you are told, others are not) or local_only (compared with nobody).
    code
        Handling code: H0, H1, H2 or H3; of H3 records only parties are told that are named.
    tlp
        red, amber_strict, amber, green or clear; of red records only parties are told that are named.
    tell
        Parties and classes that may be told, such as DE,eu_state; 'default' for the classes that the node opted in for.
    not_tell
        Parties and classes that may not; 'none' for no exception.
    purposes
        Only for these purposes of the other side; 'none' for any.
    operations
        Only in these operations of the other side; 'none' for any.
    """
    changes = {
        "visibility": _word(Visibility, visibility),
        "handling": _word(Handling, code),
        "tlp": _word(Tlp, tlp),
        "not_tell": _list(not_tell),
        "purposes": None if purposes is None else tuple(_required(Purpose, one) for one in _list(purposes) or ()),
        "operations": _list(operations),
    }
    given: dict[str, Any] = {name: value for name, value in changes.items() if value is not None}
    if tell is not None:
        given["tell"] = None if tell == "default" else _list(tell)
    if not given:
        raise InputError("say what is to change; see --help")
    with opened_node(home, _CLOCK) as (loaded, store):
        decisions = Decisions(loaded, store, _CLOCK)
        rows = decisions.find(which.selection())

        def edit(policy: Policy) -> Policy:
            return Policy.model_validate(policy.model_dump() | given)

        done = decisions.change(rows, edit, officer=officer) if yes else decisions.preview(rows, edit)
    _print(done, as_json=as_json, word="changed" if yes else _PREVIEW)


@app.command(name="proposals")
def show_proposals(*, home: HomeFolder, as_json: AsJson = False) -> None:
    """Show the changes that wait for a second person.

    Example: concordat node handling proposals --home federation/node/NL
    """
    with opened_node(home, _CLOCK) as (_, store), store.read() as db:
        found = policies.proposals(db)
        records = {row.uid: row for row in policies.find_records(db)}
    if as_json:
        _print_json({"proposals": [_proposal(one, records) for one in found]})
        return
    table = Table()
    for title in ("number", "asked by", "when (UTC)", "record", "policy"):
        table.add_column(title, overflow="fold")
    for one in found:
        shown = _proposal(one, records)
        cells = (str(one.id), one.officer, shown["at"], shown["record"], json.dumps(shown["policy"]))
        table.add_row(*(Text(text) for text in cells))
    Console().print(table if found else "No change waits.")


@app.command
def approve(number: int, /, *, home: HomeFolder, officer: OfficerName, as_json: AsJson = False) -> None:
    """Approve a change as the second person: another officer than the one who asked.

    Example: concordat node handling approve 3 --officer officer-21 --home federation/node/NL

    Parameters
    ----------
    number
        As `concordat node handling proposals` shows it.
    """
    with opened_node(home, _CLOCK) as (loaded, store):
        Decisions(loaded, store, _CLOCK).approve(number, officer=officer)
    if as_json:
        _print_json({"approved": number})
        return
    Console().print(f"Change {number} is approved; the record is asked about anew.")


def withdraw(
    *,
    home: HomeFolder,
    officer: OfficerName,
    which: Which = _ALL,
    corrected: Annotated[bool, Parameter(negative=(), help="A corrected record was, or will be, submitted.")] = False,
    yes: Yes = False,
    as_json: AsJson = False,
) -> None:
    """Withdraw records: nobody finds them any more, and whoever was told of one hears of it.

    What was typed is deleted here at once. Other parties have to correct or delete what was disclosed to them within 48
    hours; their receipts are counted by `concordat node status`. To correct a record, withdraw it and submit it anew.

    Example: concordat node withdraw --file list.csv --line 7 --officer officer-17 --yes --home federation/node/NL
    """
    reason = WithdrawReason.CORRECTED if corrected else WithdrawReason.WITHDRAWN
    with opened_node(home, _CLOCK) as (loaded, store):
        decisions = Decisions(loaded, store, _CLOCK)
        rows = decisions.find(which.selection())
        gone = decisions.withdraw(rows, officer=officer, reason=reason) if yes else 0
    if as_json:
        _print_json({"records": len(rows), "withdrawn": yes, "values_gone": gone})
        return
    what = "1 record" if len(rows) == 1 else f"{len(rows)} records"
    Console().print(f"{what} withdrawn." if yes else f"{what} would be withdrawn; add --yes to do it.")


def feedback(
    handle: str,
    /,
    *,
    reason: str,
    home: HomeFolder,
    officer: OfficerName,
    other: str | None = None,
    as_json: AsJson = False,
) -> None:
    """Say that a match is a false hit; the other side hears of it if it was told of the match.

    Example: concordat node feedback M-7Q2K-0001-AB --reason reassigned --officer officer-17 --home federation/node/NL

    Parameters
    ----------
    handle
        Of the match.
    reason
        other_person, reassigned, common_value, typing_error or other; no text leaves the node.
    other
        Short name of one party; all parties of the match without it.
    """
    with opened_node(home, _CLOCK) as (loaded, store):
        parties = say_false_hit(
            loaded, store, handle, reason=_required(FalseHit, reason), officer=officer, other=other, clock=_CLOCK
        )
    if as_json:
        _print_json({"handle": handle, "said_of": parties})
        return
    Console().print(Text(f"{handle}: said to be a false hit with {', '.join(parties)}."), soft_wrap=True)


def restored(*, home: HomeFolder, as_json: AsJson = False) -> None:
    """Say that this node's store was put back from a backup; run it once before the node starts again.

    The store becomes another incarnation: a process that still runs on the other copy cannot attach any more.

    Example: concordat node restored --home federation/node/NL
    """
    with only_daemon(home), opened_node(home, _CLOCK) as (_, store):
        incarnation = store.renew_incarnation().hex()
    if as_json:
        _print_json({"incarnation": incarnation})
        return
    Console().print("The store is another incarnation; start the node.")


@officer_app.command(name="add")
def add_officer(pseudonym: str, name: str, /, *, unit: str, home: HomeFolder, as_json: AsJson = False) -> None:
    """Keep whom a pseudonym stands for; one that is there is not changed.

    Example: concordat node officer add officer-17 "A. Example" --unit "Unit 1" --home federation/node/NL

    Parameters
    ----------
    pseudonym
        As case profiles and decisions name it.
    name
        Of the officer.
    unit
        Of the officer.
    """
    with opened_node(home, _CLOCK) as (_, store), store.write() as db:
        if not officer_rows.put_officer(db, Officer(pseudonym, name, unit), _CLOCK.now()):
            raise InputError("this pseudonym stands for somebody already, and logs name it; choose another")
    if as_json:
        _print_json({"pseudonym": pseudonym})
        return
    Console().print("Kept.")


@officer_app.command(name="show")
def show_officers(pseudonym: str | None = None, /, *, home: HomeFolder, as_json: AsJson = False) -> None:
    """Show whom the pseudonyms stand for.

    Example: concordat node officer show officer-17 --home federation/node/NL

    Parameters
    ----------
    pseudonym
        Only this one.
    """
    with opened_node(home, _CLOCK) as (_, store), store.read() as db:
        found = officer_rows.officers(db, pseudonym)
    if as_json:
        _print_json({"officers": [one._asdict() for one in found]})
        return
    table = Table()
    for title in ("pseudonym", "name", "unit"):
        table.add_column(title, overflow="fold")
    for one in found:
        table.add_row(*(Text(text) for text in one))
    Console().print(table if found else "Nobody of this pseudonym is kept here.")


def _word(vocabulary: type[Word], text: str | None) -> Word | None:
    return None if text is None else _required(vocabulary, text)


def _required(vocabulary: type[Word], text: str) -> Word:
    found = parse_word(vocabulary, text)
    if found is None:
        raise InputError(f"the word is none of: {words(vocabulary)}")
    return found


def _list(text: str | None) -> tuple[str, ...] | None:
    if text is None:
        return None
    found = tuple(dict.fromkeys(one for one in text.replace(";", ",").replace(" ", ",").split(",") if one))
    return () if found == ("none",) else found


def _proposal(one: policies.Proposal, records: dict[bytes, policies.RecordRow]) -> dict[str, Any]:
    record = records.get(one.uid)
    where = "" if record is None else f"{record.file_name}:{record.line}, {record.case_reference}"
    at = datetime.fromtimestamp(one.at_ms / MS, UTC).strftime("%Y-%m-%d %H:%M")
    return {"number": one.id, "officer": one.officer, "at": at, "record": where, "policy": json.loads(one.policy)}


def _print(found: list[Changed], *, as_json: bool, word: str) -> None:
    if as_json:
        _print_json({"done": word, "records": [_as_dict(one) for one in found]})
        return
    table = Table(title=word, title_justify="left")
    for title in ("record", "visibility", "may be told now", "before"):
        table.add_column(title, overflow="fold")
    for one in found:
        where = f"{one.record.typed}\n{one.record.file_name}:{one.record.line}, {one.record.case_reference}"
        waits = (
            ""
            if one.proposal is None
            else "\nwaits for a second person" + (f" (number {one.proposal})" * bool(one.proposal))
        )
        told = ", ".join(one.told_after) or "nobody"
        before = "the same" if one.told_before == one.told_after else ", ".join(one.told_before) or "nobody"
        table.add_row(*(Text(text) for text in (where, _terms(one.after) + waits, told, before)))
    Console().print(table)
    if word == _PREVIEW:
        Console().print("Nothing was changed; add --yes to do it.")


def _terms(policy: Policy) -> str:
    parts = [policy.visibility.value, policy.handling.value, f"TLP {policy.tlp.value}"]
    parts += [f"for {', '.join(policy.purposes)}"] * bool(policy.purposes)
    parts += [f"in {', '.join(policy.operations)}"] * bool(policy.operations)
    return ", ".join(parts)


def _as_dict(one: Changed) -> dict[str, Any]:
    return {
        "file": one.record.file_name,
        "line": one.record.line,
        "case": one.record.case_reference,
        "typed": one.record.typed,
        "role": one.record.role,
        "policy": one.after.model_dump(mode="json"),
        "may_be_told": list(one.told_after),
        "before": {"policy": one.before.model_dump(mode="json"), "may_be_told": list(one.told_before)},
        "proposal": one.proposal,
    }


def _print_json(value: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(value, ensure_ascii=False) + "\n")
