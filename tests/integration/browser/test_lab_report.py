"""A report of real servers' answers: API server, the lab's state metrics, Prometheus, browser."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import CollectorRegistry, start_http_server

from browser_kit import FIELDS, measure
from pointsman.clock import system_clock
from pointsman.lab.controlplane import ControlPlane
from pointsman.lab.kubectl import Kubectl
from pointsman.lab.process import LOCALHOST, free_port
from pointsman.lab.prometheus import Prometheus, Target
from pointsman.lab.report.gather import gather
from pointsman.lab.report.page import page
from pointsman.lab.states import States
from report_kit import verdict
from wait import until_sync

PATH = "/apis/pointsman.dev/v1alpha1/namespaces/default/routingpolicies/exam"
POLICY: dict[str, Any] = {
    "apiVersion": "pointsman.dev/v1alpha1",
    "kind": "RoutingPolicy",
    "metadata": {"name": "exam", "namespace": "default"},
    "spec": {
        "gatewayRef": {"name": "default"},
        "match": {"hostnames": ["exam.example.com"], "models": ["auto"]},
        "tiers": [{"name": "only", "endpoints": [{"url": "http://a.example.com/v1"}], "model": "m"}],
        "strategy": {"type": "Pinned", "pinned": {"tier": "only"}},
        "rollout": {"mode": "Direct"},
    },
}


@pytest.fixture
def world(tmp_path: Path) -> Iterator[tuple[Kubectl, str]]:
    """Yield a client of an API server whose policies' status a Prometheus scrapes, and that one's URL."""
    registry, port = CollectorRegistry(), free_port()
    targets = {"states": Target(f"{LOCALHOST}:{port}", interval_s=1)}
    with (
        ControlPlane(tmp_path) as plane,
        Kubectl(plane.kubeconfig) as kubectl,
        Prometheus(tmp_path, targets) as prometheus,
    ):
        registry.register(States(kubectl))
        server, thread = start_http_server(port, LOCALHOST, registry)
        kubectl.apply([POLICY])
        yield kubectl, prometheus.url
        server.shutdown()
        server.server_close()
        thread.join()


def _status(drop: int, began: str) -> dict[str, Any]:
    return {
        "traffic": [
            {"revision": "always-strong", "weightPermille": 750},
            {"revision": "exam-1", "weightPermille": 250},
        ],
        "rollout": {
            "id": "0123abcd",
            "candidate": "exam-1",
            "incumbent": "always-strong",
            "startedAt": began,
            "steps": [{"index": 0, "name": "Canary", "weightPermille": 250, "startedAt": began}],
        },
        "step": {"name": "Canary", "startedAt": began},
        "verdicts": [
            verdict("Canary", "engineering", (drop, drop - 150, drop + 120), "Undecided"),
            verdict("Canary", "", (12, -20, 45), "Pass"),
        ],
    }


@pytest.mark.apiserver
def test_what_is_drawn_is_what_the_api_server_says(world: tuple[Kubectl, str], tmp_path: Path) -> None:
    """The last numbers equal the status; the way there comes from Prometheus and is drawn, too."""
    kubectl, prometheus = world
    began = (system_clock() - timedelta(seconds=5)).isoformat(timespec="microseconds")

    def streams(drop: int) -> bool:
        told = gather(kubectl, prometheus, "default/exam", system_clock)
        lines = [lines.get("drop", ()) for key, lines in told.streams.items() if key.intent == "engineering"]
        return any(point.value == drop for line in lines for point in line)

    for drop in (50, 260):
        kubectl.patch(f"{PATH}/status", {"status": _status(drop, began)})
        until_sync(lambda drop=drop: streams(drop), 20, 0.5)  # type: ignore[misc]  # its value now
    seen = measure(page(gather(kubectl, prometheus, "default/exam", system_clock)), tmp_path)
    status = kubectl.get(PATH)["status"]
    drawn = {stream["intent"]: stream for stream in seen["streams"]}
    for found in status["verdicts"]:
        for name, field in FIELDS.items():
            expected = found[field] / 10
            assert drawn[found.get("intent", "")][name] == pytest.approx(expected, abs=0.1), name
    assert drawn["engineering"]["moves"] > drawn[""]["moves"]
    assert seen["overlap"] == 0
