"""The cache against a real API server that is changed, restarted and compacted."""

from __future__ import annotations

import asyncio
import base64
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from pointsman.kube.client import KubeClient, Selector
from pointsman.kube.informer import Change, Informer
from pointsman.kube.resources import CONFIG_MAPS
from wait import until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from pointsman.lab.controlplane import ControlPlane

pytestmark = pytest.mark.apiserver


def config_map(name: str, **data: str) -> dict[str, Any]:
    """Return a ConfigMap with a label."""
    return {"metadata": {"name": name, "labels": {"name": name}}, "data": data}


@asynccontextmanager
async def informed(
    client: KubeClient, namespace: str, **more: Any
) -> AsyncIterator[tuple[Informer, list[Change]]]:
    """Run an informer of ConfigMaps that are called a or b; yield it, synced, and its changes."""
    changes: list[Change] = []
    selector = more.pop("selector", Selector(labels="name in (a, b)"))
    informer = Informer(
        client, CONFIG_MAPS, namespace=namespace, selector=selector, on_change=changes.append, **more
    )
    task = asyncio.create_task(informer.run())
    try:
        await asyncio.wait_for(informer.synced.wait(), 10)
        yield informer, changes
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


def value(informer: Informer, namespace: str, name: str) -> str | None:
    """Return what the cache has for a ConfigMap's key `k`."""
    found = informer.store.get(f"{namespace}/{name}")
    return None if found is None else found["data"]["k"]


def relists(client: KubeClient) -> float:
    """Return how many lists were read."""
    return float(client.metrics.relists.labels("configmaps")._value.get())


async def test_changes_arrive_in_the_store_and_in_the_callback(client: KubeClient, namespace: str) -> None:
    """What was there, what is added, changed and deleted: store and callbacks agree."""
    await client.create(CONFIG_MAPS, config_map("a", k="1"), namespace)
    async with informed(client, namespace) as (informer, changes):
        assert value(informer, namespace, "a") == "1"
        assert "managedFields" not in informer.store[f"{namespace}/a"]["metadata"]
        await client.create(CONFIG_MAPS, config_map("b", k="1"), namespace)
        await client.patch(CONFIG_MAPS, "b", namespace, {"data": {"k": "2"}})
        await until(lambda: value(informer, namespace, "b") == "2")
        await client.delete(CONFIG_MAPS, "a", namespace)
        await until(lambda: value(informer, namespace, "a") is None)
        told = [(c.key.partition("/")[2], c.old is not None, c.new is not None) for c in changes]
        assert told == [("a", False, True), ("b", False, True), ("b", True, True), ("a", True, False)]


async def test_one_object_can_be_watched_by_its_name(client: KubeClient, namespace: str) -> None:
    """With a field selector only that object is kept."""
    async with informed(client, namespace, selector=Selector(fields="metadata.name=a")) as (informer, _):
        for name in ("b", "a"):
            await client.create(CONFIG_MAPS, config_map(name, k="1"), namespace)
        await until(lambda: value(informer, namespace, "a"))
        assert list(informer.store) == [f"{namespace}/a"]


async def test_a_watch_that_ends_is_resumed_without_a_list(client: KubeClient, namespace: str) -> None:
    """When the server ends a watch the next one goes on where it was."""
    async with informed(client, namespace, watch_s=2) as (informer, _):
        ends = client.metrics.watch_ends.labels("configmaps", "server")
        await until(lambda: ends._value.get() >= 2)
        await client.create(CONFIG_MAPS, config_map("a", k="1"), namespace)
        await until(lambda: value(informer, namespace, "a"))
        assert relists(client) == 1


async def test_what_happened_while_the_api_server_was_restarted_is_noticed(
    plane: ControlPlane, client: KubeClient, namespace: str
) -> None:
    """The store is kept while the server is away, and true again when it is back."""
    for name in ("a", "b"):
        await client.create(CONFIG_MAPS, config_map(name, k="1"), namespace)
    async with informed(client, namespace) as (informer, changes):
        assert plane.apiserver.child is not None
        plane.apiserver.child.kill()
        await until(client.metrics.watch_ends.labels("configmaps", "error")._value.get)
        assert len(informer.store) == 2
        child = plane.apiserver.start()
        await asyncio.to_thread(child.wait_ready)
        await client.delete(CONFIG_MAPS, "a", namespace)
        await client.patch(CONFIG_MAPS, "b", namespace, {"data": {"k": "2"}})
        await until(
            lambda: value(informer, namespace, "a") is None and value(informer, namespace, "b") == "2", 20
        )
        assert len(changes) == 4


async def test_what_was_compacted_away_is_found_by_a_list(
    plane: ControlPlane, client: KubeClient, namespace: str
) -> None:
    """Changes that no watch can tell any more: after a watch that was cut short everything is listed."""
    for name in ("a", "b"):
        await client.create(CONFIG_MAPS, config_map(name, k="1"), namespace)
    async with informed(client, namespace) as (informer, changes):
        assert plane.apiserver.child is not None
        plane.apiserver.child.kill()
        await until(client.metrics.watch_ends.labels("configmaps", "error")._value.get)
        await compact_beyond(plane, f"/registry/configmaps/{namespace}/a")
        child = plane.apiserver.start()
        await asyncio.to_thread(child.wait_ready)
        await until(lambda: value(informer, namespace, "a") is None, 20)
        assert relists(client) == 2
        assert [c.key for c in changes[2:]] == [f"{namespace}/a"]


async def compact_beyond(plane: ControlPlane, key: str) -> None:
    """Delete a key in etcd behind the API server's back, and every trace of it."""
    url = f"http://127.0.0.1:{plane.ports.etcd}/v3/kv"
    async with httpx.AsyncClient(timeout=10) as http:
        for _ in range(3):
            wanted = {"key": base64.b64encode(key.encode()).decode()}
            deleted = (await http.post(f"{url}/deleterange", json=wanted)).json()
            filler = {"key": base64.b64encode(b"/filler").decode(), "value": ""}
            revision = (await http.post(f"{url}/put", json=filler)).json()["header"]["revision"]
            assert deleted
        await http.post(f"{url}/compaction", json={"revision": revision, "physical": True})
