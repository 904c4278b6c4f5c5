"""What ails pods: the cause that a person would name first, with the words of who saw it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from pointsman.clock import rfc3339
from pointsman.workloads.pods import GRACE, Cause, trouble

NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)


def pod(name: str = "p", **status: Any) -> dict[str, Any]:
    """Return a pod."""
    return {"metadata": {"name": name}, "status": status}


def waiting(reason: str, message: str = "", **more: Any) -> dict[str, Any]:
    """Return the status of a container that waits."""
    state = {"waiting": {"reason": reason, "message": message}}
    return {"name": "envoy", "image": "envoy:1", "ready": False, "state": state, **more}


def running(since: timedelta, *, ready: bool = False) -> dict[str, Any]:
    """Return the status of a container that runs."""
    state = {"running": {"startedAt": rfc3339(NOW - since)}}
    return {"name": "envoy", "ready": ready, "state": state}


UNSCHEDULABLE = {
    "type": "PodScheduled",
    "status": "False",
    "reason": "Unschedulable",
    "message": "0/1 nodes are available: 1 Insufficient cpu.",
}
ENDED = {"terminated": {"exitCode": 2, "reason": "Error", "message": "usage\nerror: no such option\n"}}
CRASHED = waiting("CrashLoopBackOff", "back-off 20s", lastState=ENDED)
KILLED = waiting("CrashLoopBackOff", lastState={"terminated": {"exitCode": 137, "reason": "OOMKilled"}})


@pytest.mark.parametrize(
    ("status", "cause", "words"),
    [
        (
            {"containerStatuses": [waiting("ImagePullBackOff", "not found")]},
            Cause.IMAGE,
            "pod p: envoy:1: not found",
        ),
        ({"containerStatuses": [waiting("ErrImagePull")]}, Cause.IMAGE, "pod p: envoy:1: ErrImagePull"),
        (
            {"containerStatuses": [CRASHED]},
            Cause.CRASHING,
            "pod p: container envoy ended with 2: error: no such option",
        ),
        (
            {"containerStatuses": [KILLED]},
            Cause.CRASHING,
            "pod p: container envoy ended with 137 (OOMKilled)",
        ),
        (
            {"initContainerStatuses": [CRASHED], "containerStatuses": [waiting("PodInitializing")]},
            Cause.INIT_FAILED,
            "pod p: container envoy ended with 2: error: no such option",
        ),
        (
            {"initContainerStatuses": [{"name": "bootstrap", "state": ENDED}]},
            Cause.INIT_FAILED,
            "pod p: container bootstrap ended with 2: error: no such option",
        ),
        (
            {"containerStatuses": [waiting("CreateContainerConfigError", "no key")]},
            Cause.CONTAINER_REFUSED,
            "pod p: container envoy: no key",
        ),
        (
            {"conditions": [UNSCHEDULABLE]},
            Cause.UNSCHEDULABLE,
            "pod p: 0/1 nodes are available: 1 Insufficient cpu.",
        ),
        (
            {"containerStatuses": [running(GRACE + timedelta(seconds=1))]},
            Cause.NOT_READY,
            "pod p: container envoy runs and is not ready",
        ),
    ],
)
def test_a_cause_has_its_words(status: dict[str, Any], cause: Cause, words: str) -> None:
    """Each way in which a pod fails is told as kubelet, scheduler or the container told it."""
    found = trouble([pod(**status)], None, NOW)
    assert found is not None
    assert (found.cause, found.words) == (cause, words)


@pytest.mark.parametrize(
    "status",
    [
        {},
        {"containerStatuses": [waiting("ContainerCreating")]},
        {"containerStatuses": [running(timedelta(seconds=5))]},
        {"initContainerStatuses": [{"name": "b", "state": {"terminated": {"exitCode": 0}}}]},
        {
            "containerStatuses": [running(timedelta(hours=1), ready=True)],
            "conditions": [{"type": "Ready", "status": "True"}],
        },
    ],
)
def test_a_pod_that_starts_or_serves_has_no_trouble(status: dict[str, Any]) -> None:
    """Starting takes its time, and is no cause of anything."""
    assert trouble([pod(**status)], None, NOW) is None


def test_a_pod_that_ends_is_not_asked() -> None:
    """It fails its probes by intent."""
    ending = pod(containerStatuses=[CRASHED])
    ending["metadata"]["deletionTimestamp"] = rfc3339(NOW)
    assert trouble([ending], None, NOW) is None


def test_the_gravest_cause_is_told_and_how_often() -> None:
    """Of the same cause the first pod by name speaks for all."""
    pods = [
        pod("c", conditions=[UNSCHEDULABLE]),
        pod("b", containerStatuses=[CRASHED]),
        pod("a", containerStatuses=[CRASHED]),
    ]
    found = trouble(pods, None, NOW)
    assert found is not None
    assert found.words.startswith("pod a (and 1 more): ")


@pytest.mark.parametrize(
    ("message", "cause"),
    [
        ('pods "x" is forbidden: exceeded quota: small', Cause.QUOTA_EXCEEDED),
        ('pods "x" is forbidden: violates PodSecurity', Cause.PODS_REFUSED),
    ],
)
def test_pods_that_cannot_be_made_are_told_by_the_deployment(message: str, cause: Cause) -> None:
    """No pod is there that could tell."""
    failure = {"type": "ReplicaFailure", "status": "True", "reason": "FailedCreate", "message": message}
    found = trouble([], {"status": {"conditions": [failure]}}, NOW)
    assert found is not None
    assert (found.cause, found.words) == (cause, message)
