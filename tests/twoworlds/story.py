"""The same story in each world; the silent party does its one thing early, or late, or not at all."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from tests.twoworlds.action_day import OPERATION, Sweep, propose

if TYPE_CHECKING:
    from collections.abc import Callable

    from gateway.operations_store import OperationStore
    from tests.twoworlds.readers import Readers
    from tests.twoworlds.twin import Twin

X, Y, OTHER = "+447700900001", "+447700900002", "+447700900099"
"""What NL, DE and later FR share; what NL and RO share openly; what nobody else has."""


DRILL = "drill"
"""An exercise of NL, DE and RO, in which NL and DE hold X, too."""


@dataclass(frozen=True)
class Silence:
    """What the silent party does in one world."""

    early: Callable[[Twin], None] | None = None
    """Before anybody asks for X."""
    late: Callable[[Twin], None] | None = None
    """After NL, DE and the partner have asked for it."""
    end: Callable[[Twin], None] | None = None
    """Between the sweep and the restart of the hub."""


@dataclass
class Told:
    """One world in which the story is told."""

    twin: Twin
    readers: Readers
    store: OperationStore
    leaks_into_report: bool = False

    def tell(self, silence: Silence) -> None:
        """Let the story happen and note all that is seen of it."""
        twin = self.twin
        twin.submit("RO", Y, "+447700900003", operation=OPERATION)
        self._begin()
        self._act(silence.early)
        for name in ("NL", "DE"):
            twin.submit(name, X, operation=DRILL, domain=DRILL)
            self._step()
        twin.submit("NL", X, Y, operation=OPERATION)
        self._step()
        twin.submit("DE", X, operation=OPERATION)
        self._step()
        self.readers.ask(X, Y, OTHER)
        # Over a minute's end: data times go on.
        twin.world.advance(61)
        self._step()
        self._act(silence.late)
        self._absence()
        propose(twin, self.store)
        self._step()
        self.readers.read_state()
        Sweep(twin, self.store, shows_all=self.leaks_into_report).run()
        self._step()
        self.readers.read_report(OPERATION)
        self._act(silence.end)
        twin.restart_hub()
        self._begin()
        twin.submit("UA", X)
        self._step()
        self.readers.ask(X)
        Sweep(twin, self.store, shows_all=self.leaks_into_report).run()
        self._step()
        self.readers.read_report(OPERATION)
        self.readers.read_state()
        twin.dump_disks()

    def _begin(self) -> None:
        """Let the hub know the exercise that runs, as gateway/exercises.py does, and let everybody attach."""
        twin = self.twin
        twin.hub.exchange.know_exercises({DRILL: frozenset(twin.nodes[name].id for name in ("NL", "DE", "RO"))})
        twin.attach_all()
        self._step()

    def _absence(self) -> None:
        """DE goes away, FR asks meanwhile, DE comes back: late hits."""
        twin = self.twin
        twin.hub.exchange.detach(twin.nodes["DE"].link.session)
        twin.nodes["DE"].link.closed = "unavailable"
        self._step()
        twin.submit("FR", X, "+447700900004")
        self._step()
        twin.attach_all()
        self._step(5)

    def _act(self, act: Callable[[Twin], None] | None) -> None:
        if act is not None:
            act(self.twin)
        self._step()

    def _step(self, seconds: float = 2.0) -> None:
        self.twin.step(seconds)
        self.readers.refresh()
        self.twin.look()
