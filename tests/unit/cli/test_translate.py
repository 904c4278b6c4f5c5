"""`pointsman translate`: what it prints, what it says is wrong, and how it ends."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner, Result

from plan_objects import CLASSIFIER, policy, revision, triton
from pointsman.api.v1alpha1 import RoutingPolicy, RoutingPolicyRevision
from pointsman.cli import main
from pointsman.rollout.revisions import desired_name

GOOD = Path(__file__).parents[2] / "crds" / "good"


def run(*arguments: str | Path, stdin: str = "") -> Result:
    return CliRunner().invoke(main, ["translate", *(str(argument) for argument in arguments)], input=stdin)


def written(path: Path, *objects: RoutingPolicy | RoutingPolicyRevision | dict[str, Any]) -> Path:
    """Write manifests into one file."""
    plain = [o if isinstance(o, dict) else o.to_kube() for o in objects]
    path.write_text(yaml.safe_dump_all(plain), encoding="utf-8")
    return path


def arms(result: Result) -> list[dict[str, Any]]:
    """Return the arms of the one policy that was printed as a plan."""
    ((gateway),) = yaml.safe_load(result.stdout).values()
    (only,) = gateway["policies"]
    found: list[dict[str, Any]] = only["arms"]
    return found


def test_without_a_status_it_is_always_strong(tmp_path: Path) -> None:
    """A policy that was just written sends all to its last tier, and that is what is shown."""
    found = run("-f", written(tmp_path / "p.yaml", policy()))
    assert (found.exit_code, found.stderr) == (0, "")
    (arm,) = arms(found)
    assert arm["revision"] == "always-strong"
    assert [tier["name"] for tier in arm["tiers"]] == ["strong"]


def test_ready_shows_the_spec_in_force(tmp_path: Path) -> None:
    """`--ready` freezes the spec as the operator would, by the same name, and gives it all traffic."""
    of = policy(strategy=CLASSIFIER, triton=triton())
    found = run("-f", written(tmp_path / "p.yaml", of), "--ready")
    assert found.exit_code == 0
    (arm,) = arms(found)
    assert (arm["revision"], arm["weight_permille"]) == (desired_name(of), 1000)
    assert arm["classifier"]["thresholds"] == [["cheap", 640]]


def test_the_status_in_the_files_counts(tmp_path: Path) -> None:
    """Weights and revisions may come from several files and documents."""
    of = policy(traffic={"r1": 900, "r2": 100})
    files = (
        written(tmp_path / "p.yaml", of, revision("r1", of)),
        written(tmp_path / "r.yaml", revision("r2", of)),
    )
    found = run("-f", files[0], "-f", files[1])
    assert found.exit_code == 0
    assert [(arm["revision"], arm["weight_permille"]) for arm in arms(found)] == [("r1", 900), ("r2", 100)]


def test_a_list_from_standard_input(tmp_path: Path) -> None:
    """What `kubectl get -o yaml` prints is taken as it is, times without quotes too."""
    of = policy(traffic={"r1": 1000})
    listed = {"apiVersion": "v1", "kind": "List", "items": [of.to_kube(), revision("r1", of).to_kube()]}
    text = yaml.safe_dump(listed).replace("'2026-11-01T10:00:00Z'", "2026-11-01T10:00:00Z")
    assert [arm["revision"] for arm in arms(run("-f", "-", stdin=text))] == ["r1"]


def test_xds(tmp_path: Path) -> None:
    """`-o xds` names every kind of resource; scripts are named with their digests, keys not shown."""
    found = run("-f", written(tmp_path / "p.yaml", policy()), "-o", "xds", "--ready")
    gateway = yaml.safe_load(found.stdout)["default"]
    assert list(gateway) == ["listeners", "clusters", "routes", "secrets", "scripts"]
    assert set(gateway["scripts"]) == {"dispatch.lua", "decide.lua", "rewrite.lua"}
    assert "inline_string: decide.lua" in found.stdout
    assert [host["name"] for host in gateway["routes"]["entry"]["virtual_hosts"]] == ["llm.example.com", "*"]


@pytest.mark.parametrize("output", ["plan", "xds"])
def test_json_is_the_same(tmp_path: Path, output: str) -> None:
    """`--json` says what the YAML says."""
    file = written(tmp_path / "p.yaml", policy())
    assert json.loads(run("-f", file, "-o", output, "--json").stdout) == yaml.safe_load(
        run("-f", file, "-o", output).stdout
    )


def test_one_gateway(tmp_path: Path) -> None:
    """`--gateway` shows one; of one that is not there, which there are."""
    file = written(tmp_path / "p.yaml", policy("a", gateway="one"), policy("b", gateway="two"))
    assert list(yaml.safe_load(run("-f", file, "--gateway", "two").stdout)) == ["two"]
    missing = run("-f", file, "--gateway", "three")
    assert missing.exit_code == 2
    assert "there are: one, two" in missing.stderr


def test_findings_go_to_standard_error(tmp_path: Path) -> None:
    """What is wrong with a policy is told beside the output, and the exit code is 1."""
    found = run(
        "-f", written(tmp_path / "p.yaml", policy("a"), policy("b", traffic={"r9": 1000}, models=("m",)))
    )
    assert found.exit_code == 1
    assert found.stderr.startswith("ns/b: RevisionNotFound: status.traffic: revision r9")
    assert [p["name"] for p in yaml.safe_load(found.stdout)["default"]["policies"]] == ["a", "b"]


def test_other_kinds_are_noted(tmp_path: Path) -> None:
    """A file may hold more than policies; it is told what was left out."""
    found = run("-f", written(tmp_path / "p.yaml", {"kind": "ConfigMap", "apiVersion": "v1"}, policy()))
    assert found.exit_code == 0
    assert "document 1: ConfigMap is not translated" in found.stderr


def change(path: str, value: Any) -> dict[str, Any]:
    """Return a good policy with a value put at a dotted path."""
    made: dict[str, Any] = policy().to_kube()
    at: Any = made
    *parents, last = path.split(".")
    for part in parents:
        at = at[int(part) if part.isdigit() else part]
    at[last] = value
    return made


@pytest.mark.parametrize(
    ("bad", "words"),
    [
        (change("spec.gatewayRef", {}), "spec.gatewayRef.name: field required"),
        (
            change("spec.tiers.0.endpoints", [{"url": "ftp://host"}]),
            "spec.tiers[0].endpoints[0].url: must be http",
        ),
        (change("spec.tiers.1.modell", "m"), "unknown field spec.tiers[1].modell"),
        (change("spec.gateway_ref", {"name": "g"}), "unknown field spec.gateway_ref"),
        (change("apiVersion", "pointsman.dev/v2"), "apiVersion must be pointsman.dev/v1alpha1"),
        (change("metadata.name", None), "metadata.name: input should be a valid string"),
    ],
)
def test_bad_input_names_file_and_field(tmp_path: Path, bad: dict[str, Any], words: str) -> None:
    """A file that the API server would refuse ends with 2; file, document, object and field are named."""
    file = written(tmp_path / "p.yaml", policy("good"), bad)
    found = run("-f", file)
    assert found.exit_code == 2
    assert f"{file}: document 2: RoutingPolicy" in found.stderr
    assert words in " ".join(found.stderr.split())
    assert found.stdout == ""


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a: [", "is no YAML"),
        ("just words", "is no Kubernetes object"),
        ("", "no RoutingPolicy in these files"),
    ],
)
def test_what_is_no_manifest(tmp_path: Path, text: str, words: str) -> None:
    """What holds no policy at all ends with 2, and says so."""
    file = tmp_path / "p.yaml"
    file.write_text(text, encoding="utf-8")
    found = run("-f", file)
    assert found.exit_code == 2
    assert words in found.stderr


def test_the_same_policy_twice(tmp_path: Path) -> None:
    """Which of two would count is not guessed."""
    found = run("-f", written(tmp_path / "p.yaml", policy(), policy()))
    assert found.exit_code == 2
    assert "ns/p is there twice" in found.stderr


def test_a_missing_file() -> None:
    """A file that is not there is named."""
    found = run("-f", "/no/such/file.yaml")
    assert found.exit_code == 2
    assert "/no/such/file.yaml" in found.stderr


@pytest.mark.parametrize("name", ["quickstart", "pinned"])
def test_a_good_manifest(name: str) -> None:
    """What the API server takes can be served as it stands."""
    found = run("-f", GOOD / f"{name}.yaml", "--ready", "-o", "xds")
    assert (found.exit_code, found.stderr) == (0, "")


def test_help_has_an_example() -> None:
    """The help shows how it is meant."""
    found = run("--help")
    assert "pointsman translate -f policy.yaml --ready -o plan" in found.stdout
