"""An Envoy's size follows from its resources; its end from the drain."""

from __future__ import annotations

import subprocess
from typing import Any

import pytest

from gateway_kit import gateway
from pointsman.gateways import drain, envoy
from pointsman.gateways.installation import Installation
from pointsman.gateways.manifests import manifests

WHERE = Installation("pm", "pointsman:1", "envoy:1")


@pytest.mark.parametrize(
    ("resources", "workers"),
    [
        (None, 2),
        ({"limits": {"cpu": "250m"}}, 1),
        ({"limits": {"cpu": "2500m"}}, 3),
        ({"requests": {"cpu": "6"}}, 6),
        ({"requests": {"cpu": "100m"}}, 2),
    ],
)
def test_envoy_has_as_many_threads_as_it_may_use_cores(resources: Any, workers: int) -> None:
    """The limit rounded up; without one the request, but two at least: never one a core of the node."""
    assert envoy.workers(gateway(resources=resources).spec) == workers


@pytest.mark.parametrize(
    ("resources", "heap"),
    [
        (None, 2 * 1024**3 * 9 // 10),
        ({"limits": {"memory": "1000M"}}, 900_000_000),
        ({"limits": {"cpu": "1"}}, None),
    ],
)
def test_envoy_sheds_load_before_its_memory_limit(resources: Any, heap: int | None) -> None:
    """The heap may grow to nine tenths of the limit; without one nothing is said."""
    spec = gateway(resources=resources).spec
    assert envoy.heap_bytes(spec) == heap
    arguments = envoy.init_container(gateway(resources=resources), WHERE)["args"]
    assert ("--heap-bytes" in arguments) == (heap is not None)


def test_the_service_leads_to_where_the_listeners_are_bound() -> None:
    """Beyond the privileged ports; and what the pods are does not depend on the listeners."""
    listeners = [{"name": f"l{port}", "port": port, "protocol": "HTTP"} for port in (80, 8080)]
    made = manifests(gateway(listeners=listeners), WHERE)
    service = next(m for m in made if m["kind"] == "Service" and m["spec"].get("clusterIP") != "None")
    assert [(p["port"], p["targetPort"]) for p in service["spec"]["ports"]] == [(80, 10000), (8080, 10001)]
    pods = [
        next(m for m in each if m["kind"] == "Deployment")["spec"]["template"]
        for each in (made, manifests(gateway(), WHERE))
    ]
    assert pods[0] == pods[1]


def test_a_pod_outlives_its_drain() -> None:
    """Kubelet waits longer than the drain script can take."""
    pod = next(m for m in manifests(gateway(drain="90s"), WHERE) if m["kind"] == "Deployment")
    assert pod["spec"]["template"]["spec"]["terminationGracePeriodSeconds"] == 90 + drain.GRACE_S


@pytest.mark.parametrize("seconds", [1, 5, 60, 3600])
def test_the_drain_script_is_bash(seconds: int) -> None:
    """Bash reads it without complaint, whatever the drain."""
    subprocess.run(["bash", "-n", "-c", drain.script(seconds)], check=True, timeout=10)


def test_the_pods_get_no_token_and_nothing_to_write_to() -> None:
    """Restricted: not root, read-only, no capability, no service account token."""
    pod = next(m for m in manifests(gateway(), WHERE) if m["kind"] == "Deployment")["spec"]["template"][
        "spec"
    ]
    assert pod["automountServiceAccountToken"] is False
    assert pod["securityContext"]["runAsNonRoot"] is True
    for container in (*pod["initContainers"], *pod["containers"]):
        assert container["securityContext"]["readOnlyRootFilesystem"] is True
        assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}
        assert "limits" in container["resources"]
