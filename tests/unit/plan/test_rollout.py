"""What a rollout adds to a plan: labels, the key that arms are hashed on, and what stands ready."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from plan_objects import by_key, policy, revision
from pointsman.api.v1alpha1.status import RoutingPolicyStatus
from pointsman.contract import ALWAYS_STRONG
from pointsman.plan.build import build
from pointsman.plan.types import StickyPlan

if TYPE_CHECKING:
    from pointsman.plan.types import PolicyPlan

START = "2026-11-01T10:00:00.000000Z"
ROLLOUT: dict[str, Any] = {
    "id": "0a1b2c3d",
    "candidate": "p-r2",
    "incumbent": "p-r1",
    "startedAt": START,
    "steps": [
        {"index": 0, "name": "Gate", "startedAt": START},
        {"index": 1, "name": "Canary", "weightPermille": 50, "startedAt": START},
    ],
}
BOTH = {"p-r1": 950, "p-r2": 50}


def planned(traffic: dict[str, int], rollout: dict[str, Any] | None = None, **more: Any) -> PolicyPlan:
    """Return the plan of a policy with the revisions p-r1 to p-r4; `more` is status, or `canary`."""
    canary = more.pop("canary", None)
    spec: dict[str, Any] = {"rollout": {"canary": canary}} if canary else {}
    given = policy("p", **spec)
    shares = [{"revision": name, "weightPermille": weight} for name, weight in traffic.items()]
    status = RoutingPolicyStatus.model_validate({"traffic": shares, "rollout": rollout} | more)
    given = given.model_copy(update={"status": status})
    revisions = by_key(*(revision(f"p-r{i}", given) for i in (1, 2, 3, 4)))
    result = build([given], revisions, {})
    assert not result.findings
    return result.gateways["default"].policies[0]


def labels(plan: PolicyPlan) -> dict[str, str]:
    """Return the arms' labels by revision, warm ones too."""
    return {arm.revision: arm.label for arm in (*plan.arms, *plan.warm)}


def test_arms_bear_rollout_step_and_part() -> None:
    """The label is the live rollout's, its newest step's and the arm's; what has no traffic bears none."""
    found = labels(planned(BOTH, ROLLOUT))
    assert found == {"p-r1": "0a1b2c3d/1/i", "p-r2": "0a1b2c3d/1/c", ALWAYS_STRONG: ""}


def test_before_the_canary_the_incumbent_alone_bears_one() -> None:
    """While the candidate has no traffic, the incumbent's requests are already the rollout's."""
    first = ROLLOUT | {"steps": ROLLOUT["steps"][:1]}
    assert labels(planned({"p-r1": 1000}, first)) == {"p-r1": "0a1b2c3d/0/i", "p-r2": "", ALWAYS_STRONG: ""}


def test_always_strong_can_be_the_incumbent() -> None:
    """The first rollout of a policy is held against the built-in revision."""
    found = labels(planned({ALWAYS_STRONG: 950, "p-r2": 50}, ROLLOUT | {"incumbent": ALWAYS_STRONG}))
    assert found[ALWAYS_STRONG] == "0a1b2c3d/1/i"


@pytest.mark.parametrize(
    "rollout",
    [None, ROLLOUT | {"endedAt": START, "outcome": "RolledBack"}, ROLLOUT | {"steps": []}],
    ids=["none", "ended", "not begun"],
)
def test_without_a_live_rollout_there_is_no_label(rollout: dict[str, Any] | None) -> None:
    """Requests are counted for a rollout only while it lives."""
    assert not any(labels(planned(BOTH, rollout)).values())


def test_a_strangers_arm_bears_no_label() -> None:
    """A revision that is neither incumbent nor candidate is not counted as one."""
    assert labels(planned({"p-r1": 950, "p-r3": 50}, ROLLOUT))["p-r3"] == ""


def test_the_rollouts_id_is_the_salt() -> None:
    """Each rollout has another slice; it keeps it when it ends, and one arm needs none."""
    assert planned(BOTH, ROLLOUT).sticky == StickyPlan("0a1b2c3d")
    assert planned(BOTH, ROLLOUT | {"endedAt": START}).sticky == StickyPlan("0a1b2c3d")
    assert planned(BOTH).sticky == StickyPlan()
    assert planned({"p-r1": 1000}, ROLLOUT).sticky is None


def test_a_header_can_be_the_key() -> None:
    """What the policy says of stickiness is in the plan."""
    by_header = {"stickyBy": {"type": "Header", "header": "x-session-id"}}
    assert planned(BOTH, ROLLOUT, canary=by_header).sticky == StickyPlan("0a1b2c3d", "x-session-id")
    by_conversation = {"stickyBy": {"type": "Conversation"}}
    assert planned(BOTH, ROLLOUT, canary=by_conversation).sticky == StickyPlan("0a1b2c3d")


def test_what_may_be_needed_next_stands_ready() -> None:
    """Both revisions of a live rollout and those that are kept warm are planned without weight."""
    warm = [{"revision": "p-r3", "until": START}, {"revision": "p-gone", "until": START}]
    plan = planned({ALWAYS_STRONG: 1000}, ROLLOUT, warm=warm)
    assert [arm.revision for arm in plan.warm] == ["p-r1", "p-r2", "p-r3"]
    assert all(arm.weight_permille == 0 for arm in plan.warm)


def test_what_an_ended_rollout_tried_goes() -> None:
    """A candidate that was rolled back is planned only if it is kept warm."""
    plan = planned({"p-r1": 1000}, ROLLOUT | {"endedAt": START})
    assert [arm.revision for arm in plan.warm] == [ALWAYS_STRONG]
