"""What is served: the traffic in force, and what holds when it cannot be."""

from __future__ import annotations

from typing import Any

import pytest

from plan_objects import BUNDLE, CLASSIFIER, PINNED, by_key, policy, revision, tier, triton
from pointsman.api.v1alpha1 import RoutingPolicy, RoutingPolicyRevision
from pointsman.contract import ALWAYS_STRONG
from pointsman.plan.build import BuildResult, build
from pointsman.plan.types import CapturePlan, PolicyPlan, SecretName

NOTHING: dict[str, PolicyPlan] = {}


def plans(result: BuildResult) -> dict[str, PolicyPlan]:
    """Return every plan by policy key."""
    return {plan.key: plan for gateway in result.gateways.values() for plan in gateway.policies}


def served(
    of: RoutingPolicy, *revisions: RoutingPolicyRevision, last: PolicyPlan | None = None
) -> PolicyPlan:
    """Return the one plan of one policy."""
    result = build([of], by_key(*revisions), {of.key: last} if last else {})
    return plans(result)[of.key]


def reasons(result: BuildResult) -> dict[str, str]:
    """Return what is wrong, by policy key."""
    return {finding.policy: str(finding.reason) for finding in result.findings}


# -- always-strong -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("strategy", [PINNED, CLASSIFIER], ids=["pinned", "classifier"])
@pytest.mark.parametrize("traffic", [None, {"r1": 0}, {ALWAYS_STRONG: 1000}], ids=["none", "zero", "named"])
def test_no_traffic_in_force_means_all_to_strong(
    strategy: dict[str, Any], traffic: dict[str, int] | None
) -> None:
    """Whatever the spec asks for, the one tier that is planned is the last of the current spec."""
    (arm,) = served(policy(strategy=strategy, triton=triton(), traffic=traffic)).arms
    assert (arm.revision, arm.weight_permille) == (ALWAYS_STRONG, 1000)
    assert [t.name for t in arm.tiers] == ["strong"]
    assert arm.classifier is None
    assert arm.pinned is None


def test_a_lost_status_goes_to_strong_though_another_plan_was_served() -> None:
    """An empty status is a decision, not a gap: the last plan does not outlive it."""
    before = policy(traffic={"r1": 1000})
    last = served(before, revision("r1", before))
    assert served(policy(), revision("r1", before), last=last).arms[0].revision == ALWAYS_STRONG


def test_always_strong_stands_by() -> None:
    """The way back to strong is in place while a revision serves, without traffic."""
    of = policy(traffic={"r1": 1000})
    (warm,) = served(of, revision("r1", of)).warm
    assert (warm.revision, warm.weight_permille) == (ALWAYS_STRONG, 0)


# -- revisions that cannot be served -------------------------------------------------------------------------


@pytest.mark.parametrize("there", ["missing", "stranger"])
def test_a_revision_that_is_not_ours_keeps_the_last_plan(there: str) -> None:
    """Not in the cache, or of another object of that name: what was served goes on, and is told."""
    before = policy(traffic={"r1": 1000})
    last = served(before, revision("r1", before))
    of = policy(traffic={"r2": 1000})
    revisions = by_key(revision("r2", of, uid="another")) if there == "stranger" else {}
    result = build([of], revisions, {of.key: last})
    assert plans(result)[of.key] == last
    assert reasons(result) == {of.key: "RevisionNotFound"}
    assert "r2" in result.findings[0].message


@pytest.mark.parametrize("uid", [None, "another"])
def test_without_a_last_plan_it_is_all_to_strong(uid: str | None) -> None:
    """A server that has just started knows no last plan: strong is always right."""
    of = policy(traffic={"r1": 1000})
    result = build([of], by_key(revision("r1", of, uid=uid)) if uid else {}, NOTHING)
    assert [arm.revision for arm in plans(result)[of.key].arms] == [ALWAYS_STRONG]
    assert reasons(result) == {of.key: "RevisionNotFound"}


def test_a_revision_of_another_namespace_is_not_ours() -> None:
    """Revisions are looked up in the policy's own namespace."""
    of = policy(traffic={"r1": 1000})
    other = policy(namespace="other")
    result = build([of], by_key(revision("r1", other, uid=of.metadata.uid)), NOTHING)
    assert reasons(result) == {of.key: "RevisionNotFound"}


@pytest.mark.parametrize("traffic", [{"r1": 999}, {"r1": 600, ALWAYS_STRONG: 600}])
def test_weights_that_are_no_whole_keep_the_last_plan(traffic: dict[str, int]) -> None:
    """Weights must add up to 1000; if not, the field is named and nothing moves."""
    before = policy(traffic={"r1": 1000})
    frozen = revision("r1", before)
    last = served(before, frozen)
    result = build([policy(traffic=traffic)], by_key(frozen), {before.key: last})
    assert plans(result)[before.key] == last
    assert "status.traffic" in result.findings[0].message


