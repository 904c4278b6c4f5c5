"""Rights: those of deploy/rbac.yaml and no more, in as few namespaces as can be."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import product
from typing import Any

import pytest
import yaml

from chart_kit import ROOT, SYSTEM, Helm, Object, one

Right = tuple[str, str, str]
"""(group, resource, verb)."""

PARTS = ("operator", "xds", "evaluator")
BY_NAME = ("", "secrets", "get"), ("", "secrets", "list"), ("", "secrets", "watch")
"""Given where deploy/rbac.yaml stands for a lab, never by the chart: each namespace opts in, by names."""
OPTED_IN = {"xds": set(BY_NAME), "evaluator": {("", "secrets", "get")}}
ACTIONS = {"approve", "abort", "retry", "forcestrong"}


def rights(rules: Iterable[dict[str, Any]]) -> set[Right]:
    """Return what rules without names allow."""
    return {
        right
        for rule in rules
        if not rule.get("resourceNames")
        for right in product(rule["apiGroups"], rule["resources"], rule["verbs"])
    }


def granted(objects: list[Object], part: str) -> dict[str | None, set[Right]]:
    """Return what a part may do, by namespace; None: in all of them. By the bindings."""
    found: dict[str | None, set[Right]] = {}
    for binding in objects:
        subjects = binding.get("subjects", [])
        if {"kind": "ServiceAccount", "name": f"pointsman-{part}", "namespace": SYSTEM} not in subjects:
            continue
        namespace = binding["metadata"].get("namespace")
        role = one(objects, binding["roleRef"]["kind"], binding["roleRef"]["name"], namespace)
        found.setdefault(namespace, set()).update(rights(role["rules"]))
    return found


def written(part: str) -> set[Right]:
    """Return what deploy/rbac.yaml gives a part, wherever."""
    documents = yaml.safe_load_all((ROOT / "deploy" / "rbac.yaml").read_text("utf-8"))
    return {
        right
        for each in documents
        if each["kind"].endswith("Role") and each["metadata"]["name"].split(":")[1].split("-")[0] == part
        for right in rights(each["rules"])
    }


@pytest.mark.parametrize("part", PARTS)
def test_a_part_may_do_what_it_may_in_the_lab(helm: Helm, part: str) -> None:
    """All of deploy/rbac.yaml, but for Secrets, to which each namespace opts in by their names."""
    given = set().union(*granted(helm.render({}), part).values())
    assert written(part) - given <= OPTED_IN.get(part, set())


@pytest.mark.parametrize("part", PARTS)
def test_nobody_reads_secrets_of_all_namespaces(helm: Helm, part: str) -> None:
    """No right to Secrets is cluster-wide, and none to change what is not ours."""
    found = granted(helm.render({}), part)
    assert all(resource != "secrets" for _, resource, _ in found[None])
    writes = {(g, r) for g, r, verb in found[None] if verb not in {"get", "list", "watch"}}
    assert writes <= {
        ("pointsman.dev", "routingpolicies/status"),
        ("pointsman.dev", "routingpolicyrevisions"),
        ("pointsman.dev", "routingpolicyrevisions/status"),
        ("pointsman.dev", "rolloutactions/status"),
        ("events.k8s.io", "events"),
    }


@pytest.mark.parametrize("part", ["xds", "evaluator"])
def test_only_the_operator_reads_the_authority(helm: Helm, part: str) -> None:
    """In the system namespace lie the certificates' keys: xds and evaluator may read none by right."""
    assert all(resource != "secrets" for _, resource, _ in granted(helm.render({}), part)[SYSTEM])


def test_the_certificates_of_listeners_are_read_by_name(helm: Helm) -> None:
    """Those of the gateway's listeners, and those that are named beside them."""
    tls = {"certificateRefs": [{"name": "edge-tls"}, {"name": "more-tls"}]}
    listener = {"name": "https", "port": 443, "protocol": "HTTPS", "tls": tls}
    objects = helm.render(
        {"gateway": {"spec": {"listeners": [listener]}}, "rbac": {"listenerSecrets": ["own-tls", "edge-tls"]}}
    )
    rules = one(objects, "Role", "pointsman-xds-system")["rules"]
    (names,) = [rule["resourceNames"] for rule in rules if rule["resources"] == ["secrets"]]
    assert names == ["edge-tls", "more-tls", "own-tls"]


def test_namespaced_there_is_nothing_cluster_wide(helm: Helm) -> None:
    """No ClusterRole, no binding of one, no admission policy: whoever installs needs no more."""
    namespaces = ["chat", "search"]
    objects = helm.render({"rbac": {"namespaces": namespaces}})
    assert not [each["kind"] for each in objects if "namespace" not in each["metadata"]]
    for part in PARTS:
        found = granted(objects, part)
        assert found.keys() == {*namespaces, SYSTEM}
        everywhere = granted(helm.render({}), part)[None]
        not_in_a_namespace = {"namespaces", "customresourcedefinitions"}
        in_each = {right for right in everywhere if right[1] not in not_in_a_namespace}
        assert all(found[namespace] == in_each for namespace in namespaces)


def test_the_clusters_own_roles_speak_of_policies(helm: Helm) -> None:
    """Viewers see, editors write policies and stop rollouts, only admins approve; no action is left out."""
    objects = helm.render({})
    verbs = {
        name: {
            verb for _, resource, verb in rights(one(objects, "ClusterRole", f"pointsman-{name}")["rules"])
        }
        for name in ("view", "edit", "admin")
    }
    assert verbs["view"] == {"get", "list", "watch"}
    assert ACTIONS - verbs["edit"] == {"approve"}
    assert not ACTIONS - verbs["edit"] - verbs["admin"]
    label = "rbac.authorization.k8s.io/aggregate-to-"
    for name, reach in (
        ("view", {"view", "edit", "admin"}),
        ("edit", {"edit", "admin"}),
        ("admin", {"admin"}),
    ):
        labels = one(objects, "ClusterRole", f"pointsman-{name}")["metadata"]["labels"]
        assert {key.removeprefix(label) for key in labels if key.startswith(label)} == reach


def test_the_admission_policy_is_that_of_the_repository(helm: Helm) -> None:
    """Word for word deploy/admission.yaml, but for labels."""
    objects = helm.render({})
    for wanted in yaml.safe_load_all((ROOT / "deploy" / "admission.yaml").read_text("utf-8")):
        found = one(objects, wanted["kind"], wanted["metadata"]["name"])
        assert found["spec"] == wanted["spec"]
