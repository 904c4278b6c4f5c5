"""An xds server in this process, real Envoys that connect to it, and what can be seen of both."""

from __future__ import annotations

import uuid
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import grpc
import httpx
from prometheus_client import CollectorRegistry

from pointsman.lab.envoy import Envoy
from pointsman.lab.process import free_port
from pointsman.plan.types import FrontPlan
from pointsman.tls import grpc_credentials
from pointsman.xds.bootstrap import ShadowListener, Tls, bootstrap
from pointsman.xds.delta import Timing
from pointsman.xds.front import Front
from pointsman.xds.hub import Hub
from pointsman.xds.metrics import XdsMetrics
from pointsman.xds.server import server
from pointsman.xds.translate import Options

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from pointsman.lab.pki import Authority
    from pointsman.plan.types import CertificateName, ListenerPlan, PolicyPlan, SecretName
    from pointsman.xds.front import Pair

TIMING = Timing(warm=0.1, patience=1.0, retry=1.0, linger=0.5)
NOWHERE = "127.0.0.1:9"
"""Discard: nobody listens. Access logs and captures go there."""


@dataclass
class Xds:
    """A running server: `hub` takes plans, `keys` are the tiers' keys by `namespace/name/key`."""

    hub: Hub
    address: str
    entry: str
    registry: CollectorRegistry
    keys: dict[str, bytes]
    running: grpc.aio.Server
    authority: Authority | None = None
    name: str = "default"
    fronts: dict[str, Front] = field(default_factory=dict)
    """What RoutingGateways say, by gateway; those without keep the one entry listener."""

    def show(self, *listeners: ListenerPlan, pairs: dict[CertificateName, Pair] | None = None) -> None:
        """Have the gateway's Envoys bind these listeners, with these certificates."""
        self.fronts[self.name] = Front(FrontPlan(listeners, 2**24), pairs or {})
        self.hub.refresh()

    def desire(self, *plans: PolicyPlan, urgent: tuple[str, ...] = ()) -> None:
        """Serve these plans."""
        self.hub.desire(self.name, {plan.key: plan for plan in plans}, urgent)

    def policy(self, key: str) -> dict[str, Any]:
        """Return a policy's entry of the state."""
        found: dict[str, Any] = self.hub.state()[self.name]["policies"][key]
        return found

    def programmed(self, *keys: str) -> bool:
        """Tell whether all these policies are acknowledged."""
        return all(self.policy(key)["programmed"] for key in keys)

    def count(self, name: str, **labels: str) -> float:
        """Return a metric's value, summed over the labels not named."""
        return sum(
            sample.value
            for metric in self.registry.collect()
            for sample in metric.samples
            if sample.name == name and labels.items() <= sample.labels.items()
        )


@dataclass
class Address:
    """Ports that outlive a server, so that Envoy finds the next one."""

    grpc: int = field(default_factory=free_port)
    entry: int = field(default_factory=free_port)


@asynccontextmanager
async def xds_server(
    at: Address,
    *,
    authority: Authority | None = None,
    opened: bool = True,
    timing: Timing = TIMING,
    options: Options | None = None,
) -> AsyncIterator[Xds]:
    """Run a server; with an authority, over mutual TLS. Of `options` all but the entry's address counts."""
    keys: dict[str, bytes] = {}

    def key_of(name: SecretName) -> bytes:
        return keys.get(name.resource, b"")

    registry = CollectorRegistry()
    entry = f"127.0.0.1:{at.entry}"
    translation = replace(options or Options(), entry_address=entry)
    fronts: dict[str, Front] = {}
    hub = Hub(translation, key_of, XdsMetrics(registry), lambda: None, timing, front_of=fronts.get)
    if opened:
        hub.open()
    tls = None
    if authority is not None:
        pair = authority.leaf("xds", "pointsman:xds", hosts=["localhost"])
        tls = grpc_credentials(pair.cert, pair.key, authority.pair.cert)
    address = f"127.0.0.1:{at.grpc}"
    running = server(hub, address, tls)
    await running.start()
    try:
        yield Xds(hub, address, entry, registry, keys, running, authority, fronts=fronts)
    finally:
        await running.stop(0)


def envoy(
    xds: Xds,
    state: Path,
    *,
    name: str = "envoy",
    configured: bool = True,
    shows: Authority | None = None,
    shadow: ShadowListener | None = None,
    tls: Tls | None = None,
    **more: Any,
) -> Envoy:
    """Return the launcher of an Envoy that asks this server, with a certificate of `shows` or `tls` if given.

    `more` goes into its bootstrap.
    """
    if tls is None and xds.authority is not None:
        pair = (shows or xds.authority).leaf(name, "pointsman:envoy")
        tls = Tls(str(xds.authority.pair.cert), str(pair.cert), str(pair.key), "localhost")
    admin = f"127.0.0.1:{free_port()}"

    def made() -> dict[str, Any]:
        given: dict[str, Any] = {
            "gateway": xds.name,
            "node_id": f"{name}-{uuid.uuid4()}",
            "admin_address": admin,
            "xds_addresses": [xds.address],
            "access_log_address": NOWHERE,
            "capture_address": NOWHERE,
            "xds_tls": tls,
            "shadow": shadow,
        }
        return bootstrap(**given | more)

    return Envoy(state, made, name=name, concurrency=1, configured=configured)


async def ask(entry: str, host: str, model: str = "auto", **headers: str) -> httpx.Response:
    """Send one chat request."""
    async with httpx.AsyncClient(timeout=5) as http:
        return await http.post(
            f"http://{entry}/v1/chat/completions",
            headers={"host": host, **headers},
            json={"model": model, "messages": [{"role": "user", "content": "hi"}]},
        )


async def admin(running: Envoy, path: str) -> str:
    """Return a page of an Envoy's admin."""
    async with httpx.AsyncClient(timeout=5) as http:
        return (await http.get(f"http://{running.admin_address}{path}")).text


async def stat(running: Envoy, name: str) -> int:
    """Return one of an Envoy's counters or gauges; 0 if it has none so named."""
    for line in (await admin(running, f"/stats?filter=^{name}$")).splitlines():
        return int(line.rpartition(": ")[2])
    return 0
