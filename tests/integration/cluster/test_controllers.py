"""Deployments move without a node: real controllers and scheduler, and kwok in the kubelet's place."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from pointsman.lab.cluster.controllers import Controllers, fail_pod, is_true, pods_ready
from pointsman.lab.controlplane import ControlPlane
from pointsman.lab.kubectl import Kubectl
from wait import until_sync

pytestmark = pytest.mark.apiserver

DEADLINE_S = 30


@pytest.fixture(scope="module")
def kube(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kubectl]:
    """Run a control plane with its controllers and one fake node that has two GPUs."""
    with (
        ControlPlane(tmp_path_factory.mktemp("plane")) as plane,
        Controllers(plane, nodes=1, gpus=2),
        Kubectl(plane.kubeconfig) as kubectl,
    ):
        yield kubectl


def deployment(name: str, image: str = "registry.local/x:1", **container: Any) -> dict[str, Any]:
    """Return a Deployment of one container."""
    labels = {"app": name}
    pod = {"containers": [{"name": "main", "image": image, **container}]}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name},
        "spec": {
            "replicas": 2,
            "selector": {"matchLabels": labels},
            "template": {"metadata": {"labels": labels}, "spec": pod},
        },
    }


def pods(kube: Kubectl, name: str) -> list[dict[str, Any]]:
    """Return the pods of a Deployment."""
    found: list[dict[str, Any]] = kube.get(f"/api/v1/namespaces/default/pods?labelSelector=app={name}")[
        "items"
    ]
    return found


def test_a_deployments_pods_become_ready_with_addresses_and_their_budget_counts_them(kube: Kubectl) -> None:
    """Deployment, ReplicaSet, EndpointSlice and disruption controllers act on one another's objects."""
    selector = {"matchLabels": {"app": "web"}}
    budget = {
        "apiVersion": "policy/v1",
        "kind": "PodDisruptionBudget",
        "metadata": {"name": "web"},
        "spec": {"minAvailable": 1, "selector": selector},
    }
    service = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": "web"},
        "spec": {"selector": {"app": "web"}, "ports": [{"port": 80}]},
    }
    kube.apply([deployment("web"), budget, service])
    until_sync(lambda: len(pods_ready(kube, "default", "app=web")) == 2, DEADLINE_S, what="two pods Ready")
    ours = "kubernetes.io/service-name=web"
    slices = f"/apis/discovery.k8s.io/v1/namespaces/default/endpointslices?labelSelector={ours}"

    def addresses() -> set[str]:
        found = [each for one in kube.get(slices)["items"] for each in one.get("endpoints") or ()]
        return {address for each in found if each["conditions"]["ready"] for address in each["addresses"]}

    assert until_sync(lambda: len(addresses()) == 2, DEADLINE_S, what="both pods are endpoints")
    budgets = "/apis/policy/v1/namespaces/default/poddisruptionbudgets/web"
    allowed = until_sync(
        lambda: kube.get(budgets).get("status", {}).get("disruptionsAllowed"),
        DEADLINE_S,
        what="the budget counts",
    )
    assert allowed == 1


def test_a_deleted_deployment_takes_its_pods_along(kube: Kubectl) -> None:
    """Garbage collection is real, so owner references can be tested."""
    kube.apply([deployment("gone")])
    until_sync(lambda: len(pods(kube, "gone")) == 2, DEADLINE_S, what="two pods")
    kube.delete(deployment("gone"))
    until_sync(lambda: not pods(kube, "gone"), DEADLINE_S, what="no pods")


def test_a_held_pod_is_the_tests_to_fail(kube: Kubectl) -> None:
    """An image tagged `held` keeps its pods Pending; what is wrong with them is written by the test."""
    kube.apply([deployment("broken", "registry.local/x:held")])
    held = until_sync(
        lambda: [pod for pod in pods(kube, "broken") if is_true(pod, "PodScheduled")],
        DEADLINE_S,
        what="a pod is scheduled",
    )[0]
    fail_pod(kube, "default", held["metadata"]["name"], "ImagePullBackOff", "no such image")
    found = kube.get(f"/api/v1/namespaces/default/pods/{held['metadata']['name']}")["status"]
    assert found["phase"] == "Pending"
    assert found["containerStatuses"][0]["state"]["waiting"]["reason"] == "ImagePullBackOff"


def test_more_gpus_than_there_are_cannot_be_scheduled(kube: Kubectl) -> None:
    """The scheduler's own words say so."""
    kube.apply([deployment("greedy", resources={"limits": {"nvidia.com/gpu": "3"}})])

    def refusal() -> str:
        conditions = [c for pod in pods(kube, "greedy") for c in pod["status"].get("conditions", [])]
        return next((c["message"] for c in conditions if c.get("reason") == "Unschedulable"), "")

    assert "nvidia.com/gpu" in until_sync(refusal, DEADLINE_S, what="a pod is unschedulable")
