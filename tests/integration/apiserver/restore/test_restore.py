"""etcd is restored from an older snapshot: caches and leaders that live through it."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest

from pointsman.kube.client import KubeClient, Selector
from pointsman.kube.informer import Informer
from pointsman.kube.lease import Election, Terms
from pointsman.kube.resources import CONFIG_MAPS, LEASES
from wait import until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from pointsman.lab.controlplane import ControlPlane

pytestmark = [pytest.mark.apiserver, pytest.mark.timeout(600)]

NAMESPACE = "default"
PATIENT_S = 240.0
"""Of Leases: longer than a busy machine takes to start an API server."""
OURS = Selector(labels="ours=yes")


def config_map(name: str, value: str) -> dict[str, Any]:
    """Return a ConfigMap."""
    return {"metadata": {"name": name, "labels": {"ours": "yes"}}, "data": {"k": value}}


def held(informer: Informer) -> dict[str, str]:
    """Return what the cache has: name and value of each ConfigMap."""
    return {obj["metadata"]["name"]: obj["data"]["k"] for obj in informer.store.values()}


async def kept(client: KubeClient) -> dict[str, str]:
    """Return what the API server has."""
    listing = await client.list(CONFIG_MAPS, NAMESPACE, OURS)
    return {obj["metadata"]["name"]: obj["data"]["k"] for obj in listing.items}


@asynccontextmanager
async def informed(client: KubeClient) -> AsyncIterator[Informer]:
    """Run an informer, synced."""
    informer = Informer(client, CONFIG_MAPS, namespace=NAMESPACE, selector=OURS)
    task = asyncio.create_task(informer.run())
    try:
        await until(informer.synced.is_set, 60)
        yield informer
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def test_a_cache_goes_back_with_the_api_server_and_follows_it_from_there(
    plane: ControlPlane, client: KubeClient, tmp_path: Path
) -> None:
    """Changed, new and deleted objects are as in the snapshot again; what happens next is seen at once."""
    for name in ("changed", "deleted"):
        await client.create(CONFIG_MAPS, config_map(name, "old"), NAMESPACE)
    await asyncio.to_thread(plane.snapshot, tmp_path / "snapshot")
    async with informed(client) as informer:
        await client.create(CONFIG_MAPS, config_map("new", "new"), NAMESPACE)
        await client.delete(CONFIG_MAPS, "deleted", NAMESPACE)
        for number in range(100):  # its versions are far behind ours afterwards
            await client.patch(CONFIG_MAPS, "changed", NAMESPACE, {"data": {"k": f"new {number}"}})
        await until(lambda: held(informer) == {"new": "new", "changed": "new 99"}, 60)
        await asyncio.to_thread(plane.restore, tmp_path / "snapshot")
        await until(lambda: held(informer) == {"changed": "old", "deleted": "old"}, 60)
        assert await kept(client) == held(informer)
        await client.patch(CONFIG_MAPS, "changed", NAMESPACE, {"data": {"k": "newer"}})
        await client.delete(CONFIG_MAPS, "deleted", NAMESPACE)
        await until(lambda: held(informer) == {"changed": "newer"}, 10)


@asynccontextmanager
async def candidate(
    plane: ControlPlane, name: str, duration_s: float
) -> AsyncIterator[tuple[Election, asyncio.Task[None]]]:
    """Run a candidate for the Lease."""
    async with await KubeClient.open(str(plane.kubeconfig)) as opened:
        election = Election(opened, Terms.of(NAMESPACE, "leader", name, duration_s))
        task = asyncio.create_task(election.run(), name=name)
        try:
            yield election, task
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


async def test_a_leader_ends_when_its_own_renewals_are_forgotten(
    plane: ControlPlane, client: KubeClient, tmp_path: Path
) -> None:
    """It leads still, by its clock and by the Lease; but what it knows is of a history that is no more."""
    async with candidate(plane, "one", PATIENT_S) as (election, task):
        await until(election.leading.is_set, 60)
        await asyncio.to_thread(plane.snapshot, tmp_path / "snapshot")
        before = (await client.get(LEASES, "leader", NAMESPACE))["spec"]["renewTime"]

        async def renewed() -> bool:
            return bool((await client.get(LEASES, "leader", NAMESPACE))["spec"]["renewTime"] != before)

        await until(renewed, 60)
        await asyncio.to_thread(plane.restore, tmp_path / "snapshot")
        await until(task.done, 60, what="it ends")
        assert election.went_back
        await election.release()  # as the operator does: who stands by need not wait
        assert not (await client.get(LEASES, "leader", NAMESPACE))["spec"].get("holderIdentity")


async def test_who_stands_by_does_not_take_its_own_old_lease_for_free(
    plane: ControlPlane, client: KubeClient, tmp_path: Path
) -> None:
    """The snapshot names a former leader that stands by now: it waits, for the later one may lead still."""
    async with candidate(plane, "one", PATIENT_S) as (first, _):
        await until(first.leading.is_set, 60)
        await asyncio.to_thread(plane.snapshot, tmp_path / "snapshot")
    lease = await client.get(LEASES, "leader", NAMESPACE)
    lease["spec"]["holderIdentity"] = "two"
    await client.replace(LEASES, lease)
    async with candidate(plane, "one", PATIENT_S) as (again, _):
        await until(lambda: again.holder == "two", 60)
        await asyncio.to_thread(plane.restore, tmp_path / "snapshot")
        await until(lambda: again.holder == "one", 60)
        looks = _looks(again)
        await until(lambda: _looks(again) >= looks + 3, 60, what="it looks on")
        assert not again.leading.is_set()


def _looks(election: Election) -> float:
    """Return how often a candidate has read the Lease."""
    requests = election._client.metrics.requests
    return float(requests.labels("get", LEASES.label, "200")._value.get())
