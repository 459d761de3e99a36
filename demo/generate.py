"""The default scenario: 26 countries and Europol cross-check an action day with the totals of the 2023 report.

A seed changes who holds what, how it is written, in which order, and who assesses it how. It never changes the
totals: 85 people and usernames, 371 platforms (26 suspected, 5 identified, 10 linked to child sexual abuse) and 325
communication devices. The report of 2023 names 22 states of the Union and four others, not which; the list here is an
illustration. A number of records makes all of it larger in the same proportions, the totals too.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from random import Random
from typing import TYPE_CHECKING, Final, Literal

from demo.scenario import Line, Party, Query, Scenario
from demo.things import PROFILE, Account, Advert, App, Email, Phone, Platform, onion

if TYPE_CHECKING:
    from collections.abc import Iterator

    from demo.things import Thing

_FIRST: Final = ["AT", "BE", "DE", "ES", "FR", "IT", "LT", "LV", "MT", "NL", "PT"]
UNION: Final = [*_FIRST, "BG", "CY", "CZ", "EE", "FI", "GR", "HR", "HU", "PL", "RO", "SE"]
OTHERS: Final = ["CH", "GB", "NO", "UA"]
COUNTRIES: Final = UNION + OTHERS
EUROPOL: Final = "EUROPOL"
HOME: Final = {EUROPOL: "NL"}
TOTALS: Final = {
    "people_usernames": 85,
    "platforms": 371,
    "communication_devices": 325,
    "platforms_suspected": 26,
    "platforms_identified": 5,
    "platforms_csa": 10,
}
PHONES, EMAILS, APPS, ADVERTS, LEADS = 180, 95, 50, 12, 70
PARTNER: Final = "IJM"
# Parties that have not opted in for partners: to IJM they are outside the agreement.
NO_PARTNERS: Final = frozenset({"HU", "MT", "UA"})
# A home of which no number is national, as a partner has none.
ABROAD: Final = "ZZ"
QUERIES_HELD, QUERIES_UNKNOWN = 14, 6

# Numbers that are kept free for examples and fiction: calling code, region, trunk prefix, prefix, free digits.
FREE_NUMBERS: Final = (
    ("33", "FR", "0", "19900", 4),
    ("44", "GB", "0", "2079460", 3),
    ("49", "DE", "0", "3023125", 3),
    ("1", "US", "", "20255501", 2),
    ("46", "SE", "0", "3139006", 2),
)
# Of these there are enough for scaled runs; beyond them a scaled run has mailboxes instead.
MANY_FREE_NUMBERS: Final = (
    *(("33", "FR", "0", prefix, 4) for prefix in ("19900", "26191", "35301", "46571", "63998")),
    ("44", "GB", "0", "2079460", 3),
    ("49", "DE", "0", "3023125", 3),
)
MIN_RECORDS: Final = 2000
MAX_RECORDS: Final = 1_000_000
# Of a scaled run: how much of it is written down for the action day; the rest is Europol's index.
ACTION_SHARE: Final = 0.8
LINES_PER_THING: Final = 1.936
SYLLABLES: Final = ["ba", "de", "fi", "go", "hu", "ka", "le", "mi", "no", "pu", "ra", "se", "ti", "vo", "za"]
IDN_LABELS: Final = (("größe", "xn--gre-6ka8i"), ("почта", "xn--80a1acny"), ("ελλάδα", "xn--hxakic4aa"))
ASSESSMENTS: Final = ("checked", "suspected", "confirmed")


@dataclass(frozen=True, slots=True)
class _Size:
    """How many things of each sort there are."""

    totals: dict[str, int]
    phones: int
    emails: int
    apps: int
    adverts: int
    leads: int
    scaled: bool = False

    @classmethod
    def default(cls) -> _Size:
        return cls(TOTALS, PHONES, EMAILS, APPS, ADVERTS, LEADS)

    @classmethod
    def of(cls, records: int) -> _Size:
        """Return what is needed for about so many records of the action day, in the proportions of the default."""
        things = TOTALS["people_usernames"] + TOTALS["platforms"] + PHONES + EMAILS + APPS + ADVERTS
        factor = records * ACTION_SHARE / LINES_PER_THING / things
        scaled = {row: max(1, round(number * factor)) for row, number in TOTALS.items()}
        phones = min(round(PHONES * factor), sum(10**free for *_, free in MANY_FREE_NUMBERS))
        apps = round(APPS * factor)
        emails = round((PHONES + EMAILS) * factor) - phones
        scaled["communication_devices"] = phones + emails + apps
        return cls(scaled, phones, emails, apps, round(ADVERTS * factor), round(LEADS * factor), scaled=True)


@dataclass(slots=True)
class _Draft:
    """What has been drawn so far."""

    rng: Random
    size: _Size = field(default_factory=_Size.default)
    lines: list[Line] = field(default_factory=list)
    groups: list[tuple[str, ...]] = field(default_factory=list)
    differ: list[tuple[str, str]] = field(default_factory=list)
    names: set[str] = field(default_factory=set)

    def name(self, syllables: int) -> str:
        """Return an invented name that was not drawn before; a longer one where many are needed."""
        syllables += 3 * self.size.scaled
        while True:
            name = "".join(self.rng.choices(SYLLABLES, k=syllables))
            if name not in self.names:
                self.names.add(name)
                return name

    def hold(self, thing: Thing, party: str, **assessments: str) -> str:
        """Let a party write a thing down; return the line's id."""
        spelling = thing.spell(HOME.get(party, party), self.rng)
        line_id = f"{party}-{len(self.lines) + 1}"
        self.lines.append(
            Line.model_validate(
                {
                    "id": line_id,
                    "party": party,
                    "kind": spelling.kind,
                    "typed": spelling.typed,
                    "region": spelling.region,
                    "platform": spelling.platform,
                    **assessments,
                }
            )
        )
        return line_id


