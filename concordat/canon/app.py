"""Applications: `package:` of Android (or a bundle id, written alike), `appstore:` number, else `name=`.

Package names are lower-cased: phones capitalise what people type, and no store holds two that differ by case alone.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from concordat.canon.hosts import without_view
from concordat.canon.model import Namespace, Reading, strong_first
from concordat.canon.text import fold, refang
from concordat.errors import InputError

if TYPE_CHECKING:
    from concordat.canon.links import Link

_PACKAGE: Final = re.compile(r"[a-z]\w*(?:\.[a-z_][\w\-]*)+", re.IGNORECASE | re.ASCII)
_STORE_ID: Final = re.compile(r"(?:id|app\s*store(?:\s*id)?)?\s*[:#]?\s*(\d{8,12})", re.IGNORECASE)
_LABEL: Final = re.compile(
    r"^(?:android|package(?:\s*name)?|pkg|ios|bundle|bundle\s*id|google\s*play|play\s*store|appstore|app)\s*[:=]\s*",
    re.IGNORECASE,
)
_MAX_NAME_CHARS: Final = 128
_PLAY_PAGES: Final = frozenset(["store/apps/details", "store/apps/datasafety", "details", "apps/testing"])
_OLD_STORE_PAGE: Final = "WebObjects/MZStore.woa/wa/viewSoftware"
_FILE_ENDING: Final = re.compile(r"\.(?:apk|xapk|apks|apkm|aab)$", re.IGNORECASE)
# Hosts of pages about one app, and the path before its package name.
_PACKAGE_PAGES: Final = (
    ("f-droid.org", re.compile(r"(?:[a-z]{2}(?:[_-]\w+)?/)?packages/(?P<v>[\w.]+)", re.IGNORECASE)),
    ("apkpure.com", re.compile(r"(?:[a-z]{2}/)?[^/]+/(?P<v>\w+(?:\.\w+)+)(?:/.*)?", re.IGNORECASE)),
    ("apkmonk.com", re.compile(r"app/(?P<v>[\w.]+)", re.IGNORECASE)),
)


def app_of_link(link: Link) -> Reading | None:
    """Read the page of an app in a store; None when the link is none."""
    host, path = without_view(link.host), "/".join(link.segments)
    if host in {"play.google.com", "market.android.com"} and path in _PLAY_PAGES:
        return _package(link.param("id"))
    if host in {"apps.apple.com", "itunes.apple.com"}:
        number = f"id{link.param('id')}" if path == _OLD_STORE_PAGE else path
        found = re.fullmatch(r"(?:.*/)?id(\d{6,12})", number, re.IGNORECASE)
        return _reading(f"appstore:{found.group(1).lstrip('0')}") if found else None
    for page, shape in _PACKAGE_PAGES:
        found = shape.fullmatch(path) if host == page else None
        if found:
            return _package(found.group("v"))
    return None


def read_app(text: str) -> Reading:
    """Read a cleaned text that is no link as an app.

    Raises:
        InputError: `unreadable_app`, when no letter is left or it is a whole text.
    """
    bare = _LABEL.sub("", refang(text)).strip(" .,;")
    store_id = _STORE_ID.fullmatch(bare)
    if store_id:
        return _reading(f"appstore:{store_id.group(1).lstrip('0')}")
    package = _package(bare)
    if package is not None:
        return package
    name = re.sub(r"\s+", " ", fold(bare)).strip().removeprefix("name=")
    if len(name) > _MAX_NAME_CHARS or not any(char.isalpha() for char in name):
        raise InputError("there is no app here", code="unreadable_app")
    return _reading(f"name={name}", ("no_app_id",))


def _package(text: str) -> Reading | None:
    name = _FILE_ENDING.sub("", text)
    return _reading(f"package:{name.lower()}") if _PACKAGE.fullmatch(name) else None


def _reading(canonical: str, notes: tuple[str, ...] = ()) -> Reading:
    return Reading(values=strong_first((Namespace.APP, canonical)), notes=notes)
