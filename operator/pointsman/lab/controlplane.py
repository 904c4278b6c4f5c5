"""A real control plane from local processes: etcd, kube-apiserver, our CRDs and roles."""

from __future__ import annotations

import base64
import json
import os
import ssl
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from pointsman.lab import binaries, etcd_copy
from pointsman.lab.checks import http_get, http_ok
from pointsman.lab.kubectl import Kubectl, load_manifests
from pointsman.lab.pki import Authority, Pair
from pointsman.lab.process import LOCALHOST, LabError, Runnable, Server, Spec, free_port

REPOSITORY: Final = Path(__file__).resolve().parents[3]
COMPONENTS: Final = ("operator", "xds", "evaluator")
"""Each has a kubeconfig of its own (user `pointsman:<component>`), with the rights of deploy/rbac.yaml."""
_SERVICES: Final = "10.96.0.0/16"
_SERVER_NAMES: Final = (
    LOCALHOST,
    "10.96.0.1",
    "localhost",
    "kubernetes",
    "kubernetes.default",
    "kubernetes.default.svc",
    "kubernetes.default.svc.cluster.local",
)
_ESTABLISHED_S: Final = 30.0


@dataclass(frozen=True, slots=True)
class Ports:
    """Where the parts listen on 127.0.0.1."""

    apiserver: int = field(default_factory=free_port)
    etcd: int = field(default_factory=free_port)
    etcd_peer: int = field(default_factory=free_port)


