"""The table of methods as docs/protocol.md shows it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from concordat.identity.names import Role
from concordat.rpc.methods import METHODS

if TYPE_CHECKING:
    from concordat.rpc.methods import Method

BEGIN: Final = "<!-- methods: written by scripts/method-table -->"
END: Final = "<!-- end of methods -->"
_HEAD: Final = ("method", "served by", "scope", "who, and on which condition")


def page() -> str:
    """Return the text between the two marks, the marks with it."""
    rows = [_HEAD, tuple("---" for _ in _HEAD), *map(_row, METHODS)]
    return "\n".join([BEGIN, *(f"| {' | '.join(row)} |" for row in rows), END])


def written_into(document: str) -> str:
    """Return a document with the table in its place.

    Raises:
        ValueError: The document has not each mark once.
    """
    before, begin, rest = document.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end or BEGIN in after or END in after:
        raise ValueError("the document has each mark once")
    return before + page() + after


def _row(method: Method) -> tuple[str, ...]:
    servers = ", ".join(role for role in Role if role in method.servers)
    return f"`{method.name.removeprefix('/concordat.wire.v1.')}`", servers, method.scope or "", _who(method)


def _who(method: Method) -> str:
    roles: dict[str, list[str]] = {}
    for role in Role:
        if role in method.may:
            roles.setdefault(method.may[role], []).append(role)
    found = [f"{', '.join(names)}: {condition}" for condition, names in roles.items()]
    return "; ".join(["anyone may connect"] * (method.anyone and bool(found)) + found) or "anyone"
