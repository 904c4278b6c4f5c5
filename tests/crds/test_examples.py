"""The examples and what the documents show, as the API server sees them: nothing is stored."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from chart_kit import try_out
from pointsman.lab import binaries
from pointsman.lab.kubectl import Kubectl, load_manifests
from wait import until_sync

from .conftest import GROUP_PATH, Api

if TYPE_CHECKING:
    from pointsman.lab.controlplane import ControlPlane

pytestmark = pytest.mark.apiserver

ROOT = Path(__file__).resolve().parents[2]
EXAMPLES = ROOT / "examples"
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md")), *sorted(EXAMPLES.rglob("*.md"))]
PLURALS = {
    "RoutingPolicy": "routingpolicies",
    "RoutingGateway": "routinggateways",
    "TritonPool": "tritonpools",
    "RolloutAction": "rolloutactions",
}
OURS = "pointsman.dev/v1alpha1"
BUILT_IN = re.compile(r"^(v1|(apps|policy|autoscaling|(rbac\.authorization|networking)\.k8s\.io)/v\d)$")
BLOCK = re.compile(r"^```(?:yaml|console|sh)\n(.*?)^```", re.MULTILINE | re.DOTALL)
VALUES = {"SHA256": "0" * 64, "BASE64": "AAAA", "URL": "http://127.0.0.1:1", "PERMILLE": "500"}
SHORTENED = re.compile(r"(?<=sha256[: ])([ ]?)[0-9a-f]*…")
BY = "alice"


def documents(text: str) -> list[dict[str, Any]]:
    """Return the whole objects of a text; variables are filled in, digests that end in … made whole."""
    filled = re.sub(r"\$\{\w+_(\w+)\}", lambda name: VALUES[name[1]], text)
    whole = SHORTENED.sub(lambda found: f"{found[1]}{'a' * 64}", filled)
    parts = (part for part in re.split(r"^---$", whole, flags=re.MULTILINE) if "# …" not in part)
    return [found for found in map(yaml.safe_load, parts) if isinstance(found, dict)]


def shown(page: Path) -> Iterator[dict[str, Any]]:
    """Yield the objects of our kinds that a page shows; what a shell fills in is filled in."""
    for block in BLOCK.finditer(page.read_text("utf-8")):
        if OURS in block[1]:
            text = re.sub(r"^\$ kubectl .*<<EOF\n|^EOF\n", "", block[1], flags=re.MULTILINE)
            yield from documents(re.sub(r"\$\(kubectl auth whoami [^)]*\)", BY, text))


def rendered(folder: Path) -> str:
    """Return what `kubectl kustomize` makes of a folder."""
    command = [str(binaries.ensure("kubectl")), "kustomize", str(folder)]
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stdout


def sources() -> dict[str, list[dict[str, Any]]]:
    """Return the objects of every page and every file that stands by itself, by its path."""
    found = {
        str(path.relative_to(ROOT)): documents(path.read_text("utf-8"))
        for path in sorted(EXAMPLES.rglob("*.yaml"))
        if not any((folder / "kustomization.yaml").exists() for folder in path.parents)
    }
    found |= {str(page.relative_to(ROOT)): list(shown(page)) for page in PAGES}
    served = {path: [each for each in objects if known(each)] for path, objects in found.items()}
    return {path: objects for path, objects in served.items() if objects}


def known(manifest: dict[str, Any]) -> bool:
    """Tell whether it is of a kind of ours or of Kubernetes' own; Argo CD's and Flux' are not here."""
    version = str(manifest.get("apiVersion", ""))
    return version == OURS or BUILT_IN.match(version) is not None


SOURCES = sources()
OVERLAYS = sorted(path.parent for path in EXAMPLES.rglob("overlays/*/kustomization.yaml"))


@pytest.fixture(scope="module")
def kubectl(plane: ControlPlane, api: Api) -> Iterator[Kubectl]:
    """Return the administrator's client; the admission policy of the chart is in force."""
    with Kubectl(plane.kubeconfig) as client:
        policy = load_manifests(ROOT / "deploy" / "admission.yaml")
        client.apply(policy)
        claim = {"apiVersion": OURS, "kind": "RolloutAction", "metadata": {"name": "a"}}
        spec = {"policyRef": {"name": "p"}, "action": "Abort", "requestedBy": "somebody else"}

        def in_force() -> bool:
            return api.create(claim | {"spec": spec}, "rolloutactions").status == 403

        until_sync(in_force, 60, what="the admission policy is in force")
        yield client
        for each in policy:
            client.delete(each)


def assert_accepted(api: Api, kubectl: Kubectl, objects: Iterable[dict[str, Any]]) -> None:
    """Have the API server try each object: no unknown field, no broken rule, no warning."""
    for manifest in objects:
        metadata = {key: value for key, value in manifest["metadata"].items() if key != "namespace"}
        here = manifest | {"metadata": metadata}
        if manifest["apiVersion"] != OURS:
            try_out(kubectl, here | {"metadata": metadata | {"namespace": "default"}})
            continue
        person = here["spec"].get("requestedBy")
        who = {"Impersonate-User": person, "Impersonate-Group": "system:masters"} if person else {}
        params = {"fieldValidation": "Strict", "dryRun": "All"}
        path = f"{GROUP_PATH}/{PLURALS[manifest['kind']]}"
        answer = api.call("POST", path, here, params=params, headers=who)
        assert answer.status == 201, answer.body.get("message")
        assert answer.warnings == []


@pytest.mark.parametrize("source", SOURCES)
def test_what_stands_by_itself_is_accepted_as_it_stands(api: Api, kubectl: Kubectl, source: str) -> None:
    """Files of the examples, and what README and documents show."""
    assert_accepted(api, kubectl, SOURCES[source])


@pytest.mark.timeout(600)  # kubectl is built once
@pytest.mark.parametrize("folder", OVERLAYS, ids=lambda folder: str(folder.relative_to(EXAMPLES)))
def test_what_kustomize_makes_is_accepted(api: Api, kubectl: Kubectl, folder: Path) -> None:
    """Each environment's overlay: the policy with its bundle, the Role of its keys."""
    objects = documents(rendered(folder))
    assert {"RoutingPolicy", "Role", "RoleBinding"} <= {each["kind"] for each in objects}
    assert_accepted(api, kubectl, objects)


def test_nothing_is_left_out() -> None:
    """Every kind that users write is shown somewhere."""
    assert {each["kind"] for objects in SOURCES.values() for each in objects} >= PLURALS.keys()
