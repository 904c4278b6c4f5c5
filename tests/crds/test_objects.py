"""Stored objects: a status apart and with bounds, immutable revisions, columns that say what counts."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest

from pointsman.api.conditions import (
    AcceptedReason,
    ClassifierReadyReason,
    ProgrammedReason,
    ProgressingReason,
    condition,
    set_condition,
    summarize,
)
from pointsman.api.v1alpha1.meta import UNSEEN
from pointsman.api.v1alpha1.status import RoutingPolicyStatus

from .bad_specs import apply
from .conftest import GROUP_PATH

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pointsman.api.v1alpha1.meta import Condition

    from .conftest import Api

pytestmark = pytest.mark.apiserver

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
TABLE = {"accept": "application/json;as=Table;v=v1;g=meta.k8s.io"}
MERGE = {"content-type": "application/merge-patch+json"}


@pytest.fixture
def policy(api: Api, good: dict[str, dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """Store the quickstart's policy; delete it afterwards."""
    stored = api.create(good["quickstart"], dry_run=False)
    assert stored.status == 201, stored.body
    yield stored.body
    api.call("DELETE", f"{GROUP_PATH}/routingpolicies/support")


@pytest.fixture
def revision(api: Api, good: dict[str, dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """Store a revision of the quickstart's policy; delete it afterwards."""
    spec = good["quickstart"]["spec"]
    manifest = {
        "apiVersion": "pointsman.dev/v1alpha1",
        "kind": "RoutingPolicyRevision",
        "metadata": {"name": "support-0123456789"},
        "spec": {"policyRef": {"name": "support"}, **{k: spec[k] for k in ("tiers", "strategy", "triton")}},
    }
    stored = api.create(manifest, "routingpolicyrevisions", dry_run=False)
    assert stored.status == 201, stored.body
    yield stored.body
    api.call("DELETE", f"{GROUP_PATH}/routingpolicyrevisions/support-0123456789")


def write_status(api: Api, status: dict[str, Any]) -> Any:
    """Patch the status of the policy `support`."""
    return api.call(
        "PATCH", f"{GROUP_PATH}/routingpolicies/support/status", {"status": status}, headers=MERGE
    )


def all_conditions(generation: int) -> list[Condition]:
    """Return the five conditions of a policy that is in force."""
    found: list[Condition] = []
    for reason in (
        AcceptedReason.ACCEPTED,
        ClassifierReadyReason.LOADED,
        ProgrammedReason.ACKNOWLEDGED,
        ProgressingReason.PROMOTED,
    ):
        found = set_condition(found, condition(reason, "", generation, NOW), NOW)
    return set_condition(found, summarize(found, generation, NOW), NOW)


def test_the_status_is_a_subresource(api: Api, policy: dict[str, Any]) -> None:
    """Who writes the spec cannot write the traffic: a status in a write of the object is dropped."""
    traffic = {"status": {"traffic": [{"revision": "support-1", "weightPermille": 1000}]}}
    answer = api.call(
        "PATCH", f"{GROUP_PATH}/routingpolicies/{policy['metadata']['name']}", traffic, headers=MERGE
    )
    assert answer.status == 200
    assert answer.body["status"] == {"observedGeneration": UNSEEN}


def test_a_status_that_is_not_there_says_so(api: Api, good: dict[str, dict[str, Any]]) -> None:
    """A status that comes with an object is dropped, the default is shown; also once it was taken away."""
    unseen = {"observedGeneration": UNSEEN}
    restored = good["quickstart"] | {"status": {"observedGeneration": 1, "stableRevision": "support-1"}}
    path = f"{GROUP_PATH}/routingpolicies/support"
    try:
        assert api.create(restored, dry_run=False).body["status"] == unseen
        assert api.call("GET", path).body["status"] == unseen
        (listed,) = api.call("GET", f"{GROUP_PATH}/routingpolicies").body["items"]
        assert listed["status"] == unseen
        assert write_status(api, {"observedGeneration": 1}).body["status"] == {"observedGeneration": 1}
        lost = api.call("PATCH", f"{path}/status", {"status": None}, headers=MERGE)
        assert lost.body["status"] == unseen
        assert lost.body["metadata"]["generation"] == 1
    finally:
        api.call("DELETE", path)


def test_it_means_what_an_empty_status_means() -> None:
    """Nothing is in force: always-strong."""
    seen = RoutingPolicyStatus.model_validate({"observedGeneration": UNSEEN})
    assert seen.model_copy(update={"observed_generation": None}) == RoutingPolicyStatus()


def test_conditions_of_ours_are_a_valid_status(api: Api, policy: dict[str, Any]) -> None:
    """What `conditions` and `summarize` make passes the schema, and does not raise the generation."""
    generation = policy["metadata"]["generation"]
    conditions = [c.to_kube() for c in all_conditions(generation)]
    answer = write_status(api, {"observedGeneration": generation, "conditions": conditions})
    assert answer.status == 200, answer.body
    assert answer.body["status"]["conditions"] == conditions
    assert answer.body["metadata"]["generation"] == generation


@pytest.mark.parametrize(
    ("status", "field"),
    [
        ({"traffic": [{"revision": f"r-{i}", "weightPermille": 200} for i in range(5)]}, "status.traffic"),
        ({"traffic": [{"revision": "r", "weightPermille": 1001}]}, "status.traffic[0].weightPermille"),
        ({"traffic": [{"revision": "r", "weightPermille": 500}] * 2}, "status.traffic[1]"),
        ({"stableRevision": "r" * 254}, "status.stableRevision"),
        (
            {"conditions": [condition(AcceptedReason.ACCEPTED, "", 1, NOW).to_kube()] * 2},
            "status.conditions[1]",
        ),
        (
            {"conditions": [condition(AcceptedReason.ACCEPTED, "", 1, NOW).to_kube() | {"status": "true"}]},
            "status.conditions[0].status",
        ),
        (
            {
                "conditions": [
                    condition(AcceptedReason.ACCEPTED, "", 1, NOW).to_kube() | {"message": "x" * 32769}
                ]
            },
            "status.conditions[0].message",
        ),
    ],
)
@pytest.mark.usefixtures("policy")
def test_a_status_out_of_bounds_is_refused(api: Api, status: dict[str, Any], field: str) -> None:
    """Every list and text of the status has a bound, so no fault of ours can grow an object without end."""
    answer = write_status(api, status)
    assert answer.status == 422
    assert field in answer.causes()


def test_policy_columns(api: Api, policy: dict[str, Any]) -> None:
    """`kubectl get rp` shows readiness, the step and its weight, the worst verdict and what is saved."""
    conditions = [c.to_kube() for c in all_conditions(policy["metadata"]["generation"])]
    traffic = [{"revision": "support-0123456789", "weightPermille": 1000}]
    step = {
        "name": "Canary",
        "startedAt": "2026-01-02T03:04:05.000006Z",
        "display": "Canary 2/4",
        "weightPermille": 250,
    }
    verdict = {"rubric": "correct", "stage": "Canary", "verdict": "Undecided"}
    savings = {"permille": 290, "requests": 1000, "display": "29 %"}
    status = {
        "conditions": conditions,
        "traffic": traffic,
        "step": step,
        "verdicts": [verdict],
        "savings": savings,
    }
    assert write_status(api, status).status == 200
    table = api.call("GET", f"{GROUP_PATH}/routingpolicies", headers=TABLE).body
    shown = [c["name"] for c in table["columnDefinitions"] if c["priority"] == 0]
    assert shown == ["Name", "Ready", "Step", "Weight", "Verdict", "Saved", "Age", "Reason"]
    (row,) = table["rows"]
    assert row["cells"][:6] == ["support", "True", "Canary 2/4", 250, "Undecided", "29 %"]
    assert "The traffic goes where" in row["cells"][-1]  # -o wide


def test_policy_columns_without_status(api: Api, policy: dict[str, Any]) -> None:
    """A policy that nobody has looked at yet is listed, with blanks."""
    table = api.call("GET", f"{GROUP_PATH}/routingpolicies", headers=TABLE).body
    assert table["rows"][0]["cells"][:5] == [policy["metadata"]["name"], None, None, None, None]


def test_revision_columns(api: Api, revision: dict[str, Any]) -> None:
    """`kubectl get rprev` shows whose revision it is and how it chooses."""
    table = api.call("GET", f"{GROUP_PATH}/routingpolicyrevisions", headers=TABLE).body
    assert [c["name"] for c in table["columnDefinitions"] if c["priority"] == 0] == [
        "Name",
        "Policy",
        "Strategy",
        "Outcome",
        "Age",
    ]
    assert table["rows"][0]["cells"][:3] == [revision["metadata"]["name"], "support", "Classifier"]


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("spec.tiers[0].model", "other"),
        ("spec.strategy.classifier.thresholds[0].minScorePermille", 1),
        ("spec.policyRef.name", "other"),
    ],
)
def test_a_revision_is_immutable(api: Api, revision: dict[str, Any], path: str, value: Any) -> None:
    """No write changes what a revision says; the refusal says what to change instead."""
    changed = apply(revision, {path: value})
    answer = api.call("PUT", f"{GROUP_PATH}/routingpolicyrevisions/{revision['metadata']['name']}", changed)
    assert answer.status == 422
    assert "change the RoutingPolicy instead" in answer.causes()["spec"]


def test_a_revision_takes_labels(api: Api, revision: dict[str, Any]) -> None:
    """Immutable is the spec: labels and owners may change."""
    changed = apply(revision, {"metadata.labels": {"team": "chat"}})
    answer = api.call("PUT", f"{GROUP_PATH}/routingpolicyrevisions/{revision['metadata']['name']}", changed)
    assert answer.status == 200, answer.body


def test_names_and_category_are_known(api: Api) -> None:
    """`kubectl get rp`, `rprev` and `pointsman` find our kinds."""
    known = {
        r["name"]: (r.get("shortNames"), r.get("categories"))
        for r in api.call("GET", "/apis/pointsman.dev/v1alpha1").body["resources"]
    }
    assert known["routingpolicies"] == (["rp"], ["pointsman"])
    assert known["routingpolicyrevisions"] == (["rprev"], ["pointsman"])
    assert "routingpolicies/status" in known
