"""The system namespace as the operator sees it, and the one way in which it makes and removes objects."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from pointsman import install
from pointsman.kube.client import FIELD_MANAGER, Selector
from pointsman.kube.errors import Gone, KubeError, NotLeading, Unavailable
from pointsman.kube.informer import Informer, without_managed_fields
from pointsman.kube.resources import (
    AUTOSCALERS,
    CONFIG_MAPS,
    DEPLOYMENTS,
    DISRUPTION_BUDGETS,
    GATEWAYS,
    PODS,
    POOLS,
    SECRETS,
    SERVICE_ACCOUNTS,
    SERVICES,
)
from pointsman.workloads import applied
from pointsman.workloads.manifest import NAME

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from pointsman.kube.client import KubeClient, Object
    from pointsman.kube.informer import Change
    from pointsman.kube.resources import Resource

log = logging.getLogger(__name__)

_OURS: Final = Selector(labels=f"{install.LABEL_MANAGED_BY}={NAME}")
MADE: Final = (
    SERVICE_ACCOUNTS,
    SERVICES,
    CONFIG_MAPS,
    DISRUPTION_BUDGETS,
    AUTOSCALERS,
    DEPLOYMENTS,
)
"""What is made for gateways and pools; deleted in the order of this list."""
WATCHED: Final[Mapping[Resource, Selector]] = {
    GATEWAYS: Selector(),
    POOLS: Selector(),
    SECRETS: Selector(fields="type=kubernetes.io/tls"),
    PODS: _OURS,
    **dict.fromkeys(MADE, _OURS),
}
_HANDOVER: Final = "pointsman-handover"
"""Field manager that holds a Deployment's replicas for the moment between us and its autoscaler."""
_UNHEARD_S: Final = 5.0
"""How long our own write counts before the watch has told of it."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """The API server's own words on why an object cannot be."""

    what: str
    words: str

    @property
    def quota(self) -> bool:
        """Whether a ResourceQuota is the cause."""
        return "exceeded quota" in self.words


