"""Platforms: the registrable domain of a site (strong), its full host where that says more (weak).

Private suffixes count, so that each tenant of a hosting service is a platform of its own; an onion address is whole.
Other names of one site (fb.com, twitter.com, vk.ru) are folded into its main domain. The registrable domain is a weak
value as well, unless many unrelated people share it, so that a URL's host meets it. What is a name and no host stays
`name=` and the folded name.
"""

from __future__ import annotations

import re
from typing import Final

from concordat.canon.account import is_shared, main_domain, site_of_name
from concordat.canon.hosts import is_address, is_dotted_name, to_host, without_view
from concordat.canon.model import Namespace, Reading, strong_first
from concordat.canon.text import fold
from concordat.errors import InputError

_MAX_NAME_CHARS: Final = 128
_LOOSE_HOST: Final = re.compile(r"^[\w\-]+(?:\s*\.\s*[\w\-]+)+$")
_LABEL: Final = re.compile(
    r"^(?:[^\W\d_]{2,20}\s*:\s*|(?:web\s?site|site|web|www|url|domain)\s+)(?=[^\s:/]+\.[^\s:/]{2,}$)", re.IGNORECASE
)
_SEVERAL: Final = re.compile(r"\w\.\w+\S*\s*[,;|]")


def _tight(found: re.Match[str]) -> str:
    return re.sub(r"\s", "", found.group()) if is_dotted_name(re.sub(r"\s", "", found.group())) else found.group()


def read_host(host: str, notes: tuple[str, ...] = ()) -> Reading:
    """Return the reading of an A-label host as a platform."""
    strong = main_domain(without_view(host))
    return Reading(values=strong_first((Namespace.PLATFORM, strong), weak_hosts(host)), notes=notes)


def weak_hosts(host: str) -> tuple[tuple[Namespace, str], ...]:
    """Return the registrable domain and the host as weak values, without those that many people share."""
    bare = without_view(host)
    names = dict.fromkeys((main_domain(bare), bare))
    return tuple((Namespace.PLATFORM, name) for name in names if not is_shared(name))


def read_platform_name(text: str) -> Reading:
    """Read a cleaned text that is no address: a known platform's name, a host, else a plain name.

    Raises:
        InputError: `unreadable_platform`, when no letter or digit is left, or it is a whole text or several hosts.
    """
    text = _LABEL.sub("", text)
    text = _LOOSE_HOST.sub(_tight, text.removeprefix("*.").lstrip("@"))
    site = site_of_name(text)
    if site is not None:
        return read_host(site.domain, ("platform_by_name",))
    host = to_host(text)
    if host is not None and (is_dotted_name(host) or is_address(host)):
        return read_host(host)
    name = re.sub(r"\s+", " ", fold(text)).strip()
    if _SEVERAL.search(name) or len(name) > _MAX_NAME_CHARS or not any(char.isalnum() for char in name):
        raise InputError("there is no platform here", code="unreadable_platform")
    strong = (Namespace.PLATFORM, f"name={name.removeprefix('name=')}")
    return Reading(values=strong_first(strong), notes=("no_host",))
