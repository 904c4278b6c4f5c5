"""TritonPools among the real controllers and scheduler: pods come, find no GPU, and go with their pool."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Iterator

import pytest

from operator_kit import Cluster, bundle, eventually, fresh
from pointsman import install
from pointsman.kube.resources import (
    AUTOSCALERS,
    CONFIG_MAPS,
    DEPLOYMENTS,
    DISRUPTION_BUDGETS,
    PODS,
    POOLS,
    SERVICE_ACCOUNTS,
    SERVICES,
)
from pointsman.lab.cluster.controllers import Controllers
from pointsman.lab.controlplane import ControlPlane
from pool_kit import create_pool, infrastructure, looked, managed, pool_condition

pytestmark = [pytest.mark.apiserver, pytest.mark.timeout(180)]

MADE = (
    SERVICE_ACCOUNTS,
    SERVICES,
    CONFIG_MAPS,
    DISRUPTION_BUDGETS,
    AUTOSCALERS,
    DEPLOYMENTS,
    PODS,
)


@pytest.fixture(scope="module")
def moving(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ControlPlane]:
    """Start a control plane with its controllers, a scheduler, and one node without GPUs."""
    with (
        ControlPlane(tmp_path_factory.mktemp("moving")) as plane,
        Controllers(plane, nodes=1, gpus=0),
    ):
        yield plane


@pytest.fixture
async def system(moving: ControlPlane) -> AsyncIterator[Cluster]:
    """Return a fresh namespace of it."""
    async with fresh(moving.kubeconfig, moving.kubeconfig) as found:
        yield found


async def test_without_a_gpu_the_policy_has_the_schedulers_words(system: Cluster) -> None:
    """A pool that asks for a GPU that no node has: the cause is on the policy and on the pool, in time."""
    content = bundle(mark=system.namespace)
    await system.config_map("bundle", content)
    async with system.operator(**infrastructure(system.namespace)) as operator:
        await system.apply(managed("configmap://bundle", content, "gpu"))
        await operator.condition("ClassifierReady", "PoolNotFound")
        since = time.monotonic()
        await create_pool(system, "gpu", gpu={"count": 1})
        told = await operator.condition("ClassifierReady", "Unschedulable")
        assert time.monotonic() - since < 10
        assert "Insufficient nvidia.com/gpu" in told["message"]
        on_pool = await pool_condition(system, "Ready", "Unschedulable", "gpu")
        assert "Insufficient nvidia.com/gpu" in on_pool["message"]
        assert "Unschedulable" in await system.events("Unschedulable")


async def test_a_pool_that_is_deleted_takes_everything_along(system: Cluster) -> None:
    """Pods, autoscaler, budget and all: gone with the pool, and the policy says what it lacks."""
    content = bundle(mark=system.namespace)
    await system.config_map("bundle", content)
    async with system.operator(**infrastructure(system.namespace)) as operator:
        await system.apply(managed("configmap://bundle", content))
        await create_pool(system, replicas={"min": 1, "max": 3})

        async def made() -> bool:
            return all([await _count(system, resource) for resource in MADE])

        await eventually(made, "everything is made")
        await system.admin.delete(POOLS, "default", system.namespace)

        async def gone() -> bool:
            return not any([await _count(system, resource) for resource in MADE])

        await eventually(gone, "everything is gone", 60)
        await operator.condition("ClassifierReady", "PoolNotFound")


async def test_the_autoscalers_number_is_kept(system: Cluster) -> None:
    """Scaled by somebody else within the bounds, the Deployment keeps its pods when the pool changes."""
    async with system.operator(**infrastructure(system.namespace)) as operator:
        await create_pool(system, replicas={"min": 1, "max": 5})
        name = install.pool_name("default")
        await eventually(lambda: _replicas(system, 1), "the Deployment")
        await looked(operator)
        await system.admin.patch(DEPLOYMENTS, name, system.namespace, {"spec": {"replicas": 3}})
        image = {"spec": {"image": "triton:other"}}
        await system.admin.patch(POOLS, "default", system.namespace, image)

        async def changed() -> bool:
            found = await system.admin.get(DEPLOYMENTS, name, system.namespace)
            containers = found["spec"]["template"]["spec"]["containers"]
            return any(container["image"] == "triton:other" for container in containers)

        await eventually(changed, "the new image")
        assert await _replicas(system, 3)


async def _count(system: Cluster, resource: object) -> int:
    found = (await system.admin.list(resource, system.namespace)).items  # type: ignore[arg-type]
    return sum(install.LABEL_POOL in (item["metadata"].get("labels") or {}) for item in found)


async def _replicas(system: Cluster, wanted: int) -> bool:
    found = (await system.admin.list(DEPLOYMENTS, system.namespace)).items
    return bool(found) and found[0]["spec"]["replicas"] == wanted
