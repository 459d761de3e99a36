"""`read`: from what an officer typed to the values that become tokens.

What decides is the text before the kind: an address is read alike whatever the kind, so that a profile's URL typed as
website meets the same profile typed as username, and a wa.me link typed as website meets a fax number. The kind decides
how a text that is no address is read, and whether an unknown address means a page (`url`) or its site (`platform`).
"""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Final

from concordat.canon.account import (
    account_of_link,
    account_of_name,
    is_signal_name,
    platform_id,
    site_of_host,
    site_of_name,
)
from concordat.canon.app import app_of_link, read_app
from concordat.canon.email import is_mail_provider, looks_like_mail, read_email
from concordat.canon.hosts import is_dotted_name, to_host, without_view
from concordat.canon.iban import read_iban
from concordat.canon.links import Link, parse_link, phone_in
from concordat.canon.model import MAX_TYPED_CHARS, Context, Grade, Kind, Namespace, Reading, Value
from concordat.canon.platform import read_host, read_platform_name, weak_hosts
from concordat.canon.text import clean, fold, looks_like_number, refang, unwrap
from concordat.canon.url import read_url
from concordat.errors import InputError

_PHONE_KINDS: Final = frozenset([Kind.PHONE, Kind.FAX, Kind.SMS, Kind.WHATSAPP, Kind.VIBER, Kind.SIGNAL])
_SITE_KINDS: Final = frozenset([Kind.PLATFORM, Kind.WEBSITE, Kind.DOMAIN, Kind.FORUM])
_PAGE_KINDS: Final = frozenset([Kind.URL, Kind.ADVERT, Kind.POST])
# Kinds that name a platform themselves; the rest of the account kinds take it from the text or the context.
_KINDS_OF_ONE_PLATFORM: Final = frozenset(
    [
        Kind.FACEBOOK,
        Kind.INSTAGRAM,
        Kind.TELEGRAM,
        Kind.TIKTOK,
        Kind.VK,
        Kind.OK,
        Kind.WECHAT,
        Kind.WEIBO,
        Kind.X,
        Kind.YOUTUBE,
        Kind.SNAPCHAT,
        Kind.ONLYFANS,
        Kind.LINKEDIN,
        Kind.SKYPE,
        Kind.DISCORD,
    ]
)
_SKYPE: Final = re.compile(r"^skype:(?://)?([^?]+)(?:\?.*)?$", re.IGNORECASE)
_MAILTO: Final = re.compile(r"^mailto\s*:", re.IGNORECASE)
_NAME_AT: Final = re.compile(r"^@?([^@\s]+)\s*@\s*([^@/]+)$")
# `instagram: lena`, `fb/lena`, `Facebook - lena`, `lena (IG)`; a space alone only after a name that is no common word.
_NAME_BESIDE_PLATFORM: Final = (
    re.compile(
        r"^(?P<platform>[^:/@]{1,40}?)(?:\s+(?:id|user(?:name)?|account|nick(?:name)?|name|profile|handle))?"
        r"(?:\s*[:/]\s*|\s+[-\u2010-\u2015]\s+)@?(?P<name>[^/\s].*)$",
        re.IGNORECASE,
    ),
    re.compile(r"^(?P<platform>[^:/@\s]{1,40})\s+@(?P<name>\S+)$"),
    re.compile(r"^(?P<platform>[^:/@\s]{6,40})\s+@?(?P<name>\S+)$"),
    re.compile(r"^(?P<platform>\S+)\s+(?P<name>id\s*[:=#]?\s*\d+)$", re.IGNORECASE),
    re.compile(r"^@?(?P<name>\S+)\s+(?:on\s+)?(?P<platform>[^:/@\s]{6,40})$"),
    re.compile(r"^@?(?P<name>.+?)\s*[(\[]\s*(?P<platform>[^()\[\]]{1,40}?)\s*[)\]]$"),
)
_COMMENT: Final = re.compile(r"(?<=\S)\s+\((?=[^()]*[^\W\d_])[^()@]{1,80}\)$")
# `@lena (the sister)`: a handle with a sign that it is one, and a remark.
_REMARKED_HANDLE: Final = re.compile(r"^(?P<name>@\S+|[\w.]*[\d_][\w.]*)\s+\([^()]*\)$")
# What people write where nothing is known; two such lines are not the same thing. With an @ it is a name.
_PLACEHOLDERS: Final = frozenset(
    """
    n/a n.a. n.a none nil null nan unknown tbd tbc blank idem ditto unbekannt keine inconnu inconnue aucun sconosciuto
    sconosciuta nessuno desconocido desconocida ninguno desconhecido nenhum onbekend geen necunoscut niciunul nieznany
    nieznane brak neznámý neznámé neznámy ismeretlen okänd ukendt ukjent tuntematon nepoznato neznano nežinomas nezināms
    teadmata άγνωστο άγνωστος неизвестен неизвестно неизвестный няма нет невідомо немає unbek
    """.split()
)
_MAX_TELEGRAM_ID_DIGITS: Final = 10