# -- arms ----------------------------------------------------------------------------------------------------


def test_weights_and_rules_are_the_revisions() -> None:
    """Each arm has its own tiers and rule; the policy's spec decides nothing of them."""
    of = policy(traffic={"r1": 900, "r2": 100}, tiers=(tier("only"),), triton=triton())
    one = revision("r1", of)
    two = revision("r2", of, strategy=CLASSIFIER)
    first, second = served(of, one, two).arms
    assert (first.revision, first.weight_permille, first.pinned) == ("r1", 900, "cheap")
    assert (second.revision, second.weight_permille, second.pinned) == ("r2", 100, None)
    assert second.classifier is not None
    assert second.classifier.model == f"pm-{BUNDLE}"
    assert second.classifier.thresholds == (("cheap", 640),)
    assert second.classifier.deadline_ms == 50
    assert [t.name for t in second.tiers] == ["cheap", "strong"]


def test_thresholds_go_from_cheap_to_strong() -> None:
    """The script takes the first threshold that is reached, so their order is the tiers'."""
    thresholds = [{"tier": "middle", "minScorePermille": 1}, {"tier": "cheap", "minScorePermille": 2}]
    strategy = CLASSIFIER | {"classifier": CLASSIFIER["classifier"] | {"thresholds": thresholds}}
    tiers = tier("cheap"), tier("middle"), tier("strong")
    of = policy(traffic={"r1": 1000}, triton=triton())
    (arm,) = served(of, revision("r1", of, tiers=tiers, strategy=strategy)).arms
    assert arm.classifier is not None
    assert arm.classifier.thresholds == (("cheap", 2), ("middle", 1))


def test_keys_are_the_current_ones() -> None:
    """A tier's key is the current spec's, by name; a tier that is gone keeps its frozen one."""
    frozen = tuple(tier(n, apiKeyRef={"name": "old", "key": n}) for n in ("cheap", "middle", "strong"))
    now = tier("cheap", apiKeyRef={"name": "new", "key": "k"}), tier("strong")
    of = policy(traffic={"r1": 1000}, tiers=now)
    (arm,) = served(of, revision("r1", of, tiers=frozen)).arms
    assert [t.api_key for t in arm.tiers] == [
        SecretName("ns", "new", "k"),
        SecretName("ns", "old", "middle"),
        None,
    ]


def test_endpoints_and_models_are_frozen() -> None:
    """Of the current spec only the key applies to a revision's tier."""
    of = policy(traffic={"r1": 1000}, tiers=(tier("cheap", "http://10.9.9.9:1/v1"), tier("strong")))
    (arm,) = served(of, revision("r1", of)).arms
    assert arm.tiers[0].endpoints[0].host == "10.0.0.1"


def test_a_price_changes_nothing_that_is_served() -> None:
    """What a token costs is no part of the plan."""
    price = {"inputPerMillion": "1", "outputPerMillion": "2"}
    assert served(policy(tiers=(tier("cheap"), tier("strong", price=price)))) == served(policy())


def test_the_current_triton_is_asked() -> None:
    """Where the classifier runs is live; servers are sorted, so that their order makes no new cluster."""
    of = policy(traffic={"r1": 1000}, triton=triton("http://10.0.1.3:8000", "http://10.0.1.2:8000"))
    (arm,) = served(of, revision("r1", of, strategy=CLASSIFIER, triton=triton())).arms
    assert arm.classifier is not None
    assert arm.classifier.triton.addresses == ("10.0.1.2:8000", "10.0.1.3:8000")


def test_a_policy_that_names_no_triton_any_more_uses_the_revisions() -> None:
    """A spec that went on to a pin leaves the classifier of what is in force where it was."""
    of = policy(traffic={"r1": 1000})
    (arm,) = served(of, revision("r1", of, strategy=CLASSIFIER, triton=triton())).arms
    assert arm.classifier is not None
    assert arm.classifier.triton.addresses == ("10.0.1.1:8000",)


@pytest.mark.parametrize(
    ("url", "endpoint"),
    [
        ("http://h", ("http", "h", 80, "")),
        ("https://h/v1/", ("https", "h", 443, "/v1")),
        ("https://API.example.com:8443/openai/v1", ("https", "api.example.com", 8443, "/openai/v1")),
    ],
)
def test_addresses(url: str, endpoint: tuple[str, str, int, str]) -> None:
    """Ports have their usual defaults, and a path ends without a slash."""
    (arm,) = served(policy(tiers=(tier("strong", url),))).arms
    found = arm.tiers[0].endpoints[0]
    assert (found.scheme, found.host, found.port, found.path_prefix) == endpoint


