"""Closed vocabularies of a record and of a case, and the one way in which a typed word is read as one of them.

Words are what an officer may write in a file: lower case, underscores between the parts of a word. Reading folds case
and takes blanks and hyphens for underscores, so that "Social medium" and "social-medium" are the same word. A word
that is not listed is refused with the list of those that are; nothing is guessed.

Sources: handling codes and evaluation codes as Europol's (Regulation (EU) 2016/794, article 29, and the Council's
guidelines); purpose, subject category and aim as regulation (EU) 2024/982, article 33.

Example:
    >>> parse_word(PlatformCategory, " Social medium ")
    <PlatformCategory.SOCIAL_MEDIUM: 'social_medium'>
"""

from __future__ import annotations

import re
from enum import StrEnum
from typing import Final, TypeVar


class PlatformCategory(StrEnum):
    """What sort of place the identifier was seen on."""

    SOCIAL_MEDIUM = "social_medium"
    DATING = "dating"
    WEB_FORUM = "web_forum"
    MARKETPLACE = "marketplace"
    REVIEW_FORUM = "review_forum"
    APPLICATION = "application"
    COMMUNITY_GROUP = "community_group"


class Exploitation(StrEnum):
    """Form of exploitation that the case looks at."""

    SEXUAL = "sexual"
    LABOUR = "labour"
    CRIMINALITY = "criminality"
    BEGGING = "begging"
    OTHER = "other"


class Use(StrEnum):
    """What the identifier was used for."""

    RECRUITMENT = "recruitment"
    ADVERTISING = "advertising"
    CONTACT = "contact"
    PAYMENT = "payment"
    OTHER = "other"


class Role(StrEnum):
    """Role of the person behind the identifier."""

    SUSPECT = "suspect"
    VICTIM = "victim"
    POTENTIAL_VICTIM = "potential_victim"
    WITNESS = "witness"
    CONTACT = "contact"
    UNKNOWN = "unknown"


class SourceEvaluation(StrEnum):
    """Reliability of the source: A no doubt, B mostly reliable, C mostly unreliable, X cannot be assessed."""

    A = "A"
    B = "B"
    C = "C"
    X = "X"


class InformationEvaluation(StrEnum):
    """Accuracy of the information: 1 certain, 2 known to the source, 3 corroborated hearsay, 4 cannot be assessed."""

    ONE = "1"
    TWO = "2"
    THREE = "3"
    FOUR = "4"


class Assessment(StrEnum):
    """How far the holder's own checks of an identifier have come, from looked at to confirmed."""

    CHECKED = "checked"
    SUSPECTED = "suspected"
    CONFIRMED = "confirmed"


class Handling(StrEnum):
    """Europol's handling codes: H0 combat crime only, H1 not in court, H2 no dissemination, H3 other restrictions."""

    H0 = "H0"
    H1 = "H1"
    H2 = "H2"
    H3 = "H3"


class Tlp(StrEnum):
    """Traffic Light Protocol 2.0 (FIRST): red to named recipients only, clear to everybody."""

    RED = "red"
    AMBER_STRICT = "amber_strict"
    AMBER = "amber"
    GREEN = "green"
    CLEAR = "clear"


class Visibility(StrEnum):
    """What others may learn of a record (LB-10, LB-24): local only is compared with nobody."""

    VISIBLE = "visible"
    SILENT = "silent"
    LOCAL_ONLY = "local_only"


class FalseHit(StrEnum):
    """Why an officer says that a match is none."""

    OTHER_PERSON = "other_person"
    REASSIGNED = "reassigned"
    COMMON_VALUE = "common_value"
    TYPING_ERROR = "typing_error"
    OTHER = "other"


class WithdrawReason(StrEnum):
    """Why a record is withdrawn; the word stays at the node."""

    WITHDRAWN = "withdrawn"
    CORRECTED = "corrected"
    EXPIRED = "expired"
    EXERCISE_OVER = "exercise_over"


