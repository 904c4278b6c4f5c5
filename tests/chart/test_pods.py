"""What every pod of the chart keeps to."""

from __future__ import annotations

from typing import Any

import pytest

from chart_kit import Helm, Object, one, pods

from .cases import CASES

ALL = pytest.mark.parametrize("case", CASES)
FINITE = {"pointsman-selftest"}
"""Pods that end by themselves."""


@pytest.fixture(params=CASES)
def templates(helm: Helm, request: pytest.FixtureRequest) -> dict[str, Object]:
    """Return the pods of a case, by name."""
    return dict(pods(helm.render(CASES[request.param])))


def containers(templates: dict[str, Object]) -> list[tuple[str, dict[str, Any]]]:
    """Return every container with its pod's name."""
    return [(name, each) for name, pod in templates.items() for each in pod["spec"]["containers"]]


def test_a_container_says_what_it_needs(templates: dict[str, Object]) -> None:
    """Requests of CPU and memory, a limit of memory: it is placed knowingly, and harms no neighbour."""
    for name, container in containers(templates):
        resources = container["resources"]
        assert {"cpu", "memory"} <= resources["requests"].keys(), name
        assert "memory" in resources["limits"], name


def test_a_container_is_watched(templates: dict[str, Object]) -> None:
    """Liveness and readiness, each at a port that the container names; a long start is borne with."""
    for name, container in containers(templates):
        ports = {port["name"] for port in container["ports"]}
        for probe in ("livenessProbe", "readinessProbe"):
            assert container[probe]["httpGet"]["port"] in ports, name
        if name not in FINITE:
            start = container["startupProbe"]
            assert start["periodSeconds"] * start["failureThreshold"] >= 300, name


def test_our_parts_are_asked_at_healthz_and_readyz(templates: dict[str, Object]) -> None:
    """Alive and ready are two questions."""
    for name in ("pointsman-operator", "pointsman-xds", "pointsman-evaluator"):
        (container,) = templates[name]["spec"]["containers"]
        assert container["livenessProbe"]["httpGet"]["path"] == "/healthz"
        assert container["readinessProbe"]["httpGet"]["path"] == "/readyz"


def test_a_container_can_do_nothing_but_its_work(templates: dict[str, Object]) -> None:
    """Not root, nothing to write to but its volumes, no capability, no new privilege, seccomp."""
    for name, container in containers(templates):
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "runAsNonRoot": True,
            "capabilities": {"drop": ["ALL"]},
            "seccompProfile": {"type": "RuntimeDefault"},
        }, name


def test_no_service_sets_our_options_by_its_name(templates: dict[str, Object]) -> None:
    """A Service pointsman-xds would set POINTSMAN_XDS_…, where the command line looks for options."""
    assert all(pod["spec"]["enableServiceLinks"] is False for pod in templates.values())


def test_an_image_is_named_by_digest_where_there_is_one(helm: Helm) -> None:
    """The digest goes before the tag; so for what the operator deploys."""
    found = dict(pods(helm.render(CASES["digests"])))
    (operator,) = found["pointsman-operator"]["spec"]["containers"]
    digest = CASES["digests"]["image"]["digest"]
    assert operator["image"] == f"ghcr.io/pointsman-dev/pointsman@{digest}"
    images = [arg for arg in operator["args"] if "image=" in arg]
    assert len(images) == 3
    assert all(image.endswith(f"@{digest}") for image in images)
    assert found["pointsman-xds"]["spec"]["imagePullSecrets"] == [{"name": "registry"}]
    # with which the pods of gateways and pools are pulled, too
    (operator,) = found["pointsman-operator"]["spec"]["containers"]
    assert "--image-pull-secret=registry" in operator["args"]


def test_a_part_has_its_own_place_or_that_of_all(helm: Helm) -> None:
    """What is said of all pods holds where a part says nothing."""
    values = {"pods": {"nodeSelector": {"pool": "infra"}}, "xds": {"nodeSelector": {"pool": "edge"}}}
    found = dict(pods(helm.render(values)))
    assert found["pointsman-operator"]["spec"]["nodeSelector"] == {"pool": "infra"}
    assert found["pointsman-xds"]["spec"]["nodeSelector"] == {"pool": "edge"}


def test_replicas_are_spread_and_never_all_gone(helm: Helm) -> None:
    """Over nodes and zones; updates take none away first, drains one at a time."""
    objects = helm.render({})
    for name in ("pointsman-operator", "pointsman-xds"):
        deployment = one(objects, "Deployment", name)
        assert deployment["spec"]["replicas"] == 2
        assert deployment["spec"]["strategy"]["rollingUpdate"]["maxUnavailable"] == 0
        keys = {c["topologyKey"] for c in deployment["spec"]["template"]["spec"]["topologySpreadConstraints"]}
        assert keys == {"kubernetes.io/hostname", "topology.kubernetes.io/zone"}
        budget = one(objects, "PodDisruptionBudget", name)
        assert budget["spec"]["maxUnavailable"] == 1
        assert budget["spec"]["selector"] == deployment["spec"]["selector"]


def test_the_bundled_prometheus_is_restarted_when_its_configuration_changes(helm: Helm) -> None:
    """And only then: it reads it at the start alone."""

    def checksum(**values: Any) -> str:
        objects = helm.render({"prometheus": {"mode": "bundled", **values}})
        template = one(objects, "StatefulSet", "pointsman-prometheus")["spec"]["template"]
        return str(template["metadata"]["annotations"]["checksum/config"])

    assert checksum() == checksum(resources={"requests": {"cpu": 1}})
    assert checksum() != checksum(evidenceInterval="2s")
