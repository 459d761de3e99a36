"""What `concordat gateway status` says of the running sweeps."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from concordat.api.sweep_words import sweep_facts
from gateway.operations_store import OperationStore
from gateway.sweep.watch import read_standing

if TYPE_CHECKING:
    from gateway.service import Foundation
    from gateway.sweep.watch import Standing


def running_sweeps(foundation: Foundation) -> list[tuple[str, Standing | None]]:
    """Return the operations that are swept, with what the gateway has said last; None where it has said nothing.

    Raises:
        UnavailableError: The ledger cannot be read.
    """
    home = foundation.home
    store = OperationStore(foundation.engine, manifest=lambda: home.manifest, clock=foundation.clock)
    folder = foundation.settings.sweeps_folder(home.path)
    return [(one.charter.operation, read_standing(folder, one.sweep_id)) for one in store.sweeping()]


def sweep_as_dict(operation: str, standing: Standing | None) -> dict[str, Any]:
    """Return a sweep as JSON has it."""
    if standing is None:
        return {"operation": operation, "as_of": None}
    return {"operation": operation, "as_of": standing.as_of, **standing.progress.model_dump(mode="json")}


def sweep_as_lines(operation: str, standing: Standing | None) -> list[str]:
    """Return what people read of a sweep."""
    if standing is None:
        return [f"{operation} is swept; the gateway has not said how far it is"]
    as_of = datetime.fromtimestamp(standing.as_of, UTC).strftime("%H:%M:%S UTC")
    return [f"{operation}, last news of {as_of}:", *(f"  {fact}" for fact in sweep_facts(standing.progress))]
