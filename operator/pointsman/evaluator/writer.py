"""The one task that writes: takes what was received, in batches, and tells the counters what is stored."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import math
import time
from concurrent.futures import ThreadPoolExecutor
from itertools import chain, repeat
from typing import TYPE_CHECKING, Final, TypeVar

from pointsman.evaluator.evidence import ScoreRow, unscored
from pointsman.evaluator.guards import measure
from pointsman.evaluator.intake import BATCH_ROWS, Intake
from pointsman.evaluator.ledger import Ledger
from pointsman.evaluator.metrics import Totals
from pointsman.evaluator.record import AccessRecord
from pointsman.evaluator.rows import Batch, CaptureRow, Written
from pointsman.evaluator.store import FencedError, RefusedError, StoreError, TakenError
from pointsman.evaluator.store.replicas import ALONE, adopt, join
from pointsman.evaluator.totals import capture_series

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from pointsman.clock import Clock
    from pointsman.evaluator.intake import Item
    from pointsman.evaluator.metrics import ProcessMetrics
    from pointsman.evaluator.policies import Policies
    from pointsman.evaluator.store import Store

log = logging.getLogger(__name__)

T = TypeVar("T")

BATCH_S: Final = 0.1
"""How long a batch is gathered; with its transaction a row is stored well within 200 ms."""
RETRY_PAUSES_S: Final = (0.1, 0.5, 2.0, 3.0)
"""Between attempts of a transaction that failed; the last one again and again."""
RETRY_S: Final = 90.0
"""After that its rows are dropped, and counted. A database may be away, or a disk full, for as long; what
comes meanwhile waits in the queue."""
TRY_S: Final = 5.0
STOP_S: Final = 3.0
"""How long a writer that is to stop goes on trying to store what it has."""
FIRST_SYNC_S: Final = 10.0
"""How long the first rows wait for the policies' prices."""


