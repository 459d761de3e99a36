"""The partner's side: ask whether others hold what one's own organisation knows, without showing it (3.9).

    from concordat.client import Client, Item

The names here are loaded when they are used: `concordat.client.session` serves the console too, which has no canonical
forms installed.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from concordat.client.client import Client, Progress
    from concordat.client.reading import Item
    from concordat.client.results import Checked, Cover, FoundHit, Outcome, PartyCover, Verdict

__all__ = ["Checked", "Client", "Cover", "FoundHit", "Item", "Outcome", "PartyCover", "Progress", "Verdict"]

_HOMES = {"Client": "client", "Progress": "client", "Item": "reading"}


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES.get(name, 'results')}"), name)
