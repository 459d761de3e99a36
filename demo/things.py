"""Things that investigators write down, and the ways in which they write them.

Each thing is made of parts and spelled from them; nothing here uses Concordat's canonical forms, so that the demo's
truth is independent of what it tests. All numbers come from ranges that telephone authorities keep free for examples
and works of fiction, all hosts from the top-level domain `.example` or are random onion addresses, all accounts are
invented.
"""

from __future__ import annotations

import base64
import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Protocol

if TYPE_CHECKING:
    from random import Random


@dataclass(frozen=True, slots=True)
class Spelling:
    """One way of writing a thing: the kind chosen, the text typed, and the columns that help to read it."""

    kind: str
    typed: str
    region: str | None = None
    platform: str | None = None


class Thing(Protocol):
    """What two parties may both hold."""

    def spell(self, home: str, rng: Random) -> Spelling:
        """Write the thing as somebody in the region `home` may."""
        ...


FULL_WIDTH: Final = str.maketrans("0123456789+", "０１２３４５６７８９＋")  # noqa: RUF001 - typed by East Asian keyboards
ARABIC_INDIC: Final = str.maketrans("0123456789", "٠١٢٣٤٥٦٧٨٩")
ZERO_WIDTH: Final = "\u200b"


def _grouped(digits: str, separator: str) -> str:
    head, tail = digits[: len(digits) % 2 or 2], digits[len(digits) % 2 or 2 :]
    return separator.join([head, *[tail[i : i + 2] for i in range(0, len(tail), 2)]])


@dataclass(frozen=True, slots=True)
class Phone:
    """A subscriber number: calling code, region, trunk prefix and national digits."""

    code: str
    region: str
    trunk: str
    digits: str

    def spell(self, home: str, rng: Random) -> Spelling:
        """Write the number internationally, nationally, or as a link of a messenger."""
        national = self.trunk + self.digits
        ways = [
            Spelling("phone", f"+{self.code} {_grouped(self.digits, ' ')}"),
            Spelling("phone", f"00{self.code}{self.digits}"),
            Spelling(
                "phone",
                f"+{self.code} (0) {_grouped(self.digits, '-')}" if self.trunk else f"+{self.code}{self.digits}",
            ),
            Spelling("phone", f"tel:+{self.code}-{self.digits}"),
            Spelling("whatsapp", f"https://wa.me/{self.code}{self.digits}"),
            Spelling("whatsapp", f"+{self.code}{self.digits}"),
            Spelling("viber", f"viber://chat?number=%2B{self.code}{self.digits}"),
            Spelling("signal", f"+{self.code} {self.digits}"),
            Spelling("fax", f"+{self.code} {_grouped(self.digits, '.')}"),
            Spelling("phone", f"+{self.code}{self.digits}".translate(FULL_WIDTH)),
            Spelling("phone", f"+{self.code} {self.digits[:3]}{ZERO_WIDTH}{self.digits[3:]}"),
            Spelling("fax", _grouped(national, " "), region=self.region),
            Spelling("phone", national.translate(ARABIC_INDIC), region=self.region),
            Spelling("phone", f"{national} ext. 12", region=self.region),
        ]
        if home == self.region:
            ways += [Spelling("phone", _grouped(national, " ")), Spelling("phone", national)] * 3
        return rng.choice(ways)


@dataclass(frozen=True, slots=True)
class Email:
    """A mailbox."""

    local: str
    domain: str

    def spell(self, home: str, rng: Random) -> Spelling:  # noqa: ARG002 - the same everywhere
        """Write the address plain, as a link, defanged, or as a mail program shows it."""
        address = f"{self.local}@{self.domain}"
        ways = [
            address,
            address.upper(),
            f"{self.local.capitalize()}@{self.domain.title()}",
            f"mailto:{address}",
            f"<{address}>",
            f"{self.local}[at]{self.domain.replace('.', '[.]')}",
            f" {address}. ",
            f"{self.local[:2]}{ZERO_WIDTH}{self.local[2:]}@{self.domain}",
            f"{self.local}＠{self.domain}",  # noqa: RUF001 - the full-width sign is the point
        ]
        return Spelling("email", rng.choice(ways))


@dataclass(frozen=True, slots=True)
class App:
    """An application, by its Android package."""

    package: str

    def spell(self, home: str, rng: Random) -> Spelling:
        """Write the package, or the shop's page."""
        ways = [
            self.package,
            f"https://play.google.com/store/apps/details?id={self.package}",
            f"play.google.com/store/apps/details?hl={home.lower()}&id={self.package}",
            f" {self.package} ",
        ]
        return Spelling("app", rng.choice(ways))


