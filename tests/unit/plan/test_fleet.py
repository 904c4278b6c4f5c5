"""RoutingGateways: whose policies they take, which tier hosts they allow, what their Envoys bind."""

from __future__ import annotations

from typing import Any

import pytest

from plan_objects import by_key, policy, revision, tier
from pointsman.api.v1alpha1 import RoutingPolicy, RoutingPolicyRevision
from pointsman.api.v1alpha1.routing_gateway import RoutingGateway
from pointsman.contract import ALWAYS_STRONG
from pointsman.plan.build import BuildResult, build
from pointsman.plan.fleet import Fleet, front, in_bytes, is_allowed
from pointsman.plan.types import CertificateName, ListenerPlan, PolicyPlan

HTTP: dict[str, Any] = {"name": "http", "port": 80, "protocol": "HTTP"}
HTTPS: dict[str, Any] = {
    "name": "https",
    "port": 443,
    "protocol": "HTTPS",
    "tls": {"certificateRefs": [{"name": "a"}, {"name": "b"}]},
}
FAR = tier("cheap", url="https://far.example.com/v1")


def gateway(*listeners: dict[str, Any], name: str = "default", **spec: Any) -> RoutingGateway:
    """Return a gateway in the system namespace."""
    made = {
        "metadata": {"name": name, "namespace": "system"},
        "spec": {"listeners": list(listeners) or [HTTP]} | spec,
    }
    return RoutingGateway.model_validate(made)


def fleet(*gateways: RoutingGateway, **more: Any) -> Fleet:
    """Return an installation with these gateways."""
    return Fleet("system", {each.metadata.name: each for each in gateways}, **more)


def made(
    of: RoutingPolicy,
    there: Fleet,
    *revisions: RoutingPolicyRevision,
    last: PolicyPlan | None = None,
) -> BuildResult:
    """Return what is planned for one policy."""
    return build([of], by_key(*revisions), {of.key: last} if last else {}, there)


def served(result: BuildResult) -> PolicyPlan | None:
    """Return the one plan, if there is one."""
    return next((plan for each in result.gateways.values() for plan in each.policies), None)


def reasons(result: BuildResult) -> list[str]:
    """Return what is wrong."""
    return [str(finding.reason) for finding in result.findings]


# -- listeners -----------------------------------------------------------------------------------------------


def test_listeners_of_a_new_gateway_are_bound_in_the_order_of_the_list() -> None:
    """Port 10000 and on, whatever the Service's ports are; certificates are Secrets beside the gateway."""
    found = front(gateway(HTTP, HTTPS, limits={"body": "1Mi"}))
    certificates = CertificateName("system", "a"), CertificateName("system", "b")
    assert found.listeners == (ListenerPlan("http", 10000), ListenerPlan("https", 10001, certificates))
    assert found.body_limit == 2**20
    assert front(gateway()).body_limit == 16 * 2**20


def test_a_gateway_without_policies_has_its_listeners() -> None:
    """Its Envoys answer 404; without RoutingGateways at all there is no front."""
    result = build([], {}, {}, fleet(gateway()))
    assert result.gateways["default"].front == front(gateway())
    assert build([policy()], {}, {}).gateways["default"].front is None


@pytest.mark.parametrize(
    ("quantity", "value"),
    [("1", 1), ("16Mi", 16 * 2**20), ("1k", 1000), ("1.5Ki", 1536), ("2G", 2 * 10**9), ("1500m", 1)],
)
def test_quantities_are_read_as_kubernetes_does(quantity: str, value: int) -> None:
    """Powers of two with an i, of ten without."""
    assert in_bytes(quantity) == value


# -- who may -------------------------------------------------------------------------------------------------


def test_a_gateway_that_is_not_there_is_named_with_those_that_are() -> None:
    """The policy is not served, and the message has the remedy."""
    result = made(policy(gateway="other"), fleet(gateway(), gateway(name="gpu")))
    assert served(result) is None
    assert reasons(result) == ["GatewayNotFound"]
    assert "there: default, gpu" in result.findings[0].message


def test_a_gateway_that_leaves_keeps_what_it_had() -> None:
    """Its Envoys finish: a policy that was served is, one that comes is not; both are told."""
    of = policy()
    last = served(made(of, fleet(gateway())))
    leaving = fleet(leaving={"default": gateway()})
    for known, plan in ((last, last), (None, None)):
        result = made(of, leaving, last=known)
        assert served(result) == plan
        assert reasons(result) == ["GatewayNotFound"]
        assert result.gateways["default"].front == front(gateway())


