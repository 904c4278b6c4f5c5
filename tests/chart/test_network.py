"""NetworkPolicies: only the arrows of the design. That they hold is the network plugin's business."""

from __future__ import annotations

from typing import Any

import pytest

from chart_kit import Helm, Object, one
from pointsman import install

OPERATOR, XDS, EVALUATOR = "operator", "xds", "evaluator"
GATEWAYS, TRITONS, PROMETHEUS, MONITORING, ANYBODY = "gateways", "tritons", "prometheus", "monitoring", "*"
ARROWS = {
    (TRITONS, OPERATOR, install.OPERATOR_BUNDLES),
    (MONITORING, OPERATOR, install.OPERATOR_HTTP),
    (GATEWAYS, XDS, install.XDS_GRPC),
    (OPERATOR, XDS, install.XDS_HTTP),
    (MONITORING, XDS, install.XDS_HTTP),
    (GATEWAYS, EVALUATOR, install.EVALUATOR_ACCESS_LOG),
    (GATEWAYS, EVALUATOR, install.EVALUATOR_CAPTURE),
    (MONITORING, EVALUATOR, install.EVALUATOR_HTTP),
    (ANYBODY, GATEWAYS, install.ENVOY_FIRST_PORT),
    (EVALUATOR, GATEWAYS, install.ENVOY_STATS),
    (EVALUATOR, GATEWAYS, install.ENVOY_SHADOW),
    (MONITORING, GATEWAYS, install.ENVOY_STATS),
    (GATEWAYS, TRITONS, install.TRITON_HTTP),
    (EVALUATOR, TRITONS, install.TRITON_HTTP),
    (OPERATOR, TRITONS, install.AGENT_HTTP),
    (MONITORING, TRITONS, install.TRITON_METRICS),
    (MONITORING, TRITONS, install.AGENT_HTTP),
}
"""(from, to, port)."""
BUNDLED = {(PROMETHEUS, to, port) for start, to, port in ARROWS if start == MONITORING}


def who(peer: dict[str, Any]) -> str:
    """Return the name of a peer."""
    selector = peer.get("podSelector", {})
    for expression in selector.get("matchExpressions", []):
        return {install.LABEL_GATEWAY: GATEWAYS, install.LABEL_POOL: TRITONS}[expression["key"]]
    component = selector.get("matchLabels", {}).get(install.LABEL_COMPONENT)
    if component is not None:
        return str(component)
    return str(peer["namespaceSelector"]["matchLabels"]["kubernetes.io/metadata.name"])


def arrows(objects: list[Object]) -> set[tuple[str, str, int]]:
    """Return who may connect to whom; of a range of ports the first."""
    return {
        (who(peer) if peer else ANYBODY, who(each["spec"]), port["port"])
        for each in objects
        if each["kind"] == "NetworkPolicy"
        for rule in each["spec"]["ingress"]
        for port in rule["ports"]
        for peer in rule.get("from", [None])
    }


def test_only_the_arrows_of_the_design_are_open(helm: Helm) -> None:
    """Whoever is not named may not connect; every pod has a policy, so everything else is shut."""
    assert arrows(helm.render({})) == ARROWS


def test_the_bundled_prometheus_may_scrape(helm: Helm) -> None:
    """All that the other one may, and the operator may ask it."""
    asks = {(OPERATOR, PROMETHEUS, 9090), (MONITORING, PROMETHEUS, 9090)}
    assert arrows(helm.render({"prometheus": {"mode": "bundled"}})) == ARROWS | BUNDLED | asks


def test_without_a_named_prometheus_nobody_reads_metrics(helm: Helm) -> None:
    """An empty list of peers opens no port; it would mean everybody."""
    found = arrows(helm.render({"networkPolicies": {"metricsFrom": []}}))
    assert found == {arrow for arrow in ARROWS if arrow[0] != MONITORING}


def test_clients_may_be_limited(helm: Helm) -> None:
    """With clientsFrom, only they reach the listeners."""
    inside = {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "apps"}}}
    found = arrows(helm.render({"networkPolicies": {"clientsFrom": [inside]}}))
    assert {start for start, to, port in found if port == install.ENVOY_FIRST_PORT} == {"apps"}


@pytest.mark.parametrize("name", ["pointsman-xds", "pointsman-tritons"])
def test_who_needs_little_gets_out_to_little(helm: Helm, name: str) -> None:
    """Name resolution; the xds server to the API server, Tritons to the operator, and no further."""
    rules = one(helm.render({}), "NetworkPolicy", name)["spec"]["egress"]
    reached = {
        (who(peer) if peer else ANYBODY, port["port"])
        for rule in rules
        for port in rule["ports"]
        for peer in rule.get("to", [None])
    }
    dns = {(ANYBODY, 53), (ANYBODY, 5353)}
    more = {
        "pointsman-xds": {(ANYBODY, 443), (ANYBODY, 6443)},
        "pointsman-tritons": {(OPERATOR, install.OPERATOR_BUNDLES)},
    }
    assert reached == dns | more[name]
