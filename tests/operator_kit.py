"""An operator in this process, against a real API server and real Tritons; and policies to give it."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar, cast

from prometheus_client import CollectorRegistry
from prometheus_client.parser import text_string_to_metric_families

import bundles
from goodbye import hang_up
from pointsman.controllers.operator import Controllers, Settings
from pointsman.kube.client import KubeClient
from pointsman.kube.errors import NotFound
from pointsman.kube.lease import Terms
from pointsman.kube.resources import CONFIG_MAPS, EVENTS, NAMESPACES, POLICIES, REVISIONS
from pointsman.triton import bundle as bundle_files
from pointsman.triton.endpoint import Settings as TritonSettings
from wait import NotInTimeError, until

T = TypeVar("T")

TERMS = Terms("default", "unused", "test")


def bundle(tiers: int = 2, mark: str = "") -> bytes:
    """Return a bundle file; another `mark` gives another digest."""
    fitted = bundles.fitted(tiers)
    manifest = {**fitted.manifest, "createdBy": f"test {mark}"} if mark else fitted.manifest
    return bundle_files.pack(manifest, fitted.vocabulary, fitted.arrays)


def sha256(content: bytes) -> str:
    """Return the digest of a bundle."""
    return hashlib.sha256(content).hexdigest()


def classifier_spec(
    uri: str, digest: str, urls: list[str], *, threshold: int = 600, tiers: int = 2, model: str = "auto"
) -> dict[str, Any]:
    """Return a policy's spec with a classifier."""
    names = [*(f"tier-{n}" for n in range(tiers - 1)), "last"]
    return {
        "gatewayRef": {"name": "default"},
        "match": {"hostnames": ["llm.example.com"], "models": [model]},
        "tiers": [
            {"name": name, "endpoints": [{"url": "http://127.0.0.1:9/v1"}], "model": f"model-{name}"}
            for name in names
        ],
        "strategy": {
            "type": "Classifier",
            "classifier": {
                "artifact": {"uri": uri, "sha256": digest},
                "thresholds": [{"tier": names[0], "minScorePermille": threshold}],
            },
        },
        "triton": {"external": {"urls": urls}},
        "rollout": {"mode": "Direct"},
    }


def pinned_spec(tier: str = "only", *, model: str = "auto") -> dict[str, Any]:
    """Return a policy's spec that needs no classifier."""
    return {
        "gatewayRef": {"name": "default"},
        "match": {"hostnames": ["llm.example.com"], "models": [model]},
        "tiers": [{"name": tier, "endpoints": [{"url": "http://127.0.0.1:9/v1"}], "model": "m"}],
        "strategy": {"type": "Pinned", "pinned": {"tier": tier}},
        "rollout": {"mode": "Direct"},
    }


async def eventually(check: Callable[[], Awaitable[T | None]], what: str, deadline_s: float = 20) -> T:
    """Wait until `check` returns something; return it."""
    found: list[T] = []

    async def probe() -> bool:
        value = await check()
        found[:] = [] if value is None else [value]
        return bool(value)

    await until(cast("Callable[[], bool]", probe), deadline_s, 0.05, what)
    return found[0]


class Cut(Exception):  # noqa: N818 - what the test does
    """The process died here."""


class Client(KubeClient):
    """The real client, which can end the world right after the n-th write, and counts writes."""

    cut_after: int | None = None
    writes: int = 0
    before_write: Callable[[str], Awaitable[None]] | None = None

    async def _call(self, method: str, verb: str, *args: Any, **kwargs: Any) -> Any:
        ours = method != "GET" and any("pointsman.dev" in str(arg) for arg in args)
        if not ours:
            return await super()._call(method, verb, *args, **kwargs)
        if self.is_cut:
            raise Cut
        if self.before_write is not None:
            await self.before_write(verb)
        result = await super()._call(method, verb, *args, **kwargs)
        self.writes += 1
        if self.is_cut:
            raise Cut
        return result

    @property
    def is_cut(self) -> bool:
        """Tell whether the last write that is possible was done."""
        return self.cut_after is not None and self.writes >= self.cut_after


