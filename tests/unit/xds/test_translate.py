"""Translation: what holds for any gateway's plan. The text of the resources is in tests/golden."""

from __future__ import annotations

import base64
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from google.protobuf.json_format import MessageToDict
from hypothesis import given, settings

from plan_strategies import gateways
from plans import arm, policy, tier
from pointsman.contract import Header
from pointsman.plan.types import (
    CapturePlan,
    ClassifierPlan,
    Endpoint,
    GatewayPlan,
    SecretName,
    TierPlan,
    TritonPlan,
)
from pointsman.xds.references import references
from pointsman.xds.snapshot import Versioner, inconsistencies
from pointsman.xds.translate import (
    CLUSTER,
    LISTENER,
    ROUTES,
    SECRET,
    Options,
    names,
    secret,
    secret_names,
    translate,
)
from pointsman.xds.translate.clusters import DNS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from google.protobuf.message import Message

    from pointsman.plan.types import PolicyPlan
    from pointsman.xds.translate import Resources

OPTIONS = Options()
SOME = settings(max_examples=15, deadline=None)
DECIDE, DISPATCH = names.DECIDE, names.DISPATCH


def made(*policies: PolicyPlan, options: Options = OPTIONS) -> Resources:
    """Return the resources of a gateway with these policies."""
    return translate(GatewayPlan("default", policies), options)


def plain(message: Message) -> dict[str, Any]:
    """Return a message as a JSON value."""
    value: dict[str, Any] = MessageToDict(message, preserving_proto_field_name=True)
    return value


def hosts(resources: Resources) -> list[dict[str, Any]]:
    """Return the entry's virtual hosts."""
    found: list[dict[str, Any]] = plain(resources[ROUTES][names.ENTRY])["virtual_hosts"]
    return found