# Profile page of each platform; {} is the handle. Handles of all of them are read without regard to case.
PROFILE: Final = {
    "facebook": ("https://www.facebook.com/{}", "m.facebook.com/{}/", "fb.com/{}", "https://facebook.com/{}?locale=xx"),
    "instagram": ("https://www.instagram.com/{}/", "instagram.com/{}?igsh=abc", "hxxps://instagram[.]com/{}"),
    "tiktok": ("https://www.tiktok.com/@{}", "tiktok.com/@{}?lang=en", "https://m.tiktok.com/@{}"),
    "telegram": ("https://t.me/{}", "telegram.me/{}", "tg://resolve?domain={}", "hxxps://t[.]me/{}"),
    "vk": ("https://vk.com/{}", "m.vk.com/{}", "https://vk.com/{}?from=search"),
    "x": ("https://x.com/{}", "https://twitter.com/{}", "mobile.twitter.com/{}"),
    "youtube": ("https://www.youtube.com/@{}", "youtube.com/@{}/videos", "https://m.youtube.com/@{}"),
    "snapchat": ("https://www.snapchat.com/add/{}", "snapchat.com/add/{}?share_id=abc"),
    "onlyfans": ("https://onlyfans.com/{}", "onlyfans.com/{}/"),
    "linkedin": ("https://www.linkedin.com/in/{}/", "https://xx.linkedin.com/in/{}".replace("xx", "nl")),
}


@dataclass(frozen=True, slots=True)
class Account:
    """A profile: platform and handle."""

    platform: str
    handle: str

    def spell(self, home: str, rng: Random) -> Spelling:  # noqa: ARG002 - the same everywhere
        """Write the profile's page, or the handle with its platform."""
        page = rng.choice(PROFILE[self.platform]).format(self.handle)
        ways = [
            Spelling("profile", page),
            Spelling("url", page),
            Spelling("account", page.replace(self.handle, self.handle.capitalize())),
            Spelling("username", f"@{self.handle}", platform=self.platform),
            Spelling("username", self.handle.upper(), platform=self.platform),
            Spelling("username", f"{self.handle}@{self.platform}"),
            Spelling("account", f"{self.handle[:4]}{ZERO_WIDTH}{self.handle[4:]}", platform=self.platform),
        ]
        return rng.choice(ways)


@dataclass(frozen=True, slots=True)
class Platform:
    """A site, by the domain that somebody registered, or by its onion address."""

    domain: str
    ascii_domain: str

    def spell(self, home: str, rng: Random) -> Spelling:
        """Write the domain, its start page, or a host under it."""
        ways = [
            self.domain,
            f"https://{self.domain}",
            f"http://{self.domain}/",
            self.domain.upper() if self.domain.upper().lower() == self.domain else self.domain,
            self.ascii_domain,
            f"https://{self.ascii_domain}:443/",
            f"hxxps://{self.domain.replace('.', '[.]')}",
            f"{self.domain}.",
        ]
        if not self.domain.endswith(".onion"):
            ways += [f"www.{self.domain}", f"https://m.{self.domain}/", f"{home.lower()}.{self.domain}"]
        return Spelling(rng.choice(("platform", "website", "domain")), rng.choice(ways))


@dataclass(frozen=True, slots=True)
class Advert:
    """One page of a site."""

    domain: str
    path: str
    number: int

    def spell(self, home: str, rng: Random) -> Spelling:  # noqa: ARG002 - the same everywhere
        """Write the page's address with or without what trackers add."""
        page = f"{self.domain}/{self.path}"
        ways = [
            f"https://{page}?id={self.number}",
            f"http://www.{page}/?id={self.number}",
            f"https://{page}?utm_source=mail&id={self.number}#top",
            f"hxxps://{page.replace('.', '[.]')}?id={self.number}",
        ]
        return Spelling("url", rng.choice(ways))


def onion(rng: Random) -> str:
    """Return a random address of an onion service, version 3 (rend-spec-v3, 6); nobody knows its key."""
    key, version = rng.randbytes(32), b"\x03"
    checksum = hashlib.sha3_256(b".onion checksum" + key + version).digest()[:2]
    return base64.b32encode(key + checksum + version).decode().lower() + ".onion"
