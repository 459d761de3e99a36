"""Addresses taken apart: web links, deep links of apps, and the redirects that hide a link in another."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final
from urllib.parse import unquote, unquote_to_bytes

from concordat.canon.hosts import is_dotted_name, to_host
from concordat.canon.text import clean, refang, unwrap

_MAX_REDIRECTS: Final = 3
_SCHEME: Final = re.compile(r"^([a-z][a-z0-9+.\-]{1,30})://(.*)$", re.IGNORECASE | re.DOTALL)
_WEB_SCHEMES: Final = frozenset(["http", "https", "ftp"])
_AUTHORITY: Final = re.compile(r"^([^/?#\\]*)(.*)$", re.DOTALL)
_DEFAULT_PORTS: Final = frozenset(["", "80", "443"])

# What an app's own link says on the web; the phone links become tel:.
_DEEP_LINKS: Final = tuple(
    (re.compile(pattern, re.IGNORECASE), link)
    for pattern, link in (
        (r"^tg:/{0,2}resolve/?\?(?:.*&)?domain=([\w]+).*$", r"https://t.me/\1"),
        (r"^tg:/{0,2}resolve/?\?(?:.*&)?phone=\+?(\d+).*$", r"tel:+\1"),
        (r"^tg:/{0,2}join/?\?(?:.*&)?invite=([\w\-]+).*$", r"https://t.me/+\1"),
        (r"^tg:/{0,2}(?:openmessage|user)/?\?(?:.*&)?(?:user_)?id=(\d+).*$", r"https://t.me/@id/\1"),
        (r"^whatsapp:/{0,2}send/?\?(?:.*&)?phone=(?:\+|%2b)?([\d]+).*$", r"tel:+\1"),
        (r"^whatsapp:/{0,2}chat/?\?(?:.*&)?code=([\w\-]+).*$", r"https://chat.whatsapp.com/\1"),
        (r"^viber:/{0,2}(?:chat|add|call|forward|contact)/?\?(?:.*&)?number=(?:\+|%2b| )?([\d]+).*$", r"tel:+\1"),
        (r"^viber:/{0,2}pa/?\?(?:.*&)?chaturi=([\w.\-]+).*$", r"https://chats.viber.com/\1"),
        (r"^(?:sgnl|signal):/{0,2}(signal\.(?:me|group)/.*)$", r"https://\1"),
        (r"^fb:/{0,2}(?:profile|page|user)/(?:\?id=)?(\d+).*$", r"https://facebook.com/profile.php?id=\1"),
        (r"^fb:/{0,2}(?:profile|page|user)/([\w.]+).*$", r"https://facebook.com/\1"),
        (r"^weixin:/{0,2}dl/chat/?\?(?:username=)?([\w\-]+).*$", r"https://weixin.qq.com/@/\1"),
        (r"^fb:/{0,2}group/(?:\?id=)?(\d+).*$", r"https://facebook.com/groups/\1"),
        (r"^instagram:/{0,2}user/?\?(?:.*&)?username=([\w.]+).*$", r"https://instagram.com/\1"),
        (r"^snapchat:/{0,2}add/([\w.\-]+).*$", r"https://snapchat.com/add/\1"),
        (r"^twitter:/{0,2}user/?\?(?:.*&)?screen_name=(\w+).*$", r"https://x.com/\1"),
        (r"^vk(?:ontakte)?:/{0,2}(?:vk\.com/|profile/)?((?:id)?\w+).*$", r"https://vk.com/\1"),
        (r"^market:/{0,2}details/?\?(?:.*&)?id=([\w.]+).*$", r"https://play.google.com/store/apps/details?id=\1"),
        (r"^(?:itms|itms-apps|macappstore):/{1,2}(.*)$", r"https://\1"),
    )
)
_PHONE_SCHEME: Final = re.compile(
    r"^(?:tel|callto|sms|smsto|mms|fax|facetime|facetime-audio):(?://)?([^?;&]*).*$", re.IGNORECASE
)
# The archive's copy of a page is that page.
_ARCHIVED: Final = re.compile(r"^(?:https?://)?web\.archive\.org/web/\d+\w*\*?/(?=https?://)", re.IGNORECASE)
# (host, path, parameter) of pages that only lead on.
_REDIRECTS: Final = frozenset(
    [
        ("l.facebook.com", "l.php", "u"),
        ("lm.facebook.com", "l.php", "u"),
        ("www.facebook.com", "l.php", "u"),
        ("l.instagram.com", "", "u"),
        ("l.threads.net", "", "u"),
        ("www.youtube.com", "redirect", "q"),
        ("vk.com", "away.php", "to"),
        ("m.vk.com", "away.php", "to"),
        ("t.me", "iv", "url"),
    ]
)
# The same of hosts that differ by country or customer.
_REDIRECT_HOSTS: Final = (
    (re.compile(r"(?:www\.)?google\.(?:com?\.)?[a-z]{2,3}"), "url", ("q", "url")),
    (re.compile(r"[a-z0-9]+\.safelinks\.protection\.outlook\.com"), "", ("url",)),
    (re.compile(r"out\.reddit\.com"), None, ("url",)),
    (re.compile(r"(?:www|m|web)\.facebook\.com"), "login", ("next",)),
    (re.compile(r"(?:www|m|web)\.facebook\.com"), "login.php", ("next",)),
)


@dataclass(frozen=True, slots=True)
class Link:
    """A link taken apart.

    Attributes:
        host: A-label, lower case, as typed.
        port: The port when it is not a default one, else empty.
        path: Percent-encoded in one way, dot segments resolved, no slash at the end.
        segments: The path's non-empty parts, decoded and cleaned.
        query: Decoded pairs in the order given.
        fragment: What follows `#`, decoded.
        explicit: Whether a scheme or slash says that this is an address and no name.
    """

    host: str
    port: str
    path: str
    segments: tuple[str, ...]
    query: tuple[tuple[str, str], ...]
    fragment: str
    explicit: bool

    @property
    def bare(self) -> bool:
        """Whether the link is a host and nothing else."""
        return not self.path and not self.query and not self.port and not self.fragment.startswith(("!", "/"))

    def param(self, name: str) -> str:
        """Return the first parameter of this name, or an empty text."""
        return next((value for key, value in self.query if key.casefold() == name), "")


_WHATSAPP_JID: Final = re.compile(r"\+?(\d{7,15})(?::\d+)?@(?:s\.whatsapp\.net|c\.us)", re.IGNORECASE)


def phone_in(text: str) -> str | None:
    """Return the number of a tel:, sms:, fax: link, of an app's deep link or of WhatsApp's inner name, or None."""
    inner = _WHATSAPP_JID.fullmatch(text)
    if inner:
        return "+" + inner.group(1)
    found = _PHONE_SCHEME.match(_as_web_link(text))
    return clean(unquote(found.group(1))) if found else None


def _as_web_link(text: str) -> str:
    if ":" in text:
        for pattern, link in _DEEP_LINKS:
            if pattern.match(text):
                return pattern.sub(link, text)
    return text


# `Insta: https://…`, `view-source:https://…`: what stands before an address that has a scheme or `www.`.
_BEFORE: Final = re.compile(
    r"^(?:view-source:|[^/?#@=]{1,40}[\s:\-\u2010-\u2015])\s*(?=(?:https?|hxxps?)(?:\[?:\]?)//|www\.)", re.IGNORECASE
)
# `https://… - main channel`, `https://… (old)`: what somebody wrote behind it.
_REMARK: Final = re.compile(r"(?<=\S)\s+(?:[-\u2010-\u2015|]\s|\().*$", re.DOTALL)


def parse_link(typed: str) -> Link | None:
    """Take a cleaned text apart as a link, without a label before it or a remark behind it; None when it is none."""
    bare = _BEFORE.sub("", unwrap(typed))
    text = _ARCHIVED.sub("", _as_web_link(refang(bare)))
    if re.match(r"^https?://|^www\.", text, re.IGNORECASE):
        text = _REMARK.sub("", text)
    text = text.rstrip(".,;!")
    for _ in range(_MAX_REDIRECTS):
        link = _parse(text)
        onward = _onward(link) if link else None
        if onward is None:
            return link
        text = onward
    return _parse(text)


def _onward(link: Link) -> str | None:
    at = "/".join(link.segments)
    names = [name for host, path, name in _REDIRECTS if (link.host, at) == (host, path)]
    for shape, path, parameters in _REDIRECT_HOSTS:
        if shape.fullmatch(link.host) and path in {at, None}:
            names.extend(parameters)
    targets = (link.param(name) for name in names)
    return next((target for target in targets if re.match(r"^https?://", target, re.IGNORECASE)), None)


def _parse(text: str) -> Link | None:
    scheme = _SCHEME.match(text)
    rest = scheme.group(2) if scheme else text
    explicit = scheme is not None or rest[:4].lower() == "www."
    if not explicit and rest.startswith("//"):
        explicit, rest = True, rest[2:]
    split = _AUTHORITY.match(rest.lstrip("/") if explicit else rest)
    if split is None:
        return None
    authority, tail = split.groups()
    authority = authority.rpartition("@")[2] if explicit else authority
    host, port = _host_and_port(authority.strip())
    web = scheme is not None and scheme.group(1).lower() in _WEB_SCHEMES
    if host is None or not (web or is_dotted_name(host)):
        return None
    return _link(host, port, tail.replace("\\", "/"), explicit=explicit or tail.startswith("/"))


def _host_and_port(authority: str) -> tuple[str | None, str]:
    found = re.fullmatch(r"(\[[0-9A-Fa-f:.]+\]|[^:]*)(?::(\d{0,5}))?", authority)
    if found is None:
        return None, ""
    port = (found.group(2) or "").lstrip("0")
    return to_host(unquote(found.group(1))), "" if port in _DEFAULT_PORTS else port


def _link(host: str, port: str, tail: str, *, explicit: bool) -> Link:
    before, _, fragment = tail.partition("#")
    path, _, query = before.partition("?")
    parts = [_bytes_of(part) for part in re.sub(r";jsessionid=[^/;]*", "", path, flags=re.IGNORECASE).split("/")]
    resolved = _without_dots(parts)
    while resolved and not resolved[-1]:
        resolved.pop()
    pairs = (pair.partition("=") for pair in query.replace("&amp;", "&").split("&") if pair)
    return Link(
        host=host,
        port=port,
        path="".join("/" + encode(part) for part in resolved),
        segments=tuple(shown for shown in (clean(part.decode("utf-8", "replace")) for part in resolved) if shown),
        query=tuple((_decoded(key), _decoded(value)) for key, _, value in pairs),
        fragment=_decoded(fragment),
        explicit=explicit,
    )


def _bytes_of(part: str) -> bytes:
    raw = unquote_to_bytes(part)
    try:
        return clean(raw.decode("utf-8")).encode("utf-8")
    except UnicodeDecodeError:
        return raw


def _decoded(part: str) -> str:
    return clean(unquote(part.replace("+", " ")))


def _without_dots(parts: list[bytes]) -> list[bytes]:
    kept: list[bytes] = []
    for part in parts[1:]:
        if part == b"..":
            del kept[-1:]
        elif part != b".":
            kept.append(part)
    return kept


_UNRESERVED: Final = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~!$'()*,:@;=&+")


def encode(raw: bytes) -> str:
    """Percent-encode a part of a path: what RFC 3986 lets stand stands, the rest is upper-case hex."""
    return "".join(chr(byte) if byte in _UNRESERVED else f"%{byte:02X}" for byte in raw)
