"""The client against a real API server: what it returns, how it fails, what it repeats."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from prometheus_client import CollectorRegistry

from pointsman.kube.client import KubeClient, Selector
from pointsman.kube.errors import AlreadyExists, Conflict, Gone, Invalid, KubeError, NotFound, Unavailable
from pointsman.kube.metrics import KubeMetrics
from pointsman.kube.resources import CONFIG_MAPS, POLICIES, SECRETS
from wait import until

if TYPE_CHECKING:
    from pointsman.lab.controlplane import ControlPlane

pytestmark = pytest.mark.apiserver


def config_map(name: str, **data: str) -> dict[str, object]:
    """Return a ConfigMap with a label."""
    return {"metadata": {"name": name, "labels": {"name": name}}, "data": data}


def policy(name: str) -> dict[str, object]:
    """Return a valid RoutingPolicy."""
    return {
        "apiVersion": POLICIES.api_version,
        "kind": POLICIES.kind,
        "metadata": {"name": name},
        "spec": {
            "gatewayRef": {"name": "default"},
            "match": {"hostnames": ["a.example.com"], "models": ["auto"]},
            "tiers": [{"name": "only", "endpoints": [{"url": "http://127.0.0.1:9/v1"}], "model": "m"}],
            "strategy": {"type": "Pinned", "pinned": {"tier": "only"}},
            "rollout": {"mode": "Direct"},
        },
    }


async def test_a_status_patch_decided_on_an_old_version_is_a_conflict(
    client: KubeClient, namespace: str
) -> None:
    """The second of two writers that read the same version is told so, and nothing of it is written."""
    read = await client.create(POLICIES, policy("p"), namespace)
    version = read["metadata"]["resourceVersion"]
    await client.patch_status(POLICIES, "p", namespace, {"stableRevision": "p-1"}, resource_version=version)
    with pytest.raises(Conflict):
        await client.patch_status(
            POLICIES, "p", namespace, {"stableRevision": "p-2"}, resource_version=version
        )
    assert (await client.get(POLICIES, "p", namespace))["status"] == {
        "observedGeneration": -1,
        "stableRevision": "p-1",
    }


async def test_null_removes_a_field_of_the_status(client: KubeClient, namespace: str) -> None:
    """A merge patch takes a field away."""
    read = await client.create(POLICIES, policy("p"), namespace)
    for status in ({"stableRevision": "p-1", "candidateRevision": "p-2"}, {"candidateRevision": None}):
        version = read["metadata"]["resourceVersion"]
        read = await client.patch_status(POLICIES, "p", namespace, status, resource_version=version)
    assert read["status"] == {"observedGeneration": -1, "stableRevision": "p-1"}


async def test_each_refusal_is_told_apart(client: KubeClient, namespace: str) -> None:
    """Absent, there already, and invalid are exceptions of their own."""
    await client.create(CONFIG_MAPS, config_map("a"), namespace)
    with pytest.raises(NotFound):
        await client.get(CONFIG_MAPS, "b", namespace)
    with pytest.raises(AlreadyExists):
        await client.create(CONFIG_MAPS, config_map("a"), namespace)
    with pytest.raises(Invalid, match=r"metadata\.name"):
        await client.create(CONFIG_MAPS, config_map("A_"), namespace)


async def test_deleting_what_is_gone_is_no_error_and_a_wrong_uid_is(
    client: KubeClient, namespace: str
) -> None:
    """With a uid only that very object is deleted."""
    made = await client.create(CONFIG_MAPS, config_map("a"), namespace)
    with pytest.raises(Conflict):
        await client.delete(CONFIG_MAPS, "a", namespace, uid="another")
    for _ in range(2):
        await client.delete(CONFIG_MAPS, "a", namespace, uid=made["metadata"]["uid"])


async def test_a_list_is_whole_however_many_pages_it_has(client: KubeClient, namespace: str) -> None:
    """More objects than a page holds are all there."""
    made = {f"c{i}" for i in range(510)}
    for batch in range(0, 510, 30):
        names = [f"c{i}" for i in range(batch, batch + 30)]
        await asyncio.gather(*(client.create(CONFIG_MAPS, config_map(n), namespace) for n in names))
    listing = await client.list(CONFIG_MAPS, namespace)
    assert {item["metadata"]["name"] for item in listing.items} >= made


async def test_selectors_choose(client: KubeClient, namespace: str) -> None:
    """By label and by field only the object meant is listed."""
    for name in ("a", "b"):
        await client.create(CONFIG_MAPS, config_map(name), namespace)
    for selector in (Selector(labels="name=a"), Selector(fields="metadata.name=a")):
        listing = await client.list(CONFIG_MAPS, namespace, selector)
        assert [item["metadata"]["name"] for item in listing.items] == ["a"]


async def test_a_watch_tells_changes_and_ends_when_its_time_is_over(
    client: KubeClient, namespace: str
) -> None:
    """Added, changed and deleted come in order, then the server ends the watch."""
    version = (await client.list(CONFIG_MAPS, namespace)).resource_version
    await client.create(CONFIG_MAPS, config_map("a", k="1"), namespace)
    await client.patch(CONFIG_MAPS, "a", namespace, {"data": {"k": "2"}})
    await client.delete(CONFIG_MAPS, "a", namespace)
    events = client.watch(CONFIG_MAPS, version, namespace, Selector(labels="name=a"), timeout_s=1)
    seen = [event.type async for event in events]
    assert [kind for kind in seen if kind != "BOOKMARK"] == ["ADDED", "MODIFIED", "DELETED"]


async def test_a_watch_from_an_impossible_version_is_refused(client: KubeClient) -> None:
    """A version that no server ever gave raises, it does not hang."""
    with pytest.raises(KubeError):
        async for _ in client.watch(CONFIG_MAPS, "nonsense", timeout_s=1):
            pass


async def test_data_comes_decoded(client: KubeClient, namespace: str) -> None:
    """Secrets and ConfigMaps are read as bytes, binary data too."""
    await client.create(SECRETS, {"metadata": {"name": "s"}, "stringData": {"k": "v"}}, namespace)
    await client.create(CONFIG_MAPS, config_map("c", t="x") | {"binaryData": {"b": "AAE="}}, namespace)
    assert await client.secret("s", namespace) == {"k": b"v"}
    assert await client.config_map("c", namespace) == {"t": b"x", "b": b"\x00\x01"}


async def test_calls_are_counted(plane: ControlPlane) -> None:
    """Every attempt is in the metrics by verb, resource and code."""
    registry = CollectorRegistry()
    async with await KubeClient.open(str(plane.kubeconfig), KubeMetrics(registry)) as client:
        with pytest.raises(NotFound):
            await client.get(CONFIG_MAPS, "none", "default")
    labels = {"verb": "get", "resource": "configmaps", "code": "404"}
    assert registry.get_sample_value("pointsman_kube_requests_total", labels) == 1


async def test_a_component_may_do_no_more_than_its_role(plane: ControlPlane, namespace: str) -> None:
    """The xds server's own kubeconfig reads policies and cannot write them."""
    async with await KubeClient.open(str(plane.kubeconfig_of("xds"))) as xds:
        assert (await xds.list(POLICIES)).items is not None
        with pytest.raises(KubeError) as refused:
            await xds.create(POLICIES, policy("p"), namespace)
    assert refused.value.status == 403


