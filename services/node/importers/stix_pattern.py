"""Read the plain equalities out of a STIX pattern, and refuse every pattern that says more.

Taken: `[email-addr:value = 'a' OR url:value = 'b'] OR [domain-name:value = 'c']`, and for an account the conjunction of
its login or id with its type. A pattern with any other operator, qualifier or object is refused whole, since half of
it would say something else.
"""

from __future__ import annotations

import re
from typing import Final

from services.node.importers.refusals import LineCode, RefusedValue

_TOKEN: Final = re.compile(
    r"""\s*(?:
        (?P<open>\[) | (?P<close>\]) | (?P<junction>OR|AND)\b
      | (?P<type>[a-z0-9-]+):(?P<path>[A-Za-z0-9_.'\[\]*-]+?)\s*=\s*'(?P<value>(?:[^'\\]|\\.)*)'
    )""",
    re.VERBOSE,
)
_ESCAPE: Final = re.compile(r"\\(.)")

# One alternative of a pattern: the properties that one object has.
Alternative = tuple[str, dict[str, str]]


def alternatives(pattern: str) -> list[Alternative]:
    """Return the objects that a pattern of plain equalities names, each as its type and properties.

    Raises:
        RefusedValue: the pattern says more than that.
    """
    found: list[Alternative] = []
    inside, junction, position, text = False, "OR", 0, pattern.rstrip()
    wanted = "open"
    while position < len(text):
        token = _TOKEN.match(text, position)
        if token is None or token.lastgroup is None:
            raise RefusedValue(LineCode.PATTERN_UNSUPPORTED)
        position = token.end()
        group = "equality" if token["type"] else token.lastgroup
        if group not in wanted.split():
            raise RefusedValue(LineCode.PATTERN_UNSUPPORTED)
        if group == "open":
            inside, junction, wanted = True, "OR", "equality"
        elif group == "equality":
            _add(found, token["type"], token["path"], _ESCAPE.sub(r"\1", token["value"]), junction=junction)
            wanted = "junction close"
        elif group == "close":
            inside, wanted = False, "junction"
        else:
            junction = token["junction"]
            if junction == "AND" and not inside:
                raise RefusedValue(LineCode.PATTERN_UNSUPPORTED)
            wanted = "equality" if inside else "open"
    if inside or wanted != "junction":
        raise RefusedValue(LineCode.PATTERN_UNSUPPORTED)
    return found


def _add(found: list[Alternative], kind: str, path: str, value: str, *, junction: str) -> None:
    if junction == "OR":
        found.append((kind, {path: value}))
        return
    # AND binds closer than OR: it adds to the object before it.
    last_kind, properties = found[-1]
    if kind != "user-account" or last_kind != kind or path in properties:
        raise RefusedValue(LineCode.PATTERN_UNSUPPORTED)
    properties[path] = value
