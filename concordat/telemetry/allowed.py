"""What may leave in a span or metric: names and attributes on a list, each value in its form, and nothing else.

The list stands behind everything that ends a span, our code and libraries alike: what is not on it is dropped before
it is encoded (`concordat.telemetry.clean`).
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from concordat.errors import CATALOGUE
from concordat.identity.names import Role

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping


SCOPE: Final = "concordat"
OK: Final = "ok"
NO_ROW: Final = "(no row)"
SPANS: Final = frozenset({"rpc", "http", "tokenise", "check", "questions"})
_RPC: Final = re.compile(r"/(?:concordat(?:\.[a-z0-9]+)+|grpc\.health\.v1)\.[A-Z][A-Za-z]{1,40}/[A-Z][A-Za-z]{1,40}")
_ROUTE: Final = re.compile(r"/(?:[a-z0-9_.-]{1,40}|\{[a-z_]{1,40}\})?(?:/(?:[a-z0-9_.-]{1,40}|\{[a-z_]{1,40}\})){0,6}")
_VERBS: Final = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})

ATTRIBUTES: Final[Mapping[str, Callable[[object], bool]]] = {
    "rpc.method": lambda value: value == NO_ROW or (isinstance(value, str) and _RPC.fullmatch(value) is not None),
    "concordat.peer.role": lambda value: value in set(Role),
    "concordat.code": lambda value: value == OK or value in CATALOGUE,
    # The route as the program writes it, never a path that was asked for.
    "http.route": lambda value: value == NO_ROW or (isinstance(value, str) and _ROUTE.fullmatch(value) is not None),
    "http.request.method": lambda value: value in _VERBS,
    "http.response.status_code": lambda value: type(value) is int and 100 <= value <= 599,
}


def clean_attributes(attributes: Mapping[str, object]) -> dict[str, str | int]:
    """Return the attributes that are on the list and in their form."""
    return {
        name: value
        for name, value in attributes.items()
        if isinstance(value, str | int) and name in ATTRIBUTES and ATTRIBUTES[name](value)
    }
