"""What everybody but one party sees, with the time of each thing, so that two worlds can be held against each other."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable

    from concordat.clock import Clock

Seen = list[tuple[float, bytes]]
DISK: Final = "disk of "


@dataclass
class Surfaces:
    """Everything that is seen, by name of the surface, in order and with its time."""

    clock: Clock
    by_name: dict[str, Seen] = field(default_factory=lambda: defaultdict(list))

    def put(self, name: str, what: bytes) -> None:
        """Note that something is seen now."""
        self.by_name[name].append((round(self.clock.monotonic(), 6), what))


@dataclass
class Drawn:
    """Random ids that a world has drawn: which they are says nothing, so each observer's are numbered as it sees them.

    A world in which one more edge is opened in silence draws other ids for all that follow; without this, that alone
    would be a difference.
    """

    ids: list[bytes] = field(default_factory=list)

    def drawing(self, draw: Callable[[int], bytes]) -> Callable[[int], bytes]:
        """Return a source of randomness that remembers what it gave."""

        def drawn(size: int) -> bytes:
            found = draw(size)
            if size == 16:
                self.ids.append(found)
            return found

        return drawn

    def numbered(self, seen: Seen, met_in: Seen) -> Seen:
        """Return what one observer saw, with numbers in place of ids, in the order in which it met them somewhere."""
        whole = b"\0".join(what for _, what in met_in)
        met = sorted((at, one) for one in self.ids if (at := whole.find(one)) >= 0)
        for number, (_, one) in enumerate(met):
            name = b"id %012d\0" % number
            seen = [(time, what.replace(one, name)) for time, what in seen]
        return seen


def _read(world: Surfaces, name: str, ids: Drawn) -> Seen:
    seen = world.by_name.get(name, [])
    if not name.startswith(DISK):
        return ids.numbered(seen, seen)
    # The rows of a disk lie in the order of the ids, which is chance; it learns of ids by its frames.
    return sorted(ids.numbered(seen, world.by_name[f"frames to {name.removeprefix(DISK)}"]))


def differences(one: Surfaces, two: Surfaces, drawn: tuple[Drawn, Drawn]) -> dict[str, str]:
    """Return surface -> where it differs first; sizes, numbers and times count as much as content."""
    found = {}
    for name in sorted({*one.by_name, *two.by_name}):
        a, b = (_read(world, name, ids) for ids, world in zip(drawn, (one, two), strict=True))
        if a != b:
            at = next((at for at, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), min(len(a), len(b)))
            found[name] = f"entry {at} of {len(a)} and {len(b)}: {a[at : at + 1]} against {b[at : at + 1]}"
    return found
