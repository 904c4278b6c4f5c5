"""examples/04-gitops: what the API takes, what the charts have; Argo CD and Flux say the same."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path
from typing import Any, Final

import jsonschema
import pytest
import yaml

import gitops_kit as kit
from pointsman.api.manifests import read
from pointsman.api.v1alpha1.triton_pool import TritonPool

EXAMPLE: Final = kit.ROOT / "examples" / "04-gitops"
ENVIRONMENTS: Final = ("dev", "staging", "prod")
FILES: Final = sorted(EXAMPLE.glob("**/*.yaml"))


def documents(path: Path) -> list[dict[str, Any]]:
    """Return a file's documents."""
    return list(yaml.safe_load_all(path.read_text("utf-8")))


def every(kind: str) -> list[dict[str, Any]]:
    """Return every object of a kind in the example."""
    return [d for path in FILES for d in documents(path) if d.get("kind") == kind]


def merged(target: Any, patch: Any) -> Any:
    """Return what kustomize makes of a patch of a kind that it knows no schema of: RFC 7386."""
    if not isinstance(patch, dict) or not isinstance(target, dict):
        return patch
    found = dict(target)
    for key, value in patch.items():
        found[key] = merged(found.get(key), value)
    return found


def policy(environment: str) -> dict[str, Any]:
    """Return the policy as an environment's overlay makes it."""
    folder = EXAMPLE / "policies" / "overlays" / environment
    (found,) = documents(EXAMPLE / "policies" / "base" / "policy.yaml")
    (overlay,) = documents(folder / "kustomization.yaml")
    for patch in overlay["patches"]:
        found = merged(found, documents(folder / patch["path"])[0])
    return found | {"metadata": found["metadata"] | {"namespace": "chat"}}


@pytest.mark.parametrize("environment", ENVIRONMENTS)
def test_the_policy_of_an_environment_is_valid(environment: str) -> None:
    """No unknown field, no broken rule that the model has."""
    found = read({environment: yaml.safe_dump(policy(environment))})
    assert list(found.policies) == ["chat/support"]


def test_gateway_and_pool_are_valid() -> None:
    """As the API server would take them."""
    text = (EXAMPLE / "gateway" / "gateway.yaml").read_text("utf-8")
    assert list(read({"gateway": text}).gateways) == ["pointsman-system/default"]
    (pool,) = every("TritonPool")
    TritonPool.model_validate(pool)


def test_all_environments_have_the_same_bundle() -> None:
    """Byte by byte: what was tried is what goes on."""
    texts = {(EXAMPLE / "policies" / "overlays" / e / "bundle.yaml").read_text("utf-8") for e in ENVIRONMENTS}
    assert len(texts) == 1
    digests = {policy(e)["spec"]["strategy"]["classifier"]["artifact"]["sha256"] for e in ENVIRONMENTS}
    assert all(re.fullmatch("[0-9a-f]{64}", digest) and set(digest) != {"0"} for digest in digests)


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(EXAMPLE)))
def test_no_difference_is_ignored(path: Path) -> None:
    """Nothing of ours has to be hidden from Argo CD."""
    assert "ignoreDifferences" not in path.read_text("utf-8")


def test_waves_and_paths_lead_somewhere() -> None:
    """Kinds, installation, gateway, policies, in this order, from folders that are here."""
    apps = [documents(path)[0] for path in sorted((EXAMPLE / "argo-cd" / "apps").glob("*.yaml"))]
    assert [a["metadata"]["annotations"]["argocd.argoproj.io/sync-wave"] for a in apps] == [
        "0",
        "1",
        "2",
        "3",
    ]
    for app in every("Application"):
        assert (kit.ROOT / app["spec"]["source"]["path"]).is_dir()
    for flux in every("Kustomization"):
        if flux["apiVersion"].startswith("kustomize.toolkit"):
            assert (kit.ROOT / flux["spec"]["path"]).is_dir()


