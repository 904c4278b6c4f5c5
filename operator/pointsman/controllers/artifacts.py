"""Bundles: fetched from where a policy says, verified by digest, kept in memory within bounds.

`Artifacts.look` never waits: it says what is known of a source; `request` starts what is due, in background.
A failure stays told until a later attempt succeeds. Attempts back off: what is not there yet comes by itself.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import random
from collections import OrderedDict
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Final

from prometheus_client import Counter, Gauge

from pointsman.api.conditions import ClassifierReadyReason
from pointsman.backoff import Backoff
from pointsman.fetching import FetchError
from pointsman.rollout.observation import Artifact, Bundle, Source

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from prometheus_client import CollectorRegistry

log = logging.getLogger(__name__)

MEMORY_BYTES: Final = 256 * 1024 * 1024
"""Bound of the bundles kept: the least recently used go first, and are fetched again when needed."""
SOURCES: Final = 4096
"""Bound of what is remembered of sources: the least recently asked for go first."""
PARALLEL: Final = 16
"""Fetches at a time: enough that some that hang until their deadline hold up no other."""
BACKOFF: Final = Backoff(base_s=1.0, cap_s=30.0, jitter=0.2)


class ArtifactMetrics:
    """What fetching costs and how it ends."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.fetches = Counter(
            "pointsman_operator_artifact_fetches_total",
            "Bundles fetched, by outcome: ok, or the reason of the failure.",
            ["outcome"],
            registry=registry,
        )
        self.bytes = Gauge(
            "pointsman_operator_artifact_cache_bytes", "Bundles held in memory.", registry=registry
        )


@dataclass(slots=True)
class _Entry:
    known: Artifact = field(default_factory=Artifact)
    errors: int = 0
    retry_at: float = 0.0
    task: asyncio.Task[None] | None = None


class Artifacts:
    """A bounded cache of verified bundles and of what is known of their sources."""

    def __init__(
        self,
        fetch: Callable[[Source], Awaitable[bytes]],
        describe: Callable[[bytes], Bundle],
        changed: Callable[[Source], None],
        metrics: ArtifactMetrics,
        *,
        memory_bytes: int = MEMORY_BYTES,
        rng: random.Random | None = None,
    ) -> None:
        """`describe` reads a bundle (ValueError: it is none); `changed` hears of what more is known."""
        self._fetch = fetch
        self._describe = describe
        self._changed = changed
        self._metrics = metrics
        self._limit = memory_bytes
        self._rng = rng or random.Random()  # noqa: S311 - jitter
        self._entries: OrderedDict[Source, _Entry] = OrderedDict()
        self._held: OrderedDict[str, bytes] = OrderedDict()
        self._slots = asyncio.Semaphore(PARALLEL)

    def look(self, source: Source) -> Artifact:
        """Return what is known of a source, at once."""
        entry = self._entries.get(source)
        if entry is None:
            return Artifact()
        if entry.known.failure is None or entry.task is not None:
            return entry.known
        return replace(entry.known, retry_after_s=max(0.05, entry.retry_at - self._now()))

    def request(self, source: Source) -> None:
        """Fetch and verify in the background what is not known yet, once a failed attempt's pause is over."""
        entry = self._entry(source)
        if entry.known.bundle is None and entry.task is None and self._now() >= entry.retry_at:
            self._start(source, entry)

    async def content(self, source: Source) -> bytes:
        """Return the verified bundle, from memory or fetched; `FetchError`."""
        entry = self._entry(source)
        held = self._held.get(source.sha256)
        # A bundle in memory is given only to who has shown that it can reach it: namespaces do not share.
        if held is not None and entry.known.bundle is not None:
            self._held.move_to_end(source.sha256)
            return held
        if entry.task is None:
            if self._now() < entry.retry_at and entry.known.failure is not None:
                raise FetchError(*entry.known.failure)
            self._start(source, entry)
        if entry.task is not None:
            await asyncio.shield(entry.task)
        held = self._held.get(source.sha256)
        if entry.known.failure is not None or held is None:
            raise FetchError(*(entry.known.failure or (ClassifierReadyReason.FETCH_FAILED, "not fetched")))
        return held

    async def close(self) -> None:
        """End what is under way."""
        tasks = [entry.task for entry in self._entries.values() if entry.task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _now(self) -> float:
        return asyncio.get_running_loop().time()

    def _entry(self, source: Source) -> _Entry:
        entry = self._entries.setdefault(source, _Entry())
        self._entries.move_to_end(source)
        while len(self._entries) > SOURCES:
            oldest = next(iter(self._entries))
            if self._entries[oldest].task is not None:
                break
            del self._entries[oldest]
        return entry

    def _start(self, source: Source, entry: _Entry) -> None:
        entry.task = asyncio.create_task(self._attempt(source, entry), name=f"fetch {source.sha256[:12]}")

    async def _attempt(self, source: Source, entry: _Entry) -> None:
        """Fetch once and note the outcome; never raises but when cancelled."""
        before = entry.known
        try:
            async with self._slots:
                content = await self._fetch(source)
            bundle = await asyncio.to_thread(self._verify, source, content)
        except FetchError as error:
            entry.errors += 1
            entry.retry_at = self._now() + BACKOFF.delay(entry.errors, self._rng)
            entry.known = Artifact(before.bundle, (error.reason, error.message))
            self._metrics.fetches.labels(error.reason.value).inc()
        else:
            entry.errors, entry.retry_at = 0, 0.0
            entry.known = Artifact(bundle)
            self._hold(source.sha256, content)
            self._metrics.fetches.labels("ok").inc()
        finally:
            entry.task = None
        self._changed(source)

    def _verify(self, source: Source, content: bytes) -> Bundle:
        digest = hashlib.sha256(content).hexdigest()
        if digest != source.sha256:
            words = (
                f"spec.strategy.classifier.artifact.sha256: {source.public_uri} has {digest}, "
                f"the policy wants {source.sha256}; write the digest of the bundle that you mean"
            )
            raise FetchError(ClassifierReadyReason.DIGEST_MISMATCH, words)
        try:
            return self._describe(content)
        except ValueError as error:
            words = f"{source.public_uri} is no bundle that this version serves: {error}"
            raise FetchError(ClassifierReadyReason.BUNDLE_REJECTED, words) from error

    def _hold(self, sha256: str, content: bytes) -> None:
        self._held[sha256] = content
        self._held.move_to_end(sha256)
        while sum(map(len, self._held.values())) > self._limit and len(self._held) > 1:
            self._held.popitem(last=False)
        self._metrics.bytes.set(sum(map(len, self._held.values())))
