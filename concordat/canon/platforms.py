"""What the table of known platforms is made of: hosts, and the shapes of profile and post addresses.

A platform is named by its main registrable domain, so that a platform that is added here later keeps the canonical
forms which the generic rules gave its members before. Patterns match the whole path, decoded, without slashes at its
ends, whatever its case. Group `v` is the value; group `a` of a post is its author's handle.

Object types: `handle` (a name its owner chose), `id` (a number the platform gave), `group`, `page`, `channel`, `invite`
and a few that one platform has. Two types never mix.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

HANDLE: Final = r"@?(?P<v>[\w.\-]{1,80})"
NUMBER: Final = r"(?P<v>\d{1,20})"


@dataclass(frozen=True, slots=True)
class Rule:
    """One shape of a profile's address.

    Attributes:
        path: Pattern of the whole path.
        type: Object type of the account.
        query: Name of the query parameter that holds the value, when the path does not.
        exact: Whether the value is case-sensitive.
        host: The one host for which the rule holds; empty for all hosts of the platform.
    """

    path: re.Pattern[str]
    type: str
    query: str = ""
    exact: bool = False
    host: str = ""


@dataclass(frozen=True, slots=True)
class Post:
    """One shape of a post's address, and the one address that stands for it."""

    path: re.Pattern[str]
    url: str
    query: tuple[str, ...] = ()
    host: str = ""


@dataclass(frozen=True, slots=True)
class Platform:
    """One known platform.

    Attributes:
        domain: Its main registrable domain, which names it.
        names: What people call it, case-folded, without spaces.
        hosts: Registrable domains that are the same site.
        rules: Shapes of profile addresses, first match wins.
        posts: Shapes of post addresses, tried before `rules`.
        reserved: First parts of a path that are no handle.
        numeric_ids: Whether a bare number is an id here, since handles cannot be numbers.
        dropped: Characters that the platform ignores in a handle.
        subdomain: Whether name.DOMAIN is a profile.
        phones: Whether its members are known by phone number.
    """

    domain: str
    names: frozenset[str]
    hosts: frozenset[str]
    rules: tuple[Rule, ...] = ()
    posts: tuple[Post, ...] = ()
    reserved: frozenset[str] = frozenset()
    numeric_ids: bool = False
    dropped: str = ""
    subdomain: str = ""
    phones: bool = False


def rule(path: str, type_: str = "handle", *, query: str = "", exact: bool = False, host: str = "") -> Rule:
    """Make one row of the profiles' shapes."""
    return Rule(re.compile(path, re.IGNORECASE), type_, query, exact, host)


def post(path: str, url: str, *query: str, host: str = "") -> Post:
    """Make one row of the posts' shapes; `url` is a template of the pattern's groups and the query's names."""
    return Post(re.compile(path, re.IGNORECASE), url, query, host)


def site(  # noqa: PLR0913 - one row of the table, all by name
    domain: str,
    names: str,
    *rules: Rule,
    hosts: str = "",
    posts: tuple[Post, ...] = (),
    reserved: str = "",
    numeric_ids: bool = False,
    dropped: str = "",
    subdomain: str = "",
    phones: bool = False,
) -> Platform:
    """Make one platform; lists are words in one text."""
    return Platform(
        domain=domain,
        names=frozenset(names.split()),
        hosts=frozenset([domain, *hosts.split()]),
        rules=rules,
        posts=posts,
        reserved=frozenset(_RESERVED | set(reserved.split())),
        numeric_ids=numeric_ids,
        dropped=dropped,
        subdomain=subdomain,
        phones=phones,
    )


_RESERVED: Final = frozenset(
    """
    about account accounts ads api app apps auth blog business careers company contact cookies developer developers
    directory download en explore faq feed help home hashtag index.php index.html jobs legal login logout notifications
    oauth press privacy register search settings share signin signup sitemap support terms tos policies policy
    """.split()
)
