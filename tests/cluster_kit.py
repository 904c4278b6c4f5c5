"""What a test on a real node has in hand: the cluster, kubectl and helm as a user runs them, images, pods."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import yaml

from pointsman.lab import binaries
from pointsman.lab.cluster.cluster import Cluster
from pointsman.lab.images.catalog import OURS, reference
from pointsman.lab.kubectl import Kubectl
from wait import until_sync

IMAGES: Mapping[str, str] = {name: reference(name) for name in OURS}
"""Name (pointsman, pointsman-tiers, pointsman-triton, envoy, prometheus): reference on the node."""
RESTRICTED: Mapping[str, Any] = {
    "runAsNonRoot": True,
    "readOnlyRootFilesystem": True,
    "allowPrivilegeEscalation": False,
    "capabilities": {"drop": ["ALL"]},
    "seccompProfile": {"type": "RuntimeDefault"},
}
"""A container's securityContext as the profile `restricted` wants it, and a read-only root."""


@dataclass(frozen=True)
class World:
    """A running cluster."""

    cluster: Cluster

    @property
    def kubeconfig(self) -> Path:
        """The administrator's."""
        return self.cluster.kubeconfig

    @cached_property
    def kube(self) -> Kubectl:
        """A client for applying and reading objects."""
        return Kubectl(self.kubeconfig)

    @cached_property
    def kubectl_path(self) -> Path:
        """The kubectl of the cluster's version."""
        return binaries.ensure("kubectl")

    @cached_property
    def helm_path(self) -> Path:
        """The pinned helm."""
        return binaries.ensure("helm")

    def kubectl(self, *arguments: str, stdin: str | None = None, deadline_s: float = 60) -> str:
        """Run kubectl as a user does; return what it printed."""
        return self._run([str(self.kubectl_path), *arguments], stdin, deadline_s)

    def helm(self, *arguments: str, deadline_s: float = 300) -> str:
        """Run helm as a user does; return what it printed."""
        return self._run([str(self.helm_path), *arguments], None, deadline_s)

    def apply(self, *manifests: Mapping[str, Any], namespace: str = "default") -> None:
        """Create or change objects."""
        self.kube.apply(manifests, namespace)

    def pods(self, selector: str, namespace: str = "default") -> list[dict[str, Any]]:
        """Return the pods of a label selector."""
        path = f"/api/v1/namespaces/{namespace}/pods?labelSelector={selector}"
        found: list[dict[str, Any]] = self.kube.get(path)["items"]
        return found

    def outcome(self, pod: Mapping[str, Any], deadline_s: float = 120) -> str:
        """Run a pod to its end; return its log. The pod's events are in the error if it fails."""
        name = pod["metadata"]["name"]
        path = f"/api/v1/namespaces/default/pods/{name}"
        self.apply(pod)
        phase = until_sync(
            lambda: (found := self.kube.get(path)["status"]["phase"]) in {"Succeeded", "Failed"} and found,
            deadline_s,
            0.1,
            what=f"pod {name} has ended",
        )
        log = self.kubectl("logs", name)
        assert phase == "Succeeded", f"{log}\n{self.kubectl('describe', 'pod', name)}"
        return log

    def _run(self, command: Sequence[str], stdin: str | None, deadline_s: float) -> str:
        done = subprocess.run(
            command,
            capture_output=True,
            text=True,
            input=stdin,
            timeout=deadline_s,
            check=False,
            env={**os.environ, "KUBECONFIG": str(self.kubeconfig)},
        )
        assert done.returncode == 0, f"{' '.join(command)}: {done.stdout}\n{done.stderr}"
        return done.stdout


def pod(name: str, image: str, *command: str, **container: Any) -> dict[str, Any]:
    """Return a pod that runs one command once, restricted, with /tmp to write to."""
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "labels": {"app": name}},
        "spec": {"restartPolicy": "Never", **pod_spec(image, *command, **container)},
    }


def deployment(name: str, image: str, *command: str, replicas: int = 1, **container: Any) -> dict[str, Any]:
    """Return a Deployment of such pods."""
    labels = {"app": name}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": labels},
            "template": {"metadata": {"labels": labels}, "spec": pod_spec(image, *command, **container)},
        },
    }


def service(name: str, port: int, target: int, **spec: Any) -> dict[str, Any]:
    """Return a Service of the pods that `deployment` and `pod` label with this name."""
    ports = [{"port": port, "targetPort": target}]
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": name},
        "spec": {"selector": {"app": name}, "ports": ports, **spec},
    }


def pod_spec(image: str, *command: str, **container: Any) -> dict[str, Any]:
    """Return the spec of a restricted pod of one container; no command: the image's own."""
    main = {
        "name": "main",
        "image": image,
        "imagePullPolicy": "Never",
        **({"command": [*command]} if command else {}),
        "securityContext": dict(RESTRICTED),
        "volumeMounts": [{"name": "tmp", "mountPath": "/tmp"}],
    }
    main["volumeMounts"] += container.pop("volumeMounts", [])
    volumes = [{"name": "tmp", "emptyDir": {}}, *container.pop("volumes", [])]
    return {
        "automountServiceAccountToken": False,
        "terminationGracePeriodSeconds": 1,
        "nodeSelector": {"type": "real"},
        "securityContext": {"fsGroup": 65532},
        "containers": [main | container],
        "volumes": volumes,
    }


def as_yaml(*manifests: Mapping[str, Any]) -> str:
    """Return manifests as text for `kubectl apply -f -`."""
    return yaml.safe_dump_all(json.loads(json.dumps(manifests)))
