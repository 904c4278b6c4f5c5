"""What kstatus, and so Flux and Helm 4, make of our statuses by its generic rules."""

from __future__ import annotations

from typing import Any

import pytest

import gitops_kit as kit
import gitops_scenes as scenes
from pointsman.api.conditions import REASONS, ConditionReason
from pointsman.api.gateway_conditions import GATEWAY_REASONS
from pointsman.api.pool_conditions import POOL_REASONS
from pointsman.api.v1alpha1.meta import UNSEEN

MAKERS = (
    (scenes.policy_with, REASONS),
    (scenes.gateway_with, GATEWAY_REASONS),
    (scenes.pool_with, POOL_REASONS),
)
MAKES = [make for make, _ in MAKERS]
CASES = [
    pytest.param(make, one, id=f"{make.__name__}-{kind.TYPE}-{one}")
    for make, reasons in MAKERS
    for kind in reasons
    for one in kind
]


@pytest.mark.parametrize(("make", "reason"), CASES)
def test_current_is_what_is_ready_and_failed_what_is_stalled(make: Any, reason: ConditionReason) -> None:
    """Every other reason keeps the object InProgress: Flux waits, and in the end tells why."""
    wanted = {"True": "Current", "False": "Failed" if reason.ends else "InProgress", "Unknown": "InProgress"}
    assert kit.kstatus(make(reason)) == wanted[reason.status]


@pytest.mark.parametrize(("make", "reason"), CASES)
def test_kstatus_never_says_better_than_argo_cd(make: Any, reason: ConditionReason) -> None:
    """Current and Healthy are the same objects; what is Failed is Degraded, while some of that may pass."""
    obj = make(reason)
    assert (kit.kstatus(obj) == "Current") == (kit.health(obj)["status"] == "Healthy")
    assert kit.kstatus(obj) != "Failed" or kit.health(obj)["status"] == "Degraded"


@pytest.mark.parametrize("make", scenes.WORLDS.values(), ids=scenes.WORLDS.keys())
def test_no_status_of_a_rollout_is_current_before_its_end(make: Any) -> None:
    """At every status that the operator writes, Current means that the spec's own revision is in force."""
    world = make()
    for status in world.history:
        obj = scenes.served_by_envoys(scenes.manifest(world.policy.model_copy(update={"status": status})))
        if kit.kstatus(obj) == "Current":
            assert status.stable_revision in {s.revision for s in status.traffic}


@pytest.mark.parametrize("make", MAKES)
def test_a_spec_that_nobody_has_looked_at_is_in_progress(make: Any) -> None:
    """By status.observedGeneration, which kstatus compares before anything else."""
    obj = make()
    obj["metadata"] = obj["metadata"] | {"generation": 99}
    assert kit.kstatus(obj) == "InProgress"


@pytest.mark.parametrize("make", MAKES)
def test_an_object_that_nobody_has_looked_at_is_in_progress(make: Any) -> None:
    """By the CRDs' default of an absent status: without any, kstatus would take it for Current."""
    new = make() | {"status": {"observedGeneration": UNSEEN}}
    assert kit.kstatus(new | {"status": {}}) == "Current"
    assert kit.kstatus(new) == "InProgress"
    found = kit.health(new)
    assert found["status"] == "Progressing"
    assert str(UNSEEN) not in found["message"]
