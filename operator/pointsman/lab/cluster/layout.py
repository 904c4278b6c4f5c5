"""Names, addresses and configuration files of a one-node cluster. Pure."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from pointsman.lab.pki import Pair
from pointsman.lab.process import LOCALHOST, free_port

BRIDGE: Final = "pointsman0"
"""One cluster a machine: the bridge bears this name, and its alias the state folder of its cluster."""
GATEWAY: Final = "10.88.0.1"
"""Address of the machine on the bridge: the node's, the API server's, the pods' way out."""
PODS: Final = "10.88.0.0/24"
BALANCERS: Final = "10.89.0.0/24"
"""Addresses of LoadBalancer Services; kube-proxy answers for them."""
DNS: Final = "10.96.0.10"
DOMAIN: Final = "cluster.local"
NODE: Final = "node-0"
CGROUP: Final = "pointsman-lab"
"""All pods live below it, so that whatever is left of them can be found and ended."""
NETWORK: Final = "pointsman-lab"
CNI_PROGRAMS: Final = "/usr/lib/cni"
VOLUMES: Final = 8


@dataclass(frozen=True, slots=True)
class Layout:
    """Where the node's things lie, and the ports that are its own."""

    state: Path
    kubelet: int = field(default_factory=free_port)
    kubelet_health: int = field(default_factory=free_port)
    proxy_health: int = field(default_factory=free_port)
    proxy_metrics: int = field(default_factory=free_port)

    @property
    def home(self) -> Path:
        """Folder of everything that containerd and kubelet write."""
        return self.state / "node"

    @property
    def socket(self) -> Path:
        """Where containerd listens."""
        return self.home / "containerd.sock"

    @property
    def images(self) -> Path:
        """Folder of containerd's images and of the roots of its containers."""
        return self.home / "containerd"

    @property
    def volumes(self) -> Path:
        """Folder of the persistent volumes."""
        return self.state / "volumes"

    @property
    def logs(self) -> Path:
        """Folder of the servers' logs."""
        return self.state / "log"

    @property
    def kubelet_address(self) -> str:
        """Where the kubelet says that it is well."""
        return f"{LOCALHOST}:{self.kubelet_health}"

    @property
    def proxy_address(self) -> str:
        """Where kube-proxy says that it is well."""
        return f"{LOCALHOST}:{self.proxy_health}"


def containerd(at: Layout, pause: str) -> str:
    """Return containerd's configuration: a root, state and socket of its own, beside any other containerd."""
    cri = 'plugins."io.containerd.grpc.v1.cri"'
    unused = ("internal.v1.opt", "snapshotter.v1.btrfs", "snapshotter.v1.devmapper", "snapshotter.v1.zfs")
    return f"""\
version = 2
root = {_quote(at.images)}
state = {_quote(at.home / "run")}
disabled_plugins = [{", ".join(_quote(f"io.containerd.{name}") for name in unused)}]
[grpc]
  address = {_quote(at.socket)}
[{cri}]
  sandbox_image = {_quote(pause)}
  # Where CAP_SYS_RESOURCE is missing (a virtual machine's container, say), a lower oom_score_adj is refused,
  # and runc dies of it: "can't get final child's PID from pipe: EOF".
  restrict_oom_score_adj = true
[{cri}.containerd.runtimes.runc]
  runtime_type = "io.containerd.runc.v2"
[{cri}.containerd.runtimes.runc.options]
  Root = {_quote(at.home / "runc")}
[{cri}.cni]
  bin_dir = {_quote(CNI_PROGRAMS)}
  conf_dir = {_quote(at.home / "cni")}
"""


