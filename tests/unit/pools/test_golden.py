"""Each case: the manifests that a TritonPool becomes, compared with what they became before."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from pointsman.api.v1alpha1 import TritonPool
from pointsman.pools.manifests import manifests
from pointsman.pools.models import Model, ModelList
from pointsman.pools.pod_template import Images
from pointsman.rollout.observation import Source

HERE = Path(__file__).parent / "golden"
CASES = sorted(path.name for path in HERE.iterdir())
IMAGES = Images("pointsman:1", "triton:1")
BUNDLE = "a" * 64
MODELS = ModelList((Model(BUNDLE, (Source("chat", "configmap://bundle", BUNDLE),), traffic=True),), 7)


class _Dumper(yaml.SafeDumper):
    """Writes everything out: no anchors."""

    def ignore_aliases(self, data: Any) -> bool:  # noqa: ARG002 - PyYAML's signature
        return True


def made(case: str) -> list[dict[str, Any]]:
    """Return the manifests of a case."""
    raw = yaml.safe_load((HERE / case / "in.yaml").read_text(encoding="utf-8"))
    return manifests(TritonPool.model_validate(raw), IMAGES, MODELS)


@pytest.mark.parametrize("case", CASES)
def test_the_case_becomes_what_it_became(case: str, update: bool) -> None:  # noqa: FBT001 - a fixture
    """The manifests are as stored; `--update-golden` stores them anew."""
    path = HERE / case / "out.yaml"
    output = yaml.dump_all(made(case), Dumper=_Dumper, sort_keys=False, width=110)
    if update:
        path.write_text(output, encoding="utf-8")
    assert path.exists(), f"{path} is missing; pytest tests/unit/pools --update-golden writes it"
    assert output == path.read_text(encoding="utf-8"), f"{case}: if this is meant, --update-golden"


def test_no_file_is_an_orphan() -> None:
    """Nothing lies about that no case reads or writes."""
    expected = {HERE / case / name for case in CASES for name in ("in.yaml", "out.yaml")}
    assert {path for path in HERE.rglob("*") if path.is_file()} == expected


@pytest.mark.parametrize("case", CASES)
def test_the_pods_may_do_nothing_that_they_need_not(case: str) -> None:
    """Not root, nothing writable but their own folders, no capabilities, no way to the API server."""
    pod = next(one for one in made(case) if one["kind"] == "Deployment")["spec"]["template"]["spec"]
    assert pod["automountServiceAccountToken"] is False
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    for container in pod["containers"]:
        assert container["securityContext"]["readOnlyRootFilesystem"] is True
        assert container["securityContext"]["allowPrivilegeEscalation"] is False
        assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}
    volumes = {volume["name"] for volume in pod["volumes"]}
    mounts = {mount["name"] for container in pod["containers"] for mount in container["volumeMounts"]}
    assert mounts == volumes
    triton, agent = pod["containers"]
    assert next(m for m in triton["volumeMounts"] if m["name"] == "control")["readOnly"] is True
    assert "tls" not in {mount["name"] for mount in triton["volumeMounts"]}
    assert agent["readinessProbe"]["httpGet"]["path"] == "/readyz"


@pytest.mark.parametrize("case", CASES)
def test_capacity_stays_while_pods_are_replaced(case: str) -> None:
    """A new pod is ready before an old one ends, which goes on for as long as its address is remembered."""
    spec = next(one for one in made(case) if one["kind"] == "Deployment")["spec"]
    assert spec["strategy"]["rollingUpdate"] == {"maxSurge": 1, "maxUnavailable": 0}
    pod = spec["template"]["spec"]
    linger = pod["containers"][0]["lifecycle"]["preStop"]["exec"]["command"][-1]
    assert int(linger.removeprefix("sleep ")) + 15 < pod["terminationGracePeriodSeconds"]