def _phones(draft: _Draft, number: int) -> Iterator[Phone]:
    pools = [
        [Phone(code, region, trunk, f"{prefix}{i:0{free}d}") for i in range(10**free)]
        for code, region, trunk, prefix, free in (MANY_FREE_NUMBERS if draft.size.scaled else FREE_NUMBERS)
    ]
    for pool in pools:
        draft.rng.shuffle(pool)
    for i in range(number):
        pools = [pool for pool in pools if pool]
        yield pools[i % len(pools)].pop()


def _platforms(draft: _Draft, number: int) -> Iterator[Platform]:
    for i in range(number):
        if i < len(IDN_LABELS):
            label, encoded = IDN_LABELS[i]
            yield Platform(f"{label}.example", f"{encoded}.example")
        elif i % 12 == 0:
            address = onion(draft.rng)
            yield Platform(address, address)
        else:
            domain = f"{draft.name(3)}-{draft.rng.randrange(100)}.example"
            yield Platform(domain, domain)


def _accounts(draft: _Draft, number: int) -> Iterator[Account]:
    handle = ""
    for i in range(number):
        # Every ninth handle is that of the account before it, on another platform: somebody else, for all we know.
        if i % 9 != 8:
            # Some platforms end a handle after 15 characters.
            handle = f"{'ex' if draft.size.scaled else 'example'}{draft.name(3)}{draft.rng.randrange(10)}"
        yield Account(sorted(PROFILE)[i % len(PROFILE)], handle)


def _assessments(draft: _Draft, grade: int, abuse: bool, holders: int) -> list[dict[str, str]]:  # noqa: FBT001
    """Let one holder see the gravest, and the others that or less: the gravest counts."""
    rng = draft.rng
    drawn = [
        {
            "assessment": ASSESSMENTS[rng.randint(0, grade)],
            "csa": ASSESSMENTS[rng.randint(0, 2)] if abuse else ASSESSMENTS[0],
        }
        for _ in range(holders)
    ]
    gravest = rng.randrange(holders)
    drawn[gravest]["assessment"] = ASSESSMENTS[grade]
    if abuse:
        drawn[gravest]["csa"] = ASSESSMENTS[rng.randint(1, 2)]
    return drawn


def _deal(draft: _Draft, thing: Thing, *, grade: int = 0, abuse: bool = False, lead: bool = False) -> str:
    """Give a thing to one to five countries, some of which write it down twice, and perhaps to Europol.

    Returns the id of its first line.
    """
    rng = draft.rng
    number = rng.choices((1, 2, 3, 4, 5), weights=(55, 25, 12, 5, 3))[0]
    holders = rng.sample(COUNTRIES, number)
    assessed = _assessments(draft, grade, abuse, number)
    group = [draft.hold(thing, party, **own) for party, own in zip(holders, assessed, strict=True)]
    group += [draft.hold(thing, party) for party in holders if rng.random() < 0.1]
    if lead:
        group.append(draft.hold(thing, EUROPOL))
    draft.groups.append(tuple(group))
    return group[0]


