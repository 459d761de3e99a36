"""Parse JSON as RFC 8259 means it, and nothing that two programs could read differently.

Refused: a key that stands twice in one object, NaN and infinities, nesting beyond a limit, numbers of absurd length.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, NoReturn

from services.node.importers.refusals import LineCode, RefusedValue

if TYPE_CHECKING:
    from collections.abc import Iterable


def parse(text: str, *, levels: int) -> Any:
    """Return the JSON value that `text` holds, at most `levels` deep.

    Raises:
        RefusedValue: the text is no JSON, repeats a key or is nested too deep; names the position, not the value.
    """
    try:
        value = json.loads(text, object_pairs_hook=_object, parse_constant=_constant)
    except json.JSONDecodeError as error:
        reason = f"no JSON at line {error.lineno}, column {error.colno} of the text: {error.msg}"
        raise RefusedValue(LineCode.JSON_BROKEN, reason=reason) from error
    except ValueError as error:
        raise RefusedValue(LineCode.JSON_BROKEN, reason="a number has too many digits") from error
    except RecursionError as error:
        raise RefusedValue(LineCode.TOO_DEEP) from error
    # Most texts are shallow, which their brackets show without a walk.
    if text.count("{") + text.count("[") > levels and _depth_over(value, levels):
        raise RefusedValue(LineCode.TOO_DEEP)
    return value


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise RefusedValue(LineCode.KEY_DUPLICATE)
    return found


def _constant(_name: str) -> NoReturn:
    raise RefusedValue(LineCode.JSON_BROKEN, reason="NaN and Infinity are no JSON")


def _depth_over(value: Any, levels: int) -> bool:
    """Return whether `value` is nested deeper than `levels`, without recursion of its own."""
    layer: list[Any] = [value]
    for _ in range(levels):
        layer = [inner for outer in layer for inner in _children(outer)]
        if not layer:
            return False
    return any(isinstance(value, dict | list) for value in layer)


def _children(value: Any) -> Iterable[Any]:
    if isinstance(value, dict):
        return value.values()
    return value if isinstance(value, list) else ()
