"""Files that rubrics refer to: fetched once, verified by digest, read off the loop, kept within bounds."""

from __future__ import annotations

import asyncio
import hashlib
import logging
import random
from collections import OrderedDict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Generic, Protocol, TypeVar

from prometheus_client import Counter, Gauge

from pointsman.fetching import FetchError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from prometheus_client import CollectorRegistry

    from pointsman.rollout.observation import Source

log = logging.getLogger(__name__)

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)

MEMORY_BYTES: Final = 256 << 20
"""Bound of what is kept of one kind of file: the least recently used go first, and are fetched again."""
SOURCES: Final = 4096
PAUSE_S: Final = (1.0, 60.0)
"""Shortest and longest pause after a failure."""


class SourceError(Exception):
    """A file cannot be had or read. Its text has the remedy, and no secret."""


class Files(Protocol[T_co]):
    """Where what a file holds comes from: `Sources`, or what a command was given."""

    async def get(self, source: Source) -> T_co:
        """Return what the file holds; `SourceError`."""


class SourceMetrics:
    """What fetching costs and how it ends."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.fetches = Counter(
            "pointsman_evaluator_source_fetches_total",
            "Data sets and schemas fetched; outcome is ok, fetch, digest or content.",
            ["what", "outcome"],
            registry=registry,
        )
        self.bytes = Gauge(
            "pointsman_evaluator_source_bytes",
            "Data sets and schemas in memory.",
            ["what"],
            registry=registry,
        )


@dataclass(slots=True)
class _Entry(Generic[T]):
    value: T | None = None
    size: int = 0
    failure: str = ""
    errors: int = 0
    retry_at: float = 0.0
    task: asyncio.Task[None] | None = None


class Sources(Generic[T]):
    """Files of one kind. A changed URI or digest is another file; a failure is tried again after a pause."""

    def __init__(
        self,
        what: str,
        fetch: Callable[[Source], Awaitable[bytes]],
        read: Callable[[bytes], T],
        metrics: SourceMetrics,
        *,
        memory_bytes: int = MEMORY_BYTES,
    ) -> None:
        """`fetch` raises `FetchError` within its own deadline; `read` (in a thread) raises ValueError."""
        self._what = what
        self._fetch = fetch
        self._read = read
        self._metrics = metrics
        self._limit = memory_bytes
        self._entries: OrderedDict[Source, _Entry[T]] = OrderedDict()
        self._rng = random.Random()  # noqa: S311 - jitter

    async def get(self, source: Source) -> T:
        """Return what the file holds, waiting for a fetch that is under way; `SourceError`."""
        entry = self._entries.get(source)
        if entry is None:
            entry = self._entries[source] = _Entry()
        self._entries.move_to_end(source)
        if entry.value is None:
            if entry.task is None:
                if self._now() < entry.retry_at:
                    raise SourceError(entry.failure)
                entry.task = asyncio.create_task(self._attempt(source, entry), name=f"fetch {self._what}")
            await asyncio.shield(entry.task)
        if entry.value is None:
            raise SourceError(entry.failure or "not fetched")
        return entry.value

    async def close(self) -> None:
        """End what is under way."""
        tasks = [entry.task for entry in self._entries.values() if entry.task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _attempt(self, source: Source, entry: _Entry[T]) -> None:
        """Fetch once and note the outcome; never raises but when cancelled."""
        outcome = "ok"
        try:
            content = await self._fetch(source)
            digest = await asyncio.to_thread(_digest, content)
            if digest != source.sha256:
                outcome = "digest"
                entry.failure = (
                    f"sha256: {source.public_uri} has {digest}, the policy wants {source.sha256}; "
                    "write the digest of the file that you mean"
                )
            else:
                entry.value = await asyncio.to_thread(self._read, content)
                entry.size = len(content)
        except FetchError as error:
            outcome, entry.failure = "fetch", f"uri: {error.message}"
        except ValueError as error:
            outcome, entry.failure = "content", f"{source.public_uri}: {error}"
        except Exception as error:  # what else a reader may raise must not be taken for a cancelled fetch
            outcome, entry.failure = "content", f"{source.public_uri}: {type(error).__name__}"
            log.exception("a %s could not be read", self._what)
        finally:
            entry.task = None
        if entry.value is None:
            entry.errors += 1
            pause = min(PAUSE_S[1], PAUSE_S[0] * 2 ** min(entry.errors - 1, 10))
            entry.retry_at = self._now() + pause * self._rng.uniform(0.8, 1.2)
        else:
            entry.errors, entry.failure = 0, ""
        self._metrics.fetches.labels(self._what, outcome).inc()
        self._bound()

    def _bound(self) -> None:
        total = sum(entry.size for entry in self._entries.values())
        idle = [source for source, entry in self._entries.items() if entry.task is None]
        for source in idle[:-1]:
            if total <= self._limit and len(self._entries) <= SOURCES:
                break
            total -= self._entries.pop(source).size
        self._metrics.bytes.labels(self._what).set(total)

    @staticmethod
    def _now() -> float:
        return asyncio.get_running_loop().time()


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
