"""Accounts: a profile's address and (platform, username) meet in `platform-domain:type:value`.

The value is case-folded, except ids that mind case (invites, channels). The one weak value of a handle is its
confusable skeleton without the platform, spelled `skeleton:…`, which no account can be: a platform has a dot, is empty
or starts with `name=`. Ids, numbers of groups and invites have no weak value: without the platform they say nothing.

The address of a post is a `url`; its author's handle gives the weak skeleton, so that it meets the author's account.
"""

from __future__ import annotations

import functools
import re
from typing import TYPE_CHECKING, Final

from concordat.canon.hosts import is_common, is_dotted_name, registrable_domain, to_host, without_view
from concordat.canon.model import Kind, Namespace, Reading, strong_first
from concordat.canon.sites_large import LARGE_SITES
from concordat.canon.sites_more import MORE_SITES
from concordat.canon.skeleton import skeleton
from concordat.canon.text import clean, fold, refang
from concordat.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from concordat.canon.links import Link
    from concordat.canon.platforms import Platform, Post, Rule

SITES: Final = (*LARGE_SITES, *MORE_SITES)
_BY_HOST: Final[Mapping[str, Platform]] = {host: site for site in SITES for host in site.hosts}
_BY_NAME: Final[Mapping[str, Platform]] = {name: site for site in SITES for name in site.names}

_VIEW: Final = re.compile(
    r"(?:www\d?|m|mobile|mbasic|web|touch|d|free|lite|api|l|old|new|[a-z0-9]|[a-z]{2}(?:-[a-z]{2})?|(?:eu|us)1)"
)
_HANDLE_TYPES: Final = frozenset(["handle", "name", "user", "custom", "vanity", "page"])
_MIN_SKELETON_CHARS: Final = 3
_SKELETON_CACHE: Final = 65_536
_MAX_HANDLE_CHARS: Final = 256

# Shapes in which sites that are not in the table name a member; group v.
_GENERIC_PROFILE: Final = re.compile(
    r"(?:(?:user|users|u|member|members|profile|profiles)/@?|@)(?P<v>\d{1,20}|[\w\-][\w.\-]{1,63})", re.IGNORECASE
)
_GENERIC_RESERVED: Final = frozenset(
    "login logout register signup settings edit new me search list all online password index.php index.html".split()
)


def site_of_host(host: str) -> Platform | None:
    """Return the known platform that a host belongs to."""
    return _BY_HOST.get(host) or _BY_HOST.get(registrable_domain(host))


def site_of_name(name: str) -> Platform | None:
    """Return the known platform that people call so."""
    return _BY_NAME.get(re.sub(r"[\s\-_.()/]+", "", fold(name)))


def main_domain(host: str) -> str:
    """Return the registrable domain that names a host's platform; other names of one site are folded."""
    site = site_of_host(host)
    return site.domain if site else registrable_domain(host)


def is_shared(host: str) -> bool:
    """Tell whether a host is used by many unrelated people and says nothing alone."""
    return is_common(host) or site_of_host(host) is not None


def platform_id(text: str) -> str:
    """Return what names a platform in an account: a domain, else `name=` and the folded name."""
    text = clean(text)
    site = site_of_name(text)
    if site:
        return site.domain
    bare = re.sub(r"^[a-z]+://", "", refang(text), flags=re.IGNORECASE).partition("/")[0]
    host = to_host(bare)
    if host is not None and is_dotted_name(host):
        return main_domain(without_view(host))
    name = re.sub(r"[\s:]+", " ", fold(text)).strip().removeprefix("name=")
    return f"name={name}" if name else ""


@functools.lru_cache(maxsize=_SKELETON_CACHE)
def handle_skeleton(handle: str) -> str | None:
    """Return the weak value of a handle without its platform; None when too short to mean anything."""
    found = skeleton(handle)
    return f"skeleton:{found}" if len(found) >= _MIN_SKELETON_CHARS else None


def account(platform: str, type_: str, value: str, *, exact: bool = False, notes: tuple[str, ...] = ()) -> Reading:
    """Return the reading of one object on a platform.

    Raises:
        InputError: `unreadable_account`, when nothing is left of the value or it is far too long.
    """
    shown = value if exact else re.sub(r"\s+", " ", fold(value)).strip()
    if type_ == "id" or (type_ in {"group", "channel"} and shown.isdigit()):
        shown = shown.lstrip("0")
    if not shown.strip("?!*.-\u2013\u2014/") or len(shown) > _MAX_HANDLE_CHARS:
        raise InputError("there is no account name here", code="unreadable_account")
    site = _BY_HOST.get(platform)
    name = shown.translate(str.maketrans("", "", site.dropped)) if site and type_ == "handle" else shown
    strong = (Namespace.ACCOUNT, f"{platform}:{type_}:{name or shown}")
    weak: tuple[tuple[Namespace, str], ...] = ()
    if type_ in _HANDLE_TYPES and (guess := handle_skeleton(shown)):
        weak = ((Namespace.ACCOUNT, guess),)
    return Reading(values=strong_first(strong, weak), notes=notes)


