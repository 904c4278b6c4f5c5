"""Hypothesis strategies: any gateway that `plan.build` could make."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import strategies as st

from pointsman.contract import ALWAYS_STRONG
from pointsman.plan.types import (
    ArmPlan,
    CapturePlan,
    ClassifierPlan,
    Endpoint,
    GatewayPlan,
    PolicyPlan,
    SecretName,
    TierPlan,
    TritonPlan,
)

HOSTS = ("a.com", "b.com", "x.a.com", "*.a.com", "*.com", "*")
NAMES = ("cheap", "middle", "strong")


@st.composite
def tiers(draw: st.DrawFn, namespace: str, name: str) -> TierPlan:
    """Return a tier of a namespace: few values, so that tenants often have equal ones."""
    scheme = draw(st.sampled_from(["http", "https"]))
    path = draw(st.sampled_from(["", "/v1", "/openai/v1"]))
    hosts = draw(
        st.lists(st.sampled_from(["10.0.0.1", "10.0.0.2", "api.com"]), min_size=1, max_size=2, unique=True)
    )
    key = draw(st.sampled_from([None, "k", "l"]))
    return TierPlan(
        name=name,
        endpoints=tuple(Endpoint(scheme, host, 8000, path) for host in hosts),
        model=draw(st.sampled_from(["small", 'org/"x"', "größer"])),
        api_key=SecretName(namespace, "keys", key) if key else None,
        idle_timeout_ms=draw(st.sampled_from([1_000, 60_000])),
        total_timeout_ms=draw(st.sampled_from([60_000, 600_000])),
        namespace=namespace,
    )


@st.composite
def arms(draw: st.DrawFn, namespace: str, revision: str, weight: int) -> ArmPlan:
    """Return an arm with a classifier, a pin, or neither."""
    names = NAMES[-draw(st.integers(1, 3)) :]
    made = tuple(draw(tiers(namespace, name)) for name in names)
    arm = ArmPlan(revision=revision, weight_permille=weight, tiers=made)
    kind = draw(st.sampled_from(["none", "pinned", "classifier"]))
    if kind == "pinned":
        return replace(arm, pinned=draw(st.sampled_from(names)))
    if kind == "none":
        return arm
    thresholds = tuple((name, draw(st.integers(0, 1000))) for name in names[:-1] if draw(st.booleans()))
    intents = draw(st.dictionaries(st.sampled_from(["law", "small talk"]), st.sampled_from(names)))
    addresses = draw(st.sampled_from([("10.0.1.1:8000",), ("10.0.1.1:8000", "triton:8000")]))
    classifier = ClassifierPlan("pm-x", TritonPlan(addresses), 50, thresholds, tuple(sorted(intents.items())))
    return replace(arm, classifier=classifier)


@st.composite
def policies(draw: st.DrawFn, namespace: str, name: str) -> PolicyPlan:
    """Return a policy with one or two arms and perhaps a warm one."""
    weight = draw(st.sampled_from([1000, 950]))
    made = [draw(arms(namespace, ALWAYS_STRONG, weight))]
    if weight < 1000:
        made.append(draw(arms(namespace, "r1", 1000 - weight)))
    warm = (draw(arms(namespace, "r2", 0)),) if draw(st.booleans()) else ()
    return PolicyPlan(
        namespace=namespace,
        name=name,
        generation=1,
        hostnames=tuple(sorted(draw(st.sets(st.sampled_from(HOSTS), min_size=1, max_size=2)))),
        models=tuple(sorted(draw(st.sets(st.sampled_from(["auto", "fast"]), min_size=1)))),
        arms=tuple(made),
        warm=warm,
        capture=draw(st.sampled_from([None, CapturePlan(100, 4096)])),
    )


@st.composite
def gateways(draw: st.DrawFn) -> GatewayPlan:
    """Return a gateway with up to four policies of two tenants."""
    keys = draw(st.sets(st.tuples(st.sampled_from(["red", "blue"]), st.sampled_from("pq")), max_size=4))
    return GatewayPlan("default", tuple(draw(policies(*key)) for key in sorted(keys)))
