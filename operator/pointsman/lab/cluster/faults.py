"""What happens to clusters: a kubelet that dies, a control plane that is away, an etcd that is set back.

For a cluster that runs as a context manager: a supervisor would start again what is killed here.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final

from pointsman.lab import etcd_copy

if TYPE_CHECKING:
    from pathlib import Path

    from pointsman.lab.cluster.cluster import Cluster
    from pointsman.lab.process import Server

_START_S: Final = 180.0
"""All that waited for a server asks it at once, when it comes back to a busy machine."""


def restart_kubelet(cluster: Cluster) -> None:
    """Kill the kubelet (SIGKILL) and start it again; wait until it is healthy. Pods run on."""
    _kill(cluster.kubelet)
    _start(cluster.kubelet)
    cluster.set_gpus(cluster.gpus)


def stop_control_plane(cluster: Cluster) -> None:
    """Kill the API server, and the controllers and the scheduler that share its machine (SIGKILL)."""
    for server in (cluster.plane.apiserver, cluster.manager, cluster.scheduler):
        _kill(server)


def start_control_plane(cluster: Cluster) -> float:
    """Start what `stop_control_plane` killed; return when the API server was ready (monotonic seconds)."""
    _start(cluster.plane.apiserver)
    ready = time.monotonic()
    _start(cluster.manager, cluster.scheduler)
    return ready


def restore_etcd(cluster: Cluster, copied: Path) -> float:
    """Set etcd back to what `ControlPlane.snapshot` copied; return when the API server was ready (monotonic).

    As Kubernetes' own manual says, kubelet, controllers and scheduler are started anew afterwards. Nothing
    else is: kube-proxy, DNS and all pods live through it.
    """
    stop_control_plane(cluster)
    _kill(cluster.plane.etcd)
    etcd_copy.put_back(cluster.plane.data, copied)
    _start(cluster.plane.etcd)
    ready = start_control_plane(cluster)
    restart_kubelet(cluster)
    return ready


def _start(*servers: Server) -> None:
    for child in [server.start() for server in servers]:
        child.wait_ready(_START_S)


def _kill(server: Server) -> None:
    if server.child is not None:
        server.child.kill()
        server.child = None
