"""Sends a request to one tier through Envoy's shadow listener: Envoy has the keys, the evaluator has none."""

from __future__ import annotations

import asyncio
import logging
import random
import ssl
import time
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import TYPE_CHECKING, Final

import aiohttp
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from pointsman.contract import SHADOW_ID_PREFIX, Header
from pointsman.evaluator.shadow.reply import Reply

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pointsman.evaluator.tls import TLSFiles

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
    """One HTTP client to the shadow listeners. `urls`: by gateway, "" for all others."""

    def __init__(self, urls: Mapping[str, str], metrics: ReplayMetrics, tls: TLSFiles | None = None) -> None:
        """`tls`: the certificate to show, and who signs Envoy's; None where the URLs are http://."""
        self._urls = {gateway: url.rstrip("/") for gateway, url in urls.items()}
        self._metrics = metrics
        self._tls = tls
        self._context: ssl.SSLContext | None = None
        self._session: aiohttp.ClientSession | None = None

    @property
    def configured(self) -> bool:
        """Whether any shadow listener is known."""
        return bool(self._urls)

    async def close(self) -> None:
        """Close all connections."""
        if self._session is not None:
            await self._session.close()
            self._session = None
            await asyncio.sleep(GOODBYE_S)

    def reload(self) -> None:
        """Read renewed certificates in, for new connections; the old ones stay where that fails."""
        if self._context is not None and self._tls is not None:
            try:
                self._tls.reload(self._context)
            except (OSError, ssl.SSLError) as error:
                log.warning("keeping the old certificate towards Envoy: %s", error)

    async def send(self, stage: str, question: Question) -> Reply:
        """Return a tier's answer, perhaps an error; raise `UnavailableError`. `stage`: shadow or gate."""
        gateway = question.gateway
        url = self._urls.get(gateway) or self._urls.get("")
        if url is None:
            raise UnavailableError(f"no shadow listener is named for gateway {gateway}; set --shadow-url")
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
                    url, data=body, headers=headers, allow_redirects=False
                ) as response:
                    return await _read(response), Header.SERVED_TIER in response.headers
            except aiohttp.ClientConnectionError:  # refused, or an idle one that Envoy closed just then
                if attempt == ATTEMPTS:
                    raise
            await asyncio.sleep(random.uniform(0.05, 0.2))  # noqa: S311 - jitter
        raise AssertionError("unreachable")

    def _client(self) -> aiohttp.ClientSession:
        if self._session is None:
            if self._tls is not None:
                self._context = ssl.create_default_context(cafile=str(self._tls.client_ca))
                self._context.load_cert_chain(self._tls.cert, self._tls.key)
            connector = aiohttp.TCPConnector(limit=0, ssl=self._context or True)  # the callers bound it
            self._session = aiohttp.ClientSession(
                connector=connector,
                timeout=aiohttp.ClientTimeout(total=None, connect=CONNECT_S),
                auto_decompress=True,
                trust_env=False,
            )
        return self._session


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
