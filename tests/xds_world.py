"""One gateway with everything real: API server, `pointsman xds` as a process, Envoy, an upstream."""

from __future__ import annotations

import asyncio
import sys
import uuid
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx

from pointsman.kube.resources import POLICIES, REVISIONS
from pointsman.lab.checks import http_get
from pointsman.lab.envoy import Envoy
from pointsman.lab.pki import Authority
from pointsman.lab.process import Server, Spec, free_port
from pointsman.xds.bootstrap import Tls, bootstrap

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from envoy_kit.servers import Server as Upstream
    from pointsman.kube.client import KubeClient
    from pointsman.lab.controlplane import ControlPlane

NOWHERE = "127.0.0.1:9"
"""Discard: nobody listens. Access logs and captures go there."""


@dataclass
class World:
    """One gateway (named like its namespace): API server, xds server, Envoy, upstream."""

    plane: ControlPlane
    admin: KubeClient
    upstream: Upstream
    state: Path
    namespace: str = field(default_factory=lambda: f"t-{uuid.uuid4().hex[:8]}")
    grpc: str = field(default_factory=lambda: f"127.0.0.1:{free_port()}")
    http: str = field(default_factory=lambda: f"127.0.0.1:{free_port()}")
    entry: str = field(default_factory=lambda: f"127.0.0.1:{free_port()}")
    envoy_admin: str = field(default_factory=lambda: f"127.0.0.1:{free_port()}")

    def __post_init__(self) -> None:
        authority = Authority(self.state / "mesh")
        server = authority.leaf("xds", "pointsman:xds", hosts=["localhost"])
        client = authority.leaf("envoy", "pointsman:envoy")
        ca = str(authority.pair.cert)
        self.tls = Tls(ca, str(client.cert), str(client.key), "localhost")
        self.flags = ["--tls-cert", str(server.cert), "--tls-key", str(server.key), "--tls-client-ca", ca]

    def xds(self) -> Server:
        """Return the launcher of the xds server, with no more rights than its role gives."""
        command = [
            *(str(Path(sys.executable).with_name("pointsman")), "xds"),
            *("--kubeconfig", str(self.plane.kubeconfig_of("xds"))),
            *("--grpc-address", self.grpc, "--http-address", self.http, "--entry-address", self.entry),
            *self.flags,
        ]
        log = self.state / "log" / "xds.log"
        return Server(Spec("xds", command, log, self.http, lambda: http_get(self.http, "/readyz")[0] == 200))

    def envoy(self, *, configured: bool = True) -> Envoy:
        """Return the launcher of an Envoy of this gateway."""
        return Envoy(
            self.state,
            lambda: bootstrap(
                gateway=self.namespace,
                node_id=str(uuid.uuid4()),
                admin_address=self.envoy_admin,
                xds_addresses=[self.grpc],
                access_log_address=NOWHERE,
                capture_address=NOWHERE,
                xds_tls=self.tls,
            ),
            concurrency=1,
            configured=configured,
        )

    def tier(self, name: str, key: str | None = None) -> dict[str, Any]:
        """Return a tier at the upstream; `key` is of Secret `keys`."""
        tier: dict[str, Any] = {
            "name": name,
            "endpoints": [{"url": f"http://{self.upstream.address}/v1"}],
            "model": f"model-{name}",
        }
        return tier | ({"apiKeyRef": {"name": "keys", "key": key}} if key else {})

    async def policy(self, name: str, *tiers: dict[str, Any]) -> dict[str, Any]:
        """Create a policy that is pinned to its first tier, and return it as created."""
        spec = {
            "gatewayRef": {"name": self.namespace},
            "match": {"hostnames": [f"{name}.example.com"], "models": ["auto"]},
            "tiers": list(tiers),
            "strategy": {"type": "Pinned", "pinned": {"tier": tiers[0]["name"]}},
            "rollout": {"mode": "Direct"},
        }
        body = {"apiVersion": POLICIES.api_version, "kind": POLICIES.kind, "metadata": {"name": name}}
        return await self.admin.create(POLICIES, body | {"spec": spec}, self.namespace)

    async def revision(self, policy: dict[str, Any], name: str, pinned: str) -> None:
        """Freeze a policy's tiers into a revision that is pinned to one of them."""
        metadata = {
            "name": name,
            "ownerReferences": [
                {
                    "apiVersion": POLICIES.api_version,
                    "kind": POLICIES.kind,
                    "name": policy["metadata"]["name"],
                    "uid": policy["metadata"]["uid"],
                }
            ],
        }
        spec = {
            "policyRef": {"name": policy["metadata"]["name"]},
            "tiers": policy["spec"]["tiers"],
            "strategy": {"type": "Pinned", "pinned": {"tier": pinned}},
        }
        body = {"apiVersion": REVISIONS.api_version, "kind": REVISIONS.kind, "metadata": metadata}
        await self.admin.create(REVISIONS, body | {"spec": spec}, self.namespace)

    async def traffic(self, policy: str, **weights: int) -> None:
        """Write the traffic in force, as the operator does; names with - are written with _."""
        shares = [{"revision": r.replace("_", "-"), "weightPermille": w} for r, w in weights.items()]
        body = {"status": {"traffic": shares}}
        await self.admin.patch(POLICIES, policy, self.namespace, body, subresource="status")

    async def told(self, since: int | None = None, wait: float = 0) -> dict[str, Any]:
        """Return /v1/state."""
        query = {"wait": wait} | ({"since": since} if since is not None else {})
        async with httpx.AsyncClient(timeout=wait + 5) as http:
            found: dict[str, Any] = (await http.get(f"http://{self.http}/v1/state", params=query)).json()
            return found

    async def entry_of(self, policy: str) -> dict[str, Any]:
        """Return a policy's entry of /v1/state; empty if it has none."""
        gateway = (await self.told())["gateways"].get(self.namespace, {"policies": {}})
        found: dict[str, Any] = gateway["policies"].get(f"{self.namespace}/{policy}", {})
        return found

    async def ask(self, policy: str) -> httpx.Response:
        """Send one chat request to a policy's host."""
        body = {"model": "auto", "messages": [{"role": "user", "content": "hi"}]}
        async with httpx.AsyncClient(timeout=10) as http:
            url = f"http://{self.entry}/v1/chat/completions"
            return await http.post(url, headers={"host": f"{policy}.example.com"}, json=body)

    async def served_by(self, policy: str) -> str | None:
        """Return the tier that answers for a policy; None while it is not served."""
        try:
            response = await self.ask(policy)
        except httpx.TransportError:
            return None
        return response.headers.get("x-pointsman-served-tier") if response.status_code == 200 else None

    async def metric(self, name: str) -> float:
        """Return the sum of a metric of the xds server."""
        async with httpx.AsyncClient(timeout=5) as http:
            text = (await http.get(f"http://{self.http}/metrics")).text
        return sum(float(line.rpartition(" ")[2]) for line in text.splitlines() if line.startswith(name))

    @asynccontextmanager
    async def load(self, policy: str) -> AsyncIterator[list[int]]:
        """Send requests all the time; yield the list of their status codes."""
        codes: list[int] = []

        async def work() -> None:
            while True:
                codes.append((await self.ask(policy)).status_code)

        task = asyncio.create_task(work())
        try:
            yield codes
        finally:
            task.cancel()
            (result,) = await asyncio.gather(task, return_exceptions=True)
            assert isinstance(result, asyncio.CancelledError), result
