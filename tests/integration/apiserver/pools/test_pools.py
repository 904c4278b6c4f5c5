"""TritonPools on the real API server: what is made, what policies are told, and that no traffic pays."""

from __future__ import annotations

import time
import uuid
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from agent_kit import agent
from operator_kit import Cluster, Cut, Operator, bundle, condition, eventually, sha256
from pointsman import install
from pointsman.kube.client import KubeClient
from pointsman.kube.resources import (
    CONFIG_MAPS,
    DEPLOYMENTS,
    DISRUPTION_BUDGETS,
    PODS,
    POOLS,
    SERVICE_ACCOUNTS,
    SERVICES,
)
from pointsman.lab.triton import Triton
from pointsman.pools.models import KEY, ModelList, parse
from pool_kit import (
    create_pod,
    create_pool,
    infrastructure,
    looked,
    managed,
    pod_status,
    pool_condition,
    waiting,
)
from wait import until

pytestmark = [pytest.mark.apiserver, pytest.mark.timeout(180)]

TOLD_S = 10.0
"""Within this time a policy says what is wrong with its pool."""


def address() -> str:
    """Return a loopback address of its own: all agents listen on the same port."""
    return ".".join(["127", *(str(2 + byte % 250) for byte in uuid.uuid4().bytes[:3])])


async def told(operator: Operator, reason: str, since: float) -> dict[str, Any]:
    """Wait until the policy says why its classifier is not ready; in time."""
    found = await operator.condition("ClassifierReady", reason)
    assert time.monotonic() - since < TOLD_S
    return found


async def test_a_pool_becomes_its_objects(cluster: Cluster) -> None:
    """Account, list, Service, budget and Deployment appear, owned by the pool; its status says how it is."""
    async with cluster.operator(**infrastructure(cluster.namespace)):
        pool = await create_pool(cluster, replicas={"min": 3})
        await pool_condition(cluster, "Available", "Starting")
        name = install.pool_name("default")
        for resource in (SERVICE_ACCOUNTS, SERVICES, DISRUPTION_BUDGETS, DEPLOYMENTS):
            found = await eventually(partial(_there, cluster, resource, name), f"{resource.kind} {name}")
            assert found["metadata"]["ownerReferences"][0]["uid"] == pool["metadata"]["uid"]
        listed = await cluster.admin.get(CONFIG_MAPS, install.pool_models("default"), cluster.namespace)
        assert parse(listed["data"][KEY]).models == ()
        deployment = await cluster.admin.get(DEPLOYMENTS, name, cluster.namespace)
        assert deployment["spec"]["replicas"] == 3
        seen = await cluster.admin.get(POOLS, "default", cluster.namespace)
        assert seen["status"]["address"] == f"{name}.{cluster.namespace}.svc"


async def test_a_policy_says_what_is_wrong_with_its_pool(cluster: Cluster) -> None:
    """No pool, none of its pods yet, no node, no image, a crash, no memory: each with its cause, in time."""
    content = bundle(mark=cluster.namespace)
    await cluster.config_map("bundle", content)
    async with cluster.operator(**infrastructure(cluster.namespace)) as operator:
        await cluster.apply(managed("configmap://bundle", content))
        missing = await operator.condition("ClassifierReady", "PoolNotFound")
        assert "there is no TritonPool default" in missing["message"]
        since = time.monotonic()
        await create_pool(cluster)
        await told(operator, "PoolStarting", since)

        await create_pod(cluster, "triton-0")
        since = time.monotonic()
        nodes = "0/3 nodes are available: 3 Insufficient nvidia.com/gpu."
        unscheduled = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": nodes}
        await pod_status(cluster, "triton-0", phase="Pending", conditions=[unscheduled])
        assert nodes in (await told(operator, "Unschedulable", since))["message"]

        since = time.monotonic()
        status = waiting("ImagePullBackOff", "Back-off pulling image triton:test")
        await pod_status(cluster, "triton-0", phase="Pending", containerStatuses=status)
        assert "Back-off pulling image" in (await told(operator, "ImagePullFailed", since))["message"]

        since = time.monotonic()
        ended = {"exitCode": 1, "reason": "Error", "message": "bind: address in use"}
        status = [waiting("CrashLoopBackOff", "")[0] | {"lastState": {"terminated": ended}}]
        await pod_status(cluster, "triton-0", containerStatuses=status)
        assert "bind: address in use" in (await told(operator, "PodCrashLooping", since))["message"]

        since = time.monotonic()
        ended = {"exitCode": 137, "reason": "OOMKilled"}
        status = [waiting("CrashLoopBackOff", "")[0] | {"lastState": {"terminated": ended}}]
        await pod_status(cluster, "triton-0", containerStatuses=status)
        assert "limits.memory" in (await told(operator, "OutOfMemory", since))["message"]
        await pool_condition(cluster, "Available", "OutOfMemory")

        policy = await cluster.policy()
        assert not (policy["status"].get("traffic")), "it waits at always-strong"


