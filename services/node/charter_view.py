"""How a charter looks to whoever is to sign it."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

from rich.table import Table
from rich.text import Text

from concordat.identity.names import short

if TYPE_CHECKING:
    from rich.console import RenderableType

    from concordat.wire.v1 import operations_pb2 as wire
    from services.node.operations import Proposal


def render_charter(proposal: Proposal) -> RenderableType:
    """Return what a countersigner signs, with who has signed."""
    charter = proposal.held.charter
    table = Table(title=f"Charter of operation {charter.operation}", title_justify="left")
    table.add_column("field")
    # A hash that is cut cannot be compared.
    table.add_column("value", overflow="fold")
    rows = (
        ("title", charter.title),
        ("opener", short(charter.opener)),
        ("participants", ", ".join(short(party) for party in charter.participants)),
        ("report also for", ", ".join(short(party) for party in charter.readers) or "nobody else"),
        ("purpose", charter.purpose),
        ("namespaces", ", ".join(charter.namespaces)),
        ("from", _time(charter.starts_at)),
        ("to", _time(charter.ends_at)),
        ("exercise", "EXERCISE: its values are never compared with real ones" if charter.exercise else "no"),
        ("near to an earlier one", _officers(charter)),
        ("SHA-256", proposal.held.hash.hex()),
        ("signed by", ", ".join(short(party) for party in proposal.signed)),
    )
    for name, value in rows:
        # A title is an opener's text: Text keeps it from being read as markup.
        table.add_row(name, Text(value))
    return table


def _officers(charter: wire.Charter) -> str:
    if not charter.second_officer:
        return "not as far as its opener says"
    return f"{charter.officer} and {charter.second_officer} of the opener agree; its report is rounded"


def _time(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M UTC")
