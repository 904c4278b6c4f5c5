"""Snapshots: versions by content, references that resolve."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from envoy.config.route.v3.route_pb2 import RouteConfiguration
from hypothesis import given, settings
from hypothesis import strategies as st

from plans import arm, policy, tier
from pointsman.plan.types import ClassifierPlan, GatewayPlan, SecretName, TritonPlan
from pointsman.xds.references import references
from pointsman.xds.snapshot import Snapshot, Versioner, consistent, inconsistencies, snapshot
from pointsman.xds.translate import Options, parts, secret, secret_names, translate
from pointsman.xds.types import CLUSTER, LISTENER, ROUTE, SECRET, TYPES

if TYPE_CHECKING:
    from pointsman.plan.types import PolicyPlan

CLASSIFIER = ClassifierPlan("pm-x", TritonPlan(("127.0.0.1:9000",)), 50, (("cheap", 500),), ())


def packed(*policies: PolicyPlan, by: Versioner | None = None) -> Snapshot:
    """Return the snapshot of a gateway with these policies."""
    messages = translate(GatewayPlan("default", policies), Options())
    keys = {name for p in policies for name in secret_names(p)}
    messages[SECRET] = {name.resource: secret(name, b"s") for name in keys}
    return (by or Versioner()).pack(messages)


def classified(name: str, port: int = 8000, weight: int = 1000) -> PolicyPlan:
    """Return a policy with two tiers, keys and a classifier, in two arms."""
    key = SecretName("default", "keys", name)
    cheap, strong = tier("cheap", port=port, api_key=key), tier("strong", api_key=key)
    first = replace(arm(cheap, strong, revision="r1", weight=weight), classifier=CLASSIFIER)
    second = arm(cheap, strong, revision="r2", weight=1000 - weight, pinned="cheap")
    return policy(name, first, second) if weight < 1000 else policy(name, first, warm=(second,))


@settings(max_examples=30, deadline=None)
@given(st.lists(st.tuples(st.sampled_from("abcd"), st.integers(1, 3), st.integers(1, 1000)), max_size=4))
def test_what_translation_makes_is_consistent(made: list[tuple[str, int, int]]) -> None:
    """Whatever policies a gateway has, every reference in its snapshot resolves."""
    policies = {name: classified(name, 8000 + port, weight) for name, port, weight in made}
    assert inconsistencies(packed(*policies.values())) == []


@pytest.mark.parametrize("kind", [CLUSTER, LISTENER, ROUTE, SECRET])
def test_every_missing_resource_is_found(kind: str) -> None:
    """Whatever single resource that something names is taken away, the snapshot is inconsistent."""
    whole = packed(classified("a", weight=500))
    named = {ref for t in TYPES for r in whole.of(t).values() for ref in r.refers}
    assert any(t == kind for t, _ in named)
    for name in whole.of(kind):
        rest = {n: r for n, r in whole.of(kind).items() if n != name}
        cut = snapshot({**whole.resources, kind: rest})
        assert consistent(cut) == ((kind, name) not in named), name


def test_equal_content_has_equal_versions_in_every_process() -> None:
    """Another process, with another hash seed, gives the same version: a restart updates nobody."""
    code = (
        "import sys, json; sys.path.insert(0, 'tests/unit/xds');"
        "from test_snapshot import packed, classified;"
        "print(json.dumps(packed(classified('a'), classified('b', weight=300)).version))"
    )
    env = os.environ | {"PYTHONHASHSEED": "77", "PYTHONPATH": "tests:operator"}
    other = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=env, check=True)
    assert json.loads(other.stdout) == packed(classified("a"), classified("b", weight=300)).version


def test_a_changed_weight_changes_routes_alone() -> None:
    """Clusters, listeners and secrets keep their versions when only a weight moves."""
    versioner = Versioner()
    before, after = (
        packed(classified("a", weight=900), by=versioner),
        packed(classified("a", weight=100), by=versioner),
    )
    changed = {t for t in TYPES if before.of(t) != after.of(t)}
    assert changed == {ROUTE}


def test_unchanged_resources_are_the_same_objects() -> None:
    """What did not change is not inspected again."""
    versioner = Versioner()
    before, after = (
        packed(classified("a"), by=versioner),
        packed(classified("a"), classified("b"), by=versioner),
    )
    assert all(after.of(CLUSTER)[name] is resource for name, resource in before.of(CLUSTER).items())


@settings(max_examples=30, deadline=None)
@given(
    st.lists(
        st.lists(st.tuples(st.sampled_from("abc"), st.integers(1, 1000)), max_size=3),
        min_size=1,
        max_size=4,
    )
)
def test_routes_put_together_from_known_hosts_are_the_same_routes(made: list[list[tuple[str, int]]]) -> None:
    """Whatever hosts were packed before, the bytes say what the whole message says."""
    versioner = Versioner()
    for world in made:
        policies = tuple({name: classified(name, weight=weight) for name, weight in world}.values())
        plan = GatewayPlan("default", policies)
        messages, routings = parts(plan, Options())
        found = versioner.pack(messages, routings).of(ROUTE)
        assert found == Versioner().pack(messages, routings).of(ROUTE)
        whole = translate(plan, Options())[ROUTE]
        assert found.keys() == whole.keys()
        for name, resource in found.items():
            assert RouteConfiguration.FromString(resource.body.value) == whole[name]
            assert resource.refers == references(whole[name])


def test_a_cluster_that_asks_dns_is_marked() -> None:
    """Routes must wait for it, so the snapshot says so."""
    whole = packed(policy("a", arm(tier(host="api.example.com"))), policy("b", arm(tier(host="127.0.0.1"))))
    warming = [name for name, resource in whole.of(CLUSTER).items() if resource.warms]
    assert len(warming) == 1
    assert warming[0].startswith("upstream-")
