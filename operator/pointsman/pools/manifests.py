"""A TritonPool → the manifests of what runs its Tritons. Pure, and the same for the same input."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from pointsman import install
from pointsman.api.v1alpha1.pods import Replicas
from pointsman.api.v1alpha1.triton_pool import TritonPool
from pointsman.kube.resources import CONFIG_MAPS, DEPLOYMENTS, SERVICES
from pointsman.pools.models import KEY, ModelList, dump
from pointsman.pools.pod_template import CONTAINER, pod_template
from pointsman.workloads.manifest import (
    autoscaler,
    budget,
    labels,
    metadata,
    owner_of,
    scaled,
    selector,
    service_account,
)

if TYPE_CHECKING:
    from pointsman.pools.pod_template import Images
    from pointsman.workloads.manifest import Manifest

COMPONENT: Final = "triton"
_SLOW_DOWN_S: Final = 300
_ROLLOUT_S: Final = 1800
"""Until a Deployment says that it does not get on: images of gigabytes are pulled first."""


def manifests(pool: TritonPool, images: Images, models: ModelList) -> list[Manifest]:
    """Return everything that a pool needs, in the order in which it is applied."""
    name = install.pool_name(pool.metadata.name)
    replicas = pool.spec.replicas or Replicas()
    meta = _metadata(name, pool)
    found = [
        service_account(meta),
        _models(pool, models),
        _service(pool),
        budget(meta, _selector(pool)),
        _deployment(pool, images, replicas.min),
    ]
    return [*found, _autoscaler(meta, name, replicas)] if scaled(replicas) else found


def _metadata(name: str, pool: TritonPool) -> Manifest:
    owner = owner_of(TritonPool.KIND, pool.metadata.name, pool.metadata.uid)
    return metadata(name, pool.metadata.namespace, _labels(pool), owner)


def _labels(pool: TritonPool) -> dict[str, str]:
    return labels(COMPONENT, install.LABEL_POOL, pool.metadata.name)


def _selector(pool: TritonPool) -> dict[str, str]:
    return selector(COMPONENT, install.LABEL_POOL, pool.metadata.name)


def _models(pool: TritonPool, models: ModelList) -> Manifest:
    return {
        "apiVersion": CONFIG_MAPS.api_version,
        "kind": CONFIG_MAPS.kind,
        "metadata": _metadata(install.pool_models(pool.metadata.name), pool),
        "data": {KEY: dump(models)},
    }


def _service(pool: TritonPool) -> Manifest:
    """Return the headless Service: its name resolves to the addresses of the ready pods."""
    ports = {"http": install.TRITON_HTTP, "metrics": install.TRITON_METRICS, "agent": install.AGENT_HTTP}
    return {
        "apiVersion": SERVICES.api_version,
        "kind": SERVICES.kind,
        "metadata": _metadata(install.pool_name(pool.metadata.name), pool),
        "spec": {
            "clusterIP": "None",
            "selector": _selector(pool),
            "ports": [
                {"name": name, "port": port, "targetPort": name, "protocol": "TCP"}
                for name, port in ports.items()
            ],
        },
    }


def _deployment(pool: TritonPool, images: Images, pods: int) -> Manifest:
    spec: dict[str, Any] = {
        "replicas": pods,
        "revisionHistoryLimit": 3,
        "progressDeadlineSeconds": _ROLLOUT_S,
        # A new pod is ready before an old one ends. Where every GPU is taken it waits for one, and the old
        # ones go on.
        "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}},
        "selector": {"matchLabels": _selector(pool)},
        "template": {
            "metadata": {
                "labels": _labels(pool),
                "annotations": {"kubectl.kubernetes.io/default-container": CONTAINER},
            },
            "spec": pod_template(pool, images, _selector(pool)),
        },
    }
    return {
        "apiVersion": DEPLOYMENTS.api_version,
        "kind": DEPLOYMENTS.kind,
        "metadata": _metadata(install.pool_name(pool.metadata.name), pool),
        "spec": spec,
    }


def _autoscaler(meta: Manifest, name: str, replicas: Replicas) -> Manifest:
    """Return the autoscaler by Triton's own CPU; it takes away slowly, as a model takes seconds to load."""
    found = autoscaler(meta, name, replicas)
    target = found["spec"]["metrics"][0]["resource"]["target"]
    by_triton = {"name": "cpu", "container": CONTAINER, "target": target}
    metrics = [{"type": "ContainerResource", "containerResource": by_triton}]
    behavior = {"scaleDown": {"stabilizationWindowSeconds": _SLOW_DOWN_S}}
    return found | {"spec": found["spec"] | {"metrics": metrics, "behavior": behavior}}
