"""The evaluator's view of a rollout: both arms as Envoy serves them, from the objects alone."""

from __future__ import annotations

from typing import Any

import plan_objects as objects
from pointsman.contract import ALWAYS_STRONG
from pointsman.evaluator.policies import Policies
from pointsman.evaluator.rollouts import LiveRollout, Rollouts, tier_of, triton_urls


def rollout(**changes: Any) -> dict[str, Any]:
    """Return status.rollout in its shadow."""
    return {
        "id": "0a1b2c3d",
        "candidate": "p-2",
        "incumbent": "p-1",
        "startedAt": "2026-11-22T10:00:00.000000Z",
        "steps": [
            {"index": 0, "name": "Load", "startedAt": "2026-11-22T10:00:00.000000Z"},
            {"index": 1, "name": "Shadow", "startedAt": "2026-11-22T10:01:00.000000Z"},
        ],
    } | changes


def world(status: dict[str, Any]) -> Policies:
    """Return one policy in a rollout, with the revisions p-1 (pinned to cheap) and p-2 (a classifier)."""
    policies = Policies()
    policies.put_policy("ns/p", policy(status))
    owner = objects.policy()
    policies.put_revision("ns/p-1", objects.revision("p-1", owner).to_kube())
    policies.put_revision("ns/p-2", objects.revision("p-2", owner, strategy=objects.CLASSIFIER).to_kube())
    return policies


def policy(status: dict[str, Any]) -> dict[str, Any]:
    """Return the policy with `status` as its rollout."""
    return objects.policy(triton=objects.triton()).to_kube() | {"status": {"rollout": status}}


def seen(status: dict[str, Any]) -> LiveRollout | None:
    """Return what is known of the rollout `status`."""
    return Rollouts(world(status)).get("ns/p")


def test_both_arms_are_planned_as_in_xds() -> None:
    """Pins, classifiers, their Tritons and tiers come from the revisions."""
    found = seen(rollout())
    assert found is not None
    assert found.incumbent.pinned == "cheap"
    assert found.candidate.classifier is not None
    assert triton_urls(found.candidate.classifier) == ("http://10.0.1.1:8000",)
    cheap = tier_of(found.candidate, "cheap")
    assert cheap is not None
    assert cheap.model == "model-cheap"


def test_the_step_is_the_last_one() -> None:
    """Requests of any of its Shadow steps are told by their index."""
    found = seen(rollout())
    assert found is not None
    assert (found.step, found.shadow_steps) == ("Shadow", frozenset({1}))


def test_an_incumbent_without_a_classifier_takes_the_candidates_intents() -> None:
    """While the incumbent has no classifier, both arms are labelled by the candidate's."""
    found = seen(rollout(incumbent=ALWAYS_STRONG))
    assert found is not None
    assert found.reference is not None
    assert found.reference.model == f"pm-{objects.BUNDLE}"


def test_a_revision_that_is_not_known_is_waited_for() -> None:
    """Nothing is guessed about a candidate that was not seen."""
    assert seen(rollout(candidate="p-3")) is None


def test_an_ended_rollout_is_not_live() -> None:
    """Nothing is asked for it any more."""
    assert seen(rollout(endedAt="2026-11-22T11:00:00Z", outcome="Promoted")) is None


def test_a_changed_object_is_seen_at_once() -> None:
    """A view follows its objects: another candidate, a policy that is gone."""
    found = world(rollout())
    view = Rollouts(found)
    first = view.get("ns/p")
    assert first is view.get("ns/p")
    found.put_policy("ns/p", policy(rollout(candidate="p-1")))
    changed = view.get("ns/p")
    assert changed is not None
    assert changed.candidate.revision == "p-1"
    found.put_policy("ns/p", None)
    assert (view.get("ns/p"), list(view.all())) == (None, [])
