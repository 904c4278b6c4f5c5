"""The agent's way to the operator: the list of models by long poll, bundles by digest, over mutual TLS."""

from __future__ import annotations

import json
import time
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Final

import aiohttp
from prometheus_client import CollectorRegistry, Counter, Histogram

from pointsman.api.conditions import ClassifierReadyReason
from pointsman.fetching import LIMIT_BYTES, FetchError
from pointsman.pools import models
from pointsman.tls_files import Renewed, TLSFiles

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from pointsman.pools.models import ModelList

WAIT_S: Final = 25
"""A long poll is answered after this time at the latest."""
MARGIN_S: Final = 5.0
BUNDLE_S: Final = 70.0
"""The operator may have to fetch it first, within its own deadline of 60 s."""
CONNECT_S: Final = 3.0
_UNCHANGED: Final = 304
_OK: Final = 200


class OperatorAwayError(Exception):
    """No operator answered, or not with what was asked for; the text says why."""


class DoorMetrics:
    """Calls of the operator."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.calls = Counter(
            "pointsman_agent_operator_calls_total",
            "Calls of the operator; outcome is ok, unchanged, refused or unreachable.",
            ["call", "outcome"],
            registry=registry,
        )
        self.duration = Histogram(
            "pointsman_agent_operator_call_duration_seconds",
            "Duration of one call; a long poll takes as long as nothing changes.",
            ["call"],
            registry=registry,
            buckets=(0.01, 0.05, 0.1, 0.5, 1, 5, 10, 30, 60),
        )


class OperatorDoor:
    """Calls of the operator's bundle service."""

    def __init__(self, url: str, tls: TLSFiles | None, metrics: DoorMetrics) -> None:
        """`tls`: our certificate, and the authority of the operator's; None where `url` is http://."""
        self._url = url.rstrip("/")
        self._tls = Renewed(tls, TLSFiles.client_context) if tls is not None else None
        self._metrics = metrics
        self._session: aiohttp.ClientSession | None = None

    async def close(self) -> None:
        """Close the connections."""
        if self._session is not None:
            await self._session.close()

    async def models(self, pool: str, since: str, wait_s: int = WAIT_S) -> ModelList | None:
        """Return the pool's list once it is another than `since`; None: it is not. `OperatorAwayError`."""
        query = {"since": since, "wait": str(wait_s)}
        async with self._get("models", f"/v1/pools/{pool}", query, wait_s + MARGIN_S) as response:
            body = await response.text()
            if response.status == _UNCHANGED:
                return None
            if response.status != _OK:
                raise OperatorAwayError(f"the operator answers {response.status}: {body[:200].strip()}")
        try:
            return models.parse(body)
        except ValueError as error:
            raise OperatorAwayError(str(error)) from error

    async def bundle(self, sha256: str) -> bytes:
        """Return a bundle, unverified; `FetchError` with the operator's own reason where it has one."""
        try:
            async with self._get("bundle", f"/v1/bundles/{sha256}", {}, BUNDLE_S) as response:
                content = await response.content.read(LIMIT_BYTES + 1) if response.status == _OK else b""
                while response.status == _OK and len(content) <= LIMIT_BYTES:
                    more = await response.content.read(LIMIT_BYTES + 1 - len(content))
                    if not more:
                        break
                    content += more
                refusal = "" if response.status == _OK else await response.text()
                status = response.status
        except OperatorAwayError as error:
            raise FetchError(ClassifierReadyReason.FETCH_FAILED, str(error)) from error
        if status != _OK:
            raise _refused(status, refusal)
        return content

    @asynccontextmanager
    async def _get(
        self, call: str, path: str, query: dict[str, str], deadline_s: float
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        """Ask, counted and timed; everything that ends a connection is `OperatorAwayError`."""
        started, outcome = time.monotonic(), "unreachable"
        if self._session is None:
            self._session = aiohttp.ClientSession()
        limits = aiohttp.ClientTimeout(total=deadline_s, sock_connect=CONNECT_S)
        trust = self._tls.get() if self._tls is not None else True
        try:
            async with self._session.get(
                self._url + path, params=query, timeout=limits, ssl=trust
            ) as response:
                outcome = {_OK: "ok", _UNCHANGED: "unchanged"}.get(response.status, "refused")
                yield response
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            outcome = "unreachable"
            words = "no answer in time" if isinstance(error, TimeoutError) else str(error)
            raise OperatorAwayError(
                f"the operator does not answer: {words or type(error).__name__}"
            ) from error
        finally:
            self._metrics.calls.labels(call, outcome).inc()
            self._metrics.duration.labels(call).observe(time.monotonic() - started)


def _refused(status: int, body: str) -> FetchError:
    """Return the operator's refusal, `{"reason": …, "message": …}`."""
    fallback = ClassifierReadyReason.FETCH_FAILED
    try:
        plain = json.loads(body)
        reason, message = str(plain["reason"]), str(plain["message"])
    except (ValueError, KeyError, TypeError):
        return FetchError(fallback, f"the operator answers {status}: {body[:200].strip()}")
    return FetchError(next((known for known in ClassifierReadyReason if known == reason), fallback), message)
