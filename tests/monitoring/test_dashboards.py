"""Dashboards: fresh, without anybody's data source, and every question one that Prometheus understands."""

from __future__ import annotations

import json
import subprocess
import sys
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest

from monitoring_kit import CHART, dashboards, expressions
from pointsman.lab.prometheus import Prometheus


@pytest.fixture(scope="module")
def prometheus(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Return the URL of a Prometheus that scrapes nobody."""
    with Prometheus(tmp_path_factory.mktemp("prometheus"), {}) as running:
        yield running.url


def ask(url: str, expr: str) -> dict[str, Any]:
    """Return the answer to a query; an error's too."""
    query = urllib.parse.urlencode({"query": expr})
    try:
        with urllib.request.urlopen(f"{url}/api/v1/query?{query}", timeout=10) as answer:  # noqa: S310 - our own
            found: dict[str, Any] = json.load(answer)
    except urllib.error.HTTPError as error:
        with error:
            found = json.load(error)
    return found


def test_the_files_are_fresh() -> None:
    """They are what build.py writes."""
    done = subprocess.run(
        [sys.executable, "-B", str(CHART / "dashboards" / "build.py"), "--check"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.prometheus
def test_prometheus_understands_every_question(prometheus: str) -> None:
    """Of rules and panels; with no data there is no error either."""
    answers = {where: ask(prometheus, expr) for where, expr in expressions().items()}
    assert {where: one for where, one in answers.items() if one["status"] != "success"} == {}
    assert ask(prometheus, "sum by (")["status"] == "error"


@pytest.mark.parametrize("name", dashboards())
def test_the_data_source_is_a_variable(name: str) -> None:
    """Nobody's data source is written into it."""
    dashboard = dashboards()[name]
    assert dashboard["templating"]["list"][0]["type"] == "datasource"
    sources = {target["datasource"]["uid"] for p in dashboard["panels"] for target in p.get("targets", ())}
    assert sources == {"${datasource}"}
    assert "uid" not in json.dumps(dashboard["templating"]).replace('"uid": "${datasource}"', "")


@pytest.mark.parametrize("name", dashboards())
def test_panels_do_not_overlap(name: str) -> None:
    """Each has its own number and place within 24 columns."""
    panels = dashboards()[name]["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    places = [panel["gridPos"] for panel in panels]
    assert all(p["x"] + p["w"] <= 24 for p in places)
    for a, b in combinations(places, 2):
        beside = a["x"] + a["w"] <= b["x"] or b["x"] + b["w"] <= a["x"]
        above = a["y"] + a["h"] <= b["y"] or b["y"] + b["h"] <= a["y"]
        assert beside or above


def test_the_policy_dashboard_asks_for_one_policy() -> None:
    """Every panel of it is about the chosen policy."""
    for panel in dashboards()["policy.json"]["panels"]:
        for target in panel.get("targets", ()):
            assert 'namespace="$namespace",policy="$policy"' in target["expr"], panel["title"]


def test_nothing_but_what_is_written_lies_there() -> None:
    """Two dashboards."""
    assert sorted(path.name for path in Path(CHART / "dashboards").glob("*.json")) == [
        "fleet.json",
        "policy.json",
    ]
