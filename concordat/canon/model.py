"""The types of canonical forms: what goes into a reading and what comes out."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

from concordat.canon.kind_names import NAMES_OF_KINDS, kind_key
from concordat.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Mapping

MAX_TYPED_CHARS: Final = 2048
# One typed character may become 18 (U+FDFA) and each of those 6 bytes in a URL; the input of a token has 64 KiB.
MAX_CANONICAL_BYTES: Final = 32 * 1024


class Namespace(StrEnum):
    """What enters the token. Things that are the same in life share a namespace."""

    E164 = "e164"
    EMAIL = "email"
    ACCOUNT = "account"
    PLATFORM = "platform"
    URL = "url"
    APP = "app"
    IBAN = "iban"


class Grade(StrEnum):
    """Whether a value is the thing itself (strong) or a guess or part of it (weak)."""

    STRONG = "strong"
    WEAK = "weak"


class Kind(StrEnum):
    """What an officer chooses. It steers the reading and is shown; it never enters the token."""

    PHONE = "phone"
    FAX = "fax"
    SMS = "sms"
    WHATSAPP = "whatsapp"
    VIBER = "viber"
    SIGNAL = "signal"
    EMAIL = "email"
    TELEGRAM = "telegram"
    USERNAME = "username"
    USER_ID = "user_id"
    ACCOUNT = "account"
    PROFILE = "profile"
    GROUP = "group"
    PAGE = "page"
    CHANNEL = "channel"
    INVITE = "invite"
    FACEBOOK = "facebook"
    INSTAGRAM = "instagram"
    TIKTOK = "tiktok"
    VK = "vk"
    OK = "ok"
    WECHAT = "wechat"
    WEIBO = "weibo"
    X = "x"
    YOUTUBE = "youtube"
    SNAPCHAT = "snapchat"
    ONLYFANS = "onlyfans"
    LINKEDIN = "linkedin"
    SKYPE = "skype"
    DISCORD = "discord"
    PLATFORM = "platform"
    WEBSITE = "website"
    DOMAIN = "domain"
    FORUM = "forum"
    URL = "url"
    ADVERT = "advert"
    POST = "post"
    APP = "app"
    IBAN = "iban"

    @classmethod
    def parse(cls, name: str) -> Kind:
        """Read a kind as people and files name it, whatever its case, spaces, hyphens and underscores.

        Raises:
            InputError: `unknown_kind`, when no kind has this name.
        """
        key = kind_key(name)
        found = _KIND_BY_KEY.get(key) or _KIND_BY_KEY.get(_WHAT_OF_A_PLATFORM.sub("", key))
        if found is None:
            raise InputError("the kind is not one that is known", code="unknown_kind")
        return found


def _kinds_by_key() -> dict[str, Kind]:
    table = {kind_key(kind.value): kind for kind in Kind}
    for value, names in NAMES_OF_KINDS.items():
        for name in names.split():
            table.setdefault(kind_key(name), Kind(value))
    return table


_KIND_BY_KEY: Final = _kinds_by_key()
# `Instagram profile` is the kind instagram.
_WHAT_OF_A_PLATFORM: Final = re.compile(
    r"(?:profile?|profiel|account|konto|username|user|handle|name|nickname|url|link|number)s?$"
)

# Codes with which a reading is refused. They stay at the node, beside line and reason: none of them is an error that
# crosses to another party, so none is in the catalogue of `concordat.errors`.
READING_CODES: Final = frozenset(
    {
        "empty",
        "several",
        "too_long",
        "unknown_kind",
        "unknown_region",
        "unreadable_account",
        "unreadable_app",
        "unreadable_email",
        "unreadable_iban",
        "unreadable_phone",
        "unreadable_platform",
        "unreadable_url",
    }
)

# A version goes up only when outputs of its namespace change; the manifest names the current and the next one.
RULES_VERSIONS: Final[Mapping[Namespace, int]] = MappingProxyType(dict.fromkeys(Namespace, 1))


@dataclass(frozen=True, slots=True)
class Value:
    """One canonical value, ready for the token input.

    Raises:
        InputError: `too_long`, where it would not fit into one.
    """

    namespace: Namespace
    canonical: str
    grade: Grade

    def __post_init__(self) -> None:
        if len(self.canonical) > MAX_CANONICAL_BYTES // 4 and len(self.canonical.encode()) > MAX_CANONICAL_BYTES:
            raise InputError(f"the canonical form has more than {MAX_CANONICAL_BYTES} bytes", code="too_long")


@dataclass(frozen=True, slots=True)
class Context:
    """What a record says beside the identifier; regions are ISO 3166 alpha-2.

    Attributes:
        home_region: The node's own region, assumed for a national number when nothing better is known.
        region: The region of the row, else of the file or case; None when neither says.
        origin: Regions that the record names as origin.
        destination: Regions that the record names as destination.
        platform: The platform of a username, by name (`Instagram`) or host (`forum.example`).
    """

    home_region: str
    region: str | None = None
    origin: tuple[str, ...] = ()
    destination: tuple[str, ...] = ()
    platform: str | None = None


@dataclass(frozen=True, slots=True)
class Reading:
    """What an identifier was read as.

    Attributes:
        values: The one strong value first, then the weak ones, without duplicates.
        region: The region of a phone number, where there is one.
        region_assumed: Whether that region is the node's own, for want of a better one.
        notes: Short machine-readable codes of what was done or doubted, in the order of doing.
    """

    values: tuple[Value, ...]
    region: str | None = None
    region_assumed: bool = False
    notes: tuple[str, ...] = ()


def strong_first(strong: tuple[Namespace, str], weak: tuple[tuple[Namespace, str], ...] = ()) -> tuple[Value, ...]:
    """Return the values of a reading: the strong one, then each weak one once, in order."""
    head = Value(strong[0], strong[1], Grade.STRONG)
    return (head, *(Value(ns, text, Grade.WEAK) for ns, text in dict.fromkeys(weak)))
