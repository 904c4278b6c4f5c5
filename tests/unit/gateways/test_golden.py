"""Each case: the manifests that a RoutingGateway becomes, compared with what they became before."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from pointsman.api.v1alpha1.routing_gateway import RoutingGateway
from pointsman.gateways.installation import Installation
from pointsman.gateways.manifests import manifests

HERE = Path(__file__).parent / "golden"
CASES = sorted(path.name for path in HERE.iterdir())
WHERE = Installation("pointsman-system", "pointsman:1", "envoy:1")


class _Dumper(yaml.SafeDumper):
    """Writes everything out: no anchors; scripts as scripts."""

    def ignore_aliases(self, data: Any) -> bool:  # noqa: ARG002 - PyYAML's signature
        return True


def _text(dumper: yaml.SafeDumper, value: str) -> yaml.ScalarNode:
    return dumper.represent_scalar("tag:yaml.org,2002:str", value, style="|" if "\n" in value else None)


_Dumper.add_representer(str, _text)


def output(case: str) -> str:
    """Return the manifests of a case as YAML."""
    raw = yaml.safe_load((HERE / case / "in.yaml").read_text(encoding="utf-8"))
    made = manifests(RoutingGateway.model_validate(raw), WHERE)
    return yaml.dump_all(made, Dumper=_Dumper, sort_keys=False, width=110)


@pytest.mark.parametrize("case", CASES)
def test_the_case_becomes_what_it_became(case: str, update: bool) -> None:  # noqa: FBT001 - a fixture
    """The manifests are as stored; `--update-golden` stores them anew."""
    path = HERE / case / "out.yaml"
    if update:
        path.write_text(output(case), encoding="utf-8")
    assert path.exists(), f"{path} is missing; pytest tests/unit/gateways --update-golden writes it"
    assert output(case) == path.read_text(encoding="utf-8"), f"{case}: if this is meant, --update-golden"


def test_no_file_is_an_orphan() -> None:
    """Nothing lies about that no case reads or writes."""
    expected = {HERE / case / name for case in CASES for name in ("in.yaml", "out.yaml")}
    assert {path for path in HERE.rglob("*") if path.is_file()} == expected
