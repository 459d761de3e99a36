"""Write each party's lines into files as investigators keep them: tables in many encodings, JSON lines, MISP, STIX."""

from __future__ import annotations

import csv
import io
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final
from uuid import UUID, uuid5

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from demo.scenario import Line, Scenario

COLUMNS: Final = ("id", "kind", "identifier", "region", "platform", "origin", "destination", "thb", "csa")
# Encoding, delimiter; a party whose lines do not fit into its encoding writes UTF-8.
TABLES: Final = (
    ("utf-8", ";"),
    ("cp1252", ";"),
    ("utf-8-sig", ","),
    ("cp1250", ";"),
    ("utf-16", "\t"),
    ("cp1251", ";"),
)
NAMESPACE: Final = UUID("6f1c0c1e-6f0e-4c0e-9a57-000000000000")
STAMP: Final = "2023-09-18T08:00:00.000Z"
MISP_TYPES: Final = {"phone": "phone-number", "email": "email", "domain": "domain"}
STIX_TYPES: Final = {"email": "email-addr", "domain": "domain-name", "url": "url"}


@dataclass(frozen=True, slots=True)
class PartyFile:
    """A file of a party, and the ids of its lines in the order in which they stand in it."""

    party: str
    path: Path
    line_ids: tuple[str, ...]


def write_files(scenario: Scenario, folder: Path) -> list[PartyFile]:
    """Write all parties' files; the party's place in the scenario decides its formats."""
    written: list[PartyFile] = []
    for number, name in enumerate(scenario.parties):
        own = [line for line in scenario.lines if line.party == name]
        if own:
            (folder / name).mkdir(parents=True, exist_ok=True)
            written += _write_party(name, number, own, folder / name)
    return written


def _write_party(name: str, number: int, lines: list[Line], folder: Path) -> list[PartyFile]:
    if number % 4 == 1:
        return [_write(name, folder / "hackathon.jsonl", lines, _json_lines)]
    if number % 4 == 2:
        events, rest = _split(lines, MISP_TYPES)
        others = [_write(name, folder / "event.json", events, _misp)]
    elif number % 4 == 3:
        observed, rest = _split(lines, STIX_TYPES)
        others = [_write(name, folder / "bundle.json", observed, _stix)]
    else:
        rest, others = lines, []
    encoding, delimiter = TABLES[number % len(TABLES)]
    table = _write(name, folder / "list.csv", rest, lambda own: _table(own, encoding, delimiter))
    return [file for file in (table, *others) if file.line_ids]


def _split(lines: list[Line], types: dict[str, str]) -> tuple[list[Line], list[Line]]:
    """Return the lines that a format without our columns can carry whole, and the rest."""

    def fits(line: Line) -> bool:
        plain = not (line.region or line.platform or line.origin or line.destination)
        return plain and line.kind in types and line.assessment == line.csa == "checked"

    return [line for line in lines if fits(line)], [line for line in lines if not fits(line)]


def _write(party: str, path: Path, lines: list[Line], form: Callable[[list[Line]], bytes]) -> PartyFile:
    if lines:
        path.write_bytes(form(lines))
    return PartyFile(party, path, tuple(line.id for line in lines))


def _cells(line: Line) -> dict[str, str]:
    return {
        "id": line.id,
        "kind": line.kind,
        "identifier": line.typed,
        "region": line.region or "",
        "platform": line.platform or "",
        "origin": " ".join(line.origin),
        "destination": " ".join(line.destination),
        "thb": line.assessment,
        "csa": line.csa,
    }


def _table(lines: list[Line], encoding: str, delimiter: str) -> bytes:
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, COLUMNS, delimiter=delimiter)
    writer.writeheader()
    writer.writerows([_cells(line) for line in lines])
    try:
        return text.getvalue().encode(encoding)
    except UnicodeEncodeError:
        return text.getvalue().encode()


def _json_lines(lines: list[Line]) -> bytes:
    rows = [{key: value for key, value in _cells(line).items() if value} for line in lines]
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows).encode()


def _misp(lines: list[Line]) -> bytes:
    attributes = [
        {
            "uuid": str(uuid5(NAMESPACE, line.id)),
            "type": MISP_TYPES[line.kind],
            "category": "Other",
            "value": line.typed,
        }
        for line in lines
    ]
    event = {"uuid": str(uuid5(NAMESPACE, lines[0].party)), "info": "action day", "date": STAMP[:10]}
    return json.dumps({"Event": {**event, "Attribute": attributes}}, ensure_ascii=False).encode()


def _stix(lines: list[Line]) -> bytes:
    objects: list[dict[str, Any]] = []
    for line in lines:
        stix_type = STIX_TYPES[line.kind]
        identity = {"type": stix_type, "spec_version": "2.1", "id": f"{stix_type}--{uuid5(NAMESPACE, line.id)}"}
        objects.append({**identity, "value": line.typed})
    bundle = {"type": "bundle", "id": f"bundle--{uuid5(NAMESPACE, lines[0].party)}", "objects": objects}
    return json.dumps(bundle, ensure_ascii=False).encode()
