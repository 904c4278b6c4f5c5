"""The replicas of the xds Service, found by EndpointSlices: a rolling restart of all of them."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import uuid
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import pytest

from operator_kit import Cluster, condition, eventually, pinned_spec
from pointsman import install
from pointsman.kube.errors import KubeError
from pointsman.kube.resources import POLICIES
from pointsman.lab.controlplane import ControlPlane
from pointsman.lab.envoy import Envoy
from pointsman.lab.process import LOCALHOST, free_port
from pointsman.xds.bootstrap import bootstrap
from rollout_kit import act
from slices_kit import Slices, own_ip
from wait import until

pytestmark = [pytest.mark.apiserver, pytest.mark.envoy]

SERVERS = "pointsman_operator_xds_servers"


@dataclass
class Replica:
    """One xds server: a process on an address of its own, and its endpoint."""

    name: str
    slices: Slices
    grpc: int = field(default_factory=free_port)
    http: int = field(default_factory=free_port)
    child: subprocess.Popen[bytes] | None = None

    async def start(self, plane: ControlPlane, entry: str, log: Path) -> None:
        """Start it; it is listed at once, ready once it is."""
        command = [
            *(str(Path(sys.executable).with_name("pointsman")), "xds"),
            *("--kubeconfig", str(plane.kubeconfig_of("xds")), "--grpc-address", f"{LOCALHOST}:{self.grpc}"),
            *("--http-address", f"{own_ip()}:{self.http}", "--entry-address", entry),
        ]
        self.child = _started(command, log)
        await self._list(ready=False)
        await until(self._ready, 30, 0.1, f"xds {self.name} is ready")
        await self._list()

    async def end(self) -> None:
        """End it as Kubernetes does: first it is about to, then it does, then it is gone."""
        assert self.child is not None
        await self._list(terminating=True)
        self.child.terminate()
        await asyncio.to_thread(self.child.wait, 20)
        await self.slices.drop(install.XDS, self.name)

    def kill(self) -> None:
        """End it at once, if it runs."""
        if self.child is not None:
            self.child.kill()
            self.child.wait()

    async def _list(self, *, ready: bool = True, terminating: bool = False) -> None:
        ports = {install.PORT_HTTP: self.http}
        await self.slices.put(install.XDS, self.name, ports, ready=ready, terminating=terminating)

    async def _ready(self) -> bool:
        async with httpx.AsyncClient(timeout=2) as client:
            with suppress(httpx.TransportError):
                return (await client.get(f"http://{own_ip()}:{self.http}/readyz")).is_success
            return False


def _started(command: list[str], log: Path) -> subprocess.Popen[bytes]:
    with log.open("ab") as out:
        return subprocess.Popen(command, stdout=out, stderr=out)


class Told:
    """Every word of the condition Programmed that was ever in a policy's status."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self.words: list[tuple[int, str]] = []
        """(generation of the spec that it is about, reason)."""

    async def watch(self) -> None:
        """Listen until cancelled."""
        while True:
            with suppress(KubeError):
                listing = await self._cluster.admin.list(POLICIES, self._cluster.namespace)
                version = listing.resource_version
                async for event in self._cluster.admin.watch(POLICIES, version, self._cluster.namespace):
                    if event.type != "BOOKMARK":
                        found = condition(event.object, "Programmed")
                        word = (found.get("observedGeneration", 0), found.get("reason", ""))
                        self.words += [word] if self.words[-1:] != [word] else []


@asynccontextmanager
async def told(cluster: Cluster) -> AsyncIterator[Told]:
    """Listen to the policy."""
    listener = Told(cluster)
    task = asyncio.create_task(listener.watch())
    try:
        yield listener
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


@pytest.mark.timeout(240)
async def test_a_rolling_restart_is_not_noticed(
    plane: ControlPlane, cluster: Cluster, tmp_path: Path
) -> None:
    """While all replicas are replaced Programmed stays True; without any a rollback is in force at once."""
    slices, log = Slices(cluster.admin, cluster.namespace), tmp_path / "xds.log"
    await slices.allow("pointsman:operator")
    entry, gateway = f"{LOCALHOST}:{free_port()}", {"gatewayRef": {"name": cluster.namespace}}
    replicas = [Replica(name, slices) for name in "abcd"]
    envoy = Envoy(
        tmp_path,
        bootstrap(
            gateway=cluster.namespace,
            node_id=f"test-{uuid.uuid4()}",
            admin_address=f"{LOCALHOST}:{free_port()}",
            xds_addresses=[f"{LOCALHOST}:{replica.grpc}" for replica in replicas],
            access_log_address="127.0.0.1:9",
            capture_address="127.0.0.1:9",
        ),
        concurrency=1,
        configured=False,
    )
    async with AsyncExitStack() as stack:
        for replica in replicas:
            stack.callback(replica.kill)
        for replica in replicas[:2]:
            await replica.start(plane, entry, log)
        operator = await stack.enter_async_context(
            cluster.operator(system_namespace=cluster.namespace, xds_service=install.XDS)
        )
        await cluster.apply(pinned_spec() | gateway)
        stack.enter_context(envoy)
        await operator.condition("Programmed", "Acknowledged")
        await operator.promoted()
        async with told(cluster) as listener:
            for old, new in zip(replicas[:2], replicas[2:], strict=True):
                await new.start(plane, entry, log)
                await old.end()
                await until(lambda: operator.metric(SERVERS) == 2, 20, 0.1, "the old one is forgotten")
            assert {reason for _, reason in listener.words} <= {"Acknowledged"}
            await cluster.change(**pinned_spec("another") | gateway)
            await operator.promoted()
            await operator.condition("Programmed", "Acknowledged")
            for replica in replicas[2:]:
                await replica.end()
            revision = (await cluster.policy())["status"]["stableRevision"]
            await act(cluster, "now", "ForceStrong", revision=revision)

            async def rolled_back() -> bool:
                shares = (await cluster.policy())["status"].get("traffic") or []
                return [share["revision"] for share in shares] in ([], ["always-strong"])

            await eventually(rolled_back, "the rollback is in force", 5)
            found = await operator.condition("Programmed", "XdsUnreachable")
            assert "no replica" in found["message"]