def _counted(draft: _Draft) -> list[tuple[Thing, int, bool]]:
    """Return all things that the report counts, with assessment and the flag of abuse, and the uncounted pages."""
    size, totals = draft.size, draft.size.totals
    platforms = list(_platforms(draft, totals["platforms"]))
    draft.rng.shuffle(platforms)
    grades = [2] * totals["platforms_identified"] + [1] * totals["platforms_suspected"]
    grades += [0] * (len(platforms) - len(grades))
    abused = set(draft.rng.sample(range(len(platforms)), totals["platforms_csa"]))
    things: list[tuple[Thing, int, bool]] = [
        (platform, grade, i in abused) for i, (platform, grade) in enumerate(zip(platforms, grades, strict=True))
    ]
    things += [(account, 0, False) for account in _accounts(draft, totals["people_usernames"])]
    things += [(phone, 0, False) for phone in _phones(draft, size.phones)]
    mails = (Email(f"{draft.name(2)}.{draft.name(3)}", f"{draft.name(2)}.example") for _ in range(size.emails))
    things += [(mail, 0, False) for mail in mails]
    things += [(App(f"com.example.{draft.name(3)}"), 0, False) for _ in range(size.apps)]
    adverts = (Advert(f"{draft.name(3)}.example", f"ads/{draft.name(2)}", i + 1) for i in range(size.adverts))
    things += [(advert, 0, False) for advert in adverts]
    draft.rng.shuffle(things)
    return things


def _queries(draft: _Draft, held: list[tuple[Thing, str]]) -> list[Query]:
    """Let a partner ask for things that parties hold and for some that nobody holds, in its own spelling."""
    rng = draft.rng
    unknown: list[Thing] = [Email(f"{draft.name(4)}", "unknown.example") for _ in range(QUERIES_UNKNOWN // 2)]
    unknown += [Account("telegram", f"example{draft.name(4)}") for _ in range(QUERIES_UNKNOWN - len(unknown))]
    # One in seven is a thing of those who do not answer partners, where there are enough of them.
    closed = [one for one in held if one[1].partition("-")[0] in NO_PARTNERS]
    asked: list[tuple[Thing, str | None]] = list(rng.sample(closed, min(2, len(closed))))
    rest = [one for one in held if one not in asked]
    asked += rng.sample(rest, QUERIES_HELD - len(asked))
    asked += [(thing, None) for thing in unknown]
    rng.shuffle(asked)
    return [_query(draft, number, thing, same_as) for number, (thing, same_as) in enumerate(asked, 1)]


def _query(draft: _Draft, number: int, thing: Thing, same_as: str | None) -> Query:
    while True:
        spelling = thing.spell(ABROAD, draft.rng)
        # A column for the platform is what nodes' tables have; a partner writes the profile's address.
        if spelling.platform is None:
            return Query(
                id=f"{PARTNER}-{number}",
                partner=PARTNER,
                kind=spelling.kind,
                typed=spelling.typed,
                region=spelling.region,
                same_as=same_as,
            )


def _index(draft: _Draft, number: int) -> None:
    """Fill Europol's standing index with things that nobody else holds."""
    for i in range(number):
        thing: Thing = (
            Phone("33", "FR", "0", f"53649{i % 10000:04d}"),
            Email(f"{draft.name(4)}", "standing.example"),
            Platform(domain := f"{draft.name(4)}.example", domain),
            Account("telegram", f"example{draft.name(4)}"),
        )[i % 4]
        draft.hold(thing, EUROPOL)


def generate(seed: int, *, standing: int = 2000, records: int | None = None) -> Scenario:
    """Return the default scenario.

    Args:
        seed: Changes holders, spelling, order and assessments.
        standing: Records of Europol's standing index, those that others hold too among them.
        records: Of all parties together, 2 000 to 1 000 000; a fifth of them is then Europol's, and the totals grow.
    """
    draft = _Draft(Random(seed)) if records is None else _Draft(Random(seed), _Size.of(records))
    things = _counted(draft)
    leads = draft.size.leads if records is not None else min(LEADS, standing)
    held = [
        (thing, _deal(draft, thing, grade=grade, abuse=abuse, lead=i < leads))
        for i, (thing, grade, abuse) in enumerate(things)
    ]
    _index(draft, max(0, standing - leads if records is None else records - len(draft.lines)))
    draft.rng.shuffle(draft.lines)
    queries = _queries(draft, held)
    parties = {name: _party(name, "eu_state") for name in UNION} | {
        name: _party(name, "third_country") for name in OTHERS
    }
    parties[EUROPOL] = Party(region=HOME[EUROPOL], party_class="eu_agency", standing=True, answers_partners=True)
    return Scenario(
        name=f"action day, seed {seed}" if records is None else f"action day of {records:,} records, seed {seed}",
        parties=parties,
        lines=tuple(draft.lines),
        match=tuple(draft.groups),
        queries=tuple(queries),
        totals=draft.size.totals,
    )


def _party(name: str, party_class: Literal["eu_state", "third_country"]) -> Party:
    return Party(region=name, party_class=party_class, answers_partners=name not in NO_PARTNERS)
