"""A real one-node Kubernetes: pods run here, behind real Services. Root only; one a machine."""

from __future__ import annotations

import contextlib
import ipaddress
import os
import threading
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, Final

from pointsman.lab import control
from pointsman.lab.cluster import addons, layout, machine, node
from pointsman.lab.cluster.controllers import controller_manager, is_true, scheduler
from pointsman.lab.cluster.sweep import sweep
from pointsman.lab.controlplane import ControlPlane
from pointsman.lab.images import catalog
from pointsman.lab.images.catalog import Workshop
from pointsman.lab.kubectl import Kubectl
from pointsman.lab.pki import Authority
from pointsman.lab.process import LabError, Runnable, Server
from pointsman.lab.supervisor import Part

_NODE_S: Final = 120.0
_LOOK_S: Final = 0.1
_NODE_PATH: Final = f"/api/v1/nodes/{layout.NODE}"


class Cluster(Runnable):
    """etcd, the API server, controllers, containerd, kubelet and kube-proxy, with CoreDNS in it.

    A context manager (never an asynchronous one: children die with the thread that started them); or `parts`
    for a supervisor. `images`: names of the catalog to have on the node besides those that it needs.
    `volume_mib`: each volume is a file system of this size, in memory, that can be full; None: a folder.
    """

    def __init__(
        self,
        state_dir: Path,
        *,
        images: Iterable[str] = (),
        gpus: int = 8,
        metrics: bool = False,
        volume_mib: int | None = None,
        say: Callable[[str], None] = lambda _: None,
    ) -> None:
        machine.prepare(say)
        _clear(say)
        self.state_dir = state_dir.resolve()
        self.gpus = gpus
        self._say, self._metrics, self._volume_mib = say, metrics, volume_mib
        self._held = contextlib.ExitStack()
        self._images = [*images, *(["metrics-server"] if metrics else [])]
        self._loading: threading.Thread | None = None
        self._not_loaded: Exception | None = None
        self.workshop = Workshop(say)
        # Before anything runs: what has to be built takes minutes.
        self.workshop.images([*catalog.NODE, *self._images])
        self.layout = layout.Layout(self.state_dir)
        self.plane = ControlPlane(self.state_dir, host=layout.GATEWAY, flags=_flags, say=say)
        self.kubeconfig = self.plane.kubeconfig
        self.manager = Server(controller_manager(self.plane, say))
        self.scheduler = Server(scheduler(self.plane, say))
        self.containerd = Server(node.containerd(self.layout, catalog.reference("pause")))
        self.kubelet = Server(node.kubelet(self.layout, self.plane, say))
        self.kube_proxy = Server(node.kube_proxy(self.layout, self.plane, say))

    @property
    def parts(self) -> tuple[Part, ...]:
        """All servers, in the order of their start, and what is to be done when one is ready."""
        api, runtime = self.plane.apiserver.spec.name, self.containerd.spec.name
        return (
            Part(self.plane.etcd, last=True),
            Part(self.plane.apiserver, last=True),
            Part(self.containerd, then=self._load, last=True),
            Part(self.manager, after=(api,)),
            Part(self.scheduler, after=(api,)),
            Part(self.kube_proxy, after=(api,)),
            Part(self.kubelet, after=(api, runtime), then=self._furnish),
        )

    def lay_out(self) -> None:
        """Make the bridge, the cgroups and the folders of the volumes."""
        machine.set_up(self.state_dir, self.layout.images)
        for folder in addons.volume_folders(self.layout.volumes):
            folder.mkdir(parents=True, exist_ok=True)
            if self._volume_mib is not None:
                machine.mount_memory(folder, self._volume_mib << 10)

    def start(self) -> None:
        """Start what needs nothing else; does not wait."""
        self._held.enter_context(control.claim(self.state_dir))
        self.lay_out()
        for server in (self.plane.etcd, self.plane.apiserver, self.containerd):
            server.start()

    def wait_ready(self) -> None:
        """Start the rest in its order; wait until the node is Ready, names resolve, images are there."""
        self.plane.wait_serving()
        rest = (self.manager, self.scheduler, self.kube_proxy, self.kubelet)
        children = [self.containerd.child or self.containerd.start()]
        children[0].wait_ready()
        self._load()
        children += [server.start() for server in rest]
        for child in children:
            child.wait_ready()
        self._furnish()

    def stop(self) -> None:
        """End all, and leave nothing on the machine."""
        servers = [part.server for part in self.parts]
        for server in servers:
            if server.child is not None and server is not self.plane.etcd:
                server.child.terminate()
        for server in reversed(servers):
            server.stop()
        sweep(self.state_dir)
        self._held.close()

    def load(self, names: Iterable[str]) -> list[str]:
        """Make images and give them to the node; return their references."""
        images = self.workshop.images(names)
        node.load(self.layout, images, self.workshop.store)
        return [name for image in images for name in image.names]

    def set_gpus(self, count: int) -> None:
        """Give the node so many GPUs (nvidia.com/gpu) in name. A restarted kubelet has forgotten them."""
        room = {"nvidia.com/gpu": str(count)}
        with Kubectl(self.kubeconfig) as kubectl:
            kubectl.patch(f"{_NODE_PATH}/status", {"status": {"capacity": room, "allocatable": room}})

    def balance(self, namespace: str, service: str) -> str:
        """Do what a cloud's controller does: give a LoadBalancer Service an address, and return it."""
        with Kubectl(self.kubeconfig) as kubectl:
            taken = {
                entry.get("ip")
                for found in kubectl.get("/api/v1/services")["items"]
                for entry in found.get("status", {}).get("loadBalancer", {}).get("ingress", [])
            }
            hosts = (str(host) for host in ipaddress.ip_network(layout.BALANCERS).hosts())
            address = next(host for host in hosts if host not in taken)
            status = {"loadBalancer": {"ingress": [{"ip": address}]}}
            kubectl.patch(f"/api/v1/namespaces/{namespace}/services/{service}/status", {"status": status})
        return address

    def _load(self) -> None:
        """Give the node what it needs now, and begin to give it the rest."""
        self._say("loading the node's own images")
        self.load(catalog.NODE)
        self._loading = threading.Thread(target=self._load_rest, daemon=True)
        self._loading.start()

    def _load_rest(self) -> None:
        try:
            if self._images:
                self._say(f"loading images: {', '.join(self._images)}")
                self.load(self._images)
        except Exception as error:  # noqa: BLE001 - raised by whoever waits for this thread
            self._not_loaded = error

    def _furnish(self) -> None:
        """Make the node what the tests expect of it, and wait until it is."""
        with Kubectl(self.kubeconfig) as kubectl:
            _until(lambda: layout.NODE in _names(kubectl, "/api/v1/nodes"), "the kubelet registers its node")
            kubectl.apply(addons.dns() + addons.storage(self.layout.volumes))
            if self.gpus:
                self.set_gpus(self.gpus)
            _until(lambda: is_true(kubectl.get(_NODE_PATH), "Ready"), f"node {layout.NODE} is Ready")
            self._say(f"node {layout.NODE} is Ready")
            self._await_deployment(kubectl, "coredns")
            if self._loading is not None:
                self._loading.join()
            if self._not_loaded is not None:
                raise self._not_loaded
            if self._metrics:
                kubectl.apply(addons.metrics_server())
                self._await_deployment(kubectl, "metrics-server")

    def _await_deployment(self, kubectl: Kubectl, name: str) -> None:
        path = f"/apis/apps/v1/namespaces/kube-system/deployments/{name}"
        _until(lambda: is_true(kubectl.get(path), "Available"), f"{name} is Available")
        self._say(f"{name} is Available")


