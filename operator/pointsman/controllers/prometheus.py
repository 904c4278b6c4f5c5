"""One Prometheus, asked by a thread: with a deadline, a limit to what it may answer, and metrics."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

import requests
from prometheus_api_client import PrometheusApiClientException, PrometheusConnect
from prometheus_client import Counter, Histogram
from urllib3.util import Retry

from pointsman.rollout.reading.series import Series, parse

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from prometheus_client import CollectorRegistry

CONNECT_S: Final = 2.0
READ_S: Final = 5.0
"""Longest silence."""
DEADLINE_S: Final = 10.0
"""Longest answer."""
LIMIT_BYTES: Final = 64 * 1024 * 1024
_WARNINGS: Final = b'"warnings":['
_CHUNK: Final = 1 << 18


class PrometheusError(Exception):
    """There is no whole answer. The message is for people and names no secret."""


class PrometheusMetrics:
    """What asking costs and how it ends."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.queries = Counter(
            "pointsman_operator_prometheus_queries_total",
            "Queries; outcome is ok or error.",
            ["outcome"],
            registry=registry,
        )
        self.duration = Histogram(
            "pointsman_operator_prometheus_query_duration_seconds",
            "Duration of one query with its retry.",
            registry=registry,
            buckets=(0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10),
        )
        self.bytes = Counter(
            "pointsman_operator_prometheus_bytes_total", "Bytes of answers, decoded.", registry=registry
        )


class _Session(requests.Session):
    """Reads at most `LIMIT_BYTES` and for `DEADLINE_S`: the server is whatever a policy names."""

    def __init__(self, count_bytes: Callable[[int], None]) -> None:
        super().__init__()
        self._count_bytes = count_bytes

    def request(self, *args: Any, **kwargs: Any) -> requests.Response:
        """Send a request and read its answer."""
        end = time.monotonic() + DEADLINE_S
        response = super().request(*args, **(kwargs | {"stream": True, "allow_redirects": False}))
        content = bytearray()
        with response:
            for chunk in response.iter_content(_CHUNK):
                content += chunk
                if len(content) > LIMIT_BYTES:
                    raise PrometheusError(f"answers with more than {LIMIT_BYTES >> 20} MiB")
                if time.monotonic() > end:
                    raise PrometheusError(f"takes longer than {DEADLINE_S:.0f} s to answer")
        self._count_bytes(len(content))
        # a query front end that says so itself: some of its stores did not answer
        if response.ok and _WARNINGS in content[-65536:]:
            raise PrometheusError("answers in part, with warnings")
        response._content = bytes(content)  # noqa: SLF001 - how requests itself keeps what it has read
        return response


class Prometheus:
    """Blocking: for a thread. `PrometheusError` whatever goes wrong."""

    def __init__(self, url: str, metrics: PrometheusMetrics) -> None:
        self.url = url.rstrip("/")
        self._metrics = metrics
        retry = Retry(total=1, backoff_factor=0.1, status_forcelist=(502, 503, 504), raise_on_status=False)
        session = _Session(metrics.bytes.inc)
        self._connect = PrometheusConnect(self.url, retry=retry, session=session, timeout=(CONNECT_S, READ_S))

    def ask(self, query: str, at_ms: int | None = None) -> list[Series]:
        """Return an instant query's series, at a Unix time in ms or now."""
        params = {} if at_ms is None else {"time": _seconds(at_ms)}
        return self._ask(lambda: self._connect.custom_query(query, params=params | _WHOLE))

    def ask_at(self, query: str, times: Sequence[int]) -> list[Series]:
        """Return the series at each of some equally distant Unix times in ms."""
        step = times[1] - times[0] if len(times) > 1 else 1000
        # the library rounds its own arguments to whole seconds
        params = {"start": _seconds(times[0]), "end": _seconds(times[-1])} | _WHOLE
        nobody = datetime.fromtimestamp(0, tz=UTC)
        return self._ask(
            lambda: self._connect.custom_query_range(query, nobody, nobody, _seconds(step), params=params)
        )

    def close(self) -> None:
        """Close the connections."""
        self._connect.close()

    def _ask(self, call: Callable[[], Any]) -> list[Series]:
        started, outcome = time.monotonic(), "error"
        try:
            found = parse(call())
            outcome = "ok"
        except requests.RequestException as error:
            raise PrometheusError(f"{self.url} does not answer ({type(error).__name__})") from error
        except PrometheusApiClientException as error:
            raise PrometheusError(f"{self.url} refuses: {str(error)[:200]}") from error
        except PrometheusError as error:
            raise PrometheusError(f"{self.url} {error}") from error
        except (ValueError, KeyError, TypeError, AttributeError, IndexError) as error:
            raise PrometheusError(
                f"{self.url} does not answer as Prometheus does ({error!r})"[:300]
            ) from error
        finally:
            self._metrics.queries.labels(outcome).inc()
            self._metrics.duration.observe(time.monotonic() - started)
        return found


_WHOLE: Final = {"partial_response": "false"}
"""Thanos and its like: an error rather than a part. Prometheus itself does not mind."""


def _seconds(at_ms: int) -> str:
    return f"{at_ms / 1000:.3f}"