# -- warm ----------------------------------------------------------------------------------------------------


def test_the_candidate_and_the_stable_revision_stand_by() -> None:
    """Before its first step a candidate is in place, and after a rollback the stable one still is."""
    of = policy(traffic={"r1": 1000}, stable="r0", candidate="r2")
    plan = served(of, *(revision(name, of) for name in ("r0", "r1", "r2")))
    assert [arm.revision for arm in plan.arms] == ["r1"]
    assert [(arm.revision, arm.weight_permille) for arm in plan.warm] == [
        (ALWAYS_STRONG, 0),
        ("r0", 0),
        ("r2", 0),
    ]


def test_what_is_routed_does_not_stand_by_as_well() -> None:
    """A stable revision with traffic is planned once."""
    of = policy(traffic={"r1": 500, "r2": 500}, stable="r1", candidate="r2")
    plan = served(of, revision("r1", of), revision("r2", of))
    assert [arm.revision for arm in plan.warm] == [ALWAYS_STRONG]


def test_a_candidate_that_is_not_there_yet_is_left_out() -> None:
    """It has no traffic, so nothing is wrong."""
    of = policy(traffic={"r1": 1000}, candidate="r2")
    result = build([of], by_key(revision("r1", of)), NOTHING)
    assert [arm.revision for arm in plans(result)[of.key].warm] == [ALWAYS_STRONG]
    assert result.findings == ()


MIXED: dict[str, Any] = {"endpoints": [{"url": "http://10.0.0.1:1/v1"}, {"url": "http://10.0.0.2:1/v2"}]}
"""Endpoints that no one tier can have: what is planned of it fails."""


def test_a_broken_candidate_holds_up_nothing() -> None:
    """The traffic in force moves on though what stands by cannot be planned; the finding says what."""
    of = policy(traffic={"r2": 1000}, stable="r1", candidate="r3")
    before = policy(traffic={"r1": 1000})
    last = served(before, revision("r1", before))
    broken = revision("r3", of, tiers=(tier("cheap"), tier("strong", **MIXED)))
    result = build([of], by_key(revision("r1", of), revision("r2", of), broken), {of.key: last})
    assert [arm.revision for arm in plans(result)[of.key].arms] == ["r2"]
    assert [arm.revision for arm in plans(result)[of.key].warm] == [ALWAYS_STRONG, "r1"]
    assert reasons(result) == {of.key: "InvalidSpec"}
    assert result.findings[0].message.startswith("r3: tiers[strong].endpoints")


def test_a_broken_spec_does_not_hold_up_a_rollback() -> None:
    """The last tier of an edited spec cannot be planned: the revision in force is served all the same."""
    of = policy(traffic={"r1": 1000}, tiers=(tier("cheap"), tier("strong", **MIXED)))
    result = build([of], by_key(revision("r1", of)), NOTHING)
    assert [arm.revision for arm in plans(result)[of.key].arms] == ["r1"]
    assert plans(result)[of.key].warm == ()
    assert reasons(result) == {of.key: "InvalidSpec"}


# -- the policy's own life -----------------------------------------------------------------------------------


def test_a_deleted_policy_vanishes_at_once() -> None:
    """What is being deleted is not served, and its host is free for another."""
    old = policy("old", deleted="2026-11-02T10:00:00Z")
    result = build([old, policy("new", created="2026-11-03T10:00:00Z")], {}, {old.key: served(policy("old"))})
    assert list(plans(result)) == ["ns/new"]
    assert result.findings == ()


def test_a_suspended_policy_is_served_as_it_is() -> None:
    """`suspend` freezes the rollout, not the traffic."""
    of = policy(traffic={"r1": 300, ALWAYS_STRONG: 700})
    frozen = revision("r1", of)
    assert served(policy(traffic={"r1": 300, ALWAYS_STRONG: 700}, suspend=True), frozen) == served(of, frozen)


@pytest.mark.parametrize(
    ("capture", "planned"),
    [
        (None, None),
        ({"samplePermille": 0}, None),
        ({"samplePermille": 10}, CapturePlan(10, 262_144)),
        ({"samplePermille": 1000, "maxBytes": 2048}, CapturePlan(1000, 2048)),
    ],
)
def test_capture(capture: dict[str, int] | None, planned: CapturePlan | None) -> None:
    """Text is kept only where a share above zero is asked for."""
    evaluation: dict[str, Any] = {} if capture is None else {"evaluation": {"capture": capture}}
    assert served(policy(**evaluation)).capture == planned


