"""TritonPools in a namespace of the real API server: pools, their pods, and policies that use them."""

from __future__ import annotations

from typing import Any

from operator_kit import Cluster, Operator, classifier_spec, condition, eventually, sha256
from pointsman import install
from pointsman.controllers.infrastructure import Settings
from pointsman.kube.resources import PODS, POOLS
from wait import until

GPU = "nvidia.com/gpu"


def infrastructure(namespace: str) -> dict[str, Any]:
    """Return what an operator is told that looks after the pools of a namespace."""
    settings = Settings(namespace, "self", "pointsman:test", "envoy:test", "triton:test")
    return {"infrastructure": settings, "system_namespace": namespace}


def managed(uri: str, content: bytes, pool: str | None = None, **more: Any) -> dict[str, Any]:
    """Return a policy's spec whose classifier runs on a pool."""
    where = {"managed": {"poolRef": {"name": pool}} if pool else {}}
    return classifier_spec(uri, sha256(content), [], **more) | {"triton": where}


async def create_pool(cluster: Cluster, name: str = "default", **spec: Any) -> dict[str, Any]:
    """Create a TritonPool."""
    body = {
        "apiVersion": POOLS.api_version,
        "kind": POOLS.kind,
        "metadata": {"name": name, "namespace": cluster.namespace},
        "spec": spec,
    }
    return await cluster.admin.create(POOLS, body, cluster.namespace)


async def pool_condition(
    cluster: Cluster, kind: str, reason: str, name: str = "default", deadline_s: float = 30
) -> dict[str, Any]:
    """Wait until a pool's condition has a reason; return it."""

    async def check() -> dict[str, Any] | None:
        found = condition(await cluster.admin.get(POOLS, name, cluster.namespace), kind)
        return found if found.get("reason") == reason else None

    return await eventually(check, f"TritonPool {name}: {kind} is {reason}", deadline_s)


async def create_pod(cluster: Cluster, name: str, pool: str = "default") -> None:
    """Create a pod as the pool's ReplicaSet would; nothing runs it."""
    labels = {
        install.LABEL_NAME: "pointsman",
        install.LABEL_COMPONENT: "triton",
        install.LABEL_MANAGED_BY: "pointsman",
        install.LABEL_POOL: pool,
    }
    body = {
        "metadata": {"name": name, "labels": labels},
        "spec": {
            "serviceAccountName": install.pool_name(pool),
            "automountServiceAccountToken": False,
            "containers": [{"name": "triton", "image": "triton:test"}],
        },
    }
    await cluster.admin.create(PODS, body, cluster.namespace)


async def pod_status(cluster: Cluster, name: str, ip: str = "", *, ready: bool = False, **more: Any) -> None:
    """Write a pod's status, as its kubelet would."""
    status: dict[str, Any] = {
        "phase": "Running",
        "conditions": [{"type": "Ready", "status": "True" if ready else "False"}],
        **({"podIP": ip, "podIPs": [{"ip": ip}]} if ip else {}),
        **more,
    }
    await cluster.admin.patch(PODS, name, cluster.namespace, {"status": status}, subresource="status")


def waiting(reason: str, message: str) -> list[dict[str, Any]]:
    """Return containerStatuses of a Triton that waits."""
    return [
        {
            "name": "triton",
            "image": "triton:test",
            "imageID": "",
            "ready": False,
            "restartCount": 0,
            "state": {"waiting": {"reason": reason, "message": message}},
        }
    ]


async def looked(operator: Operator, pool: str = "default") -> None:
    """Wait until the operator has looked at a pool twice, with nothing left to do."""
    told = operator.controllers.infrastructure
    assert told is not None
    await told.ready.wait()
    for _ in range(2):
        told.queue.add(f"pool:{pool}")
        await until(lambda: told.queue.depth() == 0 and not told.queue.busy, what="the pool was looked at")
    await operator.settled()
