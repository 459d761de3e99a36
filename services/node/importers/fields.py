"""From named fields of text to a `Row`, the same for every format.

A field is named by its canonical name (`Field`) or by an alias, read without regard to case, blanks, hyphens or
underscores. Text that a spreadsheet put around a value (`="0721"`, a leading apostrophe) is taken off, as the officer
did not type it; what a spreadsheet destroyed (`4,07E+10`) is refused. Everything else is kept as typed.

Example:
    >>> RowReader(RowDefaults(), Limits()).row(2, {Field.KIND: "phone", Field.IDENTIFIER: "+44 7700 900123"}).region
"""

from __future__ import annotations

import re
from datetime import date
from enum import StrEnum
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

from concordat.canon import Kind
from concordat.errors import InputError
from concordat.vocabulary import (
    Assessment,
    Exploitation,
    Handling,
    InformationEvaluation,
    PlatformCategory,
    Purpose,
    Role,
    SourceEvaluation,
    Tlp,
    Use,
    Visibility,
    Word,
    parse_region,
    parse_word,
    words,
)
from services.node.importers.refusals import LineCode, RefusedValue
from services.node.policy import MAX_NAMES
from services.node.record import Assessments, RecordContext, Row, Sharing

if TYPE_CHECKING:
    from collections.abc import Mapping

    from services.node.importers.limits import Limits
    from services.node.record import RowDefaults


class Field(StrEnum):
    """Fields of a row, by their canonical names."""

    IDENTIFIER = "identifier"
    KIND = "kind"
    REGION = "region"
    PLATFORM = "platform"
    PLATFORM_CATEGORY = "platform_category"
    EXPLOITATION = "exploitation"
    USE = "use"
    AT_RISK_GROUP = "at_risk_group"
    ORIGIN = "origin"
    DESTINATION = "destination"
    ROLE = "role"
    EVALUATION = "evaluation"
    SOURCE_EVALUATION = "source_evaluation"
    INFORMATION_EVALUATION = "information_evaluation"
    OBSERVED_FROM = "observed_from"
    OBSERVED_TO = "observed_to"
    KEEP_UNTIL = "keep_until"
    THB = "thb"
    CSA = "csa"
    HANDLING = "handling"
    VISIBILITY = "visibility"
    TLP = "tlp"
    TELL = "tell"
    NOT_TELL = "not_tell"
    PURPOSES = "purposes"
    OPERATIONS = "operations"
    NOTES = "notes"
    CLIENT_REF = "client_ref"


# English words that officers use, then German, French, Spanish, Italian, Dutch, Polish, Romanian, Russian, Ukrainian.
_ALIASES: Final[Mapping[Field, str]] = MappingProxyType(
    {
        Field.IDENTIFIER: "value indicator selector number kennung wert identifiant valeur identificador valor"
        " identificativo valore waarde wartość identyfikator valoare значение идентификатор значення ідентифікатор",
        Field.KIND: "type kindofidentifier identifiertype art typ nature tipo soort rodzaj tip тип вид",
        Field.REGION: "country countrycode land pays país pais paese kraj țară țara tara страна країна",
        Field.PLATFORM: "service network plattform plateforme plataforma piattaforma platforma платформа",
        Field.PLATFORM_CATEGORY: "platformtype typeofplatform",
        Field.EXPLOITATION: "formofexploitation exploitationtype",
        Field.USE: "usage purposeofuse",
        Field.AT_RISK_GROUP: "atrisk riskgroup vulnerablegroup",
        Field.ORIGIN: "countryoforigin origincountry",
        Field.DESTINATION: "countryofdestination destinationcountry",
        Field.ROLE: "roleofperson personrole rolle rôle rol ruolo rola роль",
        Field.EVALUATION: "grading sourcegrading evaluationcode",
        Field.SOURCE_EVALUATION: "sourcereliability reliability",
        Field.INFORMATION_EVALUATION: "informationaccuracy accuracy",
        Field.OBSERVED_FROM: "firstseen seenfrom datefrom observed date datum data дата",
        Field.OBSERVED_TO: "lastseen seento dateto",
        Field.KEEP_UNTIL: "expires expiry retention deleteafter",
        Field.THB: "trafficking assessmentthb thbassessment",
        Field.CSA: "childsexualabuse assessmentcsa csaassessment",
        Field.HANDLING: "handlingcode handlingcodes",
        Field.VISIBILITY: "visible silent visibilité sichtbarkeit zichtbaarheid",
        Field.TLP: "trafficlight trafficlightprotocol",
        Field.TELL: "maybetold share sharewith audience",
        Field.NOT_TELL: "donottell donotshare except",
        Field.PURPOSES: "forpurposes",
        Field.OPERATIONS: "foroperations",
        Field.NOTES: "note comment comments remarks notiz bemerkung remarques notas uwagi примечание",
        Field.CLIENT_REF: "ref reference clientreference rowid id recordid",
    }
)

_SQUEEZE: Final = re.compile(r"[\W_]+")