class Objects:
    """Caches of the system namespace; `run()` until cancelled. `on_change` is called after each change."""

    def __init__(
        self, client: KubeClient, namespace: str, on_change: Callable[[Resource, Change], None]
    ) -> None:
        self._client = client
        self.namespace = namespace
        self._on_change = on_change
        self._written: dict[tuple[Resource, str], tuple[float, Object]] = {}
        self._informers = {
            resource: Informer(
                client,
                resource,
                namespace=namespace,
                selector=selector,
                on_change=lambda change, resource=resource: self._changed(resource, change),  # type: ignore[misc]
                reduce=_whole if resource is DEPLOYMENTS else without_managed_fields,
            )
            for resource, selector in WATCHED.items()
        }

    async def run(self) -> None:
        """Follow everything."""
        async with asyncio.TaskGroup() as group:
            for informer in self._informers.values():
                group.create_task(informer.run())

    async def synced(self) -> None:
        """Wait until everything was read once."""
        for informer in self._informers.values():
            await informer.synced.wait()

    def get(self, resource: Resource, name: str) -> Object | None:
        """Return an object, as newly as we know it."""
        cached = self._informers[resource].store.get(f"{self.namespace}/{name}")
        written = self._written.get((resource, name))
        if written is None:
            return cached
        until, ours = written
        if asyncio.get_running_loop().time() > until or (cached and _version(cached) >= _version(ours)):
            del self._written[resource, name]
            return cached
        return ours

    def all(self, resource: Resource) -> list[Object]:
        """Return all objects of a resource that are watched, by name."""
        return sorted(self._informers[resource].store.values(), key=lambda o: str(o["metadata"]["name"]))

    def of(self, resource: Resource, label: str, value: str) -> list[Object]:
        """Return those that are made for the gateway or pool that a label names."""
        return [o for o in self.all(resource) if (o["metadata"].get("labels") or {}).get(label) == value]

    # -- writing ---------------------------------------------------------------------------------------------

    async def settle(self, wanted: Sequence[Object], label: str, value: str) -> list[Refusal]:
        """Make the objects that carry this label be those that are wanted; write only what differs.

        What the API server refuses is returned, and the rest is done all the same. Other failures raise.
        """
        names = {(manifest["kind"], manifest["metadata"]["name"]) for manifest in wanted}
        for resource in MADE:
            for found in self.of(resource, label, value):
                if (resource.kind, found["metadata"]["name"]) not in names:
                    await self._remove(resource, found)
        scaled = any(manifest["kind"] == AUTOSCALERS.kind for manifest in wanted)
        refusals = []
        for manifest in wanted:
            resource = _BY_KIND[manifest["kind"]]
            try:
                if resource is DEPLOYMENTS and scaled:
                    await self._settle_scaled(manifest)
                else:
                    await self._settle(resource, manifest)
            except (Unavailable, Gone, NotLeading):
                raise
            except KubeError as error:
                refusals.append(Refusal(f"{resource.kind} {manifest['metadata']['name']}", error.message))
        return refusals

    async def _settle(self, resource: Resource, manifest: Mapping[str, Any]) -> None:
        stamped = applied.stamped(manifest)
        name = stamped["metadata"]["name"]
        live = self.get(resource, name)
        if live is not None:
            differs = applied.drifted(live, stamped)
            if differs is None:
                return
            log.info("%s %s is not as wanted", resource.kind, name, extra={"field": differs})
        self.note(resource, await self._client.apply(resource, stamped))

    async def _settle_scaled(self, manifest: Object) -> None:
        """Settle a Deployment whose number of pods is its autoscaler's.

        Who leaves a field out of a server-side apply that he owned alone resets it: to one pod. So another
        field manager takes it over first, and the autoscaler takes it from there.
        """
        name = manifest["metadata"]["name"]
        live = self.get(DEPLOYMENTS, name)
        if live is not None:
            if applied.owns(live, FIELD_MANAGER, "spec", "replicas"):
                kept = {"replicas": live["spec"].get("replicas", 1)}
                body = {key: manifest[key] for key in ("apiVersion", "kind")}
                body["metadata"] = {"name": name, "namespace": self.namespace}
                self.note(
                    DEPLOYMENTS,
                    await self._client.apply(DEPLOYMENTS, body | {"spec": kept}, manager=_HANDOVER),
                )
            spec = {key: value for key, value in manifest["spec"].items() if key != "replicas"}
            manifest = manifest | {"spec": spec}
        await self._settle(DEPLOYMENTS, manifest)

    async def _remove(self, resource: Resource, found: Object) -> None:
        metadata = found["metadata"]
        if metadata.get("deletionTimestamp"):
            return
        log.info("%s %s is not wanted any more", resource.kind, metadata["name"])
        await self._client.delete(resource, metadata["name"], self.namespace, uid=metadata["uid"])

    def note(self, resource: Resource, written: Object) -> None:
        """Remember what we wrote until the watch tells of it: else we would write it once more."""
        until = asyncio.get_running_loop().time() + _UNHEARD_S
        self._written[resource, written["metadata"]["name"]] = (until, written)

    def _changed(self, resource: Resource, change: Change) -> None:
        if change.new is None:
            self._written.pop((resource, change.key.partition("/")[2]), None)
        self._on_change(resource, change)


def owners(change: Change, label: str) -> Iterable[str]:
    """Return the gateways or pools (by the label that names them) that a change is about."""
    found = {(obj["metadata"].get("labels") or {}).get(label) for obj in (change.old, change.new) if obj}
    return sorted(name for name in found if name)


_BY_KIND: Final = {resource.kind: resource for resource in MADE}


def _whole(obj: Object) -> Object:
    return obj


def _version(obj: Object) -> int:
    return int(obj["metadata"].get("resourceVersion") or 0)