async def test_a_pool_that_is_not_for_the_namespace_is_refused(cluster: Cluster) -> None:
    """The pool keeps other namespaces out, whose bundles are not even listed; let in, they load."""
    content = bundle(mark=cluster.namespace)
    await cluster.config_map("bundle", content)
    elsewhere = {"from": "Selector", "selector": {"matchLabels": {"team": "search"}}}
    async with cluster.operator(**infrastructure(cluster.namespace)) as operator:
        await create_pool(cluster, allowedNamespaces=elsewhere)
        await cluster.apply(managed("configmap://bundle", content))
        refused = await operator.condition("ClassifierReady", "PoolNotAllowed")
        assert f"leave namespace {cluster.namespace} out" in refused["message"]
        assert await _listed(cluster) == []
        own = {"spec": {"allowedNamespaces": {"from": "Same", "selector": None}}}
        await cluster.admin.patch(POOLS, "default", cluster.namespace, own)
        await operator.condition("ClassifierReady", "PoolStarting")
        await _list_with(cluster, sha256(content))


@pytest.mark.triton
async def test_a_policy_is_promoted_on_a_pool_and_its_pods_come_and_go(
    cluster: Cluster, triton: Triton, tmp_path: Path
) -> None:
    """A ready pod that holds the model is enough; one that starts or ends takes nothing away."""
    content = bundle(mark=cluster.namespace)
    await cluster.config_map("bundle", content)
    ip = address()
    async with cluster.operator(**infrastructure(cluster.namespace)) as operator:
        await create_pool(cluster)
        await cluster.apply(managed("configmap://bundle", content))
        await operator.condition("ClassifierReady", "PoolStarting")
        models = await _list_with(cluster, sha256(content))
        cache = tmp_path / "cache"
        cache.mkdir()
        (cache / f"{sha256(content)}.zip").write_bytes(content)
        where = f"{ip}:{install.AGENT_HTTP}"
        async with agent(triton.http_url, tmp_path, models=models, http_address=where) as beside:
            await beside.becomes_ready()
            await create_pod(cluster, "triton-0")
            await pod_status(cluster, "triton-0", ip, ready=True)
            await operator.promoted()
            assert (await operator.condition("ClassifierReady", "Loaded"))["message"] == (
                "loaded on TritonPool default"
            )
            await _in_traffic(cluster, sha256(content))
            # another one starts, and cannot
            await create_pod(cluster, "triton-1")
            status = waiting("ImagePullBackOff", "no such image")
            await pod_status(cluster, "triton-1", phase="Pending", containerStatuses=status)
            await pool_condition(cluster, "Ready", "Scaling")
            assert condition(await cluster.policy(), "ClassifierReady")["reason"] == "Loaded"
            # the ready one goes: now it is told, and the traffic stays where it was
            before = (await cluster.policy())["status"]["traffic"]
            await pod_status(cluster, "triton-0", ip, ready=False)
            lost = await operator.condition("ClassifierReady", "ImagePullFailed")
            assert "no Triton is ready" in lost["message"]
            assert (await cluster.policy())["status"]["traffic"] == before
            await pod_status(cluster, "triton-0", ip, ready=True)
            await operator.condition("ClassifierReady", "Loaded")


@pytest.mark.triton
async def test_from_external_to_managed_nothing_is_rolled_out_and_nobody_pays(
    cluster: Cluster, triton: Triton, tmp_path: Path
) -> None:
    """The same revision goes on where it is loaded until the pool holds it; only then the place moves."""
    content = bundle(mark=cluster.namespace)
    await cluster.config_map("bundle", content)
    spec = managed("configmap://bundle", content)
    external = {"external": {"urls": [triton.http_url]}, "managed": None}
    ip = address()
    async with cluster.operator(**infrastructure(cluster.namespace)) as operator:
        await cluster.apply(spec | {"triton": {"external": external["external"]}})
        first = await operator.promoted()
        assert first["status"]["triton"] == {"external": external["external"]}
        await create_pool(cluster)
        await cluster.change(triton={"managed": {}, "external": None})
        waiting_ = await operator.condition("ClassifierReady", "PoolStarting")
        assert f"requests are classified by {triton.http_url} until then" in waiting_["message"]
        policy = await cluster.policy()
        assert policy["status"]["triton"] == first["status"]["triton"]
        assert policy["status"]["traffic"] == first["status"]["traffic"]
        assert len(await cluster.revisions()) == 1
        await _in_traffic(cluster, sha256(content))
        cache = tmp_path / "cache"
        cache.mkdir()
        (cache / f"{sha256(content)}.zip").write_bytes(content)
        models = await _list_with(cluster, sha256(content))
        where = f"{ip}:{install.AGENT_HTTP}"
        async with agent(triton.http_url, tmp_path, models=models, http_address=where) as beside:
            await beside.becomes_ready()
            await create_pod(cluster, "triton-0")
            await pod_status(cluster, "triton-0", ip, ready=True)

            async def moved() -> bool:
                return bool((await cluster.policy())["status"]["triton"] == {"managed": {}})

            await eventually(moved, "the place has moved")
            await operator.condition("ClassifierReady", "Loaded")
            assert len(await cluster.revisions()) == 1


