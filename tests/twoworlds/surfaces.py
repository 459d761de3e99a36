"""What everybody but one party sees, with the time of each thing, so that two worlds can be held against each other."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from concordat.clock import Clock

Seen = list[tuple[float, bytes]]


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

    def numbered(self, seen: Iterable[tuple[float, bytes]]) -> Seen:
        """Return what one observer saw, with numbers in place of ids, in the order in which it met them."""
        entries = list(seen)
        whole = b"\0".join(what for _, what in entries)
        met = sorted((at, one) for one in self.ids if (at := whole.find(one)) >= 0)
        for number, (_, one) in enumerate(met):
            name = b"id %012d\0" % number
            entries = [(time, what.replace(one, name)) for time, what in entries]
        return entries


def differences(one: Surfaces, two: Surfaces, drawn: tuple[Drawn, Drawn]) -> dict[str, str]:
    """Return surface -> where it differs first; sizes, numbers and times count as much as content."""
    found = {}
    for name in sorted({*one.by_name, *two.by_name}):
        a, b = (ids.numbered(world.by_name.get(name, [])) for ids, world in zip(drawn, (one, two), strict=True))
        if a != b:
            at = next((at for at, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), min(len(a), len(b)))
            found[name] = f"entry {at} of {len(a)} and {len(b)}: {a[at : at + 1]} against {b[at : at + 1]}"
    return found
