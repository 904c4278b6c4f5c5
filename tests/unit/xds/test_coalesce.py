"""Coalescing: traffic at once, the rest when it is quiet, nothing later than the limit."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from plans import arm, policy, tier
from pointsman.plan.types import PolicyPlan
from pointsman.xds.coalesce import Coalescer


def plans(*each: PolicyPlan) -> dict[str, PolicyPlan]:
    """Return plans by key."""
    return {plan.key: plan for plan in each}


def started(*each: PolicyPlan) -> Coalescer:
    """Return a coalescer that has published these plans at time 0."""
    made = Coalescer(quiet_s=0.25, most_s=1.0)
    made.offer(plans(*each), 0)
    assert made.take(0) is not None
    return made


A, B = policy("a"), policy("b")
A2 = policy("a", arm(tier("other")))
B_MOVED = policy("b", arm(revision="r2"))


def test_the_first_plans_are_published_at_once() -> None:
    """Even none: an Envoy waits for its first configuration."""
    made = Coalescer()
    assert made.take(0) == ({}, frozenset())
    assert (made.due, made.take(1)) == (None, None)


def test_a_change_waits_until_it_is_quiet() -> None:
    """Changed tiers come a quarter of a second after the last change."""
    made = started(A)
    made.offer(plans(A2), 10.0)
    assert (made.take(10.2), made.due) == (None, 10.25)
    assert made.take(10.25) == (plans(A2), frozenset())


def test_a_stream_of_changes_waits_no_longer_than_the_limit() -> None:
    """Changes that never stop are published every second."""
    made = started(A)
    for i in range(10):
        made.offer(plans(replace(A2, generation=i)), 10 + i / 10)
        assert made.take(10 + i / 10) is None
    assert made.take(11.0) == (plans(replace(A2, generation=9)), frozenset())


def test_changed_traffic_goes_at_once_and_alone() -> None:
    """A rollback takes nothing along that may need longer in Envoy."""
    made = started(A, B)
    made.offer(plans(A2, B), 10)
    made.offer(plans(A2, B_MOVED), 10.1)
    assert made.take(10.1) == (plans(A, B_MOVED), frozenset({"default/b"}))
    assert made.take(10.1) is None
    assert made.take(10.35) == (plans(A2, B_MOVED), frozenset())


def test_a_deleted_policy_waits_like_any_change() -> None:
    """Its removal is published when it is quiet."""
    made = started(A, B)
    made.offer(plans(A), 10)
    assert made.take(10.1) is None
    assert made.take(10.3) == (plans(A), frozenset())


@given(st.lists(st.tuples(st.sampled_from([A, A2, B, B_MOVED]), st.floats(0, 0.6)), max_size=20))
def test_in_the_end_everything_is_published(steps: list[tuple[PolicyPlan, float]]) -> None:
    """Whatever is offered when: once due has passed, what was offered last is published."""
    made, now, latest = started(A, B), 0.0, plans(A, B)
    for plan, pause in steps:
        now += pause
        latest = latest | plans(plan)
        made.offer(latest, now)
        made.take(now)
    while made.due is not None:
        now = max(now, made.due)
        made.take(now)
    assert made.published == latest