def network(at: Layout) -> str:
    """Return the CNI configuration: pods on the bridge, addresses from a file, no masquerading."""
    first = GATEWAY.rpartition(".")[0] + ".10"
    addresses = {
        "type": "host-local",
        "dataDir": str(at.home / "addresses"),
        "ranges": [[{"subnet": PODS, "rangeStart": first}]],
        "routes": [{"dst": "0.0.0.0/0"}],
    }
    bridge = {"type": "bridge", "bridge": BRIDGE, "isGateway": True, "hairpinMode": True, "ipMasq": False}
    return json.dumps({"cniVersion": "0.4.0", "name": NETWORK, "plugins": [{**bridge, "ipam": addresses}]})


def kubelet(at: Layout, authority: Path, serving: Pair) -> str:
    """Return the kubelet's configuration (JSON is YAML)."""
    config: dict[str, Any] = {
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "failCgroupV1": False,
        "cgroupDriver": "cgroupfs",
        "cgroupRoot": f"/{CGROUP}",
        "containerRuntimeEndpoint": f"unix://{at.socket}",
        "port": at.kubelet,
        "healthzPort": at.kubelet_health,
        "authentication": {
            "anonymous": {"enabled": False},
            "webhook": {"enabled": True},
            "x509": {"clientCAFile": str(authority)},
        },
        "authorization": {"mode": "Webhook"},
        "tlsCertFile": str(serving.cert),
        "tlsPrivateKeyFile": str(serving.key),
        "failSwapOn": False,
        "resolvConf": "",
        "clusterDomain": DOMAIN,
        "clusterDNS": [DNS],
        # A development machine's disk is often nearly full, and that is no reason to evict anything.
        "evictionHard": {"memory.available": "100Mi", "nodefs.available": "1%", "imagefs.available": "1%"},
        "imageGCHighThresholdPercent": 100,
        "nodeStatusUpdateFrequency": "5s",
        # How soon pods see a changed Secret; the default is a minute.
        "syncFrequency": "10s",
        "oomScoreAdj": 0,
        "makeIPTablesUtilChains": False,
        "podLogsDir": str(at.home / "pod-logs"),
        "volumePluginDir": str(at.home / "volume-plugins"),
        # The default starts pods one image at a time and five a second.
        "serializeImagePulls": False,
        "registryPullQPS": 0,
        "kubeAPIQPS": 100,
        "kubeAPIBurst": 200,
    }
    return json.dumps(config, indent=1)


def proxy(at: Layout, kubeconfig: Path) -> str:
    """Return kube-proxy's configuration: nftables, no tuning of the machine."""
    config = {
        "apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
        "kind": "KubeProxyConfiguration",
        "mode": "nftables",
        "clientConnection": {"kubeconfig": str(kubeconfig)},
        "hostnameOverride": NODE,
        "clusterCIDR": PODS,
        "conntrack": {"maxPerCore": 0, "min": 0},
        "oomScoreAdj": 0,
        "healthzBindAddress": at.proxy_address,
        "metricsBindAddress": f"{LOCALHOST}:{at.proxy_metrics}",
        "nftables": {"minSyncPeriod": "100ms"},
    }
    return json.dumps(config, indent=1)


def apiserver_flags(authority: Path, client: Pair, front: Pair) -> list[str]:
    """Return the API server's flags beyond those of a control plane: kubelets, pods, an aggregated API."""
    return [
        "--authorization-mode=Node",
        "--enable-admission-plugins=NodeRestriction",
        "--allow-privileged",
        f"--kubelet-client-certificate={client.cert}",
        f"--kubelet-client-key={client.key}",
        "--kubelet-preferred-address-types=InternalIP",
        f"--requestheader-client-ca-file={authority}",
        "--requestheader-allowed-names=front-proxy-client",
        "--requestheader-username-headers=X-Remote-User",
        "--requestheader-group-headers=X-Remote-Group",
        "--requestheader-extra-headers-prefix=X-Remote-Extra-",
        f"--proxy-client-cert-file={front.cert}",
        f"--proxy-client-key-file={front.key}",
    ]


def _quote(text: str | Path) -> str:
    return json.dumps(str(text))
