"""The golden cases: a folder each, `in.yaml` (manifests, with status) → `plan.yaml`, `xds.yaml`."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import yaml

from pointsman.api import manifests
from pointsman.plan.build import BuildResult, build
from pointsman.plan.fleet import fleet_of
from pointsman.plan.view import plan_view
from pointsman.xds.translate import Options, named_secrets, translate
from pointsman.xds.translate.view import xds_view

HERE: Final = Path(__file__).parent
CASES: Final = sorted(path.name for path in HERE.iterdir() if path.is_dir() and path.name != "__pycache__")
IN: Final = "in.yaml"


def built(case: str) -> BuildResult:
    """Return the plans of a case, made from nothing but its `in.yaml`."""
    path = HERE / case / IN
    found = manifests.read({str(path.relative_to(HERE)): path.read_text(encoding="utf-8")})
    fleet = fleet_of(found.gateways.values())
    return build(list(found.policies.values()), found.revisions, {}, fleet)


def outputs(case: str) -> dict[str, str]:
    """Return file name → text of all that is made from a case."""
    result = built(case)
    gateways: dict[str, Any] = {}
    for name, plan in result.gateways.items():
        gateways[name] = xds_view(translate(plan, Options()), named_secrets(plan))
    return {"plan.yaml": _text(plan_view(result)), "xds.yaml": _text(gateways)}


class _Dumper(yaml.SafeDumper):
    """Writes everything out: no anchors."""

    def ignore_aliases(self, data: Any) -> bool:  # noqa: ARG002 - PyYAML's signature
        return True


def _text(value: Any) -> str:
    return yaml.dump(value, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=110)
