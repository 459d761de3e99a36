"""Who may call what: a table from method to roles, and to single parties where that is narrower.

A missing row refuses, and it refuses a method that exists and one that does not alike.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

from concordat.errors import IdentityError, RefusedError
from concordat.identity.names import Role

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping

    from concordat.identity.names import SpiffeId

HEALTH_METHODS: Final = ("/grpc.health.v1.Health/Check", "/grpc.health.v1.Health/Watch")


@dataclass(frozen=True, slots=True)
class AuthorisationTable:
    """Rows `/package.Service/Method` -> roles that may call it.

    `parties` narrows a row further: where it has the method, the caller's short name must be among the names too.
    """

    roles: Mapping[str, frozenset[Role]]
    parties: Mapping[str, frozenset[str]] = field(default_factory=lambda: MappingProxyType({}))

    def __post_init__(self) -> None:
        for method in (*self.roles, *self.parties):
            if method.count("/") != 2 or not method.startswith("/"):
                raise ValueError("a row names a method as /package.Service/Method")
        if not set(self.parties) <= set(self.roles):
            raise ValueError("a row of parties has a row of roles as well")
        object.__setattr__(self, "roles", MappingProxyType(dict(self.roles)))
        object.__setattr__(self, "parties", MappingProxyType(dict(self.parties)))

    @classmethod
    def of(
        cls, rows: Mapping[str, Collection[Role]], parties: Mapping[str, Collection[str]] | None = None
    ) -> AuthorisationTable:
        """Make a table from plain collections."""
        narrowed = {method: frozenset(names) for method, names in (parties or {}).items()}
        return cls({method: frozenset(roles) for method, roles in rows.items()}, narrowed)

    def with_health(self) -> AuthorisationTable:
        """Return the table with rows that let every known party read the service's health."""
        everyone = dict.fromkeys(HEALTH_METHODS, frozenset(Role))
        return AuthorisationTable({**everyone, **self.roles}, self.parties)

    def check(self, method: str, caller: SpiffeId, known: Callable[[SpiffeId], bool]) -> None:
        """Let a caller pass, or raise.

        Raises:
            IdentityError: If the manifest does not name the caller.
            RefusedError: If no row lets it call this method.
        """
        if not known(caller):
            raise IdentityError(f"{caller} has a valid certificate, but the manifest does not name it")
        if caller.role not in self.roles.get(method, frozenset()):
            raise RefusedError(f"no row lets a {caller.role} call this method")
        names = self.parties.get(method)
        if names is not None and caller.name not in names:
            raise RefusedError(f"the row of this method does not name {caller}")
