"""Rules and dashboards of the chart as values, and the names of the metrics that there really are."""

from __future__ import annotations

import ast
import json
import re
import shutil
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any, Final

import pytest
import yaml

from pointsman.evaluator.evidence import ALL_FAMILIES
from pointsman.evaluator.watermark import SCORED_UNTIL
from pointsman.rollout import measures

ROOT: Final = Path(__file__).parent.parent
CHART: Final = ROOT / "charts" / "pointsman"
RULES: Final = ("recording.yaml", "alerts.yaml")
RUNBOOKS: Final = "https://github.com/pointsman-dev/pointsman/blob/main/"

ENVOY: Final = frozenset(
    {
        # www.envoyproxy.io/docs/envoy/latest/configuration/http/http_conn_man/stats
        "envoy_http_downstream_rq_completed",
        "envoy_http_downstream_rq_xx",
        "envoy_http_downstream_rq_active",
        "envoy_http_downstream_cx_active",
    }
)
TRITON: Final = frozenset(
    {
        # docs.nvidia.com/deeplearning/triton-inference-server/user-guide/docs/user_guide/metrics.html
        "nv_inference_request_success",
        "nv_inference_request_failure",
        "nv_inference_queue_duration_us",
    }
)
PROMETHEUS: Final = frozenset({"ALERTS"})
"""Of every Prometheus that evaluates alerts."""

_MAKERS: Final = {
    "Counter": ("_total",),
    "PromCounter": ("_total",),
    "Gauge": ("",),
    "GaugeMetricFamily": ("",),
    "Histogram": ("_bucket", "_sum", "_count"),
}
_WORDS: Final = frozenset({"offset", "bool", "and", "or", "unless"})
_NOT_EXPORTED: Final = ("lab", "cli")
"""Rooms whose metrics are those of no process of an installation."""


def promtool() -> str:
    """Return the path of promtool; skip, and say so, where there is none."""
    found = shutil.which("promtool")
    if found is None:
        pytest.skip("promtool is not on PATH: rules are NOT tested (Debian: apt-get install prometheus)")
    return found


@cache
def rules() -> list[dict[str, Any]]:
    """Return every rule."""
    files = [yaml.safe_load((CHART / "rules" / name).read_text(encoding="utf-8")) for name in RULES]
    return [rule for file in files for group in file["groups"] for rule in group["rules"]]


def alerts() -> dict[str, dict[str, Any]]:
    """Return alerts by name."""
    return {rule["alert"]: rule for rule in rules() if "alert" in rule}


@cache
def dashboards() -> dict[str, dict[str, Any]]:
    """Return dashboards by file name."""
    files = sorted((CHART / "dashboards").glob("*.json"))
    return {path.name: json.loads(path.read_text(encoding="utf-8")) for path in files}


def expressions() -> dict[str, str]:
    """Return every expression, by where it is, with Grafana's variables filled in."""
    found = {f"rule {rule.get('alert', rule.get('record'))}": rule["expr"] for rule in rules()}
    for name, dashboard in dashboards().items():
        for panel in dashboard["panels"]:
            for target in panel.get("targets", ()):
                expr = target["expr"].replace("$__rate_interval", "5m")
                found[f"{name}: {panel['title']} {target['refId']}"] = expr
    return found


def metric_names(expr: str) -> set[str]:
    """Return the metrics that an expression asks for."""
    bare = re.sub(r'"(\\.|[^"\\])*"', "", expr)
    bare = re.sub(r"\{[^}]*\}", " ", bare)
    bare = re.sub(r"\[[^\]]*\]", " ", bare)
    bare = re.sub(r"\b(by|without|on|ignoring|group_left|group_right)\s*\([^)]*\)", " ", bare)
    bare = re.sub(r"\boffset\s+\S+", " ", bare)
    words = re.findall(r"(?<![\w.])[a-zA-Z_:][a-zA-Z0-9_:]*(?![\w:]|\s*\()", bare)
    return {word for word in words if word not in _WORDS}


@cache
def exported() -> frozenset[str]:
    """Return the name of every series that operator, xds server and evaluator can export."""
    found = set(_in_sources())
    for family in ALL_FAMILIES.values():
        suffixes = _MAKERS["Histogram"] if family.kind == "histogram" else ("",)
        found |= {f"{family.name}{suffix}" for suffix in suffixes}
    found |= {*measures.GAUGES, measures.ENDED, SCORED_UNTIL, *(shown.name for shown in measures.SHOWN)}
    return frozenset(found)


def recorded() -> frozenset[str]:
    """Return the names of the recording rules."""
    return frozenset(rule["record"] for rule in rules() if "record" in rule)


def _in_sources() -> Iterator[str]:
    """Yield the names that the sources give to the client library's metrics."""
    source = ROOT / "operator" / "pointsman"
    for path in source.rglob("*.py"):
        if path.relative_to(source).parts[0] in _NOT_EXPORTED:
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.args):
                continue
            first = node.args[0]
            if node.func.id in _MAKERS and isinstance(first, ast.Constant) and isinstance(first.value, str):
                name = first.value.removesuffix("_total")
                yield from (f"{name}{suffix}" for suffix in _MAKERS[node.func.id])
