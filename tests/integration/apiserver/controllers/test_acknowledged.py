"""What Envoys acknowledge, told by a real xds server with a real Envoy."""

from __future__ import annotations

import subprocess
import sys
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import pytest

from operator_kit import Cluster, condition, pinned_spec
from pointsman.lab.controlplane import ControlPlane
from pointsman.lab.envoy import Envoy
from pointsman.lab.process import free_port
from pointsman.xds.bootstrap import bootstrap
from wait import until_sync

pytestmark = [pytest.mark.apiserver, pytest.mark.envoy]


@dataclass
class Addresses:
    """Where an xds server listens, and what Envoys shall bind."""

    grpc: str = field(default_factory=lambda: f"127.0.0.1:{free_port()}")
    http: str = field(default_factory=lambda: f"127.0.0.1:{free_port()}")
    entry: str = field(default_factory=lambda: f"127.0.0.1:{free_port()}")


@contextmanager
def xds(plane: ControlPlane, at: Addresses, log: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Run `pointsman xds` until it is ready and then some."""
    command = [
        *(str(Path(sys.executable).with_name("pointsman")), "xds"),
        *("--kubeconfig", str(plane.kubeconfig_of("xds")), "--grpc-address", at.grpc),
        *("--http-address", at.http, "--entry-address", at.entry),
    ]
    with log.open("ab") as out:
        child = subprocess.Popen(command, stdout=out, stderr=out)
        try:
            until_sync(lambda: ready(at), 20, what=f"xds is ready ({log})")
            yield child
        finally:
            child.kill()
            child.wait()


def ready(at: Addresses) -> bool:
    try:
        return httpx.get(f"http://{at.http}/readyz", timeout=2).status_code == 200
    except httpx.TransportError:
        return False


def envoy(at: Addresses, state: Path, gateway: str) -> Envoy:
    nowhere = "127.0.0.1:9"
    return Envoy(
        state,
        bootstrap(
            gateway=gateway,
            node_id=f"test-{uuid.uuid4()}",
            admin_address=f"127.0.0.1:{free_port()}",
            xds_addresses=[at.grpc],
            access_log_address=nowhere,
            capture_address=nowhere,
        ),
        concurrency=1,
    )


async def test_programmed_follows_the_envoys(plane: ControlPlane, cluster: Cluster, tmp_path: Path) -> None:
    """No Envoy, then one that acknowledges; a restarted xds server changes nothing; a dead one is told."""
    at, gateway = Addresses(), {"gatewayRef": {"name": cluster.namespace}}
    async with cluster.operator(xds_urls=(f"http://{at.http}",)) as operator:
        with xds(plane, at, tmp_path / "xds.log"):
            await cluster.apply(pinned_spec() | gateway)
            await operator.condition("Programmed", "NoEnvoy")
            with envoy(at, tmp_path, cluster.namespace):
                await operator.condition("Programmed", "Acknowledged")
                await operator.promoted()
                await operator.condition("Ready", "Ready")
                await cluster.change(**pinned_spec("another") | gateway)
                await operator.promoted()
                await operator.condition("Ready", "Ready")
                # an older policy holds the host (within one second the name decides): this one is told so
                await cluster.apply(pinned_spec("younger") | gateway, "younger")
                refused = await operator.condition("Accepted", "HostConflict", "younger")
                assert f"{cluster.namespace}/support" in refused["message"]
                late = await cluster.policy("younger")
                assert condition(late, "Ready")["reason"] == "HostConflict"
                await cluster.delete()
                await operator.condition("Ready", "Ready", "younger")
                await operator.promoted("younger")
        await operator.condition("Programmed", "XdsUnreachable", "younger")
        await cluster.change("younger", **pinned_spec("later") | gateway)
        await operator.promoted("younger")
