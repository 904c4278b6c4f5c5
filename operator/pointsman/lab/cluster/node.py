"""Launchers of what a node consists of: containerd, the kubelet, kube-proxy."""

from __future__ import annotations

import contextlib
import shutil
import socket
import subprocess
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import IO, Final, cast

from pointsman.lab import binaries
from pointsman.lab.checks import http_ok
from pointsman.lab.cluster import layout
from pointsman.lab.cluster.layout import GATEWAY, NODE, Layout
from pointsman.lab.controlplane import ControlPlane
from pointsman.lab.images.oci import Image, write_archive
from pointsman.lab.images.store import Store
from pointsman.lab.process import LabError, Spec

_IMPORT_S: Final = 300
_ROOM: Final = "k8s.io"
"""containerd's namespace in which the kubelet's images and containers are."""
LABELS: Final = "type=real,topology.kubernetes.io/zone=zone-real"


def containerd(at: Layout, pause: str) -> Spec:
    """Describe a containerd of our own; its configuration is written."""
    for folder in ("cni", "kubelet"):
        (at.home / folder).mkdir(parents=True, exist_ok=True)
    (at.home / "cni" / "10-pointsman.conflist").write_text(layout.network(at), "utf-8")
    config = at.home / "containerd.toml"
    config.write_text(layout.containerd(at, pause), "utf-8")
    command = [_program("containerd"), "--config", str(config)]
    return Spec(
        "containerd", command, at.logs / "containerd.log", str(at.socket), lambda: _accepts(at.socket)
    )


def kubelet(at: Layout, plane: ControlPlane, say: Callable[[str], None]) -> Spec:
    """Describe a kubelet; its configuration and certificate are written."""
    kubeconfig = plane.user("kubelet", f"system:node:{NODE}", groups=["system:nodes"])
    serving = plane.authority.leaf("kubelet-serving", NODE, hosts=[NODE, GATEWAY])
    config = at.home / "kubelet.json"
    config.write_text(layout.kubelet(at, plane.authority.pair.cert, serving), "utf-8")
    command = [
        str(binaries.ensure("kubelet", say)),
        f"--config={config}",
        f"--kubeconfig={kubeconfig}",
        f"--root-dir={at.home / 'kubelet'}",
        f"--cert-dir={at.home / 'kubelet' / 'pki'}",
        f"--hostname-override={NODE}",
        f"--node-ip={GATEWAY}",
        f"--node-labels={LABELS}",
    ]
    address = at.kubelet_address
    log = at.logs / "kubelet.log"
    return Spec("kubelet", command, log, address, lambda: http_ok(address, "/healthz"))


def kube_proxy(at: Layout, plane: ControlPlane, say: Callable[[str], None]) -> Spec:
    """Describe a kube-proxy; its configuration is written."""
    kubeconfig = plane.user("kube-proxy", "system:kube-proxy")
    config = at.home / "kube-proxy.json"
    config.write_text(layout.proxy(at, kubeconfig), "utf-8")
    command = [str(binaries.ensure("kube-proxy", say)), f"--config={config}"]
    address = at.proxy_address
    log = at.logs / "kube-proxy.log"
    return Spec("kube-proxy", command, log, address, lambda: http_ok(address, "/livez"))


def load(at: Layout, images: Iterable[Image], store: Store) -> None:
    """Give images to containerd through a pipe; no file is written, no registry asked."""
    command = [_program("ctr"), "--address", str(at.socket), "--namespace", _ROOM, "images", "import", "-"]
    log = at.logs / "import.log"
    with (
        log.open("ab") as errors,
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=errors, stderr=errors) as process,
    ):
        pipe = cast("IO[bytes]", process.stdin)
        try:
            with contextlib.suppress(BrokenPipeError):  # its exit code will say it
                write_archive(images, store.path, pipe)
                pipe.close()
            code = process.wait(_IMPORT_S)
        except BaseException:
            process.kill()
            raise
    if code != 0:
        raise LabError(f"containerd does not take the images: see {log}")


def loaded(at: Layout) -> list[str]:
    """Return the references of the images that containerd has, without those that are digests."""
    command = [
        _program("ctr"),
        "--address",
        str(at.socket),
        "--namespace",
        _ROOM,
        "images",
        "list",
        "--quiet",
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    if done.returncode != 0:
        raise LabError(f"containerd gives no list of images: {done.stderr.strip()[-300:]}")
    return sorted(name for name in done.stdout.split() if not name.startswith("sha256:"))


def _program(name: str) -> str:
    found = shutil.which(name)
    if found is None:
        raise LabError(f"no {name} on PATH: apt-get install containerd")
    return found


def _accepts(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as connection:
        try:
            connection.settimeout(1)
            connection.connect(str(path))
        except OSError:
            return False
    return True