class Writer:
    """Owns the store, its thread, and the counters. `offer` never waits."""

    def __init__(self, store: Store, policies: Policies, metrics: ProcessMetrics, clock: Clock) -> None:
        self._store = store
        self._policies = policies
        self._metrics = metrics
        self._clock = clock
        self._intake = Intake()
        self._arrived = asyncio.Event()
        self._stop = asyncio.Event()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="store")
        self.totals = Totals(store.totals())
        self.totals.take_over(*store.estate())
        self.ledger = Ledger(store.nodes())
        self._one = asyncio.Lock()
        """Of what changes store and counters together."""
        self._joins = 0
        self._unsure = False
        """Whether a transaction failed of which nobody said that it was not done."""
        self._stopping_since = 0.0
        self.failing = ""
        """Why the last transaction failed; empty if it did not."""
        self.on_stored: Callable[[Written], None] = _ignore
        """Told of every transaction, when it is durable and counted."""
        self.on_lost: Callable[[ScoreRow], None] = _ignore
        """Told of scores that could not be stored: their requests are pending still."""

    def offer(self, item: Item) -> bool:
        """Queue an item; False (and counted) when the queue is full. Scores find room always."""
        if not self._intake.put(item):
            self._drop(item, "queue_full")
            return False
        self._arrived.set()
        return True

    @property
    def backlog_s(self) -> float:
        """Age of the oldest item that is neither stored nor dropped."""
        return self._intake.age_s

    @property
    def behind_s(self) -> float:
        """That age; infinite while the store takes nothing: what would cost money had better wait."""
        return math.inf if self.failing else self.backlog_s

    def received(self) -> Iterator[AccessRecord]:
        """Return the requests that are neither stored nor dropped."""
        return self._intake.requests()

    async def run(self) -> None:
        """Write until `stop`, then what is left."""
        await self._first_sync()
        while not (self._stop.is_set() and not self._intake):
            await self._woken()
            if not self._stop.is_set() and len(self._intake) < BATCH_ROWS:
                await asyncio.sleep(BATCH_S)
            await self._write_next()
            if not self._intake and not self._stop.is_set():
                self._arrived.clear()
        self._thread.shutdown()

    async def _woken(self) -> None:
        """Wait for something to write; a store that failed is tried with nothing, to know when it is back."""
        while True:
            try:
                async with asyncio.timeout(TRY_S if self.failing else None):
                    await self._arrived.wait()
            except TimeoutError:
                async with self._one:
                    await self._write(Batch())
            else:
                return

    def stop(self) -> None:
        """Let `run` write what is queued and end."""
        self._stop.set()
        self._arrived.set()

    async def call(self, work: Callable[[Store], T]) -> T:
        """Run something else on the store, between transactions."""
        return await asyncio.get_running_loop().run_in_executor(self._thread, work, self._store)

    async def join_anew(self) -> None:
        """Take part again, after another replica has taken over what we had counted: from zero on."""
        joins = self._joins
        async with self._one:
            if self._joins == joins:  # else a write has found it out first
                await self._join_anew()

    async def inherit(self, dead: str, lease_s: float) -> bool:
        """Take over a dead replica's counts and what it had to score; False: it lives. `StoreError`."""
        async with self._one:
            done = await self.call(lambda store: adopt(store.db, store.replica, dead, lease_s))
            if done:
                self.totals.take_over(*await self.call(lambda store: store.estate()))
        return done

    async def _join_anew(self) -> None:
        gone = self.totals.stored()
        await self.call(lambda store: join(store.db, store.replica))
        self.totals.lose(gone)
        self.totals.take_over("", {})
        self._joins += 1
        log.warning("this evaluator was taken for dead and counts anew; its counts were taken over")

    async def settle(self, now_us: int, grace_us: int, *, shared: bool = False) -> None:
        """Write what the looks at Envoys came to; does nothing while rows wait, for those are not lost.

        `shared`: other replicas store of the same Envoys' requests; the store knows how many there are.
        """
        if self.backlog_s > 1 or self.failing:
            return
        arrived = None
        if shared:
            due = self.ledger.due(now_us, grace_us)
            try:
                arrived = await self.call(lambda store: dict(zip(due, store.arrived(due), strict=True)))
            except StoreError as error:
                log.warning("cannot ask the store what has arrived: %s", error)
                return
        self.ledger.settle(now_us, grace_us, arrived)
        changed = self.ledger.take_changed()
        if changed:
            self.totals.lost_known = True
            async with self._one:
                await self._write(Batch(nodes=changed))

    async def _first_sync(self) -> None:
        """Wait for the policies' prices, but not for ever: counts matter more than costs."""
        waits = {asyncio.create_task(event.wait()) for event in (self._policies.synced, self._stop)}
        done, pending = await asyncio.wait(waits, timeout=FIRST_SYNC_S, return_when=asyncio.FIRST_COMPLETED)
        for task in pending:
            task.cancel()
        if not done:
            log.warning("policies are not known yet: requests are counted without cost, text is refused")

    async def _write_next(self) -> None:
        items = self._intake.next()
        self._metrics.queue.set(len(self._intake))
        if not items:
            return
        batch = Batch(now_us=micros(self._clock))
        for item in items:
            match item:
                case CaptureRow() as capture:
                    batch.captures.append(capture)
                case ScoreRow() as score:
                    batch.scores.append(score)
                case AccessRecord() as record:
                    policy = self._policies.policy(record.policy)
                    revision = self._policies.revision(record.policy, record.revision)
                    batch.requests.append((record, measure(record, policy, revision)))
                case case:
                    batch.cases.append(case)
        async with self._one:
            await self._write(batch)
        self._intake.writing = []

    async def _write(self, batch: Batch) -> None:
        """Write a batch; try again when the store is locked or full, then row by row, then drop and count."""
        end = time.monotonic() + RETRY_S
        for pause in chain(RETRY_PAUSES_S, repeat(RETRY_PAUSES_S[-1])):
            try:
                await self._take(await self._attempt(batch))
            except TakenError:
                raise
            except RefusedError as error:
                self._failed(error)
                if len(batch) <= 1:
                    break
                await self._write_singly(batch)
                return
            except StoreError as error:
                self._failed(error)
                self._unsure = True
                if time.monotonic() > end or (self._stop.is_set() and not await self._last_chance()):
                    break
                if isinstance(error, FencedError):
                    await self._rejoin()
                    continue
                await self._pause(pause)
            else:
                return
        for item in (*(record for record, _ in batch.requests), *batch.captures, *batch.scores, *batch.cases):
            self._drop(item, "store_failed")

    async def _rejoin(self) -> None:
        try:
            await self._join_anew()
        except TakenError:
            raise
        except StoreError as error:
            self._failed(error)
            await self._pause(RETRY_PAUSES_S[0])

    async def _take(self, written: Written) -> None:
        self._stored(written)
        if self._unsure and self._store.replica is not ALONE:
            await self._reconcile()

    async def _reconcile(self) -> None:
        """Read what counts: a connection that broke at a commit has not said whether it was done.

        If it was, its rows were duplicates when they were tried again: neither counted nor scored here.
        """
        try:
            held, pending, estate = await self.call(
                lambda store: (store.totals(), store.pending(), store.estate())
            )
        except StoreError as error:
            log.warning("cannot see yet what the store has counted: %s", error)
            return
        shown = self.totals.stored()
        self.totals.add({series: more for series, n in held.items() if (more := n - shown.get(series, 0))})
        self.totals.take_over(*estate)
        self.on_stored(Written(pending=pending))
        self._unsure = False

    async def _pause(self, seconds: float) -> None:
        """Wait, but no longer than until we are to stop."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._stop.wait()

    async def _last_chance(self) -> bool:
        """Tell whether a stopping writer may try again: for a few seconds in all."""
        self._stopping_since = self._stopping_since or time.monotonic()
        if time.monotonic() - self._stopping_since > STOP_S:
            return False
        await asyncio.sleep(RETRY_PAUSES_S[0])
        return True

    async def _write_singly(self, batch: Batch) -> None:
        """One row that the store cannot take must not cost the others."""
        for request in batch.requests:
            await self._write(Batch(requests=[request], now_us=batch.now_us))
        for capture in batch.captures:
            await self._write(Batch(captures=[capture]))
        for score in batch.scores:
            await self._write(Batch(scores=[score], now_us=batch.now_us))
        for case in batch.cases:
            await self._write(Batch(cases=[case], now_us=batch.now_us))

    async def _attempt(self, batch: Batch) -> Written:
        begin = time.monotonic()
        try:
            return await self.call(lambda store: store.write(batch))
        finally:
            self._metrics.write_seconds.observe(time.monotonic() - begin)

    def _stored(self, written: Written) -> None:
        self._metrics.writes.labels("ok").inc()
        if self.failing:
            log.info("the store takes rows again")
            self.failing = ""
        self._metrics.store_up.set(1)
        self._metrics.duplicates.inc(written.duplicates)
        self.totals.add(written.counts)
        now_us = micros(self._clock)
        for node, ends in written.ends_us.items():
            self.ledger.stored(node, ends, now_us)
        for capture in written.refused:
            self.totals.note(capture_series(capture.policy, capture.half, "refused"))
        self._intake.writing = []
        self.on_stored(written)

    def _failed(self, error: Exception) -> None:
        self._metrics.writes.labels("error").inc()
        if str(error) != self.failing:  # once, not at every attempt
            log.error("cannot write to the store: %s", error)
        self.failing = str(error)
        self._metrics.store_up.set(0)

    def _drop(self, item: Item, because: str) -> None:
        match item:
            case CaptureRow():
                self._metrics.dropped.labels("capture", because).inc()
                self.totals.note(capture_series(item.policy, item.half, "dropped"))
            case ScoreRow():
                self.on_lost(item)
            case AccessRecord():
                self._metrics.dropped.labels("access_log", because).inc()
                for series in unscored(item):
                    self.totals.note(series)
            case _:
                self._metrics.dropped.labels("case", because).inc()


def _ignore(_: object) -> None:
    """Nobody listens."""


def micros(clock: Clock) -> int:
    """Return the clock's time in microseconds of Unix time."""
    return round(clock().timestamp() * 1_000_000)
