"""What ails a pool's pods, in the terms of a policy's ClassifierReady."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from pointsman.pools.pods import deployment_trouble, view

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def pod(**status: Any) -> dict[str, Any]:
    metadata = {
        "name": "triton-0",
        "namespace": "pointsman-system",
        "creationTimestamp": "2026-01-01T00:00:00Z",
    }
    return {"metadata": metadata, "status": status}


def container(name: str = "triton", **state: Any) -> dict[str, Any]:
    return {"name": name, "image": "triton:1", "ready": False, "restartCount": 3, **state}


@pytest.mark.parametrize(
    ("status", "reason", "words"),
    [
        pytest.param({"phase": "Pending"}, None, "", id="just created"),
        pytest.param(
            {
                "conditions": [
                    {
                        "type": "PodScheduled",
                        "status": "False",
                        "reason": "Unschedulable",
                        "message": "0/2 nodes are available: 2 Insufficient nvidia.com/gpu.",
                    }
                ]
            },
            "Unschedulable",
            "2 Insufficient nvidia.com/gpu",
            id="no gpu",
        ),
        pytest.param(
            {
                "containerStatuses": [
                    container(state={"waiting": {"reason": "ErrImagePull", "message": "401"}})
                ]
            },
            "ImagePullFailed",
            "401",
            id="no image",
        ),
        pytest.param(
            {
                "containerStatuses": [
                    container(
                        state={"waiting": {"reason": "CrashLoopBackOff"}},
                        lastState={"terminated": {"exitCode": 127, "reason": "Error"}},
                    )
                ]
            },
            "PodCrashLooping",
            "127",
            id="a crash",
        ),
        pytest.param(
            {
                "containerStatuses": [
                    container(
                        state={"waiting": {"reason": "CrashLoopBackOff"}},
                        lastState={"terminated": {"exitCode": 137, "reason": "OOMKilled"}},
                    )
                ]
            },
            "OutOfMemory",
            "spec.resources.limits.memory",
            id="no memory",
        ),
    ],
)
def test_what_ails_a_pod(status: dict[str, Any], reason: str | None, words: str) -> None:
    """Each trouble is the policy's reason, with who saw it in his own words."""
    found = view(pod(**status), NOW).trouble
    assert (found.reason if found else None) == reason
    assert words in (found.message if found else "")


def test_a_ready_pod_has_no_trouble() -> None:
    """What happened before it became ready is over."""
    ended = {"terminated": {"exitCode": 1, "reason": "Error"}}
    running = container(state={"running": {}}, lastState=ended)
    ready = [{"type": "Ready", "status": "True"}]
    seen = view(pod(conditions=ready, containerStatuses=[running], podIP="10.0.0.1"), NOW)
    assert seen.ready
    assert seen.trouble is None
    assert seen.ip == "10.0.0.1"


def test_a_quota_that_is_used_up_is_unschedulable() -> None:
    """Pods that cannot even be made are told from the Deployment."""
    failure = {
        "type": "ReplicaFailure",
        "status": "True",
        "message": "exceeded quota: team, requested: pods=1",
    }
    found = deployment_trouble({"status": {"conditions": [failure]}}, NOW)
    assert found is not None
    assert found.reason == "Unschedulable"
    assert "exceeded quota" in found.message