def squeeze(name: str) -> str:
    """Return `name` in small letters without blanks and signs, as names of fields are compared."""
    return _SQUEEZE.sub("", name).casefold()


_BY_NAME: Final[Mapping[str, Field]] = MappingProxyType(
    {squeeze(field.value): field for field in Field}
    | {squeeze(alias): field for field, aliases in _ALIASES.items() for alias in aliases.split()}
)


def field_named(name: str) -> Field | None:
    """Return the field that a column header or JSON key names, or None."""
    return _BY_NAME.get(squeeze(name))


def kind_named(text: str) -> Kind | None:
    """Return the kind that `text` spells, or None."""
    try:
        return Kind.parse(text)
    except InputError:
        return None


_FORMULA_TEXT: Final = re.compile(r'="((?:[^"]|"")*)"')
_FORMULA_NUMBER: Final = re.compile(r"=(\+?[\d ()./-]+)")
_DESTROYED: Final = re.compile(r"[+-]?\d(?:[.,]\d+)?[eE]\+\d{1,3}")
_ISO_DATE: Final = re.compile(r"(\d{4})-(\d{2})-(\d{2})(?:[T ].{0,40})?")
_DOTTED_DATE: Final = re.compile(r"(\d{1,2})\.(\d{1,2})\.(\d{4})")
_LIST_GAPS: Final = re.compile(r"[\s,;|/]+")
_EVALUATION: Final = re.compile(r"([ABCXabcx])\s*[-/]?\s*([1-4])")
_NAME: Final = re.compile(r"[A-Za-z0-9._-]{1,64}")
_REGIONS_AT_MOST: Final = 16
_AT_RISK_CHARACTERS: Final = 80


def unwrapped(cell: str) -> str:
    """Return the text of a cell without what a spreadsheet put around it.

    Raises:
        RefusedValue: the cell is a formula, or a number that the spreadsheet rounded.
    """
    text = cell.strip()
    if text.startswith("'") and text[1:2] in {"+", "=", "-", "@", *"0123456789"}:
        text = text[1:]
    if text.startswith("="):
        match = _FORMULA_TEXT.fullmatch(text) or _FORMULA_NUMBER.fullmatch(text)
        if match is None:
            raise RefusedValue(LineCode.FORMULA)
        text = match[1].replace('""', '"').strip()
    if _DESTROYED.fullmatch(text):
        raise RefusedValue(LineCode.NUMBER_DESTROYED)
    return text


class RowReader:
    """Reads fields of text into rows, with the defaults and limits of one file."""

    def __init__(self, defaults: RowDefaults, limits: Limits) -> None:
        self._defaults = defaults
        self._characters = limits.field_characters
        self._kinds: dict[str, Kind] = {}

    def row(self, line: int, fields: Mapping[Field, str], *, kind: Kind | None = None) -> Row:
        """Return the row that `fields` spell; `kind` is that of the column or object, where it has one.

        Raises:
            RefusedValue: a field cannot be read; names the field.
        """
        self._check_fields(fields)
        typed = fields.get(Field.IDENTIFIER, "")
        if not typed.strip():
            raise RefusedValue(LineCode.IDENTIFIER_MISSING, field=Field.IDENTIFIER)
        defaults = self._defaults
        source, information = self._evaluations(fields)
        observed_from, observed_to = _date(fields, Field.OBSERVED_FROM), _date(fields, Field.OBSERVED_TO)
        if observed_from and observed_to and observed_to < observed_from:
            raise RefusedValue(LineCode.DATES_REVERSED, field=Field.OBSERVED_TO)
        return Row(
            line=line,
            typed=typed,
            kind=kind or self._kind(fields),
            region=_region(fields, Field.REGION) or defaults.region,
            platform=fields.get(Field.PLATFORM) or defaults.platform,
            context=_context(fields),
            role=_word(fields, Field.ROLE, Role) or defaults.role,
            source_evaluation=source,
            information_evaluation=information,
            observed_from=observed_from,
            observed_to=observed_to,
            keep_until=_date(fields, Field.KEEP_UNTIL) or defaults.keep_until,
            assessment=Assessments(_word(fields, Field.THB, Assessment), _word(fields, Field.CSA, Assessment)),
            handling=_word(fields, Field.HANDLING, Handling) or defaults.handling,
            sharing=_sharing(fields),
            notes=fields.get(Field.NOTES) or None,
            client_ref=fields.get(Field.CLIENT_REF) or None,
        )

    def _check_fields(self, fields: Mapping[Field, str]) -> None:
        for name, text in fields.items():
            if len(text) > self._characters:
                raise RefusedValue(LineCode.FIELD_TOO_LONG, field=name)
            if name is not Field.NOTES and "\n" in text:
                raise RefusedValue(LineCode.LINE_BREAK_IN_FIELD, field=name)

    def _kind(self, fields: Mapping[Field, str]) -> Kind:
        text = fields.get(Field.KIND, "")
        if not text:
            if self._defaults.kind is None:
                raise RefusedValue(LineCode.KIND_MISSING, field=Field.KIND)
            return self._defaults.kind
        # A file repeats a handful of kinds; the memory of them is bounded by their number.
        known = self._kinds.get(text)
        if known is None:
            known = kind_named(text)
            if known is None:
                raise RefusedValue(LineCode.UNKNOWN_KIND, field=Field.KIND)
            if len(self._kinds) < 1000:
                self._kinds[text] = known
        return known

    def _evaluations(self, fields: Mapping[Field, str]) -> tuple[SourceEvaluation, InformationEvaluation]:
        both = fields.get(Field.EVALUATION)
        source = _word(fields, Field.SOURCE_EVALUATION, SourceEvaluation)
        information = _word(fields, Field.INFORMATION_EVALUATION, InformationEvaluation)
        if both:
            match = _EVALUATION.fullmatch(both)
            if match is None:
                reason = "an evaluation is a letter A, B, C or X and a digit 1 to 4, such as B2"
                raise RefusedValue(LineCode.WORD_UNKNOWN, field=Field.EVALUATION, reason=reason)
            source = source or SourceEvaluation(match[1].upper())
            information = information or InformationEvaluation(match[2])
        return source or self._defaults.source_evaluation, information or self._defaults.information_evaluation


