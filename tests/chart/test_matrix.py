"""Every case of values is what helm takes, and what the real API server takes."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator

import pytest

from chart_kit import CHART, CRDS_CHART, SYSTEM, Helm, Object, pods, try_out
from pointsman.lab.kubectl import Kubectl

from .cases import CASES

ALL = pytest.mark.parametrize("case", CASES)


@pytest.fixture(scope="module")
def tried() -> set[str]:
    """Return what the API server has taken already: most objects are the same in most cases."""
    return set()


def new(tried: set[str], objects: Iterable[Object]) -> Iterator[Object]:
    """Yield the objects that were not tried, as they are; each counts as tried once the next is asked for."""
    for each in objects:
        text = json.dumps(each, sort_keys=True)
        if text not in tried:
            yield each
            tried.add(text)


@pytest.mark.parametrize("chart", [CHART, CRDS_CHART], ids=lambda chart: chart.name)
def test_a_chart_has_nothing_that_helm_minds(helm: Helm, chart: str) -> None:
    """`helm lint --strict` finds no error and no warning."""
    assert "0 chart(s) failed" in helm("lint", "--strict", chart)


@ALL
def test_no_case_makes_an_object_twice(helm: Helm, case: str) -> None:
    """Kind, namespace and name tell all objects apart; every namespaced one names its namespace."""
    found = [
        (each["kind"], each["metadata"].get("namespace"), each["metadata"]["name"])
        for each in helm.render(CASES[case])
    ]
    assert len(found) == len(set(found))
    cluster_wide = {kind for kind, namespace, _ in found if namespace is None}
    assert cluster_wide <= {
        "ClusterRole",
        "ClusterRoleBinding",
        "ValidatingAdmissionPolicy",
        "ValidatingAdmissionPolicyBinding",
    }


@pytest.mark.apiserver
@ALL
def test_the_api_server_takes_every_object(helm: Helm, kubectl: Kubectl, tried: set[str], case: str) -> None:
    """A server-side dry-run with strict validation: no unknown field, no broken rule of any kind."""
    objects = helm.render(CASES[case])
    kubectl.apply(each for each in objects if each["kind"] == "ServiceAccount")  # pods are refused without
    for each in new(tried, objects):
        try_out(kubectl, each)


@pytest.mark.apiserver
@ALL
def test_every_pod_is_admitted_where_only_restricted_ones_are(
    helm: Helm, kubectl: Kubectl, tried: set[str], case: str
) -> None:
    """In a namespace that enforces the Pod Security Standard "restricted", each pod may be created."""
    objects = helm.render(CASES[case])
    kubectl.apply(each for each in objects if each["kind"] == "ServiceAccount")  # pods are refused without
    for name, pod in pods(objects):
        metadata = pod["metadata"] | {"name": f"{name}-try", "namespace": SYSTEM}
        spec = {"restartPolicy": "Never"} | pod["spec"]
        known = {volume["name"] for volume in spec["volumes"]}
        mounts = {mount["name"] for each in spec["containers"] for mount in each["volumeMounts"]}
        claimed = [{"name": mount, "emptyDir": {}} for mount in sorted(mounts - known)]
        spec["volumes"] = spec["volumes"] + claimed  # those of a StatefulSet's claims
        body = {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec}
        for each in new(tried, [body]):
            kubectl._call("POST", f"/api/v1/namespaces/{SYSTEM}/pods", params={"dryRun": "All"}, json=each)