@pytest.mark.parametrize(
    ("allowed", "labels", "taken"),
    [
        ({"from": "All"}, {}, True),
        ({"from": "Same"}, {}, False),
        ({"from": "Selector", "selector": {"matchLabels": {"team": "a"}}}, {"team": "a"}, True),
        ({"from": "Selector", "selector": {"matchLabels": {"team": "a"}}}, {"team": "b"}, False),
    ],
)
def test_namespaces_are_let_in_as_the_gateway_says(
    allowed: dict[str, Any], labels: dict[str, str], *, taken: bool
) -> None:
    """Whoever is not is out at once, also if it was served before, and holds no host."""
    there = fleet(gateway(allowedNamespaces=allowed), labels={"ns": labels})
    of = policy()
    last = served(made(of, fleet(gateway())))
    result = made(of, there, last=last)
    assert (served(result) is not None) == taken
    assert reasons(result) == ([] if taken else ["NamespaceNotAllowed"])
    other = policy("q", namespace="system", created="2026-11-02T10:00:00Z")
    labelled = fleet(gateway(allowedNamespaces=allowed), labels={"ns": labels, "system": {"team": "a"}})
    both = build([of, other], {}, {}, labelled)
    assert [plan.key for plan in both.gateways["default"].policies] == [of.key if taken else "system/q"]


def test_labels_that_nobody_has_read_change_nothing() -> None:
    """What was served is, what is new waits, and nothing is said against either."""
    allowed = {"from": "Selector", "selector": {"matchLabels": {"team": "a"}}}
    there = fleet(gateway(allowedNamespaces=allowed))
    of = policy()
    last = served(made(of, fleet(gateway())))
    assert there.needs_labels
    for known in (last, None):
        result = made(of, there, last=known)
        assert served(result) == known
        assert reasons(result) == []


# -- tier hosts ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("host", "hosts", "allowed"),
    [
        ("api.example.com", ("api.example.com",), True),
        ("api.example.com", ("example.com",), False),
        ("api.example.com", ("*.example.com",), True),
        ("a.b.example.com", ("*.example.com",), True),
        ("example.com", ("*.example.com",), False),
        ("evil-example.com", ("*.example.com",), False),
        ("10.0.0.7", ("10.0.0.8", "10.0.0.7"), True),
    ],
)
def test_hosts_are_exact_or_below_a_suffix(host: str, hosts: tuple[str, ...], *, allowed: bool) -> None:
    """A leading `*.` covers what is below it, and never itself."""
    assert is_allowed(host, hosts) == allowed


HERE = ("10.0.0.1",)


def test_a_spec_with_a_host_that_is_not_allowed_is_refused_and_what_is_in_force_goes_on() -> None:
    """The traffic's own revision is at allowed hosts: it serves, and the finding names tier and host."""
    of = policy(traffic={"r1": 1000}, tiers=(FAR, tier("strong")))
    there = fleet(gateway(tierHosts=HERE))
    result = made(of, there, revision("r1", of, tiers=(tier("cheap"), tier("strong"))))
    plan = served(result)
    assert plan is not None
    assert [arm.revision for arm in plan.arms] == ["r1"]
    assert reasons(result) == ["TierHostNotAllowed"]
    assert "tiers[cheap].endpoints: host far.example.com" in result.findings[0].message


@pytest.mark.parametrize("was_served", [True, False])
def test_a_newly_forbidden_host_receives_nothing_more(*, was_served: bool) -> None:
    """Not by its arm, not by a warm one, not by the last plan: strong serves, from the same word on."""
    of = policy(traffic={"r1": 1000}, stable="r1", tiers=(FAR, tier("strong")))
    far = revision("r1", of, tiers=(FAR, tier("strong")))
    last = served(made(of, fleet(gateway()), far)) if was_served else None
    result = made(of, fleet(gateway(tierHosts=HERE)), far, last=last)
    plan = served(result)
    assert plan is not None
    arms = (*plan.arms, *plan.warm)
    assert [arm.revision for arm in plan.arms] == [ALWAYS_STRONG]
    assert {e.host for arm in arms for t in arm.tiers for e in t.endpoints} == set(HERE)
    assert reasons(result) == ["TierHostNotAllowed"]


def test_a_strong_tier_that_is_not_allowed_leaves_nothing_to_serve() -> None:
    """Nowhere is left to go: the policy is out."""
    strong = tier("strong", url="https://far.example.com/v1")
    of = policy(tiers=(tier("cheap"), strong))
    result = made(of, fleet(gateway(tierHosts=HERE)))
    assert served(result) is None
    assert reasons(result) == ["TierHostNotAllowed"]


# -- who holds a host ----------------------------------------------------------------------------------------


def test_of_two_of_one_second_the_one_that_was_told_so_holds_the_host() -> None:
    """Not the smaller name: whose status says Accepted goes on."""
    accepted = {
        "conditions": [
            {
                "type": "Accepted",
                "status": "True",
                "reason": "Accepted",
                "message": "",
                "lastTransitionTime": "2026-11-01T10:00:01Z",
            }
        ]
    }
    first, second = policy("a"), policy("b")
    told = RoutingPolicy.model_validate(second.model_dump(by_alias=True, mode="json") | {"status": accepted})
    result = build([first, told], {}, {})
    assert [plan.key for plan in result.gateways["default"].policies] == ["ns/b"]
    assert {f.policy: str(f.reason) for f in result.findings} == {"ns/a": "HostConflict"}
