"""Asks Envoys how many requests they have finished, to know what their access logs lost on the way.

What an Envoy finished after the last look at it, and had not delivered when it went, cannot be known. Such an
Envoy is counted by what the last look saw; one that is about to end is looked at each second.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any, Final

import httpx

from pointsman.contract import ENTRY_STAT_PREFIX
from pointsman.evaluator.membership import Solo
from pointsman.evaluator.store import StoreError
from pointsman.evaluator.writer import micros

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from pointsman.clock import Clock
    from pointsman.evaluator.envoys import Target
    from pointsman.evaluator.membership import Membership
    from pointsman.evaluator.metrics import ProcessMetrics
    from pointsman.evaluator.writer import Writer

log = logging.getLogger(__name__)

DEADLINE_S: Final = 2.0
ATTEMPTS: Final = 2
HORIZON_US: Final = 250_000
"""What ended this long after a look may still be part of it, when clocks agree."""
AT_A_TIME: Final = 8
"""Envoys that are looked at side by side."""
KEPT: Final = 64
"""Connections that are kept between looks."""
ENDING_S: Final = 1.0
"""Between looks at an Envoy that is about to end."""
DATE_US: Final = 1_500_000
"""A `date` header is cut to the second and refreshed twice in it: Envoy's clock is ahead by this at most."""


@dataclass(frozen=True, slots=True)
class Look:
    """One look at an Envoy."""

    node: str
    finished: int
    horizon_us: int
    """Requests that ended later (Envoy's clock) are certainly not part of `finished`."""
    active: int = 0
    """Requests under way."""


class EnvoyAdmin:
    """The admin address of one Envoy."""

    def __init__(self, client: httpx.AsyncClient, url: str, metrics: ProcessMetrics, clock: Clock) -> None:
        self._client = client
        self._url = url.rstrip("/")
        self._metrics = metrics
        self._clock = clock
        self._failure = ""

    async def look(self) -> Look | None:
        """Return the count now; None (logged once, counted) if Envoy does not answer or restarts."""
        for _ in range(ATTEMPTS):
            begin = time.monotonic()
            try:
                async with asyncio.timeout(DEADLINE_S):
                    look = await self._attempt()
            except (httpx.HTTPError, TimeoutError, ValueError, LookupError, TypeError) as error:
                self._metrics.polls.labels("error").inc()
                self._failed(f"{type(error).__name__}: {error}")
                continue
            finally:
                self._metrics.poll_seconds.observe(time.monotonic() - begin)
            self._metrics.polls.labels("ok").inc()
            self._failure = ""
            return look
        return None

    async def _attempt(self) -> Look:
        node, _ = await self._node()
        # In this order: what begins between the two looks is taken for unfinished, never for finished.
        total = await self._counter(f"http.{ENTRY_STAT_PREFIX}.downstream_rq_total")
        active = await self._counter(f"http.{ENTRY_STAT_PREFIX}.downstream_rq_active")
        again, date = await self._node()
        if again != node:
            raise ValueError("Envoy was restarted between two questions")
        now_us = micros(self._clock)
        stamp_us = round(parsedate_to_datetime(date).timestamp() * 1_000_000) if date else 0
        horizon_us = max(now_us + HORIZON_US, stamp_us + DATE_US if stamp_us else 0)
        return Look(node, total - active, horizon_us, active)

    async def _node(self) -> tuple[str, str]:
        body, date = await self._get("/server_info")
        return str(body["node"]["id"]), date

    async def _counter(self, name: str) -> int:
        # Envoy makes a counter with its first listener: none yet means none was served.
        pattern = "^" + name.replace(".", r"\.") + "$"
        body, _ = await self._get("/stats", {"filter": pattern, "format": "json"})
        found = [entry["value"] for entry in body["stats"] if entry.get("name") == name]
        return int(found[0]) if found else 0

    async def _get(self, path: str, query: dict[str, str] | None = None) -> tuple[dict[str, Any], str]:
        response = await self._client.get(self._url + path, params=query)
        response.raise_for_status()
        body = response.json()
        if not isinstance(body, dict):
            raise TypeError(f"{path}: no JSON object")
        return body, response.headers.get("date", "")

    def _failed(self, why: str) -> None:
        if why != self._failure:
            log.warning("cannot count the requests of the Envoy at %s: %s", self._url, why)
        self._failure = why


