"""Flagger, Argo Rollouts and Pointsman as processes beside one control plane, each with a user of its own."""

from __future__ import annotations

import json
import subprocess
import sys
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from pointsman.lab import binaries
from pointsman.lab.checks import http_ok
from pointsman.lab.cluster.controllers import Controllers
from pointsman.lab.controlplane import ControlPlane
from pointsman.lab.envoy import Envoy
from pointsman.lab.kubectl import Kubectl, load_manifests
from pointsman.lab.pki import Authority
from pointsman.lab.process import LOCALHOST, LabError, Server, Spec, ended, free_port, tail
from pointsman.xds.bootstrap import Tls, bootstrap

GATEWAY = "bench"
GATEWAY_API = "sigs.k8s.io/gateway-api@v1.4.1"
"""Whose HTTPRoute Flagger writes."""
NODES = 6
"""Fake nodes of 500 pods each."""
START_S = 300.0
NOWHERE = f"{LOCALHOST}:9"
AUDIT_POLICY = {
    "apiVersion": "audit.k8s.io/v1",
    "kind": "Policy",
    "omitStages": ["RequestReceived"],
    "rules": [
        {
            "level": "Metadata",
            "users": [f"pointsman:{part}" for part in ("operator", "xds", "evaluator")]
            + ["peer:flagger", "peer:argo-rollouts"],
        },
        {"level": "None"},
    ],
}

Say = Callable[[str], None]


@dataclass
class Tool:
    """One of the three: its processes, and the users that they are for the API server."""

    name: str
    version: str
    users: tuple[str, ...]
    servers: tuple[Server, ...]
    more: dict[str, str] = field(default_factory=dict)
    """Addresses that a bench asks."""

    @contextmanager
    def running(self) -> Iterator[Tool]:
        """Run all processes."""
        try:
            for server in self.servers:
                server.start()
            for server in self.servers:
                server.wait_ready()
            yield self
        finally:
            for server in reversed(self.servers):
                server.stop()

    def pids(self) -> dict[str, int]:
        """Return the process ids by part; `LabError` if one has ended."""
        found = {}
        for server in self.servers:
            if server.child is not None:
                code = server.child.exit_code()
                if code is not None:
                    raise LabError(f"{server.spec.name} {ended(code)}; {tail(server.spec.log)}")
                found[server.spec.name] = server.child.pid
        return found


@contextmanager
def cluster(folder: Path, say: Say) -> Iterator[ControlPlane]:
    """Run a control plane with audit log, controllers, scheduler, fake nodes and everybody's CRDs."""
    policy, audit = folder / "audit-policy.json", audit_log(folder)
    folder.mkdir(parents=True, exist_ok=True)
    policy.write_text(json.dumps(AUDIT_POLICY), "utf-8")
    flags = [f"--audit-policy-file={policy}", f"--audit-log-path={audit}", "--audit-log-maxsize=4000"]
    with ControlPlane(folder, flags=lambda _: flags, say=say) as plane:
        with Kubectl(plane.kubeconfig) as kubectl:
            kubectl.apply(_foreign_kinds(say))
        with Controllers(plane, nodes=NODES, gpus=0, say=say):
            yield plane


def audit_log(folder: Path) -> Path:
    """Return where a control plane of this folder logs who asked what."""
    return folder / "audit.log"


def flagger(plane: ControlPlane, prometheus: str, say: Say, *, rate: int = 100) -> Tool:
    """Return Flagger with its own defaults but for `rate`, requests a second to the API server."""
    port = free_port()
    command = [
        str(binaries.ensure("flagger", say)),
        f"-kubeconfig={plane.user('flagger', 'peer:flagger', groups=['system:masters'])}",
        "-mesh-provider=gatewayapi:v1",
        f"-metrics-server={prometheus}",
        f"-port={port}",
        f"-kubeconfig-qps={rate}",
        f"-kubeconfig-burst={rate * 5 // 2}",
        "-log-level=info",
    ]
    server = _server(plane, "flagger", command, f"{LOCALHOST}:{port}", "/healthz")
    return Tool("flagger", binaries.TOOLS["flagger"].version, ("peer:flagger",), (server,))