def account_of_link(link: Link) -> Reading | None:
    """Read a link as the account it shows, or as the post of one; None when it is neither."""
    site = site_of_host(link.host)
    if site is None:
        return _generic(link)
    inner = _subdomain(link.host, site)
    if inner is None:
        return None
    path = "/".join(link.segments)
    if not path and link.fragment.startswith("!/"):
        path = link.fragment[2:].partition("?")[0].strip("/")  # how twitter.com and facebook.com once wrote addresses
    if site.subdomain and inner and not _VIEW.fullmatch(inner):
        return account(site.domain, "handle", inner)
    for shape in site.posts:
        found = _post(shape, link, path)
        if found is not None:
            return found
    for rule in site.rules:
        found = _profile(rule, link, path, site)
        if found is not None:
            return found
    return _by_fragment(site, link)


def _subdomain(host: str, site: Platform) -> str | None:
    """Return what stands before the platform's host; None where it is another service of the same company."""
    if host in {shape.host for shape in site.rules} | {shape.host for shape in site.posts}:
        return ""
    base = registrable_domain(host) if host not in _BY_HOST else host
    inner = host.removesuffix(base).rstrip(".")
    if site.subdomain == base and inner and "." not in inner:
        return inner
    return inner if not inner or _VIEW.fullmatch(inner) else None


def _post(shape: Post, link: Link, path: str) -> Reading | None:
    if shape.host and without_view(link.host) != shape.host:
        return None
    found = shape.path.fullmatch(path)
    if found is None:
        return None
    parts = {key: fold(text) if key in "ag" else text for key, text in found.groupdict().items() if text}
    for name in shape.query:
        if not re.fullmatch(r"[\w\-]{1,120}", link.param(name), re.ASCII):
            return None
        parts[name] = link.param(name)
    weak: tuple[tuple[Namespace, str], ...] = ()
    if "a" in parts and (guess := handle_skeleton(parts["a"])):
        weak = ((Namespace.ACCOUNT, guess),)
    return Reading(values=strong_first((Namespace.URL, shape.url.format_map(parts)), weak), notes=("post",))


def _profile(rule: Rule, link: Link, path: str, site: Platform) -> Reading | None:
    if rule.host and without_view(link.host) != rule.host:
        return None
    found = rule.path.fullmatch(path)
    if found is None:
        return None
    value = link.param(rule.query) if rule.query else found.group("v")
    if not value or (rule.type == "id" and not value.isdigit()):
        return None
    if not rule.exact and rule.type != "id" and fold(value) in site.reserved:
        return None
    return account(site.domain, rule.type, value, exact=rule.exact)


_WEB_TELEGRAM: Final = re.compile(r"(?:/?im\?p=)?(?:@([a-z]\w{2,63})|(\d{4,20}))", re.IGNORECASE)


def _by_fragment(site: Platform, link: Link) -> Reading | None:
    """Read the links whose value stands behind `#`, which no server sees: Signal's and Telegram's web client."""
    if link.host == "web.telegram.org" and (found := _WEB_TELEGRAM.fullmatch(link.fragment)):
        handle, number = found.groups()
        return account(site.domain, "handle" if handle else "id", handle or number)
    if site.domain == "signal.org" and not link.segments:
        value = link.fragment.strip("/ ").replace(" ", "+")
        if link.host == "signal.group" and value:
            return account(site.domain, "invite", value, exact=True)
        if link.host == "signal.me" and value.startswith("eu/"):
            return account(site.domain, "shortlink", value[3:], exact=True)
    return None


def _generic(link: Link) -> Reading | None:
    """Read a profile's address on a site that is not in the table, where its shape leaves no doubt."""
    found = _GENERIC_PROFILE.fullmatch("/".join(link.segments))
    if found is None or link.query or link.port or not is_dotted_name(link.host):
        return None
    value = found.group("v")
    if fold(value) in _GENERIC_RESERVED or re.search(r"\.(?:html?|php|aspx?)$", value, re.IGNORECASE):
        return None
    domain = main_domain(link.host)
    return account(domain, "id" if value.isdigit() else "handle", value)


