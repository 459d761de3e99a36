"""Canonical forms: what an officer typed, brought to the one spelling that all parties turn into a token.

    from concordat.canon import Context, Kind, read

    reading = read(Kind.parse("whatsapp"), "https://wa.me/447700900123", Context(home_region="NL"))
    reading.values[0].canonical  # "+447700900123"

Everything here is pure: no clock, no network, no setting. The rules and the data they rest on (phone metadata, public
suffix list, confusables) are part of the canonical form: two parties that read alike must run the same
`RULES_VERSIONS`. The vectors under tests/vectors/canon are the contract for other languages.

Limits, which the user should know:

- A handle and a numeric id of the same profile cannot be joined offline (Facebook, VK, Telegram, YouTube, ...). Give
  both when both are known. A renamed account is another account.
- A homoglyph (Cyrillic a in a Latin name) meets its twin in a weak value only, and for account names only.
- A username without platform is strong only against the same username without platform; it meets the profile of
  a platform in a weak value.
- A national phone number is read in one region. If that region is wrong, only a weak value can meet.
- The address of a short link, of an advert or of a post is the address, not the person: it is a `url`.
- What a checksum or a numbering plan rejects is kept in a plain form with a note, since typing errors are evidence too.
- Unicode categories come from the interpreter; a character younger than its Unicode version may read differently.
"""

from concordat.canon.model import RULES_VERSIONS, Context, Grade, Kind, Namespace, Reading, Value
from concordat.canon.reading import read

__all__ = ["RULES_VERSIONS", "Context", "Grade", "Kind", "Namespace", "Reading", "Value", "read"]