async def test_a_read_outlives_a_restart_of_the_api_server(plane: ControlPlane, client: KubeClient) -> None:
    """While nobody listens the call is repeated, and answered when the server is back."""
    await client.list(CONFIG_MAPS, "default")
    plane.apiserver.stop()
    reading = asyncio.create_task(client.list(CONFIG_MAPS, "default"))
    retries = client.metrics.retries.labels("list", "configmaps")
    await until(lambda: retries._value.get() >= 2)
    child = plane.apiserver.start()
    try:
        await reading
    except Unavailable:  # it took longer than a call may
        await until(lambda: listed(client), 20)
    await asyncio.to_thread(child.wait_ready)


async def test_a_watch_that_is_left_keeps_no_socket_while_the_server_hangs(plane: ControlPlane) -> None:
    """Its connection ends at once: nobody waits for TLS to say goodbye on both sides."""
    assert plane.apiserver.child is not None
    async with await KubeClient.open(str(plane.kubeconfig)) as client:
        version = (await client.list(POLICIES)).resource_version

        async def watch() -> None:
            async for _ in client.watch(POLICIES, version):
                pass

        watching = asyncio.create_task(watch())
        begun = client.metrics.requests.labels("watch", POLICIES.label, "200")
        await until(lambda: begun._value.get() == 1, 20)
        assert sockets(plane.address)
        os.kill(plane.apiserver.child.pid, signal.SIGSTOP)
        try:
            watching.cancel()
            await until(lambda: not sockets(plane.address))
        finally:
            os.kill(plane.apiserver.child.pid, signal.SIGCONT)


def sockets(address: str) -> set[str]:
    """Return this process' sockets to an address, `127.0.0.1:PORT`."""
    remote = f"0100007F:{int(address.rpartition(':')[2]):04X}"
    rows = (line.split() for line in Path("/proc/net/tcp").read_text("ascii").splitlines()[1:])
    there = {f"socket:[{row[9]}]" for row in rows if row[2] == remote}
    mine = set()
    for entry in Path("/proc/self/fd").iterdir():
        with suppress(OSError):  # of this very listing
            mine.add(str(entry.readlink()))
    return there & mine


async def listed(client: KubeClient) -> bool:
    """Tell whether a list succeeds."""
    try:
        await client.list(CONFIG_MAPS, "default")
    except KubeError:
        return False
    return True


async def test_without_a_server_a_call_ends_within_its_deadline(plane: ControlPlane) -> None:
    """A dead address is `Unavailable` after the deadline, not later."""
    async with await KubeClient.open(str(plane.kubeconfig)) as client:
        client._api.configuration.host = "https://127.0.0.1:9"
        started = time.monotonic()
        with pytest.raises(Unavailable):
            await client.get(CONFIG_MAPS, "a", "default")
        assert 5 < time.monotonic() - started < 12


def test_gone_is_gone() -> None:
    """Both ways in which a server says that a version is too old are one exception."""
    from pointsman.kube.errors import refusal

    assert isinstance(refusal("watch", 410, b'{"reason": "Gone"}'), Gone)
    assert isinstance(refusal("list", 410, b'{"reason": "Expired"}'), Gone)
