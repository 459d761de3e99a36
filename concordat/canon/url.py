"""URLs of anything that is no profile: without scheme, in one spelling.

Host as A-label without `www.`, `m.`, `mobile.`; default ports dropped; path with dot segments resolved, one way of
percent-encoding, no slash at the end, its case kept; query sorted, without tracking and session parameters; fragment
dropped unless it is a route (`#!…`, `#/…`). Weak values: host and registrable domain, as of a platform.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from concordat.canon.hosts import without_view
from concordat.canon.links import encode
from concordat.canon.model import Namespace, Reading, strong_first
from concordat.canon.platform import weak_hosts

if TYPE_CHECKING:
    from concordat.canon.links import Link

_TRACKING: Final = frozenset(
    """
    fbclid gclid gclsrc dclid gbraid wbraid msclkid yclid ymclid twclid ttclid li_fat_id igshid igsh mibextid rdid
    mc_cid mc_eid mkt_tok _hsenc _hsmi _ga _gl _openstat spm scm vero_id vero_conv oly_enc_id oly_anon_id wickedid
    s_cid ref_src ref_url __tn__ __xts__ __cft__ fb_action_ids fb_action_types fb_source share_url cmpid cvid
    _branch_match_id _branch_referrer at_campaign at_medium pk_campaign pk_kwd pk_source gad_source gad_campaignid
    srsltid phpsessid jsessionid aspsessionid
    """.split()
)
_TRACKING_FAMILIES: Final = ("utm_", "__cft__[", "hsa_", "mtm_", "itm_", "stm_")
# `s` and `sid` mean many things, but 32 hex digits there are the session of a forum or shop.
_SESSION_NAMES: Final = frozenset(["s", "sid", "osid", "session_id", "sessionid"])


def read_url(link: Link, notes: tuple[str, ...] = ()) -> Reading:
    """Return the reading of a link as a URL."""
    host = without_view(link.host)
    port = f":{link.port}" if link.port else ""
    canonical = f"{host}{port}{link.path}{_query(link)}{_route(link.fragment)}"
    return Reading(values=strong_first((Namespace.URL, canonical), weak_hosts(link.host)), notes=notes)


def _query(link: Link) -> str:
    kept = sorted((key, value) for key, value in link.query if not _is_tracking(key, value))
    pairs = (_part(key) + ("=" + _part(value) if value else "") for key, value in kept)
    joined = "&".join(pairs)
    return f"?{joined}" if joined else ""


def _part(text: str) -> str:
    return re.sub(r"[&+=]", lambda found: f"%{ord(found.group()):02X}", encode(text.encode("utf-8")))


def _is_tracking(key: str, value: str) -> bool:
    name = key.casefold()
    if name in _TRACKING or name.startswith(_TRACKING_FAMILIES):
        return True
    return name in _SESSION_NAMES and re.fullmatch(r"[0-9a-fA-F]{32}", value) is not None


def _route(fragment: str) -> str:
    if not fragment.startswith(("!", "/")):
        return ""
    route = fragment.rstrip("/ ")
    return "#" + encode(route.encode("utf-8")).replace("%2F", "/").replace("%3F", "?") if len(route) > 1 else ""
