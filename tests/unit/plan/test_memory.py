"""Planning with a memory: the same plans, and of what did not change the same objects."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hypothesis import given, settings
from hypothesis import strategies as st

from plan_objects import by_key, policy, revision, tier
from pointsman.contract import ALWAYS_STRONG
from pointsman.plan.build import build
from pointsman.plan.memory import Memory

if TYPE_CHECKING:
    from pointsman.api.v1alpha1 import RoutingPolicy, RoutingPolicyRevision
    from pointsman.plan.types import PolicyPlan

NAMES = ("a", "b", "c")
WORLDS = st.dictionaries(
    st.sampled_from(NAMES),
    st.tuples(st.sampled_from(["-r1", "-r2", "-gone", ALWAYS_STRONG]), st.booleans()),
    max_size=3,
)
"""By policy: the revision that has the traffic, and whether its first revision is there."""


def made(name: str, traffic: str) -> RoutingPolicy:
    """Return a policy with a host of its own."""
    of = name + traffic if traffic.startswith("-") else traffic
    return policy(name, hosts=(f"{name}.example.com",), tiers=(tier("strong"),), traffic={of: 1000})


def revisions_of(*found: RoutingPolicy) -> dict[str, RoutingPolicyRevision]:
    """Return two revisions of each policy, by key."""
    return by_key(*(revision(f"{of.metadata.name}-{r}", of) for of in found for r in ("r1", "r2")))


def plans(
    policies: list[RoutingPolicy], revisions: dict[str, RoutingPolicyRevision], memory: Memory | None
) -> dict[str, PolicyPlan]:
    """Return all plans by policy key."""
    built = build(policies, revisions, {}, None, memory)
    return {plan.key: plan for gateway in built.gateways.values() for plan in gateway.policies}


@settings(max_examples=60, deadline=None)
@given(st.lists(WORLDS, min_size=1, max_size=4))
def test_what_is_remembered_changes_nothing(worlds: list[dict[str, tuple[str, bool]]]) -> None:
    """However policies and revisions come, change and go: a memory gives what planning anew gives."""
    memory = Memory()
    for world in worlds:
        policies = [made(name, traffic) for name, (traffic, _) in world.items()]
        revisions = revisions_of(*policies)
        for name, (_, there) in world.items():
            if not there:
                revisions = {key: each for key, each in revisions.items() if not key.endswith(f"/{name}-r1")}
        for _ in range(2):
            assert build(policies, revisions, {}, None, memory) == build(policies, revisions, {})


def test_a_change_of_one_policy_leaves_the_others_as_they_are() -> None:
    """The plans of the others are the very objects that they were."""
    memory = Memory()
    policies = [made(name, "-r1") for name in NAMES]
    revisions = revisions_of(*policies)
    before = plans(policies, revisions, memory)
    after = plans([made("a", "-r2"), *policies[1:]], revisions, memory)
    assert after["ns/a"] != before["ns/a"]
    assert after["ns/b"] is before["ns/b"]
    assert after["ns/c"] is before["ns/c"]


def test_news_of_a_policy_that_is_served_as_before_changes_nobodys_plan() -> None:
    """Another object of the same content: a status that says something else."""
    memory = Memory()
    first = made("a", "-r1")
    revisions = revisions_of(first)
    before = plans([first], revisions, memory)
    assert plans([made("a", "-r1")], revisions, memory)["ns/a"] is before["ns/a"]


def test_a_revision_that_comes_later_is_noticed() -> None:
    """A policy's traffic names a revision that is not there yet; once it is, it is served."""
    memory = Memory()
    waiting = made("a", "-r1")
    assert plans([waiting], {}, memory)["ns/a"].arms[0].revision == ALWAYS_STRONG
    assert plans([waiting], revisions_of(waiting), memory)["ns/a"].arms[0].revision == "a-r1"