class _Watched:
    """One Envoy, and the last look at it."""

    def __init__(self, admin: EnvoyAdmin) -> None:
        self.admin = admin
        self.last: Look | None = None
        self.due_at = 0.0
        self.terminating = False

    @property
    def last_seen(self) -> str:
        """How the last look found it: with nothing under way, with something, or there was none."""
        return "never" if self.last is None else "busy" if self.last.active else "idle"


class Losses:
    """Looks at every Envoy, again and again; what still lacks after the grace time is counted as lost."""

    def __init__(
        self,
        writer: Writer,
        targets: Callable[[], Iterable[Target]],
        metrics: ProcessMetrics,
        clock: Clock,
        *,
        every_s: float = 5.0,
        grace_s: float = 3.0,
        member: Membership | None = None,
    ) -> None:
        """`targets`: who is to be looked at now. Of several replicas the one that leads looks."""
        self._member = member or Solo()
        self._led = not self._member.shared
        self._writer = writer
        self._targets = targets
        self._metrics = metrics
        self._clock = clock
        self._every_s = every_s
        self._grace_us = round(grace_s * 1_000_000)
        self._watched: dict[str, _Watched] = {}
        self._slots = asyncio.Semaphore(AT_A_TIME)
        self._moved = asyncio.Event()

    def moved(self) -> None:
        """Look at once who is there now."""
        self._moved.set()

    async def run(self) -> None:
        """Look until cancelled."""
        limits = httpx.Limits(max_connections=None, max_keepalive_connections=KEPT)
        async with httpx.AsyncClient(timeout=DEADLINE_S, limits=limits, trust_env=False) as client:
            while True:
                self._moved.clear()
                if not await self._leading():
                    await asyncio.sleep(self._every_s)
                    continue
                self._follow(client)
                now = time.monotonic()
                due = [watched for watched in self._watched.values() if watched.due_at <= now]
                await asyncio.gather(*(self._look(watched) for watched in due))
                # What any replica has received and not stored is not lost.
                until_us = self._member.stored_until_us(micros(self._clock))
                await self._writer.settle(until_us, self._grace_us, shared=self._member.shared)
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(self._pause_s()):
                        await self._moved.wait()

    async def _leading(self) -> bool:
        """Tell whether to look; who begins to takes up what is stored of the looks before."""
        if not self._member.leads:
            self._led = False
            self._watched.clear()
        elif not self._led:
            try:
                self._writer.ledger.load(await self._writer.call(lambda store: store.nodes()))
            except StoreError as error:
                log.warning("cannot read what is known of Envoys: %s", error)
                return False
            self._led = True
        return self._led

    def _follow(self, client: httpx.AsyncClient) -> None:
        """Take in who is there, and take leave of who is not."""
        targets = {target.url: target for target in self._targets()}
        for url in self._watched.keys() - targets.keys():
            self._gone(self._watched.pop(url))
        for url, target in targets.items():
            if url not in self._watched:
                self._watched[url] = _Watched(EnvoyAdmin(client, url, self._metrics, self._clock))
            watched = self._watched[url]
            if target.terminating and not watched.terminating:
                watched.due_at = 0.0
            watched.terminating = target.terminating

    async def _look(self, watched: _Watched) -> None:
        async with self._slots:
            look = await watched.admin.look()
        watched.due_at = time.monotonic() + (ENDING_S if watched.terminating else self._every_s)
        if look is None:
            return
        if watched.last is not None and watched.last.node != look.node:
            self._gone(watched)  # another Envoy at its address: it was started anew
        watched.last = look
        self._writer.ledger.looked(look.node, look.finished, micros(self._clock), look.horizon_us)

    def _gone(self, watched: _Watched) -> None:
        self._metrics.gone.labels(watched.last_seen).inc()

    def _pause_s(self) -> float:
        due_at = min((watched.due_at for watched in self._watched.values()), default=float("inf"))
        return max(0.05, min(self._every_s, due_at - time.monotonic()))
