"""E-mail addresses: lower case, domain as A-label, spellings of one mailbox folded into one.

Folding follows what each provider documents for its own mailboxes; it is offline and applies to no other domain. There
are no weak values. Case of the local part is folded everywhere: no large provider tells two mailboxes apart by it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final
from urllib.parse import unquote

from concordat.canon.hosts import to_host
from concordat.canon.model import Namespace, Reading, strong_first
from concordat.canon.text import clean, fold, refang_mail, unwrap
from concordat.errors import InputError

_NAMED: Final = re.compile(r"^[^<>]*<([^<>]+@[^<>]+)>[^<>]*$")
_IN_BRACKETS: Final = re.compile(r"^[^()@]*\(([^()\s]+@[^()\s]+)\)[^()@]*$")
_PREFIX: Final = re.compile(r"^(?:mailto|e-?mail|mail)\s*:\s*(?://)?", re.IGNORECASE)
# Any word with a colon before an address is a label, but for the schemes of what is no mailbox.
_LABEL: Final = re.compile(
    r"^(?!(?:sips?|xmpp|jabber|acct|skype|https?)\s*:)[^\W\d_][\w \-.]{0,30}:\s*(?=[^\s:/@]+\s*@)", re.IGNORECASE
)
_COMMA_DOMAIN: Final = re.compile(r"[\w\-]+,[a-z]{2,6}", re.IGNORECASE)
_MAX_LOCAL_CHARS: Final = 256


@dataclass(frozen=True, slots=True)
class _Folding:
    """How a provider spells one mailbox in many ways.

    Attributes:
        domain: The domain that stands for all; empty to keep the one given.
        dropped: Characters of the local part without meaning.
        tag: The character that starts a tag; empty for none.
        same: Pairs of characters that mean the same, as (from, to).
    """

    domain: str = ""
    dropped: str = ""
    tag: str = "+"
    same: tuple[str, str] | None = None


_GOOGLE: Final = _Folding(domain="gmail.com", dropped=".")
_APPLE: Final = _Folding(domain="icloud.com")
_PROTON: Final = _Folding(domain="proton.me", dropped="._-")
_YANDEX: Final = _Folding(domain="yandex.ru", same=(".", "-"))
_TAG_ONLY: Final = _Folding()


def _foldings() -> dict[str, _Folding]:
    table = dict.fromkeys(["gmail.com", "googlemail.com"], _GOOGLE)
    table |= dict.fromkeys(["icloud.com", "me.com", "mac.com"], _APPLE)
    table |= dict.fromkeys(["proton.me", "protonmail.com", "protonmail.ch", "pm.me"], _PROTON)
    endings = "ru com by kz ua com.tr com.am com.ge co.il az ee fr kg lt lv md tj tm uz"
    table |= dict.fromkeys(["ya.ru", *(f"yandex.{end}" for end in endings.split())], _YANDEX)
    countries = (
        "at be ca cl co.id co.il co.th co.uk com.ar com.au com.br com.gr com.tr cz de dk es fr hu ie in it jp kr"
    )
    outlook = [
        f"{name}.{end}" for name in ("outlook", "hotmail", "live") for end in (*countries.split(), "com", "nl", "ro")
    ]
    others = [
        "msn.com",
        "fastmail.com",
        "fastmail.fm",
        "zoho.com",
        "zohomail.com",
        "zohomail.eu",
        "posteo.de",
        "mailbox.org",
        "hey.com",
    ]
    return table | dict.fromkeys([*outlook, *others], _TAG_ONLY)


_FOLDINGS: Final = _foldings()
_OTHER_PROVIDERS: Final = frozenset(
    """
    aol.com yahoo.com yahoo.co.uk yahoo.de yahoo.fr yahoo.it yahoo.es yahoo.ro ymail.com rocketmail.com mail.ru inbox.ru
    list.ru bk.ru rambler.ru gmx.de gmx.net gmx.com gmx.at gmx.ch web.de t-online.de freenet.de mail.com tutanota.com
    tuta.io tuta.com ukr.net i.ua abv.bg wp.pl o2.pl onet.pl interia.pl seznam.cz centrum.cz azet.sk libero.it
    virgilio.it orange.fr laposte.net free.fr wanadoo.fr ziggo.nl kpnmail.nl qq.com 163.com 126.com naver.com
    """.split()
)


def is_mail_provider(domain: str) -> bool:
    """Tell whether a domain is known to give mailboxes to the public."""
    return domain in _FOLDINGS or domain in _OTHER_PROVIDERS


def looks_like_mail(text: str) -> bool:
    """Tell whether a cleaned text without scheme or path has the shape of an address."""
    return re.fullmatch(r"[^\s@/:]+@[^\s@/:]+\.[^\s@/:.]{2,}", text) is not None


def read_email(text: str) -> Reading:
    """Read a cleaned text as an e-mail address.

    Raises:
        InputError: `unreadable_email`, when there is no one `@` between a name and a domain.
    """
    notes: list[str] = []
    bare = _bare(text)
    fanged = refang_mail(bare)
    if fanged != bare:
        notes.append("refanged")
    local, at, domain_text = fanged.rpartition("@")
    if _COMMA_DOMAIN.fullmatch(domain_text):
        domain_text = domain_text.replace(",", ".")
        notes.append("comma_as_dot")
    domain = to_host(domain_text.strip(" .,;:!?"))
    local = fold(local.strip(' "'))
    if not at or not local or "@" in local or domain is None or len(local) > _MAX_LOCAL_CHARS:
        if sum(map(looks_like_mail, re.split(r"[\s,;|/]+", bare))) > 1:
            raise InputError("there are several addresses here; write each on a line of its own", code="several")
        raise InputError("there is no e-mail address here", code="unreadable_email")
    if re.search(r"[\s<>()\[\],;:\\/]", local):
        raise InputError("the name before the @ is not one of an e-mail address", code="unreadable_email")
    if "." not in domain:
        notes.append("no_domain_suffix")
    address = _folded(local, domain, notes)
    return Reading(values=strong_first((Namespace.EMAIL, address)), notes=tuple(notes))


def _bare(text: str) -> str:
    named = _NAMED.match(text)
    inner = None if named else _IN_BRACKETS.match(text)
    bare = unwrap(named.group(1) if named else inner.group(1) if inner else text)
    if _PREFIX.match(bare):
        bare = _PREFIX.sub("", bare).partition("?")[0]
        if "%" in bare:
            bare = clean(unquote(bare))
    bare = _LABEL.sub("", bare)
    if bare.count("@") == 1 and " " in bare:
        # `Maria - m@example.com`: the one word that is an address.
        words = re.split(r"\s+[-\u2010-\u2015/|]\s+|\s*[|;,/]\s+", bare)
        bare = next((word for word in words if looks_like_mail(word)), bare)
    if "@" not in bare:
        bare = bare.replace("%40", "@", 1)
    return unwrap(bare).rstrip(".")


def _folded(local: str, domain: str, notes: list[str]) -> str:
    rule = _FOLDINGS.get(domain)
    if domain.endswith((".fastmail.com", ".fastmail.fm")):
        # Subdomain addressing: anything@user.fastmail.com is user@fastmail.com.
        user, _, domain = domain.partition(".")
        notes.append("folded")
        return f"{user}@{domain}"
    if rule is None:
        return f"{local}@{domain}"
    name = local.partition(rule.tag)[0] if rule.tag else local
    name = name.translate(str.maketrans("", "", rule.dropped))
    if rule.same is not None:
        name = name.replace(*rule.same)
    if not name:
        return f"{local}@{domain}"
    folded = f"{name}@{rule.domain or domain}"
    if folded != f"{local}@{domain}":
        notes.append("folded")
    return folded
