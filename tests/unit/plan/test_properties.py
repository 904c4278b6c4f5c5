"""What holds for any set of policies, in any order."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from hypothesis import given, settings
from hypothesis import strategies as st

from plan_objects import by_key, policy, revision, tier
from pointsman.contract import ALWAYS_STRONG
from pointsman.plan.build import build

if TYPE_CHECKING:
    from random import Random

    from pointsman.api.v1alpha1 import RoutingPolicy, RoutingPolicyRevision

BROKEN: dict[str, Any] = {"endpoints": [{"url": "http://10.0.0.1:1/v1"}, {"url": "http://10.0.0.2:1/v2"}]}
TRAFFIC = st.sampled_from(
    [{}, {ALWAYS_STRONG: 1000}, {"-r1": 1000}, {"-r1": 950, "-r2": 50}, {"-gone": 1000}, {"-r1": 1}]
)
"""Weights by revision; what begins with - gets the policy's name before it."""


@st.composite
def worlds(draw: st.DrawFn) -> tuple[list[RoutingPolicy], list[RoutingPolicyRevision]]:
    """Return policies that share hosts, names and gateways, some broken, and their revisions."""
    keys = draw(st.lists(st.tuples(st.sampled_from("xy"), st.sampled_from("abc")), unique=True, max_size=5))
    policies = []
    for namespace, name in keys:
        strong = tier("strong", **BROKEN) if draw(st.integers(0, 5)) == 0 else tier("strong")
        policies.append(
            policy(
                name,
                namespace=namespace,
                created=f"2026-11-0{draw(st.integers(1, 2))}T10:00:00Z",
                deleted="2026-11-05T10:00:00Z" if draw(st.integers(0, 5)) == 0 else None,
                gateway=draw(st.sampled_from(["one", "two"])),
                hosts=tuple(
                    draw(st.sets(st.sampled_from(["a.com", "b.com", "*.com", "*"]), min_size=1, max_size=3))
                ),
                models=tuple(draw(st.sets(st.sampled_from(["auto", "fast"]), min_size=1))),
                tiers=(tier("cheap"), strong),
                traffic={(name + r if r[0] == "-" else r): w for r, w in draw(TRAFFIC).items()},
                candidate=draw(st.sampled_from([None, f"{name}-r2"])),
            )
        )
    revisions = [revision(f"{of.metadata.name}-{r}", of) for of in policies for r in ("r1", "r2")]
    return policies, revisions


@settings(max_examples=40, deadline=None)
@given(worlds(), st.randoms(use_true_random=False))
def test_order_means_nothing(
    world: tuple[list[RoutingPolicy], list[RoutingPolicyRevision]], random: Random
) -> None:
    """Any order of policies, revisions, hosts and models gives the same plans and findings."""
    policies, revisions = world
    last = {plan.key: plan for g in build(policies, {}, {}).gateways.values() for plan in g.policies}
    shuffled, frozen = list(policies), list(revisions)
    random.shuffle(shuffled)
    random.shuffle(frozen)
    turned = [
        p.model_copy(
            update={
                "spec": p.spec.model_copy(
                    update={
                        "match": p.spec.match.model_copy(
                            update={
                                "hostnames": p.spec.match.hostnames[::-1],
                                "models": p.spec.match.models[::-1],
                            }
                        )
                    }
                )
            }
        )
        for p in shuffled
    ]
    here = build(policies, by_key(*revisions), last)
    there = build(turned, by_key(*frozen), dict(reversed(last.items())))
    assert here == there


@settings(max_examples=40, deadline=None)
@given(worlds())
def test_every_policy_is_served_or_told_why_not(
    world: tuple[list[RoutingPolicy], list[RoutingPolicyRevision]],
) -> None:
    """No policy gets lost without a finding; weights are whole; no host and model has two holders."""
    policies, revisions = world
    result = build(policies, by_key(*revisions), {})
    plans = [(name, plan) for name, g in result.gateways.items() for plan in g.policies]
    living = {p.key for p in policies if p.metadata.deletion_timestamp is None}
    served = {plan.key for _, plan in plans}
    assert served <= living
    assert living - served <= {finding.policy for finding in result.findings}
    assert all(sum(arm.weight_permille for arm in plan.arms) == 1000 for _, plan in plans)
    assert all(arm.weight_permille == 0 for _, plan in plans for arm in plan.warm)
    claims = [(name, host, model) for name, p in plans for host in p.hostnames for model in p.models]
    assert len(claims) == len(set(claims))


@settings(max_examples=40, deadline=None)
@given(worlds())
def test_a_policy_never_changes_anothers_plan(
    world: tuple[list[RoutingPolicy], list[RoutingPolicyRevision]],
) -> None:
    """A policy is served as if it were alone, or, where a host is disputed, not at all."""
    policies, revisions = world
    together = build(policies, by_key(*revisions), {})
    for gateway in together.gateways.values():
        for plan in gateway.policies:
            (alone,) = [p for p in policies if p.key == plan.key]
            only = build([alone], by_key(*revisions), {}).gateways[gateway.gateway].policies
            assert only == (plan,)
