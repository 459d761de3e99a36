"""What a file gives the node: rows that an officer typed, refusals with line and reason, and facts about the file.

Nothing here is canonical yet. A `Row` holds the identifier exactly as typed and the closed words around it; a `Refusal`
holds what could not be read. Representations never show an identifier, so that neither a log nor a traceback can.
"""

from __future__ import annotations

from dataclasses import dataclass
from dataclasses import field as attribute
from typing import TYPE_CHECKING, Final

from concordat.vocabulary import Handling, InformationEvaluation, Purpose, Role, SourceEvaluation, Tlp, Visibility

if TYPE_CHECKING:
    from datetime import date

    from concordat.canon import Kind
    from concordat.vocabulary import Assessment, Exploitation, PlatformCategory, Use


@dataclass(frozen=True, slots=True)
class RecordContext:
    """Where and how an identifier was seen; `origin` and `destination` are ISO 3166-1 alpha-2 codes."""

    platform_category: PlatformCategory | None = None
    exploitation: Exploitation | None = None
    use: Use | None = None
    at_risk_group: str | None = None
    origin: tuple[str, ...] = ()
    destination: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Assessments:
    """The holder's assessment in each crime area, None where there is none."""

    thb: Assessment | None = None
    csa: Assessment | None = None


@dataclass(frozen=True, slots=True)
class Sharing:
    """What a line or a case says of who may be told; None and () where it says nothing (services.node.handling)."""

    visibility: Visibility | None = None
    tlp: Tlp | None = None
    tell: tuple[str, ...] | None = None
    not_tell: tuple[str, ...] | None = None
    purposes: tuple[Purpose, ...] | None = None
    operations: tuple[str, ...] | None = None

    def over(self, other: Sharing) -> Sharing:
        """Return this, with what the other says where this says nothing."""
        pairs = ((name, getattr(self, name)) for name in self.__slots__)
        return Sharing(**{name: getattr(other, name) if value is None else value for name, value in pairs})


NO_SHARING: Final = Sharing()
NO_CONTEXT: Final = RecordContext()
NO_ASSESSMENTS: Final = Assessments()


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One identifier that an officer typed, with the words around it.

    `line` is the 1-based line on which the row begins (CSV, JSON lines) or the ordinal of the attribute (MISP) or
    object (STIX). Several rows may share a line: then the file named several identifiers of one thing.
    """

    line: int
    typed: str = attribute(repr=False)
    kind: Kind
    region: str | None = None
    platform: str | None = attribute(default=None, repr=False)
    context: RecordContext = NO_CONTEXT
    role: Role = Role.UNKNOWN
    source_evaluation: SourceEvaluation = SourceEvaluation.X
    information_evaluation: InformationEvaluation = InformationEvaluation.FOUR
    observed_from: date | None = None
    observed_to: date | None = None
    keep_until: date | None = None
    assessment: Assessments = NO_ASSESSMENTS
    handling: Handling = Handling.H0
    sharing: Sharing = NO_SHARING
    notes: str | None = attribute(default=None, repr=False)
    client_ref: str | None = attribute(default=None, repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """What could not be read, and why.

    `reason` is for the officer and never holds the value; `typed` is for the node's own record of what it was given.
    """

    line: int
    code: str
    field: str | None = None
    reason: str
    typed: str | None = attribute(default=None, repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class RowDefaults:
    """What a row has where the file says nothing; from the case profile and the command line."""

    kind: Kind | None = None
    region: str | None = None
    platform: str | None = attribute(default=None, repr=False)
    role: Role = Role.UNKNOWN
    source_evaluation: SourceEvaluation = SourceEvaluation.X
    information_evaluation: InformationEvaluation = InformationEvaluation.FOUR
    keep_until: date | None = None
    handling: Handling = Handling.H0


@dataclass(frozen=True, slots=True, kw_only=True)
class FileFacts:
    """What is known of a file before its first row: identity, and how it was understood.

    `sha256` is lower-case hex of the bytes of the file. `header` holds the columns as they were understood, in order;
    `unknown_columns` those that mean nothing here and are left aside.
    """

    name: str
    sha256: str
    size_bytes: int
    format: str
    encoding: str
    delimiter: str | None = None
    header: tuple[str, ...] = ()
    unknown_columns: tuple[str, ...] = ()
