"""Host names: A-label form, registrable domain, and the hosts that say nothing."""

from __future__ import annotations

import functools
import ipaddress
import re
import unicodedata
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    import tldextract

MAX_HOST_CHARS: Final = 253
_CACHED_HOSTS: Final = 65_536
_ASCII_HOST: Final = re.compile(r"(?!-)[a-z0-9_-]+(?:\.[a-z0-9_-]+)*")
_FORBIDDEN: Final = re.compile(r"[\s/\\?#@:<>\[\]%^|{}\"`!$&'()*+,;=~]")
# Names of the same site that differ in view only.
_VIEW_LABELS: Final = ("www.", "m.", "mobile.")

# Hosts that many unrelated people share: as a part of a URL they give no weak value. Part of the rules version.
# (Hosts of the platforms table are common as well.)
_COMMON: Final = frozenset(
    """
    gmail.com googlemail.com google.com outlook.com hotmail.com live.com msn.com yahoo.com icloud.com me.com apple.com
    proton.me protonmail.com mail.ru yandex.ru ya.ru gmx.de gmx.net web.de bing.com microsoft.com
    play.google.com apps.apple.com itunes.apple.com market.android.com docs.google.com drive.google.com goo.gl
    forms.gle maps.app.goo.gl sites.google.com dropbox.com wetransfer.com mega.nz imgur.com pastebin.com telegra.ph
    app.link page.link onelink.me wa.link linktr.ee
    bit.ly tinyurl.com t.co is.gd cutt.ly rebrand.ly shorturl.at ow.ly rb.gy tiny.cc s.id vk.cc lnkd.in
    blogspot.com wordpress.com github.io github.com gitlab.io wixsite.com weebly.com herokuapp.com netlify.app
    vercel.app web.app firebaseapp.com pages.dev amazonaws.com cloudfront.net azurewebsites.net archive.org
    web.archive.org wikipedia.org amazon.com ebay.com paypal.com localhost
    """.split()
)


# Services whose tenants are unrelated people, which the public suffix list leaves out. Part of the rules version.
_TENANTS: Final = tuple(
    """
    wordpress.com weebly.com livejournal.com jimdofree.com jimdosite.com webs.com yolasite.com mystrikingly.com
    business.site godaddysites.com site123.me simdif.com page.tl webador.nl e-monsite.com tilda.ws substack.com
    webnode.com webnode.page webnode.cz webnode.sk webnode.nl webnode.fr webnode.it webnode.es webnode.hu
    ucoz.ru ucoz.com ucoz.net ucoz.ua ucoz.es at.ua my1.ru 3dn.ru clan.su do.am moy.su narod.ru
    over-blog.com canalblog.com eklablog.com skyrock.com blog.hu blogs.sapo.pt 000webhostapp.com wapka.mobi
    forumotion.com forumfree.it forumcommunity.net proboards.com createaforum.com freeforums.net
    """.split()
)
# One blog answers at blogspot.com and at the same name under every country.
_BLOGSPOT: Final = re.compile(r"(?<![^.])blogspot\.(?:(?:com?\.)?[a-z]{2})$")
# A gateway to an onion service (name.onion.ws) shows that service.
_ONION_GATEWAY: Final = re.compile(r"(?<![^.])((?:[a-z2-7]{16}|[a-z2-7]{56})\.onion)\.[a-z]{2,12}$")


def to_host(text: str) -> str | None:
    """Return the host as lower-case A-labels, an IP address in its shortest form, or None when it is no host.

    Labels that IDNA 2008 forbids (underscores, emoji) are kept: lower case, else punycode of their NFKC.
    """
    host = text.strip().strip(".").lower()
    if (host.startswith("[") and host.endswith("]")) or re.fullmatch(r"(?:[0-9a-f]{0,4}:){2,7}[0-9a-f.]*", host):
        return _ipv6(host)
    if not host or len(host) > MAX_HOST_CHARS or ".." in host:
        return None
    if _ASCII_HOST.fullmatch(host):
        return _BLOGSPOT.sub("blogspot.com", _ONION_GATEWAY.sub(r"\1", host))
    if _FORBIDDEN.search(host):
        return None
    return _to_a_labels(host)


def _ipv6(host: str) -> str | None:
    try:
        return f"[{ipaddress.IPv6Address(host.strip('[]')).compressed}]"
    except ValueError:
        return None


def _to_a_labels(host: str) -> str | None:
    import idna  # noqa: PLC0415 - needed for few hosts

    try:
        return idna.encode(host, uts46=True).decode("ascii")
    except (idna.IDNAError, UnicodeError):
        labels = [_plain_label(label) for label in re.split("[.。]", unicodedata.normalize("NFKC", host).lower())]
        joined = ".".join(labels)
        return joined if all(labels) and len(joined) <= MAX_HOST_CHARS and not _FORBIDDEN.search(joined) else None


def _plain_label(label: str) -> str:
    return label if label.isascii() else "xn--" + label.encode("punycode").decode("ascii").lower()


def is_address(host: str) -> bool:
    """Tell whether a host is an IP address rather than a name."""
    if host.startswith("["):
        return True
    return re.fullmatch(r"\d{1,3}(?:\.\d{1,3}){3}", host) is not None


def is_dotted_name(host: str) -> bool:
    """Tell whether a host has a top-level label that could be one: letters or an A-label, two characters at least."""
    if is_address(host):
        return True
    top = host.rpartition(".")[2]
    return "." in host and (top.startswith("xn--") or (len(top) >= 2 and top.isalpha()))


def without_view(host: str) -> str:
    """Drop `www.`, `m.` and `mobile.` in front of what still has a dot."""
    for label in _VIEW_LABELS:
        if host.startswith(label) and "." in host[len(label) :]:
            return without_view(host[len(label) :])
    return host


@functools.lru_cache(maxsize=_CACHED_HOSTS)
def registrable_domain(host: str) -> str:
    """Return the registrable domain, private suffixes on; of a suffix or an address, the host itself.

    A top-level domain that the list does not know counts as a suffix (the list's own default rule).
    """
    if is_address(host) or "." not in host:
        return host
    parts = _extractor().extract_str(host)
    if parts.suffix:
        return parts.top_domain_under_public_suffix or host
    return ".".join(host.split(".")[-2:])


def is_common(host: str) -> bool:
    """Tell whether a host says nothing about who is behind it."""
    return host in _COMMON


@functools.cache
def _extractor() -> tldextract.TLDExtract:
    import tldextract  # noqa: PLC0415 - heavy: loaded with the first host

    # No list is fetched and nothing cached on disk: the snapshot in the package is part of the canonical form.
    return tldextract.TLDExtract(
        suffix_list_urls=(), cache_dir=None, include_psl_private_domains=True, extra_suffixes=_TENANTS
    )