def _context(fields: Mapping[Field, str]) -> RecordContext:
    at_risk = fields.get(Field.AT_RISK_GROUP) or None
    if at_risk and len(at_risk) > _AT_RISK_CHARACTERS:
        raise RefusedValue(LineCode.FIELD_TOO_LONG, field=Field.AT_RISK_GROUP)
    return RecordContext(
        platform_category=_word(fields, Field.PLATFORM_CATEGORY, PlatformCategory),
        exploitation=_word(fields, Field.EXPLOITATION, Exploitation),
        use=_word(fields, Field.USE, Use),
        at_risk_group=at_risk,
        origin=_regions(fields, Field.ORIGIN),
        destination=_regions(fields, Field.DESTINATION),
    )


def _sharing(fields: Mapping[Field, str]) -> Sharing:
    purposes = None
    if (listed := _names(fields, Field.PURPOSES)) is not None:
        found = [parse_word(Purpose, one) for one in listed]
        if None in found:
            reason = f"the word is none of: {words(Purpose)}"
            raise RefusedValue(LineCode.WORD_UNKNOWN, field=Field.PURPOSES, reason=reason)
        purposes = tuple(one for one in found if one is not None)
    return Sharing(
        visibility=_word(fields, Field.VISIBILITY, Visibility),
        tlp=_word(fields, Field.TLP, Tlp),
        tell=_names(fields, Field.TELL),
        not_tell=_names(fields, Field.NOT_TELL),
        purposes=purposes,
        operations=_names(fields, Field.OPERATIONS),
    )


def _names(fields: Mapping[Field, str], field: Field) -> tuple[str, ...] | None:
    """Return a list of names; the word 'none' is an empty list, an empty cell says nothing."""
    text = fields.get(field)
    if not text:
        return None
    found = tuple(dict.fromkeys(one for one in _LIST_GAPS.split(text.strip()) if one))
    if found == ("none",):
        return ()
    if len(found) > MAX_NAMES or not all(_NAME.fullmatch(one) for one in found):
        raise RefusedValue(LineCode.NAMES_UNREADABLE, field=field)
    return found


def _word(fields: Mapping[Field, str], field: Field, vocabulary: type[Word]) -> Word | None:
    text = fields.get(field)
    if not text:
        return None
    word = parse_word(vocabulary, text)
    if word is None:
        raise RefusedValue(LineCode.WORD_UNKNOWN, field=field, reason=f"the word is none of: {words(vocabulary)}")
    return word


def _region(fields: Mapping[Field, str], field: Field) -> str | None:
    text = fields.get(field)
    if not text:
        return None
    region = parse_region(text)
    if region is None:
        raise RefusedValue(LineCode.REGION_UNKNOWN, field=field)
    return region


def _regions(fields: Mapping[Field, str], field: Field) -> tuple[str, ...]:
    text = fields.get(field)
    if not text:
        return ()
    regions = tuple(parse_region(code) for code in _LIST_GAPS.split(text) if code)
    if len(regions) > _REGIONS_AT_MOST:
        raise RefusedValue(LineCode.REGIONS_TOO_MANY, field=field)
    known = tuple(dict.fromkeys(region for region in regions if region is not None))
    if None in regions:
        raise RefusedValue(LineCode.REGION_UNKNOWN, field=field)
    return known


def _date(fields: Mapping[Field, str], field: Field) -> date | None:
    text = fields.get(field)
    if not text:
        return None
    try:
        if match := _ISO_DATE.fullmatch(text):
            return date(int(match[1]), int(match[2]), int(match[3]))
        if match := _DOTTED_DATE.fullmatch(text):
            return date(int(match[3]), int(match[2]), int(match[1]))
    except ValueError as error:
        raise RefusedValue(LineCode.DATE_UNREADABLE, field=field) from error
    raise RefusedValue(LineCode.DATE_UNREADABLE, field=field)
