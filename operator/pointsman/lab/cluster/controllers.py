"""kube-controller-manager and kube-scheduler beside a control plane; with kwok, a node whose pods pretend.

Enough to test who makes Deployments, HPAs, PDBs: needs no root and runs nothing of what the pods name.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from pointsman.lab import binaries
from pointsman.lab.checks import http_ok
from pointsman.lab.cluster import kwok
from pointsman.lab.controlplane import ControlPlane
from pointsman.lab.kubectl import Kubectl
from pointsman.lab.process import LOCALHOST, LabError, Runnable, Server, Spec, free_port

# The default rate (20/s) makes its start last seconds: one service account for each of its controllers.
_RATE: Final = ("--kube-api-qps=300", "--kube-api-burst=500")
_GRACE_S: Final = 2.0


class Controllers(Runnable):
    """Servers that make a `ControlPlane` act; a context manager, started after it and ended before it.

    `nodes` fake nodes (kwok) with `gpus` GPUs each; 0: pods stay Pending, no kwok is needed.
    """

    def __init__(
        self,
        plane: ControlPlane,
        *,
        nodes: int = 1,
        gpus: int = 8,
        say: Callable[[str], None] = lambda _: None,
    ) -> None:
        self.plane = plane
        self.manager = Server(controller_manager(plane, say))
        self.scheduler = Server(scheduler(plane, say))
        self.nodes = [kwok.node(f"fake-{number}", gpus) for number in range(nodes)]
        self.kwok = Server(kwok.spec(plane, say)) if nodes else None

    @property
    def servers(self) -> tuple[Server, ...]:
        """All that run, in the order of their start."""
        return (self.manager, self.scheduler, *([] if self.kwok is None else [self.kwok]))

    def start(self) -> None:
        """Start them; does not wait."""
        for server in self.servers:
            server.start()

    def wait_ready(self) -> None:
        """Wait until all serve, then make the fake nodes."""
        for server in self.servers:
            server.wait_ready()
        with Kubectl(self.plane.kubeconfig) as kubectl:
            kubectl.apply(self.nodes)
            for node in self.nodes:
                # Server-side apply leaves the status out.
                kubectl.patch(f"/api/v1/nodes/{node['metadata']['name']}/status", {"status": node["status"]})

    def stop(self) -> None:
        """End them."""
        for server in reversed(self.servers):
            if server.child is not None:
                server.child.terminate()
        for server in reversed(self.servers):
            server.stop()


def controller_manager(plane: ControlPlane, say: Callable[[str], None]) -> Spec:
    """Describe a kube-controller-manager of this control plane."""
    kubeconfig = plane.user("controller-manager", "system:kube-controller-manager")
    authority = plane.authority.pair
    arguments = [
        *_RATE,
        "--use-service-account-credentials",
        f"--service-account-private-key-file={plane.tokens.key}",
        f"--root-ca-file={authority.cert}",
        f"--cluster-signing-cert-file={authority.cert}",
        f"--cluster-signing-key-file={authority.key}",
        "--allocate-node-cidrs=false",
        # HPAs: a test need not wait a quarter of a minute for a look, nor five minutes for less.
        "--horizontal-pod-autoscaler-sync-period=2s",
        "--horizontal-pod-autoscaler-downscale-stabilization=10s",
    ]
    return _component("kube-controller-manager", plane, kubeconfig, arguments, say)


def scheduler(plane: ControlPlane, say: Callable[[str], None]) -> Spec:
    """Describe a kube-scheduler of this control plane."""
    kubeconfig = plane.user("scheduler", "system:kube-scheduler")
    return _component("kube-scheduler", plane, kubeconfig, [*_RATE], say)


def _component(
    name: str, plane: ControlPlane, kubeconfig: Path, arguments: list[str], say: Callable[[str], None]
) -> Spec:
    port = free_port()
    serving = plane.authority.leaf(f"{name}-serving", name, hosts=[LOCALHOST])
    address = f"{LOCALHOST}:{port}"
    command = [
        str(binaries.ensure(name, say)),
        f"--kubeconfig={kubeconfig}",
        f"--authentication-kubeconfig={kubeconfig}",
        f"--authorization-kubeconfig={kubeconfig}",
        f"--bind-address={LOCALHOST}",
        f"--secure-port={port}",
        f"--tls-cert-file={serving.cert}",
        f"--tls-private-key-file={serving.key}",
        "--leader-elect=false",
        *arguments,
    ]
    log = plane.state_dir / "log" / f"{name}.log"
    return Spec(
        name,
        command,
        log,
        address,
        lambda: http_ok(address, "/healthz", plane.tls),
        stop_grace_s=_GRACE_S,
    )


def pods_ready(kubectl: Kubectl, namespace: str, selector: str) -> list[dict[str, Any]]:
    """Return the pods of a label selector that are Ready."""
    found = kubectl.get(f"/api/v1/namespaces/{namespace}/pods?labelSelector={selector}")["items"]
    return [pod for pod in found if is_true(pod, "Ready") and "deletionTimestamp" not in pod["metadata"]]


def is_true(found: dict[str, Any], condition: str) -> bool:
    """Say whether an object's condition is True."""
    conditions = found.get("status", {}).get("conditions", [])
    return any(c["type"] == condition and c["status"] == "True" for c in conditions)


def fail_pod(kubectl: Kubectl, namespace: str, pod: str, reason: str, message: str = "") -> None:
    """Give a held pod's first container a reason to wait, for instance ImagePullBackOff."""
    path = f"/api/v1/namespaces/{namespace}/pods/{pod}"
    names = [container["name"] for container in kubectl.get(path)["spec"]["containers"]]
    if not names:
        raise LabError(f"pod {namespace}/{pod} has no container")
    statuses = [
        {
            "name": name,
            "image": "",
            "imageID": "",
            "ready": False,
            "restartCount": 0,
            "state": {"waiting": {"reason": reason, "message": message}},
        }
        for name in names
    ]
    kubectl.patch(f"{path}/status", {"status": {"containerStatuses": statuses}})
