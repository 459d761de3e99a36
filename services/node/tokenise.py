"""The tokenising part of the running node (docs/protocol.md 3.3 step 1): resumable, one batch a transaction.

    tokeniser = Tokeniser(home, store, pool, clock=clock, on_tokens=publisher.wake)
    await tokeniser.run(stop)

What needs a token stands in the store as to be done and leaves it in the transaction that writes the token, so a token
that is there is never asked for again. Batches hold values of one case, whose justification their requests carry. The
arithmetic runs in threads; libsodium lets go of the interpreter. Where quotas leave room, several batches are under
way, so that this machine blinds and verifies some while custodians work on others; batches grow while they are quick.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from opentelemetry.context import Context

from concordat import telemetry
from concordat.custodians import Budget
from concordat.errors import ConcordatError
from concordat.identity.manifest import KeyClass
from concordat.oprf.server import MAX_BATCH
from concordat.tokens import LABEL_BYTES, SECRET_BYTES, TOKEN_BYTES, MaskKey, column, split_outputs, token_input
from services.node import pace
from services.node.pace import Pace
from services.node.store.rows import Wanted
from services.node.traces import CaseTraces

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from concordat.clock import Clock
    from concordat.custodians import CustodianPool, Liar
    from concordat.identity.home import Home
    from services.node.store.rows import Untokenised, UntokenisedRow
    from services.node.store.store import Store

BATCH: Final = MAX_BATCH
FIRST_BATCH: Final = 256
# A batch that takes less may be followed by a larger one; one that takes more by a smaller one, so that a node which is
# stopped loses little and a custodian with many parties is not held by one.
QUICK_S: Final = 2.0
SLOW_S: Final = 10.0
AT_ONCE: Final = 4
# Batches of one look into the store; between two of them more urgent work is seen.
BATCHES_OF_LOT: Final = 16
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
        self._sizes = dict.fromkeys(_BUDGETS, min(FIRST_BATCH, batch))
        self._failed: dict[tuple[int, Budget, int, str], list[tuple[int, ...]]] = {}
        self._waits: dict[Budget, float] = {}
        self._troubles: dict[Budget, str] = {}
        self._told = ""
        self._pace, self._paced = Pace(clock), ""
        self._work = asyncio.Event()
        self._masks: dict[int, MaskKey] = {}

    def wake(self) -> None:
        """Look for work now instead of within a second."""
        self._work.set()

    async def run_once(self) -> int:
        """Tokenise one batch and return its size; 0 where there is nothing to do or all of it has to wait.

        Trouble with custodians is no error here: it is noted, shown by `status`, and tried again later.
        """
        return await self._turn(batches=1)

    async def _turn(self, *, batches: int) -> int:
        """Tokenise up to so many batches of what is most urgent; return how many tokens were made."""
        for epoch in self._manifest.epochs.in_force:
            budgets = list(_BUDGETS)
            while budgets := [one for one in budgets if self._waits.get(one, 0.0) <= self._clock.monotonic()]:
                wanted = [self._wanted(one, batches) for one in budgets]
                # One look for all of them: a thread on busy cores takes longer than what is read there.
                found = await asyncio.to_thread(self._store.first_untokenised, epoch, wanted)
                if found is None:
                    break
                at, lot = found
                budget, budgets = budgets[at], budgets[at + 1 :]
                if made := await self._lot(self._cut(lot, budget, self._sizes[budget])[:batches], budget):
                    return made
        return 0

    def _wanted(self, budget: Budget, batches: int) -> Wanted:
        limit = self._sizes[budget] * (batches if self._at_once(budget) > 1 else 1) + self._failed_rows(budget)
        return Wanted(budget.key_class.value, budget.exercise, limit)

    def _at_once(self, budget: Budget) -> int:
        """Return how many batches may be under way: one where a quota may end with it, which is then used up (I7)."""
        left = self._pool.quota_left(budget.key_class, exercise=budget.exercise)
        return AT_ONCE if left >= 2 * AT_ONCE * self._sizes[budget] else 1

    def _failed_rows(self, budget: Budget) -> int:
        return sum(len(ids) for key, failed in self._failed.items() if key[1] == budget for ids in failed)

    def _cut(self, lot: Untokenised, budget: Budget, size: int) -> list[Untokenised]:
        """Cut a lot into batches: first those that failed as they were, for which custodians charge no second time."""
        rows = {row.value_id: row for row in lot.rows}
        cut: list[tuple[UntokenisedRow, ...]] = [
            tuple(rows.pop(one) for one in ids)
            for ids in self._failed.pop((lot.epoch, budget, lot.case_id, lot.domain), ())
            if rows.keys() >= set(ids)
        ]
        rest = tuple(rows.values())
        cut += [rest[at : at + size] for at in range(0, len(rest), size)]
        return [replace(lot, rows=part) for part in cut]

    async def _lot(self, batches: Iterable[Untokenised], budget: Budget) -> int:
        """Tokenise batches of one lot; after a failure no other one is begun."""
        waiting = deque(batches)
        running: set[asyncio.Task[int]] = set()
        made, failed = 0, False
        try:
            while running or (waiting and not failed):
                while waiting and not failed and len(running) < self._at_once(budget):
                    running.add(asyncio.create_task(self._attempt(waiting.popleft(), budget)))
                done, running = await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
                numbers = [one.result() for one in done]
                made, failed = made + sum(numbers), failed or 0 in numbers
        finally:
            for one in running:
                one.cancel()
            await asyncio.gather(*running, return_exceptions=True)
        return made

    async def run(self, stop: asyncio.Event) -> None:
        """Tokenise until told to stop."""
        for epoch in self._manifest.epochs.in_force:
            await asyncio.to_thread(self._store.add_epoch, epoch)
        # What a process that was killed was waiting for is not what this one waits for.
        for name in (CONDITION, pace.CONDITION):
            await asyncio.to_thread(self._store.set_condition, name, "", self._clock.now())
        stopped = asyncio.ensure_future(stop.wait())
        try:
            while not stop.is_set():
                self._work.clear()
                try:
                    made = await self._turn(batches=BATCHES_OF_LOT)
                except ConcordatError as error:
                    # The store itself: its disk is full, or another process holds it.
                    _log.warning("tokenising waits: %s [%s]", error.message, error.code)
                    made = 0
                if made:
                    continue
                await self._tell_pace("")
                work = asyncio.ensure_future(self._work.wait())
                await asyncio.wait({work, stopped}, timeout=self._pause_s(), return_when=asyncio.FIRST_COMPLETED)
                work.cancel()
        finally:
            stopped.cancel()

    def _pause_s(self) -> float:
        now = self._clock.monotonic()
        waits = [until - now for until in self._waits.values() if until > now]
        return min([IDLE_S, *(max(SHORTEST_WAIT_S, one) for one in waits)])

    async def _attempt(self, batch: Untokenised, budget: Budget) -> int:
        """Tokenise one batch; return its size, or 0 where it has to wait."""
        begun = self._clock.monotonic()
        try:
            await self._tokenise(batch, budget.key_class)
        except ConcordatError as error:
            self._wait(budget, error, batch)
            await self._say()
            return 0
        self._adapt(budget, len(batch.rows), self._clock.monotonic() - begun)
        self._troubles.pop(budget, None)
        self._waits.pop(budget, None)
        await self._say()
        if self._pace.add(len(batch.rows)):
            await self._tell_pace(self._pace.in_words(await asyncio.to_thread(self._store.untokenised_count)))
        if self._on_tokens is not None:
            self._on_tokens(len(batch.rows))
        return len(batch.rows)

    def _adapt(self, budget: Budget, size: int, took_s: float) -> None:
        """Make the next batches larger or smaller; none grows into the end of a quota."""
        if took_s > SLOW_S:
            self._sizes[budget] = max(min(FIRST_BATCH, self._batch), size // 2)
        elif took_s < QUICK_S and size == self._sizes[budget] and self._at_once(budget) > 1:
            self._sizes[budget] = min(self._batch, 2 * size)

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

    def _wait(self, budget: Budget, error: ConcordatError, batch: Untokenised) -> None:
        """Decide when to try again; what is left of a quota is used up in ever smaller batches (I7)."""
        size = len(batch.rows)
        if error.code == "quota_exhausted" and size > 1:
            self._sizes[budget] = max(1, size // 2)
            self._pool.forget_spent(budget.key_class, exercise=budget.exercise)
            self._work.set()
            return
        self._sizes[budget] = max(self._sizes[budget], min(FIRST_BATCH, self._batch))
        key = (batch.epoch, budget, batch.case_id, batch.domain)
        self._failed.setdefault(key, []).append(tuple(row.value_id for row in batch.rows))
        rest_s = self._pool.retry_in_s(budget.key_class, exercise=budget.exercise)
        self._waits[budget] = self._clock.monotonic() + max(SHORTEST_WAIT_S, rest_s)
        self._troubles[budget] = f"{error.message} [{error.code}]"

    async def _tell_pace(self, text: str) -> None:
        """Keep for `status` how fast tokens come; nothing once there is nothing to do."""
        if not text:
            self._pace.begin()
        if text != self._paced:
            self._paced = text
            await asyncio.to_thread(self._store.set_condition, pace.CONDITION, text, self._clock.now())

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