class Purpose(StrEnum):
    """Why a search may be made at all."""

    PREVENTION = "prevention"
    DETECTION = "detection"
    INVESTIGATION = "investigation"
    MISSING_PERSON = "missing_person"
    HUMAN_REMAINS = "human_remains"


class Offence(StrEnum):
    """Offence that the case is about."""

    TRAFFICKING_IN_HUMAN_BEINGS = "trafficking_in_human_beings"
    CHILD_SEXUAL_ABUSE = "child_sexual_abuse"
    SEXUAL_EXPLOITATION = "sexual_exploitation"
    MIGRANT_SMUGGLING = "migrant_smuggling"
    ORGANISED_CRIME = "organised_crime"
    MONEY_LAUNDERING = "money_laundering"
    DOCUMENT_FRAUD = "document_fraud"
    CYBERCRIME = "cybercrime"
    OTHER = "other"


class SubjectCategory(StrEnum):
    """Whom the search is about."""

    SUSPECT_OR_CONVICTED = "suspect_or_convicted"
    VICTIM = "victim"
    MISSING_PERSON = "missing_person"
    REMAINS = "remains"


class Aim(StrEnum):
    """What the search shall bring: who somebody is, or more data on somebody who is known."""

    IDENTIFY = "identify"
    MORE_DATA = "more_data"


Word = TypeVar("Word", bound=StrEnum)

_GAPS: Final = re.compile(r"[\s_-]+")


def parse_word(vocabulary: type[Word], text: str) -> Word | None:
    """Return the word of `vocabulary` that `text` spells, or None when it spells none."""
    folded = _GAPS.sub("_", text.strip()).casefold()
    for word in vocabulary:
        if word.value.casefold() == folded:
            return word
    return None


def words(vocabulary: type[StrEnum]) -> str:
    """Return the words of `vocabulary` as text for a message."""
    return ", ".join(word.value for word in vocabulary)


# ISO 3166-1 alpha-2, and XK, which the European Union uses for Kosovo.
_REGION_CODES: Final = """
AD AE AF AG AI AL AM AO AQ AR AS AT AU AW AX AZ BA BB BD BE BF BG BH BI BJ BL BM BN BO BQ BR BS BT BV BW BY BZ CA CC
CD CF CG CH CI CK CL CM CN CO CR CU CV CW CX CY CZ DE DJ DK DM DO DZ EC EE EG EH ER ES ET FI FJ FK FM FO FR GA GB GD
GE GF GG GH GI GL GM GN GP GQ GR GS GT GU GW GY HK HM HN HR HT HU ID IE IL IM IN IO IQ IR IS IT JE JM JO JP KE KG KH
KI KM KN KP KR KW KY KZ LA LB LC LI LK LR LS LT LU LV LY MA MC MD ME MF MG MH MK ML MM MN MO MP MQ MR MS MT MU MV MW
MX MY MZ NA NC NE NF NG NI NL NO NP NR NU NZ OM PA PE PF PG PH PK PL PM PN PR PS PT PW PY QA RE RO RS RU RW SA SB SC
SD SE SG SH SI SJ SK SL SM SN SO SR SS ST SV SX SY SZ TC TD TF TG TH TJ TK TL TM TN TO TR TT TV TW TZ UA UG UM US UY
UZ VA VC VE VG VI VN VU WF WS XK YE YT ZA ZM ZW
"""
REGIONS: Final = frozenset(_REGION_CODES.split())

# Codes that institutions of the European Union write where ISO has another.
_EU_REGIONS: Final = {"EL": "GR", "UK": "GB"}


def parse_region(text: str) -> str | None:
    """Return the ISO 3166-1 alpha-2 code that `text` spells, or None when it spells none."""
    code = text.strip().upper()
    code = _EU_REGIONS.get(code, code)
    return code if code in REGIONS else None
