"""Read the identifiers of a STIX 2.1 bundle, as stix2 writes it.

Read are `email-addr`, `url`, `domain-name`, `user-account`, the contact information of an `identity`, the plain
equalities of an `indicator`'s pattern, and `x-concordat-identifier`, for kinds that STIX has not: its properties are
the names of fields. Every object may carry fields as `x_concordat_<field>`. Times of an `observed-data` reach what it
refers to, over any number of references and never twice to the same object, so that cycles end.
"""

from __future__ import annotations

import re
from collections import deque
from typing import TYPE_CHECKING, Any, Final

from concordat.canon import Kind
from services.node.importers.fields import Field, RowReader
from services.node.importers.jsonl_file import fields_of
from services.node.importers.refusals import LineCode, RefusedValue, refuse
from services.node.importers.stix_pattern import alternatives

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from services.node.importers.tally import Tally
    from services.node.record import Refusal, Row

Properties = dict[str, Any]

_OWN_TYPE: Final = "x-concordat-identifier"
_OWN_PREFIX: Final = "x_concordat_"
_VALUE_KINDS: Final = {"email-addr": Kind.EMAIL, "url": Kind.URL, "domain-name": Kind.DOMAIN}
# Objects that hold or join others and identify nothing themselves.
_STRUCTURE_TYPES: Final = """
bundle course-of-action extension-definition grouping language-content location marking-definition note
observed-data opinion relationship report sighting
"""
_STRUCTURE: Final = frozenset(_STRUCTURE_TYPES.split())
_COMMON_NAMES: Final = """
type spec_version id created modified created_by_ref revoked labels confidence lang external_references
object_marking_refs granular_markings extensions defanged
"""
_COMMON: Final = frozenset(_COMMON_NAMES.split())
_EMAIL: Final = re.compile(r"[^\s<>,;:()\"']{1,64}@[^\s<>,;:()\"']{1,255}")
_PHONE: Final = re.compile(r"\+?\(?\d[\d ()./-]{5,24}\d")
_TYPE_NAME: Final = re.compile(r"(?!(?:.*\d){4})[a-z][a-z0-9-]{1,40}")

# What one object gives: the kind where its type says it, and fields.
Found = tuple[Kind | None, dict[Field, str]]


def entries(value: Mapping[str, Any]) -> tuple[Any, ...]:
    """Return the objects of a bundle, in order."""
    objects = value.get("objects")
    return tuple(objects) if isinstance(objects, list) else ()


def read_rows(objects: tuple[Any, ...], reader: RowReader, tally: Tally) -> Iterator[Row | Refusal]:
    """Yield the rows and refusals of each object; structure and revoked objects are counted as skipped."""
    observed = _observed(objects)
    makers = {str(thing.get("created_by_ref")) for thing in objects if isinstance(thing, dict)}
    for ordinal, thing in enumerate(objects, 1):
        kind = thing.get("type") if isinstance(thing, dict) else None
        if kind is not None and thing.get("revoked") is True:
            tally.skipped["revoked"] += 1
        elif isinstance(kind, str) and (kind in _STRUCTURE or _mere_maker(thing, makers)):
            tally.skipped["structure"] += 1
        else:
            yield from _of_object(ordinal, thing, reader, observed)


def _mere_maker(thing: Properties, makers: set[str]) -> bool:
    """Return whether an object is an identity that only says who made others."""
    return thing["type"] == "identity" and str(thing.get("id")) in makers and "contact_information" not in thing


def _of_object(
    ordinal: int, thing: Any, reader: RowReader, observed: Mapping[str, dict[Field, str]]
) -> Iterator[Row | Refusal]:
    if not isinstance(thing, dict):
        yield refuse(LineCode.NOT_AN_OBJECT, ordinal, None)
        return
    try:
        found = _found(thing)
        shared = {**observed.get(str(thing.get("id")), {}), **_own_fields(thing)}
    except RefusedValue as refused:
        yield refused.at(ordinal, _typed(thing))
        return
    for kind, fields in found:
        try:
            yield reader.row(ordinal, {**shared, **fields}, kind=kind)
        except RefusedValue as refused:
            yield refused.at(ordinal, fields.get(Field.IDENTIFIER))


