"""The Envoys of an installation's gateways: where to count their requests, where to ask candidates."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pointsman import install
from pointsman.kube.endpoints import Endpoints

if TYPE_CHECKING:
    from collections.abc import Callable

    from pointsman.kube.client import KubeClient


@dataclass(frozen=True, slots=True)
class Target:
    """An Envoy that is looked at."""

    url: str
    terminating: bool = False
    """It drains and ends soon: each look may be the last."""


class Envoys:
    """Follows the headless Services of all gateways in one namespace; `run()` until cancelled."""

    def __init__(self, client: KubeClient, namespace: str) -> None:
        self._namespace = namespace
        self._endpoints = Endpoints(client, namespace, install.LABEL_GATEWAY, self._changed)
        self._listeners: list[Callable[[], None]] = []
        self.targets: tuple[Target, ...] = ()
        """Where Envoys tell their counts; those that end, too, as long as they are listed."""
        self.shadow_urls: dict[str, str] = {}
        """Base URLs of the shadow listeners, by gateway: of those alone that there are. A live dictionary."""

    @property
    def synced(self) -> asyncio.Event:
        """Set once all are known."""
        return self._endpoints.synced

    def on_change(self, listener: Callable[[], None]) -> None:
        """Call `listener` when there are others."""
        self._listeners.append(listener)

    async def run(self) -> None:
        """Follow until cancelled."""
        await self._endpoints.run()

    def _changed(self) -> None:
        targets = []
        for endpoint in self._endpoints.current:
            gateway = endpoint.label(install.LABEL_GATEWAY)
            address = endpoint.address(install.PORT_STATS)
            # the Service that clients use has the same label, and the same pods
            if endpoint.service == install.gateway_internal(gateway) and address is not None:
                targets.append(Target(f"http://{address}", endpoint.terminating))
        self.targets = tuple(targets)
        urls = {
            gateway: self._shadow_url(gateway)
            for service, labels in self._endpoints.services.items()
            if service == install.gateway_internal(gateway := labels.get(install.LABEL_GATEWAY, ""))
        }
        for gone in self.shadow_urls.keys() - urls.keys():
            del self.shadow_urls[gone]
        self.shadow_urls |= urls
        for listener in self._listeners:
            listener()

    def _shadow_url(self, gateway: str) -> str:
        host = install.service_host(install.gateway_internal(gateway), self._namespace)
        return f"https://{host}:{install.ENVOY_SHADOW}"