class ControlPlane(Runnable):
    """etcd and kube-apiserver in a state folder; also a context manager that runs both, CRDs established.

    `kubeconfig` is the administrator's; `kubeconfig_of("xds")` has that component's certificate and rights.
    """

    def __init__(
        self,
        state_dir: Path,
        *,
        ports: Ports | None = None,
        host: str = LOCALHOST,
        flags: Callable[[Authority], Sequence[str]] = lambda _: (),
        say: Callable[[str], None] = lambda _: None,
    ) -> None:
        """`host`: where the API server listens; `flags`: more of its flags (lists add to ours)."""
        self.state_dir = state_dir.resolve()
        self.ports = ports or Ports()
        self.host = host
        self.address = f"{host}:{self.ports.apiserver}"
        self.authority = Authority(self.state_dir / "pki")
        self._binaries = {name: binaries.ensure(name, say) for name in ("etcd", "kube-apiserver")}
        self.tokens = self.authority.signing_key("service-accounts")
        """What service-account tokens are signed with."""
        self.tls = ssl.create_default_context(cafile=str(self.authority.pair.cert))
        self.kubeconfig = self.user("admin", "admin", groups=["system:masters"])
        for component in COMPONENTS:
            self._write_kubeconfig(
                component, self.authority.leaf(f"kube-{component}", f"pointsman:{component}")
            )
        self.etcd = Server(self._etcd())
        self.apiserver = Server(self._apiserver(flags(self.authority)))

    def kubeconfig_of(self, component: str) -> Path:
        """Return the kubeconfig of one of `COMPONENTS`."""
        return self.state_dir / f"{component}.kubeconfig"

    def user(self, name: str, user: str, *, groups: Sequence[str] = ()) -> Path:
        """Sign a certificate of `user` and return a kubeconfig with it, `<name>.kubeconfig`."""
        return self._write_kubeconfig(name, self.authority.leaf(name, user, groups=groups))

    def install(self) -> None:
        """Apply our CRDs, roles and admission policy and wait until the CRDs are established."""
        crds = load_manifests(REPOSITORY / "crds")
        with Kubectl(self.kubeconfig) as kubectl:
            kubectl.apply(crds)
            kubectl.apply(load_manifests(REPOSITORY / "deploy"))
            end = time.monotonic() + _ESTABLISHED_S
            for crd in crds:
                name = crd["metadata"]["name"]
                path = f"/apis/apiextensions.k8s.io/v1/customresourcedefinitions/{name}"
                while not _established(kubectl.get(path)):
                    if time.monotonic() > end:
                        raise LabError(f"CRD {name} is not Established after {_ESTABLISHED_S:.0f} s")
                    time.sleep(0.05)

    def start(self) -> None:
        """Start both servers; does not wait."""
        self.etcd.start()
        # The API server retries etcd by itself.
        self.apiserver.start()

    def wait_serving(self) -> None:
        """Wait until both serve; nothing of ours is in them."""
        self.etcd.wait_ready()
        self.apiserver.wait_ready()

    def wait_ready(self) -> None:
        """Wait until both serve, then `install`."""
        self.wait_serving()
        self.install()

    def stop(self) -> None:
        """End both."""
        self.apiserver.stop()
        self.etcd.stop()

    def snapshot(self, to: Path) -> None:
        """Copy what etcd holds now to a folder that is not there yet; nobody notices."""
        if self.etcd.child is None:
            raise LabError("etcd does not run: start it before its snapshot")
        etcd_copy.copy(self.data, self.etcd.child.pid, to)

    def restore(self, copied: Path, deadline_s: float = 180.0) -> None:
        """Put a snapshot back as one does: all API servers end first, and start last. Waits until it serves.

        Versions of objects then begin again where they were: the same numbers for other contents.
        """
        for server in (self.apiserver, self.etcd):
            if server.child is not None:
                server.child.kill()
        etcd_copy.put_back(self.data, copied)
        self.etcd.start().wait_ready(deadline_s)
        self.apiserver.start().wait_ready(deadline_s)

    @property
    def data(self) -> Path:
        """Where etcd keeps everything."""
        return self.state_dir / "etcd"

    def _etcd(self) -> Spec:
        client, peer = f"{LOCALHOST}:{self.ports.etcd}", f"{LOCALHOST}:{self.ports.etcd_peer}"
        command = [
            str(self._binaries["etcd"]),
            f"--data-dir={self.data}",
            "--unsafe-no-fsync",  # a lab: a crash of the machine may lose its data
            "--log-level=warn",
            f"--listen-client-urls=http://{client}",
            f"--advertise-client-urls=http://{client}",
            f"--listen-peer-urls=http://{peer}",
            f"--initial-advertise-peer-urls=http://{peer}",
            f"--initial-cluster=default=http://{peer}",
        ]

        def ready() -> bool:
            return b'"health":"true"' in http_get(client, "/health")[1]

        return Spec("etcd", command, self.state_dir / "log" / "etcd.log", client, ready)

    def _apiserver(self, flags: Sequence[str]) -> Spec:
        hosts = dict.fromkeys((*_SERVER_NAMES, self.host))
        serving = self.authority.leaf("apiserver", "kube-apiserver", hosts=[*hosts])
        command = [
            str(self._binaries["kube-apiserver"]),
            f"--etcd-servers=http://{LOCALHOST}:{self.ports.etcd}",
            f"--bind-address={self.host}",
            f"--advertise-address={self.host}",
            f"--secure-port={self.ports.apiserver}",
            f"--tls-cert-file={serving.cert}",
            f"--tls-private-key-file={serving.key}",
            f"--client-ca-file={self.authority.pair.cert}",
            "--authorization-mode=RBAC",
            f"--service-cluster-ip-range={_SERVICES}",
            "--service-account-issuer=https://kubernetes.default.svc.cluster.local",
            f"--service-account-key-file={self.tokens.cert}",
            f"--service-account-signing-key-file={self.tokens.key}",
            *flags,
        ]
        return Spec(
            "kube-apiserver",
            command,
            self.state_dir / "log" / "kube-apiserver.log",
            self.address,
            lambda: http_ok(self.address, "/readyz", self.tls),
            # It drains watches slowly on TERM; everything is in etcd.
            stop_grace_s=3.0,
        )

    def _write_kubeconfig(self, name: str, pair: Pair) -> Path:
        path = self.state_dir / f"{name}.kubeconfig"
        config: dict[str, Any] = {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [
                {
                    "name": "lab",
                    "cluster": {
                        "server": f"https://{self.address}",
                        "certificate-authority-data": _base64(self.authority.pair.cert),
                    },
                }
            ],
            "users": [
                {
                    "name": name,
                    "user": {
                        "client-certificate-data": _base64(pair.cert),
                        "client-key-data": _base64(pair.key),
                    },
                }
            ],
            "contexts": [{"name": "lab", "context": {"cluster": "lab", "user": name}}],
            "current-context": "lab",
        }
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as stream:
            json.dump(config, stream, indent=1)
        return path


def _base64(path: Path) -> str:
    return base64.b64encode(path.read_bytes()).decode()


def _established(crd: dict[str, Any]) -> bool:
    conditions = crd.get("status", {}).get("conditions") or []
    return any(c["type"] == "Established" and c["status"] == "True" for c in conditions)
