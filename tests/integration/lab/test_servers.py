"""The launchers, each on its real server."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import httpx
import pytest

from pointsman.lab.controlplane import COMPONENTS, ControlPlane
from pointsman.lab.envoy import Envoy
from pointsman.lab.kubectl import Kubectl
from pointsman.lab.process import LOCALHOST, LabError, free_port
from pointsman.lab.prometheus import Prometheus, Target
from pointsman.lab.triton import Triton
from wait import until_sync

PINNED: dict[str, Any] = {
    "apiVersion": "pointsman.dev/v1alpha1",
    "kind": "RoutingPolicy",
    "metadata": {"name": "p"},
    "spec": {
        "gatewayRef": {"name": "default"},
        "match": {"hostnames": ["a.example.com"], "models": ["auto"]},
        "tiers": [{"name": "only", "endpoints": [{"url": "http://a.example.com/v1"}], "model": "m"}],
        "strategy": {"type": "Pinned", "pinned": {"tier": "only"}},
        "rollout": {"mode": "Direct"},
    },
}


@pytest.mark.apiserver
def test_a_control_plane_has_our_kinds_and_gives_each_component_its_own_rights(tmp_path: Path) -> None:
    """CRDs are established; nobody but the administrator writes a spec; only xds reads Secrets."""
    with ControlPlane(tmp_path) as plane:
        with Kubectl(plane.kubeconfig) as admin:
            admin.apply([PINNED])
            policies = "/apis/pointsman.dev/v1alpha1/routingpolicies"
            assert [item["metadata"]["name"] for item in admin.get(policies)["items"]] == ["p"]
        for component in COMPONENTS:
            with Kubectl(plane.kubeconfig_of(component)) as client:
                assert len(client.get(policies)["items"]) == 1, component
                with pytest.raises(LabError, match="403"):
                    client.apply([PINNED])
                if component == "xds":
                    client.get("/api/v1/secrets")
                else:
                    with pytest.raises(LabError, match="403"):
                        client.get("/api/v1/secrets")


@pytest.mark.triton
def test_a_triton_starts_empty_and_leaves_nothing_in_shared_memory(tmp_path: Path) -> None:
    """Also after kill -9."""
    with Triton(tmp_path) as triton:
        assert httpx.get(f"{triton.http_url}/v2/health/ready").status_code == 200
        assert httpx.get(f"{triton.http_url}/v2/models/stats").json() == {"model_stats": []}
        assert triton.child is not None
        triton.child.kill()
    assert not list(Path("/dev/shm").glob(f"{triton._region}*"))


@pytest.mark.envoy
def test_an_envoy_gets_a_new_bootstrap_at_each_start(tmp_path: Path) -> None:
    """So its node id can tell its runs apart."""
    port, runs = free_port(), list[int]()

    def bootstrap() -> dict[str, Any]:
        runs.append(1)
        address = {"socket_address": {"address": LOCALHOST, "port_value": port}}
        return {"node": {"id": f"run-{len(runs)}", "cluster": "c"}, "admin": {"address": address}}

    envoy = Envoy(tmp_path, bootstrap)
    seen = []
    for _ in range(2):
        with envoy:
            info = httpx.get(f"http://{envoy.admin_address}/server_info").json()
            seen.append(info["node"]["id"])
    assert len(set(seen)) == 2


def test_a_prometheus_scrapes_its_targets(tmp_path: Path) -> None:
    """Here: itself."""
    port = free_port()
    with Prometheus(tmp_path, {"self": Target(f"{LOCALHOST}:{port}")}, port=port) as prometheus:

        def up() -> bool:
            answer = httpx.get(f"{prometheus.url}/api/v1/query", params={"query": "up"}).json()
            return [sample["value"][1] for sample in answer["data"]["result"]] == ["1"]

        until_sync(up, 20, 0.2)
