"""Read the attributes of MISP events, alone or within objects, as pymisp and the MISP server write them."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from services.node.importers.fields import Field, RowReader
from services.node.importers.misp_kinds import ATTRIBUTE_KINDS, DESCRIPTIVE, FIRST_PART, OBJECTS, PLATFORM_RELATIONS
from services.node.importers.refusals import LineCode, RefusedValue

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from concordat.canon import Kind
    from services.node.importers.tally import Tally
    from services.node.record import Refusal, Row

# Three digits at most: 'sha256' is a name, a number is a value.
_TYPE_NAME: Final = re.compile(r"(?!(?:.*\d){4})[A-Za-z][A-Za-z0-9 |/_-]{0,39}")


@dataclass(frozen=True, slots=True)
class Entry:
    """One attribute, and what the object around it says about all of its attributes."""

    attribute: Any = field(repr=False)
    object_name: str | None = None
    platform: str | None = field(default=None, repr=False)
    deleted: bool = False
    first_seen: str | None = None
    last_seen: str | None = None


def entries(value: Any) -> tuple[Entry, ...]:
    """Return the attributes of all events in a document, those of objects after those of the event itself."""
    found: list[Entry] = []
    for event in _events(value):
        found.extend(Entry(attribute) for attribute in _list(event, "Attribute"))
        for thing in _list(event, "Object"):
            if isinstance(thing, dict):
                found.extend(_of_object(thing))
            else:
                found.append(Entry(thing))
    return tuple(found)


def read_rows(found: tuple[Entry, ...], reader: RowReader, tally: Tally) -> Iterator[Row | Refusal]:
    """Yield a row or refusal for each attribute; deleted and descriptive ones are counted as skipped."""
    for ordinal, entry in enumerate(found, 1):
        if entry.deleted or (isinstance(entry.attribute, dict) and _true(entry.attribute.get("deleted"))):
            tally.skipped["deleted"] += 1
            continue
        if isinstance(entry.attribute, dict) and _descriptive(entry):
            tally.skipped["descriptive"] += 1
            continue
        try:
            yield _row(ordinal, entry, reader)
        except RefusedValue as refused:
            yield refused.at(ordinal, _text(entry.attribute, "value"))


def _events(value: Any) -> Iterator[Mapping[str, Any]]:
    """Yield the events of a document: bare, wrapped in 'Event', or a list of these, maybe within 'response'."""
    if isinstance(value, dict) and "response" in value:
        value = value["response"]
    for item in value if isinstance(value, list) else [value]:
        event = item.get("Event", item) if isinstance(item, dict) else item
        if isinstance(event, dict):
            yield event


def _list(event: Mapping[str, Any], key: str) -> list[Any]:
    inner = event.get(key)
    return inner if isinstance(inner, list) else [inner] if isinstance(inner, dict) else []


def _of_object(thing: Mapping[str, Any]) -> Iterator[Entry]:
    name = _text(thing, "name")
    attributes = _list(thing, "Attribute")
    relations = {_text(attribute, "object_relation"): _text(attribute, "value") for attribute in attributes}
    platform = next((relations[key] for key in PLATFORM_RELATIONS if relations.get(key)), None)
    for attribute in attributes:
        yield Entry(
            attribute,
            object_name=name,
            platform=platform,
            deleted=_true(thing.get("deleted")),
            first_seen=_text(thing, "first_seen") or relations.get("first-seen"),
            last_seen=_text(thing, "last_seen") or relations.get("last-seen"),
        )


def _descriptive(entry: Entry) -> bool:
    return entry.object_name is not None and _text(entry.attribute, "object_relation") in DESCRIPTIVE


def _row(ordinal: int, entry: Entry, reader: RowReader) -> Row:
    attribute = entry.attribute
    if not isinstance(attribute, dict):
        raise RefusedValue(LineCode.NOT_AN_OBJECT, reason="the attribute is no object")
    kind, platform = _kind(entry)
    value = attribute.get("value")
    if not isinstance(value, str):
        raise RefusedValue(LineCode.WRONG_TYPE, field=Field.IDENTIFIER, reason="text in quotes is wanted")
    if _text(attribute, "type") in FIRST_PART:
        value = value.partition("|")[0]
    fields = {
        Field.IDENTIFIER: value,
        Field.PLATFORM: platform,
        Field.NOTES: _text(attribute, "comment"),
        Field.CLIENT_REF: _text(attribute, "uuid"),
        Field.OBSERVED_FROM: _text(attribute, "first_seen") or entry.first_seen,
        Field.OBSERVED_TO: _text(attribute, "last_seen") or entry.last_seen,
    }
    return reader.row(ordinal, {name: text for name, text in fields.items() if text}, kind=kind)


def _kind(entry: Entry) -> tuple[Kind, str | None]:
    """Return the kind of an attribute and its platform: by its place in the object, else by its own type."""
    relation, own_type = _text(entry.attribute, "object_relation"), _text(entry.attribute, "type")
    known = OBJECTS.get(entry.object_name or "")
    if known is not None and relation is not None and relation in known.kinds:
        return known.kinds[relation], known.platform or entry.platform
    kind = ATTRIBUTE_KINDS.get(own_type or "")
    if kind is not None:
        return kind, None
    place = "" if relation is None else f" (as {_shown(relation)} of {_shown(entry.object_name)})"
    reason = f"attributes of type {_shown(own_type)}{place} have no kind here"
    raise RefusedValue(LineCode.UNSUPPORTED_TYPE, field="type", reason=reason)


def _shown(name: str | None) -> str:
    """Return a name of MISP's vocabulary for a message; text that could be a value is not shown."""
    return f"'{name}'" if name and _TYPE_NAME.fullmatch(name) else "without a name"


def _true(value: Any) -> bool:
    return value in (True, 1, "1", "true", "True")


def _text(thing: Any, key: str) -> str | None:
    """Return the text under `key`, None where there is none or it is no text."""
    inner = thing.get(key) if isinstance(thing, dict) else None
    return inner.strip() if isinstance(inner, str) and inner.strip() else None
