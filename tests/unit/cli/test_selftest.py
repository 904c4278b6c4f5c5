"""What `helm test` minds, and what it asks for."""

from __future__ import annotations

import json

import pytest

from pointsman.api.v1alpha1 import RoutingPolicy
from pointsman.cli.selftest import Plan, complaint, policy

PLAN = Plan("chat", "edge", "http://gateway", "0.0.0.0:8080", "http://tier.system.svc:8080/v1", 60)
RIGHT = json.dumps({"choices": [{"message": {"content": "selftest-first was asked: Who answers?"}}]})


def test_its_policy_is_one_and_goes_through_the_named_gateway() -> None:
    """It is pinned to the first of two tiers, so that the last one's answer is a wrong one."""
    made = RoutingPolicy.model_validate(policy(PLAN))
    assert made.key == "chat/pointsman-selftest"
    assert made.spec.gateway_ref.name == "edge"
    pinned = made.spec.strategy.pinned
    assert pinned is not None
    assert pinned.tier == made.spec.tiers[0].name
    assert len(made.spec.tiers) == 2


def test_the_right_answer_of_the_right_tier_is_no_complaint() -> None:
    """200, the tier's name in the header, and the model was rewritten on the way."""
    assert complaint(200, "first", RIGHT) is None


@pytest.mark.parametrize(
    ("status", "tier", "body", "words"),
    [
        (503, None, "no healthy upstream", "the gateway answered 503: no healthy upstream"),
        (200, "last", RIGHT, "tier last answered"),
        (200, None, RIGHT, "tier None answered"),
        (200, "first", "<html>", "not what the tier answered"),
        (200, "first", "[]", "not what the tier answered"),
        (
            200,
            "first",
            RIGHT.replace("selftest-first", "pointsman-selftest"),
            "was asked 'pointsman-selftest",
        ),
    ],
)
def test_a_wrong_answer_is_a_complaint_that_says_what_came(
    status: int, tier: str | None, body: str, words: str
) -> None:
    """An error, another tier, another text, a model that was not rewritten."""
    found = complaint(status, tier, body)
    assert found is not None
    assert words in found
