"""Which kind each attribute type and each relation of an object template of MISP has here.

Types and relations are those of MISP's own list of attribute types and of its object templates. What is not listed is
refused by name. Relations that describe an object and identify nothing are listed too, and skipped with a count.
"""

from __future__ import annotations

from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

from concordat.canon import Kind

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True, slots=True)
class Template:
    """An object template: the platform its accounts are on, where its name says so, and its relations' kinds."""

    kinds: Mapping[str, Kind]
    platform: str | None = None


def _kinds(**relations: Kind) -> Mapping[str, Kind]:
    """Return relations with the hyphens that a Python name cannot have; a double underscore stays one underscore."""
    return MappingProxyType(
        {name.replace("__", "\0").replace("_", "-").replace("\0", "_"): kind for name, kind in relations.items()}
    )


ATTRIBUTE_KINDS: Final[Mapping[str, Kind]] = MappingProxyType(
    {
        "phone-number": Kind.PHONE,
        "whois-registrant-phone": Kind.PHONE,
        **dict.fromkeys(
            ("email", "email-src", "email-dst", "email-reply-to", "target-email", "whois-registrant-email"),
            Kind.EMAIL,
        ),
        "dns-soa-email": Kind.EMAIL,
        "url": Kind.URL,
        "uri": Kind.URL,
        "link": Kind.URL,
        "domain": Kind.DOMAIN,
        "domain|ip": Kind.DOMAIN,
        "hostname": Kind.DOMAIN,
        "hostname|port": Kind.DOMAIN,
        "onion-address": Kind.DOMAIN,
        "iban": Kind.IBAN,
        "twitter-id": Kind.X,
        "jabber-id": Kind.ACCOUNT,
        "target-user": Kind.USERNAME,
        "mobile-application-id": Kind.APP,
    }
)

# Composite types whose first part is the identifier.
FIRST_PART: Final = frozenset({"domain|ip", "hostname|port"})

# Relations that name the platform of the other relations of their object.
PLATFORM_RELATIONS: Final = (
    "platform",
    "app-used",
    "account-type",
    "source-platform",
    "instant-messaging-used",
    "type",
)

_DESCRIPTIVE_RELATIONS: Final = """
account-type app-used archive attachment bio body brand comment created created-on creation-date description
disabled display-name displayed-name email-body event expires first-seen followers following function gender
group-type hashtag header instant-messaging-used is-verified joined-date language last-seen likes listed location
media model modification-date name-of-service platform portrait post privacy private received-date removal-date role
send-date sent-date services source-platform state subject text title tweets type user-avatar user-description
verified
"""
DESCRIPTIVE: Final = frozenset(_DESCRIPTIVE_RELATIONS.split())

_ACCOUNT: Final = _kinds(
    account_name=Kind.USERNAME,
    account_id=Kind.USER_ID,
    url=Kind.PROFILE,
    link=Kind.PROFILE,
    embedded_link=Kind.URL,
    embedded_safe_link=Kind.URL,
)
_GROUP: Final = _kinds(
    id=Kind.GROUP,
    group_alias=Kind.GROUP,
    url=Kind.GROUP,
    link=Kind.GROUP,
    username=Kind.USERNAME,
    administrator=Kind.USERNAME,
    creator=Kind.USERNAME,
    embedded_link=Kind.URL,
    embedded_safe_link=Kind.URL,
)
_PAGE: Final = _kinds(
    page_id=Kind.PAGE,
    page_alias=Kind.PAGE,
    url=Kind.PAGE,
    link=Kind.PAGE,
    creator=Kind.USERNAME,
    contact_detail=Kind.URL,
    embedded_link=Kind.URL,
    embedded_safe_link=Kind.URL,
)
_POST: Final = _kinds(
    url=Kind.POST, link=Kind.POST, username=Kind.USERNAME, embedded_link=Kind.URL, creator=Kind.USERNAME
)
_MESSAGE: Final = _kinds(
    from_number=Kind.PHONE,
    to_number=Kind.PHONE,
    from_user=Kind.USERNAME,
    to_user=Kind.USERNAME,
    url=Kind.URL,
    link=Kind.URL,
)
_CONTACT: Final = _kinds(
    phone_number=Kind.PHONE,
    fax_number=Kind.FAX,
    e_mail=Kind.EMAIL,
    handle=Kind.USERNAME,
    website=Kind.WEBSITE,
)

OBJECTS: Final[Mapping[str, Template]] = MappingProxyType(
    {
        "facebook-account": Template(_ACCOUNT, "facebook"),
        "facebook-group": Template(_GROUP, "facebook"),
        "facebook-page": Template(_PAGE, "facebook"),
        "facebook-post": Template(_POST, "facebook"),
        "instagram-account": Template(_ACCOUNT, "instagram"),
        "reddit-account": Template(_ACCOUNT, "reddit"),
        "parler-account": Template(_ACCOUNT, "parler"),
        "twitter-account": Template(
            _kinds(name=Kind.USERNAME, id=Kind.USER_ID, url=Kind.PROFILE, link=Kind.PROFILE, embedded_link=Kind.URL),
            "x",
        ),
        "twitter-post": Template(_POST, "x"),
        "telegram-account": Template(_kinds(username=Kind.USERNAME, phone=Kind.PHONE, id=Kind.USER_ID), "telegram"),
        "telegram-bot": Template(_kinds(username=Kind.USERNAME, chat_id=Kind.USER_ID), "telegram"),
        "keybase-account": Template(_kinds(username=Kind.USERNAME, id=Kind.USER_ID, emails=Kind.EMAIL), "keybase"),
        "youtube-channel": Template(_kinds(channel_id=Kind.CHANNEL, url=Kind.CHANNEL, link=Kind.CHANNEL), "youtube"),
        "google-account": Template(
            _kinds(
                e_mail=Kind.EMAIL,
                recovery_sms=Kind.PHONE,
                recovery_e_mail=Kind.EMAIL,
                alternate_e_mails=Kind.EMAIL,
                contact_e_mail=Kind.EMAIL,
                account_id=Kind.USER_ID,
                related_links=Kind.URL,
            ),
            "google",
        ),
        "user-account": Template(
            _kinds(username=Kind.USERNAME, user_id=Kind.USER_ID, email=Kind.EMAIL, link=Kind.PROFILE)
        ),
        "social-media-group": Template(_GROUP),
        "instant-message-group": Template(_GROUP),
        "instant-message": Template(_MESSAGE),
        "chat-message": Template(_MESSAGE),
        "short-message-service": Template(MappingProxyType({"from": Kind.SMS, "to": Kind.SMS})),
        "microblog": Template(_POST),
        "blog": Template(_POST),
        "phone": Template(_kinds(msisdn=Kind.PHONE)),
        "phone-number": Template(_kinds(phone_number=Kind.PHONE)),
        "person": Template(_CONTACT),
        "contact-list": Template(_CONTACT),
        "organization": Template(_CONTACT),
        "legal-entity": Template(_CONTACT),
        "bank-account": Template(_kinds(iban=Kind.IBAN)),
        "android-app": Template(_kinds(appid=Kind.APP, domain=Kind.DOMAIN)),
        "shortened-link": Template(_kinds(shortened_url=Kind.URL, redirect_url=Kind.URL, domain=Kind.DOMAIN)),
    }
)
