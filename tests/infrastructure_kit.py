"""A system namespace of a real API server, and the operator's infrastructure in this process."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Final, TypeVar

from prometheus_client import CollectorRegistry

from goodbye import hang_up
from operator_kit import Cut, condition, eventually
from pointsman import install
from pointsman.clock import system_clock
from pointsman.controllers.infrastructure import Infrastructure
from pointsman.controllers.infrastructure import Settings as InfrastructureSettings
from pointsman.controllers.operator import Controllers, Settings
from pointsman.kube.client import KubeClient
from pointsman.kube.errors import NotFound
from pointsman.kube.lease import Terms
from pointsman.kube.resources import EVENTS, GATEWAYS, NAMESPACES, SECRETS, Resource
from wait import NotInTimeError, until

T = TypeVar("T")

ROLES: Final = Resource("rbac.authorization.k8s.io", "v1", "roles", "Role")
BINDINGS: Final = Resource("rbac.authorization.k8s.io", "v1", "rolebindings", "RoleBinding")
_ALL: Final = ["get", "list", "watch", "create", "patch", "delete"]
RULES: Final = [
    {"apiGroups": ["pointsman.dev"], "resources": ["routinggateways", "tritonpools"], "verbs": _ALL[:3]},
    {
        "apiGroups": ["pointsman.dev"],
        "resources": ["routinggateways/status", "tritonpools/status"],
        "verbs": ["patch"],
    },
    {"apiGroups": [""], "resources": ["services", "serviceaccounts", "configmaps"], "verbs": _ALL},
    {
        "apiGroups": [""],
        "resources": ["secrets"],
        "verbs": ["get", "list", "watch", "create", "update", "delete"],
    },
    {"apiGroups": [""], "resources": ["pods"], "verbs": _ALL[:3]},
    {"apiGroups": ["apps"], "resources": ["deployments"], "verbs": _ALL},
    {"apiGroups": ["policy"], "resources": ["poddisruptionbudgets"], "verbs": _ALL},
    {"apiGroups": ["autoscaling"], "resources": ["horizontalpodautoscalers"], "verbs": _ALL},
    {"apiGroups": ["events.k8s.io"], "resources": ["events"], "verbs": ["create"]},
]
"""What the operator may do in its own namespace."""
LISTENERS: Final = [{"name": "http", "port": 80, "protocol": "HTTP"}]


class Client(KubeClient):
    """The real client, which counts writes and can end the world right after the n-th."""

    cut_after: int | None = None
    written: list[str]

    async def _call(self, method: str, verb: str, *args: Any, **kwargs: Any) -> Any:
        told = any("/events" in str(arg) for arg in args)
        if method == "GET" or told:
            return await super()._call(method, verb, *args, **kwargs)
        if self.is_cut:
            raise Cut
        result = await super()._call(method, verb, *args, **kwargs)
        self.written.append(f"{verb} {args[1] if len(args) > 1 else kwargs}")
        if self.is_cut:
            raise Cut
        return result

    @property
    def is_cut(self) -> bool:
        """Tell whether the last write that is possible was done."""
        return self.cut_after is not None and len(self.written) >= self.cut_after


@dataclass
class Time:
    """A clock that runs, and that a test can put forward."""

    ahead: timedelta = timedelta()

    def __call__(self) -> datetime:
        """Return the time."""
        return system_clock() + self.ahead


@dataclass
class System:
    """A system namespace, with the administrator's rights."""

    admin: KubeClient
    operator_kubeconfig: str
    namespace: str = field(default_factory=lambda: f"s-{uuid.uuid4().hex[:10]}")
    time: Time = field(default_factory=Time)

    async def make(self) -> None:
        """Create the namespace, and give the operator its rights in it."""
        labels = {"pod-security.kubernetes.io/enforce": "restricted"}
        await self.admin.create(NAMESPACES, {"metadata": {"name": self.namespace, "labels": labels}})
        role = {"metadata": {"name": "operator"}, "rules": RULES}
        await self.admin.create(ROLES, role, self.namespace)
        binding = {
            "metadata": {"name": "operator"},
            "roleRef": {"apiGroup": ROLES.group, "kind": "Role", "name": "operator"},
            "subjects": [{"apiGroup": ROLES.group, "kind": "User", "name": "pointsman:operator"}],
        }
        await self.admin.create(BINDINGS, binding, self.namespace)

    async def clear(self) -> None:
        """Delete all gateways."""
        for found in (await self.admin.list(GATEWAYS, self.namespace)).items:
            await self.admin.delete(GATEWAYS, found["metadata"]["name"], self.namespace)

    async def gateway(self, name: str = "default", **spec: Any) -> dict[str, Any]:
        """Create a RoutingGateway."""
        body = {"metadata": {"name": name}, "spec": {"listeners": LISTENERS, **spec}}
        kind = {"apiVersion": GATEWAYS.api_version, "kind": GATEWAYS.kind}
        return await self.admin.create(GATEWAYS, kind | body, self.namespace)

    async def change(self, name: str = "default", **spec: Any) -> None:
        """Merge into a gateway's spec."""
        await self.admin.patch(GATEWAYS, name, self.namespace, {"spec": spec})

    async def get(self, resource: Resource, name: str) -> dict[str, Any] | None:
        """Return an object, None if it is not there."""
        try:
            return await self.admin.get(resource, name, self.namespace)
        except NotFound:
            return None

    async def names(self, resource: Resource) -> list[str]:
        """Return the names of all objects of a resource."""
        found = (await self.admin.list(resource, self.namespace)).items
        return sorted(item["metadata"]["name"] for item in found)

    async def events(self) -> list[str]:
        """Return the reasons of events about gateways."""
        found = (await self.admin.list(EVENTS, self.namespace)).items
        ours = (e for e in found if e["regarding"]["kind"] == GATEWAYS.kind)
        return sorted({event["reason"] for event in ours})

    async def condition(
        self, kind: str, reason: str, name: str = "default", deadline_s: float = 20
    ) -> dict[str, Any]:
        """Wait until a gateway's condition has a reason; return it."""

        async def check() -> dict[str, Any] | None:
            found = condition(await self.admin.get(GATEWAYS, name, self.namespace), kind)
            return found if found.get("reason") == reason else None

        return await self._told(check, f"{name}: {kind} is {reason}", name, deadline_s)

    async def ready(self, name: str = "default", deadline_s: float = 40) -> dict[str, Any]:
        """Wait until this generation of a gateway's spec is Ready; return the gateway."""

        async def check() -> dict[str, Any] | None:
            found = await self.admin.get(GATEWAYS, name, self.namespace)
            ready = condition(found, "Ready")
            same = ready.get("observedGeneration") == found["metadata"]["generation"]
            return found if same and ready["status"] == "True" else None

        return await self._told(check, f"{name} is Ready", name, deadline_s)

    async def _told(
        self, check: Callable[[], Awaitable[T | None]], what: str, name: str, deadline_s: float
    ) -> T:
        try:
            return await eventually(check, what, deadline_s)
        except NotInTimeError as error:
            found = await self.admin.get(GATEWAYS, name, self.namespace)
            raise AssertionError(f"{error}\n{found.get('status')}") from error

    async def secret(self, name: str) -> dict[str, Any] | None:
        """Return a Secret."""
        return await self.get(SECRETS, name)

    async def death(self) -> None:
        """Run an operator that dies right after its first write."""
        async with self.operator(cut_after=1) as running:
            await until(lambda: running.client.is_cut, 20, what="a write")

    @asynccontextmanager
    async def operator(self, cut_after: int | None = None, **more: Any) -> AsyncIterator[Running]:
        """Run an operator on this namespace, with the operator's own rights."""
        client = await Client.open(self.operator_kubeconfig)
        assert isinstance(client, Client)
        client.cut_after, client.written = cut_after, []
        registry = CollectorRegistry()
        made = InfrastructureSettings(
            self.namespace, image="registry.local/pointsman:1", envoy_image="registry.local/envoy:1", **more
        )
        whole = Settings(
            lease=Terms("default", "unused", "test"),
            namespaces=(self.namespace,),
            system_namespace=self.namespace,
            infrastructure=made,
        )
        controllers = Controllers(client, whole, registry, self.time)
        assert controllers.infrastructure is not None
        running = Running(client, registry, controllers.infrastructure)
        task = asyncio.create_task(controllers.run(), name="operator")
        try:
            await until(lambda: running.infrastructure.ready.is_set() or task.done(), 20, what="it watches")
            yield running
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            await client.close()
            await hang_up()


@dataclass
class Running:
    """A running infrastructure and what can be seen of it."""

    client: Client
    registry: CollectorRegistry
    infrastructure: Infrastructure

    def metric(self, name: str, **labels: str) -> float | None:
        """Return a metric's value."""
        return self.registry.get_sample_value(name, labels)

    def look(self) -> None:
        """Have the certificates looked at now: a test has put the clock forward."""
        self.infrastructure.queue.add("certificates:all")


def owners(obj: Mapping[str, Any]) -> list[str]:
    """Return kind and name of who owns an object."""
    return [f"{o['kind']}/{o['name']}" for o in obj["metadata"].get("ownerReferences") or ()]


CA: Final = install.CA_SECRET
