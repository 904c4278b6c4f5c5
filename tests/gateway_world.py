"""A world in which RoutingGateways rule: a system namespace, and xds with its ServiceAccount's rights."""

from __future__ import annotations

import json
import random
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from pointsman import install
from pointsman.api.v1alpha1.routing_gateway import RoutingGateway
from pointsman.kube.resources import GATEWAYS, NAMESPACES, SERVICE_ACCOUNTS, Resource
from pointsman.lab.process import Server
from xds_world import World

if TYPE_CHECKING:
    from pathlib import Path

_RBAC: Final = "rbac.authorization.k8s.io"
ROLES: Final = Resource(_RBAC, "v1", "roles", "Role")
BINDINGS: Final = Resource(_RBAC, "v1", "rolebindings", "RoleBinding")
CLUSTER_ROLES: Final = Resource(_RBAC, "v1", "clusterroles", "ClusterRole", namespaced=False)
CLUSTER_BINDINGS: Final = Resource(_RBAC, "v1", "clusterrolebindings", "ClusterRoleBinding", namespaced=False)
READ: Final = ["get", "list", "watch"]


def _address() -> str:
    """Return a loopback address of its own: what listeners bind begins at the same port in every test."""
    return f"127.{random.randint(1, 250)}.{random.randint(1, 250)}.{random.randint(2, 250)}"  # noqa: S311


@dataclass
class GatewayWorld(World):
    """As `World`; its gateway is a RoutingGateway of the namespace `system`."""

    address: str = field(default_factory=_address)

    def __post_init__(self) -> None:
        super().__post_init__()
        self.system = f"system-{self.namespace}"
        self.entry = f"{self.address}:{install.ENVOY_FIRST_PORT}"

    async def install(self) -> None:
        """Make the system namespace and the xds server's rights: none to any Secret."""
        await self.admin.create(NAMESPACES, {"metadata": {"name": self.system}})
        await self.admin.create(SERVICE_ACCOUNTS, {"metadata": {"name": install.XDS}}, self.system)
        policies = ["routingpolicies", "routingpolicyrevisions"]
        rules: list[dict[str, Any]] = [
            {"apiGroups": ["pointsman.dev"], "resources": policies, "verbs": READ},
            {"apiGroups": [""], "resources": ["namespaces"], "verbs": READ},
        ]
        await self._cluster_role(rules)
        rule = {"apiGroups": ["pointsman.dev"], "resources": ["routinggateways"], "verbs": READ}
        await self.allow(self.system, install.XDS, [rule])

    async def _cluster_role(self, rules: list[dict[str, Any]]) -> None:
        name: dict[str, Any] = {"metadata": {"name": self.system}}
        await self.admin.create(CLUSTER_ROLES, name | {"rules": rules})
        ref = {"apiGroup": _RBAC, "kind": "ClusterRole", "name": self.system}
        await self.admin.create(CLUSTER_BINDINGS, name | {"roleRef": ref, "subjects": [self.account]})

    @property
    def account(self) -> dict[str, str]:
        """The xds server's ServiceAccount, as a subject."""
        return {"kind": "ServiceAccount", "name": install.XDS, "namespace": self.system}

    async def allow(self, namespace: str, name: str, rules: list[dict[str, Any]]) -> None:
        """Give the xds server rights in a namespace."""
        metadata: dict[str, Any] = {"metadata": {"name": name}}
        await self.admin.create(ROLES, metadata | {"rules": rules}, namespace)
        ref = {"apiGroup": _RBAC, "kind": "Role", "name": name}
        await self.admin.create(BINDINGS, metadata | {"roleRef": ref, "subjects": [self.account]}, namespace)

    async def allow_secret(self, namespace: str, secret: str) -> None:
        """Opt a Secret in."""
        rule = {"apiGroups": [""], "resources": ["secrets"], "resourceNames": [secret], "verbs": READ}
        await self.allow(namespace, f"secret-{secret}", [rule])

    async def gateway(self, *listeners: dict[str, Any], **spec: Any) -> dict[str, Any]:
        """Create the gateway, with one plain listener if none is given, and return it."""
        plain = {"name": "http", "port": 80, "protocol": "HTTP"}
        body: dict[str, Any] = {
            "apiVersion": GATEWAYS.api_version,
            "kind": GATEWAYS.kind,
            "metadata": {"name": self.namespace},
            "spec": {"listeners": list(listeners) or [plain]} | spec,
        }
        return await self.admin.create(GATEWAYS, body, self.system)

    async def listen(self, *listeners: dict[str, Any]) -> None:
        """Give the gateway other listeners; then say in its status where they are, as the operator does."""
        body = {"spec": {"listeners": list(listeners)}}
        raw = await self.admin.patch(GATEWAYS, self.namespace, self.system, body)
        bound = [each.to_kube() for each in RoutingGateway.model_validate(raw).bound()]
        version = raw["metadata"]["resourceVersion"]
        await self.admin.patch_status(
            GATEWAYS, self.namespace, self.system, {"listeners": bound}, resource_version=version
        )

    async def token(self) -> Path:
        """Return a kubeconfig with a token of the xds server's ServiceAccount, as its pod has one."""
        requests = Resource("", "v1", f"serviceaccounts/{install.XDS}/token", "TokenRequest")
        made = await self.admin.create(requests, {"spec": {"expirationSeconds": 3600}}, self.system)
        config = json.loads(self.plane.kubeconfig.read_text("utf-8"))
        config["users"] = [{"name": "xds", "user": {"token": made["status"]["token"]}}]
        config["contexts"] = [{"name": "lab", "context": {"cluster": "lab", "user": "xds"}}]
        path = self.state / "xds-account.kubeconfig"
        path.write_text(json.dumps(config), encoding="utf-8")
        return path

    async def server(self) -> Server:
        """Return the launcher of the xds server by its ServiceAccount's rights."""
        spec = self.xds().spec
        command = list(spec.command)
        command[command.index("--kubeconfig") + 1] = str(await self.token())
        command[command.index("--entry-address") + 1] = f"{self.address}:0"
        command += ["--system-namespace", self.system]
        return Server(type(spec)(spec.name, command, spec.log, spec.address, spec.ready))

    async def clean(self) -> None:
        """Delete what is in no namespace of the test."""
        for resource in (CLUSTER_BINDINGS, CLUSTER_ROLES, NAMESPACES):
            await self.admin.delete(resource, self.system)