def read(kind: Kind, typed: str, context: Context) -> Reading:
    """Read one identifier as typed.

    Args:
        kind: What the officer says it is.
        typed: The identifier as typed, untouched.
        context: What the record says beside it.

    Raises:
        InputError: `empty`, `too_long`, `several`, `unknown_region`, or `unreadable_` and the kind of thing that was
            looked for (`phone`, `email`, `account`, `platform`, `url`, `app`, `iban`). The message never holds what was
            typed.
    """
    if max(len(typed), len(context.platform or "")) > MAX_TYPED_CHARS:
        raise InputError(f"the identifier has more than {MAX_TYPED_CHARS} characters", code="too_long")
    text = clean(typed)
    if not unwrap(text):
        raise InputError("the identifier is empty", code="empty")
    if fold(unwrap(text)) in _PLACEHOLDERS:
        raise InputError("this says that the identifier is not known", code="empty")
    lines = [line for line in map(clean, typed.splitlines()) if line]
    if sum(link is not None and link.explicit for link in map(parse_link, lines)) > 1:
        raise InputError(_SEVERAL, code="several")
    reading = _dispatch(kind, text, context)
    if len(lines) > 1 and ":name:" in reading.values[0].canonical:
        raise InputError(_SEVERAL, code="several")
    if refang(text) != text and "refanged" not in reading.notes and reading.values[0].namespace not in _NEVER_FANGED:
        reading = replace(reading, notes=("refanged", *reading.notes))
    return reading


_SEVERAL: Final = "there are several identifiers here; write each on a line of its own"
_NEVER_FANGED: Final = frozenset([Namespace.E164, Namespace.IBAN])


def _dispatch(kind: Kind, text: str, context: Context) -> Reading:
    if kind in _PHONE_KINDS or kind in _SITE_KINDS or kind in _PAGE_KINDS or kind in {Kind.IBAN, Kind.EMAIL}:
        text = _COMMENT.sub("", text)
    text = _without_remark(text)
    if kind is Kind.IBAN:
        return read_iban(text)
    bare = unwrap(text)
    if kind is Kind.EMAIL and "@" not in bare and "://" in bare:
        return _read_site_kind(Kind.URL, text, context)
    if kind is Kind.EMAIL or _MAILTO.match(bare):
        return read_email(text)
    number = phone_in(bare)
    if number is not None:
        return _phone(number, context)
    reader = next((reader for kinds, reader in _READERS if kind in kinds), _read_account_kind)
    return reader(kind, text, context)


def _without_remark(text: str) -> str:
    """Drop what stands behind the address of a known platform, where no path holds a space.

    Raises:
        InputError: `several`, when another address stands there: one of the two would be lost.
    """
    first, _, rest = text.partition(" ")
    link = parse_link(first) if rest and "." in first else None
    if link is None or not _is_address(link) or site_of_host(link.host) is None or not link.segments:
        return text
    others = (parse_link(word) for word in rest.split() if "/" in word or "www." in word)
    if any(other is not None and is_dotted_name(other.host) for other in others):
        raise InputError(_SEVERAL, code="several")
    return first.rstrip(",;|")


def _read_link(link: Link, context: Context) -> Reading | None:
    """Read a link as what it surely shows, whatever the kind; None for a page of an unknown sort."""
    number = _number_in_link(link)
    if number is not None:
        return _phone(number, context, international=True)
    found = app_of_link(link) or account_of_link(link)
    if found is not None and site_of_host(link.host) is None and found.values[0].namespace is Namespace.ACCOUNT:
        guesses = tuple(Value(space, text, Grade.WEAK) for space, text in weak_hosts(link.host))
        return replace(found, values=(*found.values, *guesses))
    return found


def _number_in_link(link: Link) -> str | None:
    host = without_view(link.host)
    first = link.segments[0].replace(" ", "") if link.segments else ""
    if host == "wa.me" or host.endswith("whatsapp.com"):
        if first in {"c", "catalog"} and len(link.segments) > 1:
            first = link.segments[1]
        number = link.param("phone") or first
    elif host in {"t.me", "telegram.me", "telegram.dog", "zalo.me"}:
        # t.me/+ and only digits is a number; a hash of an invite has letters or is longer than any number.
        number = first if host == "zalo.me" or first.startswith("+") else ""
    elif host == "signal.me" and link.fragment.startswith("p/"):
        number = link.fragment[2:]
    else:
        return None
    number = number.replace(" ", "+", 1) if number.startswith(" ") else number
    return number if re.fullmatch(r"\+?[\d\s().\-]{5,22}", number) and sum(map(str.isdigit, number)) <= 15 else None


def _phone(text: str, context: Context, *, international: bool = False) -> Reading:
    # All numbering plans come with it: loaded with the first number, not by every command.
    from concordat.canon.e164 import read_phone  # noqa: PLC0415

    return read_phone(text, context, international=international)


