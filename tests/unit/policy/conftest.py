"""A federation of every class, and a node of it with a case, a store and a clock."""

from __future__ import annotations

import shutil
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from typing import TYPE_CHECKING, Any

import pytest

from concordat.clock import ManualClock, SystemClock
from concordat.identity.federation import init_federation
from concordat.identity.home import Home, load_home
from concordat.identity.manifest import PartyClass
from concordat.identity.plan import ASKING_CLASSES, FederationPlan, NodePlan, PartnerPlan
from services.node.case import CaseProfile, parse_case, template
from services.node.decisions import Decisions, Selection
from services.node.journal import FILE_NAME, Journal
from services.node.policy import Policy
from services.node.store.store import Store
from services.node.submit import Submitter

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from concordat.identity.manifest import Manifest, Party
    from services.node.submit import SubmitReport

NODES = {
    "NL": PartyClass.EU_STATE,
    "DE": PartyClass.EU_STATE,
    "UA": PartyClass.THIRD_COUNTRY,
    "CH": PartyClass.THIRD_COUNTRY,
    "OSCE": PartyClass.INTERNATIONAL_ORGANISATION,
    "EUROPOL": PartyClass.EU_AGENCY,
}
UNION = (PartyClass.EU_STATE, PartyClass.EU_AGENCY)


@pytest.fixture(scope="session")
def classes_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """NL has opted in for everybody, DE for the Union only, UA for all states; CH for nobody."""
    folder = tmp_path_factory.mktemp("policy") / "federation"
    plan = FederationPlan(
        name="test.example",
        nodes=tuple(
            NodePlan(name=name, party_class=one, region=name if len(name) == 2 else None) for name, one in NODES.items()
        ),
        partners=(PartnerPlan(name="IJM", rights={"investigation": ("e164", "email")}),),
        opt_in={
            "NL": (*ASKING_CLASSES,),
            "DE": UNION,
            "UA": (PartyClass.EU_STATE, PartyClass.EU_AGENCY, PartyClass.THIRD_COUNTRY),
            "CH": (),
            "OSCE": (*UNION,),
            "EUROPOL": (*UNION, PartyClass.INTERNATIONAL_ORGANISATION),
        },
    )
    init_federation(folder, plan, unsafe_dealer=True)
    return folder


@pytest.fixture(scope="session")
def nl_home(classes_folder: Path) -> Home:
    return load_home(classes_folder / "node" / "NL", clock=SystemClock())


@pytest.fixture(scope="session")
def manifest(nl_home: Home) -> Manifest:
    return nl_home.manifest


@pytest.fixture(scope="session")
def own(manifest: Manifest) -> Party:
    return manifest.party("NL")


@dataclass
class Desk:
    """NL's desk: files in, decisions, and what the store says."""

    home: Home
    store: Store
    clock: ManualClock
    folder: Path
    case_fields: dict[str, Any] = field(default_factory=dict)

    def case(self) -> CaseProfile:
        today = self.today()
        made = parse_case(template(date(2026, 12, 31)), today=today)
        return CaseProfile.model_validate(made.model_dump() | self.case_fields)

    def today(self) -> date:
        return datetime.fromtimestamp(self.clock.now(), UTC).date()

    def submit(self, text: str, *, look_once: bool = False) -> SubmitReport:
        path = self.folder / f"file{len(list(self.folder.iterdir()))}.csv"
        path.write_text(text, encoding="utf-8")
        return Submitter(self.home, self.store, self.clock, self.case(), look_once=look_once).submit(path)

    def decisions(self) -> Decisions:
        return Decisions(self.home, self.store, self.clock)

    def journal(self) -> Journal:
        return Journal(self.home.path / FILE_NAME)

    def policies(self) -> list[Policy]:
        with self.store.read() as db:
            rows = db.execute("SELECT p.content FROM record r JOIN policy p ON p.id = r.policy_id ORDER BY r.id")
            return [Policy.of(content) for (content,) in rows]

    def every(self) -> list[Any]:
        """Return all live records."""
        return self.decisions().find(Selection(case_reference=self.case().reference))

    def count(self, query: str) -> int:
        with self.store.read() as db:
            return int(db.execute(query).fetchone()[0])

    def tokenise(self) -> None:
        """Give every value that waits a token, and publish it."""
        for key_class in ("strong", "weak"):
            while (batch := self.store.untokenised(1, key_class, 100)) is not None:
                rows = [(row.value_id, b"l" * 16, b"s" * 32, row.value_id.to_bytes(16, "big")) for row in batch.rows]
                self.store.store_tokens(batch, rows)
        while (published := self.store.take_unpublished(1, 100)) is not None:
            self.store.acknowledge_published(published.sequence)
        self.store.form_batches(1, 100, ["spiffe://test.example/node/DE"])


@pytest.fixture
def desk(classes_folder: Path, tmp_path: Path) -> Iterator[Desk]:
    """A fresh store of NL in a copy of its folder."""
    folder = tmp_path / "NL"
    shutil.copytree(classes_folder / "node" / "NL", folder)
    clock = ManualClock(datetime(2026, 11, 24, 12, tzinfo=UTC).timestamp())
    (tmp_path / "files").mkdir()
    home = load_home(folder, clock=SystemClock())
    with Store.open(folder / "store.sqlite", clock=clock) as store:
        yield Desk(home, store, clock, tmp_path / "files")
