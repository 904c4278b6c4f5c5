"""What kstatus, and so Flux and Helm 4, make of our statuses by its generic rules."""

from __future__ import annotations

from typing import Any

import pytest

import gitops_kit as kit
import gitops_scenes as scenes
from pointsman.api.conditions import REASONS, ConditionReason
from pointsman.api.gateway_conditions import GATEWAY_REASONS
from pointsman.api.pool_conditions import POOL_REASONS

MAKERS = (
    (scenes.policy_with, REASONS),
    (scenes.gateway_with, GATEWAY_REASONS),
    (scenes.pool_with, POOL_REASONS),
)
CASES = [
    pytest.param(make, one, id=f"{make.__name__}-{kind.TYPE}-{one}")
    for make, reasons in MAKERS
    for kind in reasons
    for one in kind
]


@pytest.mark.parametrize(("make", "reason"), CASES)
def test_current_is_what_is_ready_and_nothing_else(make: Any, reason: ConditionReason) -> None:
    """Every reason that is not true keeps the object InProgress: Flux waits, and in the end tells why."""
    assert kit.kstatus(make(reason)) == ("Current" if reason.status == "True" else "InProgress")


@pytest.mark.parametrize(("make", "reason"), CASES)
def test_kstatus_never_says_better_than_argo_cd(make: Any, reason: ConditionReason) -> None:
    """Current and Healthy are the same objects."""
    obj = make(reason)
    assert (kit.kstatus(obj) == "Current") == (kit.health(obj)["status"] == "Healthy")


@pytest.mark.parametrize("make", scenes.WORLDS.values(), ids=scenes.WORLDS.keys())
def test_no_status_of_a_rollout_is_current_before_its_end(make: Any) -> None:
    """At every status that the operator writes, Current means that the spec's own revision is in force."""
    world = make()
    for status in world.history:
        obj = scenes.served_by_envoys(scenes.manifest(world.policy.model_copy(update={"status": status})))
        if kit.kstatus(obj) == "Current":
            assert status.stable_revision in {s.revision for s in status.traffic}


@pytest.mark.parametrize("make", [scenes.policy_with, scenes.gateway_with, scenes.pool_with])
def test_a_spec_that_nobody_has_looked_at_is_in_progress(make: Any) -> None:
    """By status.observedGeneration, which kstatus compares before anything else."""
    obj = make()
    obj["metadata"] = obj["metadata"] | {"generation": 99}
    assert kit.kstatus(obj) == "InProgress"


def test_an_object_without_status_is_current_to_kstatus() -> None:
    """The hole of its generic rules, which healthCheckExprs of Flux close: see docs/gitops.md."""
    new = scenes.policy_with() | {"status": {}}
    assert kit.kstatus(new) == "Current"
    assert kit.health(new)["status"] == "Progressing"
