"""One work queue for the operator: a pure core that deduplicates keys and knows due times, and its shell.

Rules of the core, tested as properties:
- a key is with at most one worker at a time; what arrives meanwhile hands it out again afterwards, once;
- a key has one due time: an earlier one wins, and handing it out clears it (the reconcile says it anew);
- after an error a key is due again after an exponential back-off of its own, with jitter; success forgets it.
"""

from __future__ import annotations

import asyncio
import heapq
import random
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Final

from pointsman.backoff import Backoff

Key = str
"""What is reconciled: `namespace/name` of a policy."""

DRAIN_S: Final = 5.0
"""How long reconciles under way may go on once the queue is told to stop."""


class QueueCore:
    """The pure part: no clock, no I/O. Times are seconds on any monotonic scale."""

    def __init__(self, backoff: Backoff, rng: random.Random) -> None:
        self._backoff = backoff
        self._rng = rng
        self._due: dict[Key, float] = {}
        self._heap: list[tuple[float, int, Key]] = []
        self._order = 0  # ties are served in order of arrival
        self._running: set[Key] = set()
        self._errors: dict[Key, int] = {}

    def add(self, key: Key, due: float) -> None:
        """Ask for `key` at `due`; an earlier due time that it has already stays."""
        if key in self._due and self._due[key] <= due:
            return
        self._due[key] = due
        self._order += 1
        heapq.heappush(self._heap, (due, self._order, key))
        if len(self._heap) > 2 * len(self._due) + 64:  # leftovers of due times that were replaced
            self._heap = [entry for entry in self._heap if self._due.get(entry[2]) == entry[0]]
            heapq.heapify(self._heap)

    def pop(self, now: float) -> Key | None:
        """Hand out the key that has been due longest, or None. It must be given back by `done`."""
        held: list[tuple[float, int, Key]] = []
        found = None
        while self._heap and self._heap[0][0] <= now:
            due, order, key = heapq.heappop(self._heap)
            if self._due.get(key) != due:
                continue  # a leftover: an earlier due time replaced this one
            if key in self._running:
                held.append((due, order, key))
                continue
            found = key
            break
        for entry in held:
            heapq.heappush(self._heap, entry)
        if found is not None:
            del self._due[found]
            self._running.add(found)
        return found

    def done(self, key: Key, now: float, *, failed: bool, requeue_after: float | None = None) -> float | None:
        """Give `key` back; return the delay after which it is due again for a reason of its own, if any."""
        self._running.discard(key)
        if failed:
            self._errors[key] = self._errors.get(key, 0) + 1
            delay: float | None = self._backoff.delay(self._errors[key], self._rng)
        else:
            self._errors.pop(key, None)
            delay = requeue_after
        if delay is not None:
            self.add(key, now + delay)
        return delay

    def next_due(self) -> float | None:
        """Return when the next key that is not being worked on is due."""
        held: list[tuple[float, int, Key]] = []
        found = None
        while self._heap:
            due, _, key = self._heap[0]
            if self._due.get(key) == due and key not in self._running:
                found = due
                break
            entry = heapq.heappop(self._heap)
            if self._due.get(key) == due:
                held.append(entry)
        for entry in held:
            heapq.heappush(self._heap, entry)
        return found

    def errors(self, key: Key) -> int:
        """Return the number of errors in a row."""
        return self._errors.get(key, 0)

    @property
    def running(self) -> frozenset[Key]:
        """Keys handed out and not given back."""
        return frozenset(self._running)

    def depth(self, now: float) -> int:
        """Return how many keys are due and wait for a worker."""
        return sum(1 for due in self._due.values() if due <= now)


Handler = Callable[[Key], Awaitable[float | None]]
"""Reconciles a key; returns the seconds until it wants the next call (None: on the next event). May raise."""


class WorkQueue:
    """The asyncio shell: `add` from anywhere in the loop; `run` works keys off, some at a time."""

    def __init__(
        self,
        *,
        workers: int = 8,
        backoff: Backoff | None = None,
        rng: random.Random | None = None,
        on_error: Callable[[Key, Exception, int, float], None] | None = None,
    ) -> None:
        # jitter needs no secrecy
        self._core = QueueCore(backoff or Backoff(), rng or random.Random())  # noqa: S311
        self._workers = workers
        self._wake = asyncio.Event()
        self._on_error = on_error

    def add(self, key: Key, after_s: float = 0.0) -> None:
        """Ask for `key` now or after some seconds."""
        self._core.add(key, asyncio.get_running_loop().time() + after_s)
        self._wake.set()

    def depth(self) -> int:
        """Return how many keys are due and wait."""
        return self._core.depth(asyncio.get_running_loop().time())

    @property
    def busy(self) -> bool:
        """Tell whether any key is being worked on."""
        return bool(self._core.running)

    async def run(self, handle: Handler) -> None:
        """Work until cancelled; then let the reconciles under way finish within `DRAIN_S`."""
        running: set[asyncio.Task[None]] = set()
        try:
            while True:
                self._wake.clear()
                self._start_due(handle, running)
                await self._wait(free=len(running) < self._workers)
        finally:
            if running:
                _, late = await asyncio.wait(running, timeout=DRAIN_S)
                for task in late:
                    task.cancel()

    def _start_due(self, handle: Handler, running: set[asyncio.Task[None]]) -> None:
        loop = asyncio.get_running_loop()
        while len(running) < self._workers and (key := self._core.pop(loop.time())) is not None:
            task = loop.create_task(self._one(key, handle), name=f"reconcile {key}")
            running.add(task)
            task.add_done_callback(running.discard)
            task.add_done_callback(lambda _: self._wake.set())  # in this order: a worker is free, then look

    async def _wait(self, *, free: bool) -> None:
        due = self._core.next_due() if free else None
        # not wait_for: in Python 3.11 it forgets a cancellation that comes together with the event
        with suppress(TimeoutError):
            async with asyncio.timeout_at(due):
                await self._wake.wait()

    async def _one(self, key: Key, handle: Handler) -> None:
        loop = asyncio.get_running_loop()
        try:
            requeue_after = await handle(key)
        except Exception as error:  # noqa: BLE001 - whatever fails is tried again, alone, and told
            delay = self._core.done(key, loop.time(), failed=True)
            if self._on_error is not None:
                self._on_error(key, error, self._core.errors(key), delay or 0.0)
        except asyncio.CancelledError:
            self._core.done(key, loop.time(), failed=False, requeue_after=0.0)
            raise
        else:
            self._core.done(key, loop.time(), failed=False, requeue_after=requeue_after)
