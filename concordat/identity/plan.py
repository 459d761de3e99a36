"""What a local federation shall look like, before any key exists."""

from collections.abc import Mapping
from typing import Annotated, Final, Self

from pydantic import Field, model_validator

from concordat.errors import InputError
from concordat.identity.manifest import MAX_CUSTODIANS, MAX_PARTIES, Address, KeyClass, Name, Part, PartyClass, Word
from concordat.tokens import NAMESPACE_NUMBERS
from concordat.vocabulary import Purpose, words

ASKING_CLASSES: Final = (
    PartyClass.EU_STATE,
    PartyClass.THIRD_COUNTRY,
    PartyClass.INTERNATIONAL_ORGANISATION,
    PartyClass.EU_AGENCY,
    PartyClass.PARTNER,
)
AUTHORITIES: Final = tuple(one for one in ASKING_CLASSES if one is not PartyClass.PARTNER)
CONSOLE_NAME: Final = "console"
_EU: Final = "AT BE BG CY CZ DE DK EE ES FI FR GR HR HU IE IT LT LU LV MT NL PL PT RO SE SI SK"
_EU_STATES: Final = frozenset(_EU.split())
_REGION_OF: Final = {"EL": "GR", "UK": "GB"}  # as EU institutions write them -> ISO 3166
_KNOWN: Final = {
    "EUROPOL": PartyClass.EU_AGENCY,
    "ELA": PartyClass.EU_AGENCY,
    "CEPOL": PartyClass.EU_AGENCY,
    "INTERPOL": PartyClass.INTERNATIONAL_ORGANISATION,
    "OSCE": PartyClass.INTERNATIONAL_ORGANISATION,
}
_STATE_QUOTA: Final = {KeyClass.STRONG: 2_000_000, KeyClass.WEAK: 2_000_000, KeyClass.PERSON: 100_000}
_PARTNER_QUOTA: Final = {KeyClass.STRONG: 10_000, KeyClass.WEAK: 10_000, KeyClass.PERSON: 1_000}


def default_quotas() -> dict[PartyClass, dict[KeyClass, int]]:
    """Return daily budgets that a local federation does not reach by ordinary work."""
    quotas = {party_class: dict(_STATE_QUOTA) for party_class in ASKING_CLASSES}
    quotas[PartyClass.PARTNER] = dict(_PARTNER_QUOTA)
    return quotas


class NodePlan(Part):
    """One node to be."""

    name: Name
    party_class: PartyClass
    region: str | None = Field(default=None, pattern=r"^[A-Z]{2}$")

    @classmethod
    def parse(cls, text: str) -> "NodePlan":
        """Read `NL`, `EUROPOL` or `NAME:CLASS`; a two-letter name is a country.

        Raises:
            InputError: If the class is unknown, or neither given nor clear from the name.
        """
        name, _, given = text.partition(":")
        region = _REGION_OF.get(name, name) if len(name) == 2 and name.isascii() and name.isupper() else None
        try:
            if given:
                party_class = PartyClass(given)
            elif region is not None:
                party_class = PartyClass.EU_STATE if region in _EU_STATES else PartyClass.THIRD_COUNTRY
            else:
                party_class = _KNOWN[name]
        except (ValueError, KeyError):
            classes = ", ".join(ASKING_CLASSES)
            raise InputError(f"a node is given as NAME:CLASS, with a class of: {classes}") from None
        return cls(name=name, party_class=party_class, region=region)


class PartnerPlan(Part):
    """One organisation to be that only asks."""

    name: Name
    rights: Mapping[Word, tuple[Word, ...]] = Field(description="Purpose -> namespaces; what is not named is refused.")

    @classmethod
    def parse(cls, text: str) -> "PartnerPlan":
        """Read `IJM` or `IJM:PURPOSE+PURPOSE`: every namespace for each; investigation and missing_person by default.

        Raises:
            InputError: If a purpose is unknown.
        """
        name, _, given = text.partition(":")
        purposes = given.split("+") if given else [Purpose.INVESTIGATION, Purpose.MISSING_PERSON]
        if not set(purposes) <= set(Purpose):
            raise InputError(f"a partner is given as NAME or NAME:PURPOSE+PURPOSE, with purposes of: {words(Purpose)}")
        return cls(name=name, rights=dict.fromkeys(purposes, tuple(NAMESPACE_NUMBERS)))


class FederationPlan(Part):
    """A local federation to be."""

    name: str = Field(default="concordat.example", max_length=253, description="Like a lower-case DNS name.")
    nodes: tuple[NodePlan, ...] = Field(min_length=1, max_length=MAX_PARTIES)
    partners: tuple[PartnerPlan, ...] = Field(default=(), max_length=MAX_PARTIES)
    console: bool = Field(default=True, description="Make a folder for the hub operator's console.")
    custodians: int = Field(default=3, ge=1, le=MAX_CUSTODIANS)
    threshold: int = Field(default=2, ge=1, le=MAX_CUSTODIANS)
    gateway_address: Address = "localhost:7400"
    api_address: Address = "localhost:7443"
    custodian_addresses: tuple[Address, ...] = Field(default=(), description="Empty: localhost, ports 7401 and on.")
    quotas: Mapping[PartyClass, Mapping[KeyClass, int]] = Field(default_factory=default_quotas)
    opt_in: Mapping[Name, tuple[PartyClass, ...]] = Field(
        default_factory=dict, description="Rows that differ from 'answers every class but partners'."
    )
    rules_versions: Mapping[Word, int] = Field(default_factory=lambda: dict.fromkeys(NAMESPACE_NUMBERS, 1))
    tick_ms: Annotated[int, Field(ge=1)] = 250
    window_ms: Annotated[int, Field(ge=1)] = 500
    days: Annotated[int, Field(ge=1, le=397)] = 397

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.threshold > self.custodians:
            raise ValueError("the threshold is above the number of custodians")
        if self.custodian_addresses and len(self.custodian_addresses) != self.custodians:
            raise ValueError("there is one address per custodian")
        names = [CONSOLE_NAME, *(one.name for one in self.nodes), *(one.name for one in self.partners)]
        if len({name.lower() for name in names}) != len(names):
            raise ValueError("two parties share a name")
        if unknown := set(self.opt_in) - {node.name for node in self.nodes}:
            raise ValueError(f"the opt-in table names {len(unknown)} holders that are no nodes")
        return self

    def address_of(self, index: int) -> str:
        """Return the address of custodian 1..n."""
        return self.custodian_addresses[index - 1] if self.custodian_addresses else f"localhost:{7400 + index}"

    def opt_in_table(self) -> dict[str, tuple[PartyClass, ...]]:
        """Return the whole opt-in table: open to all authorities where no row says otherwise, to partners nowhere."""
        return {node.name: tuple(self.opt_in.get(node.name, AUTHORITIES)) for node in self.nodes}
