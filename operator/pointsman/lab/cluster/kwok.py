"""kwok: nodes and pods that only exist in the API server, and go through their life there in an instant."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import yaml

from pointsman.lab import binaries
from pointsman.lab.checks import http_ok
from pointsman.lab.controlplane import ControlPlane
from pointsman.lab.process import LOCALHOST, Spec, free_port

HELD_TAG: Final = "held"
"""A pod with an image of this tag stays Pending: the test writes its status."""
_ANNOTATION: Final = "kwok.x-k8s.io/node"
# kwok has no stages of its own: these lie in its module.
_STAGES: Final = (
    "node/fast/node-initialize.yaml",
    "node/heartbeat-with-lease/node-heartbeat-with-lease.yaml",
    "pod/fast/pod-complete.yaml",
    "pod/fast/pod-delete.yaml",
    "pod/fast/pod-ready.yaml",
)
_NOT_HELD: Final = {
    "key": f'.spec.containers.[].image | select(endswith(":{HELD_TAG}"))',
    "operator": "DoesNotExist",
}
# Without leases the controller manager takes the node for dead after 50 s, whatever its heartbeat says.
_LEASE_S: Final = 40


def spec(plane: ControlPlane, say: Callable[[str], None]) -> Spec:
    """Describe a kwok that plays every node which `node` made."""
    address = f"{LOCALHOST}:{free_port()}"
    stages = plane.state_dir / "kwok-stages.yaml"
    stages.write_text(_stages(say), "utf-8")
    command = [
        str(binaries.ensure("kwok", say)),
        f"--kubeconfig={plane.kubeconfig}",
        "--manage-all-nodes=false",
        f"--manage-nodes-with-annotation-selector={_ANNOTATION}=fake",
        f"--node-lease-duration-seconds={_LEASE_S}",
        f"--config={stages}",
        f"--server-address={address}",
    ]
    log = plane.state_dir / "log" / "kwok.log"
    return Spec("kwok", command, log, address, lambda: http_ok(address, "/healthz"), stop_grace_s=2.0)


def node(name: str, gpus: int) -> dict[str, Any]:
    """Return a node for kwok to play: 32 processors, 256 GiB, some GPUs; label type=kwok."""
    room = {"cpu": "32", "memory": "256Gi", "pods": "500"}
    if gpus:
        room["nvidia.com/gpu"] = str(gpus)
    labels = {"kubernetes.io/hostname": name, "kubernetes.io/os": "linux", "kubernetes.io/arch": "amd64"}
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {
            "name": name,
            "annotations": {_ANNOTATION: "fake"},
            "labels": labels | {"type": "kwok", "topology.kubernetes.io/zone": f"zone-{name}"},
        },
        "status": {"allocatable": room, "capacity": room},
    }


def _stages(say: Callable[[str], None]) -> str:
    """Return kwok's own stages, but none that readies a held pod; from the cache, else from its module."""
    kept = binaries.cache_dir() / f"kwok-stages-{binaries.TOOLS['kwok'].version}.yaml"
    if not kept.exists():
        kept.parent.mkdir(parents=True, exist_ok=True)
        folder = binaries.module_folder("kwok", say) / "kustomize" / "stage"
        part = kept.with_name(f".{kept.name}.{os.getpid()}")
        part.write_text("---\n".join((folder / stage).read_text("utf-8") for stage in _STAGES), "utf-8")
        part.rename(kept)
    return hold(kept)


def hold(stages: Path) -> str:
    """Return stages in which pods with a held image are left alone until they are deleted."""
    found = [*yaml.safe_load_all(stages.read_text("utf-8"))]
    for stage in found:
        if stage["metadata"]["name"] == "pod-ready":
            stage["spec"]["selector"]["matchExpressions"].append(dict(_NOT_HELD))
    return yaml.safe_dump_all(found)