def _read_phone_kind(kind: Kind, text: str, context: Context) -> Reading:
    bare = unwrap(text)
    link = parse_link(text)
    if link is not None and (link.explicit or (link.segments and is_dotted_name(link.host))):
        found = _read_link(link, context) or (read_host(link.host) if link.bare else read_url(link))
        surely = found.values[0].namespace not in {Namespace.URL, Namespace.PLATFORM}
        return found if surely else replace(found, notes=(*found.notes, "no_number"))
    if looks_like_mail(bare):
        return read_email(bare)
    if kind is Kind.SIGNAL and is_signal_name(bare.lstrip("@")):
        return account_of_name(kind, bare, "signal.org")
    return _phone(bare, context)


def _read_app_kind(_: Kind, text: str, context: Context) -> Reading:
    link = parse_link(text)
    if link is not None and link.explicit:
        return _read_link(link, context) or (read_host(link.host) if link.bare else read_url(link))
    return read_app(unwrap(text))


def _read_site_kind(kind: Kind, text: str, context: Context) -> Reading:
    bare = refang(unwrap(text))
    if looks_like_mail(bare):
        return read_email(bare)
    link = parse_link(text)
    if link is None:
        if kind in _PAGE_KINDS and site_of_name(bare) is None:
            raise InputError("there is no address here", code="unreadable_url")
        return read_platform_name(bare)
    found = _read_link(link, context)
    if found is not None:
        return found
    if link.bare:
        return read_host(link.host)
    if kind in _SITE_KINDS:
        return read_host(link.host, ("path_dropped",))
    return read_url(link)


def _read_account_address(text: str, context: Context) -> Reading | None:
    """Read a text that surely is an address; None when it could be a name."""
    link = parse_link(text)
    if link is None:
        return None
    known = site_of_host(link.host)
    if link.bare and not link.explicit and known is not None and link.host in known.hosts:
        return read_host(link.host)
    if not _is_address(link):
        return None
    found = _read_link(link, context)
    if found is None and (link.explicit or not link.bare):
        return read_host(link.host) if link.bare else read_url(link)
    return found


def _read_account_kind(kind: Kind, text: str, context: Context) -> Reading:
    bare = unwrap(text)
    found = _read_account_address(bare, context)
    if found is not None:
        return found
    skype = _SKYPE.match(bare)
    if skype:
        return account_of_name(kind, skype.group(1), "skype.com")
    remarked = _REMARKED_HANDLE.match(bare)
    if remarked and site_of_name(bare[remarked.end("name") :]) is None:
        bare = remarked["name"]
    name, platform = _name_and_platform(kind, bare, context)
    if platform is None:
        return read_email(bare)
    site = site_of_host(platform) if platform else None
    if site is not None:
        inner = _read_account_address(name, context) if name != bare else None
        found = inner or _read_path(name, site.domain, context)
    if found is not None:
        return found
    if site is not None and site.phones and looks_like_number(name) and kind is not Kind.USER_ID:
        found = _phone(name, context)
        if not (site.numeric_ids and _is_rather_an_id(name, found)):
            return found
    return account_of_name(kind, name, platform)


def _read_path(name: str, domain: str, context: Context) -> Reading | None:
    """Read what is left of an address without its host: `profile.php?id=…`, `groups/…`, `+INVITE`."""
    if re.search(r"\s", name) or not (re.search(r"[/?]", name.strip("/")) or re.match(r"\+.*[A-Za-z]", name)):
        return None
    link = parse_link(f"https://{domain}/{name.lstrip('/')}")
    return _read_link(link, context) if link is not None else None


def _is_rather_an_id(name: str, as_number: Reading) -> bool:
    """Tell whether bare digits are the id of an account: short, without plus or zero, and no number anywhere."""
    if not name.isdigit() or name.startswith("0") or len(name) > _MAX_TELEGRAM_ID_DIGITS:
        return False
    return bool({"not_valid", "not_possible"} & set(as_number.notes))


def _is_address(link: Link) -> bool:
    """Tell an address from a name with dots: a scheme, a path, or `www.` in front."""
    if link.explicit or link.segments or link.host.startswith("www."):
        return True
    site = site_of_host(link.host)
    return site is not None and bool(site.subdomain) and link.host.endswith("." + site.subdomain)


def _name_and_platform(kind: Kind, text: str, context: Context) -> tuple[str, str | None]:
    """Split a name from its platform; None as platform when the text is an e-mail address."""
    given = platform_id(kind.value) if kind in _KINDS_OF_ONE_PLATFORM else platform_id(context.platform or "")
    for shape in _NAME_BESIDE_PLATFORM:
        beside = shape.match(text)
        if beside and site_of_name(beside["platform"]) is not None:
            return beside["name"], platform_id(beside["platform"])
    at = _NAME_AT.match(text)
    if at is None:
        return text, given
    name, where = at.group(1), at.group(2).strip()
    host = None if site_of_name(where) else to_host(where)
    if host is None or not is_dotted_name(host):
        return (text, given) if given and site_of_name(where) is None else (name, platform_id(where))
    is_mail = not text.startswith("@") and (is_mail_provider(host) or (given and fold(given) != host))
    return (text, None) if is_mail else (name, platform_id(host))


_READERS: Final = (
    (_PHONE_KINDS, _read_phone_kind),
    (frozenset([Kind.APP]), _read_app_kind),
    (_SITE_KINDS | _PAGE_KINDS, _read_site_kind),
)