@dataclass
class Cluster:
    """A namespace of the API server, with the administrator's rights."""

    admin: KubeClient
    operator_kubeconfig: str
    namespace: str = field(default_factory=lambda: f"t-{uuid.uuid4().hex[:10]}")

    async def make(self) -> None:
        """Create the namespace."""
        await self.admin.create(NAMESPACES, {"metadata": {"name": self.namespace}})

    async def policy(self, name: str = "support") -> dict[str, Any]:
        """Return a policy."""
        return await self.admin.get(POLICIES, name, self.namespace)

    async def apply(self, spec: Mapping[str, Any], name: str = "support") -> dict[str, Any]:
        """Create a policy."""
        body = {
            "apiVersion": POLICIES.api_version,
            "kind": POLICIES.kind,
            "metadata": {"name": name, "namespace": self.namespace},
            "spec": spec,
        }
        return await self.admin.create(POLICIES, body, self.namespace)

    async def change(self, name: str = "support", **spec: Any) -> None:
        """Merge into a policy's spec."""
        await self.admin.patch(POLICIES, name, self.namespace, {"spec": spec})

    async def delete(self, name: str = "support") -> None:
        """Delete a policy."""
        await self.admin.delete(POLICIES, name, self.namespace)

    async def clear(self) -> None:
        """Delete all policies: an operator of all namespaces would go on with them in the next test."""
        for policy in (await self.admin.list(POLICIES, self.namespace)).items:
            await self.delete(policy["metadata"]["name"])

    async def revisions(self, policy: str = "support") -> list[dict[str, Any]]:
        """Return a policy's revisions, whoever owns them."""
        found = (await self.admin.list(REVISIONS, self.namespace)).items
        return [item for item in found if item["spec"]["policyRef"]["name"] == policy]

    async def events(self, reason: str | None = None) -> list[str]:
        """Return the reasons of the namespace's events, or of those with this one."""
        found = (await self.admin.list(EVENTS, self.namespace)).items
        return sorted(item["reason"] for item in found if reason in {None, item["reason"]})

    async def config_map(self, name: str, content: bytes, key: str = "bundle.zip") -> None:
        """Create a ConfigMap with a bundle, or replace its content."""
        data = {"binaryData": {key: base64.b64encode(content).decode()}}
        try:
            await self.admin.patch(CONFIG_MAPS, name, self.namespace, data)
        except NotFound:
            await self.admin.create(CONFIG_MAPS, {"metadata": {"name": name}, **data}, self.namespace)

    @asynccontextmanager
    async def operator(self, **more: Any) -> AsyncIterator[Operator]:
        """Run an operator on this namespace, with the operator's own rights."""
        client = await Client.open(self.operator_kubeconfig)
        assert isinstance(client, Client)
        namespaces = more.pop("namespaces", (self.namespace,))
        triton = more.pop("triton", TritonSettings(poll_s=0.2, grace_s=0.5))
        settings = Settings(lease=TERMS, namespaces=namespaces, triton=triton, **more)
        registry = CollectorRegistry()
        controllers = Controllers(client, settings, registry)
        task = asyncio.create_task(controllers.run(), name="operator")
        running = Operator(self, client, controllers, registry, task)
        try:
            await until(lambda: controllers.watching or task.done(), 20, what="the operator watches")
            if task.done():
                task.result()
            yield running
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            await client.close()
            await hang_up()


@asynccontextmanager
async def fresh(admin: Path, operator: Path) -> AsyncIterator[Cluster]:
    """Return a namespace of its own, cleared afterwards; `admin`, `operator`: their kubeconfigs."""
    async with await KubeClient.open(str(admin)) as client:
        found = Cluster(client, str(operator))
        await found.make()
        try:
            yield found
        finally:
            await found.clear()


@dataclass
class Operator:
    """A running operator and what can be seen of it."""

    cluster: Cluster
    client: Client
    controllers: Controllers
    registry: CollectorRegistry
    task: asyncio.Task[None]

    async def promoted(self, name: str = "support", deadline_s: float = 30) -> dict[str, Any]:
        """Wait until the revision that the spec asks for has all of the traffic; return the policy."""

        async def check() -> dict[str, Any] | None:
            policy = await self.cluster.policy(name)
            return policy if is_promoted(policy) else None

        return await self._told(check, f"{name} is promoted", name, deadline_s)

    async def condition(
        self, kind: str, reason: str, name: str = "support", deadline_s: float = 30
    ) -> dict[str, Any]:
        """Wait until a condition has a reason; return it."""

        async def check() -> dict[str, Any] | None:
            found = condition(await self.cluster.policy(name), kind)
            return found if found.get("reason") == reason else None

        return await self._told(check, f"{name}: {kind} is {reason}", name, deadline_s)

    async def _told(
        self, check: Callable[[], Awaitable[T | None]], what: str, name: str, deadline_s: float
    ) -> T:
        """Wait; if in vain, say what the status is instead."""
        try:
            return await eventually(check, what, deadline_s)
        except NotInTimeError as error:
            raise AssertionError(f"{error}\n{shown(await self.cluster.policy(name))}") from error

    async def settled(self) -> None:
        """Wait until nothing is queued or under way."""
        queue = self.controllers.queue
        await until(lambda: queue.depth() == 0 and not queue.busy, 10, what="the queue is empty")

    def metric(self, name: str, **labels: str) -> float:
        """Return a metric's value, 0 if it has none."""
        found = self.registry.get_sample_value(name, labels)
        if found is None:
            text = self.controllers.metrics.rollouts.render().decode()
            samples = (one for family in text_string_to_metric_families(text) for one in family.samples)
            found = next((one.value for one in samples if one.name == name and one.labels == labels), None)
        return found or 0.0


def condition(policy: Mapping[str, Any], kind: str) -> dict[str, Any]:
    """Return a condition, {} if there is none."""
    found = (policy.get("status") or {}).get("conditions") or []
    return next((entry for entry in found if entry["type"] == kind), {})


def is_promoted(policy: Mapping[str, Any]) -> bool:
    """Tell whether this generation of the spec has all of the traffic."""
    status = policy.get("status") or {}
    if status.get("observedGeneration") != policy["metadata"]["generation"]:
        return False
    stable = status.get("stableRevision")
    return (
        bool(stable)
        and not status.get("candidateRevision")
        and status.get("traffic") == [{"revision": stable, "weightPermille": 1000}]
        and condition(policy, "Progressing").get("reason") == "Promoted"
    )


def shown(policy: Mapping[str, Any]) -> str:
    """Return a status without times, to compare two."""
    return json.dumps(_timeless(policy.get("status") or {}), sort_keys=True)


_TIMES = frozenset({"lastTransitionTime", "startedAt", "endedAt", "countedAt", "until"})


def _timeless(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _timeless(item) for key, item in value.items() if key not in _TIMES}
    return [_timeless(item) for item in value] if isinstance(value, list) else value
