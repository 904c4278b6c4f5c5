"""What the allow-lists say of Envoy and Triton, asked of the real ones; and our own parts' real names."""

from __future__ import annotations

import re
from pathlib import Path
from urllib.parse import quote

import pytest
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.parser import text_string_to_metric_families

import bundles
from monitoring_kit import CHART, ENVOY, TRITON, exported
from pointsman.clock import system_clock
from pointsman.contract import ENTRY_STAT_PREFIX
from pointsman.controllers.evidence import EvidenceMetrics
from pointsman.controllers.reconciler import ReconcileMetrics
from pointsman.evaluator.metrics import ProcessMetrics, Totals
from pointsman.kube.metrics import KubeMetrics
from pointsman.lab.checks import http_get
from pointsman.lab.envoy import Envoy
from pointsman.lab.process import LOCALHOST, free_ports
from pointsman.lab.triton import Triton
from pointsman.xds.metrics import XdsMetrics
from triton_kit import Server

MONITORS = CHART / "templates" / "servicemonitors.yaml"
MANAGER = (
    "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager"
)
ROUTER = "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router"


def bootstrap(admin: int, entry: int) -> dict[str, object]:
    """Return an Envoy whose entry answers 200 by itself."""

    def at(port: int) -> dict[str, object]:
        return {"socket_address": {"address": LOCALHOST, "port_value": port}}

    route = {"match": {"prefix": "/"}, "direct_response": {"status": 200}}
    manager = {
        "@type": MANAGER,
        "stat_prefix": ENTRY_STAT_PREFIX,
        "http_filters": [{"name": "router", "typed_config": {"@type": ROUTER}}],
        "route_config": {"virtual_hosts": [{"name": "all", "domains": ["*"], "routes": [route]}]},
    }
    chain = {"filters": [{"name": "http", "typed_config": manager}]}
    listener = {"name": "entry", "address": at(entry), "filter_chains": [chain]}
    return {"admin": {"address": at(admin)}, "static_resources": {"listeners": [listener]}}


@pytest.mark.envoy
def test_envoy_has_these_metrics(tmp_path: Path) -> None:
    """Under the filter of our ServiceMonitor, with the label that rules and panels ask for."""
    (pattern,) = re.findall(r"filter: \['(.*)'\]", MONITORS.read_text(encoding="utf-8"))
    admin, entry = free_ports(2)
    with Envoy(tmp_path, bootstrap(admin, entry)) as envoy:
        assert http_get(f"{LOCALHOST}:{entry}", "/")[0] == 200
        _, body = http_get(envoy.admin_address, f"/stats/prometheus?filter={quote(pattern)}")
    lines = [line for line in body.decode().splitlines() if f'prefix="{ENTRY_STAT_PREFIX}"' in line]
    assert {line.partition("{")[0] for line in lines} >= ENVOY
    assert "envoy_cluster_upstream" not in body.decode()


@pytest.mark.triton
def test_triton_has_these_metrics(tmp_path: Path) -> None:
    """With a classifier loaded and asked, under the model's name."""
    with Triton(tmp_path) as triton:
        server = Server(triton.http_url)
        server.infer(server.load(bundles.file()), b'{"messages": [{"role": "user", "content": "a poem"}]}')
        server.http.close()
        _, body = http_get(triton.metrics_address, "/metrics")
    assert {line.partition("{")[0] for line in body.decode().splitlines() if 'model="pm-' in line} >= TRITON


def test_our_own_names_are_what_a_scrape_shows() -> None:
    """The names that the sources were searched for are those that registries export."""
    registry = CollectorRegistry()
    for made in (KubeMetrics, EvidenceMetrics, ProcessMetrics, XdsMetrics):
        made(registry)
    rollouts = ReconcileMetrics(registry, system_clock).rollouts
    text = (generate_latest(registry) + Totals({}).render() + rollouts.render()).decode()
    families = [
        (f.name, f.type) for f in text_string_to_metric_families(text) if f.name.startswith("pointsman_")
    ]
    suffix = {"counter": "_total", "histogram": "_bucket", "gauge": ""}
    assert len(families) > 50
    shown = {f"{name}{suffix[kind]}" for name, kind in families if not name.endswith("_created")}
    assert shown <= exported()
