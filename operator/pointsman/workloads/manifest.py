"""Pieces of the manifests that gateways and pools share. Plain values, the same for the same input."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from pointsman import install
from pointsman.api.v1alpha1.meta import API_VERSION
from pointsman.kube.resources import AUTOSCALERS, DEPLOYMENTS, DISRUPTION_BUDGETS, SERVICE_ACCOUNTS

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from pointsman.api.v1alpha1.pods import Placement, PullSecret, Replicas, Resources

Manifest = dict[str, Any]

NAME: Final = "pointsman"
USER: Final = 65532
"""Of every container: any user but root would do; a fixed one owns the files that the pod's parts share."""
SECRET_MODE: Final = 0o440
"""Keys are read by the pod's own group and nobody else."""
_CPU_PERCENT: Final = 70

POD_SECURITY: Final[Manifest] = {
    "runAsNonRoot": True,
    "runAsUser": USER,
    "runAsGroup": USER,
    "fsGroup": USER,
    "seccompProfile": {"type": "RuntimeDefault"},
}
CONTAINER_SECURITY: Final[Manifest] = {
    "allowPrivilegeEscalation": False,
    "capabilities": {"drop": ["ALL"]},
    "readOnlyRootFilesystem": True,
}
"""With `POD_SECURITY`: the Pod Security level `restricted`, and more."""


def labels(component: str, label: str, name: str) -> dict[str, str]:
    """Return the labels of everything that is made for the object `name`; `label` says of which kind."""
    return selector(component, label, name) | {install.LABEL_MANAGED_BY: NAME}


def selector(component: str, label: str, name: str) -> dict[str, str]:
    """Return the labels by which its pods are chosen: they can never change, so they are few."""
    return {install.LABEL_NAME: NAME, install.LABEL_COMPONENT: component, label: name}


def owner_of(kind: str, name: str, uid: str) -> dict[str, Any]:
    """Return the owner reference by which Kubernetes deletes an object together with ours."""
    # no blockOwnerDeletion: that would need a right to the owner's finalizers
    return {"apiVersion": API_VERSION, "kind": kind, "name": name, "uid": uid, "controller": True}


def metadata(name: str, namespace: str, labels: Mapping[str, str], owner: Mapping[str, Any]) -> Manifest:
    """Return an object's metadata."""
    return {
        "name": name,
        "namespace": namespace,
        "labels": dict(labels),
        "ownerReferences": [dict(owner)],
    }


def service_account(meta: Manifest) -> Manifest:
    """Return a ServiceAccount whose pods get no token: they never ask the API server."""
    return _object(SERVICE_ACCOUNTS, meta) | {"automountServiceAccountToken": False}


def budget(meta: Manifest, selector: Mapping[str, str]) -> Manifest:
    """Return a PodDisruptionBudget: one pod at a time, and broken ones never hold a node's drain up."""
    spec = {
        "maxUnavailable": 1,
        "selector": {"matchLabels": dict(selector)},
        "unhealthyPodEvictionPolicy": "AlwaysAllow",
    }
    return _object(DISRUPTION_BUDGETS, meta) | {"spec": spec}


def autoscaler(meta: Manifest, deployment: str, replicas: Replicas) -> Manifest:
    """Return a HorizontalPodAutoscaler of a Deployment, by CPU."""
    target = {
        "type": "Utilization",
        "averageUtilization": replicas.target_cpu_percent or _CPU_PERCENT,
    }
    spec = {
        "scaleTargetRef": {
            "apiVersion": DEPLOYMENTS.api_version,
            "kind": DEPLOYMENTS.kind,
            "name": deployment,
        },
        "minReplicas": replicas.min,
        "maxReplicas": replicas.most,
        "metrics": [{"type": "Resource", "resource": {"name": "cpu", "target": target}}],
    }
    return _object(AUTOSCALERS, meta) | {"spec": spec}


def scaled(replicas: Replicas) -> bool:
    """Tell whether an autoscaler chooses the number of pods."""
    return replicas.most > replicas.min


def spread(selector: Mapping[str, str]) -> Manifest:
    """Return what keeps pods on different zones and nodes where that can be: better crowded than missing."""
    chosen = {"matchLabels": dict(selector)}
    return {
        "topologySpreadConstraints": [
            {
                "maxSkew": 1,
                "topologyKey": "topology.kubernetes.io/zone",
                "whenUnsatisfiable": "ScheduleAnyway",
                "labelSelector": chosen,
                # while a new version comes, its pods are spread by themselves
                "matchLabelKeys": ["pod-template-hash"],
            }
        ],
        "affinity": {
            "podAntiAffinity": {
                "preferredDuringSchedulingIgnoredDuringExecution": [
                    {
                        "weight": 100,
                        "podAffinityTerm": {
                            "topologyKey": "kubernetes.io/hostname",
                            "labelSelector": chosen,
                        },
                    }
                ]
            }
        },
    }


def placement(where: Placement | None) -> Manifest:
    """Return a pod's nodeSelector and tolerations, where there are any."""
    if where is None:
        return {}
    found: Manifest = {}
    if where.node_selector:
        found["nodeSelector"] = dict(where.node_selector)
    if where.tolerations:
        found["tolerations"] = [toleration.to_kube() for toleration in where.tolerations]
    return found


def pull_secrets(own: Iterable[str], named: Iterable[PullSecret]) -> Manifest:
    """Return a pod's imagePullSecrets, where there are any: the operator's `own`, then the object's."""
    names = dict.fromkeys([*own, *(secret.name for secret in named)])
    return {"imagePullSecrets": [{"name": name} for name in names]} if names else {}


def resources(wanted: Resources | None, default: Manifest) -> Manifest:
    """Return a container's resources: as the user wrote them, or the default; never a mixture of both."""
    if wanted is None:
        return default
    return {key: dict(value) for key, value in wanted.to_kube().items() if value}


def _object(resource: Any, meta: Manifest) -> Manifest:
    return {"apiVersion": resource.api_version, "kind": resource.kind, "metadata": meta}
