"""Asks Envoys how many requests they have finished, to know what their access logs lost on the way."""

from __future__ import annotations

import asyncio
import logging
import time
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any, Final

import httpx

from pointsman.contract import ENTRY_STAT_PREFIX
from pointsman.evaluator.store import StoreError
from pointsman.evaluator.writer import micros

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pointsman.clock import Clock
    from pointsman.evaluator.membership import Membership
    from pointsman.evaluator.metrics import ProcessMetrics
    from pointsman.evaluator.writer import Writer

log = logging.getLogger(__name__)

DEADLINE_S: Final = 2.0
ATTEMPTS: Final = 2
HORIZON_US: Final = 250_000
"""What ended this long after a look may still be part of it, when clocks agree."""
DATE_US: Final = 1_500_000
"""A `date` header is cut to the second and refreshed twice in it: Envoy's clock is ahead by this at most."""


@dataclass(frozen=True, slots=True)
class Look:
    """One look at an Envoy."""

    node: str
    finished: int
    horizon_us: int
    """Requests that ended later (Envoy's clock) are certainly not part of `finished`."""


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
        return Look(node, total - active, max(now_us + HORIZON_US, stamp_us + DATE_US if stamp_us else 0))

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


async def watch_losses(
    writer: Writer,
    urls: Sequence[str],
    metrics: ProcessMetrics,
    clock: Clock,
    *,
    every_s: float = 5.0,
    grace_s: float = 3.0,
    member: Membership,
) -> None:
    """Look at every Envoy, again and again; what still lacks after `grace_s` is counted as lost.

    Of several replicas the one that leads does it, once all of them have stored what they had then.
    """
    led = not member.shared
    async with httpx.AsyncClient(timeout=DEADLINE_S, trust_env=False) as client:
        admins = [EnvoyAdmin(client, url, metrics, clock) for url in urls]
        while True:
            if not member.leads:
                led = False
                await asyncio.sleep(every_s)
                continue
            if not led:
                try:
                    writer.ledger.load(await writer.call(lambda store: store.nodes()))
                except StoreError as error:
                    log.warning("cannot read what is known of Envoys: %s", error)
                    await asyncio.sleep(every_s)
                    continue
                led = True
            looks = await asyncio.gather(*(admin.look() for admin in admins))
            for look in looks:
                if look is not None:
                    writer.ledger.looked(look.node, look.finished, micros(clock), look.horizon_us)
            until_us = member.stored_until_us(micros(clock))
            await writer.settle(until_us, round(grace_s * 1_000_000), shared=member.shared)
            await asyncio.sleep(every_s)
