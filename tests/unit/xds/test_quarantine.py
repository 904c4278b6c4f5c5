"""Quarantine: whoever is poisonous, the healthy are served and the culprits are found soon."""

from __future__ import annotations

from dataclasses import replace
from math import ceil, log2
from typing import TYPE_CHECKING

from hypothesis import given, settings
from hypothesis import strategies as st

from plans import arm, policy, tier
from pointsman.xds.quarantine import Quarantine, form

if TYPE_CHECKING:
    from collections.abc import Callable

    from pointsman.plan.types import PolicyPlan

Poison = set[str]


def is_bad(plan: PolicyPlan) -> bool:
    """Tell whether our Envoy refuses a plan: a port that does not exist, routed or warm."""
    return any(e.port > 65535 for a in (*plan.arms, *plan.warm) for t in a.tiers for e in t.endpoints)


def named(name: str, port: int = 8000, **more: object) -> PolicyPlan:
    """Return a policy whose only tier is on `port`."""
    return replace(policy(name, arm(tier(port=port))), **more)  # type: ignore[arg-type]


def plans(*each: PolicyPlan) -> dict[str, PolicyPlan]:
    """Return plans by key."""
    return {plan.key: plan for plan in each}


def settle(q: Quarantine, refuses: Callable[[PolicyPlan], bool] = is_bad, most: int = 500) -> int:
    """Answer as an Envoy does until nothing is left to say; return the number of pushes."""
    pushes, seen = 0, 0
    while q.number != seen:
        seen = q.number
        pushes += 1
        assert pushes <= most, "the search does not end"
        if any(refuses(plan) for plan in q.target.values()):
            q.nacked(seen, "bad port")
        else:
            q.acked(seen)
    return pushes


@settings(max_examples=150, deadline=None)
@given(n=st.integers(1, 40), data=st.data())
def test_exactly_the_poisonous_are_quarantined_and_all_others_served(n: int, data: st.DataObject) -> None:
    """Whichever subset is refused, the others end up served, within O(k log n) pushes."""
    bad = data.draw(st.sets(st.integers(0, n - 1)))
    q = Quarantine()
    q.desire(plans(*(named(f"p{i}", 70_000 if i in bad else 8000) for i in range(n))))
    pushes = settle(q)
    assert set(q.held) == {f"default/p{i}" for i in bad}
    assert set(q.target) == {f"default/p{i}" for i in range(n) if i not in bad}
    assert pushes <= 3 + 2 * len(bad) * (ceil(log2(n)) + 1 if n > 1 else 1) + len(bad)


@settings(max_examples=100, deadline=None)
@given(n=st.integers(1, 20), data=st.data())
def test_a_refused_change_leaves_the_last_acknowledged_plan_in_force(n: int, data: st.DataObject) -> None:
    """Changed policies that Envoy refuses go on as they were acknowledged; healthy changes come through."""
    changed = data.draw(st.sets(st.integers(0, n - 1)))
    bad = data.draw(st.sets(st.sampled_from(sorted(changed)) if changed else st.nothing()))
    q = Quarantine()
    q.desire(plans(*(named(f"p{i}") for i in range(n))))
    settle(q)
    ports = {i: (70_000 if i in bad else 9000 if i in changed else 8000) for i in range(n)}
    q.desire(plans(*(named(f"p{i}", ports[i]) for i in range(n))))
    settle(q)
    got = {key: plan.arms[0].tiers[0].endpoints[0].port for key, plan in q.target.items()}
    assert got == {f"default/p{i}": 8000 if i in bad else ports[i] for i in range(n)}


@settings(max_examples=100, deadline=None)
@given(data=st.data())
def test_whatever_happens_in_between_the_end_is_the_same(data: st.DataObject) -> None:
    """Any order of desires, urgent desires, late and current answers ends with the healthy served."""
    q = Quarantine()
    wanted: dict[str, PolicyPlan] = {}
    names = [f"p{i}" for i in range(6)]
    targets: dict[int, dict[str, PolicyPlan]] = {}
    for _ in range(data.draw(st.integers(1, 25))):
        match data.draw(st.sampled_from(["desire", "urgent", "answer", "late"])):
            case "answer":
                bad = any(is_bad(p) for p in q.target.values())
                q.nacked(q.number, "bad") if bad else q.acked(q.number)
            case "late" if targets:
                number = data.draw(st.sampled_from(sorted(targets)))
                if any(is_bad(p) for p in targets[number].values()):
                    q.nacked(number, "bad")
            case kind:
                name = data.draw(st.sampled_from(names))
                port = data.draw(st.sampled_from([8000, 9000, 70_000, None]))
                wanted.pop(f"default/{name}", None)
                if port is not None:
                    wanted |= plans(named(name, port))
                q.desire(wanted, [f"default/{name}"] if kind == "urgent" else [])
        targets[q.number] = dict(q.target)
        if not any(is_bad(p) for p in q.good.values()):
            continue
        raise AssertionError("a refused plan was taken for good")
    settle(q)
    q.desire(wanted)
    settle(q)
    healthy = {key: plan for key, plan in wanted.items() if not is_bad(plan)}
    assert {key: q.target[key] for key in healthy} == healthy
    assert set(q.held) == wanted.keys() - healthy.keys()
    assert not any(is_bad(plan) for plan in q.target.values())


