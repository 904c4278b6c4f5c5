"""Freezing: what the hash covers, and that it never moves by itself."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from pointsman.api.v1alpha1.revision import RoutingPolicyRevisionSpec
from pointsman.api.v1alpha1.routing_policy import RoutingPolicy
from pointsman.rollout.revisions import desired_name, manifest, owner_uid, revision_name, revision_spec

POLICY: dict[str, Any] = {
    "apiVersion": "pointsman.dev/v1alpha1",
    "kind": "RoutingPolicy",
    "metadata": {"name": "support", "namespace": "chat", "uid": "u-1", "generation": 3},
    "spec": {
        "gatewayRef": {"name": "default"},
        "match": {"hostnames": ["llm.example.com"], "models": ["auto"]},
        "tiers": [
            {
                "name": "cheap",
                "endpoints": [{"url": "https://api.example.com/v1"}],
                "model": "small-1",
                "apiKeyRef": {"name": "keys", "key": "cheap"},
                "price": {"inputPerMillion": "0.15", "outputPerMillion": "0.60"},
                "timeouts": {"idle": "30s"},
            },
            {"name": "strong", "endpoints": [{"url": "http://vllm:8000/v1"}], "model": "large-1"},
        ],
        "strategy": {
            "type": "Classifier",
            "classifier": {
                "artifact": {"uri": "configmap://bundle", "sha256": "a" * 64},
                "thresholds": [{"tier": "cheap", "minScorePermille": 640}],
                "perIntent": [{"intent": "law", "tier": "strong"}, {"intent": "math", "tier": "cheap"}],
            },
        },
        "triton": {"external": {"urls": ["http://triton-0:8000"]}},
        "rollout": {"mode": "Direct"},
    },
}
GOLDEN = "support-d269a4f6fb"


def policy(*changes: tuple[str, Any]) -> RoutingPolicy:
    """Return the policy with values put at dotted paths."""
    raw = copy.deepcopy(POLICY)
    for path, value in changes:
        at: Any = raw["spec"]
        *parents, last = path.split(".")
        for part in parents:
            at = at[int(part) if part.isdigit() else part]
        at[int(last) if last.isdigit() else last] = value
    return RoutingPolicy.model_validate(raw)


def test_the_name_is_what_it_always_was() -> None:
    """A new version of the operator must not start a rollout: this value never changes."""
    assert desired_name(policy()) == GOLDEN


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("tiers.0.price", {"inputPerMillion": "9", "outputPerMillion": "9"}),
        ("tiers.0.apiKeyRef", {"name": "other", "key": "k"}),
        ("tiers.0.timeouts", {"idle": "30s", "total": "10m"}),
        ("tiers.0.timeouts", {"idle": "30000ms", "total": "600s"}),
        ("tiers.1.timeouts", {"idle": "1m"}),
        ("strategy.classifier.deadline", "50ms"),
        ("strategy.classifier.artifact.uri", "https://example.com/bundle.zip"),
        (
            "strategy.classifier.perIntent",
            [{"intent": "math", "tier": "cheap"}, {"intent": "law", "tier": "strong"}],
        ),
        ("match", {"hostnames": ["*"], "models": ["other"]}),
        ("gatewayRef", {"name": "another"}),
        ("triton", {"external": {"urls": ["http://triton-1:8000"]}}),
        ("evaluation", {"capture": {"samplePermille": 10}}),
        ("suspend", True),
    ],
)
def test_what_does_not_decide_an_answer_makes_no_revision(path: str, value: Any) -> None:
    """Prices, keys, places, written-out defaults and the order of keyed lists are not hashed."""
    assert desired_name(policy((path, value))) == GOLDEN


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("tiers.0.name", "cheaper"),
        ("tiers.0.model", "small-2"),
        ("tiers.0.endpoints", [{"url": "https://other.example.com/v1"}]),
        ("tiers.0.timeouts", {"idle": "31s"}),
        ("tiers.1.timeouts", {"total": "9m"}),
        ("strategy.classifier.artifact.sha256", "b" * 64),
        ("strategy.classifier.thresholds", [{"tier": "cheap", "minScorePermille": 641}]),
        ("strategy.classifier.perIntent", []),
        ("strategy.classifier.deadline", "51ms"),
        ("strategy", {"type": "Pinned", "pinned": {"tier": "cheap"}}),
    ],
)
def test_what_decides_an_answer_makes_a_revision(path: str, value: Any) -> None:
    """Each decisive field changes the name."""
    assert desired_name(policy((path, value))) != GOLDEN


def test_the_stored_spec_names_itself() -> None:
    """The frozen spec, read back from its JSON, has the very same name, with all defaults written out."""
    frozen = revision_spec(policy())
    read = RoutingPolicyRevisionSpec.model_validate(frozen.to_kube())
    assert revision_name("support", read) == GOLDEN
    assert read.strategy.classifier is not None
    assert read.strategy.classifier.deadline == "50ms"
    assert [tier.timeouts.to_kube() for tier in read.tiers if tier.timeouts] == [
        {"idle": "30s", "total": "10m"},
        {"idle": "60s", "total": "10m"},
    ]


@pytest.mark.parametrize(
    ("given", "frozen"),
    [
        ({"total": "30s"}, {"idle": "30s", "total": "30s"}),
        ({"idle": "15m"}, {"idle": "15m", "total": "15m"}),
        ({"total": "5m"}, {"idle": "60s", "total": "5m"}),
    ],
)
def test_a_timeout_that_is_not_given_yields_to_the_one_that_is(
    given: dict[str, str], frozen: dict[str, str]
) -> None:
    """Else the stored spec would break the rule that idle is not longer than total, and be refused."""
    spec = revision_spec(policy(("tiers.1.timeouts", given)))
    assert [tier.timeouts.to_kube() for tier in spec.tiers if tier.timeouts][1] == frozen
    read = RoutingPolicyRevisionSpec.model_validate(spec.to_kube())
    assert revision_name("support", read) == revision_name("support", spec)


def test_the_manifest_is_owned() -> None:
    """The policy controls its revision; deleting the policy is not blocked by it."""
    body = manifest(policy())
    assert body["metadata"]["name"] == GOLDEN
    assert owner_uid(body["metadata"]) == "u-1"
    assert body["metadata"]["ownerReferences"][0]["blockOwnerDeletion"] is False
    assert owner_uid({}) == ""
