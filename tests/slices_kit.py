"""EndpointSlices as Kubernetes' own controller writes them, for servers that run on this machine."""

from __future__ import annotations

import socket
from collections.abc import Mapping
from typing import Any

from pointsman.kube.client import KubeClient
from pointsman.kube.errors import NotFound
from pointsman.kube.resources import ENDPOINT_SLICES, Resource

ROLES = Resource("rbac.authorization.k8s.io", "v1", "roles", "Role")
ROLE_BINDINGS = Resource("rbac.authorization.k8s.io", "v1", "rolebindings", "RoleBinding")


def own_ip() -> str:
    """Return an address of this machine that is no loopback: the API server takes none in a slice."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.connect(("192.0.2.1", 9))  # sends nothing
        return str(probe.getsockname()[0])


def endpoint(ip: str, pod: str, *, ready: bool = True, terminating: bool = False) -> dict[str, Any]:
    """Return one endpoint of a slice."""
    conditions = {"ready": ready and not terminating, "serving": ready, "terminating": terminating}
    return {"addresses": [ip], "conditions": conditions, "targetRef": {"kind": "Pod", "name": pod}}


class Slices:
    """The EndpointSlices of one namespace; one slice a pod, as pods here have ports of their own."""

    def __init__(self, admin: KubeClient, namespace: str) -> None:
        self._admin = admin
        self._namespace = namespace

    async def put(
        self,
        service: str,
        pod: str,
        ports: Mapping[str, int],
        *,
        ip: str | None = None,
        labels: Mapping[str, str] | None = None,
        ready: bool = True,
        terminating: bool = False,
    ) -> None:
        """Create or replace the slice of a pod."""
        body: dict[str, Any] = {
            "metadata": {
                "name": f"{service}-{pod or 'empty'}",
                "labels": {"kubernetes.io/service-name": service, **(labels or {})},
            },
            "addressType": "IPv4",
            "ports": [{"name": name, "port": port, "protocol": "TCP"} for name, port in ports.items()],
            "endpoints": [endpoint(ip or own_ip(), pod, ready=ready, terminating=terminating)] if pod else [],
        }
        try:
            known = await self._admin.get(ENDPOINT_SLICES, body["metadata"]["name"], self._namespace)
        except NotFound:
            await self._admin.create(ENDPOINT_SLICES, body, self._namespace)
        else:
            await self._admin.replace(ENDPOINT_SLICES, known | {"endpoints": body["endpoints"]})

    async def drop(self, service: str, pod: str) -> None:
        """Delete the slice of a pod."""
        await self._admin.delete(ENDPOINT_SLICES, f"{service}-{pod}", self._namespace)

    async def allow(self, user: str) -> None:
        """Let a part read the namespace's slices, and no more: what it has in an installation."""
        name = f"slices-{user.replace(':', '-')}"
        role = {
            "metadata": {"name": name},
            "rules": [
                {
                    "apiGroups": ["discovery.k8s.io"],
                    "resources": ["endpointslices"],
                    "verbs": ["get", "list", "watch"],
                }
            ],
        }
        binding = {
            "metadata": {"name": name},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": name},
            "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": user}],
        }
        await self._admin.create(ROLES, role, self._namespace)
        await self._admin.create(ROLE_BINDINGS, binding, self._namespace)