def test_gateways_are_apart() -> None:
    """Every gateway has its own policies; the same host and model on another is no conflict."""
    result = build([policy("a", gateway="one"), policy("b", gateway="two")], {}, NOTHING)
    assert {name: [p.key for p in g.policies] for name, g in result.gateways.items()} == {
        "one": ["ns/a"],
        "two": ["ns/b"],
    }
    assert result.findings == ()


# -- conflicts and bad neighbours ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("first", "second", "holder"),
    [
        (("b", "2026-11-01T10:00:00Z"), ("a", "2026-11-02T10:00:00Z"), "ns/b"),
        (("b", "2026-11-01T10:00:00Z"), ("a", "2026-11-01T10:00:00Z"), "ns/a"),
    ],
    ids=["age", "name"],
)
def test_the_older_policy_holds_a_host(first: tuple[str, str], second: tuple[str, str], holder: str) -> None:
    """Same gateway, host and model: the older serves, of one age the first by name."""
    two = [
        policy(name, created=created, hosts=("llm.example.com", f"{name}.com"))
        for name, created in (first, second)
    ]
    result = build(two, {}, NOTHING)
    (loser,) = {p.key for p in two} - {holder}
    assert list(plans(result)) == [holder]
    assert reasons(result) == {loser: "HostConflict"}
    (finding,) = result.findings
    assert "llm.example.com" in finding.message
    assert holder in finding.message


@pytest.mark.parametrize(
    "other",
    [{"models": ("other",)}, {"hosts": ("*.example.com",)}, {"hosts": ("*",)}, {"gateway": "two"}],
    ids=["model", "wildcard", "any host", "gateway"],
)
def test_what_differs_anywhere_is_no_conflict(other: dict[str, Any]) -> None:
    """Models of one host may be different policies', and a wildcard leaves what is named to others."""
    result = build([policy("a"), policy("b", **other)], {}, NOTHING)
    assert sorted(plans(result)) == ["ns/a", "ns/b"]
    assert result.findings == ()


def test_who_lost_a_conflict_holds_nothing_against_others() -> None:
    """The hosts of a policy that is not served are free."""
    first = policy("a", created="2026-11-01T10:00:00Z")
    second = policy("b", created="2026-11-02T10:00:00Z", hosts=("llm.example.com", "other.example.com"))
    third = policy("c", created="2026-11-03T10:00:00Z", hosts=("other.example.com",))
    assert sorted(plans(build([first, second, third], {}, NOTHING))) == ["ns/a", "ns/c"]


def test_one_bad_policy_never_stops_the_others() -> None:
    """What cannot be planned at all is left out, by name and field; its neighbours are served."""
    bad = policy("bad", hosts=("bad.com",), tiers=(tier("strong", **MIXED),))
    result = build([policy("a"), bad, policy("c", hosts=("c.com",))], {}, NOTHING)
    assert sorted(plans(result)) == ["ns/a", "ns/c"]
    assert reasons(result) == {"ns/bad": "InvalidSpec"}
    assert "tiers[strong].endpoints" in result.findings[0].message


@pytest.mark.parametrize(
    ("strategy", "field"),
    [
        ({"type": "Pinned", "pinned": {"tier": "gone"}}, "pinned"),
        (
            CLASSIFIER
            | {
                "classifier": CLASSIFIER["classifier"]
                | {"thresholds": [{"tier": "gone", "minScorePermille": 1}]}
            },
            "thresholds",
        ),
        (
            CLASSIFIER
            | {"classifier": CLASSIFIER["classifier"] | {"perIntent": [{"intent": "x", "tier": "gone"}]}},
            "perIntent",
        ),
    ],
    ids=["pinned", "thresholds", "perIntent"],
)
def test_a_rule_for_a_tier_that_is_not_there_goes_to_strong(strategy: dict[str, Any], field: str) -> None:
    """A revision whose rule names no tier of its own is not served; the finding names field and tier."""
    of = policy(traffic={"r1": 1000}, triton=triton())
    result = build([of], by_key(revision("r1", of, strategy=strategy)), NOTHING)
    assert [arm.revision for arm in plans(result)[of.key].arms] == [ALWAYS_STRONG]
    assert f"strategy: {field} names tier gone" in result.findings[0].message


def test_a_classifier_without_triton_goes_to_strong() -> None:
    """Nowhere to run it: all to strong, and the remedy is told."""
    of = policy(traffic={"r1": 1000})
    result = build([of], by_key(revision("r1", of, strategy=CLASSIFIER)), NOTHING)
    assert [arm.revision for arm in plans(result)[of.key].arms] == [ALWAYS_STRONG]
    assert "triton.external.urls" in result.findings[0].message
