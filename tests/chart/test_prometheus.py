"""The bundled Prometheus would start with the configuration that it is given."""

from __future__ import annotations

import subprocess
from pathlib import Path

import yaml

from chart_kit import Helm, one
from monitoring_kit import promtool

from .cases import CASES

FOLDER = "/etc/prometheus"


def test_promtool_finds_nothing_wrong(helm: Helm, tmp_path: Path) -> None:
    """Configuration and rule files; but for the discovery of pods, which Debian's build leaves out."""
    found = one(helm.render(CASES["bundled-prometheus"]), "ConfigMap", "pointsman-prometheus")["data"]
    for name, text in found.items():
        (tmp_path / name).write_text(text, "utf-8")
    config = yaml.safe_load(found["prometheus.yml"].replace(FOLDER, str(tmp_path)))
    assert config["rule_files"] == [f"{tmp_path}/*.yaml"]
    for job in config["scrape_configs"]:
        assert job.pop("kubernetes_sd_configs") == [{"role": "pod", "namespaces": {"own_namespace": True}}]
    (tmp_path / "prometheus.yml").write_text(yaml.safe_dump(config), "utf-8")
    command = [promtool(), "check", "config", str(tmp_path / "prometheus.yml")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "rules found" in done.stdout
