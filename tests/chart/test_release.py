"""A release's life on a real API server: installed, upgraded, gone; and what stays."""

from __future__ import annotations

import base64
import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from chart_kit import CHART, CRDS_CHART, OTHER, SYSTEM, Helm, HelmError, Object, with_version
from pointsman.lab.kubectl import Kubectl
from pointsman.lab.process import LabError

from .cases import CASES

OURS = f"/apis/pointsman.dev/v1alpha1/namespaces/{OTHER}"
WORKLOADS = f"/apis/apps/v1/namespaces/{OTHER}"
FIXED = {
    "Deployment": ("selector",),
    "StatefulSet": ("selector", "serviceName", "volumeClaimTemplates", "podManagementPolicy"),
    "Service": ("clusterIP",),
    "ClusterRoleBinding": ("roleRef",),
    "RoleBinding": ("roleRef",),
}
"""What the API server lets nobody change."""


def fixed(objects: list[Object]) -> dict[tuple[str, str, str], Any]:
    """Return what cannot be changed later, by kind, namespace and name."""
    return {
        (each["kind"], each["metadata"].get("namespace", ""), each["metadata"]["name"]): {
            key: each.get("spec", each).get(key, each.get(key)) for key in FIXED[each["kind"]]
        }
        for each in objects
        if each["kind"] in FIXED
    }


def test_nothing_that_cannot_change_depends_on_the_version(helm: Helm, tmp_path: Path) -> None:
    """Selectors, claims and references are the same in the next version, and under another release's name."""
    later = with_version(CHART, tmp_path, "9.9.9")
    for case in ("default", "everything"):
        now = helm.render(CASES[case])
        assert fixed(now) == fixed(helm.render(CASES[case], later))
    assert "0.1.0" not in json.dumps(list(fixed(helm.render({})).values()))


def test_rendering_twice_gives_the_same(helm: Helm) -> None:
    """Nothing random, nothing looked up in the cluster: tools that compare see no difference."""
    values = CASES["everything"]
    texts = [helm("template", "pointsman", CHART, "--namespace", SYSTEM, values=values) for _ in range(2)]
    assert texts[0] == texts[1]


def exists(kubectl: Kubectl, path: str) -> bool:
    """Tell whether there is an object."""
    try:
        kubectl.get(path)
    except LabError:
        return False
    return True


@pytest.mark.apiserver
def test_a_release_comes_changes_and_goes_and_traffic_stays(
    cluster: Helm, kubectl: Kubectl, tmp_path: Path
) -> None:
    """Upgraded to the next version and other values; uninstalled, gateway and pool are still there."""
    release = ("pointsman", "--namespace", OTHER)
    notes = cluster("install", *release[:1], CHART, *release[1:])
    assert "create role pointsman-xds-keys --verb=get,list,watch --resource=secrets" in notes
    assert f"--serviceaccount={OTHER}:pointsman-xds" in notes
    later = with_version(CHART, tmp_path, "9.9.9")
    values = {"xds": {"replicas": 3}, "operator": {"extraArgs": ["--triton-poll=5s"]}}
    cluster("upgrade", *release[:1], later, *release[1:], values=values)
    assert kubectl.get(f"{WORKLOADS}/deployments/pointsman-xds")["spec"]["replicas"] == 3
    gateway = kubectl.get(f"{OURS}/routinggateways/default")
    cluster("uninstall", *release, "--no-hooks")
    assert not exists(kubectl, f"{WORKLOADS}/deployments/pointsman-operator")
    for path in ("routinggateways/default", "tritonpools/default"):
        assert exists(kubectl, f"{OURS}/{path}")
    cluster("install", *release[:1], CHART, *release[1:])  # takes over what it left
    assert kubectl.get(f"{OURS}/routinggateways/default")["metadata"]["uid"] == (gateway["metadata"]["uid"])
    cluster("uninstall", *release, "--no-hooks")


@pytest.mark.apiserver
def test_the_kinds_stay_when_their_chart_goes(cluster: Helm, kubectl: Kubectl) -> None:
    """Uninstalled, every CRD is still there, and a new release takes it over."""
    path = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions/routingpolicies.pointsman.dev"
    before = kubectl.get(path)["metadata"]["uid"]
    cluster("uninstall", "pointsman-crds", "--namespace", SYSTEM)
    assert kubectl.get(path)["metadata"]["uid"] == before
    cluster("install", "pointsman-crds", CRDS_CHART, "--namespace", SYSTEM)
    assert kubectl.get(path)["metadata"]["uid"] == before


@pytest.mark.apiserver
def test_a_release_fits_into_its_secret(cluster: Helm, kubectl: Kubectl) -> None:
    """Helm keeps each release in a Secret of 1 MiB at most: the kinds use less than a third of it."""
    found = kubectl.get(f"/api/v1/namespaces/{SYSTEM}/secrets")["items"]
    sizes = [len(each["data"]["release"]) for each in found if each["metadata"]["name"].startswith("sh.helm")]
    assert sizes
    assert max(sizes) < 350_000
    newest = next(each for each in found if ".pointsman-crds." in each["metadata"]["name"])
    assert gzip.decompress(base64.b64decode(base64.b64decode(newest["data"]["release"])))


def test_keep_off_is_said_aloud(helm: Helm) -> None:
    """With keep: false the annotation is gone, and the notes of the kinds' chart warn."""
    kinds = helm.render({"keep": False}, CRDS_CHART)
    assert not any("annotations" in each["metadata"] for each in kinds)
    objects = helm.render({"gateway": {"keep": False}})
    gateway = next(each for each in objects if each["kind"] == "RoutingGateway")
    assert "annotations" not in gateway["metadata"]


def test_an_old_cluster_is_refused(helm: Helm) -> None:
    """Before 1.30 there is no ValidatingAdmissionPolicy: helm says so."""
    with pytest.raises(HelmError, match=r"incompatible with Kubernetes v1\.29"):
        helm("template", CHART, "--kube-version", "1.29")
