"""Values that many unrelated people share: a match of one is counted, not shouted (docs/handling.md).

The list says nothing of whether values are compared: a hotline that two countries hold still matches. It is versioned,
since people compare what two nodes show; it plays no part in tokens, and may grow at any time.

Sources: the platforms and mail providers of the canonical forms; harmonised numbers 112 and 116xxx (Commission Decision
2007/116/EC as amended); numbers that regulators set aside for drama and documentation (Ofcom 07700 900000 to 900999
among others, ATIS 555-0100 to 0199).
"""

from __future__ import annotations

import re
from typing import Final

from concordat.canon.account import site_of_host
from concordat.canon.email import is_mail_provider
from concordat.canon.hosts import is_common

COMMON_VERSION: Final = 1
MAIL_PROVIDER: Final = "mail provider"
PLATFORM: Final = "platform's own host"
SHARED_HOST: Final = "host that many share"
HOTLINE: Final = "hotline"
TEST_NUMBER: Final = "test number"
EMERGENCY: Final = "emergency number"

_COUNTRY: Final = r"\+[1-9]\d{0,2}"
_HOTLINE: Final = re.compile(rf"{_COUNTRY}(?:800)?116(?:000|006|016|111|117|123)")
_EMERGENCY: Final = re.compile(rf"{_COUNTRY}(?:112|999|911|110|113|15|17|18)")
_TEST_NUMBERS: Final = re.compile(
    r"\+44(?:7700900|1632960|2079460|1134960|1144960|1154960|1164960|1174960|1184960|1214960|1314960|1414960"
    r"|1514960|1614960|1914980|2890180|2920180|3069990|8081570|9098790)\d{3}"
    r"|\+1[2-9]\d{2}55501\d{2}"
    r"|\+33(?:199|261|353|465|536)00\d{4}|\+336399800\d{2}"
)


def common_reason(namespace: str, canonical: str) -> str | None:
    """Return why a value is common, in words for people; None where it is not on the list.

    Args:
        namespace: Name of the namespace.
        canonical: Canonical value.
    """
    if namespace == "e164":
        return _of_number(canonical)
    if namespace == "platform":
        return _of_host(canonical)
    return None


def _of_number(canonical: str) -> str | None:
    for pattern, reason in ((_HOTLINE, HOTLINE), (_EMERGENCY, EMERGENCY), (_TEST_NUMBERS, TEST_NUMBER)):
        if pattern.fullmatch(canonical):
            return reason
    return None


def _of_host(host: str) -> str | None:
    if is_mail_provider(host):
        return MAIL_PROVIDER
    if site_of_host(host) is not None:
        return PLATFORM
    return SHARED_HOST if is_common(host) else None
