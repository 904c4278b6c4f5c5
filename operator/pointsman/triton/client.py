"""The only door to Triton: its repository API and a probe, each call with a deadline, retries and metrics."""

from __future__ import annotations

import asyncio
import json
import random
import time
from collections.abc import Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final, TypeVar
from urllib.parse import urlsplit

import aiohttp
import numpy as np
from prometheus_client import CollectorRegistry, Counter, Histogram
from tritonclient.http import InferInput
from tritonclient.http.aio import InferenceServerClient
from tritonclient.utils import InferenceServerException

from pointsman.triton.reply import HEAD_SIZE, ReplyError, decode

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from pointsman.triton.repository import Probe

T = TypeVar("T")

LOOK_S: Final = 3.0
LOAD_S: Final = 60.0
PROBE_S: Final = 5.0
OK: Final = 200
NO_HEADERS: Final[Mapping[str, str]] = MappingProxyType({})
ATTEMPTS: Final = 2
"""Attempts of a call that may be repeated (all here but load, which the caller repeats with a back-off)."""


class TritonError(Exception):
    """Triton refused: its words, without the traceback that a model's code may have added."""


class TritonUnreachableError(TritonError):
    """No answer within the deadline, or no connection."""


class TritonNonsenseError(TritonError):
    """Triton answered, but not with scores and an intent."""


