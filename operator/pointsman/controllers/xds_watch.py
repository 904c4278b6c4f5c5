"""What Envoys have acknowledged, as the xds servers tell it (`/v1/state`, long-poll): one task a server.

Servers are named at the start, or are the replicas of a Service: who appears there is asked, who is gone is
forgotten after the grace time. Whoever terminates still has its Envoys, so it is asked as long as it answers.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

import httpx
from prometheus_client import Counter, Gauge

from pointsman import install
from pointsman.kube.endpoints import Endpoints
from pointsman.rollout.programmed import Entry, Report, Steady, programmed

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from prometheus_client import CollectorRegistry

    from pointsman.api.v1alpha1.routing_policy import RoutingPolicy
    from pointsman.kube.client import KubeClient
    from pointsman.rollout.observation import Programmed, Refusal

log = logging.getLogger(__name__)

WAIT_S: Final = 25
GRACE_S: Final = 5.0
"""A server that is away this long only restarts: its last word holds until then."""
BACKOFF_S: Final = (0.2, 5.0)

_NOT_ASKED: Final = "not asked yet"


@dataclass(slots=True)
class _Server:
    url: str
    version: int | None = None
    gateways: dict[str, tuple[int, dict[str, Entry]]] = field(default_factory=dict)
    """Gateway: (connected Envoys, policies)."""
    error: str | None = _NOT_ASKED
    away_since: float | None = None
    gone_since: float | None = None
    """Since when it is no replica any more."""
    task: asyncio.Task[None] | None = None

    def report(self, policy: RoutingPolicy) -> Report:
        """Return its word on a policy."""
        envoys, policies = self.gateways.get(policy.spec.gateway_ref.name, (0, {}))
        return Report(self.url, self.error, self.error != _NOT_ASKED, envoys, policies.get(policy.key))


class XdsWatch:
    """The last word of each xds server."""

    def __init__(
        self,
        urls: Sequence[str],
        changed: Callable[[str], None],
        everybody: Callable[[], None],
        registry: CollectorRegistry,
        *,
        grace_s: float = GRACE_S,
    ) -> None:
        """Take whom to tell of one policy's change, and of a change that may concern all of them."""
        self._fixed = frozenset(url.rstrip("/") for url in urls)
        self._servers = {url: _Server(url) for url in sorted(self._fixed)}
        self._replicas: Endpoints | None = None
        self._service = ""
        self._moved = asyncio.Event()
        self._changed = changed
        self._everybody = everybody
        self._grace_s = grace_s
        self._steady = Steady(grace_s)
        self._polls = Counter(
            "pointsman_operator_xds_polls_total",
            "Long polls of xds servers' state; outcome is ok or error.",
            ["outcome"],
            registry=registry,
        )
        Gauge(
            "pointsman_operator_xds_servers", "Xds servers that are asked for their state.", registry=registry
        ).set_function(lambda: len(self._servers))

    def discover(self, client: KubeClient, namespace: str, service: str) -> None:
        """Ask the replicas of a Service, too, once it runs."""
        self._service = f"{namespace}/{service}"
        self._replicas = Endpoints.of_service(client, namespace, service, self._found)

    def programmed(self, policy: RoutingPolicy) -> tuple[Programmed, Refusal | None]:
        """Return what the servers say of a policy, summed up."""
        reports = [server.report(policy) for server in self._servers.values()]
        if self._replicas is not None and not self._servers:
            synced = self._replicas.synced.is_set()
            reports = [Report(f"Service {self._service}", "has no replica", asked=synced)]
        found, refusal = programmed(policy, reports)
        believed, left = self._steady(policy, found, time.monotonic())
        if left:
            asyncio.get_running_loop().call_later(left, self._changed, policy.key)
        return believed, refusal

    def withdraw(self, key: str) -> None:
        """Forget a policy that is gone."""
        self._steady.forget(key)

    async def run(self) -> None:
        """Ask all servers until cancelled."""
        timeout = httpx.Timeout(5.0, read=WAIT_S + 10.0)
        limits = httpx.Limits(max_connections=None)  # each poll holds one
        async with (
            httpx.AsyncClient(timeout=timeout, limits=limits, trust_env=False) as http,
            asyncio.TaskGroup() as group,
        ):
            if self._replicas is not None:
                group.create_task(self._replicas.run(), name="xds replicas")
            while True:
                self._forget_gone()
                for server in self._servers.values():
                    if server.task is None:
                        server.task = group.create_task(self._follow(server, http), name=f"xds {server.url}")
                with suppress(TimeoutError):
                    async with asyncio.timeout(self._grace_s if self._any_gone() else None):
                        await self._moved.wait()
                self._moved.clear()

    def _found(self) -> None:
        """Take in who is a replica now."""
        replicas = self._replicas
        if replicas is None or not replicas.synced.is_set():
            return
        addresses = (endpoint.address(install.PORT_HTTP) for endpoint in replicas.current)
        wanted = self._fixed | {f"http://{address}" for address in addresses if address is not None}
        for url in sorted(wanted - self._servers.keys()):
            log.info("xds server %s is there", url)
            self._servers[url] = _Server(url)
        for url, server in self._servers.items():
            gone = None if url in wanted else server.gone_since or time.monotonic()
            server.gone_since = gone
        self._moved.set()

    def _any_gone(self) -> bool:
        return any(server.gone_since is not None for server in self._servers.values())

    def _forget_gone(self) -> None:
        now = time.monotonic()
        for url, server in list(self._servers.items()):
            if server.gone_since is not None and now - server.gone_since >= self._grace_s:
                log.info("xds server %s is gone", url)
                if server.task is not None:
                    server.task.cancel()
                del self._servers[url]
                self._everybody()

    async def _follow(self, server: _Server, http: httpx.AsyncClient) -> None:
        pause = BACKOFF_S[0]
        while True:
            try:
                query = {} if server.version is None else {"since": server.version, "wait": WAIT_S}
                response = await http.get(f"{server.url}/v1/state", params=query)
                response.raise_for_status()
                state = response.json()
                self._take(server, state)
            except (httpx.HTTPError, ValueError, KeyError, TypeError) as error:
                self._polls.labels("error").inc()
                self._away(server, error)
                await asyncio.sleep(pause * (0.5 + random.random() / 2))  # noqa: S311 - jitter
                pause = min(pause * 2, BACKOFF_S[1])
            else:
                self._polls.labels("ok").inc()
                pause = BACKOFF_S[0]
                if not state.get("synced"):  # it answers at once until it knows something
                    await asyncio.sleep(BACKOFF_S[0])

    def _away(self, server: _Server, error: Exception) -> None:
        """Note that a server does not answer; only after the grace time is its word void."""
        now = asyncio.get_running_loop().time()
        server.version = None  # whoever answers next may be another process, with numbers of its own
        server.away_since = server.away_since if server.away_since is not None else now
        words = f"does not answer ({type(error).__name__})"
        if server.error != words and now - server.away_since >= self._grace_s:
            log.info("xds server %s %s", server.url, words)
            server.error = words
            self._everybody()

    def _take(self, server: _Server, state: dict[str, Any]) -> None:
        """Take a server's state and tell whom it concerns."""
        version = int(state["version"])
        if not state.get("synced"):
            self._away(server, ConnectionError("not synced"))
            return
        gateways = {
            name: (int(found["envoys"]), {key: _entry(raw) for key, raw in found["policies"].items()})
            for name, found in state["gateways"].items()
        }
        before, server.gateways, server.version = server.gateways, gateways, version
        server.away_since = None
        if server.error is not None:
            log.info("xds server %s answers", server.url)
            server.error = None
            self._everybody()
            return
        for key in _differing(before, gateways):
            self._changed(key)


def _entry(raw: dict[str, Any]) -> Entry:
    traffic = sorted((share["revision"], int(share["weightPermille"])) for share in raw.get("traffic") or ())
    return Entry(
        generation=int(raw["generation"]),
        programmed=bool(raw["programmed"]),
        reason=str(raw.get("reason", "")),
        message=str(raw.get("message", "")),
        traffic=tuple(traffic),
    )


def _differing(
    before: dict[str, tuple[int, dict[str, Entry]]], after: dict[str, tuple[int, dict[str, Entry]]]
) -> set[str]:
    """Return the policies of which something else is said now."""
    keys: set[str] = set()
    for gateway in before.keys() | after.keys():
        (had, old), (has, new) = before.get(gateway, (0, {})), after.get(gateway, (0, {}))
        if bool(had) != bool(has):
            keys |= old.keys() | new.keys()
        keys |= {key for key in old.keys() | new.keys() if old.get(key) != new.get(key)}
    return keys
