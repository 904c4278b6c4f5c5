"""The fleet of `bench scale`: its policies, and what the API server and the xds server say of them."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, field
from typing import Any, Final

import httpx

from bench.scale_house import GATEWAY, House
from operator_kit import bundle, condition, sha256
from pointsman.kube.client import KubeClient
from pointsman.kube.errors import AlreadyExists, Unavailable
from pointsman.kube.informer import Change, Informer
from pointsman.kube.resources import CONFIG_MAPS, NAMESPACES, POLICIES
from stack import Bundle, config_map

BUNDLES: Final = 10
A_TEAM: Final = 50
"""Policies in a namespace: they share its tiers."""
CLASSIFIED: Final = 7
"""Of ten policies; the others are Pinned."""
AT_A_TIME: Final = 16
_BUNDLE_NAME: Final = "bundle-{}"
Traffic = tuple[tuple[str, int], ...]


def keys(policies: int) -> list[str]:
    """Return `namespace/name` of each policy."""
    return [f"team-{number // A_TEAM}/policy-{number}" for number in range(policies)]


def pinned(key: str) -> bool:
    """Tell whether a policy of the fleet asks no classifier."""
    return int(key.rpartition("-")[2]) % 10 >= CLASSIFIED


class Fleet:
    """Makes the policies as a user does, by server-side apply."""

    def __init__(self, house: House, admin: KubeClient) -> None:
        self._house = house
        self._admin = admin
        self._bundles = [bundle(2, str(number)) for number in range(BUNDLES)]

    async def prepare(self, every: Iterable[str]) -> None:
        """Make the namespaces, each with the bundles."""
        names = dict.fromkeys(key.partition("/")[0] for key in every)
        await in_parallel(lambda name: self._admin.create(NAMESPACES, {"metadata": {"name": name}}), names)
        maps = [
            config_map(_BUNDLE_NAME.format(number), Bundle(content, 0))
            for number, content in enumerate(self._bundles)
        ]
        await in_parallel(
            lambda each: self._admin.create(CONFIG_MAPS, each[1], each[0]),
            [(name, made) for name in names for made in maps],
        )

    async def apply(self, every: Iterable[str], **changes: Any) -> None:
        """Apply policies; `changes` replace fields of their specs."""
        await in_parallel(lambda key: self._apply(key, changes), every)

    async def _apply(self, key: str, changes: dict[str, Any]) -> None:
        namespace, _, name = key.partition("/")
        body = {
            "apiVersion": POLICIES.api_version,
            "kind": POLICIES.kind,
            "metadata": {"name": name, "namespace": namespace},
            "spec": self.spec(key) | changes,
        }
        await self._admin.apply(POLICIES, body, manager="bench")

    def spec(self, key: str) -> dict[str, Any]:
        """Return a policy's spec: a host of its own, the tiers of its team."""
        name, number = key.partition("/")[2], int(key.rpartition("-")[2])
        tiers = [
            {
                "name": tier,
                "endpoints": [{"url": "http://127.0.0.1:9/v1"}],  # nothing is sent there
                "model": f"model-{tier}",
                "price": {"inputPerMillion": price, "outputPerMillion": price},
            }
            for tier, price in (("cheap", "0.10"), ("strong", "2.50"))
        ]
        content = self._bundles[number % BUNDLES]
        classifier = {
            "artifact": {
                "uri": f"configmap://{_BUNDLE_NAME.format(number % BUNDLES)}",
                "sha256": sha256(content),
            },
            "thresholds": [{"tier": "cheap", "minScorePermille": 500 + number % 300}],
            "deadline": "200ms",
        }
        spec: dict[str, Any] = {
            "gatewayRef": {"name": GATEWAY},
            "match": {"hostnames": [f"{name}.example.com"], "models": ["auto"]},
            "tiers": tiers,
            "evaluation": {
                "prometheus": {"url": self._house.prometheus.url},
                "capture": {"samplePermille": 100},
            },
            "rollout": {"first": "Direct"},
        }
        if pinned(key):
            return spec | {"strategy": {"type": "Pinned", "pinned": {"tier": "strong"}}}
        return spec | {
            "strategy": {"type": "Classifier", "classifier": classifier},
            "triton": {"external": {"urls": [self._house.triton.http_url]}},
        }


async def in_parallel(work: Callable[[Any], Awaitable[Any]], items: Iterable[Any]) -> None:
    """Do something to each, some at a time."""
    waiting = list(items)[::-1]

    async def worker() -> None:
        while waiting:
            item = waiting.pop()
            try:
                await work(item)
            except AlreadyExists:
                pass  # an answer that was lost
            except Unavailable:  # a busy machine
                waiting.append(item)

    async with asyncio.TaskGroup() as group:
        for _ in range(AT_A_TIME):
            group.create_task(worker())


@dataclass
class Followed:
    """The policies as the API server tells them; times are of the monotonic clock."""

    status: dict[str, dict[str, Any]] = field(default_factory=dict)
    ready: dict[str, float] = field(default_factory=dict)
    """When each was Ready first."""
    traffic: dict[str, list[tuple[float, Traffic]]] = field(default_factory=dict)
    """Of each policy: the traffic in force, and since when."""
    changed_at: float = 0.0

    def informer(self, admin: KubeClient) -> Informer:
        """Return what keeps this true, to be run."""
        return Informer(admin, POLICIES, on_change=self._take)

    def _take(self, change: Change) -> None:
        self.changed_at = now = time.monotonic()
        if change.new is None:
            return
        status = self.status[change.key] = change.new.get("status") or {}
        if change.key not in self.ready and condition(change.new, "Ready").get("status") == "True":
            self.ready[change.key] = now
        note(self.traffic, change.key, shares(status.get("traffic") or ()), now)


class Acknowledged:
    """The traffic of each policy that all Envoys have acknowledged, as the xds server tells it."""

    def __init__(self, url: str) -> None:
        self._url = url
        self.traffic: dict[str, list[tuple[float, Traffic]]] = {}

    async def follow(self) -> None:
        """Ask until cancelled."""
        version = None
        async with httpx.AsyncClient(timeout=60, trust_env=False) as http:
            while True:
                query: dict[str, int] = {} if version is None else {"since": version, "wait": 25}
                state = (await http.get(f"{self._url}/v1/state", params=query)).json()
                now, version = time.monotonic(), state["version"]
                for key, told in (state["gateways"].get(GATEWAY) or {"policies": {}})["policies"].items():
                    if told["programmed"]:
                        note(self.traffic, key, shares(told["traffic"]), now)


@dataclass(frozen=True)
class Scene:
    """What every part of the bench works with."""

    house: House
    fleet: Fleet
    followed: Followed
    acknowledged: Acknowledged
    say: Callable[[str], None]


def shares(traffic: Iterable[dict[str, Any]]) -> Traffic:
    """Return (revision, weight) of all with a weight, in order."""
    return tuple(sorted((one["revision"], one["weightPermille"]) for one in traffic if one["weightPermille"]))


def note(history: dict[str, list[tuple[float, Traffic]]], key: str, traffic: Traffic, now: float) -> None:
    """Add a policy's traffic to its history, if it is another one."""
    past = history.setdefault(key, [])
    if not past or past[-1][1] != traffic:
        past.append((now, traffic))


def since(history: dict[str, list[tuple[float, Traffic]]], key: str, traffic: Traffic) -> float | None:
    """Return since when a policy's traffic is this, None if it is another."""
    past = history.get(key)
    return past[-1][0] if past and past[-1][1] == traffic else None