def _found(thing: Properties) -> list[Found]:
    """Return what an object identifies.

    Raises:
        RefusedValue: its type has no kind here, or nothing in it can be read.
    """
    name = thing.get("type")
    if name == "identity":
        text = _string(thing, "contact_information")
        if text is None:
            reason = "an identity without contact information has no kind here"
            raise RefusedValue(LineCode.UNSUPPORTED_TYPE, field="type", reason=reason)
        return _contacts(text)
    if name == "indicator":
        if _string(thing, "pattern_type") not in {"stix", None}:
            raise RefusedValue(LineCode.PATTERN_UNSUPPORTED, reason="the pattern is not written in STIX")
        return [
            found
            for kind, properties in alternatives(_string(thing, "pattern") or "")
            for found in _of_type(kind, properties)
        ]
    if name == _OWN_TYPE:
        plain = {key: inner for key, inner in thing.items() if key not in _COMMON and not key.startswith(_OWN_PREFIX)}
        return [(None, fields_of(plain))]
    return _of_type(name, thing)


def _of_type(name: Any, properties: Properties) -> list[Found]:
    if isinstance(name, str) and name in _VALUE_KINDS:
        return [(_VALUE_KINDS[name], {Field.IDENTIFIER: _string(properties, "value") or ""})]
    if name == "user-account":
        platform = _string(properties, "account_type")
        shared = {Field.PLATFORM: platform} if platform else {}
        parts = (("account_login", Kind.USERNAME), ("user_id", Kind.USER_ID))
        found: list[Found] = [
            (kind, {**shared, Field.IDENTIFIER: text})
            for key, kind in parts
            if (text := _string(properties, key)) is not None
        ]
        if not found:
            raise RefusedValue(LineCode.IDENTIFIER_MISSING, field=Field.IDENTIFIER)
        return found
    shown = f"'{name}'" if isinstance(name, str) and _TYPE_NAME.fullmatch(name) else "without a name"
    raise RefusedValue(LineCode.UNSUPPORTED_TYPE, field="type", reason=f"objects of type {shown} have no kind here")


def _contacts(text: str) -> list[Found]:
    """Return the e-mail addresses and phone numbers that stand in free text."""
    emails = _EMAIL.findall(text)
    found: list[Found] = [(Kind.EMAIL, {Field.IDENTIFIER: email.rstrip(".")}) for email in emails]
    rest = _EMAIL.sub(" ", text)
    found.extend((Kind.PHONE, {Field.IDENTIFIER: phone}) for phone in _PHONE.findall(rest))
    if not found:
        raise RefusedValue(LineCode.NOTHING_READABLE, field="contact_information")
    return found


def _own_fields(thing: Properties) -> dict[Field, str]:
    """Return the fields that an object carries as `x_concordat_<field>`."""
    own = {key.removeprefix(_OWN_PREFIX): inner for key, inner in thing.items() if key.startswith(_OWN_PREFIX)}
    fields = fields_of(own)
    reference = _string(thing, "id")
    if reference and Field.CLIENT_REF not in fields:
        fields[Field.CLIENT_REF] = reference
    return fields


def _observed(objects: tuple[Any, ...]) -> dict[str, dict[Field, str]]:
    """Return the times of observation of each object that an `observed-data` reaches, by its id."""
    references = {str(thing.get("id")): list(_references(thing)) for thing in objects if isinstance(thing, dict)}
    times: dict[str, dict[Field, str]] = {}
    for thing in objects:
        if not isinstance(thing, dict) or thing.get("type") != "observed-data":
            continue
        seen = {
            field: text[:10]
            for field, key in ((Field.OBSERVED_FROM, "first_observed"), (Field.OBSERVED_TO, "last_observed"))
            if (text := _string(thing, key))
        }
        waiting = deque(references[str(thing.get("id"))])
        # Each object takes its times once, from the first that reaches it; that also ends every cycle.
        while waiting:
            reached = waiting.popleft()
            if reached not in times and reached in references:
                times[reached] = seen
                waiting.extend(references[reached])
    return times


def _references(thing: Properties) -> Iterator[str]:
    """Yield the ids that an object refers to as parts of itself; who made it and how it is marked are none."""
    for key, inner in thing.items():
        if key.endswith("_ref") and key not in _COMMON and isinstance(inner, str):
            yield inner
        elif key.endswith("_refs") and key not in _COMMON and isinstance(inner, list):
            yield from (item for item in inner if isinstance(item, str))


def _string(thing: Properties, key: str) -> str | None:
    """Return the text under `key`, None where there is none.

    Raises:
        RefusedValue: something else than text stands there.
    """
    inner = thing.get(key)
    if inner is not None and not isinstance(inner, str):
        raise RefusedValue(LineCode.WRONG_TYPE, field=key, reason="text in quotes is wanted")
    return inner or None


def _typed(thing: Any) -> str | None:
    """Return what to keep of an object that was refused."""
    if not isinstance(thing, dict):
        return None
    for key in ("value", "account_login", "contact_information", "pattern", "identifier"):
        if isinstance(thing.get(key), str):
            return str(thing[key])
    return None
