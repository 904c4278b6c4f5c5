"""Sends a request to one tier through Envoy's shadow listener: Envoy has the keys, the evaluator has none."""

from __future__ import annotations

import asyncio
import logging
import random
import time
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import TYPE_CHECKING, Final

import aiohttp
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from pointsman.contract import SHADOW_ID_PREFIX, Header
from pointsman.evaluator.shadow.reply import Reply
from pointsman.evaluator.tls import Renewed, TLSFiles

if TYPE_CHECKING:
    import ssl
    from collections.abc import Mapping

log = logging.getLogger(__name__)

CONNECT_S: Final = 5.0
SLACK_S: Final = 5.0
"""Beyond the tier's own total time-out, which Envoy keeps: it answers 504 then."""
MOST_BYTES: Final = 8 << 20
"""What is read of an answer."""
GOODBYE_S: Final = 0.25
"""For TLS connections that say goodbye in the background: aiohttp does not wait for them (its documentation,
"Graceful Shutdown")."""
ATTEMPTS: Final = 2
"""At an answer's begin. What a tier answers is never asked for again: it is the evidence."""


@dataclass(frozen=True, slots=True)
class Question:
    """A request to one tier."""

    gateway: str
    target: str
    """`namespace/policy/revision/tier`."""
    deadline_s: float
    """The tier's total time-out."""
    path: str
    body: bytes = field(repr=False)
    request_id: str
    """It gets the prefix that tells replays from clients' requests."""


class UnavailableError(Exception):
    """Envoy's shadow listener gave no answer of a tier: nothing is known of the tier."""


class ReplayMetrics:
    """How replays fare."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.replays = Counter(
            "pointsman_shadow_replays_total",
            "Requests sent to a tier through Envoy's shadow listener, of shadow and gate; "
            "outcome is answered, refused (by the tier, or empty) or unavailable (no way to the tier).",
            ["stage", "outcome"],
            registry=registry,
        )
        self.seconds = Histogram(
            "pointsman_shadow_replay_duration_seconds",
            "Duration of a replay to the end of its answer.",
            ["stage"],
            registry=registry,
            buckets=(0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 20, 40, 80, 160, 320),
        )
        self.under_way = Gauge(
            "pointsman_shadow_replays_under_way", "Replays that wait for an answer.", registry=registry
        )


class Replayer:
    """One HTTP client to the shadow listeners. `urls`: by gateway, "" for all others; they may change."""

    def __init__(self, urls: Mapping[str, str], metrics: ReplayMetrics, tls: TLSFiles | None = None) -> None:
        """`tls`: the certificate to show, and who signs Envoy's; None where the URLs are http://."""
        self._urls = urls
        self._metrics = metrics
        self._tls = tls
        self._renewed: Renewed | None = None
        self._session: aiohttp.ClientSession | None = None

    def reaches(self, gateway: str) -> bool:
        """Tell whether a shadow listener of this gateway's Envoys is known."""
        return gateway in self._urls or "" in self._urls

    async def close(self) -> None:
        """Close all connections."""
        if self._session is not None:
            await self._session.close()
            self._session = None
            await asyncio.sleep(GOODBYE_S)

    async def send(self, stage: str, question: Question) -> Reply:
        """Return a tier's answer, perhaps an error; raise `UnavailableError`. `stage`: shadow or gate."""
        gateway = question.gateway
        url = self._urls.get(gateway) or self._urls.get("")
        if url is None:
            words = f"no shadow listener of gateway {gateway} is known; make the gateway, or set --shadow-url"
            raise UnavailableError(words)
        headers = {
            Header.SHADOW.value: question.target,
            Header.REQUEST_ID.value: f"{SHADOW_ID_PREFIX}{question.request_id}",
            "content-type": "application/json",
        }
        begin = time.monotonic()
        try:
            with self._metrics.under_way.track_inprogress():
                async with asyncio.timeout(question.deadline_s + SLACK_S):
                    reply, served = await self._whole(f"{url}{question.path}", question.body, headers)
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            self._metrics.replays.labels(stage, "unavailable").inc()
            raise UnavailableError(f"shadow listener of gateway {gateway}: {type(error).__name__}") from error
        if reply.status == HTTPStatus.NOT_FOUND and not served:
            self._metrics.replays.labels(stage, "unavailable").inc()
            raise UnavailableError(f"Envoy has no way to {question.target} yet")
        self._metrics.replays.labels(stage, "answered" if reply.answered else "refused").inc()
        self._metrics.seconds.labels(stage).observe(time.monotonic() - begin)
        return reply

    async def _whole(self, url: str, body: bytes, headers: Mapping[str, str]) -> tuple[Reply, bool]:
        """Send, again if the answer breaks off: a tier that fails does it twice, a killed Envoy does not."""
        try:
            return await self._post(url, body, headers)
        except _BrokenOffError:
            await asyncio.sleep(random.uniform(0.5, 1.0))  # noqa: S311 - jitter
        try:
            return await self._post(url, body, headers)
        except _BrokenOffError as error:
            return error.reply, error.served

    async def _post(self, url: str, body: bytes, headers: Mapping[str, str]) -> tuple[Reply, bool]:
        """Send, again if the connection fails before an answer; return it, and whether a tier gave it."""
        for attempt in range(1, ATTEMPTS + 1):
            try:
                async with self._client().post(
                    url, data=body, headers=headers, allow_redirects=False, ssl=self._ssl()
                ) as response:
                    return await _read(response), Header.SERVED_TIER in response.headers
            except aiohttp.ClientConnectionError:  # refused, or an idle one that Envoy closed just then
                if attempt == ATTEMPTS:
                    raise
            await asyncio.sleep(random.uniform(0.05, 0.2))  # noqa: S311 - jitter
        raise AssertionError("unreachable")

    def _client(self) -> aiohttp.ClientSession:
        if self._session is None:
            connector = aiohttp.TCPConnector(limit=0)  # the callers bound it
            self._session = aiohttp.ClientSession(
                connector=connector,
                timeout=aiohttp.ClientTimeout(total=None, connect=CONNECT_S),
                auto_decompress=True,
                trust_env=False,
            )
        return self._session

    def _ssl(self) -> ssl.SSLContext | bool:
        """Return the context by the files as they are now: a new one begins connections of its own."""
        if self._tls is None:
            return True
        if self._renewed is None:
            self._renewed = Renewed(self._tls, TLSFiles.client_context)
        return self._renewed.get()


class _BrokenOffError(Exception):
    def __init__(self, reply: Reply, *, served: bool) -> None:
        super().__init__()
        self.reply, self.served = reply, served


async def _read(response: aiohttp.ClientResponse) -> Reply:
    """Return the answer, or its beginning where it is very long."""
    parts, size = [], 0
    kind = response.headers.get("content-type", "")
    try:
        async for chunk in response.content.iter_any():
            parts.append(chunk)
            size += len(chunk)
            if size > MOST_BYTES:
                response.close()
                return Reply(response.status, kind, b"".join(parts)[:MOST_BYTES], cut=True)
    except (aiohttp.ClientPayloadError, aiohttp.ClientConnectionError) as error:
        reply = Reply(response.status, kind, b"".join(parts), broken=True)
        raise _BrokenOffError(reply, served=Header.SERVED_TIER in response.headers) from error
    return Reply(response.status, kind, b"".join(parts))
