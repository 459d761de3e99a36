"""The partner's client: identifiers in, results with coverage out (docs/sdk.md, 3.9).

    async with Client.open(Path("federation/partner/IJM")) as client:
        outcome = await client.check(["+40 721 123 456", "t.me/example"], justification)
        for one in outcome:
            print(one.client_ref, one.sentence())

Identifiers, canonical forms, labels, match secrets and what the caller calls an item stay in this process, and nothing
is written to disk. What leaves: blinded elements for the custodians, then tokens, references, MACs and the hash of the
justification for the gateway.
"""

from __future__ import annotations

import asyncio
import secrets
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from opentelemetry.trace import SpanKind

from concordat import telemetry
from concordat.api.model import MAX_QUERY_ITEMS, QueryResponse, ReportResponse
from concordat.canon import RULES_VERSIONS
from concordat.client.asking import Questions, Tokenised
from concordat.client.reading import Item, read_item
from concordat.client.relay import Relay
from concordat.client.results import Checked, Outcome, Verdict, least
from concordat.client.session import ApiSession, segment
from concordat.clock import Clock, SystemClock
from concordat.custodians import CustodianPool
from concordat.errors import ConcordatError, ConfigError, InputError
from concordat.identity.home import Home, load_home
from concordat.identity.manifest import KeyClass
from concordat.identity.names import Role
from concordat.justification import require_valid
from concordat.protocol.report import accept_report
from concordat.tokens import LABEL_BYTES, SECRET_BYTES, TOKEN_BYTES, MaskKey, column, split_outputs, token_input

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterable, Sequence
    from pathlib import Path

    from concordat.canon import Kind, Value
    from concordat.client.asking import Verified
    from concordat.client.connection import SessionLimits
    from concordat.justification import Justification