async def test_at_rest_nothing_is_written(cluster: Cluster) -> None:
    """Objects, list and status stay as they are, also through a restart of the operator."""
    content = bundle(mark=cluster.namespace)
    await cluster.config_map("bundle", content)
    async with cluster.operator(**infrastructure(cluster.namespace)) as operator:
        await create_pool(cluster, gpu={"count": 1}, resources={"requests": {"cpu": "1000m"}})
        await cluster.apply(managed("configmap://bundle", content))
        await operator.condition("ClassifierReady", "PoolStarting")
        await pool_condition(cluster, "Available", "Starting")

        async def listed() -> bool:
            return await _listed(cluster) == [sha256(content)]

        await eventually(listed, "the list")
        await looked(operator)
        before = await _versions(cluster)
    async with cluster.operator(**infrastructure(cluster.namespace)) as operator:
        await looked(operator)
        assert await _versions(cluster) == before


async def test_a_death_between_any_two_writes_is_made_good(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever the operator had made when it died, the next one makes the rest, and the same."""
    apply = KubeClient.apply
    left = [0]

    async def mortal(self: KubeClient, *args: Any, **kwargs: Any) -> dict[str, Any]:
        if left == [0]:
            raise Cut
        left[0] -= 1
        return await apply(self, *args, **kwargs)

    for writes in range(5):
        name = f"cut-{writes}"
        left[0] = writes
        with monkeypatch.context() as dying:
            dying.setattr(KubeClient, "apply", mortal)
            async with cluster.operator(**infrastructure(cluster.namespace)):
                await create_pool(cluster, name)
                await until(lambda: left == [0], what="it has died")
        async with cluster.operator(**infrastructure(cluster.namespace)):
            await pool_condition(cluster, "Available", "Starting", name)
            for resource in (SERVICE_ACCOUNTS, SERVICES, DISRUPTION_BUDGETS, DEPLOYMENTS):
                where = install.pool_name(name)
                await eventually(partial(_there, cluster, resource, where), f"{resource.kind} {where}")


async def _versions(cluster: Cluster) -> dict[str, str]:
    found = {}
    for resource in (SERVICE_ACCOUNTS, SERVICES, DISRUPTION_BUDGETS, DEPLOYMENTS, CONFIG_MAPS, POOLS, PODS):
        for item in (await cluster.admin.list(resource, cluster.namespace)).items:
            found[f"{resource.kind}/{item['metadata']['name']}"] = item["metadata"]["resourceVersion"]
    return found


async def _there(cluster: Cluster, resource: Any, name: str) -> dict[str, Any] | None:
    found = (await cluster.admin.list(resource, cluster.namespace)).items
    return next((item for item in found if item["metadata"]["name"] == name), None)


async def _list_text(cluster: Cluster) -> str:
    found = await cluster.admin.get(CONFIG_MAPS, install.pool_models("default"), cluster.namespace)
    return str(found["data"][KEY])


async def _list_with(cluster: Cluster, digest: str) -> ModelList:
    async def there() -> ModelList | None:
        found = parse(await _list_text(cluster))
        return found if any(model.sha256 == digest for model in found.models) else None

    return await eventually(there, "the list names the bundle")


async def _listing(cluster: Cluster) -> tuple[Any, ...]:
    return parse(await _list_text(cluster)).models


async def _listed(cluster: Cluster) -> list[str]:
    return [model.sha256 for model in await _listing(cluster)]


async def _in_traffic(cluster: Cluster, digest: str) -> None:
    async def there() -> bool:
        return [(model.sha256, model.traffic) for model in await _listing(cluster)] == [(digest, True)]

    await eventually(there, "the list says that it is in traffic")
