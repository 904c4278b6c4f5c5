"""Argo CD's health checks and actions of our kinds, by the test files that lie beside them."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any, Final

import pytest
import yaml

import gitops_kit as kit
import gitops_scenes as scenes
from pointsman.api.conditions import REASONS, ConditionReason, ProgressingReason, Reasons
from pointsman.api.gateway_conditions import GATEWAY_REASONS
from pointsman.api.pool_conditions import POOL_REASONS
from pointsman.api.v1alpha1.revision import RoutingPolicyRevision
from pointsman.api.v1alpha1.rollout_action import RolloutAction
from pointsman.api.v1alpha1.routing_gateway import RoutingGateway
from pointsman.api.v1alpha1.routing_policy import RoutingPolicy
from pointsman.api.v1alpha1.triton_pool import TritonPool

MODELS: Final = {
    model.KIND: model
    for model in (RoutingPolicy, RoutingGateway, TritonPool, RolloutAction, RoutingPolicyRevision)
}
DATA: Final = sorted(kit.CUSTOMIZATIONS.glob("**/testdata/*.yaml"))
OBJECTS: Final = [path for path in DATA if not path.read_text("utf-8").startswith("-")]
"""All but the expected outputs of actions, which are lists."""
BY_HEALTH: Final = {
    "Suspended": {"AwaitingApproval", "Inconclusive", "Suspended"},
    "Degraded": {
        "RolledBack",
        "ShadowFailed",
        "GateFailed",
        "Aborted",
        "ForcedStrong",
        "AlwaysStrong",
        "NotAccepted",
    },
    "Healthy": {"Promoted", "Observing"},
}
"""Reasons of `Progressing`; all others: Progressing."""


def name_of(path: Path) -> str:
    """Return a test's name: the kind and the file."""
    return f"{path.relative_to(kit.CUSTOMIZATIONS).parts[0]}/{path.stem}"


def cases(reasons: Reasons) -> list[Any]:
    """Return every reason of a kind's conditions, named by both."""
    return [pytest.param(one, id=f"{kind.TYPE}-{one}") for kind in reasons for one in kind]


@pytest.mark.parametrize(
    ("path", "expected"), [pytest.param(p, e, id=name_of(p)) for p, e in kit.health_tests()]
)
def test_health_is_as_the_test_file_says(path: Path, expected: dict[str, str]) -> None:
    """Status and message, as Argo CD's own test compares them."""
    assert kit.health(kit.load(path)) == expected
    assert path.stem.startswith(expected["status"].lower())


@pytest.mark.parametrize(
    ("path", "expected"), [pytest.param(p, e, id=name_of(p)) for p, e in kit.discovery_tests()]
)
def test_what_cannot_apply_now_is_disabled(path: Path, expected: list[dict[str, Any]]) -> None:
    """Each action, its name for people, and whether it may be run."""
    found = [{"name": name, **action} for name, action in kit.discover(kit.load(path)).items()]
    assert sorted(found, key=lambda a: a["name"]) == sorted(expected, key=lambda a: a["name"])


@pytest.mark.parametrize(
    ("path", "test"), [pytest.param(p, t, id=f"{t['action']}-{p.stem}") for p, t in kit.action_tests()]
)
def test_an_action_creates_the_word_that_was_meant(path: Path, test: dict[str, Any]) -> None:
    """One RolloutAction, which the API would take, by an enabled action; the policy is not changed."""
    obj = kit.load(path)
    made = kit.act(obj, test["action"])
    folder = path.parents[1]
    (expected,) = yaml.safe_load((folder / test["expectedOutputPath"]).read_text("utf-8"))
    assert made == expected["unstructuredObj"]
    assert test["action"] in kit.enabled(obj)
    RolloutAction.model_validate(made | {"metadata": made["metadata"] | {"name": "drawn-by-the-server"}})


def test_who_asks_and_why_can_be_given() -> None:
    """`--param`: for clusters that Argo CD enters under another name, and for words of one's own."""
    obj = kit.load(kit.CUSTOMIZATIONS / "RoutingPolicy/testdata/progressing_canary.yaml")
    spec = kit.act(
        obj, "abort", {"requestedBy": "system:serviceaccount:kube-system:argocd-manager", "reason": "x"}
    )["spec"]
    assert (spec["requestedBy"], spec["reason"]) == ("system:serviceaccount:kube-system:argocd-manager", "x")


@pytest.mark.parametrize("action", ["approve", "abort", "retry"])
def test_an_action_with_nothing_to_act_on_says_so(action: str) -> None:
    """Run in spite of being disabled, it raises and creates nothing."""
    obj = kit.load(kit.CUSTOMIZATIONS / "RoutingPolicy/testdata/progressing_new.yaml")
    with pytest.raises(Exception, match=r"nothing waits|no rollout|nothing has failed"):
        kit.act(obj, action)


@pytest.mark.parametrize("path", OBJECTS, ids=name_of)
def test_test_data_are_objects_as_the_api_has_them(path: Path) -> None:
    """Each is what its model reads and writes again."""
    obj = kit.load(path)
    model = MODELS[obj["kind"]]
    found = model.model_validate(obj)
    assert set(found.to_kube()["spec"]) >= set(obj["spec"])


