"""Alerts and recording rules: sound, explained, and about metrics that there are."""

from __future__ import annotations

import re
import subprocess

import pytest

from monitoring_kit import (
    CHART,
    ENVOY,
    PROMETHEUS,
    ROOT,
    RULES,
    RUNBOOKS,
    TRITON,
    alerts,
    exported,
    expressions,
    metric_names,
    promtool,
    recorded,
)

SECTIONS = ("## Meaning", "## Impact", "## Diagnosis", "## Mitigation")


def test_prometheus_takes_the_rules() -> None:
    """`promtool check rules` finds nothing, style included."""
    files = [str(CHART / "rules" / name) for name in RULES]
    done = subprocess.run(
        [promtool(), "check", "rules", "--lint=all", "--lint-fatal", *files],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize(("where", "expr"), expressions().items(), ids=expressions().keys())
def test_only_metrics_that_there_are(where: str, expr: str) -> None:
    """A rule or panel about a metric that nobody exports would be silent for ever."""
    known = exported() | recorded() | ENVOY | TRITON | PROMETHEUS
    assert metric_names(expr) <= known


def test_names_are_found_in_expressions() -> None:
    """Functions, labels, ranges and words of the language are no metrics."""
    expr = (
        'sum by (le, a) (rate(x_bucket{y="z_total{}"}[5m])) / on(a) group_left(b) max(w:q:r offset 1d) > 1e3'
    )
    assert metric_names(expr) == {"x_bucket", "w:q:r"}


@pytest.mark.parametrize("name", alerts())
def test_an_alert_says_what_to_do(name: str) -> None:
    """Summary, description with a command or a remedy, severity, a time, and a page of its own."""
    alert = alerts()[name]
    assert name.startswith("Pointsman")
    assert alert["labels"]["severity"] in {"critical", "warning", "info"}
    assert alert["for"]
    told = alert["annotations"]
    assert told.keys() == {"summary", "description", "runbook_url"}
    assert told["runbook_url"] == f"{RUNBOOKS}docs/runbooks/{name}.md"
    assert "$" not in told["summary"]
    if "policy" in alert["expr"] and "gateway" not in alert["expr"]:
        assert "{{ $labels.namespace }}/{{ $labels.policy }}" in told["description"]


@pytest.mark.parametrize("name", alerts())
def test_an_alert_has_a_runbook(name: str) -> None:
    """What it means, whom it hurts, how to look, what to do."""
    path = ROOT / "docs" / "runbooks" / f"{name}.md"
    text = path.read_text(encoding="utf-8")
    assert text.startswith(f"# {name}\n")
    assert [section for section in SECTIONS if f"\n{section}\n" not in text] == []
    assert "```console" in text


def test_no_runbook_is_left_over() -> None:
    """A page without an alert is about something that is gone."""
    pages = {path.stem for path in (ROOT / "docs" / "runbooks").glob("*.md")} - {"README"}
    assert pages == set(alerts())


def test_the_index_of_runbooks_is_whole() -> None:
    """Every alert is in the table, with its severity."""
    text = (ROOT / "docs" / "runbooks" / "README.md").read_text(encoding="utf-8")
    rows = dict(re.findall(r"^\| \[(\w+)\]\(\w+\.md\) \| (\w+) \|", text, re.MULTILINE))
    assert rows == {name: alert["labels"]["severity"] for name, alert in alerts().items()}