def test_quarantine_ends_when_the_plan_changes() -> None:
    """A held policy is tried again only when its plan is another one."""
    q = Quarantine()
    q.desire(plans(named("a"), named("b", 70_000)))
    settle(q)
    number = q.number
    q.desire(plans(named("a"), named("b", 70_000, generation=2)))
    assert (q.number, set(q.held)) == (number, {"default/b"})
    q.desire(plans(named("a"), named("b", 9000, generation=3)))
    settle(q)
    assert not q.held
    assert set(q.target) == {"default/a", "default/b"}


def test_envoys_words_are_kept() -> None:
    """The held policy carries what Envoy said."""
    q = Quarantine()
    q.desire(plans(named("b", 70_000)))
    q.nacked(q.number, "port value 70000 is too large")
    assert q.held["default/b"].message == "port value 70000 is too large"


def test_a_refused_candidate_does_not_hold_up_a_rollback() -> None:
    """With a poisonous arm that only waits, weights of the healthy arms still change."""
    good, new = arm(tier(), weight=900), arm(tier(port=9000), revision="r2", weight=100)
    poison = arm(tier(port=70_000), revision="r3", weight=0)
    q = Quarantine()
    q.desire(plans(policy("a", good, new)))
    settle(q)
    q.desire(plans(policy("a", good, new, warm=(poison,))))
    settle(q)
    rolled_back = policy(
        "a", replace(good, weight_permille=1000), warm=(poison, replace(new, weight_permille=0))
    )
    q.desire(plans(rolled_back), ["default/a"])
    settle(q)
    assert q.target["default/a"].arms == rolled_back.arms
    assert q.target["default/a"].warm == ()
    assert "default/a" in q.held


def test_a_rollback_during_a_search_is_published_at_once() -> None:
    """An urgent change is the very next target, without any suspect in it."""
    q = Quarantine()
    q.desire(plans(named("a"), named("b"), named("c")))
    settle(q)
    q.desire(plans(named("a"), named("b", 70_000), named("c", 70_001)))
    q.nacked(q.number, "bad")
    q.desire(plans(named("a", 9000), named("b", 70_000), named("c", 70_001)), ["default/a"])
    assert form(q.target["default/a"]) == form(named("a", 9000))
    assert not any(is_bad(plan) for plan in q.target.values())
    settle(q)
    assert set(q.held) == {"default/b", "default/c"}


def test_suspects_shorten_the_search() -> None:
    """When the refused resources are one policy's, it is held by the first refusal."""
    q = Quarantine()
    q.desire(plans(*(named(f"p{i}") for i in range(20)), named("x", 70_000)))
    q.nacked(q.number, "bad", frozenset({"default/x"}))
    assert set(q.held) == {"default/x"}
    assert len(q.target) == 20


def test_nobody_is_blamed_when_what_was_acknowledged_is_refused() -> None:
    """A new Envoy that refuses what others have is complained of, and no policy is."""
    q = Quarantine()
    q.desire(plans(named("a")))
    settle(q)
    q.desire(plans(named("a"), named("b")))
    q.desire(plans(named("a")))
    q.nacked(q.number, "no such filter")
    assert (q.held, q.complaint) == ({}, "no such filter")
    assert set(q.target) == {"default/a"}


def test_what_an_envoy_brought_along_is_not_suspected() -> None:
    """After our restart only policies that the Envoy does not have yet are tried and blamed."""
    q = Quarantine()
    q.desire(plans(named("a"), named("b"), named("c", 70_000)))
    q.learn(["default/a", "default/b"])
    q.nacked(q.number, "bad")
    assert set(q.held) == {"default/c"}
    assert set(q.target) == {"default/a", "default/b"}


def test_a_deleted_policy_goes() -> None:
    """What is desired no more is served no more."""
    q = Quarantine()
    q.desire(plans(named("a"), named("b")))
    settle(q)
    q.desire(plans(named("a")))
    settle(q)
    assert set(q.target) == {"default/a"}
