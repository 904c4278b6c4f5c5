"""The house of `bench scale`: a control plane with kwok, and one of each of our parts, as processes."""

from __future__ import annotations

import json
import sys
import uuid
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from bench.rig import resident_mb
from infrastructure_kit import BINDINGS, LISTENERS, ROLES, RULES
from pointsman import install
from pointsman.kube.client import KubeClient
from pointsman.kube.resources import GATEWAYS, NAMESPACES
from pointsman.lab.checks import http_ok
from pointsman.lab.cluster.controllers import Controllers
from pointsman.lab.controlplane import ControlPlane
from pointsman.lab.envoy import Envoy
from pointsman.lab.process import LOCALHOST, Server, Spec, free_port, tail
from pointsman.lab.prometheus import Prometheus, Target
from pointsman.lab.triton import Triton
from pointsman.xds.bootstrap import bootstrap

GATEWAY: Final = "default"
SCRAPE_S: Final = 2
"""Between two scrapes of the evaluator."""
PATIENCE_S: Final = 300.0
"""For each server's start: the machine may be busy."""
_AUDITED: Final = ("operator", "xds", "evaluator")
_POLICY: Final[dict[str, Any]] = {
    "apiVersion": "audit.k8s.io/v1",
    "kind": "Policy",
    "omitStages": ["RequestReceived", "ResponseStarted"],
    "rules": [
        {"level": "Metadata", "users": [f"pointsman:{name}" for name in _AUDITED]},
        {"level": "None"},
    ],
}


@dataclass(frozen=True)
class House:
    """All that runs. `audit` is the API server's own record of what our parts asked it."""

    plane: ControlPlane
    audit: Path
    parts: dict[str, Server]
    triton: Triton
    prometheus: Prometheus
    xds: str
    access_log: str

    def check(self) -> None:
        """End the bench if a part has ended."""
        for name, part in self.parts.items():
            code = part.child.exit_code() if part.child is not None else None
            if code is not None:
                raise SystemExit(f"{name} has ended ({code}); {tail(part.spec.log)}")

    def memory(self) -> dict[str, float]:
        """Return the resident memory of each part, in MB."""
        children = {name: part.child for name, part in self.parts.items()}
        return {name: resident_mb(child.pid) for name, child in children.items() if child is not None}


@contextmanager
def house(folder: Path) -> Iterator[House]:
    """Run the house; nothing of a user's is in it yet."""
    audit, policy = folder / "audit.jsonl", folder / "audit-policy.json"
    policy.write_text(json.dumps(_POLICY))
    flags = [f"--audit-log-path={audit}", f"--audit-policy-file={policy}"]
    plane = ControlPlane(folder, flags=lambda _: flags)
    triton = Triton(folder)
    at = {name: f"{LOCALHOST}:{free_port()}" for name in _PORTS}
    targets = {
        "operator": Target(at["operator"]),
        "xds": Target(at["xds"]),
        "evaluator": Target(at["evaluator"], interval_s=SCRAPE_S),
    }
    prometheus = Prometheus(folder, targets)
    parts = _ours(folder, plane, at)
    envoy = Envoy(folder, lambda: _bootstrap(at))
    controllers = Controllers(plane, nodes=1)
    for server in (
        plane.etcd,
        plane.apiserver,
        *controllers.servers,
        triton,
        prometheus,
        *parts.values(),
        envoy,
    ):
        server.spec = replace(server.spec, start_deadline_s=PATIENCE_S)
    with ExitStack() as stack:
        stack.enter_context(plane)
        stack.enter_context(controllers)
        for server in (triton, prometheus, *parts.values(), envoy):
            stack.enter_context(server)
        every = parts | {"envoy": envoy, "triton": triton, "kube-apiserver": plane.apiserver}
        yield House(plane, audit, every, triton, prometheus, f"http://{at['xds']}", at["access_log"])


async def furnish(admin: KubeClient) -> None:
    """Make the system namespace, the operator's rights in it, and a RoutingGateway whose pods kwok plays."""
    namespace = install.SYSTEM_NAMESPACE
    await admin.create(NAMESPACES, {"metadata": {"name": namespace}})
    await admin.create(ROLES, {"metadata": {"name": "operator"}, "rules": RULES}, namespace)
    binding = {
        "metadata": {"name": "operator"},
        "roleRef": {"apiGroup": ROLES.group, "kind": "Role", "name": "operator"},
        "subjects": [{"apiGroup": ROLES.group, "kind": "User", "name": "pointsman:operator"}],
    }
    await admin.create(BINDINGS, binding, namespace)
    kind = {"apiVersion": GATEWAYS.api_version, "kind": GATEWAYS.kind}
    spec = {"metadata": {"name": GATEWAY}, "spec": {"listeners": LISTENERS}}
    await admin.create(GATEWAYS, kind | spec, namespace)


_PORTS: Final = (
    *("operator", "xds", "xds_grpc", "entry", "evaluator", "access_log", "capture", "envoy_admin"),
)


def _ours(folder: Path, plane: ControlPlane, at: dict[str, str]) -> dict[str, Server]:
    system = ["--system-namespace", install.SYSTEM_NAMESPACE]
    arguments = {
        "operator": [
            *("--xds-url", f"http://{at['xds']}", "--http-address", at["operator"], *system),
            *("--lease-duration", "300s"),  # nobody would start it again, and the machine may be busy
        ],
        # Its listeners are as in the lab: what a RoutingGateway binds needs a network of its own.
        "xds": [
            *("--grpc-address", at["xds_grpc"], "--http-address", at["xds"]),
            *("--entry-address", at["entry"]),
        ],
        "evaluator": [
            *("--access-log-address", at["access_log"], "--capture-address", at["capture"]),
            *("--http-address", at["evaluator"], "--store", str(folder / "evaluator.sqlite")),
            *("--envoy-admin", f"http://{at['envoy_admin']}"),
        ],
    }
    return {name: _server(folder, plane, name, at[name], each) for name, each in arguments.items()}


def _server(folder: Path, plane: ControlPlane, name: str, address: str, arguments: list[str]) -> Server:
    kubeconfig = str(plane.kubeconfig_of(name))
    command = [sys.executable, "-m", "pointsman", name, "--kubeconfig", kubeconfig, *arguments]
    env = {"PYTHONUNBUFFERED": "1", "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}
    log = folder / "log" / f"{name}.log"
    return Server(Spec(name, command, log, address, lambda: http_ok(address, "/readyz"), env=env))


def _bootstrap(at: dict[str, str]) -> dict[str, Any]:
    return bootstrap(
        gateway=GATEWAY,
        node_id=f"scale-{uuid.uuid4()}",
        admin_address=at["envoy_admin"],
        xds_addresses=[at["xds_grpc"]],
        access_log_address=at["access_log"],
        capture_address=at["capture"],
    )