class TritonMetrics:
    """Calls of Triton's API. Endpoints are few and named by the policies, so they are a label."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.calls = Counter(
            "pointsman_triton_calls_total",
            "Calls of Triton's API; outcome is ok, refused, nonsense or unreachable.",
            ["endpoint", "call", "outcome"],
            registry=registry,
        )
        self.duration = Histogram(
            "pointsman_triton_call_duration_seconds",
            "Duration of one call with its retries.",
            ["call"],
            registry=registry,
            buckets=(0.002, 0.005, 0.01, 0.05, 0.1, 0.5, 1, 2, 5, 10, 30, 60),
        )


class TritonClient:
    """Calls to any number of Triton servers, each named by its URL `http://HOST:PORT`."""

    def __init__(
        self, metrics: TritonMetrics, control: Callable[[], Mapping[str, str]] = lambda: NO_HEADERS
    ) -> None:
        """`control`: headers that a Triton with a restricted API demands."""
        self._metrics = metrics
        self._control = control
        self._clients: dict[str, InferenceServerClient] = {}
        self._raw: aiohttp.ClientSession | None = None

    async def close(self) -> None:
        """Close all connections."""
        if self._raw is not None:
            await self._raw.close()
            self._raw = None
        for client in self._clients.values():
            await client.close()
        self._clients.clear()

    async def forget(self, url: str) -> None:
        """Close the connections to a server that is needed no more."""
        client = self._clients.pop(url, None)
        if client is not None:
            await client.close()

    async def loaded(self, url: str) -> frozenset[str]:
        """Return the names of the models that the server serves now.

        From its statistics, which list exactly those: the repository index omits what was loaded inline.
        """

        async def call(client: InferenceServerClient) -> frozenset[str]:
            statistics: dict[str, Any] = await client.get_inference_statistics(headers=dict(self._control()))
            return frozenset(entry["name"] for entry in statistics["model_stats"])

        return await self._call(url, "statistics", LOOK_S, call, attempts=ATTEMPTS)

    async def ensure(
        self, url: str, model: str, config: Mapping[str, Any], files: Mapping[str, bytes]
    ) -> None:
        """Load a model from these files (keys `file:<path>`); returns once it is ready and warm."""

        async def call(client: InferenceServerClient) -> None:
            headers = dict(self._control())
            await client.load_model(model, headers, config=json.dumps(config), files=dict(files))

        await self._call(url, "load", LOAD_S, call, attempts=1)

    async def ready(self, url: str, model: str) -> bool:
        """Tell whether the server serves the model."""
        return model in await self.loaded(url)

    async def probe(self, url: str, model: str, probe: Probe) -> str | None:
        """Ask a loaded model the probe's request; say how its answer differs from what is due, or None."""
        scores, intent = await self.classify(url, model, probe.body)
        return probe.differs(scores, intent)

    async def classify(self, url: str, model: str, body: bytes) -> tuple[list[float], str]:
        """Return scores and intent of a request, as Envoy would get them."""

        async def call(client: InferenceServerClient) -> tuple[list[float], str]:
            text = InferInput("request", [1, 1], "BYTES")
            text.set_data_from_numpy(np.array([[body]], dtype=np.object_))
            result = await client.infer(model, [text])
            scores = [float(score) for score in np.asarray(result.as_numpy("score")).reshape(-1)]
            return scores, _text(np.asarray(result.as_numpy("intent")).reshape(-1)[0])

        return await self._call(url, "infer", PROBE_S, call, attempts=ATTEMPTS)

    async def ask(
        self, url: str, model: str, body: bytes, deadline_s: float
    ) -> tuple[tuple[float, ...], str]:
        """Return scores and intent of a request in the very form in which Envoy asks; tried once.

        Half the CPU of `classify`: for callers with a request's rate.
        """
        started = time.monotonic()
        try:
            async with asyncio.timeout(deadline_s):
                status, head_size, answer = await self._post(
                    f"{url.rstrip('/')}/v2/models/{model}/infer", body
                )
            if status != OK:
                self._count(url, "ask", "refused")
                raise TritonError(_refusal(answer, status))
            scores, intent = decode(head_size, answer)
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            self._count(url, "ask", "unreachable")
            raise TritonUnreachableError(_words(error, deadline_s)) from error
        except ReplyError as error:
            self._count(url, "ask", "nonsense")
            raise TritonNonsenseError(str(error)) from error
        finally:
            self._metrics.duration.labels("ask").observe(time.monotonic() - started)
        self._count(url, "ask", "ok")
        return scores, intent

    async def _post(self, url: str, body: bytes) -> tuple[int, str | None, bytes]:
        if self._raw is None:
            self._raw = aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0))  # callers bound it
        headers = {HEAD_SIZE: "0", "content-type": "application/octet-stream"}
        async with self._raw.post(url, data=body, headers=headers) as response:
            return response.status, response.headers.get(HEAD_SIZE), await response.read()

    async def unload(self, url: str, model: str) -> None:
        """Unload a model; one that is not there is fine."""

        async def call(client: InferenceServerClient) -> None:
            await client.unload_model(model, dict(self._control()))

        await self._call(url, "unload", LOOK_S, call, attempts=ATTEMPTS)

    def _client(self, url: str) -> InferenceServerClient:
        if url not in self._clients:
            self._clients[url] = InferenceServerClient(urlsplit(url).netloc, conn_timeout=LOAD_S)
        return self._clients[url]

    async def _call(
        self,
        url: str,
        name: str,
        deadline_s: float,
        call: Callable[[InferenceServerClient], Awaitable[T]],
        *,
        attempts: int,
    ) -> T:
        """Call until answered, at most `attempts` times; `TritonError`s say how it failed."""
        started = time.monotonic()
        try:
            for attempt in range(1, attempts + 1):
                try:
                    async with asyncio.timeout(deadline_s):
                        result = await call(self._client(url))
                except (aiohttp.ClientError, OSError, TimeoutError) as error:
                    if attempt == attempts:
                        self._count(url, name, "unreachable")
                        raise TritonUnreachableError(_words(error, deadline_s)) from error
                except InferenceServerException as error:
                    self._count(url, name, "refused")
                    raise TritonError(_first_line(str(error.message()))) from error
                else:
                    self._count(url, name, "ok")
                    return result
                await asyncio.sleep(random.uniform(0, 0.2))  # noqa: S311 - jitter
            raise AssertionError("unreachable")
        finally:
            self._metrics.duration.labels(name).observe(time.monotonic() - started)

    def _count(self, url: str, name: str, outcome: str) -> None:
        self._metrics.calls.labels(url, name, outcome).inc()


def _refusal(answer: bytes, status: int) -> str:
    """Return the words of an error answer, `{"error": …}`."""
    try:
        return _first_line(str(json.loads(answer)["error"]))
    except (ValueError, TypeError, KeyError):
        return f"status {status}"


def _text(value: Any) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)


def _words(error: Exception, deadline_s: float) -> str:
    if isinstance(error, TimeoutError):
        return f"no answer within {deadline_s:g} s"
    if isinstance(error, aiohttp.ClientConnectorError):
        return "connection refused" if isinstance(error.os_error, ConnectionRefusedError) else "no connection"
    return type(error).__name__


def _first_line(message: str) -> str:
    """Return the gist of an error: of a model's traceback the exception itself, in at most 300 characters."""
    lines = [line.strip() for line in message.splitlines() if line.strip()]
    raised = [line for line in lines if "Error: " in line or "Exception: " in line]
    return (raised[0] if raised else (lines or ["no reason given"])[0])[:300]