def _clear(say: Callable[[str], None]) -> None:
    """Clear what a killed cluster left on this machine; `LabError` if one lives here."""
    if machine.foreign_node():
        raise LabError(
            "another Kubernetes node runs on this machine (nftables has tables of kube-proxy), and a second "
            "one would break its Services: use another machine"
        )
    other = machine.owner()
    if other is None:
        return
    if control.holder(other) not in {None, os.getpid()}:
        raise LabError(
            f"a cluster runs in {other}, and a machine has room for one node: "
            f"`pointsman lab cluster down --state {other}`"
        )
    say(f"clearing what is left of the cluster in {other}")
    sweep(other)


def _flags(authority: Authority) -> list[str]:
    client = authority.leaf("apiserver-kubelet-client", "apiserver-kubelet", groups=["system:masters"])
    front = authority.leaf("front-proxy", "front-proxy-client")
    return layout.apiserver_flags(authority.pair.cert, client, front)


def _names(kubectl: Kubectl, path: str) -> set[str]:
    found: list[dict[str, Any]] = kubectl.get(path)["items"]
    return {each["metadata"]["name"] for each in found}


def _until(condition: Callable[[], bool], what: str) -> None:
    end = time.monotonic() + _NODE_S
    while not condition():
        if time.monotonic() > end:
            raise LabError(f"not after {_NODE_S:.0f} s: {what}; see the logs of kubelet and containerd")
        time.sleep(_LOOK_S)