@pytest.mark.parametrize("make", scenes.WORLDS.values(), ids=scenes.WORLDS.keys())
def test_every_status_of_a_whole_rollout_has_a_health(make: Any) -> None:
    """The operator's own statuses from the first to the last: never Unknown, never without words."""
    world = make()
    for status in world.history:
        obj = scenes.served_by_envoys(scenes.manifest(world.policy.model_copy(update={"status": status})))
        found = kit.health(obj)
        assert found["status"] in kit.STATUSES
        assert found["message"]
        step = status.step
        if step is not None and step.state == "AwaitingApproval" and found["status"] != "Progressing":
            assert "approve" in kit.enabled(obj)


@pytest.mark.parametrize("reason", list(ProgressingReason))
def test_a_reason_of_progressing_has_the_health_that_is_meant(reason: ProgressingReason) -> None:
    """Waiting for somebody, failed, done, or on its way; the message has the status's own words."""
    found = kit.health(scenes.policy_with(reason, message="because of this"))
    expected = next((health for health, reasons in BY_HEALTH.items() if reason in reasons), "Progressing")
    assert found["status"] == expected
    assert "because of this" in found["message"]


def script(kind: str) -> str:
    """Return a kind's health script."""
    return (kit.CUSTOMIZATIONS / kind / "health.lua").read_text("utf-8")


@pytest.mark.parametrize("reason", cases(REASONS))
def test_a_policy_s_reason_is_known_to_the_script(reason: ConditionReason) -> None:
    """Healthy if it is true; else a health of its own, by name and not by accident."""
    found = kit.health(scenes.policy_with(reason, message="because of this"))
    assert found["status"] in kit.STATUSES
    kind = reason.TYPE.value
    if kind in {"Accepted", "Ready"}:
        wanted = {"True": "Healthy", "False": "Degraded", "Unknown": "Progressing"}[reason.status]
        assert found["status"] == wanted
    elif reason.status == "True":
        assert found["status"] == "Healthy"
    else:
        assert f"{reason} = " in script("RoutingPolicy")
        assert found["status"] != "Healthy"


@pytest.mark.parametrize("reason", cases(GATEWAY_REASONS))
def test_a_gateway_s_reason_has_a_health(reason: ConditionReason) -> None:
    """True is healthy; what comes right by itself progresses; the rest is degraded."""
    found = kit.health(scenes.gateway_with(reason, message="because of this"))
    comes = {"Progressing", "NotReady", "CertificateMissing", "Reconciling"}
    assert found["status"] == _simple(reason, comes)


@pytest.mark.parametrize("reason", cases(POOL_REASONS))
def test_a_pool_s_reason_has_a_health(reason: ConditionReason) -> None:
    """As a gateway's."""
    found = kit.health(scenes.pool_with(reason, message="because of this"))
    assert found["status"] == _simple(reason, {"Starting", "Scaling"})


def _simple(reason: ConditionReason, comes: set[str]) -> str:
    if reason.status == "True":
        return "Healthy"
    return "Progressing" if reason.value in comes else "Degraded"


@pytest.mark.parametrize("make", [scenes.policy_with, scenes.gateway_with, scenes.pool_with])
def test_what_was_said_of_an_older_spec_says_nothing(make: Any) -> None:
    """A new generation progresses until the operator has looked at it, healthy as it was."""
    obj = make()
    assert kit.health(obj)["status"] == "Healthy"
    obj["metadata"] = obj["metadata"] | {"generation": 99}
    found = kit.health(obj)
    assert found["status"] == "Progressing"
    assert "99" in found["message"]


@pytest.mark.parametrize(
    ("status", "health"), [("True", "Healthy"), ("Unknown", "Progressing"), ("False", "Degraded")]
)
def test_a_reason_of_a_newer_version_is_judged_by_its_status(status: str, health: str) -> None:
    """An older script in a newer cluster says nothing absurd."""
    obj = scenes.policy_with()
    for condition in obj["status"]["conditions"]:
        if condition["type"] == "Progressing":
            condition |= {"reason": "Invented", "status": status}
    assert kit.health(obj)["status"] == health


def test_scripts_run_without_most_of_lua_s_library(tmp_path: Path) -> None:
    """As Argo CD runs them: no string, math or io, also not by a text's own methods."""
    probe = tmp_path / "probe.lua"
    probe.write_text(
        "return {none = string == nil and io == nil and math == nil, "
        'upper = pcall(function() return ("a"):upper() end)}'
    )
    assert kit.run(probe, {}) == {"none": True, "upper": False}


def test_the_settings_of_argo_cd_are_generated_from_the_scripts() -> None:
    """gitops/argo-cd/argocd-cm.yaml holds what the folder holds; gitops/argo-cd/generate.py writes it."""
    generate = kit.ROOT / "gitops" / "argo-cd" / "generate.py"
    assert subprocess.run([sys.executable, generate, "--check"], check=False).returncode == 0
