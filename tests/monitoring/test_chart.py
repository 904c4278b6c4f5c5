"""What the chart makes of rules and dashboards: whole, in its own namespace, with the labels asked for."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from chart_kit import Helm, one
from monitoring_kit import alerts, dashboards, promtool, recorded
from pointsman.lab import binaries

LABELS = {"release": "kube-prometheus-stack"}
ON = {
    "monitoring": {
        "prometheusRule": {"enabled": True, "labels": LABELS},
        "serviceMonitors": {"enabled": True, "labels": LABELS, "interval": "30s"},
        "dashboards": {
            "enabled": True,
            "labels": {"grafana_dashboard": "1"},
            "annotations": {"folder": "LLM"},
        },
    }
}
MONITORS = ("ServiceMonitor", "PodMonitor")


@pytest.fixture(scope="module")
def objects(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    """Return the release's objects with everything on, in a namespace of another name."""
    helm = Helm(binaries.ensure("helm"), tmp_path_factory.mktemp("helm"))
    chart = Path(__file__).parents[2] / "charts" / "pointsman"
    text = helm("template", "pointsman", chart, "--namespace", "routing", values=ON)
    return [found for found in yaml.safe_load_all(text) if found]


def test_the_rule_object_holds_every_rule(objects: list[dict[str, Any]], tmp_path: Path) -> None:
    """Prometheus takes it as it is rendered; commands name the release's namespace."""
    rule = one(objects, "PrometheusRule", "pointsman")
    found = [each for group in rule["spec"]["groups"] for each in group["rules"]]
    assert {each["alert"] for each in found if "alert" in each} == set(alerts())
    assert {each["record"] for each in found if "record" in each} == recorded()
    assert "-n pointsman-system" not in json.dumps(rule)
    assert LABELS.items() <= rule["metadata"]["labels"].items()
    path = tmp_path / "rules.yaml"
    path.write_text(yaml.safe_dump(rule["spec"]), encoding="utf-8")
    done = subprocess.run([promtool(), "check", "rules", path], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_a_policys_namespace_is_not_renamed(objects: list[dict[str, Any]]) -> None:
    """Every monitor honours our labels: without that there is no evidence."""
    monitors = [each for each in objects if each["kind"] in MONITORS]
    assert len(monitors) == 5
    for monitor in monitors:
        endpoints = monitor["spec"].get("endpoints") or monitor["spec"]["podMetricsEndpoints"]
        assert {endpoint["honorLabels"] for endpoint in endpoints} == {True}
        assert LABELS.items() <= monitor["metadata"]["labels"].items()


def test_the_evaluator_is_read_oftener(objects: list[dict[str, Any]]) -> None:
    """A verdict is as young as the last look at it."""
    intervals = {
        each["metadata"]["name"]: each["spec"]["endpoints"][0]["interval"]
        for each in objects
        if each["kind"] == "ServiceMonitor"
    }
    assert intervals.pop("pointsman-evaluator") == "5s"
    assert set(intervals.values()) == {"30s"}


def test_monitors_find_services_of_the_release(objects: list[dict[str, Any]]) -> None:
    """Each part's monitor fits one Service of it, which has the port."""
    services = [each for each in objects if each["kind"] == "Service"]
    for part in ("operator", "xds", "evaluator"):
        monitor = one(objects, "ServiceMonitor", f"pointsman-{part}")
        wanted = monitor["spec"]["selector"]["matchLabels"].items()
        (service,) = [each for each in services if wanted <= each["metadata"]["labels"].items()]
        port = monitor["spec"]["endpoints"][0]["port"]
        assert port in {each["name"] for each in service["spec"]["ports"]}


def test_dashboards_are_as_they_were_built(objects: list[dict[str, Any]]) -> None:
    """One ConfigMap each, for Grafana's sidecar."""
    for name, dashboard in dashboards().items():
        found = one(objects, "ConfigMap", f"pointsman-dashboard-{name.removesuffix('.json')}")
        assert json.loads(found["data"][f"pointsman-{name}"]) == dashboard
        assert found["metadata"]["labels"]["grafana_dashboard"] == "1"
        assert found["metadata"]["annotations"] == {"folder": "LLM"}
