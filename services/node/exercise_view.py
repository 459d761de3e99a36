"""The banner of an exercise: above all that people see of one."""

from __future__ import annotations

from typing import Final

from rich.console import Console
from rich.text import Text

BANNER: Final = "EXERCISE: nothing here is real, counts for an investigation, or is kept after its end"


def show_banner(*, exercise: bool, console: Console | None = None) -> None:
    """Print the banner where something of an exercise follows."""
    if exercise:
        (console or Console()).print(Text(BANNER, style="bold reverse"), soft_wrap=True)