def test_values_are_values_of_the_charts() -> None:
    """By the charts' own schemas, which refuse what they do not know."""
    releases = [
        (r["spec"]["chart"]["spec"]["chart"], r["spec"].get("values", {})) for r in every("HelmRelease")
    ]
    sources = [a["spec"]["source"] for a in every("Application")]
    releases += [(s["path"], s["helm"]["valuesObject"]) for s in sources if "helm" in s]
    assert len(releases) == 3
    for chart, values in releases:
        schema = yaml.safe_load((kit.ROOT / chart / "values.schema.json").read_text("utf-8"))
        jsonschema.validate(values, schema)


def test_a_team_s_project_names_all_that_its_folder_holds_and_no_more_of_ours() -> None:
    """Kinds of the overlay, and RolloutAction for the buttons; gateways and pools are the platform's."""
    (project,) = [p for p in every("AppProject") if p["metadata"]["name"] == "chat"]
    allowed = {(one["group"], one["kind"]) for one in project["spec"]["namespaceResourceWhitelist"]}
    held = {
        (d["apiVersion"].rpartition("/")[0], d["kind"])
        for path in (EXAMPLE / "policies" / "base").glob("*.yaml")
        for d in documents(path)
        if d["kind"] != "Kustomization"
    }
    assert held <= allowed
    assert {kind for group, kind in allowed if group == "pointsman.dev"} == {"RoutingPolicy", "RolloutAction"}
    assert [d["namespace"] for d in project["spec"]["destinations"]] == ["chat"]


def test_flux_and_argo_cd_call_the_same_reasons_failed() -> None:
    """The reasons in Flux' expression are those for which the Lua says Degraded whatever else holds."""
    (flux,) = [k for k in every("Kustomization") if k.get("metadata", {}).get("name") == "chat"]
    (check,) = flux["spec"]["healthCheckExprs"]
    listed = set(re.findall(r"'(\w+)'", check["failed"].partition(" in ")[2]))
    script = (kit.CUSTOMIZATIONS / "RoutingPolicy" / "health.lua").read_text("utf-8")
    ended = set(re.findall(r"^  (\w+) = \"", script, re.MULTILINE))
    assert listed == ended | {"AlwaysStrong", "NotAccepted"}


def test_buttons_named_in_argo_cd_s_rights_are_buttons() -> None:
    """A right of an action that is not there would be a silent no."""
    (rights,) = [c for c in every("ConfigMap") if c["metadata"]["name"] == "argocd-rbac-cm"]
    named = set(re.findall(r"action/pointsman\.dev/RoutingPolicy/([\w-]+)", rights["data"]["policy.csv"]))
    folder = kit.CUSTOMIZATIONS / "RoutingPolicy" / "actions"
    assert named == {path.parent.name for path in folder.glob("*/action.lua")}


def git(folder: Path, *words: str) -> None:
    """Run git in a folder."""
    who = ("-c", "user.name=t", "-c", "user.email=t@example.com", "-c", "commit.gpgsign=false")
    subprocess.run(["git", "-C", folder, *who, *words], check=True, capture_output=True)


def test_a_bundle_skips_no_environment(tmp_path: Path) -> None:
    """CI's script takes a bundle in staging once dev has it, and refuses one in prod that staging lacks."""
    overlays = tmp_path / "policies" / "overlays"
    for environment in ENVIRONMENTS:
        (overlays / environment).mkdir(parents=True)
        (overlays / environment / "bundle.yaml").write_text("old\n")
    script = tmp_path / "ci" / "promotion.sh"
    script.parent.mkdir()
    script.write_bytes((EXAMPLE / "ci" / "promotion.sh").read_bytes())
    git(tmp_path, "init", "-q", "-b", "main")
    (overlays / "dev" / "bundle.yaml").write_text("new\n")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "-q", "-m", "dev has the new one")

    def refused() -> bool:
        return subprocess.run(["bash", script, "main"], check=False, capture_output=True).returncode != 0

    assert not refused()
    (overlays / "staging" / "bundle.yaml").write_text("new\n")
    assert not refused()
    (overlays / "prod" / "bundle.yaml").write_text("new\n")
    assert refused()
