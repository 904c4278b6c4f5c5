"""This replica among the others: does it lead, may its counts be shown, who has died."""

from __future__ import annotations

import asyncio
import logging
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from prometheus_client import Counter, Gauge

from pointsman.evaluator.store import StoreError, TakenError
from pointsman.evaluator.store.postgres import Postgres
from pointsman.evaluator.store.replicas import LEASE_S, TRUSTED_S, Behind, Replica, beat

if TYPE_CHECKING:
    from collections.abc import Callable

    from prometheus_client import CollectorRegistry

    from pointsman.evaluator.store.address import Server
    from pointsman.evaluator.store.replicas import Beat
    from pointsman.evaluator.writer import Writer

log = logging.getLogger(__name__)

BEAT_S: Final = 2.0


@dataclass(frozen=True, slots=True)
class Terms:
    """How long is long, in seconds; tests take shorter ones."""

    beat_s: float = BEAT_S
    trusted_s: float = TRUSTED_S
    lease_s: float = LEASE_S


class MemberMetrics:
    """How this replica stands."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.beats = Counter(
            "pointsman_evaluator_heartbeats_total",
            "Heartbeats to the store's database; outcome is ok or error.",
            ["outcome"],
            registry=registry,
        )
        self.live = Gauge(
            "pointsman_evaluator_replicas", "Evaluators that share the store.", registry=registry
        )
        self.leads = Gauge(
            "pointsman_evaluator_leader",
            "1 where this replica sweeps, runs gates and asks Envoys for losses.",
            registry=registry,
        )
        self.adopted = Counter(
            "pointsman_evaluator_adoptions_total",
            "Replicas that were gone and whose counts this one has taken over.",
            registry=registry,
        )


@dataclass
class Member:
    """One of several. `run` keeps it one; it ends with `TakenError` where another run has its name."""

    server: Server
    replica: Replica
    clock_us: Callable[[], int]
    metrics: MemberMetrics
    terms: Terms = field(default_factory=Terms)
    shared = True

    def __post_init__(self) -> None:
        self._db = Postgres(self.server)
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="heartbeat")
        self._last: Beat | None = None
        self._at = self._steady_since = float("-inf")
        self._offset_us = 0
        self._chore: asyncio.Task[None] | None = None
        self.unscored_us: Callable[[], int] = _nothing
        """How old the oldest request is that we have received and not scored."""
        self.on_forgotten: Callable[[], None] = _ignore
        """Called when anybody had a session deleted."""

    @property
    def name(self) -> str:
        """This replica's name."""
        return self.replica.name

    @property
    def trusted(self) -> bool:
        """Whether a heartbeat has worked lately."""
        fresh = time.monotonic() - self._at < self.terms.trusted_s
        return fresh and self._last is not None and self._last.member

    @property
    def leads(self) -> bool:
        """Whether it leads, and knows it from a heartbeat of just now."""
        return self.trusted and self._last is not None and self._last.leads

    @property
    def live(self) -> frozenset[str]:
        """Replicas that the last heartbeat saw."""
        return (self._last.live if self._last else frozenset()) | {self.name}

    def stored_until_us(self, now_us: int) -> int:
        """Return what all live replicas last said, by our clock; long ago while nothing is known."""
        return min(now_us, self._last.stored_until_us - self._offset_us) if self.trusted and self._last else 0

    def silent_us(self) -> int | None:
        """Return what the silent ones last said, by our clock."""
        silent = self._last.silent_us if self._last else None
        return silent - self._offset_us if silent is not None else None

    async def run(self, writer: Writer) -> None:
        """Say that we live, again and again; take over who does not."""
        try:
            while True:
                await self._once(writer)
                await asyncio.sleep(self.terms.beat_s)
        finally:
            if self._chore is not None:
                self._chore.cancel()
            self._thread.submit(self._db.close)  # after what it may be at
            self._thread.shutdown(wait=False)

    async def _once(self, writer: Writer) -> None:
        begin = time.monotonic()
        try:
            found = await asyncio.get_running_loop().run_in_executor(
                self._thread,
                beat,
                self._db,
                self.replica,
                Behind(round(writer.backlog_s * 1_000_000), self.unscored_us()),
                self.terms.lease_s,
                self.terms.trusted_s,
            )
        except TakenError:
            raise
        except StoreError as error:
            self._steady_since = float("inf")
            self.metrics.beats.labels("error").inc()
            log.warning("no heartbeat to the store: %s", error)
            return
        self.metrics.beats.labels("ok").inc()
        self._take(found, begin)
        if self._chore is not None and not self._chore.done():
            return  # it may have to wait for a write: a heartbeat does not
        if not found.member:
            self._chore = asyncio.create_task(self._again(writer))
        elif found.leads and found.dead and begin - self._steady_since >= self.terms.lease_s:
            # After an outage of the database all have been silent: they get a lease's time to speak.
            self._chore = asyncio.create_task(self._inherit(writer, found.dead))

    def _take(self, found: Beat, begin: float) -> None:
        before, self._last = self._last, found
        self._at = begin
        self._offset_us = found.now_us - self.clock_us()
        self._steady_since = (
            begin if self._steady_since in {float("inf"), float("-inf")} else self._steady_since
        )
        self.metrics.live.set(len(found.live))
        self.metrics.leads.set(found.leads)
        if before is not None and found.leads and not before.leads:
            log.info("this evaluator leads", extra={"replica": self.name})
        if before is not None and found.forgotten_us > before.forgotten_us:
            self.on_forgotten()

    async def _again(self, writer: Writer) -> None:
        try:
            await writer.join_anew()
        except StoreError as error:
            log.warning("cannot join the other evaluators yet: %s", error)

    async def _inherit(self, writer: Writer, dead: tuple[str, ...]) -> None:
        for name in dead:
            try:
                done = await writer.inherit(name, self.terms.lease_s)
            except StoreError as error:
                log.warning("cannot take over replica %s yet: %s", name, error)
                continue
            if done:
                self.metrics.adopted.inc()
                log.info("took over an evaluator that is gone", extra={"replica": name})


def _nothing() -> int:
    return 0


def _ignore() -> None:
    """Nobody listens."""