_ID_LABEL: Final = re.compile(r"(?:(?:user|account|profile)?[\s_-]*id\s*[:=#\s]|#)\s*(\d{1,20})", re.IGNORECASE)
# `user: lena`, `profile lena`: what the form called the field.
_FIELD_NAME: Final = re.compile(
    r"^(?:user(?:\s*name)?|account|handle|nick(?:name)?|profile|channel|login|alias)(?:\s*[:=]\s*|\s+(?=@))@?(?=\S+$)",
    re.IGNORECASE,
)
_WECHAT_LABEL: Final = re.compile(r"^id\s*[:=]\s*(?=wxid_)", re.IGNORECASE)
_VK_MENTION: Final = re.compile(r"\[((?:id|club|public)\d+)\|[^\]]*\]", re.IGNORECASE)
_SPREADSHEET_ID: Final = re.compile(r"(\d{5,20})\.0|(\d{1,3}(?:[ ,']\d{3}){2,6})")
_ROUNDED: Final = re.compile(r"\d(?:[.,]\d+)?E\+\d{1,2}", re.IGNORECASE)
_ID_PREFIX: Final = re.compile(r"id(\d{1,20})", re.IGNORECASE)
_YOUTUBE_CHANNEL: Final = re.compile(r"UC[\w-]{22}")
# Twenty-two letters and digits of both cases: nobody names a group so.
_WHATSAPP_INVITE: Final = re.compile(r"(?=.*[a-z])(?=.*[A-Z])[A-Za-z0-9]{22}")
_WECHAT_ID: Final = ("wechat.com", "wxid_")
# How programs write the id of a channel or large group, of which t.me/c/… has the last part.
_TELEGRAM_CHANNEL: Final = re.compile(r"-100(\d{9,11})")
_VK_GROUP: Final = re.compile(r"(?:club|public|event)(\d+)", re.IGNORECASE)
_SIGNAL_NAME: Final = re.compile(r"[a-z_]\w{2,31}\.\d{2,9}", re.IGNORECASE)


def _plain_name(kind: Kind, bare: str, platform: str) -> str:
    """Take what programs, forms and spreadsheets do to a name off it."""
    bare = _WECHAT_LABEL.sub("", _FIELD_NAME.sub("", bare))
    if _ROUNDED.fullmatch(bare):
        raise InputError("a spreadsheet has rounded this number", code="unreadable_account")
    if platform == "vk.com" and (mention := _VK_MENTION.fullmatch(bare)):
        return mention.group(1)
    site = _BY_HOST.get(platform)
    if kind is Kind.USER_ID or (site is not None and site.numeric_ids):
        found = _SPREADSHEET_ID.fullmatch(bare)
        return re.sub(r"\D", "", found.group(1) or found.group(2)) if found else bare
    return bare


def account_of_name(kind: Kind, name: str, platform: str) -> Reading:
    """Read a name typed without an address; `platform` as `platform_id` gives it, or empty.

    Raises:
        InputError: `unreadable_account`, when there is no name.
    """
    site = _BY_HOST.get(platform)
    bare = _plain_name(kind, name.strip().lstrip("@/").strip(), platform)
    numeric = site is not None and site.numeric_ids
    # VK writes people as @id1; elsewhere the @ says that this is a name.
    id_prefix = numeric and (platform == "vk.com" or not name.lstrip().startswith("@"))
    type_, value, exact = "handle", bare, False
    if platform == "telegram.org" and (found := _TELEGRAM_CHANNEL.fullmatch(bare)):
        type_, value = "channel", found.group(1)
    elif found := _ID_LABEL.fullmatch(bare) or (_ID_PREFIX.fullmatch(bare) if id_prefix else None):
        type_, value = "id", found.group(1)
    elif kind in {Kind.INVITE, Kind.GROUP} and not platform and _WHATSAPP_INVITE.fullmatch(bare):
        platform, type_, exact = "whatsapp.com", "invite", True
    elif kind is Kind.INVITE or (kind is Kind.GROUP and platform == "whatsapp.com"):
        type_, value, exact = "invite", name.strip().lstrip("+"), True
    elif kind is Kind.GROUP and (bare.isdigit() or platform in {"facebook.com", "reddit.com"}):
        type_ = "group"
    elif (bare.isdigit() and (numeric or kind is Kind.USER_ID)) or (platform, bare[:5].lower()) == _WECHAT_ID:
        type_ = "id"
    elif platform == "youtube.com" and _YOUTUBE_CHANNEL.fullmatch(bare):
        type_, exact = "channel", True
    elif platform == "vk.com" and (found := _VK_GROUP.fullmatch(bare)):
        type_, value = "group", found.group(1)
    elif site is not None and " " in bare:
        type_ = "name"  # what a profile shows; no handle of these platforms has a space
    return account(platform, type_, value, exact=exact, notes=() if platform else ("no_platform",))


def is_signal_name(text: str) -> bool:
    """Tell whether a text is a Signal username, which ends in a dot and digits."""
    return _SIGNAL_NAME.fullmatch(text) is not None
