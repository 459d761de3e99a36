"""The action day itself: charter, submits, live matches, sweep, report; the steps that people take at their desks."""

from __future__ import annotations

import asyncio
import secrets
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

from concordat.canon import read
from concordat.clock import SystemClock
from concordat.errors import RefusedError, UnavailableError
from concordat.identity.home import load_home
from concordat.rpc.client import channel
from concordat.vocabulary import Aim, Offence, Purpose, SubjectCategory
from demo.sabotage import careless_read
from services.node.case import CaseProfile
from services.node.operations import (
    OperationPlan,
    fetch_operation,
    fetch_report,
    open_operation,
    sign_operation,
    start_sweep,
)
from services.node.submit import Submitter

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    import grpc.aio

    from concordat.identity.home import Home
    from demo.federation import LocalFederation
    from demo.files import PartyFile
    from demo.scenario import Scenario
    from demo.stores import Stores
    from services.node.submit import SubmitProgress, SubmitReport

OPERATION: Final = "action-day"
NAMESPACES: Final = ("account", "app", "e164", "email", "iban", "platform", "url")
SUBMITTERS: Final = 8
REPORT_S: Final = 60
# On top of it, for each record: two cores do the work of all parties.
REPORT_RECORD_S: Final = 0.003
POLL_S: Final = 0.2


class ActionDay:
    """One operation of all parties of a scenario that do not just stand by with an index."""

    def __init__(
        self, federation: LocalFederation, scenario: Scenario, stores: Stores, *, careless: str | None = None
    ) -> None:
        """Take the parties' places.

        Args:
            federation: Its processes run.
            scenario: Who holds what.
            stores: Open stores of all nodes.
            careless: A party that reads by other rules, to show that lost matches are found.
        """
        self.federation = federation
        self._scenario = scenario
        self._stores = stores
        self._careless = careless
        clock = SystemClock()
        self._homes: dict[str, Home] = {
            name: load_home(federation.home(name), clock=clock) for name in sorted(scenario.parties)
        }
        self._participants = [name for name in self._homes if not scenario.parties[name].standing]

    def case(self, party: str) -> CaseProfile:
        """Return the case profile of one party."""
        return CaseProfile(
            reference=f"{party}-ACTION-1",
            authority=f"Example authority {party}",
            officer=f"officer-{party.lower()}-1",
            purpose=Purpose.INVESTIGATION,
            offence=Offence.TRAFFICKING_IN_HUMAN_BEINGS,
            subject_category=SubjectCategory.SUSPECT_OR_CONVICTED,
            aim=Aim.IDENTIFY,
            valid_until=(datetime.now(UTC) + timedelta(days=30)).date(),
        )

    async def sign_charter(self) -> None:
        """Let the first participant open the operation, and all others countersign it."""
        if len(self._participants) < 2:
            return
        opener, *others = self._participants
        now = int(time.time())
        plan = OperationPlan(
            operation=OPERATION,
            title=self._scenario.name,
            participants=tuple(self._participants),
            readers=self._scenario.partners,
            purpose=Purpose.INVESTIGATION,
            namespaces=NAMESPACES,
            starts_at=now,
            ends_at=now + 5 * 86_400,
            justification_hash=self.case(opener).justification_hash(secrets.token_bytes(16)),
        )
        async with self._gateway(opener) as link:
            await open_operation(self._homes[opener], link, plan, random_bytes=secrets.token_bytes)
        for name in others:
            async with self._gateway(name) as link:
                home = self._homes[name]
                await sign_operation(home, link, await fetch_operation(home, link, OPERATION))

    def submit(self, files: Sequence[PartyFile], progress: Callable[[int], None]) -> Mapping[str, list[SubmitReport]]:
        """Submit all parties' files at once, as `concordat node submit` does; return what became of them."""
        reports: dict[str, list[SubmitReport]] = {name: [] for name in self._homes}

        def one(file: PartyFile) -> None:
            standing = self._scenario.parties[file.party].standing
            submitter = Submitter(
                home=self._homes[file.party],
                store=self._stores[file.party],
                clock=SystemClock(),
                case=self.case(file.party),
                operation="" if standing or len(self._participants) < 2 else OPERATION,
                reader=careless_read if file.party == self._careless else read,
                # All files are read at once; the other cores make the tokens of what is stored already.
                workers=1,
            )
            done = 0

            def tell(now: SubmitProgress) -> None:
                nonlocal done
                progress(now.rows - done)
                done = now.rows

            reports[file.party].append(submitter.submit(file.path, progress=tell))

        with ThreadPoolExecutor(SUBMITTERS) as pool:
            list(pool.map(one, files))
        return reports

    async def sweep(self) -> dict[str, Any] | None:
        """Start the sweep and return the report, verified by the opener; None where there is no operation.

        Raises:
            UnavailableError: There is no report in time.
        """
        if len(self._participants) < 2:
            return None
        opener = self._participants[0]
        async with self._gateway(opener) as link:
            await start_sweep(link, OPERATION)
            limit_s = REPORT_S + REPORT_RECORD_S * len(self._scenario.lines)
            deadline = time.monotonic() + limit_s
            while time.monotonic() < deadline:
                await asyncio.sleep(POLL_S)
                try:
                    return await fetch_report(self._homes[opener], link, OPERATION)
                except RefusedError:
                    continue
        raise UnavailableError(f"the sweep gave no report in {limit_s:.0f} s")

    def _gateway(self, name: str) -> grpc.aio.Channel:
        home = self._homes[name]
        gateway = home.manifest.gateways[0]
        return channel(gateway.address, home=home, server=gateway.spiffe)