MAX_ITEMS: Final = 100_000
MAX_KEPT: Final = 100_000


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a check has come, in distinct values."""

    done: int
    total: int


@dataclass(frozen=True, slots=True)
class _Read:
    """An item that can be asked about."""

    kind: Kind
    value: Value


@dataclass(frozen=True, slots=True)
class _Answered:
    request: str
    verified: Verified


@dataclass(slots=True)
class _Asking:
    """The distinct values of one check that may be asked about, and what became of them."""

    allowed: tuple[Value, ...]
    answered: dict[Value, _Answered] = field(default_factory=dict)
    trouble: ConcordatError | None = None


class Client:
    """One partner's way to ask; one check at a time."""

    def __init__(
        self,
        home: Home,
        *,
        clock: Clock,
        random_bytes: Callable[[int], bytes] = secrets.token_bytes,
        limits: SessionLimits | None = None,
    ) -> None:
        """Prepare a client; nothing is dialled before it is used.

        Raises:
            ConfigError: The folder is no partner's, or the manifest names no gateway with an HTTPS API.
        """
        if home.identity.role is not Role.PARTNER:
            raise ConfigError(f"{home.path}: is the folder of a {home.identity.role}, not of a partner")
        self._home = home
        self._clock = clock
        self._epoch = home.manifest.epochs.current
        self._session = ApiSession(home, clock=clock, random_bytes=random_bytes, limits=limits)
        self._relay = Relay(self._session)
        self._pool = CustodianPool(home, clock=clock, transport=self._relay, random_bytes=random_bytes)
        self._questions = Questions(home, clock=clock, random_bytes=random_bytes)
        self._mask = MaskKey(home.mask_key(self._epoch))
        self._kept: dict[Value, Tokenised] = {}
        self._one = asyncio.Lock()

    @classmethod
    @asynccontextmanager
    async def open(
        cls, folder: Path, *, clock: Clock | None = None, limits: SessionLimits | None = None
    ) -> AsyncIterator[Client]:
        """Open the client of a partner's folder, and close it at the end.

        Raises:
            ConfigError: The folder is not complete, too open, or no partner's.
            IdentityError: Its manifest or certificate does not hold.
        """
        known = clock or SystemClock()
        home = await asyncio.to_thread(load_home, folder, clock=known)
        client = cls(home, clock=known, limits=limits)
        try:
            yield client
        finally:
            await client.close()

    async def close(self) -> None:
        """Close all connections and forget all values."""
        self._kept.clear()
        await self._pool.close()
        await self._session.close()

    @property
    def home(self) -> Home:
        """Return the partner's folder as it was loaded."""
        return self._home

    async def scopes(self) -> tuple[str, ...]:
        """Return what the gateway lets this partner do.

        Raises:
            ConcordatError: It cannot be reached, or does not accept this partner.
        """
        return await self._session.scopes()

    async def check(
        self,
        items: Iterable[str | Item],
        justification: Justification,
        *,
        region: str | None = None,
        progress: Callable[[Progress], None] | None = None,
    ) -> Outcome:
        """Ask who holds these identifiers, at this moment.

        An item that cannot be read, or that the agreement does not let this partner ask about, is named in the results
        and the others go on. The same value twice is asked once. Where something fails after a part was asked, the
        results of that part are returned and the rest is `not_asked`.

        Args:
            items: At most 100 000; a plain text has its kind guessed.
            justification: Why; its salted hash goes into every request (I5).
            region: Country of national phone numbers where the item does not say it, such as RO.
            progress: Told after each step.

        Raises:
            InputError: Too many items, or a justification that is over.
            ConcordatError: Nothing could be asked: custodians or gateway cannot be reached, refuse, or broke the
                protocol.
        """
        if isinstance(items, str):
            raise TypeError("a check takes a list of identifiers, not one text")
        given = [Item(one) if isinstance(one, str) else one for one in items]
        if len(given) > MAX_ITEMS:
            raise InputError(f"a check has at most {MAX_ITEMS} items", code="too_large")
        require_valid(justification, today=datetime.fromtimestamp(self._clock.now(), UTC).date())
        read = await asyncio.to_thread(self._read_all, given, region)
        asking = _Asking(self._allowed(read, justification))
        async with self._one:
            # One trace: what the custodians evaluate for it and what the gateway is asked.
            with telemetry.span("check", kind=SpanKind.CLIENT):
                await self._ask_all(asking, justification, progress)
        return self._outcome(given, read, asking)

    async def report(self, operation: str) -> bytes:
        """Return the frozen report of an operation, canonical JSON (docs/report.md), signed by a gateway.

        Raises:
            RefusedError: There is none, or this partner may not read it.
            IdentityError: No gateway of the manifest signed it, or it is of another operation.
            ConcordatError: The gateway cannot be reached.
        """
        path = f"/v1/operations/{segment(operation)}/report"
        found = await self._session.get(path, ReportResponse)
        accept_report(found.report, found.signature, operation=operation, manifest=self._home.manifest)
        return found.report

    def _read_all(self, given: Sequence[Item], region: str | None) -> list[_Read | InputError]:
        found: list[_Read | InputError] = []
        for item in given:
            try:
                kind, reading = read_item(item, region=region)
            except InputError as error:
                found.append(error)
            else:
                found.append(_Read(kind, reading.values[0]))
        return found

    def _allowed(self, read: Iterable[_Read | InputError], case: Justification) -> tuple[Value, ...]:
        """Return the distinct values that may be asked about; of the rest no quota is spent."""
        name, manifest = self._home.identity.name, self._home.manifest
        values = dict.fromkeys(one.value for one in read if isinstance(one, _Read))
        return tuple(one for one in values if manifest.may_query(name, case.purpose.value, one.namespace.value))

    async def _ask_all(self, asking: _Asking, case: Justification, progress: Callable[[Progress], None] | None) -> None:
        values = asking.allowed
        for begin in range(0, len(values), MAX_QUERY_ITEMS):
            try:
                asking.answered.update(await self._ask(values[begin : begin + MAX_QUERY_ITEMS], case))
            except ConcordatError as error:
                if not asking.answered:
                    raise
                asking.trouble = error
                return
            if progress is not None:
                progress(Progress(len(asking.answered), len(values)))

    async def _ask(self, batch: Sequence[Value], case: Justification) -> dict[Value, _Answered]:
        # A gateway that is away is named as itself, and not as custodians that it does not carry requests to.
        await self._session.scopes()
        tokenised = await self._tokenised(batch, case)
        question = await asyncio.to_thread(self._questions.question, tokenised, case, epoch=self._epoch)
        response = await self._session.post("/v1/queries", question.body, QueryResponse)
        verified = await asyncio.to_thread(question.verify, response)
        return {value: _Answered(question.request, one) for value, one in zip(batch, verified, strict=True)}

    async def _tokenised(self, batch: Sequence[Value], case: Justification) -> list[Tokenised]:
        """Return what the values are asked with; one that was tokenised by this client is not charged again."""
        new = [one for one in batch if one not in self._kept]
        if new:
            domain = self._home.manifest.domain
            inputs = [
                token_input(domain, one.namespace.value, RULES_VERSIONS[one.namespace], self._epoch, one.canonical)
                for one in new
            ]
            outputs = await self._pool.evaluate(inputs, key_class=KeyClass.STRONG, epoch=self._epoch, case=case)
            labels, match_secrets = split_outputs(outputs)
            tokens = self._mask.apply(labels)
            columns = (column(labels, LABEL_BYTES), column(match_secrets, SECRET_BYTES), column(tokens, TOKEN_BYTES))
            for value, label, secret, token in zip(new, *columns, strict=True):
                self._kept[value] = Tokenised(value.namespace.value, token, label, secret)
        found = [self._kept[one] for one in batch]
        while len(self._kept) > MAX_KEPT:
            del self._kept[next(iter(self._kept))]
        return found

    def _outcome(self, given: Sequence[Item], read: Sequence[_Read | InputError], asking: _Asking) -> Outcome:
        left = frozenset(asking.allowed) - asking.answered.keys()
        trouble = None if asking.trouble is None else f"{asking.trouble.message} [{asking.trouble.code}]"
        results = tuple(
            _checked(item, one, asking.answered, trouble if isinstance(one, _Read) and one.value in left else None)
            for item, one in zip(given, read, strict=True)
        )
        quotas = self._relay.quota_left
        return Outcome(
            results,
            coverage=least(one.coverage for one in results if one.coverage),
            requests=tuple(dict.fromkeys(one.request for one in asking.answered.values())),
            quota_left=min(quotas.values()) if quotas else None,
            trouble=trouble,
        )


def _checked(item: Item, read: _Read | InputError, answered: dict[Value, _Answered], trouble: str | None) -> Checked:
    if isinstance(read, InputError):
        return Checked(item, Verdict.UNREADABLE, reason=f"{read.message} [{read.code}]")
    shown, known = read.value.canonical, answered.get(read.value)
    if known is None:
        verdict = Verdict.NOT_ALLOWED if trouble is None else Verdict.NOT_ASKED
        return Checked(item, verdict, kind=read.kind, read_as=shown, reason=trouble)
    found = known.verified
    return Checked(
        item,
        found.result,
        hits=found.hits,
        coverage=found.coverage,
        request=known.request,
        kind=read.kind,
        read_as=shown,
    )
