"""The propagator of every library: it passes nothing on and takes nothing over."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from opentelemetry.context import get_current
from opentelemetry.propagators.textmap import TextMapPropagator
from typing_extensions import override

if TYPE_CHECKING:
    from opentelemetry.context import Context


class Nothing(TextMapPropagator):
    """Unlike a composite of no propagators it always returns a context: libraries attach what they get."""

    @override
    def extract(self, carrier: Any, context: Context | None = None, getter: Any = None) -> Context:
        """Return the context as it was."""
        return get_current() if context is None else context

    @override
    def inject(self, carrier: Any, context: Context | None = None, setter: Any = None) -> None:
        """Write nothing."""

    @property
    @override
    def fields(self) -> set[str]:
        """Return the names of the fields that are written: none."""
        return set()
