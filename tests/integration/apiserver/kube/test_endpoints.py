"""Who is behind a Service, followed on a real API server."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from pointsman.kube.client import KubeClient
from pointsman.kube.endpoints import Endpoints
from pointsman.lab.controlplane import ControlPlane
from slices_kit import Slices
from wait import until

pytestmark = pytest.mark.apiserver

PORTS = {"http": 9090, "grpc": 18000}


@asynccontextmanager
async def followed(endpoints: Endpoints) -> AsyncIterator[None]:
    """Run it, synced."""
    task = asyncio.create_task(endpoints.run())
    try:
        await asyncio.wait_for(endpoints.synced.wait(), 10)
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def test_replicas_come_turn_and_go(plane: ControlPlane, client: KubeClient, namespace: str) -> None:
    """With a part's own rights: who is there, who terminates, who is gone; each change is told once."""
    slices = Slices(client, namespace)
    await slices.allow("pointsman:operator")
    await slices.put("xds", "a", PORTS, ip="10.1.0.1")
    await slices.put("other", "z", PORTS, ip="10.1.0.9")
    told = 0

    def changed() -> None:
        nonlocal told
        told += 1

    async with await KubeClient.open(str(plane.kubeconfig_of("operator"))) as operator:
        endpoints = Endpoints.of_service(operator, namespace, "xds", changed)
        async with followed(endpoints):
            await until(lambda: told == 1)
            assert [e.address("http") for e in endpoints.current] == ["10.1.0.1:9090"]
            await slices.put("xds", "b", PORTS, ip="10.1.0.2", ready=False)
            await until(lambda: told == 2)
            assert [(e.pod, e.ready) for e in endpoints.current] == [("a", True), ("b", False)]
            await slices.put("xds", "a", PORTS, ip="10.1.0.1", terminating=True)
            await until(lambda: told == 3)
            assert [(e.pod, e.serving, e.terminating) for e in endpoints.current] == [
                ("a", True, True),
                ("b", False, False),
            ]
            await slices.drop("xds", "a")
            await until(lambda: told == 4)
            assert [e.pod for e in endpoints.current] == ["b"]


async def test_services_with_a_label_are_followed_even_without_pods(
    client: KubeClient, namespace: str
) -> None:
    """A selector over several Services; one that has nobody behind it is known, too, with its labels."""
    slices = Slices(client, namespace)
    endpoints = Endpoints(client, namespace, "pointsman.dev/gateway")
    async with followed(endpoints):
        assert not endpoints.current
        for gateway in ("eu", "us"):
            await slices.put(
                f"gw-{gateway}",
                "p",
                {"stats": 9902},
                ip="10.1.0.1",
                labels={"pointsman.dev/gateway": gateway},
            )
        await slices.put("gw-none", "", {}, labels={"pointsman.dev/gateway": "none"})
        await slices.put("unlabelled", "p", PORTS, ip="10.1.0.3")
        await until(lambda: len(endpoints.services) == 3)
        found = {one.label("pointsman.dev/gateway"): one.address("stats") for one in endpoints.current}
        assert found == {"eu": "10.1.0.1:9902", "us": "10.1.0.1:9902"}
        assert endpoints.services["gw-none"]["pointsman.dev/gateway"] == "none"


async def test_what_changed_while_the_api_server_was_away_is_found(
    plane: ControlPlane, client: KubeClient, namespace: str
) -> None:
    """Nobody is forgotten while nobody can be asked; afterwards it is as the API server says."""
    slices = Slices(client, namespace)
    await slices.put("xds", "a", PORTS, ip="10.1.0.1")
    endpoints = Endpoints.of_service(client, namespace, "xds")
    async with followed(endpoints):
        assert plane.apiserver.child is not None
        plane.apiserver.child.kill()
        await until(client.metrics.watch_ends.labels("endpointslices.discovery.k8s.io", "error")._value.get)
        assert len(endpoints.current) == 1
        child = plane.apiserver.start()
        await asyncio.to_thread(child.wait_ready)
        await slices.put("xds", "b", PORTS, ip="10.1.0.2")
        await slices.drop("xds", "a")
        await until(lambda: [e.pod for e in endpoints.current] == ["b"], 20)