def argo_rollouts(plane: ControlPlane, say: Say, *, rate: int = 40) -> Tool:
    """Return Argo Rollouts with its own defaults but for `rate`, requests a second to the API server."""
    metrics, health = free_port(), free_port()
    name = "rollouts-controller"
    command = [
        str(binaries.ensure(name, say)),
        f"--kubeconfig={plane.user(name, 'peer:argo-rollouts', groups=['system:masters'])}",
        f"--metricsPort={metrics}",
        f"--healthzPort={health}",
        f"--qps={rate}",
        f"--burst={rate * 2}",
        "--leader-elect=false",
        "--loglevel=warn",
    ]
    server = _server(plane, name, command, f"{LOCALHOST}:{health}", "/healthz")
    return Tool("argo-rollouts", binaries.TOOLS[name].version, ("peer:argo-rollouts",), (server,))


def pointsman(plane: ControlPlane, *, look_s: float = 5.0) -> Tool:
    """Return our operator, xds and evaluator, and one Envoy that acknowledges."""
    state, at = plane.state_dir, [f"{LOCALHOST}:{free_port()}" for _ in range(8)]
    operator, xds, grpc, evaluator, log, capture, admin, entry = at
    mesh = Authority(state / "mesh")
    serving = mesh.leaf("xds", "pointsman:xds", hosts=["localhost"])
    client = mesh.leaf("envoy", "pointsman:envoy")
    tls = Tls(str(mesh.pair.cert), str(client.cert), str(client.key), "localhost")
    certificates = ["--tls-cert", str(serving.cert), "--tls-key", str(serving.key)]
    certificates += ["--tls-client-ca", str(mesh.pair.cert)]
    xds_args = ["--grpc-address", grpc, "--http-address", xds, "--entry-address", entry, *certificates]
    evaluator_args = ["--access-log-address", log, "--capture-address", capture, *certificates]
    evaluator_args += ["--http-address", evaluator, "--store", str(state / f"{uuid.uuid4().hex}.sqlite")]
    operator_args = ["--xds-url", f"http://{xds}", "--http-address", operator, "--lease-identity", "bench"]
    operator_args += ["--evidence-interval", f"{look_s:g}s"]
    envoy = Envoy(
        state,
        lambda: bootstrap(
            gateway=GATEWAY,
            node_id=str(uuid.uuid4()),
            admin_address=admin,
            xds_addresses=[grpc],
            access_log_address=NOWHERE,
            capture_address=NOWHERE,
            xds_tls=tls,
        ),
        concurrency=1,
    )
    parts = {"operator": (operator, operator_args), "xds": (xds, xds_args)}
    parts["evaluator"] = (evaluator, evaluator_args)
    ours = [_ours(plane, name, address, arguments) for name, (address, arguments) in parts.items()]
    users = tuple(f"pointsman:{name}" for name in parts)
    return Tool("pointsman", "this tree", users, (*ours, envoy), {"xds": xds})


def _ours(plane: ControlPlane, name: str, address: str, arguments: list[str]) -> Server:
    kubeconfig = str(plane.kubeconfig_of(name))
    command = [sys.executable, "-m", "pointsman", name, "--kubeconfig", kubeconfig, *arguments]
    return _server(plane, name, command, address, "/readyz")


def _server(plane: ControlPlane, name: str, command: list[str], address: str, path: str) -> Server:
    log = plane.state_dir / "log" / f"{name}.log"
    # numpy's threads would only compete for the processors
    env = {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1", "PYTHONUNBUFFERED": "1"}
    # a controller that looks through thousands of objects first is slow to say that it is ready
    ready = Spec(
        name, command, log, address, lambda: http_ok(address, path), env=env, start_deadline_s=START_S
    )
    return Server(ready)


def _foreign_kinds(say: Say) -> list[dict[str, object]]:
    flagger_crds = binaries.module_folder("flagger", say) / "charts" / "flagger" / "crds" / "crd.yaml"
    rollouts = binaries.module_folder("rollouts-controller", say) / "manifests" / "crds"
    routes = _gateway_api() / "config" / "crd" / "standard" / "gateway.networking.k8s.io_httproutes.yaml"
    files = [flagger_crds, *sorted(rollouts.glob("*-crd.yaml")), routes]
    return [crd for file in files for crd in load_manifests(file)]


def _gateway_api() -> Path:
    """Return the folder of Gateway API's module, fetched if need be; nothing of it is compiled."""
    fetch = [str(binaries.go_command(lambda _: None)), "mod", "download", "-json", GATEWAY_API]
    done = subprocess.run(fetch, cwd="/", capture_output=True, text=True, timeout=300, check=False)
    if done.returncode != 0:
        raise LabError(f"{GATEWAY_API} cannot be fetched ({' '.join(fetch)}): {done.stderr.strip()[-500:]}")
    return Path(json.loads(done.stdout)["Dir"])
