"""The tokenising part of the running node (docs/protocol.md 3.3 step 1): resumable, one batch a transaction.

    tokeniser = Tokeniser(home, store, pool, clock=clock, on_tokens=publisher.wake)
    await tokeniser.run(stop)

What needs a token stands in the store as to be done and leaves it in the transaction that writes the token, so a token
that is there is never asked for again. Batches hold values of one case, whose justification their requests carry. The
arithmetic runs in threads; libsodium lets go of the interpreter.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Final

from opentelemetry.context import Context

from concordat import telemetry
from concordat.custodians import Budget
from concordat.errors import ConcordatError
from concordat.identity.manifest import KeyClass
from concordat.tokens import LABEL_BYTES, SECRET_BYTES, TOKEN_BYTES, MaskKey, column, split_outputs, token_input
from services.node.traces import CaseTraces

if TYPE_CHECKING:
    from collections.abc import Callable

    from concordat.clock import Clock
    from concordat.custodians import CustodianPool, Liar
    from concordat.identity.home import Home
    from services.node.store.rows import Untokenised
    from services.node.store.store import Store

BATCH: Final = 1000
IDLE_S: Final = 1.0
SHORTEST_WAIT_S: Final = 0.05
CONDITION: Final = "tokenise"
# Real work before exercises, which have budgets of their own and never make it wait.
_BUDGETS: Final = tuple(Budget(one, exercise) for exercise in (False, True) for one in (KeyClass.STRONG, KeyClass.WEAK))

_log = logging.getLogger(__name__)


class Tokeniser:
    """Makes the tokens that the store asks for, as long as it runs."""

    def __init__(
        self,
        home: Home,
        store: Store,
        pool: CustodianPool,
        *,
        clock: Clock,
        on_tokens: Callable[[int], None] | None = None,
        batch: int = BATCH,
        traces: CaseTraces | None = None,
    ) -> None:
        self._traces = traces or CaseTraces(clock)
        self._manifest = home.manifest
        self._home = home
        self._store = store
        self._pool = pool
        self._clock = clock
        self._on_tokens = on_tokens
        self._batch = batch
        self._sizes = dict.fromkeys(_BUDGETS, batch)
        self._waits: dict[Budget, float] = {}
        self._troubles: dict[Budget, str] = {}
        self._told = ""
        self._work = asyncio.Event()
        self._masks: dict[int, MaskKey] = {}

    def wake(self) -> None:
        """Look for work now instead of within a second."""
        self._work.set()

    async def run_once(self) -> int:
        """Tokenise one batch and return its size; 0 where there is nothing to do or all of it has to wait.

        Trouble with custodians is no error here: it is noted, shown by `status`, and tried again later.
        """
        for epoch in self._manifest.epochs.in_force:
            for budget in _BUDGETS:
                if self._waits.get(budget, 0.0) > self._clock.monotonic():
                    continue
                name, size, exercise = budget.key_class.value, self._sizes[budget], budget.exercise
                batch = await asyncio.to_thread(self._store.untokenised, epoch, name, size, exercise=exercise)
                if batch is not None and await self._attempt(batch, budget):
                    return len(batch.rows)
        return 0

    async def run(self, stop: asyncio.Event) -> None:
        """Tokenise until told to stop."""
        for epoch in self._manifest.epochs.in_force:
            await asyncio.to_thread(self._store.add_epoch, epoch)
        # What a process that was killed was waiting for is not what this one waits for.
        await asyncio.to_thread(self._store.set_condition, CONDITION, "", self._clock.now())
        stopped = asyncio.ensure_future(stop.wait())
        try:
            while not stop.is_set():
                self._work.clear()
                try:
                    made = await self.run_once()
                except ConcordatError as error:
                    # The store itself: its disk is full, or another process holds it.
                    _log.warning("tokenising waits: %s [%s]", error.message, error.code)
                    made = 0
                if made:
                    continue
                work = asyncio.ensure_future(self._work.wait())
                await asyncio.wait({work, stopped}, timeout=self._pause_s(), return_when=asyncio.FIRST_COMPLETED)
                work.cancel()
        finally:
            stopped.cancel()

    def _pause_s(self) -> float:
        now = self._clock.monotonic()
        waits = [until - now for until in self._waits.values() if until > now]
        return min([IDLE_S, *(max(SHORTEST_WAIT_S, one) for one in waits)])

    async def _attempt(self, batch: Untokenised, budget: Budget) -> bool:
        try:
            await self._tokenise(batch, budget.key_class)
        except ConcordatError as error:
            self._wait(budget, error, len(batch.rows))
            await self._say()
            return False
        self._troubles.pop(budget, None)
        self._waits.pop(budget, None)
        await self._say()
        if self._on_tokens is not None:
            self._on_tokens(len(batch.rows))
        return True

    async def _tokenise(self, batch: Untokenised, key_class: KeyClass) -> None:
        with telemetry.span("tokenise", parent=Context()):
            await self._evaluate(batch, key_class)
            self._traces.keep(batch.case_id, telemetry.traceparent())

    async def _evaluate(self, batch: Untokenised, key_class: KeyClass) -> None:
        domain = token_domain(self._manifest.domain, batch.domain)
        inputs = [
            token_input(domain, row.namespace, row.rules_version, batch.epoch, row.canonical) for row in batch.rows
        ]
        outputs = await self._pool.evaluate(
            inputs, key_class=key_class, epoch=batch.epoch, case=batch.case, exercise=batch.domain
        )
        await asyncio.to_thread(self._put, batch, outputs)

    def _put(self, batch: Untokenised, outputs: bytes) -> None:
        labels, match_secrets = split_outputs(outputs)
        tokens = self._mask(batch.epoch).apply(labels)
        columns = (column(labels, LABEL_BYTES), column(match_secrets, SECRET_BYTES), column(tokens, TOKEN_BYTES))
        ids = [row.value_id for row in batch.rows]
        self._store.store_tokens(batch, zip(ids, *columns, strict=True))

    def _mask(self, epoch: int) -> MaskKey:
        found = self._masks.get(epoch)
        if found is None:
            found = self._masks[epoch] = MaskKey(self._home.mask_key(epoch))
        return found

    def _wait(self, budget: Budget, error: ConcordatError, size: int) -> None:
        """Decide when to try again; what is left of a quota is used up in ever smaller batches (I7)."""
        if error.code == "quota_exhausted" and size > 1:
            self._sizes[budget] = max(1, size // 2)
            self._pool.forget_spent(budget.key_class, exercise=budget.exercise)
            self._work.set()
            return
        self._sizes[budget] = self._batch
        rest_s = self._pool.retry_in_s(budget.key_class, exercise=budget.exercise)
        self._waits[budget] = self._clock.monotonic() + max(SHORTEST_WAIT_S, rest_s)
        self._troubles[budget] = f"{error.message} [{error.code}]"

    async def _say(self) -> None:
        text = "; ".join(f"waiting: {self._troubles[one]}" for one in _BUDGETS if one in self._troubles)
        if text == self._told:
            return
        self._told = text
        if text:
            _log.warning("tokenising waits: %s", text)
        await asyncio.to_thread(self._store.set_condition, CONDITION, text, self._clock.now())


def token_domain(federation: str, exercise: str) -> str:
    """Return the domain string of token inputs: a federation's own, or that of one of its exercises (2.2)."""
    return f"{federation}/exercise/{exercise}" if exercise else federation


def keep_liar(store: Store, clock: Clock, liar: Liar) -> None:
    """Write a custodian that lied into the store, with the evidence."""
    store.add_incident(at=clock.now(), party=liar.party, what=liar.what, evidence=liar.evidence)
