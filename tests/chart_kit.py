"""The charts as a user has them: rendered, installed and removed by the real helm."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import yaml

from pointsman.lab.kubectl import Kubectl

ROOT: Final = Path(__file__).resolve().parents[1]
CHART: Final = ROOT / "charts" / "pointsman"
CRDS_CHART: Final = ROOT / "charts" / "pointsman-crds"
SYSTEM: Final = "pointsman-system"
OTHER: Final = "routing"
"""Another namespace to install in."""
Object = dict[str, Any]


class HelmError(Exception):
    """What helm said on stderr."""


@dataclass(frozen=True, slots=True)
class Helm:
    """The binary, and a home of its own: nothing of the user's helm is read."""

    binary: Path
    home: Path
    kubeconfig: Path | None = None
    rendered: dict[str, str] = field(default_factory=dict, compare=False)

    def __call__(self, *arguments: str | Path, values: Mapping[str, Any] | None = None) -> str:
        """Run it with these values; return stdout, or raise `HelmError`."""
        command = [str(self.binary), *(str(argument) for argument in arguments)]
        if values is not None:
            command += ["--values", "-"]
        own = {f"HELM_{name}_HOME": str(self.home / name.lower()) for name in ("CONFIG", "CACHE", "DATA")}
        if self.kubeconfig is not None:
            own["KUBECONFIG"] = str(self.kubeconfig)
        done = subprocess.run(
            command,
            input=json.dumps(values) if values is not None else None,
            env=dict(os.environ) | own,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        if done.returncode != 0:
            raise HelmError(done.stderr + done.stdout)
        return done.stdout

    def render(self, values: Mapping[str, Any], chart: Path = CHART) -> list[Object]:
        """Return the objects of a release in `SYSTEM`; the same values are rendered once."""
        key = f"{chart} {json.dumps(values)}"
        if key not in self.rendered:
            self.rendered[key] = self("template", "pointsman", chart, "--namespace", SYSTEM, values=values)
        # ten times as fast as Python's own, which would be most of these tests' time
        return [found for found in yaml.load_all(self.rendered[key], yaml.CSafeLoader) if found]


def with_version(chart: Path, folder: Path, version: str) -> Path:
    """Copy a chart into `folder` as if it were of another version."""
    copy = folder / chart.name
    shutil.copytree(chart, copy)
    about = yaml.safe_load((copy / "Chart.yaml").read_text("utf-8"))
    (copy / "Chart.yaml").write_text(yaml.safe_dump(about | {"version": version, "appVersion": version}))
    return copy


def one(objects: Iterable[Object], kind: str, name: str, namespace: str | None = None) -> Object:
    """Return the object of this kind and name."""
    found = [
        each
        for each in objects
        if each["kind"] == kind
        and each["metadata"]["name"] == name
        and namespace in {None, each["metadata"].get("namespace")}
    ]
    assert len(found) == 1, f"{kind} {name}: {len(found)}"
    return found[0]


def pods(objects: Iterable[Object]) -> Iterator[tuple[str, Object]]:
    """Yield (name, pod) for each pod, and each pod template of the workloads."""
    for each in objects:
        if each["kind"] == "Pod":
            yield each["metadata"]["name"], each
        elif "template" in each.get("spec", {}) and each["kind"] in {"Deployment", "StatefulSet"}:
            yield each["metadata"]["name"], each["spec"]["template"]


def try_out(kubectl: Kubectl, obj: Object) -> None:
    """Apply on the server without storing it; `LabError` also for a field that the kind does not have."""
    kubectl._call(
        "PATCH",
        kubectl._path(obj, SYSTEM),
        params={"fieldManager": "try", "force": "true", "dryRun": "All", "fieldValidation": "Strict"},
        headers={"content-type": "application/apply-patch+yaml"},
        json=obj,
    )


def foreign(group: str, kind: str, plural: str) -> Object:
    """Return a CRD for a kind of somebody else's, any field allowed."""
    version = "v1"
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{plural}.{group}"},
        "spec": {
            "group": group,
            "scope": "Namespaced",
            "names": {"kind": kind, "plural": plural, "singular": kind.lower(), "listKind": f"{kind}List"},
            "versions": [
                {
                    "name": version,
                    "served": True,
                    "storage": True,
                    "schema": {
                        "openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
                    },
                }
            ],
        },
    }


def served(kubectl: Kubectl, crds: Iterable[Object]) -> Callable[[], bool]:
    """Return a condition: the API server serves all these kinds."""
    names = [crd["metadata"]["name"] for crd in crds]

    def established() -> bool:
        for name in names:
            found = kubectl.get(f"/apis/apiextensions.k8s.io/v1/customresourcedefinitions/{name}")
            conditions = found.get("status", {}).get("conditions", [])
            if not any(c["type"] == "Established" and c["status"] == "True" for c in conditions):
                return False
        return True

    return established
