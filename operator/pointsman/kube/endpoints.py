"""Who is behind a Service, or behind all Services that a label selects: addresses out of EndpointSlices."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from pointsman.kube.client import Selector
from pointsman.kube.informer import Informer
from pointsman.kube.resources import ENDPOINT_SLICES

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from pointsman.kube.client import KubeClient, Object

LABEL_SERVICE: Final = "kubernetes.io/service-name"
"""Of every slice: its Service. The Service's own labels are copied beside it."""
_BY_NAME: Final = "FQDN"
"""An address type (a name, not an address) that no Service with a selector has."""


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One pod (or address without a pod) of a Service."""

    service: str
    ip: str
    pod: str = ""
    """Name of the pod; empty where the address is of none."""
    ready: bool = True
    serving: bool = True
    """Ready, whether or not it is about to end."""
    terminating: bool = False
    ports: tuple[tuple[str, int], ...] = ()
    """(name, number), by name."""
    labels: tuple[tuple[str, str], ...] = ()
    """Of the Service, by name."""

    def address(self, port: str) -> str | None:
        """Return `ip:port` of the port of this name; None: it has none."""
        number = dict(self.ports).get(port)
        host = f"[{self.ip}]" if ":" in self.ip else self.ip
        return f"{host}:{number}" if number is not None else None

    def label(self, name: str) -> str:
        """Return a label of the Service, "" without it."""
        return dict(self.labels).get(name, "")


def endpoints_of(slices: Iterable[Mapping[str, Any]]) -> tuple[Endpoint, ...]:
    """Return everybody in these EndpointSlices once, in a fixed order.

    While slices change somebody may be in two of them, and with two IP families a pod has two addresses.
    """
    found: dict[tuple[str, str], Endpoint] = {}
    for one in sorted(slices, key=lambda s: (str(s.get("addressType", "")), str(s["metadata"]["name"]))):
        if one.get("addressType") == _BY_NAME:
            continue
        for raw in one.get("endpoints") or ():
            endpoint = _endpoint(one, raw)
            key = (endpoint.service, endpoint.pod or endpoint.ip)
            known = found.get(key)
            if known is None or (known.ip == endpoint.ip and endpoint.ready and not known.ready):
                found[key] = endpoint
    return tuple(sorted(found.values(), key=lambda e: (e.service, e.pod, e.ip)))


def _endpoint(one: Mapping[str, Any], raw: Mapping[str, Any]) -> Endpoint:
    labels = dict(one["metadata"].get("labels") or {})
    conditions = raw.get("conditions") or {}
    # not told means ready, and serving as much as it is ready: so says the API
    ready = conditions.get("ready") is not False
    serving = conditions.get("serving")
    target = raw.get("targetRef") or {}
    ports = ((str(port.get("name") or ""), port.get("port")) for port in one.get("ports") or ())
    return Endpoint(
        service=str(labels.get(LABEL_SERVICE, "")),
        ip=str(raw["addresses"][0]),  # the first is the only one that counts
        pod=str(target.get("name", "")) if target.get("kind") == "Pod" else "",
        ready=ready,
        serving=ready if serving is None else bool(serving),
        terminating=bool(conditions.get("terminating")),
        ports=tuple(sorted((name, int(number)) for name, number in ports if number is not None)),
        labels=tuple(sorted((str(name), str(value)) for name, value in labels.items())),
    )


def _reduced(one: Object) -> Object:
    """Keep what is read here: of a large fleet the rest is most of it."""
    metadata = one["metadata"]
    kept = {name: metadata.get(name) for name in ("name", "namespace", "resourceVersion", "labels")}
    return {
        "metadata": kept,
        "addressType": one.get("addressType"),
        "ports": one.get("ports"),
        "endpoints": [
            {name: raw.get(name) for name in ("addresses", "conditions", "targetRef")}
            for raw in one.get("endpoints") or ()
        ],
    }


class Endpoints:
    """Follows EndpointSlices of one namespace; `run()` until cancelled. Needs list and watch of them.

    `on_change` is called in the loop's thread when `current` or `services` has become another, and once when
    the first list is complete; it must not block.
    """

    def __init__(
        self, client: KubeClient, namespace: str, labels: str, on_change: Callable[[], None] = lambda: None
    ) -> None:
        """`labels`: a selector as kubectl's `-l`, of the Services' labels."""
        self._on_change = on_change
        self._informer = Informer(
            client,
            ENDPOINT_SLICES,
            namespace=namespace,
            selector=Selector(labels=labels),
            on_change=lambda _: self._look(),
            reduce=_reduced,
        )
        self.current: tuple[Endpoint, ...] = ()
        self.services: Mapping[str, Mapping[str, str]] = {}
        """Every Service that has slices, those with nobody behind them, too; with its labels."""

    @classmethod
    def of_service(
        cls, client: KubeClient, namespace: str, service: str, on_change: Callable[[], None] = lambda: None
    ) -> Endpoints:
        """Return a follower of one Service."""
        return cls(client, namespace, f"{LABEL_SERVICE}={service}", on_change)

    @property
    def synced(self) -> asyncio.Event:
        """Set after the first whole list; stays set."""
        return self._informer.synced

    async def run(self) -> None:
        """Follow until cancelled; it outlives the API server's restarts."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._informer.run())
            await self.synced.wait()
            self._on_change()

    def _look(self) -> None:
        slices = self._informer.store.values()
        current = endpoints_of(slices)
        labels = [one["metadata"].get("labels") or {} for one in slices]
        services = {str(found[LABEL_SERVICE]): found for found in labels if LABEL_SERVICE in found}
        if (current, services) != (self.current, self.services):
            self.current, self.services = current, services
            if self.synced.is_set():
                self._on_change()
