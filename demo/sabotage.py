"""Faults on purpose, to show that the comparison with the truth finds them. Faults of the gateway are its own."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from concordat.canon import Namespace, read

if TYPE_CHECKING:
    from concordat.canon import Context, Kind, Reading


def careless_read(kind: Kind, typed: str, context: Context) -> Reading:
    """Read as a node would that has other rules for mailboxes under the same rules version."""
    reading = read(kind, typed, context)
    strong, *weak = reading.values
    if strong.namespace is not Namespace.EMAIL:
        return reading
    return replace(reading, values=(replace(strong, canonical=f"{strong.canonical}."), *weak))