def tables(host: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield the decision tables of a host's routes."""
    for route in host["routes"]:
        weighted = route["route"].get("weighted_clusters", {}).get("clusters", [])
        for holder in (route, *weighted):
            context = holder.get("typed_per_filter_config", {}).get(DECIDE)
            if context is not None:
                yield context["filter_context"]


# -- any gateway ---------------------------------------------------------------------------------------------


@SOME
@given(gateways())
def test_every_reference_resolves(plan: GatewayPlan) -> None:
    """Clusters that routes name, listeners that clusters name, secrets: all are there."""
    messages = translate(plan, OPTIONS)
    keys = {name for p in plan.policies for name in secret_names(p)}
    messages[SECRET] = {name.resource: secret(name, b"s") for name in keys}
    assert inconsistencies(Versioner().pack(messages)) == []


@SOME
@given(gateways())
def test_equal_plans_give_equal_bytes(plan: GatewayPlan) -> None:
    """Also when nothing is remembered: another server gives Envoy the very same versions."""
    there = translate(replace(plan), replace(OPTIONS, entry_address="0.0.0.0:8081"))
    here = translate(plan, OPTIONS)
    for kind in (CLUSTER, ROUTES):
        assert {n: m.SerializeToString(deterministic=True) for n, m in here[kind].items()} == {
            n: m.SerializeToString(deterministic=True) for n, m in there[kind].items()
        }


@SOME
@given(gateways())
def test_every_domain_is_there_once_and_answers_everything(plan: GatewayPlan) -> None:
    """A domain that is there twice would make Envoy refuse all routes; each host ends with a catch-all."""
    found = hosts(translate(plan, OPTIONS))
    domains = [domain for host in found for domain in host["domains"]]
    assert len(domains) == len(set(domains))
    assert "*" in domains
    assert all(host["routes"][-1]["match"] == {"prefix": "/"} for host in found)


@SOME
@given(gateways())
def test_nothing_but_a_catch_all_is_matched_without_our_metadata(plan: GatewayPlan) -> None:
    """No route is found by what a client may set: a header, a path of its own."""
    for host in hosts(translate(plan, OPTIONS)):
        for route in host["routes"][:-1]:
            (matcher,) = route["match"]["dynamic_metadata"]
            assert matcher["filter"] == "pointsman"
            assert set(route["match"]) == {"prefix", "dynamic_metadata"}


@SOME
@given(gateways())
def test_every_decision_has_its_route(plan: GatewayPlan) -> None:
    """Whatever tier a table can choose, on the short way or the long, its host has a route by that name."""
    for host in hosts(translate(plan, OPTIONS)):
        there = {route["name"] for route in host["routes"]}
        for table in tables(host):
            last = len(table["tiers"])
            chosen = {int(table.get("pinned", last)), last}
            chosen |= {int(t["tier"]) for t in table.get("thresholds", [])}
            chosen |= {int(position) for position in table.get("intents", {}).values()}
            for position in chosen:
                assert table["routes"][position - 1] in there
                assert table["direct"][position - 1] in there | {""}


@SOME
@given(gateways())
def test_a_host_knows_every_model_that_it_offers(plan: GatewayPlan) -> None:
    """Each model of a host leads to a policy that has a route there, and covers that host."""
    policies = {p.key: p for p in plan.policies}
    for host in hosts(translate(plan, OPTIONS)):
        dispatch = host.get("typed_per_filter_config", {}).get(DISPATCH)
        if dispatch is None:
            continue
        there = {route["name"] for route in host["routes"]}
        for model, key in dispatch["filter_context"]["models"].items():
            assert key in there
            assert model in policies[key].models


@SOME
@given(gateways())
def test_keys_stay_with_their_tenant(plan: GatewayPlan) -> None:
    """Nothing that names a key of one namespace is made for, or routed to by, a policy of another."""
    whole = translate(plan, OPTIONS)
    everything = {(kind, name): references(m) for kind, found in whole.items() for name, m in found.items()}
    for each in plan.policies:
        alone = translate(GatewayPlan("default", (each,)), OPTIONS)
        seen = [(kind, name) for kind, found in alone.items() for name in found]
        reached: set[tuple[str, str]] = set()
        while seen:
            at = seen.pop()
            if at in reached or at[0] == ROUTES or at == (LISTENER, names.ENTRY):
                continue
            reached.add(at)
            seen += everything.get(at, ())
        secrets = {name for kind, name in reached if kind == SECRET}
        assert secrets == {name.resource for name in secret_names(each)}
        assert all(name.startswith(f"{each.namespace}/") for name in secrets)


@SOME
@given(gateways())
def test_warm_arms_have_clusters_and_no_route(plan: GatewayPlan) -> None:
    """What stands by can be routed to by routes alone."""
    whole = translate(plan, OPTIONS)
    routed = {table["revision"] for host in hosts(whole) for table in tables(host)}
    assert "r2" not in routed
    for each in plan.policies:
        for stands_by in each.warm:
            for member in stands_by.tiers:
                assert names.tier_listener(member) in whole[LISTENER]
                assert names.upstream_cluster(member) in whole[CLUSTER]


def shadowed(resources: Resources) -> dict[str, str]:
    """Return the shadow listener's domains with the clusters that they lead to."""
    found = plain(resources[ROUTES][names.SHADOW])
    assert found["request_headers_to_remove"][-1] == Header.SHADOW
    return {
        host["domains"][0]: host["routes"][0]["route"]["cluster"] for host in found.get("virtual_hosts", [])
    }


@SOME
@given(gateways())
def test_every_tier_of_every_arm_can_be_asked_in_the_shadow(plan: GatewayPlan) -> None:
    """By policy, revision and name, routed or warm; each is the tier's own listener, without a failover."""
    expected = {
        f"{p.key}/{arm.revision}/{member.name}": names.tier_listener(member)
        for p in plan.policies
        for arm in (*p.arms, *p.warm)
        for member in arm.tiers
    }
    assert shadowed(translate(plan, OPTIONS)) == expected


def test_without_policies_the_shadow_has_no_routes() -> None:
    """The route configuration is there all the same, so that no Envoy waits for it."""
    assert shadowed(made()) == {}


# -- names by content ----------------------------------------------------------------------------------------


CHEAP, STRONG = tier("cheap", model="small"), tier("strong")
CLASSIFIER = ClassifierPlan("pm-x", TritonPlan(("10.0.1.1:8000",)), 50, (("cheap", 500),), ())
BEFORE = policy("p", replace(arm(CHEAP, STRONG), classifier=CLASSIFIER))


@pytest.mark.parametrize(
    "after",
    [
        policy(
            "p", replace(arm(CHEAP, STRONG), classifier=replace(CLASSIFIER, thresholds=(("cheap", 900),)))
        ),
        policy("p", replace(arm(CHEAP, STRONG), classifier=replace(CLASSIFIER, model="pm-y"))),
        policy("p", replace(arm(CHEAP, STRONG, revision="r9"), classifier=CLASSIFIER)),
        policy("p", arm(CHEAP, STRONG, pinned="cheap")),
        policy("p", arm(CHEAP, STRONG, weight=500), arm(CHEAP, STRONG, revision="r2", weight=500)),
        replace(BEFORE, models=("other",), generation=7),
    ],
    ids=["threshold", "bundle", "revision", "strategy", "weights", "match"],
)
def test_unchanged_tiers_keep_their_resources(after: PolicyPlan) -> None:
    """A new rule or weight touches the routes alone: no tier loses a connection to it."""
    here, there = made(BEFORE), made(after)
    assert here[LISTENER] == there[LISTENER]
    triton = CLASSIFIER.triton.id
    assert {n: m for n, m in here[CLUSTER].items() if n != triton} == {
        n: m for n, m in there[CLUSTER].items() if n != triton
    }
    assert here[ROUTES] != there[ROUTES]


def test_a_label_or_weight_changes_the_entrys_routes_alone() -> None:
    """A step of a rollout sends no listener, cluster or shadow route anew."""
    split = policy("p", arm(CHEAP, STRONG, weight=990), arm(CHEAP, STRONG, revision="r2", weight=10))
    first, second = split.arms
    arms = (replace(first, label="0a1b2c3d/2/i"), replace(second, label="0a1b2c3d/2/c"))
    here, there = made(split), made(replace(split, arms=arms))
    assert here[ROUTES].pop(names.ENTRY) != there[ROUTES].pop(names.ENTRY)
    assert here == there


@pytest.mark.parametrize(
    "changed",
    [
        replace(CHEAP, model="smaller"),
        replace(CHEAP, endpoints=(Endpoint("http", "127.0.0.1", 8001, "/v1"),)),
        replace(CHEAP, api_key=SecretName("default", "keys", "k")),
        replace(CHEAP, idle_timeout_ms=1),
        replace(CHEAP, namespace="other"),
    ],
    ids=["model", "endpoint", "key", "time-out", "namespace"],
)
def test_a_changed_tier_is_another_tier(changed: TierPlan) -> None:
    """Old and new stand side by side, so requests under way end where they began; strong keeps its own."""
    here, there = made(BEFORE), made(policy("p", arm(changed, STRONG)))
    assert names.tier_listener(CHEAP) not in there[LISTENER]
    assert names.upstream_cluster(CHEAP) not in there[CLUSTER]
    for kind, name in ((LISTENER, names.tier_listener(STRONG)), (CLUSTER, names.upstream_cluster(STRONG))):
        assert here[kind][name] == there[kind][name]


def test_equal_tiers_of_two_tenants_are_two() -> None:
    """Statistics and keys of one tenant never mix with another's."""
    other = policy("p", arm(tier(namespace="other")), namespace="other", hostname="other.com")
    found = made(policy("p", arm(tier())), other)
    assert len([n for n in found[CLUSTER] if n.startswith("upstream-")]) == 2


def test_equal_tiers_of_one_tenant_are_one() -> None:
    """Two policies that share a tier share its connections."""
    found = made(policy("p", arm(tier())), policy("q", arm(tier())))
    assert len([n for n in found[CLUSTER] if n.startswith("upstream-")]) == 1


# -- options -------------------------------------------------------------------------------------------------


def test_capture_can_be_forbidden_for_a_fleet() -> None:
    """With `capture=False` no table tells a script to copy text, whatever policies say."""
    asked = replace(BEFORE, capture=CapturePlan(1000, 4096))
    for allowed in (True, False):
        found = made(asked, options=Options(capture=allowed))
        assert all(("capture" in table) == allowed for host in hosts(found) for table in tables(host))


def test_answers_are_compressed_only_where_asked() -> None:
    """The compressor is there if and only if the option says so, first in the list."""
    for asked in (True, False):
        entry = plain(made(BEFORE, options=Options(compress=asked))[LISTENER][names.ENTRY])
        filters = entry["filter_chains"][0]["filters"][0]["typed_config"]["http_filters"]
        assert [f["name"] for f in filters].count("envoy.filters.http.compressor") == asked
        assert [f["name"] for f in filters][-3:] == [DISPATCH, DECIDE, "envoy.filters.http.router"]


def test_names_are_resolved_and_addresses_are_not() -> None:
    """One name among the endpoints makes the cluster ask DNS."""
    named = replace(STRONG, endpoints=(Endpoint("http", "h", 80, ""), Endpoint("http", "10.0.0.1", 80, "")))
    found = made(policy("p", arm(CHEAP, named)))[CLUSTER]
    assert plain(found[names.upstream_cluster(named)])["cluster_type"]["name"] == DNS
    assert plain(found[names.upstream_cluster(CHEAP)])["type"] == "STATIC"


@pytest.mark.parametrize(
    "of", [("a.com",), ("10.0.0.1",), ("a.com", "10.0.0.1", "b.com")], ids=["name", "address", "several"]
)
def test_certificates_are_checked(of: tuple[str, ...]) -> None:
    """Each endpoint's certificate must carry that endpoint's own name or address."""
    secure = replace(STRONG, endpoints=tuple(Endpoint("https", host, 443, "") for host in of))
    found = plain(made(policy("p", arm(secure)))[CLUSTER][names.upstream_cluster(secure)])
    sockets = {m["match"]["host"]: m["transport_socket"] for m in found.get("transport_socket_matches", ())}
    endpoints = found["load_assignment"]["endpoints"][0]["lb_endpoints"]
    for endpoint in endpoints:
        host = endpoint["endpoint"]["address"]["socket_address"]["address"]
        match = endpoint.get("metadata", {"filter_metadata": {}})["filter_metadata"]
        named = match.get("envoy.transport_socket_match", {}).get("host")
        context = (sockets[named] if named else found["transport_socket"])["typed_config"]
        validation = context["common_tls_context"]["validation_context"]
        (san,) = validation["match_typed_subject_alt_names"]
        assert san["matcher"]["exact"] == host
        assert context.get("sni") == (None if host == "10.0.0.1" else host)
        assert validation["trusted_ca"]["filename"] == OPTIONS.ca_file


def test_a_key_is_a_bearer_token_without_line_end() -> None:
    """A Secret written with a trailing newline works all the same."""
    found = plain(secret(SecretName("ns", "keys", "k"), b"abc\n"))
    assert found["name"] == "ns/keys/k"
    assert base64.b64decode(found["generic_secret"]["secret"]["inline_bytes"]) == b"Bearer abc"
